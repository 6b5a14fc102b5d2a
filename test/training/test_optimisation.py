"""Schedules, parameter groups and frozen stages."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_training.config import OptimiserConfig
from mtl_training.optimisation import (
    build_optimiser,
    freeze_stages,
    learning_rate,
    Plateau,
    set_train_mode,
)
import pytest
from torch import nn

STAGES = ('stem', 'layer1', 'layer2', 'layer3', 'layer4')


@pytest.fixture(params=['hard', 'single_task'])
def network(request) -> MultiTaskNetwork:
    labels = ('a', 'b')
    return MultiTaskNetwork(
        NetworkConfig(
            trunks={'clip': TrunkConfig(width=2, sharing=request.param)},
            tasks={'x': TaskConfig(labels=labels), 'y': TaskConfig(labels=labels)},
        )
    )


@settings(max_examples=50, deadline=None)
@given(warmup=st.integers(0, 30), total=st.integers(31, 200))
def test_the_cosine_rises_through_the_warm_up_and_then_only_falls(warmup, total) -> None:
    config = OptimiserConfig(lr=0.1, schedule='cosine', warmup=warmup, final_lr=0.01)
    rates = [learning_rate(config, i, total) for i in range(total)]
    assert 0 < min(rates) <= max(rates) <= 0.1 + 1e-9
    assert rates[warmup] == pytest.approx(0.1)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert learning_rate(config, total, total) == pytest.approx(0.01)


def test_half_way_the_cosine_is_at_half() -> None:
    config = OptimiserConfig(lr=0.2, schedule='cosine')
    assert learning_rate(config, 50, 100) == pytest.approx(0.1)
    assert learning_rate(config, 25, 100) == pytest.approx(0.1 * (1 + math.cos(math.pi / 4)))


def test_the_constant_schedule_is_constant() -> None:
    config = OptimiserConfig(lr=0.3)
    assert {learning_rate(config, i, 9) for i in range(9)} == {0.3}


def test_only_weights_of_layers_decay_and_no_parameter_is_lost(network) -> None:
    extra = nn.Parameter(nn.init.ones_(nn.Linear(1, 1).weight))
    config = OptimiserConfig(weight_decay=0.1)
    optimiser = build_optimiser(config, network, [extra])
    decayed = {id(p) for g in optimiser.param_groups if g['weight_decay'] for p in g['params']}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_weight = isinstance(module, (nn.Conv3d, nn.Linear)) and name == 'weight'
            assert (id(parameter) in decayed) == is_weight
    assert id(extra) not in decayed
    held = [p for group in optimiser.param_groups for p in group['params']]
    assert len({id(p) for p in held}) == len(held) == len(list(network.parameters())) + 1


def test_frozen_stages_have_no_gradients_and_keep_their_statistics(network) -> None:
    freeze_stages(network.sharing('clip').copies(), STAGES, ['layer4'])
    set_train_mode(network, freeze_batch_norm=False)
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == ('layer4' in name or name.startswith('heads'))
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.training == ('layer4' in name)


def test_all_norms_can_keep_their_statistics(network) -> None:
    set_train_mode(network, freeze_batch_norm=True)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert network.training


def test_a_stage_that_does_not_exist_is_refused(network) -> None:
    with pytest.raises(ValueError, match=r"no stage 'layer5'"):
        freeze_stages(network.sharing('clip').copies(), STAGES, ['layer5'])


def test_norms_that_a_sharing_method_adds_have_no_statistics_to_keep() -> None:
    tasks = {name: TaskConfig(labels=('a', 'b')) for name in 'xy'}
    trunk = TrunkConfig(width=2, sharing='mtan')
    mtan = MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks=tasks))
    set_train_mode(mtan, freeze_batch_norm=True)
    of_backbone = {
        id(module) for _, copy in mtan.sharing('clip').copies() for module in copy.modules()
    }
    norms = [m for m in mtan.modules() if isinstance(m, nn.BatchNorm3d)]
    assert {norm.training for norm in norms} == {True, False}
    assert all(norm.training == (id(norm) not in of_backbone) for norm in norms)


@pytest.mark.parametrize('start', [2.0, 0.0, -2.0])
def test_on_a_plateau_losses_of_any_sign_must_fall_by_a_little(start) -> None:
    config = OptimiserConfig(schedule='plateau', patience=1, gamma=0.5)
    fallen, stands = Plateau(), Plateau()
    for step in range(6):
        fallen.update(start - 0.001 * step, config)
        stands.update(start - 1e-6 * abs(start) * step, config)
    assert (fallen.factor, fallen.lowest) == (1, start - 0.005)
    assert (stands.factor, stands.lowest) == (0.25, start)
    rising = Plateau()
    for step in range(3):
        rising.update(start + 0.0001 * abs(start) * step + 0.00001 * step, config)
    assert (rising.factor, rising.lowest) == (0.5, start)
