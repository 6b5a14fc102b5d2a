"""Tests of :mod:`mtl_perception.network.plain_weights`; the oracle is torchvision."""

from collections.abc import Callable
import copy
from typing import Any, TypeVar

from mtl_perception.network import (
    load_torchvision_weights,
    MultiTaskNetwork,
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.backbones import C3D, VGG
from mtl_perception.network.plain_weights import renamed
import pytest
import torch
from torch import nn, Tensor
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import cfgs, make_layers

LABELS = ('one', 'two', 'three')
CONFIGURATIONS = {11: 'A', 13: 'B', 16: 'D', 19: 'E'}
WIDTH = 2
C3D_LAYERS = ('conv1', 'conv2', 'conv3a', 'conv3b', 'conv4a', 'conv4b', 'conv5a', 'conv5b')
M = TypeVar('M', bound=nn.Module)
RANDOM = Callable[[nn.Module], nn.Module]


def network(backbone: str, size: tuple[int, int, int], **trunk: Any) -> MultiTaskNetwork:
    clip = TrunkConfig(
        backbone=backbone,
        num_frames=size[0],
        preprocessing=PreprocessingConfig(resize=size[1:]),
        **trunk,
    )
    tasks = {'action': TaskConfig(labels=LABELS), 'gesture': TaskConfig(labels=('wave', 'stop'))}
    return MultiTaskNetwork(NetworkConfig(trunks={'clip': clip}, tasks=tasks)).eval()


def spread(module: M) -> M:
    """Give layers weights for which the logits depend on the input, however deep they are."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, nonlinearity='relu')
    return module


def narrow_vgg(depth: int, *, batch_norm: bool) -> models.VGG:
    """Return torchvision's VGG with fewer channels."""
    channels = [c if isinstance(c, str) else c * WIDTH // 64 for c in cfgs[CONFIGURATIONS[depth]]]
    with torch.device('meta'):
        vgg = models.VGG(nn.Sequential(), init_weights=False)
    vgg.features = make_layers(channels, batch_norm=batch_norm)
    inner = 64 * WIDTH
    sizes = {0: (8 * WIDTH * 49, inner), 3: (inner, inner), 6: (inner, len(LABELS))}
    for number, (before, after) in sizes.items():
        vgg.classifier[number] = nn.Linear(before, after)
    return spread(vgg)


@torch.no_grad()
@pytest.mark.parametrize('depth, norm', [(11, 'batch'), (13, 'none'), (16, 'batch'), (19, 'none')])
@pytest.mark.parametrize('sharing', ['hard', 'single_task'])
def test_the_logits_of_vgg_are_those_of_torchvision(
    depth: int, norm: str, sharing: str, randomise: RANDOM
) -> None:
    theirs = narrow_vgg(depth, batch_norm=norm == 'batch').eval()
    randomise(theirs)
    ours = network('vgg', (1, 64, 48), depth=depth, norm=norm, width=WIDTH, sharing=sharing)
    load_torchvision_weights(ours, theirs.state_dict(), task='action')
    images = torch.randn(2, 3, 64, 48)
    expected = theirs(images)
    assert (expected[0] - expected[1]).abs().max() > 1e-2
    for ready in (ours, ours.deploy()):
        logits = ready({'clip': images.unsqueeze(2)})['action']
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize('depth', CONFIGURATIONS)
@pytest.mark.parametrize('norm', ['none', 'batch'])
def test_the_weights_of_all_of_torchvisions_vggs_fit(depth: int, norm: str) -> None:
    with torch.device('meta'):
        theirs = getattr(models, f'vgg{depth}' + ('_bn' if norm == 'batch' else ''))()
        ours = VGG(depth, norm=norm).state_dict()
    weights = renamed('VGG', theirs.state_dict())
    assert weights.pop('fc.weight').shape == (1000, 4096)
    assert weights.pop('fc.bias').shape == (1000,)
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in ours.items()}


@torch.no_grad()
def test_the_logits_of_a_resnet_on_images_are_those_of_torchvision(randomise: RANDOM) -> None:
    theirs = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=len(LABELS))
    randomise(theirs).eval()
    ours = network('resnet_image', (1, 64, 48))
    load_torchvision_weights(ours, theirs.state_dict(), task='action')
    images = torch.randn(2, 3, 64, 48)
    expected = theirs(images)
    assert (expected[0] - expected[1]).abs().max() > 1e-2
    for ready in (ours, ours.deploy()):
        logits = ready({'clip': images.unsqueeze(2)})['action']
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


class TheirC3D(nn.Module):
    """C3D with the names of the common file."""

    def __init__(self) -> None:
        super().__init__()
        channels = (3, *(WIDTH * factor for factor in (1, 2, 4, 4, 8, 8, 8, 8)))
        for i, name in enumerate(C3D_LAYERS):
            setattr(self, name, nn.Conv3d(channels[i], channels[i + 1], 3, padding=1))
        self.fc6 = nn.Linear(WIDTH * 8 * 16, WIDTH * 64)
        self.fc7 = nn.Linear(WIDTH * 64, WIDTH * 64)
        self.fc8 = nn.Linear(WIDTH * 64, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        layers = [getattr(self, name) for name in C3D_LAYERS]
        pools = {name: nn.MaxPool3d(2) for name in ('conv2', 'conv3b', 'conv4b')}
        pools |= {'conv1': nn.MaxPool3d((1, 2, 2)), 'conv5b': nn.MaxPool3d(2, padding=(0, 1, 1))}
        for name, layer in zip(C3D_LAYERS, layers):
            x = layer(x).relu()
            x = pools[name](x) if name in pools else x
        out: Tensor = self.fc8(self.fc7(self.fc6(x.flatten(1)).relu()).relu())
        return out


@torch.no_grad()
def test_the_logits_of_c3d_are_those_of_a_network_of_the_common_names() -> None:
    theirs, ours = spread(TheirC3D()), network('c3d', (16, 112, 112), width=WIDTH)
    load_torchvision_weights(ours, theirs.state_dict(), task='action')
    clips = torch.randn(1, 3, 16, 112, 112)
    logits = ours({'clip': clips})['action']
    torch.testing.assert_close(logits, theirs(clips), atol=1e-4, rtol=0)
    assert ours.config.trunks['clip'].norm == 'none'


def test_the_weights_of_c3d_have_the_shapes_of_the_file_of_sports_1m() -> None:
    with torch.device('meta'):
        ours = {k: tuple(v.shape) for k, v in C3D().state_dict().items() if 'weight' in k}
    theirs: dict[str, tuple[int, ...]] = {'fc6': (4096, 8192), 'fc7': (4096, 4096)}
    channels = (3, 64, 128, 256, 256, 512, 512, 512, 512)
    for i, name in enumerate(C3D_LAYERS):
        theirs[name] = (channels[i + 1], channels[i], 3, 3, 3)
    file = {f'{name}.weight': torch.empty(shape, device='meta') for name, shape in theirs.items()}
    assert {k: tuple(v.shape) for k, v in renamed('C3D', file).items()} == ours


@pytest.mark.parametrize(
    'backbone, trunk, weights, message',
    [
        (
            'vgg',
            {'depth': 13, 'norm': 'batch'},
            lambda: narrow_vgg(11, batch_norm=False).state_dict(),
            "a VGG: trunk 'clip' must have the depth 11 and the norm none, it has 13 and batch",
        ),
        (
            'vgg',
            {'depth': 11},
            lambda: narrow_vgg(11, batch_norm=True).state_dict(),
            'depth 11 and the norm batch, it has 11 and none',
        ),
        (
            'vgg',
            {'depth': 11},
            lambda: copy.deepcopy(narrow_vgg(11, batch_norm=False)).features.state_dict(),
            'none of the known kinds',
        ),
        (
            'vgg',
            {'depth': 11},
            lambda: dict(TheirC3D().state_dict()),
            "a C3D, for the backbone c3d; trunk 'clip' has vgg",
        ),
        (
            'c3d',
            {'norm': 'group'},
            lambda: dict(TheirC3D().state_dict()),
            'a C3D: .* the depth 11 and the norm none, it has 11 and group',
        ),
        (
            'c3d',
            {},
            lambda: dict(TheirC3D().state_dict()),
            r"'fc6\.fc\.weight' has shape \(128, 256\), the network expects \(128, 144\)",
        ),
        (
            'c3d',
            {},
            lambda: narrow_vgg(11, batch_norm=False).state_dict(),
            "a VGG, for the backbone vgg; trunk 'clip' has c3d",
        ),
        (
            'resnet_image',
            {'depth': 34},
            lambda: ResNet(BasicBlock, [2, 2, 2, 2]).state_dict(),
            r"do not fit trunk 'clip': missing \['layer1\.2\.",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_copied(
    backbone: str, trunk: dict[str, Any], weights: Callable[[], dict[str, Tensor]], message: str
) -> None:
    ours = network(backbone, (16, 80, 80), width=WIDTH, **trunk)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_torchvision_weights(ours, weights())
    for name, value in ours.state_dict().items():
        assert torch.equal(value, before[name]), name
