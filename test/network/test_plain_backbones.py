"""Tests of C3D and VGG; the oracles are plain calls of torch, and torchvision."""

from typing import Any

from mtl_perception.network.backbones import build_backbone, C3D, VGG
import pytest
import torch
from torch import nn, Tensor
from torch.nn import functional as F

Plain = type[C3D] | type[VGG]
NAMES = ['conv1', 'conv2', 'conv3', 'conv4', 'conv5', 'fc6', 'fc7']
SIZE = (16, 16, 16)  # the smallest for C3D


def meta(backbone: Plain, **settings: Any) -> Any:
    with torch.device('meta'):
        return backbone(**settings)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_c3d_has_the_sizes_of_the_paper() -> None:
    c3d, x, shapes = meta(C3D).eval(), torch.empty(2, 3, 16, 112, 112, device='meta'), []
    for name, stage in c3d.stages():
        x = stage(x)
        shapes.append((name, *x.shape[1:]))
    assert shapes == [
        ('conv1', 64, 16, 112, 112),
        ('conv2', 128, 16, 56, 56),
        ('conv3', 256, 8, 28, 28),
        ('conv4', 512, 4, 14, 14),
        ('conv5', 512, 2, 7, 7),
        ('fc6', 4096, 1, 1, 1),
        ('fc7', 4096, 1, 1, 1),
    ]
    assert c3d.fc6.fc.weight.shape == (4096, 8192)
    assert c3d.pool(x).shape == (2, c3d.feature_dim)


def test_c3d_has_the_parameters_of_the_paper() -> None:
    channels = [(3, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    channels += [(512, 512), (512, 512)]
    convolutions = sum(27 * before * after + after for before, after in channels)
    assert convolutions == 27_655_936
    fully_connected = 8192 * 4096 + 4096 + 4096 * 4096 + 4096
    assert count(meta(C3D)) == convolutions + fully_connected == 77_995_776


@torch.no_grad()
@pytest.mark.parametrize('size', [SIZE, (17, 33, 50), (34, 16, 31)])
def test_c3d_computes_what_its_definition_says(size: tuple[int, int, int]) -> None:
    c3d = C3D(width=2, clip_size=size).eval()
    clips = x = torch.randn(2, 3, *size)
    weights = list(c3d.parameters())
    for i, pool in enumerate([1, 2, 0, 2, 0, 2, 0, 3]):
        x = F.relu(F.conv3d(x, weights[2 * i], weights[2 * i + 1], padding=1))
        if pool == 3:
            x = F.pad(x, (1, 1, 1, 1))  # zeros: nothing is lower after the activation
        if pool:
            x = F.max_pool3d(x, (1, 2, 2) if pool == 1 else 2)
    x = F.relu(F.linear(x.flatten(1), weights[16], weights[17]))
    x = F.relu(F.linear(x, weights[18], weights[19]))
    assert x.shape == (2, 128)
    torch.testing.assert_close(c3d(clips), x)


@pytest.mark.parametrize('size', [(15, 112, 112), (16, 15, 112), (16, 112, 15), (1, 224, 224)])
def test_a_clip_too_small_for_the_poolings_of_c3d_is_refused(size: tuple[int, int, int]) -> None:
    found = rf'got num_frames {size[0]} and frames of {size[1]}x{size[2]}'
    with pytest.raises(ValueError, match=f'at least 16 frames of 16x16 .* poolings.*, {found}'):
        C3D(width=1, clip_size=size)


@pytest.mark.parametrize('size', [(1, 31, 64), (16, 64, 31)])
def test_a_frame_too_small_for_the_poolings_of_vgg_is_refused(size: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=rf'at least 32x32 .*, got {size[1]}x{size[2]}'):
        VGG(width=1, clip_size=size)


@pytest.mark.parametrize(
    'backbone, settings, message',
    [
        (C3D, {'depth': 18}, 'depth must be 11, the one of C3D, got 18'),
        (VGG, {'depth': 18}, r'depth must be one of \[11, 13, 16, 19\], got 18'),
        (C3D, {'width': 0}, 'width must be at least 1, got 0'),
        (VGG, {'norm': 'layer'}, r"norm must be one of \['none', 'batch', 'group'\], got 'layer'"),
    ],
)
def test_what_there_is_not_is_refused(
    backbone: Plain, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        meta(backbone, **settings)


def test_a_network_of_another_size_has_a_first_layer_of_another_size() -> None:
    with torch.device('meta'):
        backbone: Any = build_backbone(
            'c3d', depth=11, width=64, norm='none', clip_size=(32, 128, 171)
        )
    # 32 / 16 frames, 128 / 16 / 2 + 1 rows, 171 // 16 // 2 + 1 columns.
    assert backbone.fc6.fc.in_features == 512 * 2 * 5 * 6


@torch.no_grad()
@pytest.mark.parametrize('norm', ['none', 'group'])
def test_the_features_of_vgg_are_the_mean_of_its_frames(norm: str) -> None:
    vgg = VGG(depth=11, width=1, norm=norm).eval()
    clips = torch.randn(2, 3, 3, 32, 40)
    frames = [vgg(clips[:, :, i : i + 1]) for i in range(3)]
    assert frames[0].shape == (2, 64)
    torch.testing.assert_close(vgg(clips), torch.stack(frames).mean(0))


@pytest.mark.parametrize('norm', ['none', 'batch', 'group'])
@pytest.mark.parametrize('backbone', [C3D, VGG])
def test_stages_and_blocks_are_the_network_and_leave_their_inputs_as_they_are(
    backbone: Plain, norm: str
) -> None:
    network = backbone(width=1, norm=norm, clip_size=(16, 32, 32)).eval()
    assert [name for name, _ in network.stages()] == NAMES
    expected = network(clips := torch.randn(2, 3, 16, 32, 32))
    for parts in (network.stages(), network.blocks()):
        x = clips
        for _, part in parts:
            before = x.clone()
            y = part(x)
            assert torch.equal(x, before)
            x = y
        torch.testing.assert_close(network.pool(x), expected)


@pytest.mark.parametrize('backbone', [C3D, VGG])
def test_dropout_is_in_training_only(backbone: Plain) -> None:
    network = backbone(width=1, clip_size=(16, 32, 32))
    clips = torch.randn(2, 3, 16, 32, 32)

    def outputs_of_fc7() -> Tensor:
        x = clips
        for _, stage in network.stages():
            x = stage(x)
        return x

    assert not torch.equal(outputs_of_fc7(), outputs_of_fc7())
    network.eval()
    assert torch.equal(outputs_of_fc7(), outputs_of_fc7())


@torch.no_grad()
@pytest.mark.parametrize('backbone', [C3D, VGG])
def test_narrow_networks_start_with_features_of_a_useful_size(
    backbone: Plain,
) -> None:
    network = backbone(width=4, clip_size=(16, 32, 32)).eval()
    features = network(torch.randn(2, 3, 16, 32, 32))
    assert 0.01 < features.std() < 100
