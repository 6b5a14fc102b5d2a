"""What the networks for people in frames cost, and the configs that train them."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import re

from mtl_perception.network import MultiTaskNetwork
from mtl_training.config import load_config
from mtl_training.regimes import build_regime
import pytest
import torch
from torch import nn, Tensor

from benchmarks.bench_pose_variants import (
    cells_of,
    costs,
    END,
    gmac_columns,
    HEAD,
    sizes,
    START,
    training_config,
    variant_network,
    VARIANTS,
)

ROOT = Path(__file__).parents[2]
FILES = sorted({file for file, _ in VARIANTS.values()})
CHEAP = ('R18 slim', 'demo')


@contextmanager
def counted(network: nn.Module) -> Iterator[list[int]]:
    """Collect the multiply-accumulates of every layer that runs, from the shape of its output."""
    macs: list[int] = []

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        macs.append(output.numel() * weight[0].numel())

    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    yield macs
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize('name', CHEAP)
def test_the_macs_are_those_of_all_layers_that_run(name: str) -> None:
    config = variant_network(name)
    with torch.device('meta'):
        network = MultiTaskNetwork(config).deploy()
        for size, (height, width) in sizes().items():
            with counted(network) as macs:
                network({'frame': torch.zeros(1, 3, height, width)})
            assert costs(config)['macs'][size] == sum(macs)


def test_the_standard_network_costs_what_its_source_says() -> None:
    path = ROOT / 'config' / 'training' / 'pose_r50.yaml'
    network = load_config(path).network.with_labels({'activity': ('walking', 'running')})
    cost = costs(network)
    assert cost['macs']['480x480'] == pytest.approx(84e9, rel=0.02)
    # 17 maps of 56x36 through two layers of 1024 and back, with biases.
    cells, hidden = 17 * 56 * 36, 1024
    weights = 2 * cells * hidden + hidden**2
    assert cost['prn_macs'] == weights
    assert cost['parameters'] - cost['without_prn'] == weights + 2 * hidden + cells


@pytest.mark.parametrize('file', FILES)
def test_the_stages_of_a_config_make_up_its_iterations(file: str) -> None:
    config = load_config(ROOT / 'config' / 'training' / f'{file}.yaml')
    regime = build_regime('staged', [*config.network.tasks], **config.regime.settings)
    stages = regime.stages(config.iterations)
    assert {task for stage in stages for task in stage.tasks} == set(config.network.tasks)


@pytest.mark.parametrize('name', VARIANTS)
def test_variants_differ_in_backbone_and_heads_alone(name: str) -> None:
    args = Namespace(
        train=30, size=[96, 128], images=8, test_images=4, batch_size=2, threads=1, workers=0
    )
    args.device = 'cpu'
    config, other = (training_config(variant, args) for variant in (name, 'R50'))
    assert config.iterations == 45
    assert config.network.trunks['frame'].preprocessing.size == (96, 128)
    same = ('data', 'iterations', 'batch_size', 'losses', 'optimiser', 'regime', 'precision')
    assert all(getattr(config, key) == getattr(other, key) for key in same)
    assert config.network.tasks['pose'] == other.network.tasks['pose']


def test_the_page_shows_the_costs_of_every_variant() -> None:
    page = (ROOT / 'docs' / 'frames.md').read_text()
    block = page.partition(START)[2].partition(END)[0]
    # Of the first table; a second one says what trainings reached.
    first = block.partition('\n\n')[0]
    rows = {line.split('|')[1].strip(): line for line in re.findall(r'^\|.*$', first, re.M)}
    assert [cell.strip() for cell in rows[HEAD[0]].strip('|').split('|')] == [
        *HEAD,
        *gmac_columns(),
    ]
    assert set(VARIANTS) <= set(rows)
    for name in CHEAP:
        shown = [cell.strip() for cell in rows[name].strip('|').split('|')]
        assert shown == cells_of(name, costs(variant_network(name)))
