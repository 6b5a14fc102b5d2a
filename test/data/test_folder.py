"""Reading the user's own videos."""

from fractions import Fraction
import logging
from pathlib import Path
import struct

import av
import cv2
from mtl_training.data.decoding import probe, read_frames, upright_rgb, VideoError
from mtl_training.data.video_sets.folder import folder
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.problems import forget_problems
import numpy as np
import pytest

SHARED = Path(__file__).parents[3] / 'shared' / 'data'
CLIP = {'num_frames': 5, 'clip_seconds': 1.0, 'size': (24, 32)}


@pytest.fixture(autouse=True)
def own_index(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
    forget_problems()


def folder_clips(root: Path, split: str, task: str = 't') -> VideoClips:
    return VideoClips(task, split, folder(split, root=str(root)), **CLIP)


def write_video(
    path: Path,
    num_frames: int,
    *,
    rate: int = 10,
    codec: str = 'mpeg4',
    gop: int = 5,
    max_b_frames: int = 0,
    form: str | None = None,
) -> Path:
    """Write a video whose frame ``i`` is a plain grey of ``4 * i``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w', format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, 'yuv420p', gop
        stream.time_base, stream.bit_rate = Fraction(1, rate), 8_000_000
        stream.codec_context.max_b_frames = max_b_frames
        for i in range(num_frames):
            picture = np.full((48, 64, 3), 4 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return path


def shown(frames: list[np.ndarray]) -> list[int]:
    """Return which frame of the written video each frame is."""
    return [round(float(frame.mean()) / 4) for frame in frames]


@pytest.mark.parametrize('suffix', ['mp4', 'avi', 'mkv', 'mov'])
def test_frames_are_those_nearest_to_the_times(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f'a.{suffix}', 60)
    assert probe(path).last_sec == pytest.approx(5.9, abs=0.01)
    times = [0.0, 0.04, 0.06, 0.96, 5.0, 5.9, 9.0]
    assert shown(read_frames(path, times)) == [0, 0, 1, 10, 50, 59, 59]
    # Late enough to be reached by seeking.
    assert shown(read_frames(path, [5.14, 5.3])) == [51, 53]


@pytest.mark.parametrize('max_b_frames', [0, 2])
@pytest.mark.parametrize('codec', ['mpeg4', 'h264'])
@pytest.mark.parametrize('suffix', ['mp4', 'avi', 'mkv'])
def test_frames_found_by_seeking_are_those_found_without(
    tmp_path: Path, suffix: str, codec: str, max_b_frames: int
) -> None:
    path = tmp_path / f'a.{suffix}'
    write_video(path, 63, codec=codec, gop=12, max_b_frames=max_b_frames)
    assert probe(path).last_sec == pytest.approx(6.2, abs=0.01)
    for start in range(40, 60):
        assert shown(read_frames(path, [start / 10, start / 10 + 0.3])) == [start, start + 3]


@pytest.mark.parametrize(('codec', 'form'), [('h264', 'h264'), ('mpeg4', 'm4v')])
def test_a_raw_stream_by_the_name_of_a_container_is_decoded(
    tmp_path: Path, codec: str, form: str
) -> None:
    path = write_video(tmp_path / 'a.mp4', 63, rate=5, codec=codec, form=form)
    # Raw streams need not know their rate; whatever it is, the frames are spread evenly over it.
    duration_sec = probe(path).last_sec
    times = [duration_sec * share for share in (0.0, 0.5, 1.0, 2.0)]
    assert shown(read_frames(path, times)) == [0, 31, 62, 62]
    assert shown(read_frames(path, times[1:])) == [31, 62, 62]


def turn(path: Path, matrix: tuple[int, ...]) -> None:
    """Write a display matrix (its turning part) into the track header of an MP4 file."""
    a, b, c, d = (value * 2**16 for value in matrix)
    content = bytearray(path.read_bytes())
    place = content.index(b'tkhd') + 4 + 40
    content[place : place + 36] = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 2**30)
    path.write_bytes(content)


@pytest.mark.parametrize(
    'matrix',
    [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)],
    ids=['90', '180', '270'],
)
def test_the_video_of_a_turned_telephone_is_upright_as_on_the_robot(
    tmp_path: Path, matrix: tuple[int, ...]
) -> None:
    path = tmp_path / 'a.mp4'
    rows, columns = np.mgrid[:48, :64]
    picture = np.stack([rows * 5, columns * 3, 0 * rows], axis=-1).astype(np.uint8)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, 'yuv420p', 8_000_000
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    turn(path, matrix)
    read, expected = cv2.VideoCapture(str(path)).read()
    assert read
    frame = read_frames(path, [0.0])[0]
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected[..., ::-1]).mean() < 4


def test_a_video_that_is_cut_off_gives_what_is_left(tmp_path: Path) -> None:
    path = write_video(tmp_path / 'a.mkv', 60)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    length_sec = probe(path).last_sec
    assert 1.0 < length_sec < 5.5
    assert shown(read_frames(path, [0.5, 99.0])) == [5, round(length_sec * 10)]


@pytest.mark.parametrize('content', [b'', b'not a video', b'\x00' * 4096])
def test_a_file_that_is_no_video_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'a.mp4'
    path.write_bytes(content)
    for read in (probe, lambda p: read_frames(p, [0.0])):
        with pytest.raises(VideoError, match=r'a\.mp4'):
            read(path)


def test_clips_have_the_label_of_their_folder_and_the_wanted_shape(tmp_path: Path) -> None:
    write_video(tmp_path / 'train' / 'wave' / 'x.mp4', 30)
    write_video(tmp_path / 'train' / 'bow' / 'y.AVI', 30)
    write_video(tmp_path / 'val' / 'wave' / 'z.mp4', 1)
    train = folder_clips(tmp_path, 'train', 'greeting')
    assert train.labels == ('bow', 'wave')
    assert [train.labels[train[i].label] for i in range(2)] == ['bow', 'wave']
    assert [train[i].index for i in range(2)] == [0, 1]
    assert train[0].frames.shape == (5, 24, 32, 3)
    # A class without videos in a split keeps its place; a video of one frame is that frame.
    val = folder_clips(tmp_path, 'val', 'greeting')
    assert val.labels == train.labels
    assert val[0].label == 1
    assert (val[0].frames == val[0].frames[:1]).all()


def test_a_clip_tells_its_file(tmp_path: Path) -> None:
    files = {write_video(tmp_path / 'train' / name / 'a.mp4', 12): name for name in ('up', 'down')}
    clips = folder_clips(tmp_path, 'train', 'action')
    for index in range(2):
        assert files[Path(clips.describe(index))] == clips.labels[clips[index].label]


def test_a_clip_spans_its_seconds(tmp_path: Path) -> None:
    write_video(tmp_path / 'val' / 'a' / 'x.mp4', 51)
    clip = folder_clips(tmp_path, 'val', 't')[0]
    # The middle second of five, at 10 frames a second.
    indices = shown(list(clip.frames.numpy().astype(float)))
    assert indices[0] == 20
    assert indices[-1] == 30
    assert indices == sorted(indices)


def test_training_clips_start_anywhere_in_the_video(tmp_path: Path) -> None:
    write_video(tmp_path / 'train' / 'a' / 'x.mp4', 51)
    clips = folder_clips(tmp_path, 'train', 't')
    starts = {shown([clips[0].frames[0].numpy()])[0] for _ in range(20)}
    assert len(starts) > 5


def test_videos_that_do_not_decode_are_left_out_with_a_warning_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / 'train' / 'a' / 'good.mp4', 20)
    (tmp_path / 'train' / 'a' / 'bad.mp4').write_bytes(b'nothing')
    (tmp_path / 'train' / 'a' / 'empty.mkv').write_bytes(b'')
    (tmp_path / 'train' / 'a' / 'notes.txt').write_text('not a video')
    with caplog.at_level(logging.WARNING):
        clips = folder_clips(tmp_path, 'train', 't')
    assert len(clips) == 1
    assert sum('bad.mp4' in record.message for record in caplog.records) == 1
    assert sum('notes.txt' in record.message for record in caplog.records) == 1
    assert len(caplog.records) == 3


def test_hidden_files_are_not_looked_at_and_classes_never_trained_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / 'train' / 'a' / 'x.mp4', 5)
    (tmp_path / 'train' / 'a' / '._x.mp4').write_bytes(b'left by another system')
    (tmp_path / 'val' / 'b').mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        clips = folder_clips(tmp_path, 'train', 't')
    assert len(clips) == 1
    (record,) = caplog.records
    assert "no video of ['b']" in record.message


def test_frames_are_converted_one_by_one(tmp_path: Path) -> None:
    path = write_video(tmp_path / 'a.mp4', 20)
    seen: list[tuple[int, ...]] = []
    frames = read_frames(
        path,
        [0.0, 0.5, 0.5, 9.0],
        lambda f: seen.append(upright_rgb(f).shape) or shown([upright_rgb(f)]),
    )
    assert frames == [[0], [5], [5], [19]]
    assert seen == [(48, 64, 3)] * 3


def test_a_missing_layout_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'holds no classes; the layout is <root>/<train\|val'):
        folder_clips(tmp_path, 'train', 't')
    (tmp_path / 'train' / 'a').mkdir(parents=True)
    with pytest.raises(ValueError, match=r"no folder 'val'; the layout is"):
        folder_clips(tmp_path, 'val', 't')
    with pytest.raises(ValueError, match=r'holds no video; the layout is'):
        folder_clips(tmp_path, 'train', 't')
    (tmp_path / 'train' / 'a' / 'x.mp4').write_bytes(b'')
    with pytest.raises(ValueError, match=r'none of its videos can be decoded'):
        folder_clips(tmp_path, 'train', 't')
    with pytest.raises(ValueError, match=r"split must be one of .*got 'dev'"):
        folder_clips(tmp_path, 'dev', 't')


@pytest.mark.skipif(not SHARED.is_dir(), reason=f'real clips are not at {SHARED}')
def test_real_clips_decode() -> None:
    paths = sorted([*SHARED.rglob('*.mkv'), *SHARED.rglob('*.avi'), *SHARED.rglob('*.mp4')])
    assert len(paths) > 20
    for path in paths:
        duration_sec = probe(path).last_sec
        assert duration_sec > 1
        assert len(read_frames(path, [0.0, duration_sec / 2, duration_sec])) == 3
