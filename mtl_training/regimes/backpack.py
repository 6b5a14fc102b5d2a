"""A novel task that asks what the known ones see: the backpack (Peirone et al., EgoPack)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from mtl_perception.network.config import from_mapping, NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.temporal_graph.prototypes import PrototypeBank
from mtl_training.config import OptimiserConfig
from mtl_training.criteria import Criterion
from mtl_training.regimes.backpack_network import BackpackPlan, complete_network
from mtl_training.regimes.contract import Recorder, Regime, Stage
from mtl_training.regimes.staged import OWN_SETTINGS

NOVEL_SETTINGS = (*OWN_SETTINGS, 'warmup', 'final_lr')  # of the optimiser, in the second stage


class BackpackRegime(Regime):
    """
    Train known tasks jointly, record their prototypes, then train a novel task with their help.

    Peirone et al., A Backpack Full of Skills (CVPR 2024). The prototypes of a known task are the
    means of its features over the training windows of each concept, a combination of labels of a
    task of recognition; they are recorded once, from the network that the first stage leaves, in
    evaluation mode, and never trained. With init_checkpoint the first stage may be left out, and
    known tasks need no data if the checkpoint has their prototypes. Without a novel task the run
    makes such a checkpoint: it trains the known tasks and keeps their prototypes up to date.

    :param tasks: The names of all tasks.
    :param criteria: What each of them fits.
    :param novel: The task of the second stage; null: there is none.
    :param known: Tasks of the first stage, whose perspectives the novel task takes; all others if
        not given.
    :param known_iterations: Length of the first stage; 0 leaves it out.
    :param prototypes: False: the novel task gets a head of its own on the trunk of the others and
        no more, multi-task training and fine-tuning.
    :param k: Prototypes that a node is matched with; like what follows as of
        :class:`BackpackConfig` if not given.
    :param depth: Interactions with them.
    :param aggregation: Of the matched prototypes: max or mean.
    :param detach: Whether known heads get no gradient of the novel task.
    :param votes: Of all perspectives: sum or mean of their logits.
    :param concepts_of: The task of recognition whose windows and labels make the prototypes; the
        first of its kind if not given. It may be one that is neither known nor novel.
    :param freeze_trunk: Leave the trunk as it is in the second stage, bit for bit and in
        evaluation mode; if not given, where the novel task is one of anticipation.
    :param novel_lr: Learning rate of the second stage, or one per novel task; the optimiser's if
        not given. Warm-up, schedule and what the optimiser remembers begin anew.
    :param novel_optimiser: Entries of the optimiser in the second stage: schedule, gamma,
        patience, clip_norm, warmup or final_lr.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        criteria: Mapping[str, Criterion] | None = None,
        *,
        novel: str | None = None,
        known: Sequence[str] | None = None,
        known_iterations: int | None = None,
        prototypes: bool = True,
        k: int | None = None,
        depth: int | None = None,
        aggregation: str | None = None,
        detach: bool | None = None,
        votes: str | None = None,
        concepts_of: str | None = None,
        freeze_trunk: bool | None = None,
        novel_lr: float | Mapping[str, float] | None = None,
        novel_optimiser: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(tasks, criteria)
        self._plan = BackpackPlan.of(
            tasks, novel=novel, known=known, prototypes=prototypes, concepts_of=concepts_of
        )
        asked = {'k': k, 'depth': depth, 'aggregation': aggregation, 'detach': detach}
        _check_use(novel, prototypes, {**asked, 'votes': votes})
        self._known_iterations = _known_iterations(novel, known_iterations)
        self._lr = novel_lr.get(str(novel)) if isinstance(novel_lr, Mapping) else novel_lr
        if self._lr is not None and not 0 < self._lr < float('inf'):
            raise ValueError(f'novel_lr must be positive, got {self._lr}.')
        self._optimiser = dict(novel_optimiser or {})
        if strange := sorted(self._optimiser.keys() - {*NOVEL_SETTINGS}):
            raise ValueError(
                f"novel_optimiser must be of {NOVEL_SETTINGS}, got '{strange[0]}': the others are "
                "the run's."
            )
        # Now, not when the first stage is over.
        from_mapping(OptimiserConfig, {'lr': 1e9, **self._optimiser}, 'novel_optimiser')
        self._asked_freeze = freeze_trunk
        # What the network tells: see check().
        self._trunk = ''
        self._freeze: tuple[str, ...] = ()
        self._concepts_of = ''

    @classmethod
    def complete(
        cls,
        network: NetworkConfig,
        datasets: Mapping[str, Any],
        settings: Mapping[str, Any],
        origin: NetworkConfig | None = None,
    ) -> NetworkConfig:
        """Return the network config with the prototypes, and how the novel task asks for them."""
        return complete_network(network, datasets, settings, origin)

    def check(self, network: NetworkConfig, varies: Mapping[str, bool]) -> None:
        """Check that all that is trained or recorded has data."""
        plan, trained = self._plan, [*self._plan.known]
        if plan.novel is not None:
            trained = [plan.novel, *(plan.known if self._known_iterations else ())]
        if missing := [task for task in trained if task not in varies]:
            raise ValueError(
                f'data must name a data set for each task that is trained, got none for '
                f'{missing}; known tasks go without where known_iterations is 0.'
            )
        self._trunk = plan.trunk(network)
        if plan.novel is not None:
            is_frozen = network.tasks[plan.novel].kind == 'anticipation'
            if self._asked_freeze is not None:
                is_frozen = self._asked_freeze
            self._freeze = (self._trunk,) if is_frozen else ()
        # Without data the prototypes are those that init_checkpoint brings.
        source = plan.source(network) if plan.prototypes else ''
        self._concepts_of = source if source in varies else ''
        self.records_prototypes = bool(self._concepts_of)

    def stages(self, iterations: int) -> list[Stage]:
        """Return that of the known tasks, if there is one, and that of the novel one."""
        plan, first = self._plan, self._known_iterations
        if plan.novel is None:
            return [Stage(0, iterations, plan.known)]
        if first >= iterations:
            raise ValueError(
                'known_iterations must leave some for the novel task, got '
                f'{first} of {iterations}.'
            )
        novel = Stage(
            first,
            iterations - first,
            (plan.novel,),
            self._lr,
            self._freeze,
            optimiser=self._optimiser,
            is_fresh=True,
        )
        return [*([Stage(0, first, plan.known)] if first else []), novel]

    def tasks_at(self, iteration: int) -> Sequence[str]:
        """Return the known tasks, then the novel one."""
        novel = self._plan.novel
        return self._plan.known if novel is None or self._is_known(iteration) else (novel,)

    def judged_tasks(self, iteration: int) -> Sequence[str]:
        """Return the tasks that are trained: what the others reach moves with the trunk."""
        return self.tasks_at(iteration)

    def begin(self, iteration: int, recorder: Recorder) -> None:
        """Record the prototypes when the second stage begins."""
        # A run that was interrupted later finds them in the state of its network.
        if self._plan.novel is not None and iteration == self._known_iterations:
            self._record(recorder)

    def before_validation(self, recorder: Recorder) -> None:
        """Record the prototypes of the network that is stored, if there is no second stage."""
        if self._plan.novel is None:
            self._record(recorder)

    def _is_known(self, iteration: int) -> bool:
        return iteration < self._known_iterations

    def _record(self, recorder: Recorder) -> None:
        if not self._concepts_of:
            return
        network = cast('MultiTaskNetwork', recorder.network)
        bank = cast('PrototypeBank', network.prototypes[self._trunk])
        for task, means in recorder.prototypes(self._concepts_of, self._plan.known).items():
            bank.store(task, means)


def _known_iterations(novel: str | None, given: int | None) -> int:
    if novel is None and given is not None:
        raise ValueError(
            f'known_iterations must not be given without a novel task, got {given}: the run is '
            'the first stage.'
        )
    if novel is not None and given is None:
        raise ValueError(
            'known_iterations must be given: the length of the first stage, 0 where the known '
            'tasks come from init_checkpoint.'
        )
    if given is not None and given < 0:
        raise ValueError(f'known_iterations must be at least 0, got {given}.')
    return given or 0


def _check_use(novel: str | None, prototypes: bool, asked: Mapping[str, Any]) -> None:
    given = [name for name, value in asked.items() if value is not None]
    if given and (novel is None or not prototypes):
        raise ValueError(
            f'{given[0]} is for a novel task with prototypes, got {asked[given[0]]} without.'
        )
    if novel is None and not prototypes:
        raise ValueError('prototypes must not be false without a novel task: nothing is left.')
