"""What a person sees while a comparison goes on: bars in a terminal, lines elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import json
from pathlib import Path
import time
from types import TracebackType

from mtl_training.comparison.plan import PlannedRun
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

LINE_EVERY_SEC = 60.0
_TAIL_BYTES = 8192


class ComparisonProgress:
    """
    Progress of a comparison.

    Where a run is, its own log of metrics tells: the workers need no other channel for it.

    :param console: Where to show it; bars if it is a terminal.
    :param runs: All runs of the comparison.
    :param finished: How many of them were finished before.
    """

    def __init__(self, console: Console, runs: Sequence[PlannedRun], finished: int) -> None:
        self._console, self._num_runs = console, len(runs)
        self._done = self._before = finished
        self._started_sec = self._line_sec = time.monotonic()
        self._left = sum(run.config.iterations for run in runs if not run.is_finished)
        self._trained = 0  # iterations of the runs that have ended here
        self._running: dict[str, tuple[PlannedRun, int]] = {}  # and where it started
        self._shown: dict[str, TaskID] = {}
        self.outcomes: Counter[str] = Counter()
        self._bars: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
            self._bars = Progress(*columns, TextColumn('{task.fields[text]}'), console=console)
            self._total = self._bars.add_task(
                '[bold]runs', total=len(runs), completed=finished, text=''
            )

    def __enter__(self) -> ComparisonProgress:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars:
            self.refresh()
            self._bars.stop()

    @property
    def wall_sec(self) -> float:
        """Return the time since the start."""
        return time.monotonic() - self._started_sec

    def started(self, run: PlannedRun) -> None:
        """Show that a run starts, or goes on."""
        first = last_iteration(run.folder.metrics)
        self._running[run.name] = (run, first)
        if self._bars:
            total = run.config.iterations
            self._shown[run.name] = self._bars.add_task(
                escape(run.name), total=total, completed=first, text=''
            )

    def ended(self, run: PlannedRun, outcome: str, reason: str) -> None:
        """Show how a run ended: finished, stopped or failed."""
        self._forget(run)
        self.outcomes[outcome] += 1
        self._done += outcome == 'finished'
        if outcome == 'failed':
            self._left -= run.config.iterations
        because = f': {reason}; see {run.log}' if reason else ''
        self.say(f'{outcome}: {run.name}{because}  ({self._overall()})')

    def retried(self, run: PlannedRun, reason: str) -> None:
        """Show that a run is going to be tried again."""
        self._forget(run)
        self.say(f'once more: {run.name}: {reason}')

    def refresh(self) -> None:
        """Show where the runs are."""
        if self._bars:
            for name, (run, _) in self._running.items():
                iteration = last_iteration(run.folder.metrics)
                self._bars.update(self._shown[name], completed=iteration)
            self._bars.update(self._total, completed=self._done, text=self._overall())
        elif time.monotonic() - self._line_sec > LINE_EVERY_SEC:
            self._line_sec = time.monotonic()
            where = ', '.join(
                f'{name} {last_iteration(run.folder.metrics)}/{run.config.iterations}'
                for name, (run, _) in self._running.items()
            )
            self.say(f'{self._overall()}; running: {where}')

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _forget(self, run: PlannedRun) -> None:
        _, first = self._running.pop(run.name)
        self._trained += max(0, last_iteration(run.folder.metrics) - first)
        if self._bars:
            self._bars.remove_task(self._shown.pop(run.name))

    def _overall(self) -> str:
        trained = self._trained + sum(
            max(0, last_iteration(run.folder.metrics) - first)
            for run, first in self._running.values()
        )
        failed = f', {self.outcomes["failed"]} failed' if self.outcomes['failed'] else ''
        text = f'{self._done}/{self._num_runs} runs{failed}, {shown_time(self.wall_sec)}'
        if not trained:
            return text
        eta_sec = self.wall_sec * max(0, self._left - trained) / trained
        return f'{text}, eta {shown_time(eta_sec)}'


def last_iteration(metrics: Path) -> int:
    """Return the iteration of the last whole record of a log of metrics; 0 without one."""
    if not metrics.exists():
        return 0
    with metrics.open('rb') as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            return int(json.loads(line)['iteration'])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def shown_time(seconds: float) -> str:
    """Return a duration as people read it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes:02} min' if hours else f'{minutes} min {rest:02} s'
