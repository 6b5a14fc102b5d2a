"""What the folders of runs say."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import re
from typing import Any

from mtl_training.config import load_config
from mtl_training.reporting.identity import told_apart
from mtl_training.reporting.run_result import RunResult
from mtl_training.reporting.scores import has_only_classes
from mtl_training.run_folder import RunFolder

# A path of this machine, to be told from what is only divided by a slash.
_ABSOLUTE_PATH = re.compile(r"""(?<![\w./:~-])/(?:[^\s/'":,]+/)+([^\s/'":,]+)""")


def load_results(root: Path) -> list[RunResult]:
    """
    Return all runs below a folder, in the order of their comparison.

    Runs of one name whose configs differ in more than the seed get names that tell them apart: no
    figure is ever the mean of two experiments. Of finished runs with the same config and seed only
    the newest counts.

    :raises ValueError: If there is none.
    """
    folders = {path.parent for name in ('run.json', 'config.yaml') for path in root.rglob(name)}
    if not folders:
        raise ValueError(f"no runs in '{root}'.")
    pairs = sorted(((_position(folder), folder) for folder in folders), key=lambda pair: pair)
    results = told_apart(_with_regimes([_load(folder, root) for _, folder in pairs]), root)
    mixed = {run.data for run in results if not has_only_classes(run.figures)}
    return [replace(run, counts_answers=run.data not in mixed) for run in results]


def _with_regimes(results: list[RunResult]) -> list[RunResult]:
    """Name the regime of all runs as soon as it matters in one, as it is called in configs."""
    if not any(run.regime or run.has_rounds or run.novel for run in results):
        return results
    return [
        run if run.regime or not run.config else replace(run, regime=run.config.regime.name)
        for run in results
    ]


def _position(folder: Path) -> int:
    return int(_json(folder / 'run.json').get('position', 0))


def _load(path: Path, root: Path) -> RunResult:
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
        'regime': identity.get('regime', ''),
        'row': identity.get('row', ''),
    }
    return RunResult(
        **names,
        folder=path.relative_to(root),
        status=status,
        config=config,
        reason=without_absolute_paths(reason),
        split=split,
        command=without_absolute_paths(identity.get('command', '')),
        git_revision=identity.get('git_revision', ''),
        at_a_time=identity.get('at_a_time', 0),
        summary=summary,
        figures=summary.get(split, {}),
        records=records,
    )


def without_absolute_paths(text: str) -> str:
    """Return a text with the last part of each absolute path only: reports get published."""
    return _ABSOLUTE_PATH.sub(r'\1', text)


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
