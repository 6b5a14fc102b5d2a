"""What the folders of runs say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
import json
from pathlib import Path
import statistics
from typing import Any

from mtl_training.config import load_config
from mtl_training.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """
    One run; entries that its folder does not have are empty.

    :param status: finished, failed, unfinished or not started.
    :param figures: Of the test split, or else of the validation split.
    """

    data: str
    sharing: str
    weighting: str
    seed: int
    folder: Path
    status: str
    is_reference: bool = False  # hard sharing, average weighting
    reason: str = ''
    split: str = ''
    command: str = ''
    git_revision: str = ''
    summary: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return its name for people."""
        return f'{self.data} / {self.sharing} / {self.weighting} / seed {self.seed}'


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation; the latter needs two values."""

    mean: float
    deviation: float | None
    count: int


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and sample standard deviation; None of nothing."""
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values))


def load_results(root: Path) -> list[RunResult]:
    """
    Return all runs below a folder, in the order of their comparison.

    :raises ValueError: If there is none.
    """
    folders = {path.parent for name in ('run.json', 'config.yaml') for path in root.rglob(name)}
    if not folders:
        raise ValueError(f"no runs in '{root}'.")
    pairs = [_load(folder, root) for folder in sorted(folders)]
    return [result for _, result in sorted(pairs, key=lambda pair: pair[0])]


def _load(path: Path, root: Path) -> tuple[int, RunResult]:
    folder = RunFolder(path)
    identity = _json(path / 'run.json')
    config = load_config(folder.config) if folder.config.exists() else None
    summary = _json(folder.summary)
    records = folder.records()
    status, reason = _status(path, summary, records, started=config is not None)
    split = next((name for name in ('test', 'val') if name in summary), '')
    sharing = weighting = ''
    if config is not None:
        sharing = '+'.join(sorted({t.sharing for t in config.network.trunks.values()}))
        weighting = config.weighting.name
    names = {
        'data': 'data',
        'sharing': sharing,
        'weighting': weighting,
        'seed': config.seed if config else 0,
        **{key: identity[key] for key in ('data', 'sharing', 'weighting', 'seed') if identity},
    }
    return identity.get('position', 0), RunResult(
        **names,
        folder=path.relative_to(root),
        status=status,
        is_reference=(sharing, weighting) == ('hard', 'average'),
        reason=reason,
        split=split,
        command=identity.get('command', ''),
        git_revision=identity.get('git_revision', ''),
        summary=summary,
        figures=summary.get(split, {}),
        records=records,
    )


def _status(
    path: Path, summary: dict[str, Any], records: list[dict[str, Any]], *, started: bool
) -> tuple[str, str]:
    failure = path / 'failure.txt'
    if summary.get('finished'):
        return 'finished', ''
    if failure.exists():
        return 'failed', failure.read_text(encoding='utf-8').strip()
    if started:
        iteration = records[-1]['iteration'] if records else 0
        return 'unfinished', f'at iteration {iteration}'
    return 'not started', ''


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
