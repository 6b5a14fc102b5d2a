"""Learned weight sharing: which copy of each block a task uses is learnt by evolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import copy

from mtl_perception.network.folding import fold_batch_norms
from mtl_perception.network.sharing.assignment import AssignmentDistribution, utilities
from mtl_perception.network.sharing.contract import MakeTrunk, SampleLosses, SharingMethod
from mtl_perception.network.sharing.fixed_assignment import FixedAssignment, named_copies
from mtl_perception.network.sharing.prefix_tree import evaluate_paths, Path
from mtl_perception.network.sharing.rows import RowSharing
from mtl_perception.network.sharing.stages import (
    check_count,
    check_positive,
    split_names,
    stage_of,
    take_stages,
)
import torch
from torch import nn, Tensor


class LearnedWeightSharing(RowSharing):
    """
    Learned assignment of tasks to copies of each block (Prellberg and Kramer, 2020).

    Every residual block of the private stages exists several times, and each task has a
    distribution over the copies (arXiv 2003.10159). In training a batch runs through several
    assignments drawn from it, each of which trains the copies that it uses, and a step of natural
    evolution strategies (:meth:`search`) prefers the assignments of the lowest losses. In
    evaluation each task uses the copies that are most probable for it.

    Equal beginnings of a task's paths are computed once, and what enters a copy runs as one batch
    where no norm takes its statistics from the batch: the features are those of running every
    assignment by itself. Live batch norms of the routed blocks see one path of one task at a time,
    as in the source, and their running statistics move once per computation that is done. Since
    they mix the statistics of all paths, ``norm: group`` or frozen batch norms suit this method.

    The source may divide the gradient of each copy by the number of tasks expected to use it. It
    is left out: Adam undoes such a factor, and it reaches 1 / ``min_probability``.
    """

    searches = True

    def __init__(
        self,
        make_trunk: MakeTrunk,
        tasks: Sequence[str],
        *,
        private_stages: Sequence[str] | None = ('layer3', 'layer4'),
        num_copies: int | None = None,
        population_search: int = 8,
        population_train: int = 8,
        search_rate: float = 1e-2,
        min_probability: float = 1e-3,
        per_task_ranking: bool = False,
    ) -> None:
        """
        Build the copies, each from its own initial weights, and let all be equally probable.

        :param private_stages: The last stages, whose blocks exist several times; None for all.
        :param num_copies: Copies of each block; None for as many as tasks.
        :param population_search: Assignments that a search step compares.
        :param population_train: Assignments that a training step trains.
        :param search_rate: Step size of the search.
        :param min_probability: What every copy keeps.
        :param per_task_ranking: Rank the losses of each task by themselves, which has less
            noise, rather than their sum as the source does.
        :raises ValueError: If a setting is out of range.
        """
        super().__init__(tasks)
        num_copies = len(tasks) if num_copies is None else num_copies
        check_count('num_copies', num_copies, 1)
        check_count('population_search', population_search, 2)
        check_count('population_train', population_train, 1)
        check_positive('search_rate', search_rate)
        if not 0 <= min_probability < 1 / num_copies:
            raise ValueError(
                f'min_probability must be at least 0 and less than 1 / num_copies '
                f'= {1 / num_copies:.3g}, got {min_probability}.'
            )
        trunks = [make_trunk() for _ in range(num_copies)]
        early, private = split_names(trunks[0], private_stages)
        self._layer_names = [path for path, _ in trunks[0].blocks() if stage_of(path) in private]
        blocks = [dict(trunk.blocks()) for trunk in trunks]
        self.early = take_stages(trunks[0], early)
        self.layers = nn.ModuleList(
            nn.ModuleList(of_trunk[name] for of_trunk in blocks) for name in self._layer_names
        )
        self.assignment = AssignmentDistribution(
            len(self.layers), len(tasks), num_copies, min_probability=min_probability
        )
        self._population_search = population_search
        self._population_train = population_train
        self._searching = False
        # Of the present pass; not on the device of a network that is built without memory.
        self._assignments = torch.zeros(0, dtype=torch.int64, device='cpu')
        self._search_rate = float(search_rate)
        self._per_task_ranking = per_task_ranking
        self._pool = trunks[0].pool
        self.feature_dim = trunks[0].feature_dim

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the shared stages, then all copies of each routed block."""
        return [*self.early.items(), *named_copies(self._layer_names, self.layers)]

    def structure(self) -> dict[str, dict[str, list[float]]]:
        """Return the probability of each copy, per routed block and task."""
        rows = self.assignment.probabilities.tolist()
        return {name: dict(zip(self.tasks, row)) for name, row in zip(self._layer_names, rows)}

    @torch.no_grad()
    def search(self, clips: Mapping[str, Tensor], losses: SampleLosses) -> None:
        """Move the probabilities towards the better of some assignments, in evaluation mode."""
        with self._search_mode():
            of_tasks = losses(self.forward_tasks(clips))
        if not of_tasks:
            return
        if not self._per_task_ranking:
            of_tasks = dict.fromkeys(of_tasks, torch.stack(list(of_tasks.values())).sum(0))
        self.assignment.improve(
            self._assignments,
            {self.tasks.index(task): utilities(values) for task, values in of_tasks.items()},
            self._search_rate,
        )

    def mean_entropy(self) -> float:
        """Return the mean entropy of the distributions over copies, in nats."""
        return self.assignment.mean_entropy()

    def deploy(self) -> SharingMethod:
        """Return a copy with the most probable path of each task, and no block but theirs."""
        best = self.assignment.most_probable().unsqueeze(0)
        paths = {task: self._paths(task, best)[0] for task in self.tasks}
        fixed = FixedAssignment(
            self.early,
            self._layer_names,
            self.layers,
            paths,
            pool=self._pool,
            feature_dim=self.feature_dim,
        )
        # Copied first: until then its blocks are those of this method.
        return fold_batch_norms(copy.deepcopy(fixed).eval()).requires_grad_(False)

    def _begin(self) -> None:
        """Draw the assignments of a pass: as many numbers whatever tasks are present."""
        if self._searching:
            self._assignments = self.assignment.sample(self._population_search)
        elif self.training:
            self._assignments = self.assignment.sample(self._population_train)
        else:
            self._assignments = self.assignment.most_probable().unsqueeze(0)

    def _run(self, clips: Tensor, rows: Mapping[str, slice]) -> dict[str, Tensor]:
        """Return the features of each task's rows in all its assignments, ``[S * B, D]``."""
        paths = {task: self._paths(task, self._assignments) for task in rows}
        features = {}
        for task, outputs in evaluate_paths(self.layers, self.early(clips), rows, paths).items():
            pooled = {path: self._pool(output) for path, output in outputs.items()}
            features[task] = torch.cat([pooled[path] for path in paths[task]])
        return features

    def _paths(self, task: str, assignments: Tensor) -> list[Path]:
        return [tuple(path) for path in assignments[:, :, self.tasks.index(task)].tolist()]

    @contextmanager
    def _search_mode(self) -> Iterator[None]:
        """Compare assignments as the robot would see them; every module's mode is kept."""
        before = [(module, module.training) for module in self.modules()]
        self.eval()
        self._searching = True
        try:
            yield
        finally:
            self._searching = False
            for module, training in before:
                module.training = training
