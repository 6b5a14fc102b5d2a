from __future__ import annotations

from fractions import Fraction
import json
import os
from pathlib import Path
import sys
import time
from typing import Any

import cv2
from mtl_perception.runtime import video_source
from mtl_perception.runtime.scene_stream import renderer_command, SceneStream
from mtl_perception.runtime.video_source import (
    ImageFolder,
    LiveVideo,
    open_video,
    VideoFile,
    VideoSourceError,
)
import numpy as np
from numpy.typing import NDArray
import pytest

DATA = Path(__file__).parents[3] / 'shared' / 'data'
REAL_VIDEOS = (
    'intel_asl_gestures/learn.mkv',
    'intel_people/classroom_preview.gif',
    'intel_people/one-by-one-person-detection.mp4',
    'ucf101_c3d/v_BaseballPitch_g01_c01.avi',
)
SIZE = (48, 64)


def numbered(index: int) -> NDArray[np.uint8]:
    """Return a picture that says its number in blocks, which survive any codec."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for bit in range(8):
        if index >> bit & 1:
            pixels[:, 8 * bit : 8 * bit + 8] = 255
    return pixels


def number_of(pixels: NDArray[np.uint8]) -> int:
    return sum(int(pixels[:, 8 * bit + 2 : 8 * bit + 6].mean() > 127) << bit for bit in range(8))


def write_video(path: Path, *, num_frames: int = 20, rate_hz: float = 25.0) -> Path:
    code = {'.mp4': 'mp4v', '.avi': 'MJPG', '.mkv': 'MJPG', '.webm': 'VP80'}[path.suffix]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate_hz, SIZE[::-1])
    assert writer.isOpened()
    for index in range(num_frames):
        writer.write(numbered(index))
    writer.release()
    return path


@pytest.mark.parametrize('suffix', ['.mp4', '.avi', '.mkv', '.webm'])
def test_a_file_gives_its_frames_in_order_at_its_own_rate(tmp_path: Path, suffix: str) -> None:
    with open_video(str(write_video(tmp_path / f'video{suffix}'))) as source:
        frames = list(source)
    assert [number_of(frame.pixels) for frame in frames] == list(range(20))
    times = [frame.time_sec for frame in frames]
    # Containers round their stamps to milliseconds.
    np.testing.assert_allclose(times, np.arange(20) / 25, atol=2e-3)
    assert source.encoding == 'bgr8'


def test_a_rate_of_ones_own_replaces_the_stamps(tmp_path: Path) -> None:
    with VideoFile(write_video(tmp_path / 'video.mp4'), rate_hz=10) as source:
        times = [frame.time_sec for frame in source]
    np.testing.assert_allclose(times, np.arange(20) / 10)


def test_uneven_stamps_are_kept(tmp_path: Path) -> None:
    av = pytest.importorskip('av')
    stamps_ms = [0, 40, 60, 160, 170, 300]
    path = tmp_path / 'uneven.mkv'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', 25)
        stream.height, stream.width = SIZE
        stream.codec_context.time_base = stream.time_base = video_time_base()
        for index, stamp in enumerate(stamps_ms):
            frame = av.VideoFrame.from_ndarray(numbered(index), format='bgr24')
            frame.pts, frame.time_base = stamp, video_time_base()
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with VideoFile(path) as source:
        times = [frame.time_sec for frame in source]
    np.testing.assert_allclose(times, np.array(stamps_ms) / 1e3, atol=2e-3)


def video_time_base() -> Fraction:
    return Fraction(1, 1000)


@pytest.mark.parametrize('name', REAL_VIDEOS)
def test_real_videos_play(name: str) -> None:
    if not (DATA / name).is_file():
        pytest.skip(f'{name} is not on this machine')
    with open_video(str(DATA / name)) as source:
        frames = [frame for _, frame in zip(range(30), source)]
    steps = np.diff([frame.time_sec for frame in frames])
    assert len(frames) > 5
    assert (steps > 0).all()
    # The rate that a GIF promises is rounded to hundredths of a second per frame.
    assert np.mean(steps) == pytest.approx(1 / source.rate_hz, rel=0.2)
    assert len({frame.pixels.shape for frame in frames}) == 1


def test_a_cut_off_file_ends_with_a_warning_and_the_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write_video(tmp_path / 'whole.mkv', num_frames=200)
    cut = tmp_path / 'cut.mkv'
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with VideoFile(cut) as source:
        count = sum(1 for _ in source)
    assert 50 < count < 150
    assert f'ended after {count} frames although its header promises' in caplog.text


@pytest.mark.parametrize(
    'content', [b'', b'hello, this is no video', bytes(range(256)) * 64], ids=len
)
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'video.mp4'
    path.write_bytes(content)
    with pytest.raises(VideoSourceError, match=r'video\.mp4: (not a video|holds no frame)'):
        list(open_video(str(path)))


def test_an_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    data = write_video(tmp_path / 'whole.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoSourceError, match=r'cut\.mp4: not a video that can be decoded'):
        open_video(str(tmp_path / 'cut.mp4'))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(VideoSourceError, match=r'nowhere\.mp4: no such file'):
        open_video('nowhere.mp4')


@pytest.mark.parametrize('rate_hz', [0.0, -1.0, float('nan'), 1e6])
def test_an_impossible_rate_is_refused(rate_hz: float) -> None:
    with pytest.raises(ValueError, match='rate_hz must be above 0'):
        open_video('any.mp4', rate_hz=rate_hz)


def test_a_folder_is_shown_in_natural_order(tmp_path: Path) -> None:
    for index in (10, 9, 100, 2, 1):
        cv2.imwrite(str(tmp_path / f'frame{index}.png'), numbered(index))
    (tmp_path / 'notes.txt').write_text('no image')
    with open_video(str(tmp_path), rate_hz=5) as source:
        frames = list(source)
    assert [number_of(frame.pixels) for frame in frames] == [1, 2, 9, 10, 100]
    np.testing.assert_allclose([frame.time_sec for frame in frames], np.arange(5) / 5)


def test_unreadable_images_of_a_folder_are_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cv2.imwrite(str(tmp_path / '1.png'), numbered(1))
    (tmp_path / '2.png').write_bytes(b'')
    (tmp_path / '3.jpg').write_bytes(b'no jpeg at all')
    (tmp_path / '4.png').mkdir()
    cv2.imwrite(str(tmp_path / '5.png'), numbered(5))
    with ImageFolder(tmp_path) as source:
        frames = list(source)
    assert [number_of(frame.pixels) for frame in frames] == [1, 5]
    assert frames[1].time_sec == pytest.approx(1 / source.rate_hz)
    assert [name in caplog.text for name in ('2.png', '3.jpg', '4.png')] == [True] * 3


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoSourceError, match='holds no image'):
        open_video(str(tmp_path))


def test_a_folder_of_unreadable_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / '1.png').write_bytes(b'x')
    with pytest.raises(VideoSourceError, match='none of its 1 images can be read'):
        list(open_video(str(tmp_path)))


@pytest.mark.parametrize('name', ['97', '/dev/video97'])
def test_a_missing_camera_is_named(name: str) -> None:
    with pytest.raises(VideoSourceError, match=f'camera {name}: cannot be opened'):
        open_video(name)


class FakeCapture:
    """A camera that stamps its frames half a second ago and is unplugged after some."""

    def __init__(self, device: Any, backend: int) -> None:
        self.settings: dict[int, float] = {}
        self.left = 3

    def isOpened(self) -> bool:
        return True

    def set(self, key: int, value: float) -> bool:
        self.settings[key] = value
        return True

    def get(self, key: int) -> float:
        if key == cv2.CAP_PROP_POS_MSEC:
            return (time.monotonic() - 0.5) * 1e3
        return self.settings.get(key, 200.0)

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return self.left >= 0, numbered(self.left)

    def release(self) -> None:
        pass


def test_a_camera_gives_the_time_of_capture_until_it_is_unplugged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(video_source.cv2, 'VideoCapture', FakeCapture)
    source = LiveVideo(0, rate_hz=100, size=(480, 640))
    frames = iter(source)
    ages = [time.monotonic() - next(frames).time_sec for _ in range(3)]
    with pytest.raises(VideoSourceError, match='camera 0: stopped delivering frames'):
        next(frames)
    np.testing.assert_allclose(ages, 0.5, atol=0.1)
    assert source.is_live


def renderer(body: str) -> list[str]:
    """Return a child that writes what a script says; HEADER and FRAME are there to be used."""
    header = {'width': 4, 'height': 2, 'fps': 20.0, 'encoding': 'rgb8', 'scenes': None}
    script = f"""
import json, sys, time
out = sys.stdout.buffer
HEADER = {header!r}
def line(fields): out.write(json.dumps(fields).encode() + b'\\n')
def frame(index, size=24):
    line(dict(scene=index // 2, t=index / 20, action='walk', gesture=None))
    out.write(bytes([index]) * size)
{body}
"""
    return [sys.executable, '-c', script]


def test_rendered_scenes_come_with_their_truth() -> None:
    body = 'line(HEADER)\nfor index in range(4): frame(index)'
    with SceneStream(renderer(body)) as source:
        frames = list(source)
    assert (source.encoding, source.rate_hz) == ('rgb8', 20.0)
    assert [frame.time_sec for frame in frames] == [0.0, 0.05, 0.1, 0.15]
    assert [frame.truth['scene'] for frame in frames if frame.truth] == [0, 0, 1, 1]
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.pixels, np.full((2, 4, 3), index))


@pytest.mark.parametrize(
    'body, reason',
    [
        ('', 'header line is missing or cut off; the renderer ended with code 0'),
        ('sys.exit("no such scene")', 'ended with code 1, saying: no such scene'),
        ('out.write(b"hello\\n")', 'header line is no JSON object'),
        ('out.write(b"x" * 100000)', 'header line is missing or cut off'),
        ('line([1, 2])', 'header line is no JSON object'),
        ('line({**HEADER, "width": -4})', 'bad frame size -4x2'),
        ('line({**HEADER, "height": 10**9})', 'bad frame size'),
        ('line({**HEADER, "fps": 0})', 'bad rate 0'),
        ('line({**HEADER, "encoding": "yuv"})', "unknown encoding 'yuv'"),
        ('line(HEADER); frame(0, 23)', 'a frame is cut off'),
        ('line(HEADER); frame(0); sys.exit(3)', 'ended with code 3'),
        ('line(HEADER); frame(1); frame(1)', 'time stamps must increase'),
        ('line(HEADER); line({"t": None})', 'time stamps must increase'),
    ],
)
def test_a_broken_stream_of_scenes_is_reported(body: str, reason: str) -> None:
    with pytest.raises(VideoSourceError, match=reason), SceneStream(renderer(body)) as source:
        list(source)


def test_the_renderer_ends_with_the_source() -> None:
    body = """
line(HEADER)
index = 0
while True:
    frame(index % 256, 24); out.flush(); index += 1; HEADER.clear()
"""
    source = SceneStream(renderer(body))
    next(iter(source))
    assert is_running(source.pid)
    source.close()
    source.close()
    assert not is_running(source.pid)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_command_line_of_the_renderer_says_all_settings() -> None:
    command = renderer_command(size=(96, 128), rate_hz=15, seed=7, num_scenes=3, task='gesture')
    assert command[:5] == [sys.executable, '-m', 'mtl_training', 'scenes', '--stream']
    options = dict(zip(command[5::2], command[6::2]))
    assert options == json.loads(
        '{"--size": "96x128", "--fps": "15", "--seed": "7", "--scenes": "3", "--task": "gesture"}'
    )
    assert '--scenes' not in renderer_command()


def test_the_real_renderer_speaks_the_protocol() -> None:
    pytest.importorskip('jsonargparse')
    command = renderer_command(size=(48, 64), rate_hz=10, seed=3, num_scenes=2)
    with SceneStream(command) as source:
        frames = list(source)
    assert frames[0].pixels.shape == (48, 64, 3)
    truths = [frame.truth for frame in frames if frame.truth]
    assert sorted({truth['scene'] for truth in truths}) == [0, 1]
    assert all((truth['action'] is None) != (truth['gesture'] is None) for truth in truths)
    np.testing.assert_allclose([f.time_sec for f in frames], np.arange(len(frames)) / 10)
