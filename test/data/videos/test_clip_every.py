"""Several clips of one video."""

from collections.abc import Callable
from pathlib import Path
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.data.decoding import VideoFacts
from mtl_training.data.fingerprint import fingerprint
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.index import ClipEntry, ClipIndex
from mtl_training.data.videos.sampling import num_windows, sample_times
import pytest


def clips_of(paths: list[Path], split: str = 'val', **settings: Any) -> VideoClips:
    index = ClipIndex(('a', 'b'), [ClipEntry(path, i % 2) for i, path in enumerate(paths)])
    given = {'num_frames': 5, 'clip_seconds': 0.4, 'size': (24, 32), **settings}
    return VideoClips('task', split, index, **given)


@settings(deadline=None, max_examples=60)
@given(
    num_frames=st.integers(1, 2000),
    rate=st.sampled_from([10.0, 25.0, 30.0]),
    length=st.integers(1, 60),
    every=st.integers(1, 400),
)
def test_there_are_as_many_clips_as_starts_that_fit(
    num_frames: int, rate: float, length: int, every: int
) -> None:
    facts = VideoFacts(0.0, (num_frames - 1) / rate, num_frames)
    fitting = [s for s in range(0, num_frames, every) if s + length - 1 <= num_frames - 1]
    count = num_windows(facts, max(length - 1, 1e-9) / rate, every)
    assert count == max(1, len(fitting))
    assert num_windows(facts, length / rate, None) == 1


@settings(deadline=None, max_examples=60)
@given(
    num_frames=st.integers(2, 500),
    every=st.integers(1, 200),
    is_random=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_clip_lies_in_the_video_and_in_its_own_part_of_the_starts(
    num_frames: int, every: int, is_random: bool, seed: int
) -> None:
    random.seed(seed)
    facts, length_sec = VideoFacts(0.0, (num_frames - 1) / 10, num_frames), 1.5
    count = num_windows(facts, length_sec, every)
    spare_sec = max(0.0, facts.last_sec - length_sec)
    for i in range(count):
        times_sec = sample_times(
            facts,
            16,
            window='clip',
            clip_seconds=length_sec,
            is_random=is_random,
            part=(i, count),
        )
        assert times_sec == sorted(times_sec)
        assert times_sec[0] >= i * spare_sec / count - 1e-9
        assert times_sec[0] <= (i + 1) * spare_sec / count + 1e-9
        assert times_sec[-1] <= facts.last_sec + 1e-9
    assert spare_sec / count <= every / 10 + 1e-9


def test_a_long_video_gives_several_clips_and_a_short_one_gives_one(
    tmp_path: Path, write_video: Callable[..., Path], shown: Callable[..., list[int]]
) -> None:
    long, short = (write_video(tmp_path / f'{n}.avi', n) for n in (45, 12))
    # Starts 0 to 40 of 5 frames at 10 Hz, one every 20: three clips, each in a third.
    clips = clips_of([long, short], clip_every=20)
    assert [clips.video_of(i) for i in range(len(clips))] == [str(long)] * 3 + [str(short)]
    starts = [shown(clips[i].frames)[0] for i in range(3)]
    assert starts == [pytest.approx(start, abs=1) for start in (40 / 6, 20, 200 / 6)]
    assert [clips[i].label for i in range(4)] == [0, 0, 0, 1]
    assert clips.describe(1) == f'{long}, clip 2 of 3'
    assert clips.describe(3) == str(short)
    assert len(clips_of([long, short])) == 2
    assert fingerprint(clips) != fingerprint(clips_of([long, short]))
    # Fewer clips are fewer videos.
    assert len(clips_of([long, short], clip_every=20, num_clips=1)) == 3


def test_in_training_every_start_of_a_part_is_seen_and_none_of_another(
    tmp_path: Path, write_video: Callable[..., Path], shown: Callable[..., list[int]]
) -> None:
    path = write_video(tmp_path / 'a.avi', 21)
    clips = clips_of([path], 'train', clip_every=9, cache_dir=str(tmp_path / 'cache'))
    assert len(clips) == 2
    random.seed(0)
    seen = [{shown(clips[i].frames)[0] for _ in range(80)} for i in range(2)]
    assert seen == [set(range(9)), set(range(8, 17))]


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'clip_every': 0}, 'clip_every must be at least 1, got 0'),
        ({'clip_every': 9, 'window': 'whole'}, "clip_every needs window 'clip', got 'whole'"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clips_of([], **wrong)
