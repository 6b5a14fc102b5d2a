"""The Pose Residual Network: which of the joints found in a box are those of its person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mtl_perception.network.pose.skeleton import NUM_KEYPOINTS
import torch
from torch import nn, Tensor
from torch.nn.functional import pad

SOFTMAXES = ('joint', 'global')
INPUT_SIGMA, TARGET_SIGMA = 1.0, 2.0  # cells


@dataclass(frozen=True, kw_only=True, slots=True)
class AssociationConfig:
    """Settings of :class:`PoseResidualNetwork`."""

    height: int = 56  # cells of a person's map
    width: int = 36
    hidden: int = 1024
    dropout: float = 0.5
    softmax: str = 'joint'  # over the cells of each joint, or 'global': over all joints together
    margin: float = 0.21  # by which a box is enlarged on each side, as a share of its side
    window: int = 15  # cells around a joint whose output speaks for it
    # Beyond the source. How often, in training, a joint is also seen where its mirror image is, as
    # heatmaps confuse left and right; above 0 impulses are as high as the peaks they stand for.
    confusion: float = 0.0

    def __post_init__(self) -> None:
        for name in ('height', 'width', 'hidden', 'window'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}.')
        if self.window % 2 == 0:
            raise ValueError(f'window must be odd, got {self.window}.')
        if not 0 <= self.dropout < 1:
            raise ValueError(f'dropout must lie in [0, 1), got {self.dropout}.')
        if self.softmax not in SOFTMAXES:
            raise ValueError(f'softmax must be one of {SOFTMAXES}, got {self.softmax!r}.')
        if not 0 <= self.margin <= 2:
            raise ValueError(f'margin must lie in [0, 2], got {self.margin}.')
        if not 0 <= self.confusion <= 1:
            raise ValueError(f'confusion must lie in [0, 1], got {self.confusion}.')


class PoseResidualNetwork(nn.Module):
    """
    A residual perceptron on the maps of a person's joints (Kocabas et al., 2018).

    ``y = psi(X) + X``, then a softmax over the cells of each joint, as the authors trained it; one
    softmax over everything, as some ports have it, is ``softmax: global``.
    """

    def __init__(self, config: AssociationConfig) -> None:
        super().__init__()
        self.config = config
        size = NUM_KEYPOINTS * config.height * config.width
        self.layers = nn.Sequential(
            nn.Linear(size, config.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, size),
            nn.ReLU(inplace=True),
        )
        self._is_deployed = False

    def deploy(self) -> None:
        """Lay the weights out in memory as a CPU reads them fastest, in place."""
        self._is_deployed = True
        # For 5 to 12 people it takes half the time; in half precision it would take longer.
        parameter = next(self.parameters())
        is_for_cpu = parameter.device.type == 'cpu' and parameter.dtype == torch.float32
        self._lay_out(by_column=is_for_cpu)

    def _lay_out(self, *, by_column: bool) -> None:
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                weight = layer.weight.detach()
                layer.weight.data = (
                    weight.t().contiguous().t() if by_column else weight.contiguous()
                )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PoseResidualNetwork:
        if self._is_deployed:
            # Before they move: another device shall not need memory for both layouts.
            self._lay_out(by_column=False)
        super()._apply(fn, recurse)
        if self._is_deployed:
            self.deploy()
        return self

    def forward(self, maps: Tensor) -> Tensor:
        """
        Return the logarithms of the probabilities of the cells.

        :param maps: ``[N, 17, height, width]``, as :func:`joint_maps` makes them.
        :return: Of the same shape, float32.
        """
        logits = self.layers(maps.flatten(1)).float().view_as(maps) + maps.float()
        if self.config.softmax == 'global':
            return logits.flatten(1).log_softmax(1).view_as(maps)
        return logits.flatten(2).log_softmax(2).view_as(maps)


def joint_cells(points: Tensor, boxes: Tensor, config: AssociationConfig) -> tuple[Tensor, Tensor]:
    """
    Return the cells of points in the maps of boxes, and whether they lie in the enlarged boxes.

    :param points: (x, y), ``[..., 2]``.
    :param boxes: xyxy, ``[..., 4]``, of a shape that broadcasts with that of the points.
    :return: Row-major numbers of cells, int64, and bools; a cell outside the map is that at its
        border.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    sides = (high - low).clamp_min(1e-6)
    counts = torch.tensor([config.width, config.height], device=points.device)
    # Whole pixels, as in the source's code.
    cells = ((points - low) * counts / sides.ceil().clamp_min(1.0)).nan_to_num(0.0)
    cells = torch.minimum(cells.clamp_min(0), counts - 1).long()
    margin = config.margin * sides
    # Written so that NaN lies outside.
    is_within = (points >= low - margin) & (points <= high + margin)
    is_inside = is_within[..., 0] & is_within[..., 1]
    return cells[..., 1] * config.width + cells[..., 0], is_inside


def joint_maps(cells: Tensor, heights: Tensor, config: AssociationConfig, sigma: float) -> Tensor:
    """
    Paint impulses into maps and blur them; the sum of each impulse stays its height.

    :param cells: Numbers of cells, ``[N, 17, K]``.
    :param heights: Of the impulses, or whether there is one, of height 1, ``[N, 17, K]``.
    :param sigma: Of the blur, cells.
    :return: ``[N, 17, height, width]``, float32.
    """
    flat = torch.zeros(
        (*cells.shape[:2], config.height * config.width), device=cells.device, dtype=torch.float32
    )
    flat = flat.scatter_reduce(2, cells, heights.float(), 'amax')
    maps = flat.view(*cells.shape[:2], config.height, config.width)
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=maps.device, dtype=torch.float32)
    weights = torch.exp(-offsets.square() / (2 * sigma**2))
    return _filtered(maps, weights / weights.sum())


def _filtered(maps: Tensor, weights: Tensor) -> Tensor:
    """Correlate both axes of maps, ``[..., h, w]``, with weights that are symmetric."""
    # As products with banded matrices: for maps this small far faster than as convolutions.
    rows, columns = (_band(weights, side) for side in maps.shape[-2:])
    return rows @ maps @ columns


def _band(weights: Tensor, side: int) -> Tensor:
    """Return the matrix, ``[side, side]``, whose rows hold the weights around the diagonal."""
    margin = side - 1 - len(weights) // 2
    return pad(weights, (margin, margin)).unfold(0, side, 1).flip(1)


def window_sums(maps: Tensor, cells: Tensor, window: int) -> Tensor:
    """
    Return the sums of windows of maps.

    :param maps: ``[N, 17, height, width]``.
    :param cells: The cell in the middle of each window, ``[N, 17, K]``.
    :return: ``[N, 17, K]``.
    """
    sums = _filtered(maps, torch.ones(window, device=maps.device, dtype=maps.dtype))
    return sums.flatten(2).gather(2, cells)


def assign(scores: Tensor) -> Tensor:
    """
    Give every person one peak of each joint at most, and every peak to one: best pairs first.

    Pairs that are each other's best are settled together, for all joints at once, until none is
    left; this is what going through all pairs from the best to the worst gives.

    :param scores: Of every person and peak, ``[B, N, J, K]``; 0 or less for what must not be.
    :return: The number of the peak, ``[B, N, J]``; -1 where there is none.
    """
    left = scores.clone()
    chosen = torch.full(scores.shape[:3], -1, device=scores.device, dtype=torch.int64)
    if 0 in scores.shape:
        return chosen
    people = torch.arange(scores.shape[1], device=scores.device).view(1, -1, 1)
    while True:
        best, peak = left.max(3)  # of each person and joint
        # Of each joint and peak; several times faster than argmax() on a CPU.
        owner = left.max(1).indices
        mutual = (best > 0) & (owner.gather(2, peak.transpose(1, 2)).transpose(1, 2) == people)
        if not mutual.any():
            return chosen
        chosen = torch.where(mutual, peak, chosen)
        left = left.masked_fill(mutual.unsqueeze(3), 0)
        taken = torch.zeros_like(left[:, 0], dtype=torch.bool)
        taken = taken.scatter_reduce(2, peak.transpose(1, 2), mutual.transpose(1, 2), 'amax')
        left = left.masked_fill(taken.unsqueeze(1), 0)
