"""Which runs are repetitions of one experiment: those that differ in their seeds alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtl_perception.network.config import to_mapping
from mtl_training.config import differences, TrainingConfig
from mtl_training.reporting.run_result import RunResult


def told_apart(results: Sequence[RunResult], root: Path) -> list[RunResult]:
    """
    Return the runs such that those of one name are one experiment, with one run per seed.

    Where configs differ in more than the seed, the entries that differ become part of the names.
    Of finished runs with the same config and seed, all but the newest are superseded.

    :param root: Folder that their folders are relative to.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, run in enumerate(results):
        if run.config:
            groups.setdefault((run.data, run.sharing, run.weighting, run.regime), []).append(index)
    named = list(results)
    for indices in groups.values():
        for index, run in zip(indices, _with_differences([results[i] for i in indices])):
            named[index] = run
    return _without_superseded(named, root)


def _with_differences(runs: Sequence[RunResult]) -> list[RunResult]:
    configs = [replace(run.config, seed=0) for run in runs if run.config]
    varied = sorted({name for other in configs[1:] for name in differences(configs[0], other)})
    by_place: dict[str, list[str]] = {'data': [], 'weighting': [], 'sharing': []}
    if runs[0].regime:
        by_place['regime'] = []
    for name in varied:
        section = name.partition('.')[0]
        by_place[section if section in by_place else 'sharing'].append(name)
    return [_renamed(run, by_place) for run in runs]


def _renamed(run: RunResult, by_place: dict[str, list[str]]) -> RunResult:
    texts = {place: _shown(run.config, names) for place, names in by_place.items()}
    return replace(run, **{place: getattr(run, place) + text for place, text in texts.items()})


def _shown(config: TrainingConfig | None, names: Sequence[str]) -> str:
    if config is None or not names:
        return ''
    lasts = [name.rpartition('.')[2] for name in names]
    shown = []
    for name, last in zip(names, lasts):
        value: Any = to_mapping(config)
        for part in name.split('.'):
            value = value.get(part) if isinstance(value, dict) else None
        shown.append(f'{last if lasts.count(last) == 1 else name}={value}')
    return f' ({", ".join(shown)})'


def _without_superseded(runs: Sequence[RunResult], root: Path) -> list[RunResult]:
    finished = [run for run in runs if run.status == 'finished']
    newest = {run.name: run for run in sorted(finished, key=lambda run: _end_of(run, root))}
    return [
        run
        if run.status != 'finished' or newest[run.name] is run
        else replace(
            run,
            status='superseded',
            reason=f'{newest[run.name].folder} has the same config and seed and is newer',
        )
        for run in runs
    ]


def _end_of(run: RunResult, root: Path) -> float:
    return (root / run.folder / 'summary.json').stat().st_mtime
