"""The figures of one activation of the node: its threads write, its diagnostics read."""

from __future__ import annotations

from dataclasses import dataclass, field
import time

from mtl_perception.runtime.statistics import Counters, Rate, RollingStatistics


@dataclass
class StreamStatistics:
    """Counts, rates and durations; times are readings of a steady clock."""

    started_sec: float = field(default_factory=time.monotonic)
    received: Rate = field(default_factory=Rate)
    recognised: Rate = field(default_factory=Rate)
    counts: Counters = field(default_factory=Counters)  # received, used, recognised, errors
    refused: Counters = field(default_factory=Counters)  # frames that could not be used, by kind
    events: Counters = field(default_factory=Counters)  # resets and skipped frames, by kind
    convert_ms: RollingStatistics = field(default_factory=RollingStatistics)
    infer_ms: RollingStatistics = field(default_factory=RollingStatistics)
    # Of these, the network's share: what looks at clips, at the memory of them, and at frames.
    clip_ms: RollingStatistics = field(default_factory=RollingStatistics)
    memory_ms: RollingStatistics = field(default_factory=RollingStatistics)
    frame_ms: RollingStatistics = field(default_factory=RollingStatistics)
    publish_ms: RollingStatistics = field(default_factory=RollingStatistics)
    # From the image callback's entry to the result's publication, and from the image's stamp.
    node_ms: RollingStatistics = field(default_factory=RollingStatistics)
    stamp_ms: RollingStatistics = field(default_factory=RollingStatistics)
    overlay_ms: RollingStatistics = field(default_factory=RollingStatistics)
    received_sec: float | None = None  # when the last frame came
    used_sec: float | None = None  # when the last frame came that was used
    recognised_sec: float | None = None
    paused_sec: float | None = None  # when a frame last came in which nothing was due
    clip_recognised_sec: float | None = None
    error_sec: float | None = None  # when inference last failed
    error: str = ''
    num_distinct: int = 0  # different frames in the last clip
    num_people: int | None = None  # in the last frame; None where none is looked at
