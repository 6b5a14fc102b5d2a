from collections import Counter
import errno
from itertools import pairwise
from pathlib import Path
import signal
import subprocess
import sys
import time

import cv2
from mtl_training.data.synthetic import ACTIONS, FLIP_LABELS, GESTURES, SyntheticClips
from mtl_training.data.synthetic.augmentation import augmented
from mtl_training.data.synthetic.clips import halved, scene_seed, SPLITS
from mtl_training.data.synthetic.scene import Scene, scene_rng
import numpy as np
import pytest
import torch

SMALL = {'num_frames': 4, 'size': (24, 32)}
ROOT = Path(__file__).parents[2]


def clips(**settings) -> SyntheticClips:
    return SyntheticClips(**{'task': 'action', 'num_clips': 6, **SMALL, **settings})


def test_samples_have_the_contract_of_data_sets() -> None:
    data = clips(task='gesture', num_clips=10)
    sample = data[3]
    assert (data.task, data.labels, len(data)) == ('gesture', GESTURES, 10)
    assert sample.frames.shape == (4, 24, 32, 3)
    assert sample.frames.dtype == torch.uint8
    assert sample.index == 3
    assert data.labels[sample.label] == data.scene(3).label


def test_clips_of_nothing_show_idle_people_and_empty_places_in_turn() -> None:
    data = clips(task='nothing', num_clips=10, augment=True)
    assert data.labels == ('idle', 'empty')
    shown = Counter(data.labels[data[i].label] for i in range(10))
    assert shown == {'idle': 5, 'empty': 5}
    for i in range(10):
        scene = data.scene(i)
        assert (scene.task, scene.label) == (None, None)
        assert bool(scene.people) == (data.labels[data[i].label] == 'idle')


def test_clips_of_the_tasks_are_those_from_before_there_was_nothing() -> None:
    # Checkpoints were evaluated on them: these are numbers of the first release.
    for task, place in (('action', 0), ('gesture', 1)):
        data = clips(task=task, split='test', num_clips=18, seed=3)
        order = np.random.default_rng([(3 * 4 + 2) * 2**32, place])
        labels = [data.labels[i] for _ in range(2) for i in order.permutation(9)]
        assert [data.scene(i).label for i in range(18)] == labels
        seeds = [data.scene(i).seed for i in range(18)]
        assert seeds == [(3 * 4 + 2) * 2**32 + 2 * i + place for i in range(18)]


def test_equal_arguments_give_equal_clips_and_other_seeds_others() -> None:
    first, again, other = clips(), clips(), clips(seed=1)
    for i in range(3):
        assert torch.equal(first[i].frames, again[i].frames)
        assert first[i].label == again[i].label
        assert not torch.equal(first[i].frames, other[i].frames)


@pytest.mark.parametrize('num_clips', [5, 9, 40])
def test_labels_are_balanced_to_within_one(num_clips: int) -> None:
    data = clips(num_clips=num_clips)
    counts = Counter(data.scene(i).label for i in range(num_clips))
    full = [counts.get(label, 0) for label in ACTIONS]
    assert max(full) - min(full) <= 1


def test_scenes_of_splits_seeds_and_tasks_are_all_different() -> None:
    data = [
        clips(task=task, split=split, seed=seed, num_clips=30)
        for task in ('action', 'gesture', 'nothing')
        for split in ('train', 'val', 'test')
        for seed in (0, 1)
    ]
    seeds = [one.scene(i).seed for one in data for i in range(30)]
    assert len(set(seeds)) == len(seeds)
    ends = sorted(
        (scene_seed(split, seed, 0), scene_seed(split, seed, 2**32 - 1))
        for split in SPLITS
        for seed in (0, 1, 2**24 - 1)
    )
    assert all(last < first for (_, last), (first, _) in pairwise(ends))


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('task', ['action', 'gesture'])
def test_where_a_clip_starts_says_nothing_about_the_number_of_people(
    task: str, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []

    def window(self: Scene, rng: np.random.Generator, clip_seconds: float) -> float:
        shares.append(rng.random())
        return 0.0

    monkeypatch.setattr(Scene, 'window', window)
    data = clips(task=task, split=split, num_clips=200)
    counts = [len(data.scene(i).people) for i in range(200)]
    for i in range(200):
        data.times(i)
    # Independent numbers are this far apart in one of 16,000 cases.
    assert abs(np.corrcoef(shares, counts)[0, 1]) < 4 / np.sqrt(200)
    alone = [share for share, count in zip(shares, counts) if count == 1]
    assert min(alone) < 0.1
    assert max(alone) > 0.9


def test_streams_of_random_numbers_are_shared_by_no_two_scenes() -> None:
    seeds = [0, 1, 2, *(split * 2**32 + i for split in (1, 2, 3, 4, 5, 6, 7) for i in (0, 1, 2))]
    draws = ['people', 'camera', 'place', 'effects', 'words', 'label', 'window']
    numbers = [scene_rng(seed, draw).integers(2**62) for seed in seeds for draw in draws]
    assert len(set(numbers)) == len(numbers)


def test_the_number_of_processes_does_not_change_the_clips(tmp_path: Path) -> None:
    alone = clips(num_clips=20, cache_dir=tmp_path / 'alone')
    shared = clips(num_clips=20, cache_dir=tmp_path / 'shared', workers=2)
    uncached = clips(num_clips=20)
    for i in range(20):
        assert torch.equal(alone[i].frames, shared[i].frames)
    assert torch.equal(alone[7].frames, uncached[7].frames)


def cache_file(folder: Path) -> Path:
    (path,) = (path for path in folder.glob('*.npy') if not path.name.startswith('.'))
    return path


def test_a_whole_cache_is_used_and_a_truncated_one_is_rendered_again(tmp_path: Path) -> None:
    expected = clips(cache_dir=tmp_path)[5].frames
    path = cache_file(tmp_path)
    written = path.stat().st_mtime_ns
    assert torch.equal(clips(cache_dir=tmp_path)[5].frames, expected)
    assert path.stat().st_mtime_ns == written
    content = path.read_bytes()
    for damaged in (content[:-100], content[:40], b''):
        path.write_bytes(damaged)
        assert torch.equal(clips(cache_dir=tmp_path)[5].frames, expected)
        assert path.read_bytes() == content


def test_every_argument_that_changes_clips_has_its_own_cache(tmp_path: Path) -> None:
    variants = [
        {}, {'task': 'gesture'}, {'split': 'val'}, {'seed': 3}, {'num_frames': 5},
        {'size': (24, 30)}, {'clip_seconds': 1.5}, {'num_clips': 2},
    ]  # fmt: skip
    for variant in variants:
        clips(**{'num_clips': 1, **variant}, cache_dir=tmp_path)
    assert len(list(tmp_path.glob('*.npy'))) == len(variants)


def test_other_labels_have_another_cache() -> None:
    data = clips()
    name = data.name()
    data.labels = data.labels[::-1]
    assert data.name() != name


def test_a_full_disk_is_found_before_rendering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('os.posix_fallocate', full)
    with pytest.raises(OSError, match=r'No space left on device, 0 MB of rendered clips need it'):
        clips(cache_dir=tmp_path)
    assert not list(tmp_path.glob('*.npy'))


def test_a_killed_writer_leaves_nothing_that_passes_for_a_cache(tmp_path: Path) -> None:
    script = (
        'from mtl_training.data.synthetic import SyntheticClips\n'
        f'SyntheticClips("action", num_clips=4000, num_frames=4, size=(24, 32), '
        f'cache_dir={str(tmp_path)!r})\n'
    )
    with subprocess.Popen(
        [sys.executable, '-c', script], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as writer:
        deadline = time.monotonic() + 40
        while not list(tmp_path.glob('.*.partial.npy')):
            assert time.monotonic() < deadline
            assert writer.poll() is None
            time.sleep(0.02)
        time.sleep(0.1)
        writer.send_signal(signal.SIGKILL)
    assert list(tmp_path.glob('[!.]*')) == []
    # The next one over the same name renders afresh; here a smaller set under that name.
    (partial,) = tmp_path.glob('.*.partial.npy')
    fresh = clips(num_clips=2)
    partial.rename(tmp_path / f'.{fresh.name()}.partial.npy')
    cached = clips(num_clips=2, cache_dir=tmp_path)
    assert torch.equal(cached[1].frames, fresh[1].frames)
    assert not list(tmp_path.glob('.*.partial.npy'))


def test_halving_is_antialiased_bilinear_reduction() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None].float(),
        size=(24, 32),
        mode='bilinear',
        antialias=True,
    )[0].permute(1, 2, 0)
    difference = np.abs(halved(image).astype(float) - expected.numpy())[1:-1, 1:-1]
    assert difference.max() <= 1.0


def test_augmentation_follows_the_random_state_of_torch_and_flips_labels() -> None:
    plain, varied = (
        clips(task='gesture', num_clips=18),
        clips(task='gesture', num_clips=18, augment=True),
    )
    torch.manual_seed(0)
    first = [varied[i] for i in range(18)]
    torch.manual_seed(0)
    again = [varied[i] for i in range(18)]
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(first, again))
    changed = 0
    for i in range(18):
        before, after = GESTURES[plain[i].label], GESTURES[first[i].label]
        assert after in (before, FLIP_LABELS[before])
        changed += after != before
    assert changed > 0


def test_augmented_clips_are_mirrored_when_they_say_so() -> None:
    rows, columns = np.mgrid[:48, :64]
    ramp = np.repeat((columns * 2 + rows)[None, ..., None], 3, axis=-1).astype(np.uint8)
    frames = np.repeat(ramp, 2, axis=0)
    seen = set()
    for seed in range(20):
        result, flipped = augmented(frames, np.random.default_rng(seed))
        assert result.shape == frames.shape
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result[0], result[1])
        slope = result[0, 24, 48].astype(float).mean() - result[0, 24, 16].astype(float).mean()
        assert (slope < 0) == flipped
        seen.add(flipped)
    assert seen == {True, False}


def test_clips_are_lively_pictures() -> None:
    data = clips(num_clips=9, size=(48, 64))
    for i in range(9):
        frames = data[i].frames.numpy().astype(float)
        assert frames.std() > 8
        assert np.abs(np.diff(frames, axis=0)).max() > 20
        assert cv2.Laplacian(frames[0].mean(-1), cv2.CV_64F).std() > 1


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'task': 'pose'}, "task must be one of .*, got 'pose'"),
        ({'split': 'tests'}, "split must be one of .*, got 'tests'"),
        ({'num_clips': 0}, 'num_clips and num_frames must be positive, got 0 and 4'),
        ({'clip_seconds': 4.0}, r'clip_seconds must be in \(0, 3\], got 4.0'),
        ({'seed': -1}, 'seed must be from 0'),
    ],
)
def test_wrong_data_sets_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clips(**settings)


def test_indices_beyond_the_end_are_refused() -> None:
    with pytest.raises(IndexError, match='from 0 to 5, got 6'):
        clips()[6]
