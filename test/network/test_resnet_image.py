"""Tests of :mod:`mtl_perception.network.backbones.resnet_image`; the oracle is torchvision."""

from collections.abc import Callable
from typing import Any

from mtl_perception.network.backbones import ImageResNet
from mtl_perception.network.backbones.resnet2d import BLOCKS
from mtl_perception.network.backbones.resnet_image import NORMS
import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.resnet import ResNet


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_its_state_dict_is_that_of_torchvision_but_for_the_stem(depth: int) -> None:
    with torch.device('meta'):
        ours = ImageResNet(depth).state_dict()
        theirs = getattr(models, f'resnet{depth}')().state_dict()
    theirs = {k: v.shape for k, v in theirs.items() if not k.startswith('fc.')}
    assert {k.removeprefix('stem.'): v.shape for k, v in ours.items()} == theirs


@torch.no_grad()
@pytest.mark.parametrize('depth, norm', [(18, 'batch'), (18, 'group'), (50, 'batch')])
def test_its_features_are_the_mean_of_those_of_torchvision(
    depth: int, norm: str, randomise: Callable[[nn.Module], nn.Module]
) -> None:
    block, counts = BLOCKS[depth]
    theirs = ResNet(block, list(counts), norm_layer=NORMS[norm], num_classes=1)
    theirs.fc = nn.Identity()
    ours = ImageResNet(depth, norm=norm)
    randomise(theirs).eval()
    weights = theirs.state_dict()
    stem = ('conv1.', 'bn1.')
    ours.load_state_dict({f'stem.{k}' if k.startswith(stem) else k: weights[k] for k in weights})
    clips = torch.randn(1, 3, 2, 32, 40)
    frames = theirs(clips.transpose(1, 2).flatten(0, 1))
    expected = frames.mean(0, keepdim=True)
    assert ours.feature_dim == expected.shape[1] == (512 if depth == 18 else 2048)
    torch.testing.assert_close(ours.eval()(clips), expected, atol=1e-4, rtol=1e-4)


def test_neither_stages_nor_blocks_change_their_inputs() -> None:
    network = ImageResNet(18, 2).eval()
    expected = network(clips := torch.randn(2, 3, 2, 32, 32))
    for parts in (network.stages(), network.blocks()):
        x = clips
        for _, part in parts:
            before = x.clone()
            y = part(x)
            assert torch.equal(x, before)
            x = y
        torch.testing.assert_close(network.pool(x), expected)


def test_frames_are_not_copied_between_blocks() -> None:
    network = ImageResNet(18, 2).eval()
    x = network.stem(torch.randn(2, 3, 2, 32, 32))
    images = x.transpose(1, 2).flatten(0, 1)
    assert images.data_ptr() == x.data_ptr()


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'depth': 11}, r'depth must be one of \[18, 34, 50, 101, 152\], got 11'),
        ({'width': 0}, 'width must be at least 1, got 0'),
        ({'norm': 'none'}, r"norm must be one of \['batch', 'group'\], got 'none'"),
    ],
)
def test_what_there_is_not_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageResNet(**settings)
