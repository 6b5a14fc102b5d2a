"""
Rendered scenes with known truth, as frames from a child process.

The renderer belongs to the training package, which the robot's side never imports: it runs as
``python -m mtl_training scenes --stream`` and writes to its standard output a line of JSON with
the size and rate, then for each frame a line of JSON (what is shown) and the raw pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any, BinaryIO

import mtl_perception
from mtl_perception.runtime.video_source import SourceFrame, VideoSource, VideoSourceError
import numpy as np
from numpy.typing import NDArray

ENCODINGS = ('rgb8', 'bgr8')
# What people do in the scenes: one thing, actions and gestures in turns, or all three in turns.
SCENE_TASKS = ('action', 'gesture', 'activity', 'both', 'all')
_MAX_LINE_BYTES = 1 << 16
_MAX_SIDE_PX = 8192
# How long the renderer may take to end once it is told to, and by itself after its last frame: a
# busy machine takes long to clear up a large process.
_END_TIMEOUT_SEC, _EXIT_TIMEOUT_SEC = 3.0, 30.0


def renderer_command(
    *,
    size: tuple[int, int] = (240, 320),
    rate_hz: float = 20.0,
    seed: int = 0,
    num_scenes: int | None = None,
    task: str = 'both',
) -> list[str]:
    """
    Return the command line that renders scenes to its standard output.

    :param size: (height, width) of the frames.
    :param num_scenes: After how many scenes the stream ends; ``None`` = never.
    :param task: One of :data:`SCENE_TASKS`.
    """
    command = [sys.executable, '-m', 'mtl_training', 'scenes', '--stream']
    command += ['--size', f'{size[0]}x{size[1]}', '--fps', f'{rate_hz:g}', '--seed', str(seed)]
    if num_scenes is not None:
        command += ['--scenes', str(num_scenes)]
    return [*command, '--task', task]


class SceneStream(VideoSource):
    """The frames that a renderer process writes; the process ends with the source."""

    def __init__(self, command: Sequence[str]) -> None:
        # A file, not a pipe: nobody reads it before the end, and a full pipe would block.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the process
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(),
                # Ctrl-C in a terminal is for whoever reads; the renderer ends with the source, and
                # by the broken pipe if its reader is killed.
                start_new_session=True,
            )
        except OSError as error:
            raise VideoSourceError(f'{command[0]}: cannot be started: {error}.') from error
        assert self._process.stdout is not None
        self._stream: BinaryIO = self._process.stdout  # type: ignore[assignment]
        self.name = 'rendered scenes'
        try:
            header = self._read_line('header')
            self._size, rate_hz, self.encoding = _parse_header(header)
        except BaseException:
            self.close()
            raise
        super().__init__(self.name, rate_hz=rate_hz)

    @property
    def pid(self) -> int:
        """Process id of the renderer."""
        return self._process.pid

    def __iter__(self) -> Iterator[SourceFrame]:
        time_sec = -1.0
        while True:
            truth = self._read_line('frame', may_end=True)
            if truth is None:
                return
            stamp_sec = truth.get('t')
            if not isinstance(stamp_sec, int | float) or not stamp_sec > time_sec:
                raise VideoSourceError(
                    f'{self.name}: time stamps must increase, got {stamp_sec} after {time_sec}.'
                )
            time_sec = float(stamp_sec)
            yield SourceFrame(self._read_pixels(), time_sec, truth)

    def interrupt(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_TIMEOUT_SEC)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def close(self) -> None:
        self.interrupt()
        self._stream.close()
        self._errors.close()

    def _read_line(self, what: str, *, may_end: bool = False) -> Mapping[str, Any] | None:
        line = self._stream.readline(_MAX_LINE_BYTES)
        if not line and may_end and self._exit_code(_EXIT_TIMEOUT_SEC) == 0:
            return None
        if not line.endswith(b'\n'):
            raise self._broken(f'the {what} line is missing or cut off')
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            raise self._broken(f'the {what} line is no JSON object: {line[:80]!r}')
        return fields

    def _read_pixels(self) -> NDArray[np.uint8]:
        height, width = self._size
        pixels = np.empty((height, width, 3), np.uint8)
        view = pixels.reshape(-1).data
        filled = 0
        while filled < len(view):
            count = self._stream.readinto(view[filled:])  # type: ignore[attr-defined]
            if not count:
                raise self._broken('a frame is cut off')
            filled += count
        return pixels

    def _exit_code(self, timeout_sec: float) -> int | None:
        try:
            return self._process.wait(timeout_sec)
        except subprocess.TimeoutExpired:
            return None

    def _broken(self, reason: str) -> VideoSourceError:
        code = self._exit_code(_END_TIMEOUT_SEC)
        self._errors.seek(0)
        said = self._errors.read().decode(errors='replace').strip().splitlines()[-3:]
        state = 'is still running' if code is None else f'ended with code {code}'
        details = f', saying: {" | ".join(said)}' if said else ''
        return VideoSourceError(f'{self.name}: {reason}; the renderer {state}{details}.')


def _parse_header(fields: Mapping[str, Any] | None) -> tuple[tuple[int, int], float, str]:
    assert fields is not None
    height, width, rate_hz = (fields.get(key, 0) for key in ('height', 'width', 'fps'))
    for side in (height, width):
        if not isinstance(side, int) or not 0 < side <= _MAX_SIDE_PX:
            raise VideoSourceError(f'rendered scenes: bad frame size {width}x{height}.')
    if not isinstance(rate_hz, int | float) or not 0 < rate_hz <= 1000:
        raise VideoSourceError(f'rendered scenes: bad rate {rate_hz}.')
    encoding = fields.get('encoding')
    if encoding not in ENCODINGS:
        raise VideoSourceError(f"rendered scenes: unknown encoding '{encoding}'.")
    return (int(height), int(width)), float(rate_hz), str(encoding)


def _environment() -> dict[str, str]:
    # The training package lies beside this one, also where neither is installed.
    root = str(Path(mtl_perception.__file__).resolve().parents[1])
    path = os.pathsep.join(part for part in (root, os.environ.get('PYTHONPATH')) if part)
    return {**os.environ, 'PYTHONPATH': path}
