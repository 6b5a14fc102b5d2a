"""Staged training: one group of tasks after the other, as the source trains its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from mtl_perception.network.config import from_mapping
from mtl_training.config import OptimiserConfig
from mtl_training.criteria import Criterion
from mtl_training.regimes.contract import Regime, Stage
from mtl_training.tables import nearest

OWN_SETTINGS = ('schedule', 'gamma', 'patience', 'clip_norm')  # that a stage may have


@dataclass(frozen=True, kw_only=True, slots=True)
class StageConfig:
    """
    One stage of a config.

    :param tasks: What it trains.
    :param iterations: How long; the last stage may leave it out and takes the rest.
    :param lr: Its largest learning rate; null: the optimiser's. Warm-up and schedule begin anew.
    :param freeze: Trunks that stay bit for bit as they are, their batch norms included.
    :param predicted_poses: Learn activities from the poses that the network finds when the stage
        begins, not from the annotated ones.
    :param schedule: As the optimiser's, like what follows; null: the optimiser's.
    :param gamma: Factor of each step or reduction.
    :param patience: Validations without a lower loss that make a plateau.
    :param clip_norm: Largest norm of the whole gradient.
    """

    tasks: tuple[str, ...]
    iterations: int | None = None
    lr: float | None = None
    freeze: tuple[str, ...] = ()
    predicted_poses: bool = False
    schedule: str | None = None
    gamma: float | None = None
    patience: int | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f'tasks must be distinct and at least one, got {list(self.tasks)}.')
        if self.iterations is not None and self.iterations < 1:
            raise ValueError(f'iterations must be at least 1, got {self.iterations}.')
        if self.lr is not None and not 0 < self.lr < float('inf'):
            raise ValueError(f'lr must be positive, got {self.lr}.')
        OptimiserConfig(**self.optimiser)

    @property
    def optimiser(self) -> dict[str, Any]:
        """Return which settings of the optimiser the stage has of its own, but for its lr."""
        own = {name: getattr(self, name) for name in OWN_SETTINGS}
        return {name: value for name, value in own.items() if value is not None}


class StagedRegime(Regime):
    """
    Train groups of tasks one after the other, each stage with its own learning rate.

    The source trains keypoints, detection on the frozen backbone, Pose Residual Network and
    activity this way. What a stage does not name stays bit for bit as it is.

    :param tasks: The names of all tasks.
    :param criteria: What each of them fits.
    :param stages: Mappings with the entries of :class:`StageConfig`.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        criteria: Mapping[str, Criterion] | None = None,
        *,
        stages: Sequence[Any],
    ) -> None:
        super().__init__(tasks, criteria)
        if not stages:
            raise ValueError('stages must be at least one, got none.')
        self._stages = [
            from_mapping(StageConfig, block, f'stages[{i}]') for i, block in enumerate(stages)
        ]
        for i, stage in enumerate(self._stages):
            for task in stage.tasks:
                if task not in self.tasks:
                    raise ValueError(
                        f"stages[{i}]: no task '{task}'. {nearest(task, list(self.tasks))}"
                    )
            if stage.iterations is None and i < len(self._stages) - 1:
                raise ValueError(f'stages[{i}] lacks iterations; only the last may do so.')

    def stages(self, iterations: int) -> list[Stage]:
        """Return the stages; the last takes what the others leave of the run."""
        lengths = [stage.iterations or 0 for stage in self._stages]
        rest = iterations - sum(lengths)
        if self._stages[-1].iterations is None:
            lengths[-1], rest = rest, 0
        if rest or min(lengths) < 1:
            given = [stage.iterations for stage in self._stages]
            raise ValueError(
                f'iterations must be those of all stages, got {iterations} for stages of {given}.'
            )
        firsts = [0, *accumulate(lengths)]
        return [
            Stage(
                first,
                length,
                stage.tasks,
                stage.lr,
                stage.freeze,
                stage.predicted_poses,
                stage.optimiser,
            )
            for first, length, stage in zip(firsts, lengths, self._stages)
        ]
