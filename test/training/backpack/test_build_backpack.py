"""Tests of ``python -m mtl_training build-backpack``, and of joining what it makes."""

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from mtl_perception.checkpoint import load_network, save_checkpoint
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training import cli
from mtl_training.backpack.novel_task import NovelConfig, with_novel_task
from mtl_training.backpack.recording import concept_names
from mtl_training.data.graph_sample import GraphSample
from mtl_training.data.segments.registry import GRAPH_DATASETS
import pytest
import torch

Run = Callable[..., tuple[int, dict[str, Any], str]]
LABELS = {'known_move': ('up', 'down'), 'known_hand': ('left', 'right', 'up')}


class Windows:
    """Seven windows of each task, of noise; their labels take turns, and the last is not there."""

    varies = False
    labels: tuple[str, ...] = ()

    def __init__(self, task: str, *_: Any, **settings: Any) -> None:
        self.task, self.groups = task, {task.removeprefix('known_'): LABELS[task]}
        self.concepts = LABELS[task][:2]
        random = torch.Generator().manual_seed(len(task) + settings.get('seed', 0))
        self._features = torch.randn(7, 1, 3, 32, generator=random)

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, index: int) -> GraphSample:
        target = torch.tensor([self.concept_of(index)])
        return GraphSample(self._features[index], target, torch.zeros(2), index)

    def concept_of(self, index: int) -> int:
        return index % 2


def build_windows(
    task: str, kind: str, split: str, /, *, settings: Any, graph: Any, augment: bool = True
) -> Windows:
    """Give the windows, which may be asked for as they are evaluated only."""
    assert (kind, split, augment) == ('recognition', 'train', False)
    return Windows(task)


def memory(made: ModuleType) -> MultiTaskNetwork:
    """Return a memory trunk without prototypes, apart from any clip trunk."""
    network = made.memory_network(source='', with_prototypes=False)
    tasks = {t: c for t, c in network.config.tasks.items() if c.trunk == 'memory'}
    tasks['known_hand'] = replace(tasks['known_hand'], groups={'hand': LABELS['known_hand']})
    trunks = {'memory': network.config.trunks['memory']}
    torch.manual_seed(1)
    return MultiTaskNetwork(NetworkConfig(trunks=trunks, tasks=tasks)).eval()


@pytest.fixture
def run(
    tmp_path: Path,
    made: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    monkeypatch.setitem(GRAPH_DATASETS, 'windows', build_windows)
    data = {task: {'dataset': 'windows'} for task in LABELS}
    path = tmp_path / 'memory.safetensors'
    save_checkpoint(path, memory(made), metrics={}, training={'config': {'data': data}})

    def run(*arguments: str, checkpoint: Path = path) -> tuple[int, dict[str, Any], str]:
        given = ['--checkpoint', str(checkpoint), '--out', str(tmp_path / 'packed.safetensors')]
        given += ['--device', 'cpu', '--batch-size', '3', '--json']
        code = cli.main(['build-backpack', *given, *arguments])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else {}, captured.err

    return run


def test_prototypes_are_the_means_of_what_each_task_sees_of_each_label(
    run: Run, tmp_path: Path
) -> None:
    code, told, error = run()
    assert (code, error) == (0, '')
    assert told['concepts'] == ['up', 'down', 'left', 'right']
    assert told['windows'] == 14
    before, _ = load_network(tmp_path / 'memory.safetensors')
    after, checkpoint = load_network(tmp_path / 'packed.safetensors')
    assert checkpoint.config.trunks['memory'].graph.known == ('known_move', 'known_hand')
    for seeing in LABELS:
        expected = []
        for task in LABELS:
            data = Windows(task)
            for concept in range(2):
                seen = [
                    before.project(task, data[i].features[None], [seeing])[seeing][0].double()
                    for i in range(7)
                    if data.concept_of(i) == concept
                ]
                expected.append(torch.stack(seen).mean(0))
        found = after.prototypes['memory'].of(seeing)  # type: ignore[operator]
        torch.testing.assert_close(found.double(), torch.stack(expected), atol=1e-6, rtol=1e-5)
    now = after.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in before.state_dict().items())


def test_joined_with_its_clip_trunk_it_learns_tasks(
    run: Run, made: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    whole = made.memory_network()
    tasks = {'move': whole.config.tasks['move']}
    clip = NetworkConfig(trunks={'clip': whole.config.trunks['clip']}, tasks=tasks)
    made.save(tmp_path / 'clip.safetensors', MultiTaskNetwork(clip))
    parts = [str(tmp_path / f'{name}.safetensors') for name in ('clip', 'packed')]
    out = str(tmp_path / 'robot.safetensors')
    given = ['join', '--checkpoints', *parts, '--out', out]
    assert cli.main([*given, '--source', 'move']) == 0
    assert load_network(out)[0].config.trunks['memory'].graph.source == 'move'  # type: ignore[union-attr]
    capsys.readouterr()
    assert cli.main([*given, '--source', 'known_hand', '--overwrite']) == 2
    assert 'graph.source must be a task of clips' in capsys.readouterr().err
    assert (
        cli.main(['join', '--checkpoints', out, parts[0], '--source', 'move', '--out', out]) == 2
    )


def test_known_tasks_may_be_chosen(run: Run, tmp_path: Path) -> None:
    assert run('--known', 'known_hand')[1]['known'] == ['known_hand']
    assert "--known 'other' is no task" in run('--known', 'other', '--overwrite')[2]


def test_prototypes_that_a_task_asks_are_not_replaced(
    run: Run, made: ModuleType, tmp_path: Path
) -> None:
    novel = NovelConfig(name='light', classes=('a', 'b'), num_rows=1)
    grown = with_novel_task(made.memory_network(), 'memory', novel, asks=True)
    path = made.save(tmp_path / 'grown.safetensors', grown)
    code, _, error = run(checkpoint=path)
    assert code == 2
    assert "task 'light' of" in error
    assert 'asks the prototypes that there are' in error


def test_a_checkpoint_without_a_memory_trunk_is_refused(
    run: Run, made: ModuleType, tmp_path: Path
) -> None:
    whole = made.memory_network()
    clip = NetworkConfig(
        trunks={'clip': whole.config.trunks['clip']}, tasks={'move': whole.config.tasks['move']}
    )
    path = made.save(tmp_path / 'clip.safetensors', MultiTaskNetwork(clip))
    assert 'must have one memory trunk' in run(checkpoint=path)[2]


@pytest.mark.parametrize('sharing', ['single_task', 'task_translation'])
def test_tasks_that_do_not_share_nodes_get_no_prototypes(
    run: Run, made: ModuleType, tmp_path: Path, sharing: str
) -> None:
    config = memory(made).config
    trunk = replace(config.trunks['memory'], sharing=sharing)
    network = MultiTaskNetwork(replace(config, trunks={'memory': trunk}))
    path = made.save(tmp_path / 'apart.safetensors', network)
    code, _, error = run(checkpoint=path)
    assert code == 2
    assert (
        f"must have sharing 'hard': tasks ask each other about the same nodes, got '{sharing}"
        in error
    )


def test_equal_labels_of_two_tasks_are_told_apart() -> None:
    found = concept_names({'one': ('up', 'left'), 'two': ('up', 'down')})
    assert found == ('up (one)', 'left', 'up (two)', 'down')
