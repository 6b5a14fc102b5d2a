"""Tests of learned weight sharing: its evolution, its prefix trees and what it deploys."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.backbones.contract import StagedBackbone
from mtl_perception.network.sharing import learned_weight_sharing, LearnedWeightSharing
from mtl_perception.network.sharing.assignment import AssignmentDistribution, utilities
import pytest
from scipy.stats import rankdata
import torch
from torch import nn, Tensor

TASKS = ('action', 'gesture', 'third')
EARLY = ('stem', 'layer1', 'layer2')
Randomise = Callable[[nn.Module], nn.Module]


def build(
    tasks: tuple[str, ...] = TASKS, norm: str = 'group', **settings: Any
) -> LearnedWeightSharing:
    return LearnedWeightSharing(lambda: ResNet3d(width=2, norm=norm), tasks, **settings)


def clips(batch: int = 2, frames: int = 4) -> Tensor:
    return torch.randn(batch, 3, frames, 16, 16)


def own_batches() -> dict[str, Tensor]:
    return {'third': clips(1), 'action': clips(3), 'gesture': clips(2, frames=6)}


def prefer(sharing: LearnedWeightSharing, assignment: list[list[int]]) -> None:
    """Make a copy of each layer the most probable one of each task."""
    rows = nn.functional.one_hot(
        torch.tensor(assignment), sharing.assignment.probabilities.size(2)
    )
    sharing.assignment.probabilities.copy_(0.1 * sharing.assignment.probabilities + 0.9 * rows)


def naive_loop(
    sharing: LearnedWeightSharing, assignments: Tensor, batch: Tensor, task: str
) -> Tensor:
    """Return a task's features by running each assignment from the clips on, ``[S * B, D]``."""
    rows = []
    for assignment in assignments[:, :, sharing.tasks.index(task)].tolist():
        x = batch
        for stage in sharing.early.values():
            x = stage(x)
        for copies, number in zip(sharing.layers, assignment):
            x = copies[number](x)
        rows.append(ResNet3d.pool(x))
    return torch.cat(rows)


def drawn(sharing: LearnedWeightSharing, seed: int, number: int = 8) -> Tensor:
    torch.manual_seed(seed)
    return sharing.assignment.sample(number)


# -- The evolution -----------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(5))
def test_utilities_are_mean_ranks_from_worst_to_best(seed: int) -> None:
    torch.manual_seed(seed)
    losses = torch.randint(5, (8,)).float()
    ranks = torch.from_numpy(rankdata(-losses.numpy()))
    torch.testing.assert_close(utilities(losses).double(), 2 * (ranks - 1) / 7 - 1)


def test_the_lowest_loss_has_the_highest_utility_and_ties_have_none() -> None:
    torch.testing.assert_close(
        utilities(torch.tensor([3.0, 1.0, 2.0])).float(), torch.tensor([-1.0, 1.0, 0.0])
    )
    assert not utilities(torch.full((8,), 0.7)).any()


def test_losses_that_are_not_finite_are_the_worst() -> None:
    losses = torch.tensor([torch.nan, 5.0, torch.inf, 1.0, -torch.inf])
    expected = torch.tensor([-0.5, 0.5, -0.5, 1.0, -0.5])
    torch.testing.assert_close(utilities(losses).float(), expected)
    assert not utilities(torch.tensor([torch.nan, torch.inf])).any()


def test_a_step_follows_the_natural_gradient_of_the_score() -> None:
    # By definition it is the plain gradient, multiplied by the inverse Fisher information.
    distribution = AssignmentDistribution(2, 3, 4)
    torch.manual_seed(3)
    distribution.probabilities.copy_(torch.rand(2, 3, 4).softmax(-1))
    before = distribution.probabilities.double()
    assignments, utility = distribution.sample(6), torch.randn(6)
    expected = before.clone()
    for assignment, u in zip(assignments, utility):
        for layer in range(2):
            for task in range(3):
                p = before[layer, task]
                # Fisher in the coordinates of the first three copies, and the score in them.
                fisher = torch.diag(1 / p[:3]) + 1 / p[3]
                free = p[:3].clone().requires_grad_()
                full = torch.cat([free, 1 - free.sum(0, keepdim=True)])
                full[assignment[layer, task]].log().backward()
                step = torch.linalg.solve(fisher, free.grad)
                step = torch.cat([step, -step.sum(0, keepdim=True)])
                expected[layer, task] += 0.01 * u * step / 6
    distribution.improve(assignments, dict.fromkeys(range(3), utility), 0.01)
    torch.testing.assert_close(distribution.probabilities.double(), expected)


def test_only_the_rows_of_the_tasks_given_move() -> None:
    distribution = AssignmentDistribution(2, 3, 2)
    before = distribution.probabilities.clone()
    distribution.improve(drawn_from(distribution), {1: torch.linspace(-1, 1, 8)}, 0.1)
    after = distribution.probabilities
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
    assert not torch.equal(after[:, 1], before[:, 1])


def drawn_from(distribution: AssignmentDistribution) -> Tensor:
    torch.manual_seed(1)
    return distribution.sample(8)


def test_every_copy_keeps_its_least_probability() -> None:
    distribution = AssignmentDistribution(1, 1, 4, min_probability=0.05)
    for _ in range(200):
        assignments = distribution.sample(8)
        best = (assignments[:, 0, 0] == 2).double()
        distribution.improve(assignments, {0: utilities(-best)}, 0.5)
        row = distribution.probabilities[0, 0]
        assert float(row.min()) >= 0.05 - 1e-6
        assert float(row.sum()) == pytest.approx(1)
    torch.testing.assert_close(row, torch.tensor([0.05, 0.05, 0.85, 0.05]))


def test_samples_have_the_frequencies_of_the_probabilities() -> None:
    distribution = AssignmentDistribution(1, 2, 2)
    distribution.probabilities.copy_(torch.tensor([[[0.9, 0.1], [0.3, 0.7]]]))
    frequencies = distribution.sample(20_000).float().mean(0)
    torch.testing.assert_close(frequencies, torch.tensor([[0.1, 0.7]]), atol=0.02, rtol=0)


class CostTable(StagedBackbone):
    """A backbone without weights: each layer adds a fixed random cost per task."""

    feature_dim = 2

    def __init__(self) -> None:
        super().__init__()
        for name, _ in self.stages():
            setattr(self, name, Cost())

    def stages(self) -> list[tuple[str, nn.Module]]:
        return [(f'layer{i}', getattr(self, f'layer{i}', None)) for i in range(3)]

    blocks = stages

    @staticmethod
    def pool(x: Tensor) -> Tensor:
        return x


class Cost(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('of_tasks', torch.rand(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.of_tasks


def cheapest_share(seed: int, **settings: Any) -> float:
    """Return how often the copy that the search prefers is the cheapest one."""
    torch.manual_seed(seed)
    sharing = LearnedWeightSharing(
        CostTable, ('a', 'b'), private_stages=None, search_rate=0.1, **settings
    )
    batches = dict.fromkeys(('a', 'b'), torch.zeros(1, 2))
    for _ in range(400):
        sharing.search(batches, lambda costs: {'a': costs['a'][:, 0], 'b': costs['b'][:, 1]})
    table = torch.stack(
        [torch.stack([copy.of_tasks for copy in copies], 1) for copies in sharing.layers]
    )
    preferred = sharing.assignment.most_probable()
    return float((preferred == table.argmin(-1)).double().mean())


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('per_task_ranking', [False, True])
def test_the_search_finds_the_cheapest_copy_of_each_layer_for_each_task(
    seed: int, per_task_ranking: bool
) -> None:
    assert cheapest_share(seed, per_task_ranking=per_task_ranking) == 1


@pytest.mark.parametrize('seed', range(2))
def test_the_search_would_find_the_dearest_with_the_wrong_sign(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned_weight_sharing, 'utilities', lambda losses: -utilities(losses))
    assert cheapest_share(seed) == 0


class Bottleneck(StagedBackbone):
    """All that a task can know of its input passes through one number."""

    feature_dim = 1

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(8, 1), nn.Tanh())

    def stages(self) -> list[tuple[str, nn.Module]]:
        return [('layer', self.layer)]

    blocks = stages

    @staticmethod
    def pool(x: Tensor) -> Tensor:
        return x


def train_bottlenecks(seed: int, *, identical: bool) -> tuple[bool, float]:
    """Train two tasks through a choice of two bottlenecks; return if they share, and the loss."""
    torch.manual_seed(seed)
    directions = 2 * torch.linalg.qr(torch.randn(8, 2))[0].T
    wanted = dict(zip('ab', directions[[0, 0]] if identical else directions))
    sharing = LearnedWeightSharing(Bottleneck, 'ab', private_stages=None, search_rate=0.05)
    heads = nn.ModuleDict({task: nn.Linear(1, 1) for task in 'ab'})
    optimiser = torch.optim.Adam([*sharing.parameters(), *heads.parameters()], lr=0.03)

    def losses(batches: dict[str, Tensor], features: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for task, x in features.items():
            error = heads[task](x).view(-1, 32) - (batches[task] @ wanted[task]).tanh()
            found[task] = error.square().mean(1)
        return found

    for _ in range(800):
        batches = {task: torch.randn(32, 8) for task in 'ab'}
        sharing.search(batches, partial(losses, batches))
        batches = {task: torch.randn(32, 8) for task in 'ab'}
        optimiser.zero_grad()
        torch.cat(list(losses(batches, sharing.forward_tasks(batches)).values())).mean().backward()
        optimiser.step()
    sharing.eval()
    with torch.no_grad():
        final = losses(batches, sharing.forward_tasks(batches))
    first, second = sharing.assignment.most_probable()[0].tolist()
    return first == second, float(torch.cat(list(final.values())).mean())


@pytest.mark.parametrize('seed', range(3))
def test_orthogonal_tasks_get_bottlenecks_of_their_own(seed: int) -> None:
    shares, loss = train_bottlenecks(seed, identical=False)
    assert not shares
    assert loss < 0.02


def test_identical_tasks_mostly_share_a_bottleneck() -> None:
    # Two bottlenecks would do as well: sharing wins because it learns faster, but not always.
    runs = [train_bottlenecks(seed, identical=True) for seed in range(4)]
    assert sum(shares for shares, _ in runs) >= 3
    assert all(loss < 0.02 for _, loss in runs)


# -- The prefix trees --------------------------------------------------------------------------


@pytest.mark.parametrize('merge', [True, False])
@pytest.mark.parametrize('private', [None, ('layer3', 'layer4'), ('layer4',)])
def test_features_and_gradients_in_training_are_those_of_the_naive_loop(
    private: tuple[str, ...] | None, merge: bool
) -> None:
    sharing = build(private_stages=private, num_copies=2).double().train()
    batches = {task: batch.double() for task, batch in own_batches().items()}
    torch.manual_seed(5)
    features = sharing.forward_tasks(batches, merge=merge)
    assignments = drawn(sharing, 5)
    expected = {
        task: naive_loop(sharing, assignments, batch, task) for task, batch in batches.items()
    }
    torch.testing.assert_close(features, expected)
    parameters = list(sharing.parameters())
    found = torch.autograd.grad(loss_of(features), parameters, allow_unused=True)
    wanted = torch.autograd.grad(loss_of(expected), parameters, allow_unused=True)
    for a, b in zip(found, wanted):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


def loss_of(features: dict[str, Tensor]) -> Tensor:
    """Return a loss that weighs all rows and tasks differently."""
    return torch.stack(
        [
            (x * torch.linspace(1 + i, -1, x.numel()).to(x).view_as(x)).square().sum()
            for i, x in enumerate(features.values())
        ]
    ).sum()


@pytest.mark.parametrize('merge', [True, False])
def test_live_batch_norms_see_one_path_of_one_task_at_a_time(
    merge: bool, randomise: Randomise
) -> None:
    sharing = build(norm='batch', num_copies=2)
    randomise(sharing).train()
    for stage in sharing.early.values():
        stage.eval()
    # A norm needs more than one value per channel.
    batches = {'third': clips(2), 'action': clips(3), 'gesture': clips(2, frames=6)}
    torch.manual_seed(5)
    features = sharing.forward_tasks(batches, merge=merge)
    assignments = drawn(sharing, 5)
    for task, batch in batches.items():
        torch.testing.assert_close(features[task], naive_loop(sharing, assignments, batch, task))


def test_live_batch_norms_count_each_computation_once() -> None:
    sharing = build(('a',), norm='batch', num_copies=2, population_train=3).train()
    prefer(sharing, [[1], [1], [1], [1]])
    sharing.assignment.sample = lambda number: torch.ones(number, 4, 1, dtype=torch.long)
    sharing.forward_task(clips(), 'a')
    assert sharing.early['stem'][1].num_batches_tracked == 1
    assert sharing.layers[3][1].conv1[1].num_batches_tracked == 1
    assert sharing.layers[3][0].conv1[1].num_batches_tracked == 0


def test_what_paths_have_in_common_runs_once_and_what_enters_a_copy_as_one() -> None:
    sharing = build(('a', 'b'), population_train=2).train()
    assignments = torch.tensor(
        [[[0, 0], [0, 1], [0, 0], [1, 0]], [[0, 0], [1, 1], [1, 0], [1, 1]]]
    )
    sharing.assignment.sample = lambda number: assignments
    passes: dict[tuple[int, int], list[int]] = {}
    for layer, copies in enumerate(sharing.layers):
        for number, block in enumerate(copies):
            seen = passes.setdefault((layer, number), [])
            block.register_forward_hook(
                lambda _m, args, _out, seen=seen: seen.append(len(args[0]))
            )
    sharing.forward_tasks({'a': clips(3), 'b': clips(1)})
    assert passes == {
        (0, 0): [4],
        (0, 1): [],
        (1, 0): [3],
        (1, 1): [4],
        (2, 0): [4],
        (2, 1): [3],
        (3, 0): [1],
        (3, 1): [7],
    }


def test_the_draws_do_not_depend_on_the_tasks_that_are_present() -> None:
    sharing, batch = build().train(), clips()
    states = []
    for present, merge in ((TASKS, True), (TASKS, False), (('gesture',), True), ((), True)):
        torch.manual_seed(2)
        features = sharing.forward_tasks(dict.fromkeys(present, batch), merge=merge)
        states.append((features.get('gesture'), torch.get_rng_state()))
    for features, state in states:
        assert torch.equal(state, states[0][1])
        if features is not None:
            torch.testing.assert_close(features, states[0][0])
    torch.manual_seed(2)
    torch.testing.assert_close(sharing.forward_task(batch, 'gesture'), states[0][0])


# -- The search --------------------------------------------------------------------------------


def test_a_search_keeps_weights_statistics_and_modes(randomise: Randomise) -> None:
    sharing = build(norm='batch')
    randomise(sharing).train()
    sharing.layers[1].eval()
    modes = [module.training for module in sharing.modules()]
    state = {name: value.clone() for name, value in sharing.state_dict().items()}

    def losses(features: dict[str, Tensor]) -> dict[str, Tensor]:
        assert not any(module.training for module in sharing.modules())
        assert not any(x.requires_grad for x in features.values())
        return {task: x.view(8, -1).sum(1) for task, x in features.items()}

    sharing.search(own_batches(), losses)
    assert [module.training for module in sharing.modules()] == modes
    changed = [name for name, x in sharing.state_dict().items() if not torch.equal(x, state[name])]
    assert changed == ['assignment.probabilities']


def test_a_search_that_fails_restores_the_modes() -> None:
    sharing = build().train()
    with pytest.raises(ZeroDivisionError):
        sharing.search({'action': clips()}, lambda _: {'action': torch.ones(8) / (1 // 0)})
    assert all(module.training for module in sharing.modules())
    assert len(sharing.forward_task(clips(1), 'action')) == 8


def test_a_search_judges_the_features_of_its_own_draws(randomise: Randomise) -> None:
    sharing = build(norm='batch', population_search=5, population_train=2)
    randomise(sharing).train()
    batches, seen = own_batches(), {}

    def losses(features: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.update(features)
        return {task: torch.zeros(5) for task in features}

    torch.manual_seed(4)
    sharing.search(batches, losses)
    assignments = drawn(sharing, 4, 5)
    sharing.eval()
    for task, batch in batches.items():
        expected = naive_loop(sharing, assignments, batch, task)
        torch.testing.assert_close(seen[task], expected)
    assert torch.equal(sharing.assignment.probabilities, torch.full((4, 3, 3), 1 / 3))


@pytest.mark.parametrize('per_task', [False, True])
def test_the_tasks_are_ranked_by_their_sum_or_each_by_itself(per_task: bool) -> None:
    sharing = build(('a', 'b', 'c'), population_search=3, per_task_ranking=per_task)
    losses = {'a': torch.tensor([1.0, 2.0, 3.0]), 'b': torch.tensor([9.0, 5.0, 0.0])}
    before = sharing.assignment.probabilities.clone()
    expected = AssignmentDistribution(4, 3, 3)
    joint = utilities(losses['a'] + losses['b'])
    ranks = [utilities(losses[task]) if per_task else joint for task in 'ab']
    expected.improve(drawn(sharing, 9, 3), dict(enumerate(ranks)), 0.01)
    batches = {'a': clips(), 'b': clips()}
    torch.manual_seed(9)
    sharing.search(batches, lambda _: losses)
    torch.testing.assert_close(sharing.assignment.probabilities, expected.probabilities)
    assert torch.equal(sharing.assignment.probabilities[:, 2], before[:, 2])


def test_losses_that_are_all_infinite_teach_nothing() -> None:
    sharing = build(('a',), num_copies=2)
    before = sharing.assignment.probabilities.clone()
    sharing.search({'a': clips()}, lambda _: {'a': torch.full((8,), torch.nan)})
    sharing.search({}, lambda features: dict(features))
    assert torch.equal(sharing.assignment.probabilities, before)


# -- Evaluation, deployment and state ----------------------------------------------------------


ASSIGNMENT = [[0, 0, 2], [1, 1, 2], [1, 0, 0], [0, 0, 0]]


def test_in_evaluation_each_task_takes_its_most_probable_path() -> None:
    sharing, batch = build().eval(), clips()
    prefer(sharing, ASSIGNMENT)
    features = sharing(batch)
    for task in TASKS:
        expected = naive_loop(sharing, torch.tensor([ASSIGNMENT]), batch, task)
        torch.testing.assert_close(features[task], expected)


def test_a_deployed_copy_holds_only_what_tasks_use_and_runs_beginnings_once() -> None:
    sharing, batch = build().eval(), clips()
    prefer(sharing, ASSIGNMENT)
    deployed = sharing.deploy()
    assert [len(copies) for copies in deployed.layers] == [2, 2, 2, 1]
    runs = []
    for copies in deployed.layers:
        for block in copies:
            block.register_forward_hook(lambda _m, args, _out: runs.append(len(args[0])))
    torch.testing.assert_close(deployed(batch), sharing(batch))
    # The first two tasks part at the third layer; the third joins their copies of it and the next.
    assert runs == [2, 2, 2, 2, 2, 4, 6]
    names = [name for name, _ in deployed.copies()]
    assert names == [*EARLY, *['layer3.0'] * 2, *['layer3.1'] * 2, *['layer4.0'] * 2, 'layer4.1']


def test_the_copies_cover_every_block() -> None:
    names = [name for name, _ in build(num_copies=2).copies()]
    routed = ['layer3.0', 'layer3.1', 'layer4.0', 'layer4.1']
    assert names == [*EARLY, *[name for name in routed for _ in range(2)]]


def test_structure_and_entropy_tell_how_far_the_tasks_have_decided() -> None:
    sharing = build(('a', 'b'))
    assert sharing.structure()['layer3.1'] == {'a': [0.5, 0.5], 'b': [0.5, 0.5]}
    assert list(sharing.structure()) == ['layer3.0', 'layer3.1', 'layer4.0', 'layer4.1']
    assert sharing.mean_entropy() == pytest.approx(torch.log(torch.tensor(2.0)).item())
    sharing.assignment.probabilities[:] = torch.tensor([1.0, 0.0])
    assert sharing.mean_entropy() == 0


def test_a_resumed_search_goes_on_as_if_nothing_had_happened() -> None:
    batches = own_batches()

    def losses(features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {task: x.view(8, -1).square().mean(1) for task, x in features.items()}

    first, second = build(), build()
    first.search(batches, losses)
    second.load_state_dict(first.state_dict())
    for sharing in (first, second):
        torch.manual_seed(3)
        sharing.search(batches, losses)
    assert torch.equal(first.assignment.probabilities, second.assignment.probabilities)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_the_probabilities_keep_their_precision(dtype: torch.dtype) -> None:
    sharing = build().to(dtype)
    assert sharing.assignment.probabilities.dtype == torch.float32
    assert next(sharing.parameters()).dtype == dtype


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'num_copies': 0}, 'num_copies must be an integer of at least 1, got 0'),
        ({'population_search': 1}, 'population_search must be an integer of at least 2, got 1'),
        ({'population_train': 0.5}, r'population_train must be .* at least 1, got 0\.5'),
        ({'search_rate': 0}, 'search_rate must be positive and finite, got 0'),
        ({'min_probability': 0.4}, r'less than 1 / num_copies = 0\.333, got 0\.4'),
        ({'private_stages': ['layer3']}, 'private_stages must be the last'),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)
