"""Levels and messages of the diagnostics, from figures made up."""

from __future__ import annotations

import time

from mtl_perception.ros.diagnostics import (
    ERROR,
    inference_status,
    inference_values,
    input_values,
    InputDiagnostics,
    memory_values,
    OK,
    RECENT_SEC,
    WARN,
)
from mtl_perception.ros.stream_statistics import StreamStatistics
from mtl_perception.runtime.window_memory import MemoryState
import pytest


@pytest.fixture
def statistics() -> StreamStatistics:
    running = StreamStatistics()
    now = time.monotonic()
    running.used_sec = running.received_sec = running.recognised_sec = now
    running.num_distinct = 16
    return running


def test_all_is_well(statistics: StreamStatistics) -> None:
    assert InputDiagnostics(statistics).status(None, 16) == (OK, 'images arrive')
    assert inference_status(statistics, 2.0) == (OK, 'recognising')


def test_waiting_is_no_trouble() -> None:
    statistics = StreamStatistics()
    level, message = InputDiagnostics(statistics).status(None, 16)
    assert (level, message) == (OK, 'waiting for the first image')
    assert inference_status(statistics, 2.0)[0] == OK
    assert input_values(statistics, '/image', 0.0)['input age [s]'] == ''


def test_what_the_watchdog_says_is_an_error(statistics: StreamStatistics) -> None:
    assert InputDiagnostics(statistics).status('silence', 16) == (ERROR, 'silence')


@pytest.mark.parametrize('kind', ['refused', 'events'])
def test_trouble_is_a_warning_while_it_is_new(
    statistics: StreamStatistics, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    diagnostics = InputDiagnostics(statistics)
    getattr(statistics, kind).add('backward_stamp')
    level, message = diagnostics.status(None, 16)
    assert level == WARN
    assert 'backward_stamp' in message
    later = time.monotonic() + RECENT_SEC + 1
    monkeypatch.setattr(time, 'monotonic', lambda: later)
    assert diagnostics.status(None, 16)[0] == OK


def test_a_fast_camera_is_no_trouble_but_a_slow_one_is(statistics: StreamStatistics) -> None:
    statistics.events.add('thinned')
    assert InputDiagnostics(statistics).status(None, 16)[0] == OK
    level, message = InputDiagnostics(statistics).status(None, 20)
    assert level == WARN
    assert 'the camera is slow' in message


def test_failing_inference_is_an_error_for_a_while(
    statistics: StreamStatistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics.error, statistics.error_sec = 'RuntimeError: no', time.monotonic()
    assert inference_status(statistics, 2.0) == (ERROR, 'inference fails: RuntimeError: no')
    later = time.monotonic() + RECENT_SEC + 1
    monkeypatch.setattr(time, 'monotonic', lambda: later)
    level, message = inference_status(statistics, 2.0)
    assert level == WARN
    assert 'nothing recognised for 6.' in message


def test_frames_in_which_nothing_was_due_are_no_trouble(statistics: StreamStatistics) -> None:
    now_sec = time.monotonic()
    statistics.recognised_sec = now_sec - 9
    statistics.paused_sec = now_sec - 1
    assert inference_status(statistics, 2.0) == (OK, 'recognising')
    statistics.paused_sec = now_sec - 3
    level, message = inference_status(statistics, 2.0)
    assert level == WARN
    assert 'nothing recognised for 9.' in message


def test_latency_is_said_only_where_stamps_and_clock_agree(statistics: StreamStatistics) -> None:
    for value in (10.0, 20.0, 30.0):
        statistics.stamp_ms.add(value)
    assert inference_values(statistics, 0)['stamp to published p50 [ms]'] == '20.00'
    statistics.stamp_ms.clear()
    statistics.stamp_ms.add(1.7e12)
    assert 'use_sim_time' in inference_values(statistics, 0)['stamp to published']


def test_counts_are_listed_by_kind(statistics: StreamStatistics) -> None:
    statistics.refused.add('encoding', 3)
    statistics.events.add('gap')
    values = input_values(statistics, '/image', 1.5)
    assert values['refused: encoding'] == '3'
    assert values['event: gap'] == '1'
    assert values['frames at hand [s]'] == '1.50'


@pytest.mark.parametrize(
    ('span_sec', 'hole_sec', 'level', 'text'),
    [
        (3.25, 0.1, OK, 'the memory holds 3.2 of 7.5 s: not all is told yet'),
        (7.5, 0.1, OK, 'recognising'),
        (7.5, 1.0, OK, 'recognising'),
        (
            8.0,
            1.1,
            WARN,
            'too seldom for the memory: up to 1.1 s apart, the network learnt from 0.5',
        ),
    ],
)
def test_the_memory_says_what_it_lacks(
    statistics: StreamStatistics, span_sec: float, hole_sec: float, level: bytes, text: str
) -> None:
    memory = MemoryState(span_sec, 7.5, 20, hole_sec, 0.5)
    found, message = inference_status(statistics, 2.0, memory)
    assert found == level
    assert text in message
    assert memory_values(memory)['remembered [s]'] == f'{span_sec:.2f}'
    assert memory_values(None) == {}
