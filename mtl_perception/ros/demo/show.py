"""The demo as it is seen: lines in the terminal and the frames of the film."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from mtl_perception.ros.demo.film import Film
from mtl_perception.ros.demo.film_frame import PeopleView, shrunk, TaskView, View
from mtl_perception.ros.demo.monitor import DemoMonitor
from mtl_perception.ros.demo.people import FramePairs
from mtl_perception.ros.demo.people_matching import match_people
from mtl_perception.ros.demo.people_monitor import described
from mtl_perception.ros.demo.report import Report
from mtl_perception.ros.demo.scoring import ACTIVITY, HeardResult, Scene
import numpy as np
from numpy.typing import NDArray

# An image without people of its own shows those of an image before it, unless it is older.
_STALE_NS = 250_000_000
# So long an image waits for its people before it enters the film.
_PATIENCE_NS = 1_000_000_000


@dataclass(frozen=True)
class _Waiting:
    """An image that waits for its people."""

    pixels: NDArray[np.uint8]
    is_rgb: bool
    view: View
    size: tuple[int, int]  # height, width of the image before it was shrunk for the film
    stamp_ns: int


class Show:
    """Tells of everything that the monitor hears."""

    def __init__(self, report: Report, path: Path, rate_hz: float, *, has_truth: bool) -> None:
        self._report, self._has_truth = report, has_truth
        self.film = Film(path, rate_hz)
        self.monitor: DemoMonitor | None = None
        self._has_begun = False
        self._waiting: deque[_Waiting] = deque()

    def on_scene(self, scene: Scene) -> None:
        """Print the scene's line."""
        self._report.scene(scene)

    def on_label(self, result: HeardResult) -> None:
        """Print the new label, where no truth stands beside it."""
        if not self._has_truth and self.monitor is not None:
            self._report.label(result, self.monitor.seconds())

    def on_warning(self, text: str) -> None:
        """Print the warning."""
        self._report.warning(text)

    def on_image(self, pixels: NDArray[np.uint8], is_rgb: bool, stamp_ns: int) -> None:
        """Add the image to the film, at once or once its people are known."""
        if not self._has_begun:
            self._has_begun = True
            if self._has_truth:
                self._report.scenes_header()
            else:
                self._report.line(f'{"time":>10}  {"task":<8} {"recognized":<18} score  latency')
        if self.monitor is None:
            return
        view = _view(self.monitor, self._has_truth)
        if self.monitor.people is None:
            self.film.add(pixels, is_rgb, view)
            return
        size = (pixels.shape[0], pixels.shape[1])
        self._waiting.append(_Waiting(shrunk(pixels), is_rgb, view, size, stamp_ns))
        self._release(self.monitor.people.frames, stamp_ns - _PATIENCE_NS)

    def close(self) -> None:
        """Finish the film; may be called twice."""
        if self.monitor is not None and self.monitor.people is not None and self._waiting:
            self._release(self.monitor.people.frames, self._waiting[-1].stamp_ns)
        self.film.close()

    def _release(self, frames: FramePairs, until_ns: int) -> None:
        """Film the images that are answered, and those up to a stamp in any case."""
        while self._waiting and (
            self._waiting[0].stamp_ns <= until_ns or frames.is_answered(self._waiting[0].stamp_ns)
        ):
            image = self._waiting.popleft()
            people = _people_view(frames, image.stamp_ns, image.size)
            self.film.add(image.pixels, image.is_rgb, replace(image.view, people=people))


def _tally(monitor: DemoMonitor) -> str:
    over = [scene for scene in monitor.scenes if scene.end_ns is not None]
    counts = []
    for task in (*monitor.tasks, ACTIVITY):
        of_task = [scene for scene in over if scene.task == task]
        if task == ACTIVITY:
            of_task = [scene for scene in of_task if scene.people is not None]
        hits = [scene.is_hit() for scene in of_task]
        if hits:
            counts.append(f'{task} {sum(hits)}/{len(hits)}')
    return f'hits: {", ".join(counts)}\n' if counts else ''


def _view(monitor: DemoMonitor, has_truth: bool) -> View:
    scene = monitor.current_scene()
    tasks = []
    for task in monitor.tasks:
        heard = monitor.results.get(task)
        newest = heard[-1] if heard else None
        is_asked = scene is not None and scene.task == task
        if has_truth and not is_asked:
            continue
        bars = sorted(newest.scores.items(), key=lambda item: -item[1]) if newest else []
        is_settled = newest is not None and (scene is None or scene.holds(newest))
        tasks.append(TaskView(task, scene.truth if scene else '', tuple(bars), is_settled))
    latencies = [heard[-1].latency_ms for heard in monitor.results.values() if heard]
    if monitor.people is not None and monitor.people.latencies_ms:
        latencies.append(monitor.people.latencies_ms[-1])
    latency = f'latency {max(latencies):.0f} ms' if latencies else 'waiting for results'
    title = f'scene {scene.number}' if scene else 'live'
    footer = (
        f'{_tally(monitor)}{latency}\n{monitor.rate_hz():.1f} fps, {monitor.num_images} frames'
    )
    return View(title, monitor.seconds(), tuple(tasks), footer)


def _people_view(frames: FramePairs, stamp_ns: int, size: tuple[int, int]) -> PeopleView:
    """Return the people of an image, and whether what they do is right, where that is known."""
    heard, truth = frames.newest(stamp_ns, _STALE_NS), frames.truths.get(stamp_ns)
    if heard is None:
        return PeopleView((), size, '', ())
    if truth is None or not truth.is_of_activities:
        return PeopleView(heard.people, size, '', (None,) * len(heard.people))
    true_of = {found: true for true, found in match_people(truth, heard).items()}
    are_right = [
        truth.activities[true_of[found]] == person.activity if found in true_of else None
        for found, person in enumerate(heard.people)
    ]
    return PeopleView(heard.people, size, described(truth.activities), tuple(are_right))
