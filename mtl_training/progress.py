"""What a person sees while a run goes on: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_SEC = 30.0


class TrainingProgress:
    """
    Progress of the training loop, on stderr.

    :param console: Where to show it; a bar if it is a terminal.
    :param iteration: Where the run starts.
    :param iterations: Where it ends.
    """

    def __init__(self, console: Console, iteration: int, iterations: int) -> None:
        self._console = console
        self._first, self._iterations = iteration, iterations
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn('[bold]train'),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn('{task.fields[text]}'),
                TimeElapsedColumn(),
                TextColumn('eta'),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task('', total=iterations, completed=iteration, text='')

    def __enter__(self) -> TrainingProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, iteration: int, loss: float, accuracy: Mapping[str, float]) -> None:
        """Show where the run is."""
        now = time.monotonic()
        rate = (iteration - self._first) / max(1e-9, now - self._started)
        shares = ' '.join(f'{task} {value:.0%}' for task, value in accuracy.items())
        text = f'{rate:.2f} it/s  loss {loss:.3f}  {shares}'
        if self._bar:
            self._bar.update(self._task, completed=iteration, text=text)
        elif now - self._last_line >= LINE_EVERY_SEC:
            self._last_line = now
            left = (self._iterations - iteration) / max(1e-9, rate)
            self.say(f'{iteration}/{self._iterations}  {text}  eta {left / 60:.1f} min')

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False, soft_wrap=True)
