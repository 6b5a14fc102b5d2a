"""The inference thread with a recognizer that misbehaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
import threading
import time
from typing import Any

from mtl_perception.ros.inference_thread import InferenceThread
from mtl_perception.ros.parameters import PerceptionParameters
from mtl_perception.ros.stream_statistics import StreamStatistics
from mtl_perception.runtime.frame_buffer import Frame
from mtl_perception.runtime.results import FrameResult, Recognition, RecognitionSettings, Results
import pytest
import torch


class FakeRecognizer:
    """Recognises at once, or raises what it is told to."""

    def __init__(self) -> None:
        self.news = threading.Event()
        self.error: Exception | None = None
        self.num_threads = 0
        self.settings: RecognitionSettings | None = None
        self.refusals: list[ValueError] = []
        self.finds_people = False
        self.is_pause = False

    def wait_for_frame(self, timeout_sec: float) -> bool:
        return self.news.wait(timeout_sec)

    def wake(self) -> None:
        self.news.set()

    def recognise(self, settings: RecognitionSettings) -> Results:
        self.news.clear()
        self.num_threads = torch.get_num_threads()
        self.settings = settings
        if self.error is not None:
            raise self.error
        if self.is_pause:
            return Results(is_pause=True)
        now_sec = time.monotonic()
        action = Recognition('action', 'walk', 1.0, [], 2, 1, 'camera', now_sec, 4)
        return Results(
            recognitions=[action],
            people=FrameResult([], 2, 'camera', now_sec, (4, 4)) if self.finds_people else None,
            frame=Frame(2, 'camera', (4, 4), now_sec),
            branch_sec={'clip': 0.01, 'frame': 0.02},
            errors=self.refusals,
        )


class Bench:
    def __init__(self, **parameters: Any) -> None:
        self.recognizer = FakeRecognizer()
        self.statistics = StreamStatistics()
        self.published: list[Results] = []
        self.shown: list[Results] = []
        self.show_error: Exception | None = None
        self.lines: list[str] = []
        self.is_running = True
        self.parameters = PerceptionParameters(**parameters)
        self.thread = InferenceThread(
            self.recognizer,  # type: ignore[arg-type]
            self.statistics,
            parameters=lambda: self.parameters,
            publish=self.published.append,
            show=self.show,
            log_error=self.lines.append,
            is_running=lambda: self.is_running,
            num_threads=3,
        )

    def show(self, results: Results) -> None:
        self.shown.append(results)
        if self.show_error is not None:
            raise self.show_error


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.thread.close()


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_frame_leads_to_a_publication(bench: Bench) -> None:
    bench.recognizer.news.set()
    wait_for(lambda: bench.shown)  # which comes after the figures
    assert bench.statistics.counts['recognised'] == 1
    assert bench.shown == bench.published
    assert len(bench.published) == 1
    assert bench.statistics.num_distinct == 4
    assert bench.statistics.node_ms.percentiles(50)
    assert bench.statistics.clip_ms.percentiles(50) == [pytest.approx(10.0)]
    assert bench.statistics.frame_ms.percentiles(50) == [pytest.approx(20.0)]
    assert bench.statistics.num_people is None
    bench.recognizer.finds_people = True
    bench.recognizer.news.set()
    wait_for(lambda: bench.statistics.num_people == 0)


def test_a_branch_that_refuses_is_noted_and_the_other_is_published(bench: Bench) -> None:
    bench.recognizer.refusals = [ValueError('outputs must be finite')]
    bench.recognizer.news.set()
    wait_for(lambda: bench.published)
    assert bench.statistics.counts['errors'] == 1
    assert 'outputs must be finite' in bench.statistics.error
    assert len(bench.lines) == 1


def test_its_threads_are_its_own(bench: Bench) -> None:
    before = torch.get_num_threads()
    bench.recognizer.news.set()
    wait_for(lambda: bench.published)
    assert bench.recognizer.num_threads == 3
    assert torch.get_num_threads() == before


def test_live_parameters_hold_from_the_next_clip_on(bench: Bench) -> None:
    changed = {
        'min_score': 0.9,
        'min_relevance': 0.7,
        'min_caption_score': -0.5,
        'smoothing_sec': 1.5,
        'top_k': 7,
        'clip_every': 2,
        'frame_every': 3,
        'min_person_score': 0.3,
        'min_keypoint_score': 0.4,
        'max_track_age_sec': 5.0,
    }
    for count, values in enumerate(({}, changed), 1):
        bench.parameters = PerceptionParameters(**values)
        bench.recognizer.news.set()
        wait_for(lambda count=count: len(bench.published) == count)
        assert bench.recognizer.settings == bench.parameters.recognition
    assert asdict(bench.parameters.recognition) == changed


def test_an_error_is_counted_and_the_next_frame_gets_its_try(bench: Bench) -> None:
    bench.recognizer.error = RuntimeError('out of memory')
    for count in (1, 2):
        bench.recognizer.news.set()
        wait_for(lambda count=count: bench.statistics.counts['errors'] == count)
    assert bench.statistics.error == 'RuntimeError: out of memory'
    assert bench.statistics.error_sec is not None
    assert len(bench.lines) == 1
    assert 'Inference failed (1 so far)' in bench.lines[0]
    bench.recognizer.error = None
    bench.recognizer.news.set()
    wait_for(lambda: bench.published)


def test_results_that_cannot_be_shown_are_out_all_the_same(bench: Bench) -> None:
    bench.show_error = ValueError('no such colour')
    for count in (1, 2):
        bench.recognizer.news.set()
        wait_for(lambda count=count: len(bench.shown) == count)
    wait_for(lambda: bench.lines)
    assert len(bench.lines) == 1
    assert 'Showing the results failed' in bench.lines[0]
    assert 'ValueError: no such colour' in bench.lines[0]
    assert bench.statistics.counts['recognised'] == len(bench.published) == 2
    assert bench.statistics.counts['errors'] == 0
    assert bench.statistics.error_sec is None


def test_frames_in_which_nothing_is_due_are_noted(bench: Bench) -> None:
    bench.recognizer.is_pause = True
    bench.recognizer.news.set()
    wait_for(lambda: bench.statistics.paused_sec)
    assert not bench.published
    assert bench.statistics.recognised_sec is None


def test_errors_of_a_node_that_is_going_down_are_none(bench: Bench) -> None:
    bench.is_running = False
    bench.recognizer.error = RuntimeError('the context is gone')
    bench.recognizer.news.set()
    wait_for(lambda: not bench.recognizer.news.is_set())
    bench.thread.close()
    assert not bench.lines
    assert bench.statistics.counts['errors'] == 0


def test_the_rate_has_a_limit() -> None:
    bench = Bench(max_rate_hz=20.0)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        bench.recognizer.news.set()
        time.sleep(0.002)
    bench.thread.close()
    assert 2 <= len(bench.published) <= 12


def test_a_higher_rate_takes_effect_at_once() -> None:
    bench = Bench(max_rate_hz=0.01)
    bench.recognizer.news.set()
    wait_for(lambda: bench.published)
    bench.recognizer.news.set()
    time.sleep(0.3)  # the thread waits its hundred seconds
    assert len(bench.published) == 1
    bench.parameters = PerceptionParameters(max_rate_hz=0.0)
    wait_for(lambda: len(bench.published) == 2)
    bench.thread.close()


def test_closing_does_not_wait_for_a_frame() -> None:
    start = time.monotonic()
    Bench(max_rate_hz=0.001).thread.close()
    assert time.monotonic() - start < 5
