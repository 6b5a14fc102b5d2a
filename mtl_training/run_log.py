"""What a run tells while it goes on: lines for people, metrics and TensorBoard for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtl_training.run_folder import RunFolder
from rich.console import Console
from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """
    The log of one run, open between ``with`` and its end.

    :param folder: Where the metrics and the events of TensorBoard go.
    :param console: Where people read.
    :param writes: Whether this is the process that tells; the others say nothing.
    """

    def __init__(self, folder: RunFolder, console: Console, *, writes: bool) -> None:
        self._folder, self._console, self._writes = folder, console, writes
        self._writer: SummaryWriter | None = None

    def open(self, iteration: int) -> RunLog:
        """Drop what comes after an iteration, which a resumed run is going to write again."""
        if self._writes:
            self._folder.rewind(iteration)
            self._writer = SummaryWriter(str(self._folder.tensorboard), purge_step=iteration + 1)
        return self

    def __enter__(self) -> RunLog:
        """Return the log."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what TensorBoard has yet to write."""
        if self._writer is not None:
            self._writer.close()

    def say(self, text: str) -> None:
        """Print a line for people."""
        if self._writes:
            self._console.print(text, highlight=False, soft_wrap=True)

    def record(self, record: Mapping[str, Any]) -> None:
        """Store a record, with its ``kind`` and ``iteration``."""
        if not self._writes:
            return
        self._folder.log(record)
        for kind, value in record.items():
            values = value if isinstance(value, dict) else {'': value}
            for name, number in values.items():
                if isinstance(number, float) and self._writer:
                    tag = f'{record["kind"]}/{kind}/{name}'.rstrip('/')
                    self._writer.add_scalar(tag, number, record['iteration'])
