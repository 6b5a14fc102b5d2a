"""Relevance from the command line: in training, afterwards, and in evaluation."""

from itertools import pairwise
import json
from pathlib import Path

from mtl_perception.checkpoint import load_checkpoint, load_network
from mtl_training import cli
from mtl_training.config import build_config, differences
import pytest
import torch
import yaml

BACKGROUND = {'dataset': 'toy', 'train': {'num_clips': 12}, 'val': {'num_clips': 6}}


def train(block: dict, folder: Path, capsys) -> dict:
    path = folder / 'config.yaml'
    path.write_text(yaml.safe_dump(block))
    arguments = ['train', '--config', str(path), '--out', str(folder / 'run'), '--json']
    assert cli.main(arguments) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def evaluate(path: Path, capsys, *arguments: str) -> dict:
    assert cli.main(['evaluate', '--checkpoint', str(path), '--json', *arguments]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_run_ends_with_relevance_and_evaluate_prints_the_same(
    toy_block: dict, tmp_path: Path, capsys
) -> None:
    toy_block['relevance'] = {'background': {'nothing': BACKGROUND}}
    summary = train(toy_block, tmp_path, capsys)
    best = tmp_path / 'run' / 'best.safetensors'
    checkpoint = load_checkpoint(best)
    assert all(task.relevance for task in checkpoint.config.tasks.values())
    assert not any(
        task.relevance
        for task in load_checkpoint(tmp_path / 'run' / 'last.safetensors').config.tasks.values()
    )
    assert checkpoint.metrics['test']['relevance'] == summary['test']['relevance']
    picture = tmp_path / 'reliability.png'
    figures = evaluate(best, capsys, '--reliability', str(picture))
    assert picture.read_bytes().startswith(b'\x89PNG')
    assert figures['relevance']['samples'] == {'action': 24, 'gesture': 24, 'nothing': 24}
    assert figures['accuracy'] == summary['test']['accuracy']
    for task, found in figures['relevance']['tasks'].items():
        assert found == pytest.approx(summary['test']['relevance']['tasks'][task], abs=1e-4)


@pytest.fixture
def plain(toy_block: dict, tmp_path: Path, capsys) -> Path:
    """Return a finished checkpoint that knows nothing of relevance."""
    toy_block |= {'iterations': 2, 'optimiser': {}}
    train(toy_block, tmp_path, capsys)
    return tmp_path / 'run' / 'best.safetensors'


def test_calibrate_adds_relevance_to_a_finished_checkpoint(
    plain: Path, tmp_path: Path, capsys
) -> None:
    before = plain.read_bytes()
    out = tmp_path / 'hri.safetensors'
    arguments = ['calibrate', '--checkpoint', str(plain), '--out', str(out)]
    named = '--relevance.background.nothing'
    assert cli.main([*arguments, f'{named}.dataset', 'toy', f'{named}.test.num_clips', '9']) == 0
    shown = ' '.join(capsys.readouterr().out.split())  # long paths break lines
    for word in ('action', 'gesture', 'AUROC', 'ECE', 'mean', '9 nothing'):
        assert word in shown
    assert plain.read_bytes() == before
    old, _ = load_network(plain)
    new, checkpoint = load_network(out)
    for name, value in old.state_dict().items():
        assert torch.equal(new.state_dict()[name], value)
    assert sorted(new.relevance) == ['action', 'gesture']
    assert (
        checkpoint.training['config']['data'] == load_checkpoint(plain).training['config']['data']
    )
    without, figures = evaluate(plain, capsys), evaluate(out, capsys)
    assert 'relevance' not in without
    assert figures['accuracy'] == without['accuracy']
    assert figures['relevance']['samples'] == {'action': 24, 'gesture': 24, 'nothing': 9}
    stored = checkpoint.metrics['test']['relevance']['mean']
    assert figures['relevance']['mean'] == pytest.approx(stored, abs=1e-4)


def test_a_calibrated_checkpoint_can_be_calibrated_again(
    plain: Path, tmp_path: Path, capsys
) -> None:
    paths = [plain, tmp_path / 'once.safetensors', tmp_path / 'twice.safetensors']
    for source, out in pairwise(paths):
        assert cli.main(['calibrate', '--checkpoint', str(source), '--out', str(out)]) == 0
    once, twice = (load_checkpoint(path).state_dict for path in paths[1:])
    for name, value in once.items():
        torch.testing.assert_close(twice[name], value)


def test_a_file_is_replaced_only_where_that_is_said(plain: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'new folder' / 'hri.safetensors'
    arguments = ['calibrate', '--checkpoint', str(plain), '--out', str(out)]
    assert cli.main(arguments) == 0
    out.write_bytes(b'precious')
    assert cli.main(arguments) == 2
    assert out.read_bytes() == b'precious'
    assert cli.main([*arguments, '--overwrite']) == 0
    assert load_checkpoint(out).config.tasks['action'].relevance


def test_figures_on_clips_that_it_was_calibrated_on_say_so(
    plain: Path, tmp_path: Path, capsys
) -> None:
    out, note = tmp_path / 'hri.safetensors', 'on the clips it was calibrated on'
    arguments = ['calibrate', '--checkpoint', str(plain), '--out', str(out), '--split', 'val']
    assert cli.main(arguments) == 0
    assert note in ' '.join(capsys.readouterr().out.split())
    assert load_checkpoint(out).metrics['val']['relevance']['calibrated_on'] is True
    for split, flatters in (('val', True), ('test', False)):
        assert evaluate(out, capsys, '--split', split)['relevance']['calibrated_on'] is flatters
        assert cli.main(['evaluate', '--checkpoint', str(out), '--split', split]) == 0
        assert (note in ' '.join(capsys.readouterr().out.split())) is flatters


def test_a_run_without_a_test_split_marks_its_relevance(
    toy_block: dict, tmp_path: Path, capsys
) -> None:
    toy_block |= {'iterations': 2, 'optimiser': {}, 'relevance': {}}
    toy_block['evaluation']['test'] = False
    summary = train(toy_block, tmp_path, capsys)
    assert summary['val']['relevance']['calibrated_on'] is True


def test_tables_name_the_mean_and_the_clips(plain: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'hri.safetensors'
    assert cli.main(['calibrate', '--checkpoint', str(plain), '--out', str(out)]) == 0
    capsys.readouterr()
    assert cli.main(['evaluate', '--checkpoint', str(out), '--num-clips', '6']) == 0
    shown = capsys.readouterr().out
    for word in ('AUROC', 'alarms', 'mean', '6 action, 6 gesture'):
        assert word in shown


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('calibrate --checkpoint {plain}', 'out'),
        ('calibrate --checkpoint nowhere --out x', "Checkpoint 'nowhere'"),
        ('calibrate --checkpoint {plain} --out x --split tset', "got 'tset'"),
        ('calibrate --checkpoint {plain} --out x --batch-size 0', 'must be positive'),
        (
            'calibrate --checkpoint {plain} --out x --relevance.background.nothing.dataset toi',
            "Did you mean 'toy'?",
        ),
        (
            'calibrate --checkpoint {plain} --out x --relevance.background.action.dataset toy',
            "background must not have the name of a task, got 'action'",
        ),
        ('calibrate --checkpoint {plain} --out x --relevance.l3 1', "has no entry 'l3'"),
        ('calibrate --checkpoint {plain} --out x --relevance.l2 -1', 'l2 must be positive'),
        (
            'calibrate --checkpoint {plain} --out x --network.trunks.clip.width 3',
            'only entries of data and relevance',
        ),
        ('calibrate --checkpoint {plain} --out {plain}', 'exists: name another file, or say --ov'),
        ('calibrate --checkpoint {plain} --out {plain}/x', "can't be written"),
        ('calibrate --checkpoint {plain} --out .', "--out must name a file, '.' is a folder"),
        ('evaluate --checkpoint {plain} --reliability x.png', 'needs a checkpoint with relevance'),
        ('evaluate --checkpoint {plain} --picture {plain}/x', "can't be written"),
        (
            'evaluate --checkpoint {plain} --relevance.l2 7',
            "'--relevance.l2': only entries of data and relevance.background can be set here",
        ),
    ],
)
def test_wrong_input_gets_one_line(
    plain: Path, tmp_path: Path, monkeypatch, capsys, arguments: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)

    def work(*_: object, **__: object) -> None:
        raise AssertionError('the work began')

    monkeypatch.setattr('mtl_training.commands.calibrate.calibrate', work)
    monkeypatch.setattr('mtl_training.commands.evaluate.evaluate', work)
    try:
        code = cli.main(arguments.format(plain=plain).split())
    except SystemExit as leaving:
        code = leaving.code
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert message in line
    assert not (tmp_path / 'x').exists()


def test_relevance_is_refused_where_it_can_not_be(toy_block: dict) -> None:
    toy_block['relevance'] = {'background': {'gesture': BACKGROUND}}
    with pytest.raises(ValueError, match="must not have the name of a task, got 'gesture'"):
        build_config(toy_block)
    del toy_block['relevance']
    toy_block['network']['tasks']['action'] = {'relevance': True}
    with pytest.raises(ValueError, match=r'network\.tasks\.action\.relevance must not be set'):
        build_config(toy_block)


def test_a_run_can_be_resumed_with_another_relevance(toy_block: dict) -> None:
    other = {**toy_block, 'relevance': {'background': {'nothing': BACKGROUND}}}
    assert differences(build_config(toy_block), build_config(other)) == []


def test_entries_below_relevance_are_overrides(toy_block: dict, tmp_path: Path, capsys) -> None:
    toy_block['relevance'] = {'background': {'nothing': BACKGROUND}}
    path = tmp_path / 'toy.yaml'
    path.write_text(yaml.safe_dump(toy_block))
    arguments = ['train', '--config', str(path), '--out', str(tmp_path / 'run'), '--json']
    assert cli.main([*arguments, '--relevance.background.nothing.settings.num_clips', '5']) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary['test']['relevance']['samples']['nothing'] == 5
