"""Rolling figures against numpy, and counts from many threads."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st
from mtl_perception.runtime.statistics import Counters, Rate, RollingStatistics
import numpy as np
import pytest


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_percentiles_are_those_of_the_last_values(values: list[float]) -> None:
    statistics = RollingStatistics(size=10)
    for value in values:
        statistics.add(value)
    assert statistics.percentiles(50, 95) == pytest.approx(np.percentile(values[-10:], [50, 95]))


def test_no_values_have_no_percentiles() -> None:
    statistics = RollingStatistics()
    assert statistics.percentiles(50) is None
    statistics.add(1.0)
    statistics.clear()
    assert statistics.percentiles(50) is None


@pytest.mark.parametrize('rate_hz', [1, 30, 120])
def test_a_steady_stream_has_its_rate(rate_hz: int) -> None:
    rate = Rate(window_sec=3.0)
    for index in range(10 * rate_hz):
        rate.add(index / rate_hz)
    assert rate.per_second(10 - 1 / rate_hz) == pytest.approx(rate_hz)


def test_a_stream_that_ended_has_no_rate() -> None:
    rate = Rate(window_sec=3.0)
    for index in range(10):
        rate.add(index / 10)
    assert rate.per_second(5.0) == 0
    rate.add(6.0)
    assert rate.per_second(6.0) == 0
    rate.clear()
    assert rate.per_second(6.0) == 0


def test_no_count_is_lost_between_threads() -> None:
    counters = Counters()

    def count() -> None:
        for _ in range(2000):
            counters.add('a')
            counters.add('b', 2)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.as_dict() == {'a': 8000, 'b': 16000}
    assert counters['never'] == 0
    assert 'never' not in counters.as_dict()
