"""Which moments of a video become the frames of a clip."""

from __future__ import annotations

import random

from mtl_perception.network.clips import clip_times
from mtl_training.data.decoding import VideoFacts

WINDOWS = ('clip', 'whole')


def sample_times(
    facts: VideoFacts,
    num_frames: int,
    *,
    window: str,
    clip_seconds: float,
    is_random: bool,
    part: tuple[int, int] = (0, 1),
) -> list[float]:
    """
    Draw the times of a clip's frames from the global generator of ``random``.

    :param facts: Of the entry; all times lie within it.
    :param window: clip: ``clip_seconds`` somewhere in it, as on the robot. whole: spread over all
        of it, one frame from each of as many segments of the same length (Wang et al., Temporal
        Segment Networks, ECCV 2016, arXiv 1608.00859).
    :param is_random: Whether the window, or the place in each segment, is random; or the middle.
    :param part: Which one of how many windows it is, of those that :func:`num_windows` counts.
    :return: Ascending.
    """
    if window == 'whole':
        times = _whole(facts, num_frames, is_random=is_random)
    else:
        times = _window(facts, num_frames, clip_seconds, part, is_random=is_random)
    return [min(max(time_sec, facts.first_sec), facts.last_sec) for time_sec in times]


def num_windows(facts: VideoFacts, clip_seconds: float, clip_every: int | None) -> int:
    """
    Return how many clips a video gives, each from one of as many equal parts of all its starts.

    :param clip_every: Most frames from the middle of one part to that of the next; ``None``: the
        video gives one clip.
    """
    period_sec = (facts.last_sec - facts.first_sec) / max(1, facts.num_frames - 1)
    if clip_every is None or not period_sec:
        return 1
    spare_sec = max(facts.last_sec - facts.first_sec - clip_seconds, 0.0)
    # A little more, so that times that add up to a whole frame count as one.
    return 1 + int(spare_sec / (clip_every * period_sec) + 1e-6)


def _window(
    facts: VideoFacts,
    num_frames: int,
    clip_seconds: float,
    part: tuple[int, int],
    *,
    is_random: bool,
) -> list[float]:
    duration_sec = facts.last_sec - facts.first_sec
    spare_sec = max(duration_sec - clip_seconds, 0.0)
    place = (part[0] + (random.random() if is_random else 0.5)) / part[1]
    start_sec = facts.first_sec + spare_sec * place
    # A video of one frame has no length: all of the clip is that frame.
    length_sec = max(min(clip_seconds, duration_sec), 1e-6)
    return clip_times(start_sec + length_sec, length_sec, num_frames)


def _whole(facts: VideoFacts, num_frames: int, *, is_random: bool) -> list[float]:
    # A frame is shown from half a period before its time to half a period after it.
    period_sec = (facts.last_sec - facts.first_sec) / max(1, facts.num_frames - 1)
    segment_sec = period_sec * facts.num_frames / num_frames
    # A little later, so that a time between two frames is the second one's, as in counting.
    start_sec = facts.first_sec - period_sec * (0.5 - 1e-6)
    places = [random.random() if is_random else 0.5 for _ in range(num_frames)]
    return [start_sec + segment_sec * (i + place) for i, place in enumerate(places)]
