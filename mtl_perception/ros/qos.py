"""Qualities of service, after REP 2003."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def image_qos(depth: int) -> QoSProfile:
    """Return what an image subscription asks for: little, so that it matches every publisher."""
    return _last(depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def results_qos() -> QoSProfile:
    """Return what results are published with."""
    return _last(10)


def overlay_qos() -> QoSProfile:
    """Return what pictures to look at are published with: every viewer hears the newest."""
    return _last(1)


def latched_qos() -> QoSProfile:
    """Return what is published once, for whoever comes when."""
    return _last(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def _last(
    depth: int,
    *,
    reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE,
    durability: DurabilityPolicy = DurabilityPolicy.VOLATILE,
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )
