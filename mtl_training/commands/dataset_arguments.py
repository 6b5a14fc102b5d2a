"""What the commands on data sets have in common: their arguments and what they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jsonargparse import Namespace
from mtl_training.arguments import OneLineParser, split_overrides
from mtl_training.config import load_config, TrainingConfig
from mtl_training.dataset_tools.listing import printable
from mtl_training.dataset_tools.processes import num_processors
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PROG = 'python -m mtl_training datasets'


def make_parser(command: str, description: str) -> OneLineParser:
    """Return the parser of a command, with what chooses tasks and splits of a config."""
    parser = OneLineParser(prog=f'{PROG} {command}', description=description)
    parser.add_argument('--config', type=str, required=True, help='YAML file of a training run')
    parser.add_argument('--task', type=str, help='one task; all by default')
    parser.add_argument(
        '--split', type=str, help='train, val or test (default: those that a run reads)'
    )
    return parser


def add_jobs(parser: OneLineParser) -> None:
    """Add the option that says how many processes work."""
    parser.add_argument(
        '--jobs', type=int, default=num_processors(), help='processes (default: %(default)s)'
    )


def parse(parser: OneLineParser, arguments: Sequence[str]) -> tuple[Namespace, TrainingConfig]:
    """
    Return the arguments of a command and the config that they name, with its overrides.

    :raises ValueError: If one of them is wrong.
    """
    rest, overrides = split_overrides(arguments)
    parsed = parser.parse_args(rest)
    if getattr(parsed, 'jobs', 1) < 1:
        raise ValueError(f'--jobs must be positive, got {parsed.jobs}.')
    return parsed, load_config(parsed.config, overrides)


def say(console: Console, lines: Sequence[str]) -> None:
    """Print lines that may hold the names of files."""
    for line in lines:
        console.print(escape(printable(line)), soft_wrap=True, highlight=False)


class ProgressBar:
    """A progress bar on stderr, where that is a terminal."""

    def __init__(self, title: str) -> None:
        console = Console(stderr=True)
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                TextColumn(f'[bold]{title}'),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._shown = self._progress.add_task(title, total=None)

    def __enter__(self) -> ProgressBar:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    def show(self, done: int, total: int) -> None:
        """Show how many of how many are done."""
        if self._progress:
            self._progress.update(self._shown, completed=done, total=total)

    def track(self, items: Iterator[Any], total: int) -> Iterator[Any]:
        """Pass items on and show how many have come."""
        self.show(0, total)
        for done, item in enumerate(items, start=1):
            yield item
            self.show(done, total)
