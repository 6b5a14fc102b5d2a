"""One task after the other, each once: fine-tuning, and learning without forgetting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from mtl_training.criteria import Criterion
from mtl_training.regimes.contract import Round, Stage
from mtl_training.regimes.rounds import LAMBDA_A, LAMBDA_S, RememberingRegime, RoundsRegime


class _OneWay(RoundsRegime):
    """Rounds of which each task has one; schedule and warm-up begin anew with each."""

    def stages(self, iterations: int) -> list[Stage]:
        """
        Return a stage per task: as long as ``round_iterations`` says, else of even lengths.

        :raises ValueError: If the lengths are not those of the run.
        """
        open_ones = [task for task in self.order if task not in self._given]
        rest = iterations - sum(self._given.values())
        if rest < len(open_ones) or (rest and not open_ones):
            raise ValueError(
                f'iterations must be those of all rounds, got {iterations} for round_iterations '
                f'{self._given} of the tasks {list(self.order)}.'
            )
        even, more = divmod(rest, max(1, len(open_ones)))
        shares = {task: even + (i < more) for i, task in enumerate(open_ones)}
        self._lengths = [self._given.get(task, shares.get(task, 0)) for task in self.order]
        firsts = [0, *accumulate(self._lengths)]
        return [Stage(first, length, self.tasks) for first, length in zip(firsts, self._lengths)]

    def round_at(self, iteration: int) -> Round:
        """Return the round of an iteration; the last one does not end."""
        return super().round_at(min(iteration, sum(self._lengths) - 1))

    def tasks_at(self, iteration: int) -> Sequence[str]:
        """Return the task whose round it is."""
        return [self.round_at(iteration).task]


class FinetuneRegime(_OneWay):
    """
    Train on the data of one task, then fine-tune on that of the next, which forgets it.

    :param tasks: The names of all tasks.
    :param criteria: What each of them fits.
    :param order: The tasks in the order of their rounds; captions first if not given.
    :param round_iterations: Length of the rounds; those that are not given share the rest evenly.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        criteria: Mapping[str, Criterion] | None = None,
        *,
        order: Sequence[str] | None = None,
        round_iterations: Mapping[str, int] | None = None,
    ) -> None:
        whole = dict.fromkeys(tasks, 1.0)
        super().__init__(
            tasks, criteria, order=order, round_iterations=round_iterations, own_weight=whole
        )


class LwfRegime(_OneWay, RememberingRegime):
    """
    Learning without Forgetting (Li and Hoiem, 2016): fine-tune, but keep what was said before.

    The tasks that had their turn are recorded once, when the next one begins; those to come have
    nothing to remember yet.

    :param tasks: The names of all tasks.
    :param criteria: What each of them fits.
    :param order: The tasks in the order of their rounds; captions first if not given.
    :param round_iterations: Length of the rounds; those that are not given share the rest evenly.
    :param lambda_A: As of :class:`RememberingRegime`, like what follows.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        criteria: Mapping[str, Criterion] | None = None,
        *,
        order: Sequence[str] | None = None,
        round_iterations: Mapping[str, int] | None = None,
        lambda_A: float = LAMBDA_A,
        lambda_S: float = LAMBDA_S,
        own_weight: Mapping[str, float] | None = None,
        temperature: float = 2.0,
        distance: str = 'kd',
        kd_t2: bool = False,
        memory: str = 'auto',
    ) -> None:
        RememberingRegime.__init__(
            self,
            tasks,
            criteria,
            temperature=temperature,
            distance=distance,
            kd_t2=kd_t2,
            memory=memory,
            order=order,
            round_iterations=round_iterations,
            lambda_A=lambda_A,
            lambda_S=lambda_S,
            own_weight=own_weight,
        )

    def _has_memory(self, this: Round) -> bool:
        return this.number > 0

    def _remembering(self) -> Sequence[str]:
        return self.order[1:]

    def _others(self, task: str) -> list[str]:
        return list(self.order[: self.order.index(task)])
