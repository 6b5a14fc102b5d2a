"""From a comparison to its runs: configs, folders, and what the folders say already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import re
from typing import Any

from mtl_perception.checkpoint import write_atomically
from mtl_perception.network.sharing import SHARING
from mtl_perception.network.temporal_graph.sharing import GRAPH_SHARING
from mtl_training.comparison.checks import MethodChecks
from mtl_training.comparison.config import ComparisonConfig, SharingEntry
from mtl_training.comparison.regime_entry import RegimeEntry
from mtl_training.config import build_config, differences, load_config, TrainingConfig
from mtl_training.run_folder import RunFolder
from mtl_training.tables import choose


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """
    One run of a comparison, named as in the report.

    :param regime: Empty where the comparison does not vary it.
    :param row: Runs of other tasks with the same one are one method; see :class:`RegimeEntry`.
    """

    data: str
    sharing: str
    weighting: str
    seed: int
    config: TrainingConfig
    path: Path
    regime: str = ''
    row: str = ''

    @property
    def name(self) -> str:
        """Return its name for people."""
        return f'{self.combination} / seed {self.seed}'

    @property
    def combination(self) -> str:
        """Return its name without the seed."""
        return ' / '.join(part for part in self.names.values() if part)

    @property
    def names(self) -> dict[str, str]:
        """Return the names of what is combined in it; the regime only where it is varied."""
        names = {'data': self.data, 'sharing': self.sharing, 'weighting': self.weighting}
        return {**names, 'regime': self.regime} if self.regime else names

    @property
    def folder(self) -> RunFolder:
        """Return the run's folder."""
        return RunFolder(self.path)

    @property
    def log(self) -> Path:
        """Return the file for all that the run prints."""
        return self.path / 'run.log'

    @property
    def failure(self) -> Path:
        """Return the file that says why the run failed."""
        return self.path / 'failure.txt'

    @property
    def is_finished(self) -> bool:
        """Tell whether the run's end was reached."""
        summary = self.folder.summary
        return summary.exists() and bool(json.loads(summary.read_text())['finished'])

    def check(self) -> None:
        """
        Check that the run's folder can take it, or go on with it; makes the folder.

        :raises ValueError: If the folder holds a run with another config.
        """
        self.folder.check(self.config, resume=True)

    def changed_entries(self) -> list[str]:
        """Return the entries that differ from the run in the folder, if there is one."""
        stored = self.folder.config
        return differences(self.config, load_config(stored)) if stored.exists() else []

    def write_identity(self, position: int, facts: dict[str, Any]) -> None:
        """
        Tell the report what this run is.

        :param position: Of the run among all, for the order of the tables; it moves when the
            comparison gets other entries.
        :param facts: How it is trained; those of a finished run stay.
        """
        path = self.path / 'run.json'
        names = {**self.names, **({'row': self.row} if self.row else {}), 'seed': self.seed}
        if self.is_finished and path.exists():
            facts = json.loads(path.read_text(encoding='utf-8'))
            facts.pop('row', None)  # it may have another one now, or none
        text = json.dumps({**facts, **names, 'position': position}, indent=2) + '\n'
        write_atomically(path, text.encode())


def planned_runs(comparison: ComparisonConfig, out: str | Path) -> list[PlannedRun]:
    """
    Return all runs; seeds vary slowest, so that half of a comparison is one of all methods.

    :raises ValueError: If a combination could not be trained, or two names give one path.
    """
    _check_methods(comparison)
    checks, runs = MethodChecks(), []
    for seed in comparison.seeds:
        for data in comparison.data:
            for sharing in comparison.sharing:
                for weighting in comparison.weighting:
                    for regime, entry in _regimes(comparison, data, sharing, weighting):
                        names = (data, sharing, weighting, regime)
                        run = _planned(comparison, Path(out), names, entry, seed)
                        _check_combination(run, checks)
                        runs.append(run)
    if not runs:
        raise ValueError('skip leaves no combination to run.')
    _check_paths(runs)
    return runs


def _regimes(
    comparison: ComparisonConfig, data: str, sharing: str, weighting: str
) -> Iterator[tuple[str, RegimeEntry | None]]:
    """Yield the regimes of a combination; without a name or an entry where they do not vary."""

    def is_skipped(*regimes: str) -> bool:
        return any(s.matches(data, sharing, weighting, *regimes) for s in comparison.skip)

    if not comparison.regime and not is_skipped():
        yield '', None
    for grid, entry in comparison.regime.items():
        for name, run in entry.runs(grid).items():
            if not is_skipped(name, grid):
                yield name, run


def _planned(
    comparison: ComparisonConfig,
    out: Path,
    names: tuple[str, str, str, str],
    regime: RegimeEntry | None,
    seed: int,
) -> PlannedRun:
    data, sharing, weighting, _ = names
    entry = comparison.sharing[sharing]
    block = _merged(_merged(comparison.base, entry.config), {'seed': seed})
    if 'network' in block:
        block['network'] = _with_sharing(block['network'], entry)
    method = comparison.weighting[weighting]
    block['weighting'] = {'name': method.name, 'settings': dict(method.settings)}
    block['data'] = _with_data(block.get('data') or {}, comparison.data[data])
    given = [name for name in names if name]
    try:
        config = build_config(block if regime is None else _with_regime(block, regime))
    except ValueError as error:
        raise ValueError(f'{" / ".join(given)}: {error}') from error
    parts = ['runs', *map(file_name, given), f'seed{seed}']
    return PlannedRun(
        **dict(zip(('data', 'sharing', 'weighting', 'regime'), names)),
        seed=seed,
        config=config,
        path=out.joinpath(*parts),
        row=regime.row if regime else '',
    )


def _check_combination(run: PlannedRun, checks: MethodChecks) -> None:
    try:
        # One run, one device, and as many threads as it has been promised.
        for name in ('devices', 'num_nodes'):
            if (value := getattr(run.config, name)) != 1:
                raise ValueError(f'{name} must be 1 in a comparison, got {value}.')
        checks.check(run.config)
    except ValueError as error:
        raise ValueError(f'{run.combination}: {error}') from error


def _with_sharing(network: Any, entry: SharingEntry) -> Any:
    if not isinstance(network, Mapping) or not isinstance(network.get('trunks'), Mapping):
        return network  # the config says what is wrong with it
    ours = {**entry.network, 'sharing': entry.name, 'sharing_settings': dict(entry.settings)}
    trunks = {name: _merged(trunk or {}, ours) for name, trunk in network['trunks'].items()}
    for trunk in trunks.values():
        trunk['sharing_settings'] = dict(entry.settings)  # not those of another method
    return {**network, 'trunks': trunks}


def _with_regime(block: Mapping[str, Any], entry: RegimeEntry) -> dict[str, Any]:
    block = entry.reduced(_merged(block, entry.config))
    network = block.get('network')
    if isinstance(network, Mapping) and isinstance(network.get('trunks'), Mapping):
        trunks = {n: _merged(t or {}, entry.network) for n, t in network['trunks'].items()}
        block['network'] = {**network, 'trunks': trunks}
    return {**block, 'regime': {'name': entry.name, 'settings': dict(entry.settings)}}


def _with_data(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = _merged(base, changes)
    for task, change in changes.items():
        if isinstance(change, Mapping) and 'dataset' in change:
            merged[task] = dict(change)
    return merged


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged


def file_name(name: str) -> str:
    """Return a name with only characters that every file system takes."""
    return re.sub(r'[^\w.=+-]+', '_', name).strip('.') or '_'


def _check_methods(comparison: ComparisonConfig) -> None:
    for name, entry in comparison.sharing.items():
        try:
            choose({**SHARING, **GRAPH_SHARING}, entry.name, 'sharing method')
        except ValueError as error:
            raise ValueError(f'comparison.sharing.{name}: {error}') from error


def _check_paths(runs: Sequence[PlannedRun]) -> None:
    taken: dict[str, PlannedRun] = {}
    for run in runs:
        # Some file systems do not tell upper from lower case.
        other = taken.setdefault(str(run.path).lower(), run)
        if other is not run:
            raise ValueError(f"'{other.name}' and '{run.name}' would share the folder {run.path}.")
