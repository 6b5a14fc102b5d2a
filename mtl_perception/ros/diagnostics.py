"""What the node says about itself once a second on /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
import time

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from mtl_perception.ros.stream_statistics import StreamStatistics
from mtl_perception.runtime.statistics import RollingStatistics
from mtl_perception.runtime.window_memory import MemoryState

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
# How long an event colours the status.
RECENT_SEC = 5.0
# Stamps further than this from the clock are of another time: a bag without its clock, say.
COMPARABLE_MS = 3600e3
# Features so many times further apart than the network learnt them stand for moments that they do
# not show.
SPARSE = 2.0


class InputDiagnostics:
    """Describes the input; remembers what it has said, to tell what is new."""

    def __init__(self, statistics: StreamStatistics) -> None:
        self._statistics = statistics
        self._seen: dict[str, int] = {}
        self._changed_sec: dict[str, float] = {}

    def status(self, complaint: str | None, num_frames: int) -> tuple[bytes, str]:
        """
        Return the level and the message.

        :param complaint: What the watchdog says.
        :param num_frames: Frames of a clip; 0 without clips.
        """
        if complaint is not None:
            return ERROR, complaint
        statistics, now_sec = self._statistics, time.monotonic()
        if statistics.used_sec is None:
            return OK, 'waiting for the first image'
        news = self._news({**statistics.refused.as_dict(), **statistics.events.as_dict()}, now_sec)
        if news:
            return WARN, f'in the last {RECENT_SEC:.0f} s: {", ".join(news)}'
        if 0 < statistics.num_distinct < num_frames:
            return WARN, (
                f'the camera is slow: the clip of {num_frames} frames repeats some of the '
                f'{statistics.num_distinct} that came'
            )
        return OK, 'images arrive'

    def _news(self, counts: Mapping[str, int], now_sec: float) -> list[str]:
        for kind, count in counts.items():
            if kind != 'thinned' and count != self._seen.get(kind, 0):
                self._seen[kind] = count
                self._changed_sec[kind] = now_sec
        return [
            kind for kind, changed in self._changed_sec.items() if now_sec - changed < RECENT_SEC
        ]


def inference_status(
    statistics: StreamStatistics, timeout_sec: float, memory: MemoryState | None = None
) -> tuple[bytes, str]:
    """
    Return the level and the message of the inference thread.

    :param memory: What is remembered of earlier clips; None where no task looks at them.
    """
    now_sec = time.monotonic()
    if statistics.error_sec is not None and now_sec - statistics.error_sec < RECENT_SEC:
        return ERROR, f'inference fails: {statistics.error}'
    if statistics.recognised_sec is None:
        return OK, 'waiting for enough frames'
    # Where nothing was due, nothing is amiss: clip_every and frame_every may ask for little.
    last_sec = max(statistics.recognised_sec, statistics.paused_sec or 0.0)
    if now_sec - last_sec > timeout_sec:
        return WARN, f'nothing recognised for {now_sec - statistics.recognised_sec:.1f} s'
    return (OK, 'recognising') if memory is None else _memory_status(memory)


def _memory_status(memory: MemoryState) -> tuple[bytes, str]:
    if not memory.is_filled:
        return OK, (
            f'recognising; the memory holds {memory.span_sec:.1f} of {memory.needed_sec:.1f} s: '
            'not all is told yet that takes more than a clip'
        )
    if memory.hole_sec > SPARSE * memory.stride_sec:
        return WARN, (
            'clips are recognised too seldom for the memory: up to '
            f'{memory.hole_sec:.1f} s apart, the network learnt from {memory.stride_sec:.1f} s'
        )
    return OK, 'recognising'


def memory_values(memory: MemoryState | None) -> dict[str, str]:
    """Return the figures of the memory."""
    if memory is None:
        return {}
    return {
        'remembered [s]': f'{memory.span_sec:.2f}',
        'remembered when full [s]': f'{memory.needed_sec:.2f}',
        'features remembered': str(memory.num_features),
        'longest time between them [s]': f'{memory.hole_sec:.2f}',
    }


def input_values(statistics: StreamStatistics, topic: str, span_sec: float) -> dict[str, str]:
    """Return the figures of the input."""
    now_sec = time.monotonic()
    age = '' if statistics.used_sec is None else f'{now_sec - statistics.used_sec:.3f}'
    return {
        'topic': topic,
        'input age [s]': age,
        'input rate [Hz]': f'{statistics.received.per_second(now_sec):.1f}',
        'frames at hand [s]': f'{span_sec:.2f}',
        'frames received': str(statistics.counts['received']),
        'frames used': str(statistics.counts['used']),
        **{f'refused: {k}': str(n) for k, n in statistics.refused.as_dict().items()},
        **{f'event: {k}': str(n) for k, n in statistics.events.as_dict().items()},
        **_percentiles('convert', statistics.convert_ms),
    }


def inference_values(
    statistics: StreamStatistics, num_superseded: int, num_tracks: int = 0
) -> dict[str, str]:
    """
    Return the figures of the recognition.

    :param num_tracks: People remembered, those out of sight included.
    """
    people = {}
    if statistics.num_people is not None:
        people = {'people in view': str(statistics.num_people), 'tracks': str(num_tracks)}
    return {
        'recognition rate [Hz]': f'{statistics.recognised.per_second(time.monotonic()):.1f}',
        'recognitions': str(statistics.counts['recognised']),
        'errors': str(statistics.counts['errors']),
        'frames superseded before inference': str(num_superseded),
        'distinct frames in the clip': str(statistics.num_distinct),
        **people,
        **_percentiles('infer', statistics.infer_ms),
        **_percentiles('clip branch', statistics.clip_ms),
        **_percentiles('memory branch', statistics.memory_ms),
        **_percentiles('frame branch', statistics.frame_ms),
        **_percentiles('publish', statistics.publish_ms),
        **_percentiles('overlay', statistics.overlay_ms),
        **_percentiles('callback to published', statistics.node_ms),
        **_stamp_latency(statistics.stamp_ms),
    }


def status_msg(
    name: str, level: bytes, message: str, values: Mapping[str, str]
) -> DiagnosticStatus:
    """Return one status of the array."""
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=level, message=message, values=pairs)


def _percentiles(name: str, values: RollingStatistics) -> dict[str, str]:
    found = values.percentiles(50, 95)
    if found is None:
        return {}
    return {f'{name} p50 [ms]': f'{found[0]:.2f}', f'{name} p95 [ms]': f'{found[1]:.2f}'}


def _stamp_latency(values: RollingStatistics) -> dict[str, str]:
    found = values.percentiles(50)
    if found is not None and abs(found[0]) > COMPARABLE_MS:
        return {'stamp to published': 'unknown: stamps and clock differ (use_sim_time?)'}
    return _percentiles('stamp to published', values)
