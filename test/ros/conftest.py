"""
Real nodes on real DDS, each in a process of its own.

Everything here needs rclpy and the built messages; without them the folder is skipped, saying so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any
import warnings

import pytest

# Before any participant is created: this machine only, in a domain of our own (below 102, where
# the ports of domains stay clear of those that Linux hands out).
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
if os.environ.get('ROS_DISTRO') == 'humble':
    os.environ['ROS_LOCALHOST_ONLY'] = '1'

# Test files are modules of no package (import mode importlib); this lets them share helpers.
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / 'runtime')]

try:
    import mtl_perception.msg  # noqa: F401
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    with warnings.catch_warnings():
        # rclpy loads it with the first message, and its parser a module that Python deprecates.
        warnings.simplefilter('ignore', DeprecationWarning)
        import rosidl_generator_py  # noqa: F401
except ImportError as error:
    # `make test` has set ROS up: there, a skip would hide a broken build.
    if os.environ.get('MTL_REQUIRE_ROS'):
        raise
    collect_ignore_glob = ['test_*.py']
    REASON: str | None = f'test/ros needs rclpy and the built messages: {error}'
else:
    REASON = None

ROOT = Path(__file__).parents[2]
# Only a failure waits so long; a busy machine may need most of it to import torch.
TIMEOUT_SEC = 180.0


def pytest_report_header() -> str:
    """Say at the top whether the ROS tests run, and in which domain."""
    if REASON:
        return f'ROS: skipped ({REASON})'
    return f'ROS: domain {os.environ["ROS_DOMAIN_ID"]}, this machine only'


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Repeat the reason for the skip where it is seen."""
    if REASON:
        terminalreporter.write_line(f'skipped test/ros: {REASON}')


class NodeProcess:
    """
    A node of ours in a process of its own.

    :param module: What holds its ``main``.
    :param arguments: What follows ``--ros-args``.
    :param log: Where its output goes.
    """

    def __init__(self, module: str, arguments: list[str], log: Path) -> None:
        self._log = log
        program = f'import sys; from {module} import main; sys.exit(main(sys.argv))'
        path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
        with log.open('wb') as output:
            self.process = subprocess.Popen(
                [sys.executable, '-c', program, '--ros-args', *arguments],
                env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """Return all that it has printed."""
        return self._log.read_text(errors='replace')

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(TIMEOUT_SEC)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def node_starter(folder: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Start nodes that end with the block, whatever becomes of it."""
    processes: list[NodeProcess] = []

    def start(module: str, *arguments: str) -> NodeProcess:
        log = folder / f'node_{len(processes)}.log'
        processes.append(NodeProcess(module, list(arguments), log))
        return processes[-1]

    try:
        yield start
    finally:
        for node in processes:
            if node.process.poll() is None:
                node.process.kill()
            node.process.wait()


@contextmanager
def tester_node(name: str) -> Iterator[Any]:
    """Yield a node in this process, with an executor that :func:`spin_until` turns."""
    context = rclpy.context.Context()
    rclpy.init(context=context)
    node = rclpy.create_node(name, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    node.test_executor = executor
    yield node
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Start nodes that end with the test."""
    with node_starter(tmp_path) as start:
        yield start


@pytest.fixture(scope='module')
def start_shared_node(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., NodeProcess]]:
    """Start nodes that end with the module: importing torch takes seconds."""
    with node_starter(tmp_path_factory.mktemp('nodes')) as start:
        yield start


@pytest.fixture
def ros_node() -> Iterator[Any]:
    """Yield a node in the test's own process."""
    with tester_node(f'tester_{os.getpid()}') as node:
        yield node


@pytest.fixture(scope='module')
def shared_ros_node() -> Iterator[Any]:
    """Yield a node in the test's own process that lives as long as the module."""
    with tester_node(f'shared_tester_{os.getpid()}') as node:
        yield node


def spin_until(node: Any, condition: Callable[[], Any], timeout_sec: float = TIMEOUT_SEC) -> Any:
    """Turn the node's executor until the condition holds; return what it returned last."""
    end = time.monotonic() + timeout_sec
    while not (result := condition()) and time.monotonic() < end:
        node.test_executor.spin_once(timeout_sec=0.02)
    return result


@pytest.fixture(scope='session')
def spin() -> Callable[..., Any]:
    """Hand out :func:`spin_until`."""
    return spin_until
