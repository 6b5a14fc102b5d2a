"""The folder of a run: what is in it and how it is kept whole."""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from mtl_perception.checkpoint import write_atomically
from mtl_training.config import (
    build_config,
    differences,
    dump_config,
    read_yaml,
    TrainingConfig,
)


class RunFolder:
    """
    Paths of a run, its log of metrics and its config.

    :param path: Made when the run starts.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / 'config.yaml'
        self.state = self.path / 'state.safetensors'
        self.poses = self.path / 'poses.safetensors'
        self.last = self.path / 'last.safetensors'
        self.best = self.path / 'best.safetensors'
        self.metrics = self.path / 'metrics.jsonl'
        self.summary = self.path / 'summary.json'
        self.video_problems = self.path / 'video_problems.jsonl'
        self.tensorboard = self.path / 'tensorboard'

    def check(self, config: TrainingConfig, *, resume: bool) -> None:
        """
        Check that the folder can take a new run, or the one that goes on.

        :raises ValueError: If it holds a run already, or another one than that to resume.
        :raises OSError: If it can't be written to.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"'{self.path}' is not a folder.")
        if not resume and self.state.exists():
            raise ValueError(
                f"'{self.path}' already holds a run: --resume goes on with it, "
                'another --out starts a new one.'
            )
        if resume and self.config.exists():
            changed = differences(config, build_config(read_yaml(self.config)))
            if changed:
                raise ValueError(
                    f"'{self.path}' holds a run with another config, it differs in: "
                    f'{", ".join(changed)}. Give the options that are in {self.config}, or none '
                    'with --resume and --out alone; another --out starts a new run.'
                )
        self.path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=self.path):
            pass

    def open(self, config: TrainingConfig, *, resume: bool) -> None:
        """Check the folder and store the config in it."""
        self.check(config, resume=resume)
        write_atomically(self.config, dump_config(config).encode())

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a record to the metrics."""
        with self.metrics.open('a', encoding='utf-8') as file:
            file.write(json.dumps(record) + '\n')

    def records(self) -> list[dict[str, Any]]:
        """Return the records; a line that a crash cut short is left out."""
        if not self.metrics.exists():
            return []
        records = []
        for line in self.metrics.read_text(encoding='utf-8').splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
        return records

    def rewind(self, iteration: int) -> None:
        """Drop the records that a resumed run is going to write again."""
        kept = [r for r in self.records() if r['iteration'] <= iteration]
        text = ''.join(json.dumps(record) + '\n' for record in kept)
        write_atomically(self.metrics, text.encode())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the figures of a finished run."""
        write_atomically(self.summary, (json.dumps(summary, indent=2) + '\n').encode())
