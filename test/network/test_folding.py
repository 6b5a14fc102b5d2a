"""Tests of :mod:`mtl_perception.network.folding`."""

from collections.abc import Callable

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.folding import fold_batch_norms
import pytest
import torch
from torch import nn


@pytest.mark.parametrize('dims', [1, 2, 3])
def test_a_folded_convolution_gives_the_same_output(
    dims: int, randomise: Callable[[nn.Module], nn.Module]
) -> None:
    conv = [nn.Conv1d, nn.Conv2d, nn.Conv3d][dims - 1]
    norm = [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d][dims - 1]
    module = nn.Sequential(conv(3, 5, 3), norm(5), nn.ReLU(), norm(5))
    randomise(module).eval()
    x = torch.randn(2, 3, *[7] * dims)
    with torch.no_grad():
        expected = module(x)
        torch.testing.assert_close(fold_batch_norms(module)(x), expected)
    assert isinstance(module[1], nn.Identity)
    assert isinstance(module[3], norm), 'a norm that follows no convolution stays'


def test_no_batch_norm_is_left_in_a_resnet(randomise: Callable[[nn.Module], nn.Module]) -> None:
    backbone = randomise(ResNet3d(width=4)).eval()
    clips = torch.randn(2, 3, 4, 24, 24)
    with torch.no_grad():
        expected = backbone(clips)
        torch.testing.assert_close(fold_batch_norms(backbone)(clips), expected)
    assert not any(isinstance(m, nn.BatchNorm3d) for m in backbone.modules())
