"""Customized gate control (Tang et al., 2020)."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_perception.network.sharing.contract import MakeTrunk
from mtl_perception.network.sharing.experts import GatedExperts
from mtl_perception.network.sharing.stages import check_count


class CGC(GatedExperts):
    """
    Shared experts and experts of each task, mixed by its gate (CGC; Tang et al., 2020).

    A gate weighs its task's own experts and the shared ones only, ``g_k(x) = w_k(x) S_k(x)`` with
    ``w_k(x) = softmax(W_k x)`` and ``S_k`` the outputs of these experts. Experts and gates are as
    in :class:`MMoE`.
    """

    def __init__(
        self,
        make_trunk: MakeTrunk,
        tasks: Sequence[str],
        num_shared_experts: int = 1,
        num_task_experts: int = 1,
        private_stages: Sequence[str] | None = ('layer3', 'layer4'),
    ) -> None:
        """
        Build the shared stages, the experts and the gates.

        :param num_shared_experts: Experts that every task mixes.
        :param num_task_experts: Experts of each task; 0 gives :class:`MMoE`.
        :param private_stages: The last stages of the backbone, those that each expert copies;
            None for all of them.
        :raises ValueError: If a setting is out of range, or a task has no expert at all.
        """
        check_count('num_shared_experts', num_shared_experts, 0)
        check_count('num_task_experts', num_task_experts, 0)
        check_count(
            'num_shared_experts + num_task_experts', num_shared_experts + num_task_experts, 1
        )
        super().__init__(
            make_trunk,
            tasks,
            private_stages,
            num_shared=num_shared_experts,
            num_own=num_task_experts,
        )
