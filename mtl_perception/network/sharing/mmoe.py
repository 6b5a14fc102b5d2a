"""Multi-gate mixture of experts (Ma et al., 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_perception.network.sharing.contract import MakeTrunk
from mtl_perception.network.sharing.experts import GatedExperts
from mtl_perception.network.sharing.stages import check_count


class MMoE(GatedExperts):
    """
    Experts that all tasks mix, each by its own gate (MMoE; Ma et al., 2018).

    The feature of task k is ``sum_i g_k(x)_i f_i(x)`` with ``g_k(x) = softmax(W_k x)``. Here
    experts are the last stages of a trunk, and gates read pooled features
    (:class:`ExpertSharing`) and have a bias, the weights of a constant input.
    """

    def __init__(
        self,
        make_trunk: MakeTrunk,
        tasks: Sequence[str],
        num_experts: int = 3,
        private_stages: Sequence[str] | None = ('layer3', 'layer4'),
    ) -> None:
        """
        Build the shared stages, the experts and the gates.

        :param num_experts: At least 1; one expert is hard sharing.
        :param private_stages: The last stages of the backbone, those that each expert copies;
            None for all of them.
        :raises ValueError: If a setting is out of range.
        """
        check_count('num_experts', num_experts, 1)
        super().__init__(make_trunk, tasks, private_stages, num_shared=num_experts, num_own=0)
