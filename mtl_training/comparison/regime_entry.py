"""How the tasks of a comparison take turns: regimes, grids of their settings, single tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from mtl_training.tables import nearest

OF_TASKS = ('data', 'batch_sizes', 'losses')  # sections with an entry per task
NOVEL = 'novel'  # a setting: the task that a run learns after others


@dataclass(frozen=True, kw_only=True, slots=True)
class RegimeEntry:
    """
    One way in which tasks take turns.

    :param name: A regime; ``list`` shows them all.
    :param settings: Its settings.
    :param grid: Settings with a list of values each: every combination is a run of its own.
    :param tasks: What is trained, if not all: the others are left out of network and data. Where
        the settings name known tasks, these, the novel one and that of the concepts.
    :param row: Entries of one row are one method, of which each run has another task, such as
        those of tasks alone: reports show the figures of their tasks side by side. The runs of a
        grid of novel tasks are one row without saying so.
    :param network: Other entries of every trunk.
    :param config: Other entries of the training config, laid over the base.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    network: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    row: str = ''

    def __post_init__(self) -> None:
        for name in ('network', 'data', 'weighting', 'regime', 'seed'):
            if name in self.config:
                raise ValueError(f"config must not set '{name}': it has its place elsewhere.")
        for name in ('sharing', 'sharing_settings'):
            if name in self.network:
                raise ValueError(f"network must not set '{name}': the section sharing does.")
        for name, values in self.grid.items():
            if not values:
                raise ValueError(f'grid.{name} must have at least one value, got none.')
            if name in self.settings:
                raise ValueError(f'grid.{name} must not be among the settings as well.')

    def runs(self, name: str) -> dict[str, RegimeEntry]:
        """
        Return one entry per combination of the grid, by names that tell their values.

        :param name: Of this entry in the comparison.
        """
        if not self.grid:
            return {name: self}
        is_row = self.row or NOVEL in self.grid
        entries = {}
        for values in product(*self.grid.values()):
            chosen = dict(zip(self.grid, values))
            shown = [f'{setting}={_shown(value)}' for setting, value in chosen.items()]
            others = [text for text in shown if not text.startswith(f'{NOVEL}=')]
            row = ' '.join([self.row or name, *others]) if is_row else ''
            settings = {**self.settings, **chosen}
            entry = replace(self, settings=settings, grid={}, row=row)
            entries[' '.join([name, *shown])] = entry
        return entries

    def _parts(self, tasks: Any) -> tuple[str, ...]:
        """Return the tasks that settings give a part, if they say which tasks are known."""
        known = self.settings.get('known')
        if not isinstance(known, (list, tuple)) or not isinstance(tasks, Mapping):
            return ()
        concepts_of = self.settings.get('concepts_of') or next(
            (n for n, task in tasks.items() if (task or {}).get('kind') == 'recognition'), None
        )
        parts = [*known, self.settings.get(NOVEL)]
        if self.settings.get('prototypes', True):
            parts.append(concepts_of)
        return tuple(dict.fromkeys(part for part in parts if part is not None))

    def reduced(self, block: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return a training config without the tasks that are not trained, and what is theirs alone.

        :param block: As plain values; what is wrong with it is left for the config to say.
        :raises ValueError: If the network has no task of a name.
        """
        network = block.get('network')
        tasks = network.get('tasks') if isinstance(network, Mapping) else None
        chosen = self.tasks or self._parts(tasks)
        if not chosen or not isinstance(network, Mapping) or not isinstance(tasks, Mapping):
            return dict(block)
        for task in chosen:
            if task not in tasks:
                raise ValueError(f"tasks: no task '{task}'. {nearest(task, list(tasks))}")
        kept = {name: task for name, task in tasks.items() if name in chosen}
        reduced = {**block, 'network': {**network, 'tasks': kept}}
        if isinstance(trunks := network.get('trunks'), Mapping):
            read = {(task or {}).get('trunk', 'clip') for task in kept.values()}
            reduced['network']['trunks'] = {n: t for n, t in trunks.items() if n in read}
        for section in OF_TASKS:
            if isinstance(entries := block.get(section), Mapping):
                reduced[section] = {n: e for n, e in entries.items() if n in kept}
        return reduced


def _shown(value: Any) -> str:
    return '+'.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
