from __future__ import annotations

import ast
from dataclasses import fields
import importlib.util
import os
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

import cv2
from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network.config import (
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.ros.parameters import PerceptionParameters
from mtl_perception.ros.video_parameters import VideoParameters
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH_FILE = ROOT / 'launch' / 'hri.launch.py'
LAUNCH_TEST = Path(__file__).with_name('launch_hri.py')
TREE = ast.parse(LAUNCH_FILE.read_text())
PARAMETERS = {
    'perception_node': {item.name for item in fields(PerceptionParameters)},
    'video_node': {item.name for item in fields(VideoParameters)},
}
ASKED = (
    'params_file', 'namespace', 'use_sim_time', 'image_topic', 'checkpoint', 'device', 'log_level',
    'video', 'video_rate', 'loop', 'transport_profile', 'sentences',
)  # fmt: skip


def calls(name: str) -> list[ast.Call]:
    found = [node for node in ast.walk(TREE) if isinstance(node, ast.Call)]
    return [node for node in found if isinstance(node.func, ast.Name) and node.func.id == name]


def argument(call: ast.Call, name: str) -> Any:
    return next(ast.literal_eval(item.value) for item in call.keywords if item.arg == name)


def given() -> dict[str, ast.Tuple]:
    """Return the parameters that take the value of an argument: (argument, type)."""
    return {k.arg: k.value for call in calls('_given') for k in call.keywords}


def declared() -> dict[str, ast.Call]:
    return {ast.literal_eval(call.args[0]): call for call in calls('DeclareLaunchArgument')}


def test_every_argument_that_an_integrator_needs_is_declared() -> None:
    assert set(ASKED) <= declared().keys()


@pytest.mark.parametrize('name', sorted(declared()))
def test_every_argument_is_described_and_used(name: str) -> None:
    description = argument(declared()[name], 'description')
    assert len(description) > 20
    assert description.endswith('.')
    configurations = [call.args[0] for call in calls('LaunchConfiguration')]
    used = {item.value for item in configurations if isinstance(item, ast.Constant)}
    used |= {item.elts[0].value for item in given().values()}
    assert name in used


def test_every_executable_is_built() -> None:
    built = re.findall(
        r'install_executable\(mtl_perception (\w+) ([\w.]+)', (ROOT / 'CMakeLists.txt').read_text()
    )
    modules = dict(built)
    started = [argument(call, 'executable') for name in ('LifecycleNode', 'Node')
               for call in calls(name)]  # fmt: skip
    assert sorted(started) == ['perception_node', 'video_node']
    for executable in started:
        assert (ROOT / f'{modules[executable].replace(".", "/")}.py').is_file()


def test_the_parameters_that_are_set_exist() -> None:
    known = PARAMETERS['perception_node'] | PARAMETERS['video_node'] | {'use_sim_time'}
    assert given()
    assert given().keys() <= known


def test_the_parameters_file_names_only_parameters_that_exist() -> None:
    blocks = yaml.safe_load((ROOT / 'config' / 'perception.yaml').read_text())
    for block in blocks.values():
        assert set(block['ros__parameters']) <= PARAMETERS['perception_node']


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trunk = TrunkConfig(
        width=4, num_frames=4, clip_seconds=0.5, preprocessing=PreprocessingConfig(resize=(32, 43))
    )
    tasks = {'action': TaskConfig(labels=('walk', 'run'))}
    path = tmp_path_factory.mktemp('checkpoint') / 'random.safetensors'
    network = MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks=tasks))
    save_checkpoint(path, network, metrics={}, training={})
    return path


def run_launch_test(tmp_path: Path, *arguments: str) -> str:
    """Run the launch_testing file beside this one in a process of its own; return its output."""
    reason = 'no launch_testing: it comes with a ROS 2 install, not with the wheels'
    if importlib.util.find_spec('launch_testing') is None:
        pytest.skip(reason)
    prefixes = [Path(p) for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    if not any((p / 'lib/mtl_perception/perception_node').is_file() for p in prefixes):
        pytest.skip('the package is not installed: build it and source its setup.bash')
    # Not through pytest's plugin: launch_testing's breaks pytest itself in some versions.
    result = subprocess.run(
        [sys.executable, '-m', 'launch_testing.launch_test', str(LAUNCH_TEST), *arguments],
        cwd=tmp_path,
        env={**os.environ, 'ROS_LOG_DIR': str(tmp_path), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=180,
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    return output


def test_a_launched_video_is_recognised_in_a_namespace(tmp_path: Path, checkpoint: Path) -> None:
    folder = tmp_path / '7'  # a name that launch would take for a number
    folder.mkdir()
    for index in range(20):
        cv2.imwrite(str(folder / f'{index}.png'), np.full((48, 64, 3), 12 * index, np.uint8))
    output = run_launch_test(tmp_path, f'checkpoint:={checkpoint}', f'video:={folder}')
    assert 'test_actions_are_recognised' in output
    assert 'test_all_nodes_end_cleanly' in output


def test_arguments_that_are_not_given_leave_the_parameters_file_alone(
    tmp_path: Path, checkpoint: Path
) -> None:
    path = tmp_path / 'mine.yaml'
    parameters = {'autostart': False, 'checkpoint': str(checkpoint)}
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    output = run_launch_test(tmp_path, f'params_file:={path}')
    assert 'test_it_waits_unconfigured' in output


def test_arguments_that_are_given_win_over_the_parameters_file(
    tmp_path: Path, checkpoint: Path
) -> None:
    path = tmp_path / 'mine.yaml'
    parameters = {'autostart': False, 'checkpoint': str(checkpoint), 'use_sim_time': False}
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    output = run_launch_test(tmp_path, f'params_file:={path}', 'use_sim_time:=true')
    assert 'test_its_time_is_that_of_the_argument' in output
