"""Tests of :mod:`mtl_perception.network.sharing.learning_to_branch`."""

from collections import Counter
from typing import Any

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.sharing import build_sharing, LearningToBranch
from mtl_perception.network.sharing.learning_to_branch import gumbel
import pytest
import torch
from torch import nn, Tensor

pytestmark = pytest.mark.usefixtures('float64')

TASKS = ('action', 'gesture', 'third')
STAGES = ('layer2', 'layer3', 'layer4')


def build(**settings: Any) -> LearningToBranch:
    sharing = LearningToBranch(
        lambda: ResNet3d(width=2, norm='group'), TASKS, private_stages=STAGES, **settings
    )
    for logits in [*sharing.parent_logits.values(), *sharing.task_logits.values()]:
        nn.init.normal_(logits)
    return sharing


def set_tree(sharing: LearningToBranch, tree: dict[str, list[int]], tasks: list[int]) -> None:
    """Set the parent of each branch, and of each task, beyond doubt."""
    for stage, parents in tree.items():
        nn.init.zeros_(sharing.parent_logits[stage])
        for child, parent in enumerate(parents):
            sharing.parent_logits[stage].data[child, parent] = 50
    for task, parent in zip(TASKS, tasks):
        nn.init.zeros_(sharing.task_logits[task])
        sharing.task_logits[task].data[0, parent] = 50


def branch(sharing: LearningToBranch, stage: str, index: int, x: Tensor) -> Tensor:
    return sharing.branches[stage][str(index)][stage](x)


def by_hand(sharing: LearningToBranch, clips: Tensor, noise: dict[str, Tensor]) -> dict[str, Any]:
    """Return the features of all tasks for a given noise, one clip and branch at a time."""

    def shares(logits: Tensor, drawn: Tensor) -> Tensor:
        scores = ((logits.exp() / logits.exp().sum()).log() + drawn) / sharing.temperature
        return scores.exp() / scores.exp().sum()

    features: dict[str, list[Tensor]] = {task: [] for task in TASKS}
    for x in clips.split(1):
        for stage in sharing.shared.values():
            x = stage(x)
        outputs = [branch(sharing, STAGES[0], i, x) for i in range(sharing.num_branches)]
        for stage in STAGES[1:]:
            inputs = []
            for logits, drawn in zip(sharing.parent_logits[stage], noise[stage]):
                inputs.append(sum(s * y for s, y in zip(shares(logits, drawn), outputs)))
            outputs = [branch(sharing, stage, i, y) for i, y in enumerate(inputs)]
        for task in TASKS:
            share = shares(sharing.task_logits[task][0], noise[task][0])
            features[task].append(sum(s * y for s, y in zip(share, outputs)).mean((2, 3, 4))[0])
    return {task: torch.stack(values) for task, values in features.items()}


@pytest.mark.parametrize('num_branches', [None, 2])
def test_features_and_gradients_are_those_of_the_formula(num_branches: int | None) -> None:
    sharing = build(num_branches=num_branches, temperature=0.7).train()
    clips = torch.randn(2, 3, 4, 16, 16)
    features = sharing(clips)
    noise = {name: value for (_, name), value in sharing._noise.items()}
    expected = by_hand(sharing, clips, noise)
    torch.testing.assert_close(features, expected)
    parameters = list(sharing.parameters())
    actual = torch.autograd.grad(sum(v.square().sum() for v in features.values()), parameters)
    wanted = torch.autograd.grad(sum(v.square().sum() for v in expected.values()), parameters)
    for one, other in zip(actual, wanted):
        torch.testing.assert_close(one, other)


def test_cold_samples_follow_the_probabilities() -> None:
    logits = torch.tensor([0.2, 0.5, 0.3]).log()
    noise = gumbel((20000, 3))
    counts = Counter((logits + noise).argmax(1).tolist())
    for i, probability in enumerate(logits.exp().tolist()):
        assert counts[i] / 20000 == pytest.approx(probability, abs=0.02)


def test_samples_come_from_the_default_generator_once_per_pass() -> None:
    sharing = build().train()
    clips = torch.randn(1, 3, 4, 16, 16)
    state = torch.get_rng_state()
    first, second = sharing(clips)['action'], sharing(clips)['action']
    assert not torch.allclose(first, second)
    torch.set_rng_state(state)
    torch.testing.assert_close(sharing(clips)['action'], first)


def test_the_temperature_falls_geometrically() -> None:
    sharing = build(temperature=8, final_temperature=0.5)
    temperatures = []
    for progress in (0, 0.25, 0.5, 1):
        sharing.set_progress(progress)
        temperatures.append(sharing.temperature)
    assert temperatures == pytest.approx([8, 4, 2, 0.5])


def test_a_sure_tree_is_the_same_in_training_and_evaluation() -> None:
    sharing = build(temperature=0.1).train()
    set_tree(sharing, {'layer3': [2, 0, 1], 'layer4': [1, 1, 0]}, [0, 1, 2])
    clips = torch.randn(2, 3, 4, 16, 16)
    torch.testing.assert_close(sharing(clips), sharing.eval()(clips))


def test_the_most_probable_tree_is_followed_from_the_tasks_to_the_root() -> None:
    sharing = build().eval()
    set_tree(sharing, {'layer3': [2, 0, 1], 'layer4': [1, 1, 0]}, [0, 1, 2])
    assert sharing.paths() == {'action': (0, 1, 0), 'gesture': (0, 1, 1), 'third': (2, 0, 2)}
    x = clips = torch.randn(2, 3, 4, 16, 16)
    for stage in sharing.shared.values():
        x = stage(x)
    for stage, index in zip(STAGES, (2, 0, 2)):
        x = branch(sharing, stage, index, x)
    torch.testing.assert_close(sharing(clips)['third'], x.mean((2, 3, 4)))


def test_only_the_branches_of_the_tree_run_and_are_deployed() -> None:
    sharing = build().eval()
    set_tree(sharing, {'layer3': [2, 0, 1], 'layer4': [1, 1, 0]}, [0, 1, 2])
    deployed = sharing.deploy()
    assert {stage: list(group) for stage, group in deployed.branches.items()} == {
        'layer2': ['0', '2'],
        'layer3': ['0', '1'],
        'layer4': ['0', '1', '2'],
    }
    runs: list[str] = []
    for stage, group in deployed.branches.items():
        for index, module in group.items():
            name = f'{stage}.{index}'
            module.register_forward_hook(lambda *_, name=name: runs.append(name))
    clips = torch.randn(2, 3, 4, 16, 16)
    torch.testing.assert_close(deployed(clips), sharing(clips))
    assert len(runs) == len(set(runs)) == 7
    assert not any('logits' in name for name, _ in deployed.named_parameters())
    assert {path for path, _ in deployed.copies()} == {path for path, _ in sharing.copies()}
    assert deployed.structure() == {}


def test_one_branch_is_hard_sharing() -> None:
    sharing, clips = build(num_branches=1).train(), torch.randn(2, 3, 4, 16, 16)
    hard = build_sharing('hard', lambda: ResNet3d(width=2, norm='group'), TASKS)
    for path, stage in hard.copies():
        stage.load_state_dict(dict(sharing.copies())[path].state_dict())
    torch.testing.assert_close(sharing(clips), hard(clips))


def test_the_structure_is_the_probability_of_each_branch_on_the_way_to_a_task() -> None:
    sharing = build(num_branches=2)
    structure = sharing.structure()
    assert list(structure) == list(STAGES)
    p4 = sharing.task_logits['action'].data[0].softmax(0)
    p3, p2 = (sharing.parent_logits[stage].data.softmax(1) for stage in ('layer4', 'layer3'))
    for i in range(2):
        paths = [p4[k] * p3[k, j] * p2[j, i] for k in range(2) for j in range(2)]
        assert structure['layer2']['action'][i] == pytest.approx(float(sum(paths)))
        assert structure['layer4']['action'][i] == pytest.approx(float(p4[i]))
    for tasks in structure.values():
        for shares in tasks.values():
            assert sum(shares) == pytest.approx(1)


def test_weight_decay_spares_the_logits() -> None:
    sharing = build()
    spared = {id(p) for p, _ in sharing.rate_multipliers()}
    assert spared == {id(p) for name, p in sharing.named_parameters() if 'logits' in name}


def test_a_task_may_be_called_like_a_stage() -> None:
    sharing = LearningToBranch(lambda: ResNet3d(width=2, norm='group'), ['layer4', 'stem']).train()
    assert list(sharing(torch.randn(1, 3, 4, 16, 16))) == ['layer4', 'stem']


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'num_branches': 0}, 'num_branches must be an integer of at least 1, got 0'),
        ({'temperature': 0}, 'temperature must be positive and finite, got 0'),
        ({'final_temperature': -1}, 'final_temperature must be positive and finite, got -1'),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)
