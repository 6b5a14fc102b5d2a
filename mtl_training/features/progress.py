"""How far an extraction is, by the sizes of the videos: long ones count for more."""

from __future__ import annotations

from collections.abc import Sequence
import time

from mtl_training.features.sources import Source
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_SEC = 30.0


class VideoProgress:
    """
    A bar on stderr where that is a terminal, a line now and then elsewhere.

    :param sources: All videos, of which some may be done already.
    """

    def __init__(self, sources: Sequence[Source], console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._sizes = {source.name: float(source.num_bytes) for source in sources}
        self._shares = dict.fromkeys(self._sizes, 0.0)
        self._left = max(1.0, sum(self._sizes.values()))
        self._done = 0.0  # of what was left at the start
        self._num_ended, self._num_windows = 0, 0
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn('[bold]features'),
                BarColumn(),
                TextColumn('{task.fields[text]}'),
                TimeElapsedColumn(),
                TextColumn('eta'),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task('', total=self._left, text='')

    def __enter__(self) -> VideoProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def skip(self, source: Source) -> None:
        """Leave out a video whose features are there: it takes no time."""
        self._num_ended += 1
        self._left -= self._sizes[source.name]
        self._show()

    def window(self, source: Source, share: float) -> None:
        """Show that a window is done, and all before its end."""
        self._num_windows += 1
        self._reach(source, share)

    def end(self, source: Source) -> None:
        """Show that a video is done, or that it can't be."""
        self._num_ended += 1
        self._reach(source, 1.0)

    def _reach(self, source: Source, share: float) -> None:
        self._done += (share - self._shares[source.name]) * self._sizes[source.name]
        self._shares[source.name] = share
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        rate_hz = self._num_windows / max(1e-9, now - self._started)
        text = f'{self._num_ended}/{len(self._sizes)} videos  {rate_hz:.1f} windows/s'
        if self._bar:
            self._bar.update(self._task, completed=self._done, total=self._left, text=text)
        elif now - self._last_line >= LINE_EVERY_SEC:
            self._last_line = now
            left_sec = (now - self._started) * (self._left / max(1.0, self._done) - 1)
            self._console.print(
                f'features  {text}  eta {left_sec / 60:.1f} min', highlight=False, soft_wrap=True
            )
