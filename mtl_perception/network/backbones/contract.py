"""What a sharing method may ask of a backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn, Tensor


class StagedBackbone(nn.Module, ABC):
    """
    A backbone as an ordered list of stages followed by a pooling.

    Sharing methods cut between stages, or between the blocks of a stage, so neither may change
    its input in place.
    """

    feature_dim: int
    # Frames, height and width of clips that it can take: any, unless it has fully connected
    # layers. These halve without a remainder.
    clip_size: tuple[int, int, int] = (16, 64, 64)

    @abstractmethod
    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return the named stages in the order in which they run."""

    @abstractmethod
    def blocks(self) -> list[tuple[str, nn.Module]]:
        """
        Return the parts of all stages in the order in which they run, the finest cut there is.

        A block's name is its path in the backbone: that of its stage, or ``<stage>.<number>``.
        """

    @staticmethod
    @abstractmethod
    def pool(x: Tensor) -> Tensor:
        """Reduce the output of the last stage to features, ``[B, D]``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of a batch, ``[B, D]``."""
        for _, stage in self.stages():
            x = stage(x)
        return self.pool(x)
