"""The clip buffer against a slow reference, at every camera rate, and from two threads."""

from __future__ import annotations

import threading

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, RuleBasedStateMachine
from mtl_perception.runtime.clip_buffer import Admission, ClipBuffer
import numpy as np
import pytest
import torch

SECOND = 1_000_000_000
# A stamp of today: as a double in seconds it could not hold its nanoseconds.
NOW = 1_795_000_000 * SECOND + 123_456_789
NUM_FRAMES, CLIP_SEC, SIZE = 5, 0.5, (2, 3)


def make_buffer(**settings: float) -> ClipBuffer:
    return ClipBuffer(NUM_FRAMES, CLIP_SEC, SIZE, **settings)


def frame(value: float) -> torch.Tensor:
    return torch.full((3, *SIZE), float(value))


def fill(buffer: ClipBuffer, stamps_ns: list[int]) -> None:
    for index, stamp_ns in enumerate(stamps_ns):
        buffer.append(frame(index), stamp_ns)


@pytest.mark.parametrize('rate_hz', [10, 15, 24, 30, 60, 120, 500], ids='{}Hz'.format)
def test_a_clip_spans_its_seconds_at_every_rate(rate_hz: int) -> None:
    buffer = make_buffer()
    period_ns = SECOND / rate_hz
    step_ns = CLIP_SEC * SECOND / (NUM_FRAMES - 1)
    # A camera faster than the buffer needs is thinned to eight frames a step, at least.
    bound_ns = max(period_ns, step_ns / 6) / 2
    wanted_ns = np.linspace(-CLIP_SEC, 0, NUM_FRAMES) * SECOND
    for index in range(3 * rate_hz):
        since_start_ns = round(index * period_ns)
        buffer.append(frame(index), NOW + since_start_ns)
        clip = buffer.snapshot()
        if clip is None:
            assert since_start_ns + period_ns / 2 < CLIP_SEC * SECOND + 1
            continue
        assert since_start_ns + bound_ns > CLIP_SEC * SECOND - 1
        found_ns = clip.stamps_ns - (NOW + since_start_ns)
        assert found_ns[-1] == 0
        assert np.abs(found_ns - wanted_ns).max() <= bound_ns + 2


def test_a_clip_holds_the_frames_of_its_stamps() -> None:
    buffer = make_buffer()
    stamps_ns = [NOW + i * SECOND // 20 for i in range(40)]
    fill(buffer, stamps_ns)
    clip = buffer.snapshot()
    assert clip is not None
    assert clip.frames.shape == (1, 3, NUM_FRAMES, *SIZE)
    for position, stamp_ns in enumerate(clip.stamps_ns):
        assert (clip.frames[0, :, position] == stamps_ns.index(stamp_ns)).all()


def test_a_start_that_was_not_seen_is_never_padded() -> None:
    buffer = make_buffer()
    fill(buffer, [NOW + i * SECOND // 100 for i in range(49)])
    assert buffer.snapshot() is None
    assert buffer.span_sec == pytest.approx(0.48)


@pytest.mark.parametrize(
    ('step_ns', 'source', 'expected'),
    [
        (-1, 'a', Admission.BACKWARD),
        (-3600 * SECOND, 'a', Admission.BACKWARD),
        (SECOND + 1, 'a', Admission.GAP),
        (SECOND // 20, 'b', Admission.NEW_SOURCE),
    ],
)
def test_an_interruption_starts_a_new_clip(step_ns: int, source: str, expected: Admission) -> None:
    buffer = make_buffer(max_gap_sec=1.0)
    stamps_ns = [NOW + i * SECOND // 20 for i in range(20)]
    for stamp_ns in stamps_ns:
        buffer.append(frame(0), stamp_ns, source='a')
    before = buffer.snapshot()
    assert before is not None
    after_ns = stamps_ns[-1] + step_ns
    assert buffer.append(frame(1), after_ns, source=source) is expected
    assert buffer.span_sec == 0
    assert buffer.snapshot() is None
    for index in range(1, 12):
        buffer.append(frame(1), after_ns + index * SECOND // 20, source=source)
    clip = buffer.snapshot()
    assert clip is not None
    assert clip.generation == before.generation + 1
    assert clip.stamps_ns.min() >= after_ns
    assert (clip.frames == 1).all()


def test_a_gap_of_exactly_the_limit_is_none() -> None:
    buffer = make_buffer(max_gap_sec=1.0)
    buffer.append(frame(0), NOW)
    assert buffer.append(frame(0), NOW + SECOND) is Admission.STORED


def test_a_duplicate_stamp_is_skipped() -> None:
    buffer = make_buffer()
    stamps_ns = [NOW + i * SECOND // 20 for i in range(20)]
    fill(buffer, stamps_ns)
    assert buffer.append(frame(-1), stamps_ns[-1]) is Admission.DUPLICATE
    clip = buffer.snapshot()
    assert clip is not None
    assert (clip.frames >= 0).all()


def test_a_clip_that_was_seen_is_not_given_again() -> None:
    buffer = make_buffer()
    fill(buffer, [NOW + i * SECOND // 20 for i in range(20)])
    clip = buffer.snapshot()
    assert clip is not None
    assert buffer.snapshot(newer_than=clip.sequence) is None
    buffer.append(frame(0), NOW + SECOND)
    assert buffer.snapshot(newer_than=clip.sequence) is not None


def test_a_clip_of_one_frame_is_the_newest() -> None:
    buffer = ClipBuffer(1, 1.0, SIZE)
    for index in range(30):
        buffer.append(frame(index), NOW + index)
        clip = buffer.snapshot()
        assert clip is not None
        assert (clip.frames == index).all()


def test_what_came_with_the_newest_frame_comes_with_the_clip() -> None:
    buffer = make_buffer()
    for index in range(20):
        stamp_ns = NOW + index * SECOND // 20
        buffer.append(frame(0), stamp_ns, source='camera', received_sec=float(index))
    clip = buffer.snapshot()
    assert clip is not None
    assert (clip.source, clip.received_sec, clip.sequence) == ('camera', 19.0, 20)


@given(
    steps=st.lists(st.integers(1, SECOND // 5), min_size=2, max_size=60),
    num_frames=st.integers(1, 9),
)
@settings(max_examples=80, deadline=None)
def test_frames_are_the_nearest_that_were_kept(steps: list[int], num_frames: int) -> None:
    buffer = ClipBuffer(num_frames, CLIP_SEC, (1, 1))
    kept: list[tuple[int, int]] = []
    stamp_ns = NOW
    for index, step_ns in enumerate(steps):
        stamp_ns += step_ns
        if buffer.append(torch.full((3, 1, 1), float(index)), stamp_ns) is Admission.THINNED:
            kept.pop()
        kept.append((stamp_ns, index))
    clip = buffer.snapshot()
    if clip is None:
        return
    kept = kept[-buffer.capacity :]
    for position in range(num_frames):
        share = position / (num_frames - 1) if num_frames > 1 else 1
        wanted_ns = stamp_ns - round((1 - share) * CLIP_SEC * SECOND)
        nearest_ns = min(abs(ns - wanted_ns) for ns, _ in kept)
        assert abs(abs(int(clip.stamps_ns[position]) - wanted_ns) - nearest_ns) <= 1
        assert (int(clip.stamps_ns[position]), int(clip.frames[0, 0, position, 0, 0])) in kept
    assert clip.num_distinct == len(set(clip.stamps_ns.tolist()))


class BufferMachine(RuleBasedStateMachine):
    """Any order of frames, jumps and resets, beside a list that forgets nothing by mistake."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = ClipBuffer(NUM_FRAMES, CLIP_SEC, (1, 1), max_gap_sec=0.4)
        self.frames: list[tuple[int, int]] = []
        self.stamp_ns = NOW
        self.index = 0
        self.source = 'a'

    def give(self) -> Admission:
        self.index += 1
        pixels = torch.full((3, 1, 1), float(self.index))
        return self.buffer.append(pixels, self.stamp_ns, source=self.source)

    @rule(step_ns=st.integers(SECOND // 200, SECOND * 2 // 5))
    def follow(self, step_ns: int) -> None:
        self.stamp_ns += step_ns
        admission = self.give()
        assert not admission.is_reset
        if admission is Admission.THINNED:
            self.frames.pop()
        self.frames.append((self.stamp_ns, self.index))

    @precondition(lambda self: self.frames)
    @rule(step_ns=st.sampled_from([-10 * SECOND, -1, SECOND * 2 // 5 + 1, 5 * SECOND]))
    def jump(self, step_ns: int) -> None:
        self.stamp_ns += step_ns
        assert self.give() is (Admission.BACKWARD if step_ns < 0 else Admission.GAP)
        self.frames = [(self.stamp_ns, self.index)]

    @precondition(lambda self: self.frames)
    @rule()
    def repeat(self) -> None:
        assert self.give() is Admission.DUPLICATE

    @precondition(lambda self: self.frames)
    @rule()
    def change_source(self) -> None:
        self.source += 'a'
        self.stamp_ns += SECOND // 10
        assert self.give() is Admission.NEW_SOURCE
        self.frames = [(self.stamp_ns, self.index)]

    @rule()
    def reset(self) -> None:
        self.buffer.reset()
        self.frames = []

    @invariant()
    def agrees(self) -> None:
        clip = self.buffer.snapshot()
        kept = self.frames[-self.buffer.capacity :]
        span_ns = kept[-1][0] - kept[0][0] if kept else 0
        period_ns = span_ns // max(len(kept) - 1, 1)
        if not kept or span_ns + period_ns // 2 < CLIP_SEC * SECOND - 1:
            assert clip is None
        elif span_ns + period_ns // 2 > CLIP_SEC * SECOND + 1:
            assert clip is not None
        if clip is not None:
            found = [*zip(clip.stamps_ns.tolist(), clip.frames[0, 0, :, 0, 0].int().tolist())]
            assert set(found) <= set(kept)
            assert found[-1] == kept[-1]


TestBufferMachine = BufferMachine.TestCase
TestBufferMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_no_thread_ever_sees_a_frame_half_written() -> None:
    size = (64, 64)
    buffer = ClipBuffer(8, 0.01, size)
    done = threading.Event()
    failures: list[str] = []

    def produce() -> None:
        # Spaced so that frames are thinned too: the newest slot is then written over and over.
        for index in range(1, 4000):
            buffer.append(torch.full((3, *size), float(index)), NOW + index * 90_000)
        done.set()

    def consume() -> None:
        seen = -1
        while not done.is_set():
            clip = buffer.snapshot(newer_than=seen)
            if clip is None:
                continue
            seen = clip.sequence
            lowest = clip.frames.amin((0, 1, 3, 4)).long()
            highest = clip.frames.amax((0, 1, 3, 4)).long()
            expected = (clip.stamps_ns - NOW) // 90_000
            if not (lowest.tolist() == highest.tolist() == expected.tolist()):
                failures.append(f'{lowest} {highest} {expected}')

    threads = [threading.Thread(target=produce), threading.Thread(target=consume)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done.is_set()
    assert not failures


def test_a_fast_camera_costs_no_more_memory() -> None:
    buffer = make_buffer()
    kinds = [buffer.append(frame(0), NOW + i * SECOND // 1000) for i in range(3000)]
    assert set(kinds) == {Admission.STORED, Admission.THINNED}
    assert kinds.count(Admission.STORED) <= 6 * buffer.capacity + 1
    assert buffer.snapshot() is not None
