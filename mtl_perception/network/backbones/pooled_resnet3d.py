"""ResNet-3D (Hara et al., 2018, arXiv 1711.09577) as its authors build it."""

from __future__ import annotations

from mtl_perception.network.backbones.convolution import Conv3d
from mtl_perception.network.backbones.resnet3d import Norm, ResNet3d
from torch import nn, Tensor
from torch.nn.functional import pad


class PooledResNet3d(ResNet3d):
    """
    ResNet-3D with a stem of 7x7x7 and max-pooling, as its authors build it (Hara et al., 2018).

    Half the frames, height and width of :class:`ResNet3d` from the first layer on, so about an
    eighth of its cost. At width 64 its weights are those of the published ``r3d18_*`` and
    ``r3d34_*`` files, by other names.
    """

    @staticmethod
    def make_stem(width: int, norm: Norm) -> nn.Sequential:
        """Return what comes before the first layer; it halves time too."""
        return nn.Sequential(
            Conv3d(3, width, 7, stride=(1, 2, 2), padding=3, bias=False),
            norm(width),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(3, stride=2, padding=1),
        )


class ZeroPadShortcut(nn.Module):
    """Every ``stride``-th value, and zeros for channels that were not there; no weights."""

    def __init__(self, in_channels: int, channels: int, stride: int, norm: Norm) -> None:
        del norm  # there is nothing to normalise
        super().__init__()
        self._extra, self._stride = channels - in_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the shortcut of ``[B, C, T, H, W]``."""
        step = self._stride
        return pad(x[:, :, ::step, ::step, ::step], (0, 0, 0, 0, 0, 0, 0, self._extra))


class ZeroPadResNet3d(PooledResNet3d):
    """
    The same with shortcuts of type A (He et al., 2016), as the files of 2018 have it.

    Those are ``resnet-18-kinetics.pth`` and ``resnet-34-kinetics.pth`` (Hara et al., 2018).
    """

    make_shortcut = staticmethod(ZeroPadShortcut)
