"""Child processes that never outlive their parent."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
import ctypes
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_STEPS = ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == 'linux' else None


class NodeProcess:
    """
    A node that runs as ``python -m module``, in a process group of its own.

    It ends when :meth:`stop` is called, when this process exits, and, on Linux, also when this
    process is killed.
    """

    def __init__(
        self,
        module: str,
        parameters: Mapping[str, bool | int | float | str],
        *,
        log: Path,
        environ: Mapping[str, str],
    ) -> None:
        self.name, self.log = module.rsplit('.', 1)[-1], log
        command = [sys.executable, '-m', module, '--ros-args']
        for key, value in parameters.items():
            command += ['-p', f'{key}:={_yaml(value)}']
        with log.open('wb') as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                # A group of its own: Ctrl-C in the terminal reaches the demo alone, which then
                # ends its children in order.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its group."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit code; ``None`` while it runs."""
        return self._process.poll()

    def stop(self) -> int:
        """End the whole group, politely at first, and return the exit code."""
        for number, timeout_sec in _STEPS:
            if self._process.poll() is not None:
                break
            self._signal_group(number)
            try:
                self._process.wait(timeout_sec)
            except subprocess.TimeoutExpired:
                continue
        # What the process started itself and left behind.
        self._signal_group(signal.SIGKILL)
        atexit.unregister(self.stop)
        return self._process.wait()

    def last_words(self, num_lines: int = 8) -> str:
        """Return the end of what it printed."""
        lines = self.log.read_text(errors='replace').strip().splitlines()
        return '\n'.join(lines[-num_lines:])

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return


def wait_for_exit(process: NodeProcess, timeout_sec: float) -> int | None:
    """Wait for a process to end by itself; return its exit code, ``None`` if it still runs."""
    end_sec = time.monotonic() + timeout_sec
    while process.exit_code() is None and time.monotonic() < end_sec:
        time.sleep(0.02)
    return process.exit_code()


def _end_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _yaml(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, str):
        # Quoted, so that a path of digits or one called 'on' stays a text.
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
