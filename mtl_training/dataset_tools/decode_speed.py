"""How many clips a second are decoded from the sources of a copy, and from the copy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import random
import time
from typing import Any, NamedTuple

from mtl_training.data.decoding import probe, read_frames, VideoFacts
from mtl_training.data.videos.pictures import probe_pictures, read_pictures
from mtl_training.data.videos.sampling import sample_times
from mtl_training.data.videos.scaling import FrameScaler
from mtl_training.dataset_tools.transcoding import CopyJob

NUM_CLIPS = 12


class DecodeSpeed(NamedTuple):
    """Clips a second, read and scaled by one process as training does."""

    source_hz: float
    copy_hz: float


def measure_speed(
    jobs: Sequence[CopyJob], *, num_frames: int, clip_seconds: float, scaler: FrameScaler
) -> DecodeSpeed:
    """
    Read random windows of some clips, from their sources and from their copies.

    :param jobs: Whose copies are there.
    """
    step = max(1, len(jobs) // NUM_CLIPS)
    times = {'source': 0.0, 'copy': 0.0}
    chosen = jobs[::step][:NUM_CLIPS]
    before = random.getstate()
    try:
        for number, job in enumerate(chosen):
            for name, path, frames in (
                ('source', Path(job.source), job.frames),
                ('copy', Path(job.target), None),
            ):
                # Opened before, as at the start of a run; and in the memory of the system.
                facts = _facts(path, frames, job)
                random.seed(number)
                wanted = sample_times(
                    facts, num_frames, window='clip', clip_seconds=clip_seconds, is_random=True
                )
                started = time.perf_counter()
                _read(path, facts, wanted, job, scaler)
                times[name] += time.perf_counter() - started
    finally:
        random.setstate(before)
    return DecodeSpeed(*(len(chosen) / max(spent, 1e-9) for spent in times.values()))


def _facts(path: Path, frames: tuple[int, int] | None, job: CopyJob) -> VideoFacts:
    if path.is_dir():
        return probe_pictures(path, frames, job.pictures_hz)
    return probe(path, frames)


def _read(
    path: Path, facts: VideoFacts, wanted: list[float], job: CopyJob, scaler: FrameScaler
) -> list[Any]:
    if not path.is_dir():
        within = (facts.first_sec, facts.last_sec)
        return read_frames(path, wanted, scaler, within_sec=within)
    first = round(facts.first_sec * job.pictures_hz)
    within_places = range(first, first + facts.num_frames)
    places = [min(round(t * job.pictures_hz), within_places[-1]) for t in wanted]
    return read_pictures(path, places, scaler.of_rgb, within=within_places)
