"""Tests of :mod:`mtl_perception.network.torchvision_weights`; the oracle is torchvision."""

from collections.abc import Callable

from mtl_perception.network import (
    load_torchvision_weights,
    MultiTaskNetwork,
    NetworkConfig,
    TaskConfig,
    TrunkConfig,
)
import pytest
import torch
from torch import nn, Tensor
from torchvision.models.video import r2plus1d_18, r3d_18
from torchvision.models.video.resnet import VideoResNet


def network(sharing: str = 'hard', num_labels: int = 7, **trunk: int) -> MultiTaskNetwork:
    labels = tuple(f'label{i}' for i in range(num_labels))
    return MultiTaskNetwork(
        NetworkConfig(
            trunks={'clip': TrunkConfig(sharing=sharing, **trunk)},
            tasks={
                'action': TaskConfig(labels=labels),
                'gesture': TaskConfig(labels=('wave', 'stop')),
            },
        )
    ).eval()


@pytest.fixture(scope='module')
def small() -> MultiTaskNetwork:
    with torch.device('meta'):
        return network()


@pytest.fixture
def theirs(randomise: Callable[[nn.Module], nn.Module]) -> VideoResNet:
    return randomise(r3d_18(num_classes=7)).eval()


@pytest.mark.parametrize('sharing', ['hard', 'single_task'])
def test_logits_are_those_of_torchvision(sharing: str, theirs: VideoResNet) -> None:
    ours = network(sharing)
    load_torchvision_weights(ours, theirs.state_dict(), task='action')
    clips = torch.randn(2, 3, 6, 40, 36)
    with torch.no_grad():
        expected = theirs(clips)
        torch.testing.assert_close(ours({'clip': clips})['action'], expected, atol=1e-5, rtol=0)
        deployed = ours.deploy()({'clip': clips})['action']
        torch.testing.assert_close(deployed, expected, atol=1e-5, rtol=0)


def test_every_copy_of_the_trunk_gets_the_weights_and_heads_stay(theirs: VideoResNet) -> None:
    ours = network('single_task')
    heads = {name: value.clone() for name, value in ours.heads.state_dict().items()}
    load_torchvision_weights(ours, theirs.state_dict())
    for path, module in ours.sharing('clip').copies():
        for name, value in module.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[f'{path}.{name}'])
    for name, value in ours.heads.state_dict().items():
        assert torch.equal(value, heads[name])


def refused(network: MultiTaskNetwork, weights: dict[str, Tensor], match: str, **where) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=match):
        load_torchvision_weights(network, weights, **where)
    for name, value in network.state_dict().items():
        assert value.is_meta or torch.equal(value, before[name]), 'nothing may be copied'


def test_weights_of_another_kind_are_refused(small: MultiTaskNetwork) -> None:
    weights = r2plus1d_18(num_classes=7).state_dict()
    refused(small, weights, r"do not fit trunk 'clip': missing \[.*\] and .* more; unexpected \[")


def test_a_missing_tensor_is_named(small: MultiTaskNetwork, theirs: VideoResNet) -> None:
    weights = theirs.state_dict()
    del weights['layer2.0.conv1.0.weight']
    refused(small, weights, r"missing \['layer2\.0\.conv1\.0\.weight'\]\.")


def test_another_width_is_refused(theirs: VideoResNet) -> None:
    message = r"'stem\.0\.weight' has shape \(64, .*, the network expects \(4, 3, 3, 7, 7\)"
    refused(network(width=4), theirs.state_dict(), message)


def test_another_number_of_labels_is_refused(theirs: VideoResNet) -> None:
    message = r"head of task 'action': 'weight' has shape \(7, 512\), .* expects \(5, 512\)"
    refused(network(num_labels=5), theirs.state_dict(), message, task='action')


def test_non_finite_weights_are_refused(small: MultiTaskNetwork, theirs: VideoResNet) -> None:
    theirs.layer4[1].conv2[0].weight.data[3, 2, 1] = float('inf')
    refused(small, theirs.state_dict(), r"'layer4\.1\.conv2\.0\.weight' has non-finite values")


def test_an_unknown_trunk_is_refused(small: MultiTaskNetwork, theirs: VideoResNet) -> None:
    refused(small, theirs.state_dict(), "Unknown trunk 'frame'", trunk='frame')


def test_an_unknown_task_is_refused(small: MultiTaskNetwork, theirs: VideoResNet) -> None:
    refused(small, theirs.state_dict(), "Trunk 'clip' feeds no task 'pose'", task='pose')
