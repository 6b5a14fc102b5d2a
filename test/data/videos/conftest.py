"""Videos whose frames tell which they are."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
from mtl_training.data.videos.problems import forget_problems
import numpy as np
import pytest

SIZE = (48, 64)


def write_video(
    path: Path,
    num_frames: int,
    *,
    rate: int = 10,
    codec: str = 'mpeg4',
    pts: Sequence[int] | None = None,
    pictures: np.ndarray | None = None,
    with_sound: bool = False,
) -> Path:
    """
    Write a video whose frame ``i`` is a plain grey of ``4 * i``, or shows ``pictures[i]``.

    :param pts: Times of the frames, in units of a tenth of a period.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if pictures is None:
        levels = (4 * np.arange(num_frames)).clip(0, 255).astype(np.uint8)
        pictures = np.broadcast_to(levels[:, None, None, None], (num_frames, *SIZE, 3))
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = 'rgb8' if codec == 'gif' else 'yuv420p'
        stream.gop_size, stream.bit_rate = 5, 8_000_000
        stream.codec_context.max_b_frames = 0
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 10 * rate)
        if with_sound:
            sound = container.add_stream('aac', rate=16000, layout='mono')
            for i in range(16 * num_frames // rate):
                silence = np.zeros((1, 1024), np.float32)
                samples = av.AudioFrame.from_ndarray(silence, format='fltp', layout='mono')
                samples.sample_rate, samples.pts = 16000, 1024 * i
                container.mux(sound.encode(samples))
        for i, picture in enumerate(pictures[:num_frames]):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
            if pts is not None:
                frame.pts, frame.time_base = pts[i], Fraction(1, 10 * rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if with_sound:
            container.mux(sound.encode())
    return path


def write_pictures(folder: Path, num_frames: int, *, pattern: str = '{:05d}.jpg') -> Path:
    """Write a folder of pictures, the first of them numbered 1; picture ``i`` is ``4 * i``."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(num_frames):
        picture = np.full((*SIZE, 3), 4 * i, np.uint8)
        assert cv2.imwrite(str(folder / pattern.format(i + 1)), picture)
    return folder


def shown(frames: Sequence[np.ndarray]) -> list[int]:
    """Return which frame of a written video each frame is."""
    return [round(float(np.asarray(frame, float).mean()) / 4) for frame in frames]


def cut_off(path: Path, share: float = 0.5) -> None:
    """Leave only a part of the pictures of a video, AVI or Matroska."""
    content = path.read_bytes()
    start = max(content.find(b'movi'), content.find(b'\x1f\x43\xb6\x75'))
    assert start > 0
    path.write_bytes(content[: start + int(share * (len(content) - start))])


@pytest.fixture(name='cut_off')
def _cut_off() -> Callable[..., None]:
    return cut_off


@pytest.fixture(name='write_video')
def _write_video() -> Callable[..., Path]:
    return write_video


@pytest.fixture(name='write_pictures')
def _write_pictures() -> Callable[..., Path]:
    return write_pictures


@pytest.fixture(name='shown')
def _shown() -> Callable[..., list[int]]:
    return shown


@pytest.fixture(autouse=True)
def own_index(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what a test learns of videos away from the user's folder and from other tests."""
    folder = tmp_path_factory.mktemp('cache')
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder))
    forget_problems()
    return folder
