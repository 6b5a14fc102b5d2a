"""Published 3D-ResNets (Hara et al., 2018); the oracle is written from the paper, below."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from mtl_perception.checkpoint import read_state_dict
from mtl_perception.network import (
    load_torchvision_weights,
    MultiTaskNetwork,
    NetworkConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.torchvision_weights import kind_of
import pytest
import torch
from torch import nn, Tensor
from torch.nn.functional import avg_pool3d, max_pool3d

LABELS = ('run', 'wave', 'sit')
WIDTH = 4


def zero_padded(x: Tensor, channels: int) -> Tensor:
    small = avg_pool3d(x, kernel_size=1, stride=2)
    zeros = torch.zeros(len(x), channels - x.shape[1], *small.shape[2:])
    return torch.cat([small, zeros], 1)


class Block(nn.Module):
    def __init__(self, before: int, channels: int, stride: int, kind: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(before, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.zero_pad = None
        if before != channels and kind == 'A':
            self.zero_pad = partial(zero_padded, channels=channels)
        elif before != channels:
            convolution = nn.Conv3d(before, channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm3d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.zero_pad is not None:
            return torch.relu(y + self.zero_pad(x))
        return torch.relu(y + (self.downsample(x) if hasattr(self, 'downsample') else x))


class Reference(nn.Module):
    """The 3D-ResNet of 18 or 34 layers, with the names of the published files."""

    def __init__(self, depth: int, kind: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, WIDTH, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(WIDTH)
        before = WIDTH
        for i, count in enumerate({18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}[depth]):
            channels = WIDTH * 2**i
            blocks = [Block(before, channels, 1 if i == 0 else 2, kind)]
            blocks += [Block(channels, channels, 1, kind) for _ in range(count - 1)]
            setattr(self, f'layer{i + 1}', nn.Sequential(*blocks))
            before = channels
        self.fc = nn.Linear(before, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool3d(torch.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for i in range(4):
            x = getattr(self, f'layer{i + 1}')(x)
        return self.fc(x.mean((2, 3, 4)))


def network(backbone: str, depth: int = 18, **trunk: str) -> MultiTaskNetwork:
    clip = TrunkConfig(backbone=backbone, depth=depth, width=WIDTH, **trunk)
    tasks = {'action': TaskConfig(labels=LABELS), 'gesture': TaskConfig(labels=('up', 'down'))}
    return MultiTaskNetwork(NetworkConfig(trunks={'clip': clip}, tasks=tasks)).eval()


@torch.no_grad()
@pytest.mark.parametrize('wrapped', [False, True], ids=['plain', 'data_parallel'])
@pytest.mark.parametrize(
    ('kind', 'depth', 'backbone'),
    [
        ('B', 18, 'resnet3d_pooled'),
        ('B', 34, 'resnet3d_pooled'),
        ('A', 18, 'resnet3d_zero_pad'),
        ('A', 34, 'resnet3d_zero_pad'),
    ],
)
def test_a_published_file_gives_the_logits_of_its_network(
    kind: str,
    depth: int,
    backbone: str,
    wrapped: bool,
    tmp_path: Path,
    randomise: Callable[[nn.Module], nn.Module],
) -> None:
    theirs = randomise(Reference(depth, kind)).eval()
    prefix = 'module.' if wrapped else ''
    state = {f'{prefix}{name}': value for name, value in theirs.state_dict().items()}
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9).state_dict()
    saved = {'epoch': 200, 'arch': f'resnet-{depth}', 'state_dict': state, 'optimizer': optimizer}
    torch.save(saved, tmp_path / 'r3d_K_200ep.pth')
    weights = read_state_dict(tmp_path / 'r3d_K_200ep.pth')
    assert kind_of(weights) == '3D-ResNet'
    ours = network(backbone, depth)
    assert load_torchvision_weights(ours, weights, task='action') == 'action'
    clips = torch.randn(2, 3, 9, 40, 36)
    expected = theirs(clips)
    torch.testing.assert_close(ours({'clip': clips})['action'], expected, atol=1e-5, rtol=0)
    deployed = ours.deploy()({'clip': clips})['action']
    torch.testing.assert_close(deployed, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('backbone', ['resnet3d_pooled', 'resnet3d_zero_pad'])
@pytest.mark.parametrize('sharing', ['hard', 'single_task', 'mtan', 'cross_stitch'])
def test_every_parameter_of_these_backbones_learns_however_it_is_shared(
    backbone: str, sharing: str
) -> None:
    ours = network(backbone, sharing=sharing).train()
    outputs = ours.forward_tasks({task: torch.randn(2, 3, 16, 64, 64) for task in ours.heads})
    sum(logits.square().sum() for logits in outputs.values()).backward()
    still = [name for name, p in ours.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def weights(kind: str = 'B', **changed: Tensor | None) -> dict[str, Tensor]:
    found = Reference(18, kind).state_dict() | changed
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ('backbone', 'state', 'message'),
    [
        (
            'resnet3d',
            weights(),
            r"stem of 7x7x7, max-pooling and shortcuts of type B: trunk 'clip' must have the "
            'backbone resnet3d_pooled, it has resnet3d',
        ),
        ('resnet3d_pooled', weights('A'), 'type A: .* resnet3d_zero_pad, it has resnet3d_pooled'),
        ('resnet3d_zero_pad', weights('B'), 'type B: .* resnet3d_pooled, it has resnet3d_zero'),
        (
            'resnet3d_pooled',
            weights(**{'layer1.0.conv3.weight': torch.zeros(1)}),
            'bottleneck blocks .50 layers or more., which no backbone here has',
        ),
        (
            'resnet3d_pooled',
            weights(**{'layer3.1.bn2.bias': None}),
            r"do not fit trunk 'clip': missing \['layer3\.1\.conv2\.1\.bias'\]",
        ),
        (
            'resnet3d_pooled',
            weights(conv1_s=torch.zeros(1)),
            r"do not fit trunk 'clip': unexpected \['conv1_s'\]",
        ),
        (
            'resnet3d_pooled',
            weights(**{'conv1.weight': torch.zeros(WIDTH, 3, 3, 7, 7)}),
            r"'stem\.0\.weight' has shape \(4, 3, 3, 7, 7\), the network expects \(4, 3, 7, 7, 7",
        ),
    ],
)
def test_what_would_not_compute_the_same_is_refused_and_nothing_is_copied(
    backbone: str, state: dict[str, Tensor], message: str
) -> None:
    ours = network(backbone)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_torchvision_weights(ours, state)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, before[name]), name
