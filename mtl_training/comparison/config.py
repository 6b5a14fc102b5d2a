"""The configuration of a comparison: sharing x weighting x seeds x data sets, from one YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl_perception.network.config import from_mapping
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

    def matches(self, data: str, sharing: str, weighting: str) -> bool:
        """Tell whether a combination is to be left out."""
        pairs = ((self.data, data), (self.sharing, sharing), (self.weighting, weighting))
        return all(name is None or name == found for name, found in pairs)


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
    :param skip: Combinations to leave out.
    """

    base: dict[str, Any]
    sharing: dict[str, SharingEntry]
    weighting: dict[str, MethodConfig]
    seeds: tuple[int, ...] = (0,)
    data: dict[str, dict[str, Any]] = field(default_factory=lambda: {'data': {}})
    skip: tuple[Skip, ...] = ()

    def __post_init__(self) -> None:
        for name in ('sharing', 'weighting', 'seeds', 'data'):
            if not getattr(self, name):
                raise ValueError(f'{name} must have at least one entry, got none.')
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f'seeds must be distinct, got {list(self.seeds)}.')
        for entry in self.skip:
            self._check_skip(entry)

    def _check_skip(self, entry: Skip) -> None:
        if entry == Skip():
            raise ValueError('skip: an entry must name data, sharing or weighting, got none.')
        for kind in ('data', 'sharing', 'weighting'):
            name, known = getattr(entry, kind), getattr(self, kind)
            if name is not None and name not in known:
                raise ValueError(f"skip: unknown {kind} '{name}'. {nearest(name, list(known))}")


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
        if _is_compared(dotted):
            raise ValueError(f"'--{dotted}' is what the comparison '{path}' varies.")
        set_entry(block.setdefault('base', {}), dotted, value)
    return from_mapping(ComparisonConfig, block, 'comparison')


def _is_compared(dotted: str) -> bool:
    parts = dotted.split('.')
    trunk_entry = parts[3] if parts[:2] == ['network', 'trunks'] and len(parts) > 3 else ''
    return parts[0] in ('seed', 'weighting') or trunk_entry.startswith('sharing')
