"""The command ``import-weights``, and a run's ``init_weights``, with weights of C3D and VGG."""

from __future__ import annotations

import json
from pathlib import Path

from mtl_perception.checkpoint import load_network, save_checkpoint
from mtl_perception.network import (
    MultiTaskNetwork,
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_training.cli import main
from mtl_training.config import DataConfig, TrainingConfig
from mtl_training.initial_weights import initialise
import pytest
import torch
from torch import Tensor

CONVOLUTIONS = {
    'c3d': ('conv1', 'conv2', 'conv3a', 'conv3b', 'conv4a', 'conv4b', 'conv5a', 'conv5b'),
    'vgg': tuple(f'features.{i}' for i in (0, 3, 6, 8, 11, 13, 16, 18)),  # of 11 layers
}
CONNECTED = {
    'c3d': ('fc6', 'fc7', 'fc8'),
    'vgg': ('classifier.0', 'classifier.3', 'classifier.6'),
}
FIRST = {'c3d': 8 * 2 * 2, 'vgg': 8 * 49}  # values that enter fc6


def config(backbone: str) -> NetworkConfig:
    trunk = TrunkConfig(
        backbone=backbone,
        depth=11,
        width=1,
        num_frames=16,
        preprocessing=PreprocessingConfig(resize=(32, 32)),
    )
    labels = ('walk', 'run', 'sit')
    tasks = {'action': TaskConfig(labels=labels, trunk='body')}
    return NetworkConfig(trunks={'body': trunk}, tasks=tasks)


@pytest.fixture(params=['c3d', 'vgg'])
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Write a file by the published names, and return what it is of."""
    backbone: str = request.param
    state: dict[str, Tensor] = {}
    kernel = (3,) * (3 if backbone == 'c3d' else 2)
    channels = (3, 1, 2, 4, 4, 8, 8, 8, 8)
    shapes: dict[str, tuple[int, ...]] = {
        name: (channels[i + 1], channels[i], *kernel)
        for i, name in enumerate(CONVOLUTIONS[backbone])
    }
    sizes = ((64, FIRST[backbone]), (64, 64), (3, 64))
    shapes |= dict(zip(CONNECTED[backbone], sizes))
    for name, shape in shapes.items():
        state |= {f'{name}.weight': torch.randn(shape), f'{name}.bias': torch.randn(shape[0])}
    path = tmp_path / 'published.pth'
    torch.save(state, path)
    return backbone, path


def theirs(path: Path) -> list[Tensor]:
    return list(torch.load(path, weights_only=True).values())


def test_the_weights_of_a_file_go_into_a_checkpoint(
    weights: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone, path = weights
    mine, out = tmp_path / 'mine.safetensors', tmp_path / 'out.safetensors'
    save_checkpoint(mine, MultiTaskNetwork(config(backbone)), metrics={}, training={})
    names = ['--weights', path, '--checkpoint', mine, '--out', out, '--task', 'action', '--json']
    assert main(['import-weights', *map(str, names)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts['kind'].lower(), facts['trunk'], facts['head']) == (backbone, 'body', 'action')
    network, _ = load_network(out)
    for ours, value in zip(network.parameters(), theirs(path), strict=True):
        assert torch.equal(ours, value)


def test_a_run_starts_from_the_weights_of_a_file(weights: tuple[str, Path]) -> None:
    backbone, path = weights
    network = MultiTaskNetwork(config(backbone))
    heads = [p.clone() for p in network.heads.parameters()]
    training = TrainingConfig(
        network=config(backbone),
        data={'action': DataConfig(dataset='synthetic')},
        iterations=1,
        init_weights=str(path),
        trainable_stages=('fc7',),
    )
    initialise(network, training)
    for ours, value in zip(network.trunks.parameters(), theirs(path)):
        assert torch.equal(ours, value)
    for head, before in zip(network.heads.parameters(), heads):
        assert torch.equal(head, before)
    for name, parameter in network.trunks.named_parameters():
        assert parameter.requires_grad == ('fc7' in name), name
