"""When the frames of a clip were taken: one rule for training and robot."""

from __future__ import annotations


def clip_times(end_sec: float, clip_seconds: float, num_frames: int) -> list[float]:
    """
    Return the times of a clip's frames, evenly spaced with both ends included.

    :param end_sec: Time of the newest frame.
    :param clip_seconds: Time from the oldest frame to the newest.
    :param num_frames: Number of frames; a clip of one frame is its newest.
    :return: Ascending times; the last is exactly ``end_sec``.
    :raises ValueError: If there is no frame or ``clip_seconds`` is not positive.
    """
    if num_frames < 1:
        raise ValueError(f'num_frames must be at least 1, got {num_frames}.')
    if not clip_seconds > 0:
        raise ValueError(f'clip_seconds must be positive, got {clip_seconds}.')
    intervals = max(num_frames - 1, 1)
    return [end_sec - clip_seconds * i / intervals for i in reversed(range(num_frames))]
