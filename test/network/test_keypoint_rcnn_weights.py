"""What torchvision's Keypoint R-CNN brings to the tasks of frames; the oracle is torchvision."""

from collections import OrderedDict
from collections.abc import Callable

from mtl_perception.network import (
    load_torchvision_weights,
    MultiTaskNetwork,
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.torchvision_weights import kind_of
import pytest
import torch
from torch import nn, Tensor
from torchvision.models.detection import KeypointRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone


@pytest.fixture(scope='module')
def theirs() -> KeypointRCNN:
    """Build torchvision's Keypoint R-CNN on a ResNet-18, with random weights."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name='resnet18', weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    return KeypointRCNN(backbone, num_classes=2).eval()


def network(pyramid_channels: int = 256, *kinds: str) -> MultiTaskNetwork:
    settings = {'keypoints': {'pyramid_channels': pyramid_channels, 'channels': 4}}
    tasks = {
        kind: TaskConfig(kind=kind, trunk='frame', settings=settings.get(kind, {}))
        for kind in ('keypoints', *kinds)
    }
    size = PreprocessingConfig(resize=(64, 64))
    trunk = TrunkConfig(backbone='resnet2d', depth=18, preprocessing=size)
    return MultiTaskNetwork(NetworkConfig(trunks={'frame': trunk}, tasks=tasks)).eval()


def changed_by(ours: MultiTaskNetwork, weights: dict[str, Tensor], **where: str) -> set[str]:
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    load_torchvision_weights(ours, weights, trunk='frame', **where)
    after = ours.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@torch.no_grad()
def test_backbone_and_pyramid_give_the_maps_of_torchvision(
    theirs: KeypointRCNN, randomise: Callable[[nn.Module], nn.Module]
) -> None:
    weights = randomise(theirs).state_dict()
    assert kind_of(weights) == 'Keypoint R-CNN'
    ours = network()
    assert load_torchvision_weights(ours, weights, trunk='frame') == 'keypoints'
    images = torch.randn(1, 3, 64, 96)
    expected = list(theirs.backbone(images).values())
    maps = ours.trunks['frame'].body(images)
    named = OrderedDict((str(i), x) for i, x in enumerate(maps))
    levels = list(ours.heads['keypoints'].fpn(named).values())
    # P5 is not smoothed in ours.
    for level, value in zip(levels[:3], expected[:3]):
        torch.testing.assert_close(level, value, atol=1e-5, rtol=0)
    unsmoothed = theirs.backbone.fpn.inner_blocks[3](maps[3])
    torch.testing.assert_close(levels[3], unsmoothed, atol=1e-5, rtol=0)


def test_nothing_but_backbone_and_pyramid_is_changed(theirs: KeypointRCNN) -> None:
    changed = changed_by(network(256, 'detection'), theirs.state_dict())
    assert any(name.startswith('heads.keypoints.fpn.inner_blocks') for name in changed)
    assert any(name.startswith('trunks.frame.body.layer4') for name in changed)
    parts = ('trunks.frame.body.', 'heads.keypoints.fpn.')
    assert all(name.startswith(parts) for name in changed), changed


def test_a_pyramid_of_another_size_keeps_its_weights(theirs: KeypointRCNN) -> None:
    changed = changed_by(network(32), theirs.state_dict())
    assert changed
    assert all(name.startswith('trunks.frame.body.') for name in changed), changed


def test_the_names_before_torchvision_0_13_are_known(theirs: KeypointRCNN) -> None:
    old = {}
    for name, value in theirs.state_dict().items():
        parts = name.split('.')
        if parts[1] == 'fpn':
            del parts[-2]
        old['.'.join(parts)] = value
    assert old.keys() != theirs.state_dict().keys()
    one, other = network(), network()
    load_torchvision_weights(one, theirs.state_dict(), trunk='frame')
    assert load_torchvision_weights(other, old, trunk='frame') == 'keypoints'
    for name, value in one.heads['keypoints'].fpn.state_dict().items():
        assert torch.equal(value, other.heads['keypoints'].fpn.state_dict()[name]), name


def test_they_are_for_no_other_task(theirs: KeypointRCNN) -> None:
    with pytest.raises(ValueError, match="Keypoint R-CNN are for keypoints, not for 'detection'"):
        changed_by(network(256, 'detection'), theirs.state_dict(), task='detection')


def test_weights_of_a_pyramid_that_are_not_finite_are_refused(theirs: KeypointRCNN) -> None:
    name = 'backbone.fpn.inner_blocks.0.0.bias'
    weights = theirs.state_dict() | {name: torch.full((256,), torch.nan)}
    ours = network()
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    with pytest.raises(ValueError, match=r"'fpn\.inner_blocks\.0\.0\.bias' has non-finite"):
        load_torchvision_weights(ours, weights, trunk='frame')
    for key, value in ours.state_dict().items():
        assert torch.equal(value, before[key]), key
