"""Task translation: what trunks of single tasks see, translated from one to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.temporal_graph.sharing import TaskTranslation
from mtl_training.criteria import Criterion
from mtl_training.regimes.contract import Recorder, Regime, Stage


class TaskTranslationRegime(Regime):
    """
    Train each task's own trunk, then freeze them and train what translates between them.

    After Xue et al., EgoT2 (CVPR 2023), in the form of its general translator: one encoder-decoder
    over what the trunks of all tasks make of a window. Needs sharing ``task_translation``.

    :param tasks: The names of all tasks.
    :param criteria: What each of them fits.
    :param own_iterations: Length of the first stage, of single tasks; 0 leaves it out.
    :param translation_lr: Learning rate of the second stage; the optimiser's if not given.
        Warm-up, schedule and what the optimiser remembers begin anew.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        criteria: Mapping[str, Criterion] | None = None,
        *,
        own_iterations: int,
        translation_lr: float | None = None,
    ) -> None:
        super().__init__(tasks, criteria)
        if own_iterations < 0:
            raise ValueError(f'own_iterations must be at least 0, got {own_iterations}.')
        if translation_lr is not None and not 0 < translation_lr < float('inf'):
            raise ValueError(f'translation_lr must be positive, got {translation_lr}.')
        self._own_iterations, self._lr = own_iterations, translation_lr
        self._trunks: tuple[str, ...] = ()  # what the network tells: see check()

    @classmethod
    def complete(
        cls,
        network: NetworkConfig,
        datasets: Mapping[str, object],
        settings: Mapping[str, object],
        origin: NetworkConfig | None = None,
    ) -> NetworkConfig:
        """Return the network config as it is, if its trunks can translate."""
        for name, trunk in network.trunks.items():
            if trunk.sharing != 'task_translation':
                raise ValueError(
                    "regime 'task_translation' needs sharing 'task_translation' of every trunk, "
                    f"got '{trunk.sharing}' of '{name}'."
                )
        return network

    def check(self, network: NetworkConfig, varies: Mapping[str, bool]) -> None:
        """Take note of the trunks."""
        self._trunks = tuple(network.trunks)

    def stages(self, iterations: int) -> list[Stage]:
        """Return that of single tasks, if there is one, and that of the translator."""
        first = self._own_iterations
        if first >= iterations:
            raise ValueError(
                f'own_iterations must leave some for the translator, got {first} of {iterations}.'
            )
        second = Stage(
            first,
            iterations - first,
            self.tasks,
            self._lr,
            freeze_backbones=self._trunks,
            is_fresh=True,
        )
        return [*([Stage(0, first, self.tasks)] if first else []), second]

    def begin(self, iteration: int, recorder: Recorder) -> None:
        """Switch the translator on when the second stage begins."""
        if iteration == self._own_iterations:
            for trunk in self._trunks:
                method = cast('MultiTaskNetwork', recorder.network).sharing(trunk)
                cast('TaskTranslation', method).translates = True
