"""The demo as it is seen: lines in the terminal and the frames of the film."""

from __future__ import annotations

from pathlib import Path

from mtl_perception.ros.demo.film import Film, TaskView, View
from mtl_perception.ros.demo.monitor import DemoMonitor
from mtl_perception.ros.demo.report import Report
from mtl_perception.ros.demo.scoring import HeardResult, Scene
import numpy as np
from numpy.typing import NDArray


class Show:
    """Tells of everything that the monitor hears."""

    def __init__(self, report: Report, path: Path, rate_hz: float, *, has_truth: bool) -> None:
        self._report, self._has_truth = report, has_truth
        self.film = Film(path, rate_hz)
        self.monitor: DemoMonitor | None = None
        self._has_begun = False

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

    def on_image(self, pixels: NDArray[np.uint8], is_rgb: bool) -> None:
        """Add the image to the film."""
        if not self._has_begun:
            self._has_begun = True
            if self._has_truth:
                self._report.scenes_header()
            else:
                self._report.line(f'{"time":>10}  {"task":<8} {"recognized":<18} score  latency')
        if self.monitor is not None:
            self.film.add(pixels, is_rgb, _view(self.monitor, self._has_truth))

    def close(self) -> None:
        """Finish the film; may be called twice."""
        self.film.close()


def _tally(monitor: DemoMonitor) -> str:
    over = [scene for scene in monitor.scenes if scene.end_ns is not None]
    counts = []
    for task in monitor.tasks:
        hits = [scene.is_hit() for scene in over if scene.task == task]
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
    latency = f'latency {max(latencies):.0f} ms' if latencies else 'waiting for a whole clip'
    title = f'scene {scene.number}' if scene else 'live'
    footer = (
        f'{_tally(monitor)}{latency}\n{monitor.rate_hz():.1f} fps, {monitor.num_images} frames'
    )
    return View(title, monitor.seconds(), tuple(tasks), footer)
