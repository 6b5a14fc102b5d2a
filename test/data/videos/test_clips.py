"""Clips of any list of videos."""

from collections import Counter
from collections.abc import Callable
import logging
from pathlib import Path
import random
import shutil
from typing import Any

from mtl_training.data.decoding import VideoError
from mtl_training.data.multitask import (
    collate_tasks,
    FixedDataset,
    MultiTaskDataset,
    MultiTaskSampler,
)
from mtl_training.data.videos import probing, reading
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.index import ClipEntry, ClipIndex
from mtl_training.data.videos.problems import problem_log
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

SHARED = Path(__file__).parents[4] / 'shared' / 'data'
CLIP: dict[str, Any] = {'num_frames': 5, 'clip_seconds': 1.0, 'size': (24, 32)}


def clips_of(paths: list[Any], split: str = 'val', **settings: Any) -> VideoClips:
    """Return clips of files, each of one class or as an entry of its own."""
    entries = [p if isinstance(p, ClipEntry) else ClipEntry(p, 0) for p in paths]
    index = ClipIndex(('a', 'b'), entries, rate_hz=10.0)
    return VideoClips('task', split, index, **{**CLIP, **settings})


def actions() -> Counter[str]:
    return Counter(problem.action for problem in problem_log().problems())


@pytest.mark.parametrize('name', ['x.avi', 'x.mp4', 'x.mkv', 'x'])
def test_a_range_of_frames_is_respected_exactly(
    tmp_path: Path,
    write_video: Callable[..., Path],
    write_pictures: Callable[..., Path],
    shown: Callable[..., list[int]],
    name: str,
) -> None:
    write = write_video if '.' in name else write_pictures
    path = write(tmp_path / name, 60)
    entries = [ClipEntry(path, 0, (start, start + 7)) for start in (0, 11, 53)]
    # As many frames as there are: each of them once; and more: nothing beside them.
    for index, start in enumerate((0, 11, 53)):
        every = clips_of(entries, num_frames=7, window='whole')[index].frames
        assert shown(every) == list(range(start, start + 7))
        span = clips_of(entries, num_frames=13, clip_seconds=99.0)[index].frames
        assert set(shown(span)) == set(range(start, start + 7))
    train = clips_of(entries, 'train', window='clip', clip_seconds=0.3, num_frames=4)
    # The first and the last frame are each in one of six draws.
    seen = {frame for _ in range(150) for frame in shown(train[1].frames)}
    assert seen == set(range(11, 18))


def test_a_range_counts_frames_where_their_rate_varies(
    tmp_path: Path, write_video: Callable[..., Path], shown: Callable[..., list[int]]
) -> None:
    pts = [10 * i + (i > 10) * 200 + i % 3 for i in range(30)]
    path = write_video(tmp_path / 'a.mkv', 30, pts=pts)
    entry = ClipEntry(path, 0, (8, 14))
    assert set(shown(clips_of([entry], num_frames=40, window='whole')[0].frames)) == {
        8,
        9,
        10,
        11,
        12,
        13,
    }
    assert len(clips_of([path], num_frames=40, window='whole')[0].frames) == 40


@pytest.mark.parametrize('name', ['a.avi', 'a.mp4', 'a.mkv', 'a.webm', 'a.gif', 'a'])
def test_videos_of_all_kinds_are_spread_over_their_length(
    tmp_path: Path,
    write_video: Callable[..., Path],
    write_pictures: Callable[..., Path],
    shown: Callable[..., list[int]],
    name: str,
) -> None:
    codec = {'webm': 'libvpx', 'gif': 'gif'}.get(name.partition('.')[2], 'mpeg4')
    path = (
        write_video(tmp_path / name, 40, codec=codec)
        if '.' in name
        else write_pictures(tmp_path / name, 40)
    )
    frames = clips_of([path], window='whole', num_frames=4)[0].frames.numpy()
    # The middles of four segments of ten; colours of GIF are few.
    assert frames.mean(axis=(1, 2, 3)) == pytest.approx([20, 60, 100, 140], abs=20)
    if codec != 'gif':
        assert shown(frames) == [5, 15, 25, 35]


def test_sound_and_a_wrong_suffix_change_nothing(
    tmp_path: Path, write_video: Callable[..., Path], shown: Callable[..., list[int]]
) -> None:
    write_video(tmp_path / 'sound.mp4', 31, with_sound=True)
    shutil.copy(write_video(tmp_path / 'wrong.mkv', 31), tmp_path / 'wrong.avi')
    clips = clips_of([tmp_path / 'sound.mp4', tmp_path / 'wrong.avi'])
    for index in range(2):
        assert shown(clips[index].frames)[::4] == [10, 20]
    assert not actions()


def test_videos_of_one_frame_work_and_are_told(
    tmp_path: Path,
    write_video: Callable[..., Path],
    write_pictures: Callable[..., Path],
    shown: Callable[..., list[int]],
) -> None:
    paths = [write_video(tmp_path / f'a.{kind}', 1) for kind in ('avi', 'mp4', 'mkv')]
    paths.append(write_pictures(tmp_path / 'a', 1))
    for window in ('clip', 'whole'):
        for split in ('train', 'val'):
            clips = clips_of(paths, split, window=window)
            assert [shown(clips[i].frames) for i in range(4)] == [[0] * 5] * 4
    assert actions() == {'repaired': 4}
    assert {problem.reason for problem in problem_log().problems()} == {'holds a single frame'}


def test_what_cannot_be_decoded_is_left_out_and_each_is_told_once(
    tmp_path: Path, write_video: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    good = write_video(tmp_path / 'good.mp4', 20)
    for name, content in (
        ('empty.avi', b''),
        ('text.mkv', b'no video'),
        ('zero.mp4', b'\0' * 999),
    ):
        (tmp_path / name).write_bytes(content)
    (tmp_path / 'cut.mp4').write_bytes(good.read_bytes()[:200])
    (tmp_path / 'folder').mkdir()
    bad = [tmp_path / n for n in ('empty.avi', 'text.mkv', 'zero.mp4', 'cut.mp4', 'folder')]
    for _ in range(2):
        clips = clips_of([*bad, good, ClipEntry(good, 0, (30, 40))])
        assert [entry.path for entry in clips.entries] == [good]
    assert actions() == {'left out': 6}
    assert len(caplog.records) == 6
    with pytest.raises(ValueError, match=r"task 'task', split 'val': none of its videos can be"):
        clips_of(bad)


def test_a_container_that_promises_more_frames_than_it_holds_is_told(
    tmp_path: Path, write_video: Callable[..., Path], shown: Callable[..., list[int]]
) -> None:
    path = write_video(tmp_path / 'a.avi', 30)
    whole = bytearray(path.read_bytes())
    for mark, offset in ((b'avih', 8 + 16), (b'strh', 8 + 32)):
        place = whole.index(mark) + offset
        assert int.from_bytes(whole[place : place + 4], 'little') == 30
        whole[place : place + 4] = (31).to_bytes(4, 'little')
    path.write_bytes(whole)
    clips = clips_of([path], window='whole', num_frames=30)
    assert shown(clips[0].frames) == list(range(30))
    (problem,) = problem_log().problems()
    assert problem.reason == 'declares 31 frames and holds 30'


def damage(path: Path, share: float, length: int = 400) -> None:
    """Overwrite a part of a video with noise."""
    content = bytearray(path.read_bytes())
    start = int(len(content) * share)
    content[start : start + length] = random.Random(0).randbytes(length)
    path.write_bytes(content)


@pytest.mark.parametrize('kind', ['avi', 'mp4', 'mkv'])
@pytest.mark.parametrize('codec', ['mpeg4', 'h264'])
def test_a_video_that_is_damaged_after_the_start_still_gives_whole_clips(
    tmp_path: Path, write_video: Callable[..., Path], kind: str, codec: str
) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (40, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / f'a.{kind}', 40, codec=codec, pictures=pictures)
    clips = clips_of([path], window='whole', num_frames=40)
    for share in (0.3, 0.5, 0.7):
        damage(path, share)
    assert clips[0].frames.shape == (40, 24, 32, 3)
    assert clips[0].frames.shape == (40, 24, 32, 3)
    assert actions() == {'repaired': 1}


@pytest.mark.parametrize('kind', ['avi', 'mkv'])
def test_the_last_good_frame_stands_for_all_that_were_cut_off(
    tmp_path: Path,
    cut_off: Callable[..., None],
    write_video: Callable[..., Path],
    shown: Callable[..., list[int]],
    kind: str,
) -> None:
    path = write_video(tmp_path / f'a.{kind}', 40)
    clips = clips_of([path], window='whole', num_frames=40)
    cut_off(path)
    frames = shown(clips[0].frames)
    last = frames[-1]
    assert 5 < last < 35
    assert frames == [*range(last), *[last] * (40 - last)]
    assert actions() == {'repaired': 1}
    assert shown(clips[0].frames) == frames
    assert actions() == {'repaired': 1}


def test_another_clip_of_its_class_stands_in_for_one_that_is_gone(
    tmp_path: Path, write_video: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    paths = [write_video(tmp_path / f'{i}.mp4', 10 + 2 * i) for i in range(5)]
    entries = [ClipEntry(path, label) for path, label in zip(paths, (0, 1, 0, 1, 0))]
    clips = clips_of(entries)
    expected = clips[3].frames
    paths[1].unlink()
    for _ in range(3):
        assert (clips[1].frames == expected).all()
    assert (clips[1].label, clips[1].index) == (1, 1)
    assert [record.message.partition(':')[0] for record in caplog.records] == ['Replaced']
    assert '3.mp4' in caplog.records[0].message
    paths[3].unlink()
    with pytest.raises(VideoError, match="none of the videos of class 'b' can be decoded any mor"):
        clips[3]


def test_what_the_lists_name_and_the_disk_lacks_is_told_in_one_warning(
    tmp_path: Path, write_video: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    entries = [ClipEntry(write_video(tmp_path / 'a.mp4', 5), 0)]
    index = ClipIndex(('a',), entries, missing=[f'v{i}.avi' for i in range(9)])
    VideoClips('task', 'val', index, **CLIP)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert '9 of 10 clips' in record.message
    assert 'v0.avi, v1.avi' in record.message
    assert 'v8' not in record.message


# -- The cache ---------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['a.avi', 'a.mp4', 'a.mkv', 'a'])
@pytest.mark.parametrize('window', ['clip', 'whole'])
def test_clips_from_the_cache_equal_those_without_it_bit_for_bit(
    tmp_path: Path,
    write_video: Callable[..., Path],
    write_pictures: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    window: str,
) -> None:
    path = (write_video if '.' in name else write_pictures)(tmp_path / name, 60)
    entries = [ClipEntry(path, 0), ClipEntry(path, 0, (50, 60))]
    settings = {'window': window, 'augment': True, 'clip_seconds': 0.8}
    plain = clips_of(entries, 'train', **settings)
    cached = clips_of(entries, 'train', cache_dir=str(tmp_path / 'cache'), **settings)
    draws = [(seed, index) for seed in range(3) for index in range(2)]
    expected = [drawn(plain, *draw) for draw in draws]
    assert all((drawn(cached, *draw) == frames).all() for draw, frames in zip(draws, expected))
    for function in ('read_frames', 'decode_range', 'read_pictures'):
        monkeypatch.setattr(reading, function, pytest.fail)
    assert all((drawn(cached, *draw) == frames).all() for draw, frames in zip(draws, expected))


def drawn(clips: VideoClips, seed: int, index: int) -> torch.Tensor:
    random.seed(seed)
    return clips[index].frames


@pytest.mark.skipif(not SHARED.is_dir(), reason=f'real clips are not at {SHARED}')
def test_real_videos_from_the_cache_equal_those_without_it(tmp_path: Path) -> None:
    paths = [*sorted((SHARED / 'ucf101_c3d').glob('*.avi')), *sorted(SHARED.rglob('b*.mkv'))[:1]]
    plain, cached = clips_of(paths), clips_of(paths, cache_dir=str(tmp_path))
    for index in range(len(paths)):
        assert (plain[index].frames == cached[index].frames).all()
        assert (plain[index].frames == cached[index].frames).all()


def test_a_clip_is_found_by_its_content_wherever_it_lies(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    path = write_video(tmp_path / 'a.mp4', 20)
    folder = tmp_path / 'cache'
    clips_of([path], cache_dir=str(folder))[0]
    (tmp_path / 'moved').mkdir()
    shutil.copy(path, tmp_path / 'moved' / 'b.mp4')
    clips_of([tmp_path / 'moved' / 'b.mp4'], cache_dir=str(folder))[0]
    assert len(list(folder.glob('??/*'))) == 1
    for settings in ({'size': (20, 20)}, {'fit': 'pad'}):
        clips_of([path], cache_dir=str(folder), **settings)[0]
    assert len(list(folder.glob('??/*'))) == 3


def test_the_cache_notes_what_was_repaired(
    tmp_path: Path, cut_off: Callable[..., None], write_video: Callable[..., Path]
) -> None:
    path = write_video(tmp_path / 'a.avi', 40)
    clips = clips_of([path], cache_dir=str(tmp_path / 'cache'), window='whole')
    cut_off(path)
    first = clips[0].frames
    (file,) = (tmp_path / 'cache').glob('??/*')
    assert b'"damage": "' in file.read_bytes()
    assert b'"damage": ""' not in file.read_bytes()
    problem_log().path.unlink()
    assert (clips_of([path], cache_dir=str(tmp_path / 'cache'))[0].frames.shape) == first.shape


def test_a_full_cache_is_told_once_and_clips_are_decoded_on(
    tmp_path: Path, write_video: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    paths = [write_video(tmp_path / f'{i}.mp4', 20 + i) for i in range(3)]
    clips = clips_of(paths, cache_dir=str(tmp_path / 'cache'), cache_gb=60e-6)
    plain = clips_of(paths)
    for _ in range(2):
        for index in range(3):
            assert (clips[index].frames == plain[index].frames).all()
    assert len(list((tmp_path / 'cache').glob('??/*'))) == 1
    assert actions() == {'not cached': 1}
    assert len(caplog.records) == 1


# -- Draws -------------------------------------------------------------------------------------


def draws(clips: VideoClips, workers: int, start: int = 0, stop: int = 6) -> list[torch.Tensor]:
    sampler = MultiTaskSampler({'t': len(clips)}, 3, tasks_at=lambda _: ['t'], start=start)
    loader = DataLoader(
        MultiTaskDataset({'t': clips}, seed=1),
        batch_sampler=sampler,
        collate_fn=collate_tasks,
        num_workers=workers,
    )
    batches = iter(loader)
    return [next(batches)['t'].frames for _ in range(start, stop)]


def test_draws_depend_on_their_place_alone(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (30, 48, 64, 3), np.uint8)
    paths = [write_video(tmp_path / f'{i}.mp4', 30, pictures=pictures) for i in range(4)]
    clips = clips_of(paths, 'train', augment=True, window='whole')
    alone = draws(clips, 0)
    assert (alone[0][0] != alone[1][0]).any()
    for others in (draws(clips, 2), [*draws(clips, 0, stop=2), *draws(clips, 2, start=2)]):
        assert all((a == b).all() for a, b in zip(alone, others))


def test_workers_tell_of_a_damaged_video_once(
    tmp_path: Path, cut_off: Callable[..., None], write_video: Callable[..., Path]
) -> None:
    paths = [write_video(tmp_path / f'{i}.avi', 40) for i in range(2)]
    clips = clips_of(paths, 'val', window='whole')
    cut_off(paths[0])
    loader = DataLoader(FixedDataset(clips), batch_size=None, num_workers=2)
    for _ in range(3):
        assert len(list(loader)) == 2
    assert actions() == {'repaired': 1}


def test_only_clips_that_may_be_are_mirrored_and_their_labels_with_them(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    columns = np.broadcast_to(np.arange(64)[:, None] * 4, (5, 48, 64, 3)).astype(np.uint8)
    path = write_video(tmp_path / 'a.mp4', 5, pictures=columns)
    labels = ('swipe left', 'swipe right', 'wave', 'half')
    entries = [ClipEntry(path, label) for label in range(4)]
    mirrored = {'swipe left': 'swipe right', 'swipe right': 'swipe left', 'half': 'not a class'}
    settings = {**CLIP, 'augment': True, 'mirror': 1.0}
    for allowed, expected in ((mirrored, [1, 0, 2, 3]), ({}, [0, 1, 2, 3]), (None, [0, 1, 2, 3])):
        index = ClipIndex(labels, entries, mirrored=allowed)
        clips = VideoClips('task', 'train', index, **settings)
        assert [clips[i].label for i in range(4)] == expected
        turned = [
            bool(clips[i].frames[0, 0, 0, 0] > clips[i].frames[0, 0, -1, 0]) for i in range(4)
        ]
        assert turned == [
            allowed is not None,
            allowed is not None,
            allowed is not None,
            allowed == {},
        ]
        plain = VideoClips('task', 'val', index, **settings)
        assert [plain[i].label for i in range(4)] == [0, 1, 2, 3]


# -- Settings ----------------------------------------------------------------------------------


def test_fewer_clips_are_spread_over_the_list_and_no_others_are_opened(
    tmp_path: Path, write_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_video(tmp_path / f'{i}.mp4', 3) for i in range(9)]
    opened: list[Path] = []
    probe = probing.probe
    monkeypatch.setattr(probing, 'probe', lambda *a: opened.append(a[0]) or probe(*a))
    clips = clips_of(paths, num_clips=3)
    assert [entry.path for entry in clips.entries] == [paths[0], paths[3], paths[6]]
    assert sorted(opened) == [paths[0], paths[3], paths[6]]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'window': 'half'}, r"window must be one of \('clip', 'whole'\), got 'half'"),
        ({'crop': (30, 20)}, r'crop \[30, 20\] is larger than size \[24, 32\]'),
        ({'num_clips': 0}, 'num_clips must be at least 1, got 0'),
        ({'cache_gb': 0.0}, r'cache_gb must be positive, got 0\.0'),
        ({'crop_scale': (2.0, 3.0)}, 'crop_scale must be'),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clips_of([Path('a.mp4')], **settings)


def test_a_clip_tells_its_file_and_its_range(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    path = write_video(tmp_path / 'a.mp4', 9)
    clips = clips_of([path, ClipEntry(path, 0, (2, 5))])
    assert clips.describe(0) == str(path)
    assert clips.describe(1) == f'{path}, frames 2 to 4'


@pytest.mark.skipif(not SHARED.is_dir(), reason=f'real clips are not at {SHARED}')
def test_real_videos_give_clips(tmp_path: Path) -> None:
    paths = sorted([*SHARED.rglob('*.mkv'), *SHARED.rglob('*_c01.avi')])[:6]
    assert len(paths) == 6
    for window in ('clip', 'whole'):
        clips = clips_of(paths, 'train', window=window, num_frames=8)
        assert len(clips) == 6
        for index in range(6):
            assert len(clips[index].frames.flatten(1).unique(dim=0)) > 4
    assert not actions()['left out']
