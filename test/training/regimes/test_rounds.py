"""Rounds: which data set has its turn, for how long, and what others remember meanwhile."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from mtl_perception.network import NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.config import PreprocessingConfig
from mtl_training.criteria.caption import CaptionCriterion
from mtl_training.criteria.classification import ClassificationCriterion
from mtl_training.data.sample import ClipBatch
from mtl_training.regimes import build_regime
from mtl_training.regimes.memory import Memory
from mtl_training.regimes.rounds import RememberingRegime
import pytest
import torch
from torch import nn, Tensor
from torch.nn.functional import normalize

# -- Two disjoint data sets of one toy world: one factor of x is a class, the other a sentence --

TASKS = ('action', 'caption')
SQUARE = PreprocessingConfig(resize=(64, 64))
NUM_CLASSES, NUM_SENTENCES, SIZE, SENTENCE_DIM = 6, 6, 16, 8


class ToyNetwork(nn.Module):
    """A trunk with a bottleneck and two heads, as the real network says what they are."""

    def __init__(self, tasks: Sequence[str] = TASKS, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            tasks={
                t: SimpleNamespace(kind='caption' if t == 'caption' else 'classification')
                for t in tasks
            }
        )
        self.trunk = nn.Sequential(
            nn.Linear(SIZE, 48), nn.ReLU(), nn.Dropout(dropout), nn.Linear(48, 10), nn.ReLU()
        )
        sizes = {t: SENTENCE_DIM if t == 'caption' else NUM_CLASSES for t in tasks}
        self.heads = nn.ModuleDict({t: nn.Linear(10, size) for t, size in sizes.items()})

    def forward(self, x: Tensor, task: str) -> Tensor:
        outputs = self.heads[task](self.trunk(x))
        return normalize(outputs, dim=1) if task == 'caption' else outputs


class ToyPasses:
    """The passes of a step over a toy network; what would be frames is x."""

    def __init__(self, network: ToyNetwork) -> None:
        self.network = network

    def __call__(self, batches: Mapping[str, Any]) -> dict[str, Any]:
        return {task: self.network(batch.frames, task) for task, batch in batches.items()}

    def of_heads(
        self, task: str, batch: Any, heads: Sequence[str], network: Any = None
    ) -> dict[str, Tensor]:
        return {head: (network or self.network)(batch.frames, head) for head in heads}


class ToyWorld:
    """The data sets, their targets and a recorder for the regimes."""

    def __init__(
        self, seed: int, *, tasks: Sequence[str] = TASKS, count: int = 384, varies: bool = False
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        draw = torch.Generator().manual_seed(1000 + seed)
        mixing = torch.randn(2, 6, SIZE, generator=generator)
        self.targets = normalize(
            torch.randn(NUM_SENTENCES, SENTENCE_DIM, generator=generator), dim=1
        )

        def samples(task: str, number: int) -> ClipBatch:
            factors = torch.randint(6, (2, number), generator=draw)
            x = mixing[0][factors[0]] + mixing[1][factors[1]]
            x = x + 0.9 * torch.randn(number, SIZE, generator=draw)
            return ClipBatch(x, factors[1 if task == 'caption' else 0], torch.arange(number))

        self.train = {task: samples(task, count) for task in tasks}
        self.val = {task: samples(task, 600) for task in tasks}
        self.tasks, self._varies = tuple(tasks), varies
        self.recordings = 0

    def criteria(self) -> dict[str, Any]:
        criteria: dict[str, Any] = {}
        for task in self.tasks:
            criteria[task] = CaptionCriterion() if task == 'caption' else ClassificationCriterion()
        if 'caption' in criteria:
            criteria['caption'].learn_targets(self.targets)
        return criteria

    def recorder(self, network: ToyNetwork) -> Any:
        def outputs(task: str, heads: Sequence[str]) -> dict[str, Tensor]:
            self.recordings += 1
            mode = network.training
            network.eval()
            with torch.no_grad():
                said = {head: network(self.train[task].frames, head) for head in heads}
            network.train(mode)
            return {h: v if h == 'caption' else v.softmax(1) for h, v in said.items()}

        return SimpleNamespace(network=network, outputs=outputs, varies=lambda task: self._varies)

    def accuracy(self, network: ToyNetwork, task: str) -> float:
        """Return the accuracy, or how often the true sentence is the nearest one."""
        network.eval()
        with torch.no_grad():
            outputs = network(self.val[task].frames, task)
        network.train()
        scores = outputs @ self.targets.t() if task == 'caption' else outputs
        return float((scores.argmax(1) == self.val[task].labels).float().mean())


def batch_of(data: ClipBatch, rows: Tensor) -> ClipBatch:
    return ClipBatch(data.frames[rows], data.labels[rows], data.indices[rows])


def train_rounds(
    name: str,
    seed: int,
    *,
    rounds: int = 16,
    batch_size: int = 32,
    epochs: int = 4,
    **settings: Any,
) -> tuple[list[dict[str, float]], list[str]]:
    """
    Train a regime of rounds on a toy world.

    :return: The metric of every task after each round, and which task each round trained.
    """
    torch.manual_seed(seed)
    world, network = ToyWorld(seed), ToyNetwork()
    regime = build_regime(name, TASKS, world.criteria(), epochs_per_round=epochs, **settings)
    regime.prepare(
        {t: len(d.labels) for t, d in world.train.items()}, dict.fromkeys(TASKS, batch_size)
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    passes, recorder = ToyPasses(network), world.recorder(network)
    curve: list[dict[str, float]] = []
    trained: list[str] = []
    iteration = 0
    order: dict[str, Tensor] = {}
    while len(curve) < rounds:
        this = regime.round_at(iteration)
        assert this is not None
        (task,) = regime.tasks_at(iteration)
        regime.begin(iteration, recorder)
        place = (iteration - this.first) * batch_size % len(world.train[task].labels)
        if place == 0:
            order[task] = torch.randperm(len(world.train[task].labels))
        batch = batch_of(world.train[task], order[task][place : place + batch_size])
        losses, _ = regime.losses(passes, {task: batch})
        optimiser.zero_grad()
        losses[task].values.mean().backward()
        optimiser.step()
        iteration += 1
        if iteration == this.end:
            curve.append({t: world.accuracy(network, t) for t in TASKS})
            trained.append(task)
    return curve, trained


def forgetting(curve: list[dict[str, float]], trained: list[str], task: str) -> float:
    """Return F of SPECS 1.5: the mean loss of the rounds that do not train the task."""
    drops = [
        curve[r - 1][task] - curve[r][task] for r in range(1, len(curve)) if trained[r] != task
    ]
    return sum(drops) / len(drops)


def prepared(name: str, world: ToyWorld, batch_size: int = 32, **settings: Any) -> Any:
    regime = build_regime(name, world.tasks, world.criteria(), **settings)
    lengths = {task: len(data.labels) for task, data in world.train.items()}
    regime.prepare(lengths, dict.fromkeys(world.tasks, batch_size))
    return regime


def tasks_of(regime: Any, iterations: int) -> str:
    return ''.join(regime.tasks_at(i)[0][0] for i in range(iterations))


def memory_gradient(regime: Any, network: ToyNetwork, world: ToyWorld, task: str) -> float:
    batch = batch_of(world.train[task], torch.arange(16))
    _, memory, _ = regime.parts(ToyPasses(network), task, batch)
    network.zero_grad()
    memory.mean().backward()
    gradients = [p.grad.norm() for p in network.parameters() if p.grad is not None]
    return float(torch.stack(gradients).norm())


def step(regime: Any, network: ToyNetwork, world: ToyWorld, iteration: int) -> None:
    """Take a large step on the data of a round, as training does."""
    (task,) = regime.tasks_at(iteration)
    regime.begin(iteration, world.recorder(network))
    losses, _ = regime.losses(
        ToyPasses(network), {task: batch_of(world.train[task], torch.arange(32))}
    )
    network.zero_grad()
    losses[task].values.mean().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.5 * parameter.grad)


# -- Turns --------------------------------------------------------------------------------------


def test_captions_begin_and_every_round_is_an_epoch() -> None:
    regime = prepared('alternating', ToyWorld(0, count=100))  # 4 batches of 32
    assert tasks_of(regime, 18) == 'ccccaaaaccccaaaacc'
    assert [regime.round_at(i).number for i in (0, 3, 4, 8, 16)] == [0, 0, 1, 2, 4]
    assert (regime.round_at(9).first, regime.round_at(9).end) == (8, 12)


def test_order_and_lengths_are_as_the_settings_say() -> None:
    settings: dict[str, Any] = {'order': ['action', 'caption'], 'round_iterations': {'caption': 1}}
    regime = prepared('alternating', ToyWorld(0, count=64), epochs_per_round=2, **settings)
    assert tasks_of(regime, 11) == 'aaaacaaaaca'


def test_fine_tuning_gives_each_task_one_round_with_a_schedule_of_its_own() -> None:
    regime = prepared('finetune', ToyWorld(0), round_iterations={'caption': 3})
    stages = regime.stages(8)
    assert [(stage.first, stage.iterations) for stage in stages] == [(0, 3), (3, 5)]
    assert tasks_of(regime, 9) == 'cccaaaaaa'
    assert [(s.first, s.iterations) for s in prepared('lwf', ToyWorld(0)).stages(7)] == [
        (0, 4),
        (4, 3),
    ]


@pytest.mark.parametrize(
    ('name', 'settings', 'message'),
    [
        ('alternating', {'order': ['action']}, 'order must name each task once'),
        ('lwf', {'order': ['action', 'captoin']}, "no task 'captoin'. Did you mean 'caption'"),
        ('alternating', {'epochs_per_round': 0}, 'epochs_per_round must be at least 1, got 0'),
        (
            'alternating',
            {'round_iterations': {'gesture': 3}},
            "round_iterations: no task 'gesture'",
        ),
        ('alternating', {'round_iterations': {'action': 0}}, r'round_iterations\.action must be'),
        ('alternating', {'lambda_A': 1.5}, r'lambda_A must lie in \[0, 1\], got 1\.5'),
        ('distilling', {'own_weight': {'action': -1.0}}, r'own_weight\.action must lie in'),
        ('distilling', {'temperature': 0.0}, 'temperature must be positive'),
        ('distilling', {'distance': 'cosine'}, 'distance must be one of'),
        ('distilling', {'memory': 'live'}, 'memory must be one of'),
        ('distilling', {'temprature': 2.0}, "no setting 'temprature'. Did you mean 'temperature'"),
    ],
)
def test_settings_that_can_not_be_are_named(name: str, settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_regime(name, TASKS, ToyWorld(0).criteria(), **settings)


def test_one_way_rounds_must_fill_the_run() -> None:
    regime = prepared('finetune', ToyWorld(0), round_iterations={'caption': 3, 'action': 4})
    with pytest.raises(ValueError, match='iterations must be those of all rounds, got 8'):
        regime.stages(8)


# -- The loss -----------------------------------------------------------------------------------


def test_naive_alternation_weighs_the_own_losses_as_equation_5() -> None:
    world, network = ToyWorld(0), ToyNetwork()
    regime = prepared('alternating', world, lambda_A=0.4, lambda_S=0.7)
    for task, share in (('action', 0.4), ('caption', 0.3)):
        batch = batch_of(world.train[task], torch.arange(8))
        losses, outputs = regime.losses(ToyPasses(network), {task: batch})
        own = regime.criteria[task](outputs[task], batch).mean(0)
        assert torch.allclose(losses[task].values, share * own)


@pytest.mark.parametrize('task', TASKS)
def test_the_loss_is_the_own_one_and_the_memory_in_their_shares(task: str) -> None:
    torch.manual_seed(0)
    world, network = ToyWorld(0), ToyNetwork()
    regime = prepared('distilling', world, order=[task, *(t for t in TASKS if t != task)])
    step(regime, network, world, 0)
    batch = batch_of(world.train[task], torch.arange(8))
    own, memory, _ = regime.parts(ToyPasses(network), task, batch)
    losses, _ = regime.losses(ToyPasses(network), {task: batch})
    share = 0.5 if task == 'action' else 0.3
    assert torch.allclose(losses[task].values, share * own + (1 - share) * memory)
    assert torch.equal(losses[task].indices, batch.indices)


@pytest.mark.parametrize('memory', ['records', 'snapshot'])
@pytest.mark.parametrize('task', TASKS)
def test_the_memory_pulls_from_the_second_step_of_a_round_on(task: str, memory: str) -> None:
    # With a teacher that is asked at every step, and so is the network itself, it never would.
    torch.manual_seed(0)
    world, network = ToyWorld(0), ToyNetwork()
    order = [task, *(t for t in TASKS if t != task)]
    regime = prepared('distilling', world, order=order, memory=memory)
    regime.begin(0, world.recorder(network))
    assert memory_gradient(regime, network, world, task) < 1e-6
    step(regime, network, world, 0)
    regime.begin(1, world.recorder(network))
    assert memory_gradient(regime, network, world, task) > 1e-3


@pytest.mark.parametrize('memory', ['records', 'snapshot'])
def test_records_are_of_the_rounds_beginning_and_change_with_the_next(memory: str) -> None:
    torch.manual_seed(0)
    world, network = ToyWorld(0, count=96), ToyNetwork()
    regime = prepared('distilling', world, memory=memory)
    seen = []
    for iteration in range(6):  # two rounds of 3
        step(regime, network, world, iteration)
        held = {name: tensor.clone() for name, tensor in regime.memory.named_buffers()}
        assert not any(tensor.requires_grad for tensor in held.values())
        seen.append(held)
    for one, other in ((0, 1), (1, 2), (3, 4), (4, 5)):
        assert seen[one].keys() == seen[other].keys()
        assert all(torch.equal(seen[one][name], seen[other][name]) for name in seen[one])
    assert seen[2]['round'] != seen[3]['round']
    if memory == 'snapshot':
        assert any(not torch.equal(seen[2][n], seen[3][n]) for n in seen[2] if n != 'round')
    else:
        assert seen[2].keys() == {'round', 'records/action'}
        assert seen[3].keys() == {'round', 'records/caption'}
        assert world.recordings == 2


def test_records_and_a_snapshot_say_the_same_of_samples_that_do_not_vary() -> None:
    losses = []
    for memory in ('records', 'snapshot'):
        torch.manual_seed(0)
        world, network = ToyWorld(0, count=96), ToyNetwork(dropout=0.5)
        network.train()
        regime = prepared('distilling', world, memory=memory)
        for iteration in range(5):
            torch.manual_seed(iteration)
            step(regime, network, world, iteration)
        batch = batch_of(world.train['action'], torch.arange(8))
        torch.manual_seed(9)
        losses.append(regime.losses(ToyPasses(network), {'action': batch})[0]['action'].values)
    assert torch.allclose(losses[0], losses[1], atol=1e-6)


def test_a_copy_of_the_network_is_kept_where_samples_vary() -> None:
    world, network = ToyWorld(0, varies=True), ToyNetwork()
    regime = prepared('distilling', world)
    regime.begin(0, world.recorder(network))
    assert all(name.startswith('snapshot/') for name in regime.memory.names)


def test_records_of_samples_that_vary_are_refused_before_anything_is_trained() -> None:
    network = NetworkConfig(
        trunks={'clip': TrunkConfig()},
        tasks={'action': TaskConfig(labels=('a',)), 'caption': TaskConfig(kind='caption')},
    )
    regime = prepared('distilling', ToyWorld(0), memory='records')
    regime.check(network, dict.fromkeys(TASKS, False))
    with pytest.raises(ValueError, match=r"memory must be .* those of task 'action' do"):
        regime.check(network, {'action': True, 'caption': False})
    # Captions come first: nothing is remembered of them.
    one_way = prepared('lwf', ToyWorld(0), memory='records')
    one_way.check(network, {'action': False, 'caption': True})


def test_people_in_frames_can_not_be_remembered() -> None:
    network = NetworkConfig(
        trunks={'frame': TrunkConfig(backbone='resnet2d', preprocessing=SQUARE)},
        tasks={
            'action': TaskConfig(kind='detection', trunk='frame'),
            'caption': TaskConfig(kind='keypoints', trunk='frame'),
        },
    )
    with pytest.raises(ValueError, match="for tasks of clips, task 'action' is of detection"):
        prepared('distilling', ToyWorld(0)).check(network, dict.fromkeys(TASKS, False))


def test_the_first_round_can_do_without_a_memory() -> None:
    world, network = ToyWorld(0, count=32), ToyNetwork()
    regime = prepared('distilling', world, skip_first_distill=True)
    regime.begin(0, world.recorder(network))
    assert regime.memory.names == []
    batch = batch_of(world.train['caption'], torch.arange(8))
    losses, outputs = regime.losses(ToyPasses(network), {'caption': batch})
    own = regime.criteria['caption'](outputs['caption'], batch).mean(0)
    assert torch.allclose(losses['caption'].values, (1 - 0.7) * own)
    regime.begin(1, world.recorder(network))
    assert regime.memory.names == ['records/caption']


def test_without_forgetting_what_had_its_turn_is_remembered_and_nothing_else() -> None:
    tasks = ('action', 'gesture', 'caption')
    world, network = ToyWorld(0, tasks=tasks, count=32), ToyNetwork(tasks)
    regime = prepared('lwf', world)
    regime.stages(6)
    held = []
    for iteration in range(6):
        step(regime, network, world, iteration)
        held.append(regime.memory.names)
    assert held[0] == held[1] == []
    assert held[2] == held[3] == ['records/caption']
    assert held[4] == held[5] == ['records/caption', 'records/action']


def test_three_tasks_share_the_memory_evenly() -> None:
    tasks = ('action', 'gesture', 'caption')
    torch.manual_seed(0)
    world, network = ToyWorld(0, tasks=tasks, count=32), ToyNetwork(tasks)
    regime = prepared('distilling', world)
    step(regime, network, world, 0)
    batch = batch_of(world.train['caption'], torch.arange(8))
    _, both, _ = regime.parts(ToyPasses(network), 'caption', batch)
    alone = []
    for task in ('action', 'gesture'):
        regime._others = lambda _, task=task: [task]
        alone.append(regime.parts(ToyPasses(network), 'caption', batch)[1])
    assert torch.allclose(both, (alone[0] + alone[1]) / 2, atol=1e-6)


# -- State --------------------------------------------------------------------------------------


@pytest.mark.parametrize('memory', ['records', 'snapshot'])
def test_a_resumed_round_goes_on_with_the_memory_it_began_with(memory: str) -> None:
    torch.manual_seed(0)
    world, network = ToyWorld(0, count=96), ToyNetwork()
    regime = prepared('distilling', world, memory=memory)
    for iteration in range(5):  # the second round has one more iteration
        step(regime, network, world, iteration)
    again = prepared('distilling', world, memory=memory)
    again.load_state_dict({name: value.clone() for name, value in regime.state_dict().items()})
    recorded = world.recordings
    again.begin(5, world.recorder(network))
    assert world.recordings == recorded
    batch = batch_of(world.train['action'], torch.arange(8))
    one, other = (r.losses(ToyPasses(network), {'action': batch})[0] for r in (regime, again))
    assert torch.equal(one['action'].values, other['action'].values)


def test_what_is_held_is_what_was_stored_whatever_was_held_before() -> None:
    one, other = Memory(), Memory()
    one.hold(3, 'records', {'action': torch.eye(3)})
    other.hold(1, 'snapshot', {'trunk.0.weight': torch.ones(2)})
    other.load_state_dict(one.state_dict())
    assert other.held_round == 3
    assert other.names == ['records/action']


# -- What it is for -----------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(3))
def test_what_remembers_forgets_at_most_half_and_ends_no_worse(seed: int) -> None:
    naive, distilled = train_rounds('alternating', seed), train_rounds('distilling', seed)
    assert isinstance(build_regime('distilling', TASKS, ToyWorld(0).criteria()), RememberingRegime)
    for task in TASKS:
        print(
            f'seed {seed}, {task}: F {forgetting(*naive, task):.4f} naive, '
            f'{forgetting(*distilled, task):.4f} with distillation; at the end '
            f'{naive[0][-1][task]:.3f} and {distilled[0][-1][task]:.3f}'
        )
        assert forgetting(*naive, task) > 0.01
        assert forgetting(*distilled, task) <= 0.5 * forgetting(*naive, task)
        assert distilled[0][-1][task] >= naive[0][-1][task] - 0.01
