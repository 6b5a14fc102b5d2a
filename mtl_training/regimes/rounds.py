"""Rounds: the data of one task after the other, as where no clip has the labels of two tasks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, cast

from mtl_perception.network.config import CLIP_KINDS, NetworkConfig
from mtl_training.criteria import Criterion
from mtl_training.criteria.caption import CaptionCriterion
from mtl_training.data.sample import Batch
from mtl_training.regimes.contract import Forward, ForwardHeads, Recorder, Regime, Round
from mtl_training.regimes.distillation import DISTANCES, distillation, embedding_distance
from mtl_training.regimes.memory import MEMORIES, Memory
from mtl_training.tables import nearest
from mtl_training.weighting.contract import TaskLoss
import torch
from torch import nn, Tensor

# Of the source, section 4.2: the share of the labels' own loss on data with classes, and of the
# distillation, not of the captions' own loss, on data with captions.
LAMBDA_A, LAMBDA_S = 0.5, 0.7


class RoundsRegime(Regime):
    """
    Train on the data of one task for a round, then on that of the next (Kim et al., 2018).

    :param tasks: The names of all tasks.
    :param criteria: What each of them fits.
    :param order: The tasks in the order of their rounds; captions first if not given.
    :param epochs_per_round: How often a round sees the data of its task.
    :param round_iterations: Length of the rounds of tasks that count iterations, not epochs.
    :param lambda_A: Share of a task's own loss on the data of a task of labels, in [0, 1].
    :param lambda_S: Share of the memory on the data of a task of captions, in [0, 1]: its own loss
        has the rest.
    :param own_weight: Share of the own loss on the data of single tasks, in place of both.
    :raises ValueError: If a setting is out of range or names no task.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        criteria: Mapping[str, Criterion] | None = None,
        *,
        order: Sequence[str] | None = None,
        epochs_per_round: int = 1,
        round_iterations: Mapping[str, int] | None = None,
        lambda_A: float = LAMBDA_A,
        lambda_S: float = LAMBDA_S,
        own_weight: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(tasks, criteria)
        self.order = tuple(order) if order is not None else self._captions_first()
        if len(self.tasks) < 2:
            raise ValueError(
                f'turns need two or more tasks, got {list(self.tasks)}: for one, take the regime '
                'joint.'
            )
        for task in self.order:
            if task not in self.tasks:
                raise ValueError(f"order: no task '{task}'. {nearest(task, list(self.tasks))}")
        if sorted(self.order) != sorted(self.tasks):
            raise ValueError(
                f'order must name each task once, got {list(self.order)} for {list(self.tasks)}.'
            )
        if epochs_per_round < 1:
            raise ValueError(f'epochs_per_round must be at least 1, got {epochs_per_round}.')
        self._epochs = epochs_per_round
        self._given = dict(round_iterations or {})
        for name, value in (('lambda_A', lambda_A), ('lambda_S', lambda_S)):
            _check_share(name, value)
        self._own = {t: 1 - lambda_S if self._is_caption(t) else lambda_A for t in self.tasks}
        for section, entries in (
            ('round_iterations', self._given),
            ('own_weight', own_weight or {}),
        ):
            for task in entries:
                if task not in self.tasks:
                    raise ValueError(
                        f"{section}: no task '{task}'. {nearest(task, list(self.tasks))}"
                    )
        for task, length in self._given.items():
            if length < 1:
                raise ValueError(f'round_iterations.{task} must be at least 1, got {length}.')
        for task, share in (own_weight or {}).items():
            _check_share(f'own_weight.{task}', share)
            self._own[task] = share
        self._lengths: list[int] = []

    def prepare(self, num_samples: Mapping[str, int], batch_sizes: Mapping[str, int]) -> None:
        """Learn how long the rounds are: their epochs in iterations."""
        self._lengths = [
            self._given.get(task, self._epochs * -(-num_samples[task] // batch_sizes[task]))
            for task in self.order
        ]

    def round_at(self, iteration: int) -> Round:
        """Return the round of an iteration; after the last task the first has its turn again."""
        cycle, offset = divmod(iteration, sum(self._lengths))
        ends = [*accumulate(self._lengths)]
        place = bisect_right(ends, offset)
        first = iteration - offset + ends[place] - self._lengths[place]
        number = cycle * len(self.order) + place
        return Round(number, self.order[place], first, first + self._lengths[place])

    def tasks_at(self, iteration: int) -> Sequence[str]:
        """Return the task whose round it is."""
        return [self.round_at(iteration).task]

    def losses(
        self, forward: Forward, batches: Mapping[str, Batch]
    ) -> tuple[dict[str, TaskLoss], dict[str, Any]]:
        """Return the own loss of each batch, with its share of the whole (equation 5)."""
        losses, outputs = super().losses(forward, batches)
        scaled = {
            task: TaskLoss(self._own[task] * loss.values, loss.indices, loss.kind)
            for task, loss in losses.items()
        }
        return scaled, outputs

    def _is_caption(self, task: str) -> bool:
        return isinstance(self.criteria[task], CaptionCriterion)

    def _captions_first(self) -> tuple[str, ...]:
        return tuple(sorted(self.tasks, key=lambda task: not self._is_caption(task)))


class RememberingRegime(RoundsRegime):
    """
    Rounds in which the other tasks are asked for what they said when the round began.

    On the data of task t the loss is ``w_t own_t + (1 - w_t) mean_u memory_u`` over the other
    tasks u: the source's equation 10, for any number of tasks. The memory of a task of labels is
    distilled, that of captions is a cosine.

    :param temperature: Of the distillation.
    :param distance: kd, l1 or l2; see :func:`distillation`.
    :param kd_t2: Multiply the distillation by the square of the temperature.
    :param memory: records: what was said of each training sample, which must not vary; snapshot: a
        copy of the network that looks at the same batches; auto: records where samples do not
        vary.
    :param skip_first_distill: No memory in the first round, when no task has learnt anything.
    :param order: As of :class:`RoundsRegime`, like what follows.
    """

    remembers = True

    def __init__(
        self,
        tasks: Sequence[str],
        criteria: Mapping[str, Criterion] | None = None,
        *,
        temperature: float = 2.0,
        distance: str = 'kd',
        kd_t2: bool = False,
        memory: str = 'auto',
        skip_first_distill: bool = False,
        order: Sequence[str] | None = None,
        epochs_per_round: int = 1,
        round_iterations: Mapping[str, int] | None = None,
        lambda_A: float = LAMBDA_A,
        lambda_S: float = LAMBDA_S,
        own_weight: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(
            tasks,
            criteria,
            order=order,
            epochs_per_round=epochs_per_round,
            round_iterations=round_iterations,
            lambda_A=lambda_A,
            lambda_S=lambda_S,
            own_weight=own_weight,
        )
        if not 0 < temperature < float('inf'):
            raise ValueError(f'temperature must be positive and finite, got {temperature}.')
        for name, value, known in (
            ('distance', distance, DISTANCES),
            ('memory', memory, MEMORIES),
        ):
            if value not in known:
                raise ValueError(f'{name} must be one of {known}, got {value!r}.')
        self._temperature, self._distance, self._kd_t2 = temperature, distance, kd_t2
        self._kind, self._skips_first = memory, skip_first_distill
        self.memory = Memory()
        self._network: list[nn.Module] = []  # a list, for it to be no submodule

    def check(self, network: NetworkConfig, varies: Mapping[str, bool]) -> None:
        """Check that all tasks look at clips of one trunk, and that records can be kept."""
        for task in self.tasks:
            if (kind := network.tasks[task].kind) not in CLIP_KINDS:
                raise ValueError(
                    f"regimes that remember are for tasks of clips, task '{task}' is of {kind}."
                )
        if len(trunks := sorted({network.tasks[task].trunk for task in self.tasks})) > 1:
            raise ValueError(
                'the tasks must read the same trunk to look at the same clips, as regimes that '
                f'remember ask of them, got the trunks {trunks}.'
            )
        for task in self._remembering():
            if self._kind == 'records' and varies[task]:
                raise ValueError(
                    f"memory must be 'snapshot' or 'auto' where training samples vary, as those "
                    f"of task '{task}' do, got 'records'."
                )

    def _remembering(self) -> Sequence[str]:
        """Return the tasks on whose data others are remembered."""
        return self.order

    def begin(self, iteration: int, recorder: Recorder) -> None:
        """Take note, when a round begins, of what the other tasks say of its data."""
        self._network = [recorder.network]
        this = self.round_at(iteration)
        if self.memory.held_round == this.number:
            return
        if not self._has_memory(this):
            self.memory.forget()
            return
        if self._kind == 'snapshot' or recorder.varies(this.task):
            self.memory.take_snapshot(this.number, recorder)
        else:
            self.memory.record(this.number, this.task, self._others(this.task), recorder)

    def losses(
        self, forward: Forward, batches: Mapping[str, Batch]
    ) -> tuple[dict[str, TaskLoss], dict[str, Any]]:
        """Return the loss of each batch: its own one and what its samples must not change."""
        if self.memory.held_round < 0:
            return super().losses(forward, batches)
        losses, outputs = {}, {}
        for task, batch in batches.items():
            if not len(batch.indices):
                continue
            both = self.parts(cast('ForwardHeads', forward), task, batch)
            own, memory, outputs[task] = both
            share = self._own[task]
            values = share * own + (1 - share) * memory
            kind = cast('Criterion', self.criteria[task]).kind
            losses[task] = TaskLoss(values, batch.indices, kind)
        return losses, outputs

    def parts(
        self, forward: ForwardHeads, task: str, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """
        Return the own loss and that of the memory, ``[B]`` each, and the outputs of the task.

        Neither has its share yet.
        """
        others = self._others(task)
        said = self.memory.outputs(task, batch, others, forward, self._network[0])
        outputs = forward.of_heads(task, batch, [task, *others])
        own = cast('Criterion', self.criteria[task])(outputs[task], batch).mean(0)
        memory = torch.stack([self._distance_of(u, outputs[u], said[u]) for u in others]).mean(0)
        return own, memory, outputs[task]

    def _distance_of(self, task: str, outputs: Tensor, said: Tensor) -> Tensor:
        # Of every sample of the network's structure.
        repeated = said.repeat(len(outputs) // len(said), 1)
        if self._is_caption(task):
            values = embedding_distance(outputs, repeated)
        else:
            values = distillation(
                outputs,
                repeated,
                temperature=self._temperature,
                distance=self._distance,
                scale_by_square=self._kd_t2,
            )
        return values.view(-1, len(said)).mean(0)

    def _has_memory(self, this: Round) -> bool:
        return this.number > 0 or not self._skips_first

    def _others(self, task: str) -> list[str]:
        return [other for other in self.tasks if other != task]


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f'{name} must lie in [0, 1], got {value}.')
