"""Tests of :mod:`mtl_perception.network.backbones.resnet2d`; the oracle is torchvision."""

from collections.abc import Callable
import copy

from mtl_perception.network.backbones.resnet2d import BLOCKS, ResNet2d
from mtl_perception.network.folding import fold_batch_norms
import pytest
import torch
from torch import nn, Tensor
from torchvision import models
from torchvision.models._utils import IntermediateLayerGetter

LAYERS = {f'layer{i}': f'c{i + 1}' for i in range(1, 5)}


@pytest.mark.parametrize('depth', BLOCKS)
def test_its_state_dict_is_that_of_torchvision_without_the_classifier(depth: int) -> None:
    with torch.device('meta'):
        ours, theirs = ResNet2d(depth), getattr(models, f'resnet{depth}')()
    expected = {k: v.shape for k, v in theirs.state_dict().items() if not k.startswith('fc.')}
    assert {k: v.shape for k, v in ours.state_dict().items()} == expected


@pytest.mark.parametrize('depth', [18, 50])
def test_its_maps_are_those_of_torchvision(
    depth: int, randomise: Callable[[nn.Module], nn.Module]
) -> None:
    theirs = randomise(getattr(models, f'resnet{depth}')()).eval()
    ours = ResNet2d(depth).eval()
    weights = {k: v for k, v in theirs.state_dict().items() if not k.startswith('fc.')}
    ours.load_state_dict(weights)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = IntermediateLayerGetter(theirs, LAYERS)(images)
        for map_, channels, (name, value) in zip(ours(images), ours.channels, expected.items()):
            assert map_.shape[1] == channels, name
            assert torch.equal(map_, value), name


def test_a_resnet_50_at_480_pixels_has_the_shapes_of_the_paper() -> None:
    with torch.device('meta'):
        maps = ResNet2d(50)(torch.zeros(1, 3, 480, 480))
    expected = [(256, 120, 120), (512, 60, 60), (1024, 30, 30), (2048, 15, 15)]
    assert [tuple(x.shape[1:]) for x in maps] == expected


@pytest.mark.parametrize('depth', [18, 50])
def test_folded_batch_norms_change_no_map(
    depth: int, randomise: Callable[[nn.Module], nn.Module]
) -> None:
    network = randomise(ResNet2d(depth, width=4)).eval()
    images = torch.randn(2, 3, 64, 64)
    folded = fold_batch_norms(copy.deepcopy(network))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    with torch.no_grad():
        for map_, expected in zip(folded(images), network(images)):
            torch.testing.assert_close(map_, expected, atol=1e-3, rtol=1e-3)


def test_a_frozen_norm_without_an_epsilon_divides_by_the_deviation() -> None:
    network = ResNet2d(18, width=2, norm_eps=0.0).eval()
    network.bn1.running_var.fill_(1e-6)
    x = torch.randn(1, 2, 3, 3)
    torch.testing.assert_close(network.bn1(x), x * 1e3)


@pytest.mark.parametrize('depth', [18, 50])
def test_the_gradient_reaches_all_parameters(depth: int) -> None:
    network = ResNet2d(depth, width=2)
    maps: list[Tensor] = network(torch.randn(2, 3, 64, 64))
    sum(map_.square().sum() for map_ in maps).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_stages_are_all_of_it_in_the_order_in_which_they_run() -> None:
    network = ResNet2d(18, width=2).eval()
    by_stage = {f'{n}.{k}' for n, stage in network.stages() for k in stage.state_dict()}
    assert by_stage == network.state_dict().keys()


@pytest.mark.parametrize(
    'arguments, match',
    [
        ({'depth': 20}, r'depth must be one of \[18, 34, 50, 101, 152\], got 20'),
        ({'width': 0}, 'width must be at least 1, got 0'),
    ],
)
def test_what_it_can_not_build_is_refused(arguments: dict[str, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ResNet2d(**arguments)
