"""Tests of relevance heads: probabilities of labels, and of none of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mtl_perception.checkpoint import CheckpointError, load_network, save_checkpoint
from mtl_perception.network import MultiTaskNetwork
from mtl_perception.network.sharing import SHARING
import pytest
from safetensors import safe_open
from safetensors.torch import save_file
import torch

Make = Callable[..., MultiTaskNetwork]


def with_heads(plain: MultiTaskNetwork, *names: str) -> MultiTaskNetwork:
    tasks = {n: replace(t, relevance=n in names) for n, t in plain.config.tasks.items()}
    network = MultiTaskNetwork(replace(plain.config, tasks=tasks))
    network.load_state_dict(plain.state_dict(), strict=False)
    for head in network.relevance.values():
        head.weight.normal_(0, 0.5)
        head.bias.fill_(-0.2)
        head.temperature.fill_(0.7)
    return network.eval()


def clips() -> torch.Tensor:
    return torch.randn(5, 3, 4, 16, 16)


@pytest.mark.parametrize('sharing', sorted(SHARING))
def test_scores_are_probabilities_of_the_labels_and_of_nothing(
    sharing: str, make_network: Make
) -> None:
    network, batch = with_heads(make_network(sharing), 'action'), clips()
    with torch.no_grad():
        scores = network.scores({'clip': batch})
        logits, features = network({'clip': batch}), network.features({'clip': batch})
    for task, values in scores.items():
        assert values.shape == (5, len(network.config.tasks[task].labels) + 1)
        assert (values >= 0).all()
        torch.testing.assert_close(values.sum(1), torch.ones(5))
    head = network.relevance['action']
    for i in range(5):
        z = sum(w * x for w, x in zip(head.weight.tolist(), features['action'][i].tolist())) - 0.2
        relevance = 1 / (1 + torch.tensor(-z).exp())
        expected = relevance * (logits['action'][i] / 0.7).softmax(0)
        torch.testing.assert_close(scores['action'][i, :-1], expected)
        torch.testing.assert_close(scores['action'][i, -1], 1 - relevance)
    torch.testing.assert_close(scores['gesture'][:, :-1], logits['gesture'].softmax(1))
    assert not scores['gesture'][:, -1].any()


def test_a_deployed_network_gives_the_same_scores(make_network: Make) -> None:
    network, batch = with_heads(make_network(), 'action', 'gesture'), clips()
    expected = {task: s.detach() for task, s in network.scores({'clip': batch}).items()}
    for task, values in network.deploy().scores({'clip': batch}).items():
        torch.testing.assert_close(values, expected[task], atol=1e-5, rtol=1e-5)


def test_relevance_is_nothing_that_an_optimiser_sees(make_network: Make) -> None:
    plain = make_network()
    network = with_heads(plain, 'action', 'gesture')
    names = {name for name, _ in plain.named_parameters()}
    assert {name for name, _ in network.named_parameters()} == names
    extra = network.state_dict().keys() - plain.state_dict().keys()
    entries = ('weight', 'bias', 'temperature')
    assert extra == {f'relevance.{t}.{e}' for t in ('action', 'gesture') for e in entries}


def test_an_unfitted_head_takes_everything_for_relevant(make_network: Make) -> None:
    plain = make_network()
    tasks = {n: replace(t, relevance=True) for n, t in plain.config.tasks.items()}
    network = MultiTaskNetwork(replace(plain.config, tasks=tasks)).eval()
    for values in network.scores({'clip': clips()}).values():
        assert (values[:, -1] < 1e-6).all()


def test_a_checkpoint_brings_the_head_back(make_network: Make, tmp_path: Path) -> None:
    network, batch = with_heads(make_network(), 'gesture'), clips()
    save_checkpoint(tmp_path / 'a.safetensors', network, metrics={}, training={})
    loaded, checkpoint = load_network(tmp_path / 'a.safetensors')
    assert [name for name, task in checkpoint.config.tasks.items() if task.relevance] == [
        'gesture'
    ]
    for task, values in loaded.scores({'clip': batch}).items():
        torch.testing.assert_close(values, network.scores({'clip': batch})[task])


def test_a_checkpoint_without_the_head_that_its_config_names_is_refused(
    make_network: Make, tmp_path: Path
) -> None:
    path = tmp_path / 'a.safetensors'
    save_checkpoint(path, with_heads(make_network(), 'action'), metrics={}, training={})
    with safe_open(path, framework='pt') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    del tensors['relevance.action.temperature']
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match=r"lacks \['relevance.action.temperature'\]"):
        load_network(path)


def test_an_older_checkpoint_whose_config_does_not_know_relevance_loads(
    make_network: Make, tmp_path: Path
) -> None:
    path, network = tmp_path / 'old.safetensors', make_network()
    save_checkpoint(path, network, metrics={}, training={})
    with safe_open(path, framework='pt') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = {k: v.replace(', "relevance": false', '') for k, v in file.metadata().items()}
    assert 'relevance' not in str(metadata)
    save_file(tensors, path, metadata)
    loaded, _ = load_network(path)
    assert not loaded.relevance
    batch = clips()
    for task, logits in loaded({'clip': batch}).items():
        torch.testing.assert_close(logits, network({'clip': batch})[task])
