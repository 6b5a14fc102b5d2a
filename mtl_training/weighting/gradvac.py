"""GradVac: gradients turned until they are as similar as they usually are."""

from __future__ import annotations

from collections.abc import Sequence
import math

from mtl_training.weighting.gradient_weighting import check_range, GramianWeighting
import torch
from torch import Tensor

# A target of 1 would need an infinite share of the other gradient.
_MAX_TARGET = 0.9999


class GradVacWeighting(GramianWeighting):
    """
    Gradients turned to the cosines that they usually have with others (Wang et al., 2021).

    Where the cosine of gradient i with task j is below its running mean, j's gradient is added
    until it is as large, eq. 3; then the mean takes in what the cosine was, eq. 4. All shared
    parameters are one group; the order of the other tasks is drawn where there is more than one.
    Without ``normalise`` the weights sum to the number of tasks, or to more where any was turned.

    :param tasks: The names of all tasks.
    :param beta: What the newest cosine counts in the running mean.
    :param normalise: Scale the weights so that they sum to the number of tasks present.
    :raises ValueError: If ``beta`` is not in [0, 1).
    """

    def __init__(
        self, tasks: Sequence[str], *, beta: float = 0.01, normalise: bool = True
    ) -> None:
        super().__init__(tasks, normalise=normalise)
        self.beta = check_range('beta', beta, 0, 1)
        self.targets: Tensor
        self.register_buffer('targets', torch.zeros(len(self.tasks), len(self.tasks)))

    def solve(self, gram: Tensor, index: Tensor) -> Tensor:
        """Return the weights, each at least 1, and take in the cosines."""
        targets = self.targets.double().cpu()
        weights = torch.zeros(len(gram), dtype=torch.float64)
        for i in range(len(gram)):
            shares = torch.zeros_like(weights)
            shares[i] = 1
            for j in _others(i, len(gram)):
                products = gram @ shares
                norm, other = math.sqrt(max(0.0, float(shares @ products))), math.sqrt(gram[j, j])
                cosine = max(-1.0, min(1.0, float(products[j]) / (norm * other))) if norm else 0.0
                place = (int(index[i]), int(index[j]))
                target = min(float(targets[place]), _MAX_TARGET)
                if cosine < target:
                    shares[j] += norm / other * _share(cosine, target)
                targets[place] += self.beta * (cosine - float(targets[place]))
            weights += shares
        self.targets.copy_(targets)
        return weights


def _share(cosine: float, target: float) -> float:
    sine, target_sine = math.sqrt(1 - cosine**2), math.sqrt(1 - target**2)
    return (target * sine - cosine * target_sine) / target_sine


def _others(task: int, num_tasks: int) -> list[int]:
    others = [j for j in range(num_tasks) if j != task]
    if len(others) == 1:
        return others
    return [others[k] for k in torch.randperm(len(others)).tolist()]
