"""Log lines are counted, not repeated."""

from __future__ import annotations

from mtl_perception.ros.throttle import Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_kind_comes_at_once_and_then_at_most_once_a_period() -> None:
    lines: list[str] = []
    clock = Clock()
    throttle = Throttle(lines.append, period_sec=10.0, clock=clock)
    for step in range(250):
        clock.now = step / 10
        throttle('a', f'line {step}')
    assert lines == [
        'line 0',
        'line 100 (and 99 more since the last such line)',
        'line 200 (and 99 more since the last such line)',
    ]


def test_kinds_do_not_silence_each_other() -> None:
    lines: list[str] = []
    throttle = Throttle(lines.append, clock=Clock())
    for kind in 'abab':
        throttle(kind, kind)
    assert lines == ['a', 'b']
    throttle.forget('a')
    throttle('a', 'again')
    assert lines == ['a', 'b', 'again']
