"""Tests of :mod:`mtl_perception.network.backbones`; the oracle is torchvision."""

from collections.abc import Callable

from mtl_perception.network.backbones import build_backbone, ResNet3d
import pytest
import torch
from torch import nn
from torchvision.models.video import r3d_18
from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv3DSimple, VideoResNet


def torchvision_resnet(depth: int) -> VideoResNet:
    blocks = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3]}[depth]
    return VideoResNet(BasicBlock, [Conv3DSimple] * 4, blocks, BasicStem, num_classes=1)


@pytest.mark.parametrize('depth', [18, 34])
def test_keys_and_shapes_are_those_of_torchvision(depth: int) -> None:
    with torch.device('meta'):
        ours, theirs = ResNet3d(depth).state_dict(), torchvision_resnet(depth).state_dict()
    theirs = {name: value for name, value in theirs.items() if not name.startswith('fc.')}
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize('depth, expected', [(18, 33_166_272), (34, 63_475_904)])
def test_the_number_of_parameters_is_the_published_one(depth: int, expected: int) -> None:
    with torch.device('meta'):
        assert sum(p.numel() for p in ResNet3d(depth).parameters()) == expected


def test_features_are_those_of_torchvision(randomise: Callable[[nn.Module], nn.Module]) -> None:
    theirs = randomise(r3d_18()).eval()
    ours = ResNet3d().eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    theirs.fc = nn.Identity()
    clips = torch.randn(2, 3, 5, 37, 30)
    with torch.no_grad():
        torch.testing.assert_close(ours(clips), theirs(clips), atol=1e-5, rtol=1e-5)


def test_fresh_weights_are_spread_as_in_torchvision() -> None:
    ours, theirs = ResNet3d(), r3d_18()
    for name, value in ours.named_parameters():
        other = theirs.get_parameter(name)
        if value.ndim == 5:
            torch.testing.assert_close(value.std(), other.std(), rtol=0.1, atol=0)
        else:
            assert torch.equal(value, other)


@pytest.mark.parametrize('width', [1, 5, 16])
def test_any_width_gives_features_of_eight_times_the_width(width: int) -> None:
    backbone = ResNet3d(width=width)
    features = backbone(torch.randn(2, 3, 4, 32, 24))
    assert features.shape == (2, 8 * width) == (2, backbone.feature_dim)
    assert features.isfinite().all()


def test_stages_and_pooling_make_the_forward() -> None:
    backbone = ResNet3d(width=4).eval()
    x = clips = torch.randn(1, 3, 4, 32, 32)
    assert [name for name, _ in backbone.stages()] == [
        'stem',
        'layer1',
        'layer2',
        'layer3',
        'layer4',
    ]
    for _, stage in backbone.stages():
        before = x.clone()
        after = stage(x)
        assert torch.equal(x, before), 'a stage must not change its input'
        x = after
    assert torch.equal(backbone.pool(x), backbone(clips))


def test_the_smallest_clip_is_one_pixel() -> None:
    assert ResNet3d(width=2).eval()(torch.randn(1, 3, 1, 1, 1)).shape == (1, 16)


def test_an_unknown_depth_is_refused() -> None:
    with pytest.raises(ValueError, match=r'depth must be one of \[18, 34\], got 50'):
        ResNet3d(depth=50)


def test_a_width_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match='width must be at least 1, got 0'):
        ResNet3d(width=0)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Unknown backbone 'vit'; known backbones: \['c3d', 'resnet3d"
    ):
        build_backbone('vit', depth=18, width=4)
