"""Tests of ``python -m mtl_training learn-task``."""

from collections import Counter
from collections.abc import Callable
import json
from pathlib import Path
import re
from types import ModuleType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mtl_perception.checkpoint import load_network
from mtl_training import cli
from mtl_training.backpack.comparing import first_of_each, sizes, stratified_folds
from mtl_training.backpack.novel_task import (
    learn,
    matched_concepts,
    memory_alone,
    NovelConfig,
    predict,
    window_rows,
    with_novel_task,
)
import numpy as np
import pytest
import torch

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run(tmp_path: Path, made: ModuleType, capsys: pytest.CaptureFixture[str]) -> Run:
    made.save(tmp_path / 'robot.safetensors', made.memory_network())
    made.write_clips(tmp_path / 'clips')

    def run(*arguments: str, checkpoint: str = 'robot') -> tuple[int, dict[str, Any], str]:
        given = ['--checkpoint', str(tmp_path / f'{checkpoint}.safetensors'), '--device', 'cpu']
        given += ['--videos', str(tmp_path / 'clips'), '--out', str(tmp_path / 'new.safetensors')]
        given += ['--name', 'light', '--iterations', '60', '--folds', '2', '--workers', '0']
        code = cli.main(['learn-task', *given, '--json', *arguments])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else {}, captured.err

    return run


def test_a_task_is_learnt_and_everything_before_stays_as_it_was(run: Run, tmp_path: Path) -> None:
    code, told, error = run()
    assert (code, error) == (0, '')
    assert told['accuracy']['backpack'] > told['chance'] == pytest.approx(1 / 3)
    before, _ = load_network(tmp_path / 'robot.safetensors')
    after, checkpoint = load_network(tmp_path / 'new.safetensors')
    now = after.state_dict()
    for name, value in before.state_dict().items():
        assert torch.equal(value, now[name]), name
    windows = torch.randn(5, 1, 3, 32)
    clips = torch.randn(2, 3, 4, 16, 16)
    inputs = {'move': clips, 'known_move': windows, 'known_hand': windows}
    with torch.no_grad():
        then, later = before.forward_tasks(inputs), after.forward_tasks(inputs)
    assert torch.equal(then['move'], later['move'])
    assert torch.equal(then['known_hand']['hand'], later['known_hand']['hand'])
    task = after.config.tasks['light']
    assert task.groups == {'light': ('bright', 'dark', 'grey')}
    assert (task.kind, task.trunk) == ('recognition', 'memory')
    assert checkpoint.metrics['val']['accuracy'] == {'move': 0.5}
    assert checkpoint.metrics['val']['segments']['light']['samples'] == 12
    assert checkpoint.training['learnt'][0]['task'] == 'light'


def test_the_report_compares_with_fine_tuning_and_chance(run: Run, tmp_path: Path) -> None:
    _, told, _ = run()
    folder = Path(told['report'])
    text = (folder / 'report.md').read_text()
    for words in ('fine-tuning', 'chance', 'clips of each class', 'as known', 'one clip is 8'):
        assert words in text
    assert re.search(r'\d points (better|worse) than|Both are equal', text)
    assert (folder / 'report.html').read_text().count('data:image/png') == 2
    pictures = re.findall(r'!\[[^]]*\]\(([^)]+)\)', text)
    assert [Path(name).name for name in pictures] == ['accuracy.png', 'confusion.png']
    assert all((folder / name).stat().st_size > 1000 for name in pictures)


def test_the_same_seed_gives_the_same_figures_and_weights(run: Run, tmp_path: Path) -> None:
    first = run()[1]
    weights = load_network(tmp_path / 'new.safetensors')[0].state_dict()
    second = run('--overwrite')[1]
    assert {**first, 'seconds': 0} == {**second, 'seconds': 0}
    again = load_network(tmp_path / 'new.safetensors')[0].state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_a_second_task_may_follow(run: Run, tmp_path: Path) -> None:
    run()
    arguments = ['--name', 'shine', '--out', str(tmp_path / 'two.safetensors')]
    code, _, error = run(*arguments, checkpoint='new')
    assert (code, error) == (0, '')
    network, checkpoint = load_network(tmp_path / 'two.safetensors')
    assert {'light', 'shine'} <= {*network.config.tasks}
    assert [entry['task'] for entry in checkpoint.training['learnt']] == ['light', 'shine']


def test_clips_that_can_not_be_read_are_left_out_and_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / 'clips/dark/broken.mp4').write_bytes(b'no video')
    code, told, _ = run()
    assert (code, told['clips']) == (0, 12)
    assert list(told['failed']) == [str(tmp_path / 'clips/dark/broken.mp4')]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--name', 'move'], "'move' is a task of the checkpoint already"),
        (['--name', '2 things'], 'a task name must be an ASCII identifier'),
        (['--folds', '1'], '--folds must be at least 2'),
        (['--iterations', '0'], 'iterations must be at least 1'),
        (['--seconds', '0'], '--seconds must be positive'),
        (['--videos', 'nowhere'], 'is not a folder that exists'),
    ],
)
def test_wrong_arguments_are_refused(run: Run, arguments: list[str], message: str) -> None:
    code, _, error = run(*arguments)
    assert code == 2
    assert message in error


def test_a_checkpoint_without_a_backpack_says_what_makes_one(
    run: Run, made: ModuleType, tmp_path: Path
) -> None:
    made.save(tmp_path / 'bare.safetensors', made.memory_network(with_prototypes=False))
    code, _, error = run(checkpoint='bare')
    assert code == 2
    assert 'no memory trunk with a backpack' in error
    assert 'backpack_robot.yaml' in error
    assert 'build-backpack' in error
    made.save(tmp_path / 'apart.safetensors', made.memory_network(source=''))
    assert 'join --source TASK' in run(checkpoint='apart')[2]


def test_a_class_with_one_clip_that_can_be_read_is_refused(run: Run, tmp_path: Path) -> None:
    for name in ('1.avi', '2.avi', '3.avi'):
        (tmp_path / 'clips/grey' / name).write_bytes(b'no video')
    code, _, error = run()
    assert code == 2
    assert "class 'grey' needs at least 2 clips" in error
    assert "got 1 of those that can be read; 3 can't" in error
    for name in ('1.avi', '2.avi', '3.avi'):
        (tmp_path / 'clips/grey' / name).unlink()
    assert "class 'grey' needs at least 2 clips" in run()[2]


def test_clips_in_no_class_are_refused(run: Run, made: ModuleType, tmp_path: Path) -> None:
    made.write_clip(tmp_path / 'clips/loose.avi', 100, seed=0)
    assert 'is in no class' in run()[2]


def test_one_class_is_refused(run: Run, made: ModuleType, tmp_path: Path) -> None:
    made.write_clip(tmp_path / 'one/only/a.avi', 100, seed=0)
    assert 'at least 2 classes' in run('--videos', str(tmp_path / 'one'))[2]


NOVEL = NovelConfig(
    name='light', classes=('a', 'b'), num_rows=2, iterations=120, lr=5e-3, classifier_dropout=0.0
)


def toy_clips() -> tuple[list[np.ndarray], list[int]]:
    random = np.random.default_rng(0)
    labels = [i % 2 for i in range(12)]
    means = random.normal(size=(2, 32))
    return [means[label] + 0.3 * random.normal(size=(3, 32)) for label in labels], labels


@pytest.mark.parametrize('asks', [True, False])
def test_classes_that_differ_are_learnt_with_and_without_the_backpack(
    made: ModuleType, asks: bool
) -> None:
    memory = memory_alone(made.memory_network(), 'memory')
    before = {name: value.clone() for name, value in memory.state_dict().items()}
    network = with_novel_task(memory, 'memory', NOVEL, asks=asks)
    clips, labels = toy_clips()
    learn(network, NOVEL, clips, labels)
    assert predict(network, NOVEL, clips) == labels
    now = network.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in before.items())
    assert len(network.perspectives('light', torch.zeros(1, 1, 3, 32)).logits) == 1 + 2 * asks


def test_clips_are_matched_with_the_prototypes_nearest_to_what_a_task_sees(
    made: ModuleType,
) -> None:
    memory = memory_alone(made.memory_network(), 'memory')
    network = with_novel_task(memory, 'memory', NOVEL, asks=True)
    clip = np.random.default_rng(0).normal(size=(1, 32))
    found = matched_concepts(network, NOVEL, [clip])['known_hand']
    windows = torch.tensor(clip, dtype=torch.float32).expand(1, 1, 3, 32)
    with torch.no_grad():
        seen = network.project('light', windows, ['known_hand'])['known_hand'][0]
    bank = network.prototypes['memory'].of('known_hand')  # type: ignore[operator]
    cosines = [float(torch.cosine_similarity(seen, row, dim=0)) for row in bank]
    assert found[0].tolist() == sorted(range(3), key=lambda i: -cosines[i])


@given(num_rows=st.integers(1, 30), span=st.integers(1, 30), count=st.integers(1, 6))
def test_rows_of_a_window_lie_in_it(num_rows: int, span: int, count: int) -> None:
    even = window_rows(num_rows, span, count)
    drawn = window_rows(num_rows, span, count, np.random.default_rng(0))
    for rows in (even, drawn):
        assert len(rows) == count
        assert (np.diff(rows) >= 0).all()
        assert 0 <= rows[0] <= rows[-1] < num_rows
        assert rows[-1] - rows[0] < span
    if count > 1:
        assert even[-1] - even[0] == min(span, num_rows) - 1


@given(
    counts=st.lists(st.integers(2, 9), min_size=2, max_size=4),
    num_folds=st.integers(2, 9),
    seed=st.integers(0, 9),
)
def test_folds_hold_out_every_clip_once_and_leave_some_of_each_class(
    counts: list[int], num_folds: int, seed: int
) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    folds = stratified_folds(labels, min(num_folds, min(counts)), seed)
    assert Counter(i for fold in folds for i in fold) == Counter(range(len(labels)))
    for fold in folds:
        few = sizes(labels, fold)
        before: set[int] = set()
        for size in few:
            kept = first_of_each(labels, fold, size, seed)
            assert not {*kept} & {*fold}
            assert before <= {*kept}
            assert {labels[i] for i in kept} == {*range(len(counts))}
            before = {*kept}
        assert len(before) == len(labels) - len(fold)
