"""What a network needs for a backpack: who is known, which concepts, and who asks whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mtl_perception.network.config import GRAPH_KINDS, NetworkConfig
from mtl_training.tables import nearest

OF_BACKPACK = ('k', 'depth', 'aggregation', 'detach', 'votes')  # settings that the network keeps


@dataclass(frozen=True, kw_only=True, slots=True)
class BackpackPlan:
    """
    Which task does what.

    :param novel: The one that is learnt last, if there is one.
    :param known: Those before it.
    :param prototypes: Whether the novel task takes their perspectives.
    :param concepts_of: The task whose labels name the concepts, if it was given.
    """

    novel: str | None
    known: tuple[str, ...]
    prototypes: bool
    concepts_of: str | None

    @staticmethod
    def of(
        tasks: Sequence[str],
        *,
        novel: str | None = None,
        known: Sequence[str] | None = None,
        prototypes: bool = True,
        concepts_of: str | None = None,
        **_: Any,
    ) -> BackpackPlan:
        """
        Return the plan of settings.

        :param tasks: The names of all tasks of the network.
        :raises ValueError: If they name unknown tasks, or leave one without a part.
        """
        if isinstance(known, str) or not isinstance(known, Sequence | None):
            raise ValueError(f'known must be a list of tasks, got {known!r}.')
        given = None if known is None else tuple(known)
        for name in (novel, *(given or ()), concepts_of):
            if name is not None and name not in tasks:
                raise ValueError(f"no task '{name}'. {nearest(name, list(tasks))}")
        others = tuple(task for task in tasks if task != novel)
        plan = BackpackPlan(
            novel=novel,
            known=others if given is None else given,
            prototypes=prototypes,
            concepts_of=concepts_of,
        )
        if not plan.known or len(set(plan.known)) != len(plan.known):
            raise ValueError(f'known must be distinct and at least one, got {list(plan.known)}.')
        if novel in plan.known:
            raise ValueError(f"known must not have the novel task '{novel}'.")
        return plan

    def source(self, network: NetworkConfig) -> str:
        """
        Return the task whose windows make the prototypes.

        :raises ValueError: If it is none of recognition.
        """
        found = [name for name, task in network.tasks.items() if task.kind == 'recognition']
        source = self.concepts_of or next(iter(found), '')
        if source not in found:
            raise ValueError(
                'concepts_of must be a task of recognition, for its labels to name the '
                f"prototypes, got '{source}' of {found}."
            )
        return source

    def trunk(self, network: NetworkConfig) -> str:
        """
        Return the trunk of all tasks.

        :raises ValueError: If there are several, it is none that tasks share, or a task has no
            part.
        """
        source = self.source(network) if self.prototypes else None
        if idle := {*network.tasks} - {self.novel, *self.known, source}:
            raise ValueError(
                f'every task must be novel or known, or make the prototypes, got {sorted(idle)} '
                'besides: leave them out of network.tasks.'
            )
        for name, task in network.tasks.items():
            if task.kind not in GRAPH_KINDS:
                raise ValueError(
                    f"tasks must be of {GRAPH_KINDS} for a backpack, task '{name}' is of "
                    f'{task.kind}: train other trunks apart and join them.'
                )
        trunks = sorted({task.trunk for task in network.tasks.values()})
        if len(trunks) > 1 or network.trunks[trunks[0]].sharing != 'hard':
            sharing = [network.trunks[name].sharing for name in trunks]
            raise ValueError(
                f"a backpack needs one trunk with sharing 'hard', got {trunks} with {sharing}."
            )
        return trunks[0]


def complete_network(
    network: NetworkConfig,
    datasets: Mapping[str, Any],
    settings: Mapping[str, Any],
    origin: NetworkConfig | None = None,
) -> NetworkConfig:
    """
    Return a network config with the prototypes, and how the novel task asks for them.

    :param datasets: Of the training split; known tasks may lack theirs.
    :param settings: Of the regime.
    :param origin: Of the checkpoint that the run starts from, if there is one.
    :raises ValueError: If the tasks don't fit, or nobody has the concepts.
    """
    plan = BackpackPlan.of(list(network.tasks), **settings)
    name = plan.trunk(network)
    if plan.novel is not None and not settings.get('known_iterations') and origin is None:
        raise ValueError(
            'known_iterations must be at least 1 without init_checkpoint: nothing is known yet.'
        )
    if not plan.prototypes:
        return network
    trunk, tasks = network.trunks[name], dict(network.tasks)
    assert trunk.graph is not None
    if plan.novel is not None:
        asks = {key: settings[key] for key in OF_BACKPACK if settings.get(key) is not None}
        task = tasks[plan.novel]
        if task.settings.get('backpack') is not None:
            raise ValueError(
                f"tasks.{plan.novel}.settings must not have 'backpack': the regime sets it."
            )
        own = {**task.settings, 'backpack': {'tasks': list(plan.known), **asks}}
        tasks[plan.novel] = replace(task, settings=own)
    concepts = _concepts(plan, network, datasets, origin)
    graph = replace(trunk.graph, known=plan.known, concepts=concepts)
    return replace(
        network, tasks=tasks, trunks={**network.trunks, name: replace(trunk, graph=graph)}
    )


def _concepts(
    plan: BackpackPlan,
    network: NetworkConfig,
    datasets: Mapping[str, Any],
    origin: NetworkConfig | None,
) -> tuple[str, ...]:
    source, name = plan.source(network), plan.trunk(network)
    if source in datasets:
        return tuple(datasets[source].concepts)
    theirs = origin.trunks.get(name) if origin else None
    graph = theirs.graph if theirs else None
    stored = graph.known if graph and graph.concepts else ()
    if missing := [task for task in plan.known if task not in stored]:
        raise ValueError(
            f"data must name a data set of '{source}', whose windows make the prototypes, or "
            f'init_checkpoint bring those of {missing}; it has those of {list(stored)}.'
        )
    assert graph is not None
    return graph.concepts
