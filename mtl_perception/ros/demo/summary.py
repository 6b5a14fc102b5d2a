"""The figures of a demo, as they stand in summary.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtl_perception.ros.demo.monitor import DemoMonitor, PERCEPTION, VIDEO
from mtl_perception.ros.demo.people_scoring import PEOPLE_RULE, total_score
from mtl_perception.ros.demo.scoring import (
    accuracy,
    false_alarms,
    per_class,
    percentiles,
    RULE,
    segments,
)


def summarise(monitor: DemoMonitor, facts: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the summary.

    Frames in are those that the perception node used, by its diagnostics; dropped are those that
    the video node published besides, whether they were lost on their way or refused.
    """
    published = monitor.diagnostic(VIDEO, 'frames published') or monitor.num_images
    frames_in = monitor.diagnostic(PERCEPTION, 'frames used') or 0
    results = [result for heard in monitor.results.values() for result in heard]
    counts = monitor.diagnostics.get(PERCEPTION, {})
    return {
        'action_accuracy': accuracy(monitor.scenes, 'action'),
        'gesture_accuracy': accuracy(monitor.scenes, 'gesture'),
        'false_alarms': false_alarms(monitor.scenes),
        'frames_in': frames_in,
        'frames_dropped': max(0, published - frames_in),
        'predictions': len(results),
        'latency_ms': percentiles(result.latency_ms for result in results),
        'frames_published': published,
        'frames_heard_by_demo': monitor.num_images,
        'refused': {k: int(n) for k, n in counts.items() if k.startswith('refused: ')},
        'events': {k: int(n) for k, n in counts.items() if k.startswith('event: ')},
        'rate_hz': round(monitor.rate_hz(), 2),
        'video_sec': round(monitor.seconds(), 3),
        'rule': RULE,
        'per_class': per_class(monitor.scenes),
        'scenes': [scene.as_dict() for scene in monitor.scenes],
        'timeline': {
            task: segments(heard, monitor.first_stamp_ns)
            for task, heard in monitor.results.items()
        },
        **_people(monitor),
        **facts,
    }


def _people(monitor: DemoMonitor) -> dict[str, Any]:
    if monitor.people is None:
        return {}
    kinds = sorted({scene.task for scene in monitor.scenes})
    by_kind = {
        kind: total_score(scene.people for scene in monitor.scenes if scene.task == kind)
        for kind in kinds
    }
    total = total_score(by_kind.values())
    return {
        'people': total.as_dict() if total else None,
        'people_by_scene': {kind: s.as_dict() for kind, s in by_kind.items() if s},
        'people_messages': len(monitor.people.latencies_ms),
        'people_latency_ms': percentiles(monitor.people.latencies_ms),
        'people_rule': PEOPLE_RULE,
    }
