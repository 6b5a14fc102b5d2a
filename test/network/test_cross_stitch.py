"""Tests of :mod:`mtl_perception.network.sharing.cross_stitch`."""

from collections.abc import Callable
from typing import Any

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.sharing import build_sharing, CrossStitch
from mtl_perception.network.sharing.cross_stitch import StitchUnit
import pytest
import torch
from torch import nn, Tensor

TASKS = ('action', 'gesture', 'third')
STAGES = ('stem', 'layer1', 'layer2', 'layer3', 'layer4')
Randomise = Callable[[nn.Module], nn.Module]


def build(tasks: tuple[str, ...] = TASKS, norm: str = 'group', **settings: Any) -> CrossStitch:
    return CrossStitch(lambda: ResNet3d(width=2, norm=norm), tasks, **settings)


def clips(batch: int = 2, frames: int = 4) -> Tensor:
    return torch.randn(batch, 3, frames, 16, 16)


def loss_of(features: dict[str, Tensor]) -> Tensor:
    weights = torch.linspace(-1, 1, 16).to(next(iter(features.values())))
    return sum((i + 1) * (f * weights).square().sum() for i, f in enumerate(features.values()))


def plain_loop(sharing: CrossStitch, batch: Tensor, task: str) -> Tensor:
    """Return a task's features by the definition: all streams, all stages, all rows of H."""
    streams = [batch for _ in sharing.tasks]
    for stage in STAGES:
        streams = [
            (sharing.streams[t][stage] if stage in sharing.streams[t] else sharing.early[stage])(x)
            for t, x in zip(sharing.tasks, streams)
        ]
        name = 'tied' if 'tied' in sharing.units else stage
        if stage in sharing.structure():
            h = sharing.units[name].weights
            h = h[..., None] if h.ndim == 2 else h
            h = h[..., None, None, None]
            streams = [sum(h[i, j] * x for j, x in enumerate(streams)) for i in range(len(h))]
    return ResNet3d.pool(streams[sharing.tasks.index(task)])


@pytest.mark.parametrize(
    'settings',
    [
        {},
        {'per_channel': True},
        {'tied': True},
        {'learnable': False, 'shared': 0.8},
        {'stitch_after': ['stem', 'layer2']},
        {'private_stages': ['layer3', 'layer4'], 'stitch_after': ['layer3']},
        {'shared': 1},
    ],
    ids=str,
)
@pytest.mark.parametrize('merge', [True, False])
def test_features_and_gradients_are_those_of_a_plain_loop(
    settings: dict[str, Any], merge: bool
) -> None:
    sharing = build(**settings).double()
    for weights in sharing.units.parameters():
        nn.init.uniform_(weights, -1, 1)
    batches = {'third': clips(1), 'action': clips(3), 'gesture': clips(2, frames=6)}
    batches = {task: batch.double() for task, batch in batches.items()}
    features = sharing.forward_tasks(batches, merge=merge)
    expected = {task: plain_loop(sharing, batch, task) for task, batch in batches.items()}
    torch.testing.assert_close(features, expected)
    parameters = list(sharing.parameters())
    found = torch.autograd.grad(loss_of(features), parameters, allow_unused=True)
    wanted = torch.autograd.grad(loss_of(expected), parameters, allow_unused=True)
    for a, b in zip(found, wanted):
        # What the loop computes for nobody has a gradient of zero, or none.
        assert a is not None or b is None or not b.any()
        if a is not None:
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize('learnable', [True, False])
@pytest.mark.parametrize('norm', ['batch', 'group'])
def test_with_nothing_shared_each_task_is_trained_as_alone(
    learnable: bool, norm: str, randomise: Randomise
) -> None:
    stitched, alone = (
        build_sharing(name, lambda: ResNet3d(width=2, norm=norm), TASKS, **settings)
        for name, settings in (
            ('cross_stitch', {'shared': 0, 'learnable': learnable}),
            ('single_task', {}),
        )
    )
    randomise(stitched).eval()
    for task in TASKS:
        state = stitched.streams[task].state_dict()
        alone.task_trunks[task].load_state_dict(state)
    alone.eval()
    batches = {task: clips() for task in TASKS}
    features, expected = stitched.forward_tasks(batches), alone.forward_tasks(batches)
    torch.testing.assert_close(features, expected, rtol=1e-6, atol=1e-6)
    loss_of(features).backward()
    loss_of(expected).backward()
    for task in TASKS:
        for a, b in zip(stitched.streams[task].parameters(), alone.task_trunks[task].parameters()):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)
    if learnable:
        for unit in stitched.units.values():
            assert unit.weights.grad.count_nonzero() == unit.weights.numel()


def test_streams_that_no_task_hears_do_not_run() -> None:
    sharing = build(shared=0, learnable=False)
    for stage in sharing.streams['gesture'].values():
        stage.register_forward_hook(lambda *_: pytest.fail('a dead stream ran'))
    sharing.forward_task(clips(), 'action')
    assert sharing.shared_parameters() == []
    assert build(('a',)).forward_task(clips(), 'a').shape == (2, 16)
    assert not list(build(('a',)).units.parameters())


def test_after_the_last_unit_only_the_own_stream_runs() -> None:
    sharing = build(stitch_after=['layer3'])
    passes: dict[tuple[str, str], list[int]] = {}
    for task in TASKS:
        for stage in ('layer3', 'layer4'):
            seen = passes.setdefault((task, stage), [])
            sharing.streams[task][stage].register_forward_hook(
                lambda _m, args, _out, seen=seen: seen.append(len(args[0]))
            )
    sharing.forward_tasks({'action': clips(3), 'gesture': clips(2)})
    assert [passes[task, 'layer3'] for task in TASKS] == [[5], [5], [5]]
    assert [passes[task, 'layer4'] for task in TASKS] == [[3], [2], []]
    last = {id(p) for task in TASKS for p in sharing.streams[task]['layer4'].parameters()}
    assert not last & {id(p) for p in sharing.shared_parameters()}
    assert len(sharing.shared_parameters()) + len(last) == len(list(sharing.parameters()))


def test_equal_halves_make_two_streams_equal_after_each_unit() -> None:
    unit = StitchUnit(2, 0.5, channels=None, learnable=True)
    streams = [torch.randn(2, 3, 2, 4, 4) for _ in range(2)]
    torch.testing.assert_close(unit(streams, 0), unit(streams, 1))
    torch.testing.assert_close(unit(streams, 0), (streams[0] + streams[1]) / 2)


@pytest.mark.parametrize(
    ('num_tasks', 'shared', 'expected'),
    [
        (1, 0.3, [[1.0]]),
        (2, 0.2, [[0.8, 0.2], [0.2, 0.8]]),
        (3, 0.5, [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]),
        (2, 1, [[0.0, 1.0], [1.0, 0.0]]),
    ],
)
def test_a_unit_starts_from_the_share_of_the_others(
    num_tasks: int, shared: float, expected: list[list[float]]
) -> None:
    unit = StitchUnit(num_tasks, shared, channels=None, learnable=False)
    torch.testing.assert_close(unit.weights, torch.tensor(expected))
    by_channel = StitchUnit(num_tasks, shared, channels=5, learnable=False)
    torch.testing.assert_close(by_channel.weights[..., 4], torch.tensor(expected))


def test_a_task_reaches_the_streams_of_the_others_only_where_something_is_shared() -> None:
    sharing = build()
    sharing.forward_task(clips(), 'action').square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in sharing.streams['third'].parameters())


def test_structure_tells_what_each_task_takes() -> None:
    sharing = build(('a', 'b'), shared=0.2, tied=True)
    assert list(sharing.structure()) == ['layer3', 'layer4']
    with torch.no_grad():
        sharing.units['tied'].weights.copy_(torch.tensor([[3.0, -1.0], [0.0, 0.0]]))
    assert sharing.structure()['layer4'] == {'a': [0.75, 0.25], 'b': [0.0, 0.0]}
    channels = build(('a', 'b'), shared=0.2, per_channel=True).structure()['layer4']
    assert channels['a'] == pytest.approx([0.8, 0.2])


def test_the_units_have_a_learning_rate_of_their_own() -> None:
    sharing = build(rate_multiplier=100)
    multipliers = sharing.rate_multipliers()
    assert [factor for _, factor in multipliers] == [100.0, 100.0]
    assert {id(p) for p, _ in multipliers} == {id(p) for p in sharing.units.parameters()}
    fixed = build(learnable=False)
    assert fixed.rate_multipliers() == []
    assert 'units.layer3.weights' in fixed.state_dict()


def test_units_follow_the_precision_of_the_streams() -> None:
    unit = StitchUnit(2, 0.2, channels=3, learnable=True)
    streams = [torch.ones(1, 3, 1, 2, 2, dtype=torch.bfloat16) for _ in range(2)]
    assert unit(streams, 0).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'shared': 1.2}, r'shared must be from 0 to 1, got 1\.2'),
        ({'shared': 'half'}, r"shared must be from 0 to 1, got 'half'"),
        ({'rate_multiplier': 0}, 'rate_multiplier must be positive and finite, got 0'),
        ({'tied': True, 'per_channel': True}, 'tied must be false with per_channel'),
        ({'stitch_after': []}, r'at least one; got \[\]'),
        ({'stitch_after': ['layer5']}, r"stitch_after must name .* got \['layer5'\]"),
        ({'stitch_after': 'layer4'}, 'stitch_after must name distinct stages'),
        ({'stitch_after': ['layer3'], 'private_stages': ['layer4']}, 'the private ones'),
        ({'private_stages': ['layer3']}, 'private_stages must be the last'),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)
