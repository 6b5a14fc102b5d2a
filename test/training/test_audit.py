"""Finding wrong labels in a run that was trained on some."""

import csv
import json
import shutil

from mtl_perception.checkpoint import load_network, save_checkpoint
from mtl_perception.network import MultiTaskNetwork
from mtl_training import cli
from mtl_training.audit import audit, AuditedRun
from mtl_training.config import build_config
from mtl_training.data.loading import build_datasets
from mtl_training.evaluation import evaluate
from mtl_training.run_state import load_state
from mtl_training.trainer import Trainer
import pytest
from rich.console import Console
import torch

NUM_CLIPS, NUM_CORRUPTED = 60, 15


@pytest.fixture(scope='module')
def block() -> dict:
    def data(noise: float) -> dict:
        clips = {'train': {'num_clips': NUM_CLIPS}, 'val': {'num_clips': 6}}
        return {'dataset': 'toy', **clips, 'label_noise': noise}

    trunk = {'width': 4, 'num_frames': 4, 'preprocessing': {'resize': [16, 16]}}
    return {
        'network': {
            'trunks': {'clip': trunk | {'subtract_mean': True}},
            'tasks': {'action': {}, 'gesture': {}},
        },
        'data': {'action': data(0.0), 'gesture': data(NUM_CORRUPTED / NUM_CLIPS)},
        'iterations': 60,
        'optimiser': {'lr': 0.01, 'schedule': 'cosine', 'warmup': 5},
        'weighting': {'name': 'instance_level'},
        'evaluation': {'every': 60, 'test': False},
        'accelerator': 'cpu',
        'workers': 0,
        'threads': 1,
    }


@pytest.fixture(scope='module')
def trained(block, tmp_path_factory):
    """Return the folder of a run with wrong gestures."""
    out = tmp_path_factory.mktemp('run')
    Trainer(build_config(block), out, Console(quiet=True)).run()
    return out


def read(path) -> list[dict]:
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_the_wrong_labels_of_a_real_run_are_found(trained, capsys) -> None:
    command = ['audit', '--checkpoint', str(trained), '--top', str(NUM_CORRUPTED), '--json']
    assert cli.main(command) == 0
    tasks = json.loads(capsys.readouterr().out)['tasks']
    gesture = tasks['gesture']
    assert gesture['num_corrupted'] == NUM_CORRUPTED
    assert gesture['found'] >= 0.9
    suspects = gesture['suspects']
    assert sum(s['corrupted'] for s in suspects) == round(gesture['found'] * NUM_CORRUPTED)
    # Batches of 8, one per iteration.
    assert gesture['visits'] == pytest.approx(60 * 8 / NUM_CLIPS)
    assert 'found' not in tasks['action']
    assert 'corrupted' not in tasks['action']['suspects'][0]


def test_rows_tell_what_the_tables_and_the_network_say(trained, block, tmp_path) -> None:
    command = ['audit', '--checkpoint', str(trained / 'last.safetensors'), '--task', 'gesture']
    assert cli.main([*command, '--top', '7', '--out', str(tmp_path)]) == 0
    assert not (tmp_path / 'audit_action.csv').exists()
    rows = read(tmp_path / 'audit_gesture.csv')
    assert [int(row['rank']) for row in rows] == list(range(1, 8))
    table = load_state(trained / 'state.safetensors').modules['weighting'][
        'tables.gesture.log_variances'
    ]
    expected = sorted(table.tolist(), reverse=True)[:7]
    assert [float(row['s']) for row in rows] == pytest.approx(expected)
    dataset = build_datasets(build_config(block), 'train')['gesture']
    for row in rows:
        index = int(row['index'])
        assert float(row['s']) == pytest.approx(float(table[index]))
        assert float(row['sigma_squared']) == pytest.approx(float(table[index].exp()), rel=1e-5)
        assert row['label'] == dataset.labels[dataset[index].label]
        assert row['corrupted'] == str(bool(dataset.corrupted[index]))
        assert row['predicted'] in dataset.labels
        assert 1 / 3 <= float(row['probability']) <= 1
    # The clips of the toy draw the height of their square: always the same one here.
    run = AuditedRun(trained / 'last.safetensors')
    again = audit(run, 'gesture', top=7, batch_size=2)
    assert [s.probability for s in again.suspects] == pytest.approx(
        [float(row['probability']) for row in rows], abs=1e-5
    )


def test_predictions_are_those_of_the_checkpoint(trained) -> None:
    run = AuditedRun(trained)
    assert run.checkpoint.name == 'best.safetensors'
    predicted = {s.index: s.predicted for s in audit(run, 'action', top=NUM_CLIPS).suspects}
    matrix = evaluate(run.network, {'action': run.dataset('action')}).confusions['action']
    # Of 60 clips the labels are 0, 1, 2, 0, and so on.
    labels = run.dataset('action').labels
    correct = sum(name == labels[i % 3] for i, name in predicted.items())
    assert correct == matrix.num_correct


def test_the_contact_sheet_and_the_table_are_for_people(trained, capsys, tmp_path) -> None:
    assert cli.main(['audit', '--checkpoint', str(trained), '--out', str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for word in ('gesture', 'action', 'rank', 'predicted', 'wrong', 'made wrong on purpose'):
        assert word in shown
    for task in ('action', 'gesture'):
        assert (tmp_path / f'audit_{task}.png').read_bytes().startswith(b'\x89PNG')
        assert len(read(tmp_path / f'audit_{task}.csv')) == 50


def test_clips_tell_where_they_came_from_where_the_data_knows(
    trained, toy_module, tmp_path, monkeypatch
) -> None:
    describe = lambda self, index: f'clip_{index}.mp4'  # noqa: E731
    monkeypatch.setattr(toy_module.ToyClips, 'describe', describe, raising=False)
    command = ['audit', '--checkpoint', str(trained), '--task', 'gesture', '--top', '4']
    assert cli.main([*command, '--out', str(tmp_path)]) == 0
    for row in read(tmp_path / 'audit_gesture.csv'):
        assert row['source'] == f'clip_{row["index"]}.mp4'


def test_more_clips_than_there_are_is_all_of_them(trained) -> None:
    found = audit(AuditedRun(trained), 'action', top=1000)
    assert sorted(s.index for s in found.suspects) == list(range(NUM_CLIPS))
    assert found.thumbnails.shape == (NUM_CLIPS, 4, 16, 16, 3)


def test_a_run_with_another_weighting_is_told_what_to_do(block, tmp_path, capsys) -> None:
    config = build_config(block, [('weighting.name', 'average'), ('iterations', 1)])
    Trainer(config, tmp_path, Console(quiet=True)).run()
    assert cli.main(['audit', '--checkpoint', str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "was trained with weighting 'average'" in message
    assert '--weighting.name instance_level' in message


def test_data_that_has_changed_is_refused(trained, toy_module, monkeypatch) -> None:
    monkeypatch.setattr(toy_module.ToyClips, '__len__', lambda _: NUM_CLIPS - 1)
    with pytest.raises(ValueError, match=r"'action' has changed: the run had 60 clips, now .* 59"):
        audit(AuditedRun(trained), 'action')


@pytest.mark.parametrize('name', ['bets.safetensors', 'iteration_000100.safetensors'])
def test_a_checkpoint_that_is_not_there_is_never_replaced(trained, name) -> None:
    with pytest.raises(ValueError, match=rf"'.*{name}' does not exist: name a run's folder or a"):
        AuditedRun(trained / name)


def test_the_checkpoint_that_is_named_is_the_one_that_is_asked(
    trained, tmp_path, monkeypatch
) -> None:
    run = shutil.copytree(trained, tmp_path / 'run')
    network, checkpoint = load_network(run / 'last.safetensors')
    with torch.no_grad():
        network.heads['gesture'].weight.zero_()
        network.heads['gesture'].bias.copy_(torch.tensor([0.0, 9.0, 0.0]))
    metadata = {'metrics': checkpoint.metrics, 'training': checkpoint.training}
    save_checkpoint(run / 'renamed.safetensors', network, **metadata)
    monkeypatch.chdir(run)
    for path in (run / 'renamed.safetensors', './renamed.safetensors'):
        found = audit(AuditedRun(path), 'gesture', top=9)
        assert {suspect.predicted for suspect in found.suspects} == {'right'}


def test_a_checkpoint_of_another_run_is_refused(trained, tmp_path) -> None:
    run = shutil.copytree(trained, tmp_path / 'run')
    network, _ = load_network(run / 'last.safetensors')
    config = network.config.with_labels({'gesture': ('up', 'down', 'still')})
    save_checkpoint(run / 'other.safetensors', MultiTaskNetwork(config), metrics={}, training={})
    with pytest.raises(ValueError, match='is no checkpoint of the run in its folder'):
        AuditedRun(run / 'other.safetensors')


def test_a_run_that_has_no_best_is_asked_with_its_last(trained, tmp_path) -> None:
    run = shutil.copytree(trained, tmp_path / 'run')
    (run / 'best.safetensors').unlink()
    assert AuditedRun(run).checkpoint == run / 'last.safetensors'
    (run / 'last.safetensors').unlink()
    with pytest.raises(ValueError, match='has no checkpoint yet'):
        AuditedRun(run)


def test_equal_log_variances_are_ranked_by_the_probability_of_the_label(trained) -> None:
    run = AuditedRun(trained)
    table = run.weighting.log_variances('gesture')
    table.copy_(torch.arange(NUM_CLIPS) % 2 * 4.0)  # half of them at the bound
    every = audit(run, 'gesture', top=NUM_CLIPS).suspects
    assert [s.index % 2 for s in every] == [1] * 30 + [0] * 30
    for half in (every[:30], every[30:]):
        ranked = [s.label_probability for s in half]
        assert ranked == sorted(ranked)
    # The same ones come first when fewer are asked for.
    few = audit(run, 'gesture', top=7)
    assert [s.index for s in few.suspects] == [s.index for s in every[:7]]
    assert len(few.thumbnails) == 7
    right = [s for s in every if s.label == s.predicted]
    assert right
    assert all(s.label_probability == s.probability for s in right)


def test_data_with_other_labels_is_refused(trained, toy_module, monkeypatch) -> None:
    monkeypatch.setattr(toy_module, 'LABELS', ('left', 'still', 'right'))
    with pytest.raises(ValueError, match=r"'action' has changed: the run had the labels \['left'"):
        audit(AuditedRun(trained), 'action')


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--task', 'gestures'], "the run has no task 'gestures'. Did you mean 'gesture'?"),
        (['--top', '0'], '--top must be positive, got 0'),
    ],
)
def test_wrong_arguments_get_one_line(trained, capsys, arguments, message) -> None:
    assert cli.main(['audit', '--checkpoint', str(trained), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_a_run_gets_one_line(tmp_path, capsys) -> None:
    assert cli.main(['audit', '--checkpoint', str(tmp_path)]) == 2
    assert 'config.yaml' in capsys.readouterr().err
