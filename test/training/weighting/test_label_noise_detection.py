"""Wrong labels and targets rise to the top of the tables, and the network is spared them."""

from __future__ import annotations

from typing import NamedTuple

from mtl_training.weighting import build_weighting, StepContext, TaskLoss
import pytest
import torch
from torch import nn, Tensor
from torch.nn.functional import cross_entropy

NUM_TRAINING, NUM_TEST, NUM_CLASSES, SIZE = 1000, 1000, 5, 20
BATCH, EPOCHS, SHARE = 64, 30, 0.4
TASKS = {'class': 'classification', 'target': 'regression'}


class Samples(NamedTuple):
    """Gaussian blobs with the number of their blob and three numbers to regress."""

    inputs: Tensor  # [N, SIZE]
    classes: Tensor  # [N]
    targets: Tensor  # [N, 3]


class Outcome(NamedTuple):
    found: dict[str, float]  # share of the corrupt samples among as many top rows
    accuracy: float
    squared_error: float


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(SIZE, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.classes, self.targets = nn.Linear(64, NUM_CLASSES), nn.Linear(64, 3)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(inputs)
        return self.classes(features), self.targets(features)


def make_samples() -> tuple[Samples, Samples]:
    centres = torch.randn(NUM_CLASSES, SIZE)
    centres = 4.5 * centres / centres.norm(dim=1, keepdim=True)
    mixing = torch.randn(SIZE, 3) / SIZE**0.5
    classes = torch.randint(NUM_CLASSES, (NUM_TRAINING + NUM_TEST,))
    inputs = centres[classes] + torch.randn(len(classes), SIZE)
    columns = (inputs, classes, torch.tanh(inputs @ mixing))
    training, test = zip(*(column.split([NUM_TRAINING, NUM_TEST]) for column in columns))
    return Samples(*training), Samples(*test)


def corrupt(samples: Samples, task: str) -> tuple[Samples, Tensor]:
    chosen = torch.randperm(NUM_TRAINING)[: round(SHARE * NUM_TRAINING)]
    classes, targets = samples.classes.clone(), samples.targets.clone()
    if task == 'class':
        classes[chosen] = (classes[chosen] + torch.randint(1, 5, (len(chosen),))) % NUM_CLASSES
    else:
        targets[chosen] += torch.rand(len(chosen), 3) * 4 - 2
    return Samples(samples.inputs, classes, targets), chosen


def train(name: str, corrupted_task: str, seed: int) -> Outcome:
    torch.manual_seed(seed)
    clean, test = make_samples()
    samples, chosen = corrupt(clean, corrupted_task)
    network, weighting = Network(), build_weighting(name, tuple(TASKS))
    weighting.prepare(dict.fromkeys(TASKS, NUM_TRAINING))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    context = StepContext(torch.Tensor.backward, parameters=tuple(network.parameters()))
    for _ in range(EPOCHS):
        for indices in torch.randperm(NUM_TRAINING).split(BATCH):
            logits, values = network(samples.inputs[indices])
            losses = {
                'class': cross_entropy(logits, samples.classes[indices], reduction='none'),
                'target': (values - samples.targets[indices]).square().sum(1),
            }
            optimiser.zero_grad()
            weighting.backward(
                {task: TaskLoss(losses[task], indices, kind) for task, kind in TASKS.items()},
                context,
            )
            optimiser.step()
    with torch.no_grad():
        logits, values = network(test.inputs)
    return Outcome(
        found={} if name == 'average' else found(weighting, chosen),
        accuracy=float((logits.argmax(1) == test.classes).float().mean()),
        squared_error=float((values - test.targets).square().sum(1).mean()),
    )


def found(weighting, chosen: Tensor) -> dict[str, float]:
    tops = {task: weighting.log_variances(task).topk(len(chosen)).indices for task in TASKS}
    return {task: float(torch.isin(top, chosen).float().mean()) for task, top in tops.items()}


def _figures(equal: Outcome, ours: Outcome) -> str:
    found = ', '.join(f'{task} {share:.1%}' for task, share in ours.found.items())
    return (
        f'found {found}; accuracy {ours.accuracy:.3f}, with equal weights {equal.accuracy:.3f}; '
        f'squared error {ours.squared_error:.3f}, with equal weights {equal.squared_error:.3f}'
    )


@pytest.mark.parametrize('seed', [0, 1])
def test_corrupt_classes_are_found_and_do_less_harm(seed) -> None:
    equal, ours = (train(name, 'class', seed) for name in ('average', 'instance_level'))
    print(f'\nclasses, seed {seed}: {_figures(equal, ours)}')
    assert ours.found['class'] >= 0.95
    assert ours.found['target'] == pytest.approx(SHARE, abs=0.08)
    assert ours.accuracy >= equal.accuracy + 0.04


@pytest.mark.parametrize('seed', [0, 1])
def test_corrupt_targets_are_found_and_do_less_harm(seed) -> None:
    equal, ours = (train(name, 'target', seed) for name in ('average', 'instance_level'))
    print(f'\ntargets, seed {seed}: {_figures(equal, ours)}')
    assert ours.found['target'] >= 0.95
    assert ours.found['class'] == pytest.approx(SHARE, abs=0.08)
    assert ours.squared_error < 0.5 * equal.squared_error
