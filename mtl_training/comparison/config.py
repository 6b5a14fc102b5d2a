"""The configuration of a comparison: all that is combined with all, from one YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl_perception.network.config import from_mapping
from mtl_training.comparison.regime_entry import RegimeEntry
from mtl_training.config import MethodConfig, read_yaml, set_entry
from mtl_training.tables import nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class SharingEntry:
    """
    One way to share.

    :param name: A sharing method; ``list`` shows them all.
    :param settings: Its settings.
    :param network: Other entries of every trunk, its depth for example.
    :param config: Other entries of the training config, laid over the base.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ('network', 'data', 'weighting', 'seed'):
            if name in self.config:
                raise ValueError(f"config must not set '{name}': it has its place elsewhere.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Skip:
    """Combinations to leave out: all that have what is named here."""

    data: str | None = None
    sharing: str | None = None
    weighting: str | None = None
    regime: str | None = None

    def matches(self, data: str, sharing: str, weighting: str, *regimes: str) -> bool:
        """
        Tell whether a combination is to be left out.

        :param regimes: The name of the regime, and that of the grid that it is of.
        """
        pairs = ((self.data, data), (self.sharing, sharing), (self.weighting, weighting))
        return all(name is None or name == found for name, found in pairs) and (
            self.regime is None or self.regime in regimes
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonConfig:
    """
    A grid of training runs; its names are those of the tables of the report.

    :param base: What all runs have in common, as a training config.
    :param sharing: Ways to share.
    :param weighting: Ways to weight the losses.
    :param seeds: Every combination is trained once with each.
    :param data: Data sets as changes to those of ``base``. Where one names the ``dataset`` of a
        task, it replaces that task's data; else its entries are laid over them.
    :param regime: How the tasks take turns; without this section it is as ``base`` says, and is
        no part of names.
    :param skip: Combinations to leave out.
    """

    base: dict[str, Any]
    sharing: dict[str, SharingEntry]
    weighting: dict[str, MethodConfig]
    seeds: tuple[int, ...] = (0,)
    data: dict[str, dict[str, Any]] = field(default_factory=lambda: {'data': {}})
    regime: dict[str, RegimeEntry] = field(default_factory=dict)
    skip: tuple[Skip, ...] = ()

    def __post_init__(self) -> None:
        for name in ('sharing', 'weighting', 'seeds', 'data'):
            if not getattr(self, name):
                raise ValueError(f'{name} must have at least one entry, got none.')
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f'seeds must be distinct, got {list(self.seeds)}.')
        for name, sharing in self.sharing.items():
            if self.regime and 'regime' in sharing.config:
                raise ValueError(
                    f"sharing.{name}: config must not set 'regime' besides a section regime."
                )
        for entry in self.skip:
            self._check_skip(entry)

    def _check_skip(self, entry: Skip) -> None:
        if entry == Skip():
            raise ValueError(
                'skip: an entry must name data, sharing, weighting or regime, got none.'
            )
        names = {kind: [*getattr(self, kind)] for kind in ('data', 'sharing', 'weighting')}
        names['regime'] = [
            name
            for of, grid in self.regime.items()
            for name in dict.fromkeys((of, *grid.runs(of)))
        ]
        for kind, known in names.items():
            name = getattr(entry, kind)
            if name is not None and name not in known:
                raise ValueError(f"skip: unknown {kind} '{name}'. {nearest(name, known)}")


def is_comparison(block: Mapping[str, Any]) -> bool:
    """Tell a comparison from a training config."""
    return 'base' in block


def load_comparison(
    path: str | Path, overrides: Sequence[tuple[str, Any]] = ()
) -> ComparisonConfig:
    """
    Read a comparison from a YAML file; the overrides are of the entries of its base.

    :raises ValueError: Naming the entry, the rule and what was found.
    """
    block = read_yaml(path)
    if isinstance(block.get('base'), str):
        block['base'] = read_yaml(Path(path).parent / block['base'])
    for dotted, value in overrides:
        if _is_compared(dotted, block):
            raise ValueError(f"'--{dotted}' is what the comparison '{path}' varies.")
        set_entry(block.setdefault('base', {}), dotted, value)
    return from_mapping(ComparisonConfig, block, 'comparison')


def _is_compared(dotted: str, block: Mapping[str, Any]) -> bool:
    parts = dotted.split('.')
    trunk_entry = parts[3] if parts[:2] == ['network', 'trunks'] and len(parts) > 3 else ''
    varied = ('seed', 'weighting', *(['regime'] if block.get('regime') else []))
    return parts[0] in varied or trunk_entry.startswith('sharing')
