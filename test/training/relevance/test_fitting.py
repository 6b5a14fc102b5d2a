"""Tests of :mod:`mtl_training.relevance.fitting` on features of known truth."""

import math

from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_training.relevance import evaluate_scenes, Features, with_relevance
from mtl_training.relevance.figures import auroc
from mtl_training.relevance.fitting import fit_logistic, fit_platt, fit_temperature
import pytest
from scipy.optimize import minimize
import torch
from torch.nn import functional as F


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def network() -> MultiTaskNetwork:
    config = NetworkConfig(
        trunks={'clip': TrunkConfig(width=1)},
        tasks={
            'action': TaskConfig(labels=('a', 'b', 'c')),
            'gesture': TaskConfig(labels=('d', 'e')),
        },
    )
    return MultiTaskNetwork(config).eval()


def toy_features(seed: int, dim: int, distance: float = 4.0) -> Features:
    """Return clusters: one a data set, the same for both tasks."""
    generator = torch.Generator().manual_seed(seed)
    centres = {'action': 0, 'gesture': 1, 'nothing': 2}
    of, labels = {}, {}
    for source, place in centres.items():
        x = torch.randn(200, dim, generator=generator)
        x[:, place] += distance
        of[source] = 5 * x + 100
        count = {'action': 3, 'gesture': 2, 'nothing': 2}[source]
        labels[source] = torch.randint(count, (200,), generator=generator)
    return Features({'action': of, 'gesture': dict(of)}, labels)


def test_separable_clips_are_told_apart_and_the_network_stays_as_it_is(network) -> None:
    dim = network.sharing('clip').feature_dim
    fitted = with_relevance(network, toy_features(1, dim), toy_features(2, dim))
    assert not network.relevance
    assert not network.config.tasks['action'].relevance
    for name, value in network.state_dict().items():
        assert torch.equal(fitted.state_dict()[name], value)
    assert all(task.relevance for task in fitted.config.tasks.values())
    for values in fitted.relevance.buffers():  # nothing is lost in a checkpoint of half precision
        assert torch.equal(values, values.half().float())
    figures = evaluate_scenes(fitted, toy_features(3, dim), split='test').summary()
    assert figures['samples'] == {'action': 200, 'gesture': 200, 'nothing': 200}
    for task in figures['tasks'].values():
        assert task['auroc'] > 0.99
        assert task['missed'] < 0.1
        assert task['false_alarms'] < 0.05


@pytest.mark.parametrize('min_relevance', [0.3, 0.5, 0.8])
def test_figures_of_scenes_are_those_counted_by_hand(network, min_relevance: float) -> None:
    dim = network.sharing('clip').feature_dim
    fitted = with_relevance(network, toy_features(1, dim, 1.0), toy_features(2, dim, 1.0))
    scenes = toy_features(3, dim, 1.0)
    evaluation = evaluate_scenes(fitted, scenes, split='test', min_relevance=min_relevance)
    found = evaluation.summary()['tasks']['gesture']
    right = missed = alarms = 0
    bins: dict[int, list[float]] = {}
    with torch.no_grad():
        for source, labels in scenes.labels.items():
            for x, label in zip(scenes.of['gesture'][source], labels.tolist()):
                d, e, nothing = fitted.scores_of('gesture', x[None])[0].tolist()
                said = {'nothing': nothing} if 1 - nothing < min_relevance else {'d': d, 'e': e}
                answer = max(said, key=said.__getitem__)
                truth = 'de'[label] if source == 'gesture' else 'nothing'
                right += answer == truth
                missed += answer == 'nothing' != truth
                alarms += truth == 'nothing' != answer
                place = math.ceil(said[answer] * 15)
                bins.setdefault(place, []).append(said[answer] - (answer == truth))
    assert found['right_answers'] == pytest.approx(right / 600)
    assert found['missed'] == pytest.approx(missed / 200)
    assert found['false_alarms'] == pytest.approx(alarms / 400)
    error = sum(abs(sum(differences)) for differences in bins.values()) / 600
    assert found['ece'] == pytest.approx(error, abs=1e-5)


@pytest.mark.parametrize('split, flatters', [('train', True), ('val', True), ('test', False)])
def test_figures_on_what_was_fitted_to_are_marked(network, split: str, flatters: bool) -> None:
    dim = network.sharing('clip').feature_dim
    fitted = with_relevance(network, toy_features(1, dim), toy_features(2, dim))
    scenes = evaluate_scenes(fitted, toy_features(3, dim), split=split)
    assert scenes.summary()['calibrated_on'] is flatters


def test_clips_of_one_task_alone_show_not_what_it_is_not(network) -> None:
    dim = network.sharing('clip').feature_dim
    own = toy_features(1, dim)
    only = Features(
        {'action': {'action': own.of['action']['action']}}, {'action': own.labels['action']}
    )
    with pytest.raises(ValueError, match='clips that do not, got only the former'):
        with_relevance(network, only, only)


def test_the_logistic_head_is_where_another_optimiser_ends() -> None:
    x = torch.randn(120, 4) * torch.tensor([1.0, 10.0, 0.1, 3.0]) + 5
    y = x[:, 0] + 0.1 * x[:, 1] + torch.randn(120) > 5.5
    found = fit_logistic(x, y, l2=0.01)
    z = ((x - x.mean(0)) / x.std(0)).double()

    def loss(p):
        p = torch.tensor(p)
        nll = F.binary_cross_entropy_with_logits(z @ p[:4] + p[4], y.double())
        return float(nll + 0.005 * p[:4].square().sum())

    best = minimize(
        loss,
        [0.0] * 5,
        method='Nelder-Mead',
        options={'maxiter': 9000, 'maxfev': 9000, 'xatol': 1e-8, 'fatol': 1e-12},
    )
    expected = z @ torch.tensor(best.x[:4]) + best.x[4]
    torch.testing.assert_close(found(x), expected, atol=1e-3, rtol=1e-3)


def test_a_feature_that_never_changes_gets_no_weight() -> None:
    x = torch.randn(50, 3)
    x[:, 1] = 7.1
    found = fit_logistic(x, x[:, 0] > 0, l2=0.01)
    assert found.weight[1] == 0
    assert found.weight.isfinite().all()


@pytest.mark.parametrize('factor', [0.2, 1.0, 6.0])
def test_the_temperature_is_the_best_of_a_fine_grid(factor: float) -> None:
    true = 2 * torch.randn(4000, 5)
    labels = torch.multinomial(true.softmax(1), 1)[:, 0]
    found = fit_temperature(factor * true, labels)
    grid = torch.logspace(math.log10(0.05), math.log10(20), 400, dtype=torch.float64)
    losses = torch.stack([F.cross_entropy(factor * true.double() / t, labels) for t in grid])
    best = float(grid[losses.argmin()])
    assert found == pytest.approx(best, rel=0.02)
    assert found == pytest.approx(factor, rel=0.1)  # the labels were drawn at temperature 1


@pytest.mark.parametrize('sign', [1, -1], ids=['all right', 'all wrong'])
def test_the_temperature_stays_within_bounds_when_nothing_contradicts(sign: int) -> None:
    labels = torch.tensor([0, 1, 0, 1])
    found = fit_temperature(sign * 3.0 * F.one_hot(labels, 2), labels)
    assert found == pytest.approx(0.05 if sign > 0 else 20, rel=1e-3)


@pytest.mark.parametrize('factor', [1e-3, 1.0, 1e3])
def test_platt_gives_back_the_probabilities_behind_distorted_logits(factor: float) -> None:
    true = 2 * torch.randn(20000) - 0.5
    y = torch.rand(20000) < true.sigmoid()
    scale, shift = fit_platt(factor * (true - 3), y)
    calibrated = (scale * factor * (true - 3) + shift).sigmoid()
    assert float((calibrated - true.sigmoid()).abs().max()) < 0.02
    before = F.binary_cross_entropy_with_logits(factor * (true - 3), y.float())
    assert F.binary_cross_entropy(calibrated, y.float()) < before


def test_platt_stays_finite_where_clips_are_separable() -> None:
    logits = torch.tensor([-5.0, -4.0, 4.0, 5.0])
    scale, shift = fit_platt(logits, logits > 0)
    assert 0 < scale < 100
    assert auroc(scale * logits + shift, logits > 0) == 1
    # Platt's targets for two of each: 3/4 and 1/4.
    assert 0.7 < torch.tensor(scale * 4.5 + shift).sigmoid() < 0.8


def test_platt_never_turns_relevant_into_irrelevant() -> None:
    logits, targets = torch.tensor([3.0, 2.0, 1.0, -1.0]), torch.tensor([False, False, True, True])
    scale, shift = fit_platt(logits, targets)
    assert 0 < scale < 0.02
    # All but the constant that is right half of the time.
    assert float(((scale * logits + shift).sigmoid() - 0.5).abs().max()) < 0.02
