"""DSelect-k (Hazimeh et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from mtl_perception.network.sharing.contract import MakeTrunk
from mtl_perception.network.sharing.experts import GatedExperts
from mtl_perception.network.sharing.stages import check_count, check_positive
import torch
from torch import nn, Tensor


class DSelectGate(nn.Module):
    """The gate of one task: a mixture of ``num_selected`` soft choices of one expert each."""

    def __init__(self, input_dim: int, num_experts: int, num_selected: int, gamma: float) -> None:
        super().__init__()
        self.num_experts, self.num_selected, self.gamma = num_experts, num_selected, gamma
        num_bits = (num_experts - 1).bit_length()
        self.mixture = nn.Linear(input_dim, num_selected)
        self.codes = nn.Linear(input_dim, num_selected * num_bits)
        # Within the range where the smooth step has a gradient, but different from each other.
        nn.init.uniform_(self.codes.weight, -gamma / 100, gamma / 100)
        nn.init.uniform_(self.codes.bias, -gamma / 100, gamma / 100)

    def choices(self, x: Tensor) -> Tensor:
        """Return each choice's weights of the experts, ``[B, num_selected, num_experts]``."""
        z = _at_least_float32(self.codes(x)).unflatten(1, (self.num_selected, -1))
        return select_expert(smooth_step(z, self.gamma), self.num_experts)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weights of the experts, ``[B, num_experts]``, which sum to 1."""
        weights = _at_least_float32(self.mixture(x)).softmax(1)
        return (weights.unsqueeze(2) * self.choices(x)).sum(1)


class DSelectK(GatedExperts):
    """
    Experts of which each gate learns to select k, by smooth binary codes (Hazimeh et al., 2021).

    A gate is ``q(x) = sum_i softmax(A x)_i r(W_i x)`` over k choices i
    (the paper's gate per example), and ``r`` the weights of all experts under a binary code whose
    bits are smooth steps of ``W_i x`` (:func:`select_expert`). The entropy of ``r`` is added to
    the loss (:meth:`regularisation`): once it is zero, each clip of a task uses at most k experts.
    Experts and what gates read are as in :class:`MMoE`.
    """

    def __init__(
        self,
        make_trunk: MakeTrunk,
        tasks: Sequence[str],
        num_experts: int = 4,
        num_selected: int = 2,
        gamma: float = 1.0,
        entropy_weight: float = 0.01,
        private_stages: Sequence[str] | None = ('layer3', 'layer4'),
    ) -> None:
        """
        Build the shared stages, the experts and the gates.

        :param num_experts: At least 2, a power of two or not.
        :param num_selected: k, the experts that a gate selects at most.
        :param gamma: Width of the smooth step: narrow ones become binary sooner.
        :param entropy_weight: Weight of the entropy, summed over choices and tasks, in the loss;
            0 for none.
        :param private_stages: The last stages of the backbone, those that each expert copies;
            None for all of them.
        :raises ValueError: If a setting is out of range.
        """
        check_count('num_experts', num_experts, 2)
        check_count('num_selected', num_selected, 1)
        if num_selected > num_experts:
            raise ValueError(
                f'num_selected must be at most num_experts {num_experts}, got {num_selected}.'
            )
        check_positive('gamma', gamma)
        if entropy_weight != 0:
            check_positive('entropy_weight', entropy_weight)
        self._gate_settings = (num_selected, float(gamma))
        super().__init__(make_trunk, tasks, private_stages, num_shared=num_experts, num_own=0)
        self.entropy_weight = float(entropy_weight)
        self._entropies: dict[str, list[Tensor]] = {}

    def _make_gate(self, input_dim: int, num_candidates: int) -> nn.Module:
        return DSelectGate(input_dim, num_candidates, *self._gate_settings)

    def regularisation(self) -> Tensor | None:
        """
        Return the weighted entropy of the choices in the last forward pass in training mode.

        It is the mean over a task's clips, summed over choices and tasks,
        and reaches the gates alone: what they read is a given, as the input of the network is.
        It is returned once.
        """
        means = [torch.cat(values).mean() for values in self._entropies.values()]
        self._entropies = {}
        return self.entropy_weight * torch.stack(means).sum() if means else None

    def train(self, mode: bool = True) -> DSelectK:
        """Set the mode, and forget what the last forward pass has left."""
        self._entropies = {}
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        # A copy has no part in the training step of the original.
        return {**self.__dict__, '_entropies': {}}

    def _begin(self) -> None:
        self._entropies = {}

    def _weights(self, task: str, summary: Tensor) -> Tensor:
        if self.training and self.entropy_weight and torch.is_grad_enabled():
            gate = cast(DSelectGate, self.gates[task])
            # A graph of its own: the losses of the tasks may have freed theirs by then.
            values = entropy(gate.choices(summary.detach())).sum(1)
            self._entropies.setdefault(task, []).append(values)
        return super()._weights(task, summary)


def smooth_step(z: Tensor, gamma: float) -> Tensor:
    """Return 0 below ``-gamma / 2``, 1 above ``gamma / 2`` and a cubic between."""
    t = (z / gamma).clamp(-0.5, 0.5)
    return (1.5 - 2 * t.square()) * t + 0.5


def select_expert(bits: Tensor, num_experts: int) -> Tensor:
    """
    Return the weight of each expert under a soft binary code.

    The weight of a code is the product over its bits of the bit's value where it is 1, and one
    minus it where it is 0. Where the number of experts is no power of two, an expert whose
    highest bit is 0 also takes the code that differs in this bit, if no expert has it. So weights
    always sum to 1, where the paper penalises those of unused codes by a term without a bound.

    :param bits: Values in [0, 1], ``[..., M]`` with ``2 ** (M - 1) < num_experts <= 2 ** M``.
    :return: ``[..., num_experts]``.
    """
    weights = torch.ones_like(bits[..., :1])
    for bit in bits.split(1, -1):
        weights = torch.cat([weights * (1 - bit), weights * bit], -1)
    low, high = weights.chunk(2, -1)
    used = num_experts - low.shape[-1]
    folded = torch.cat([low[..., :used], low[..., used:] + high[..., used:]], -1)
    return torch.cat([folded, high[..., :used]], -1)


def entropy(weights: Tensor) -> Tensor:
    """Return the entropy of ``[..., N]`` in nats; a weight of zero adds nothing to it."""
    # The smallest normal number keeps the gradient of log finite where a weight is zero.
    logs = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()
    return -(weights * logs).sum(-1)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
