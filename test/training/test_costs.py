"""Tests of :mod:`mtl_training.costs` and of the documentation that shows them."""

from inspect import signature
import json
from pathlib import Path
import re

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.sharing import SHARING
from mtl_training.commands import listing
from mtl_training.costs import Cost, CostSettings, count_macs, sharing_cost, sharing_costs
import pytest
import torch
from torch import nn

DOCS = Path(__file__).parents[2] / 'docs' / 'sharing.md'
TINY = CostSettings(width=2, frames=4, size=16)


def trunk_macs(width: int, frames: int, size: int) -> int:
    """Return the MACs of a ResNet-3D of 18 layers, convolution by convolution."""
    height = (size + 1) // 2
    total = frames * height**2 * 3 * 7 * 7 * 3 * width
    channels = width
    for i in range(4):
        before, channels = channels, width << i
        if i:
            frames, height = (frames + 1) // 2, (height + 1) // 2
            total += frames * height**2 * before * channels  # the shortcut
        positions = frames * height**2
        total += positions * 27 * (before * channels + 3 * channels**2)
    return total


def test_hard_sharing_of_two_tasks_costs_one_trunk() -> None:
    cost = sharing_cost('hard', TINY)
    assert cost.training_macs == cost.deployed_macs == trunk_macs(2, 4, 16)
    assert cost.parameters == sum(p.numel() for p in ResNet3d(width=2).parameters())


def test_the_oracle_gives_the_known_cost_of_r3d_18() -> None:
    assert trunk_macs(64, 32, 112) == pytest.approx(81.4e9, rel=1e-3)


@pytest.mark.parametrize('tasks', [1, 2, 3])
def test_single_tasks_cost_one_trunk_each(tasks: int) -> None:
    cost = sharing_cost('single_task', CostSettings(width=2, frames=4, size=16, tasks=tasks))
    assert cost.training_macs == trunk_macs(2, 4, 16)
    assert cost.deployed_macs == tasks * trunk_macs(2, 4, 16)
    assert cost.parameters == tasks * sharing_cost('hard', TINY).parameters


@pytest.fixture(scope='module')
def costs() -> dict[str, Cost]:
    return sharing_costs(TINY)


@pytest.mark.parametrize('method', sorted(SHARING))
def test_no_method_costs_less_than_a_trunk(method: str, costs: dict[str, Cost]) -> None:
    hard, cost = costs['hard'], costs[method]
    assert cost.training_macs >= hard.training_macs
    assert cost.deployed_macs >= hard.deployed_macs
    assert cost.parameters >= hard.parameters
    assert cost.deployed_parameters <= cost.parameters + 1000, 'folding adds a bias or so'


def test_experts_cost_their_stages(costs: dict[str, Cost]) -> None:
    # Three experts of the default: two more copies of the last stages than hard sharing has.
    trunk = ResNet3d(width=2).eval()
    x = torch.zeros(1, 4, 2, 4, 4)
    stages = count_macs(lambda: trunk.layer4(trunk.layer3(x)))
    extra = costs['mmoe'].deployed_macs - costs['hard'].deployed_macs
    gates = 2 * 3 * 4
    assert extra == 2 * stages + gates


def test_convolutions_and_linear_layers_are_counted() -> None:
    layers = nn.Sequential(nn.Conv3d(3, 4, (1, 3, 3)), nn.Flatten(), nn.Linear(32, 5))
    positions = 2 * 2 * 2  # frames, rows and columns
    expected = positions * 3 * 3 * 3 * 4 + 32 * 5
    assert count_macs(lambda: layers(torch.randn(2, 3, 2, 4, 4))) == 2 * expected


@pytest.mark.parametrize('name', ['frames', 'size', 'tasks'])
def test_a_wrong_size_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f'{name} must be at least 1, got 0'):
        CostSettings(**{name: 0})


def test_the_command_prints_the_costs(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ['--width', '2', '--frames', '4', '--size', '16', '--tasks', '3']
    assert listing.main(['--costs', '--json', *sizes]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed['settings'] == {'depth': 18, 'width': 2, 'frames': 4, 'size': 16, 'tasks': 3}
    assert list(printed['costs']) == list(SHARING)
    assert printed['costs']['single_task']['deployed_macs'] == 3 * trunk_macs(2, 4, 16)
    assert listing.main(['--costs', *sizes]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in SHARING)


def test_the_documentation_describes_every_method_and_setting() -> None:
    text = DOCS.read_text()
    table = text.partition('## Costs')[2]
    for name, method in SHARING.items():
        section = re.search(rf'^### `{name}`\n(.*?)(?=^##|\Z)', text, re.MULTILINE | re.DOTALL)
        assert section, f'docs/sharing.md has no section on {name}'
        for setting in list(signature(method).parameters)[2:]:
            assert f'`{setting}`' in section[1], (name, setting)
        assert f'| `{name}` |' in table, f'docs/sharing.md has no costs of {name}'
