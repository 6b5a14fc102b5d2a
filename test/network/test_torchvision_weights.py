"""Tests of :mod:`mtl_perception.network.torchvision_weights`; the oracle is torchvision."""

from collections.abc import Callable

from mtl_perception.network import (
    load_torchvision_weights,
    MultiTaskNetwork,
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.torchvision_retinanet import branch_weights, retinanet_config
import pytest
import torch
from torch import nn, Tensor
from torchvision.models import resnet18
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.video import r2plus1d_18, r3d_18
from torchvision.models.video.resnet import VideoResNet
from torchvision.ops.feature_pyramid_network import LastLevelP6P7


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


def frames_network(*kinds: str, depth: int = 18) -> MultiTaskNetwork:
    """Return a network of a frame trunk next to one of clips that is as small as can be."""
    size = PreprocessingConfig(resize=(64, 64))
    tasks = {kind: TaskConfig(kind=kind, trunk='frame', settings={}) for kind in kinds}
    tasks |= {'action': TaskConfig(labels=('wave', 'stop'))}
    trunks = {
        'frame': TrunkConfig(backbone='resnet2d', depth=depth, preprocessing=size),
        'clip': TrunkConfig(width=2),
    }
    return MultiTaskNetwork(NetworkConfig(trunks=trunks, tasks=tasks)).eval()


@torch.no_grad()
def test_a_resnet_goes_into_the_trunk_of_frames_without_its_classifier(
    randomise: Callable[[nn.Module], nn.Module],
) -> None:
    theirs = randomise(resnet18()).eval()
    ours = frames_network('keypoints')
    others = {k: v.clone() for k, v in ours.state_dict().items() if 'trunks.frame' not in k}
    load_torchvision_weights(ours, theirs.state_dict(), trunk='frame')
    images = torch.randn(1, 3, 64, 64)
    expected = IntermediateLayerGetter(theirs, {'layer4': 'c5'})(images)['c5']
    assert torch.equal(ours.trunks['frame'].body(images)[3], expected)
    for name, value in others.items():
        assert torch.equal(ours.state_dict()[name], value), name


def small_retinanet(classes: int = 91) -> RetinaNet:
    """Return a RetinaNet on a ResNet-18; its P6 is made from P5."""
    backbone = resnet_fpn_backbone(
        backbone_name='resnet18',
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    sizes = tuple(
        (x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)
    )
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    return RetinaNet(backbone, classes, anchor_generator=anchors).eval()


def with_old_names(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict as torchvision before 0.13 named it, and with frozen norms."""
    renamed = {}
    for name, value in state_dict.items():
        parts = name.split('.')
        if 'inner_blocks' in parts or 'layer_blocks' in parts:
            del parts[-2]
        elif 'conv' in parts:
            parts[-3:-1] = [str(2 * int(parts[-3]))]
        if parts[-1] != 'num_batches_tracked':
            renamed['.'.join(parts)] = value
    return renamed


@torch.no_grad()
def test_a_retinanet_of_the_old_names_is_taken_as_torchvision_takes_it() -> None:
    theirs, copy = small_retinanet(), small_retinanet()
    old = with_old_names(theirs.state_dict())
    assert old.keys() != theirs.state_dict().keys()
    copy.load_state_dict(dict(old), strict=False)
    images = torch.randn(1, 3, 64, 64)
    expected = copy.head(list(copy.backbone(images).values()))
    ours = MultiTaskNetwork(retinanet_config(old, size=(64, 64), norm_eps=1e-5)).eval()
    load_torchvision_weights(ours, old, trunk='frame')
    output = ours({'frame': images})['person']
    torch.testing.assert_close(output.logits, expected['cls_logits'][..., 1], atol=1e-4, rtol=0)
    torch.testing.assert_close(output.deltas, expected['bbox_regression'], atol=1e-4, rtol=0)


@pytest.mark.parametrize('classes', [1, 2])
def test_of_one_or_two_classes_the_last_is_the_person(classes: int) -> None:
    rows = torch.arange(9.0 * classes).view(9 * classes, 1, 1, 1)
    name = 'head.classification_head.cls_logits.weight'
    kept = branch_weights({name: rows})[name]
    assert kept.flatten().tolist() == list(range(classes - 1, 9 * classes, classes))


def test_which_of_other_classes_is_the_person_is_not_guessed() -> None:
    name = 'head.classification_head.cls_logits.bias'
    with pytest.raises(ValueError, match=r'one class, two or the 91 of COCO .* has 180 outputs'):
        branch_weights({name: torch.zeros(180)})


@pytest.mark.parametrize('build', [retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2])
def test_the_config_of_a_retinanet_builds_a_network_of_its_shapes(
    build: Callable[..., RetinaNet],
) -> None:
    with torch.device('meta'):
        weights = build(weights=None, weights_backbone=None).state_dict()
        config = retinanet_config(weights, size=(480, 640))
        ours = MultiTaskNetwork(config).state_dict()
    is_v1 = build is retinanet_resnet50_fpn
    trunk, settings = config.trunks['frame'], config.tasks['person'].settings
    assert (trunk.depth, trunk.norm_eps) == (50, 0.0 if is_v1 else 1e-5)
    assert settings['p6_from'] == ('p5' if is_v1 else 'c5')
    assert settings['norm'] == ('none' if is_v1 else 'group')
    assert trunk.preprocessing.size == (480, 640)
    assert settings['origin'] == 'corner'
    theirs = branch_weights(weights)
    theirs = {f'heads.person.{name}': value.shape for name, value in theirs.items()}
    prefix = 'backbone.body.'
    body = {k: v.shape for k, v in weights.items() if k.startswith(prefix)}
    theirs |= {f'trunks.frame.body.{k.removeprefix(prefix)}': v for k, v in body.items()}
    assert {name: value.shape for name, value in ours.items()} == theirs


def test_a_retinanet_without_a_task_of_detection_brings_its_backbone_alone() -> None:
    theirs, ours = small_retinanet(), frames_network('keypoints')
    heads = {name: value.clone() for name, value in ours.heads.state_dict().items()}
    load_torchvision_weights(ours, theirs.state_dict(), trunk='frame')
    body = theirs.backbone.body.state_dict()
    for name, value in ours.trunks['frame'].body.state_dict().items():
        assert torch.equal(value, body[name]), name
    for name, value in ours.heads.state_dict().items():
        assert torch.equal(value, heads[name]), name


def retinanet_weights() -> dict[str, Tensor]:
    return small_retinanet(2).state_dict()


def changed(name: str, value: Tensor | None) -> dict[str, Tensor]:
    weights = retinanet_weights() | {name: value}
    return {k: v for k, v in weights.items() if v is not None}


@pytest.mark.parametrize(
    'weights, match, where',
    [
        (
            lambda: resnet18().state_dict(),
            "a ResNet, for the backbone resnet2d or resnet_image; trunk 'clip' has resnet3d",
            {},
        ),
        (
            lambda: {'stem.0.weight': torch.zeros(1)},
            "a video ResNet, for the backbone resnet3d or .*; trunk 'frame' has resnet2d",
            {'trunk': 'frame'},
        ),
        (lambda: {'encoder.weight': torch.zeros(1)}, r"none of the known .* found \['enc", {}),
        (dict, 'none of the known kinds, .* found nothing', {}),
        (
            lambda: resnet18().state_dict(),
            "classifier of a ResNet is for labels .* not for task 'detection' of kind detection",
            {'trunk': 'frame', 'task': 'detection'},
        ),
        (
            retinanet_weights,
            "RetinaNet are for detection, not for 'keypoints'",
            {'trunk': 'frame', 'task': 'keypoints'},
        ),
        # Ours takes P6 from C5 here.
        (
            retinanet_weights,
            r"head of task 'detection': 'fpn\.extra_blocks\.p6\.weight' has shape \(256, 256, ",
            {'trunk': 'frame'},
        ),
        (
            lambda: changed('backbone.body.layer3.1.conv2.weight', None),
            r"do not fit trunk 'frame': missing \['layer3\.1\.conv2\.weight'\]",
            {'trunk': 'frame'},
        ),
        (
            lambda: changed('head.regression_head.bbox_reg.bias', None),
            r"head of task 'detection': missing \['head\.regression_head\.bbox_reg\.bias'\]",
            {'trunk': 'frame'},
        ),
        (
            lambda: changed('rpn.weight', torch.zeros(1)),
            r"head of task 'detection': unexpected \['rpn\.weight'\]",
            {'trunk': 'frame'},
        ),
        (
            lambda: changed('backbone.body.bn1.bias', torch.full((64,), torch.nan)),
            r"trunk 'frame': 'bn1\.bias' has non-finite values",
            {'trunk': 'frame'},
        ),
    ],
)
def test_what_does_not_fit_frames_is_refused_and_nothing_is_copied(
    weights: Callable[[], dict[str, Tensor]], match: str, where: dict[str, str]
) -> None:
    refused(frames_network('detection', 'keypoints'), weights(), match, **where)


def test_a_config_is_not_made_of_half_a_retinanet() -> None:
    with pytest.raises(ValueError, match=r"must have a convolution 'fpn\.inner_blocks|'head\."):
        retinanet_config({'backbone.body.conv1.weight': torch.zeros(4, 3, 7, 7)}, size=(64, 64))
