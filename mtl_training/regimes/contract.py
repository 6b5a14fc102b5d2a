"""The contract of every regime: how the tasks take turns, and what each is asked to fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, NamedTuple, Protocol

from mtl_perception.network.config import NetworkConfig
from mtl_training.criteria import Criterion
from mtl_training.criteria.classification import ClassificationCriterion
from mtl_training.data.sample import Batch
from mtl_training.weighting.contract import TaskLoss
from torch import nn, Tensor


class Forward(Protocol):
    """The network with its preprocessing."""

    def __call__(self, batches: Mapping[str, Batch]) -> dict[str, Any]:
        """
        Return the outputs of each task for its own batch.

        Logits are ``[S * B, C]``, S being 1 unless a sharing method samples its structure in
        training.
        """


class ForwardHeads(Forward, Protocol):
    """The same, of which several tasks may look at one batch."""

    def of_heads(
        self, task: str, batch: Batch, heads: Sequence[str], network: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """
        Return what several tasks say of the batch of one, ``[S * B, D]`` each.

        :param network: Another network than the one in training.
        """


class Round(NamedTuple):
    """A part of a run that trains on the data of one task."""

    number: int
    task: str
    first: int  # its first iteration
    end: int  # that after its last


class Recorder(Protocol):
    """What a regime may ask of the run when a round begins."""

    @property
    def network(self) -> nn.Module:
        """Return the network that is asked: as a rule the one in training."""

    def outputs(self, task: str, heads: Sequence[str]) -> dict[str, Tensor]:
        """
        Return what other tasks say of all training samples of a task, in evaluation mode.

        :return: ``[N, D]`` per head, float32, on the CPU: row i is that of sample i.
        """

    def prototypes(self, task: str, heads: Sequence[str]) -> dict[str, Tensor]:
        """
        Return the mean features that tasks have of the training windows of each concept.

        :param task: Of recognition, whose windows and concepts they are.
        :return: ``[C, H]`` per head, float32, in evaluation mode and without augmentation.
        """

    def varies(self, task: str) -> bool:
        """Tell whether the training samples of a task are others whenever they are asked for."""


@dataclass(frozen=True, slots=True)
class Stage:
    """
    A part of the run that trains the same things throughout.

    :param first: Its first iteration.
    :param iterations: How many it has.
    :param tasks: What each of them trains.
    :param lr: The largest learning rate; None: the optimiser's.
    :param freeze: Trunks that stay as they are.
    :param predicted_poses: Whether activities are learnt from the poses that the network finds.
    :param optimiser: What differs from the settings of the run's optimiser, but for its lr.
    :param freeze_backbones: Trunks of which all copies of the backbone stay as they are, but not
        what their sharing method adds.
    :param is_fresh: Whether the optimiser forgets what it remembers of the stages before.
    """

    first: int
    iterations: int
    tasks: tuple[str, ...]
    lr: float | None = None
    freeze: tuple[str, ...] = ()
    predicted_poses: bool = False
    optimiser: Mapping[str, Any] = field(default_factory=dict)
    freeze_backbones: tuple[str, ...] = ()
    is_fresh: bool = False


class Regime(nn.Module):
    """
    Decide which tasks an iteration trains and turn their batches into losses.

    State is that of ``nn.Module`` and survives a resume.

    :param tasks: The names of all tasks.
    :param criteria: What each of them fits; cross-entropy where there is none.
    """

    # Whether losses ask what other tasks said of the data of this very iteration: weightings that
    # look at the next batch can't be had with it.
    remembers = False

    # Whether it makes the prototypes of the network, which else come from init_checkpoint.
    records_prototypes = False

    def __init__(
        self, tasks: Sequence[str], criteria: Mapping[str, Criterion] | None = None
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        given = criteria or {}
        self.criteria = nn.ModuleDict(
            {task: given[task] if task in given else ClassificationCriterion() for task in tasks}
        )

    @classmethod
    def complete(
        cls,
        network: NetworkConfig,
        datasets: Mapping[str, Any],
        settings: Mapping[str, Any],
        origin: NetworkConfig | None = None,
    ) -> NetworkConfig:
        """
        Return the network config with what the regime needs of it, before the network is built.

        :param datasets: Of the training split; tasks may lack theirs.
        :param settings: Of the regime.
        :param origin: Of the checkpoint that the run starts from, if there is one.
        :raises ValueError: If the regime can't do with the network.
        """
        return network

    def prepare(self, num_samples: Mapping[str, int], batch_sizes: Mapping[str, int]) -> None:
        """
        Learn the sizes of the training sets and batches, once, before anything else is asked.

        :raises ValueError: If the regime can't do with them.
        """

    def check(self, network: NetworkConfig, varies: Mapping[str, bool]) -> None:
        """
        Check what the regime asks of a run, before anything is trained.

        :param varies: Whether the training samples of each task that has some are others whenever
            they are asked for.
        :raises ValueError: If the regime can't do with the network or the data.
        """

    def round_at(self, iteration: int) -> Round | None:
        """Return the round that an iteration belongs to; None for a regime without rounds."""
        return None

    def begin(self, iteration: int, recorder: Recorder) -> None:
        """Prepare for an iteration, before its first one after a start or resume as well."""

    def stages(self, iterations: int) -> list[Stage]:
        """
        Return the stages of a run, one after the other without a gap.

        :raises ValueError: If they do not fit the number of iterations.
        """
        return [Stage(0, iterations, self.tasks)]

    def tasks_at(self, iteration: int) -> Sequence[str]:
        """Return the tasks that an iteration trains; a function of the iteration alone."""
        return self.tasks

    def judged_tasks(self, iteration: int) -> Sequence[str]:
        """Return the tasks that a validation after an iteration judges the network by."""
        return self.tasks

    def before_validation(self, recorder: Recorder) -> None:
        """
        Prepare the network for being judged and stored.

        :param recorder: Of that network, which is not the one in training if that is averaged.
        """

    def losses(
        self, forward: Forward, batches: Mapping[str, Batch]
    ) -> tuple[dict[str, TaskLoss], dict[str, Any]]:
        """
        Return the losses of the tasks present, and their outputs.

        :param forward: Runs the network on the batch of every task.
        :param batches: The batches of the iteration; absent tasks are absent from the result.
        """
        present = {task: batch for task, batch in batches.items() if len(batch.indices)}
        outputs = forward(present)
        losses = {
            task: TaskLoss(
                values=criterion(outputs[task], batch).mean(0),
                indices=batch.indices,
                kind=criterion.kind,
            )
            for task, batch in present.items()
            for criterion in [cast('Criterion', self.criteria[task])]
        }
        return losses, outputs

    def fits(self, outputs: Mapping[str, Any], batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Return a figure in [0, 1] of how well each batch is fitted."""
        return {
            task: cast('Criterion', self.criteria[task]).fit(values, batches[task])
            for task, values in outputs.items()
        }
