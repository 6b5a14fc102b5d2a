"""The command line, in real processes on rendered clips where it matters."""

import json
import os
from pathlib import Path
import re
import subprocess
import sys

from mtl_perception.network.sharing import SHARING
from mtl_training import cli
from mtl_training.tables import summary
from mtl_training.weighting import WEIGHTINGS
import pytest
from safetensors.torch import save_file
import torch

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> 'subprocess.CompletedProcess[str]':
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    return subprocess.run(
        [sys.executable, '-m', 'mtl_training', *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )


def test_training_and_evaluation_on_rendered_clips_print_one_json_object(tmp_path) -> None:
    trained = run(
        'train', '--config', 'config/training/quick.yaml', '--out', str(tmp_path / 'run'),
        '--iterations', '2', '--json', '--workers', '0', '--evaluation.batch_size', '10',
        '--network.trunks.clip.num_frames', '4', '--batch_size', '2',
        '--data.action.val.num_clips', '10', '--data.gesture.val.num_clips', '10',
        '--data.action.test.num_clips', '10', '--data.gesture.test.num_clips', '12',
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    summary = json.loads(trained.stdout)
    assert summary['finished']
    assert summary['test']['samples'] == {'action': 10, 'gesture': 12}

    checkpoint = str(tmp_path / 'run' / 'best.safetensors')
    evaluated = run('evaluate', '--checkpoint', checkpoint, '--json')
    assert evaluated.returncode == 0, evaluated.stderr
    figures = json.loads(evaluated.stdout)
    assert figures['samples'] == {'action': 10, 'gesture': 12}
    assert figures['accuracy'] == summary['test']['accuracy']
    for task in figures['tasks'].values():
        assert sum(map(sum, task['confusion'])) == task['samples']
        assert set(task['per_class']) == set(task['labels'])


def test_list_names_every_method_with_one_line() -> None:
    listed = run('list', '--json')
    assert listed.returncode == 0, listed.stderr
    listing = json.loads(listed.stdout)
    assert {'hard', 'single_task'} <= set(listing['sharing'])
    assert {'synthetic', 'folder'} <= set(listing['datasets'])
    assert 'average' in listing['weighting']
    assert 'joint' in listing['regimes']
    assert all(text for entries in listing.values() for text in entries.values())


@pytest.mark.parametrize(
    'entry', [*SHARING.values(), *WEIGHTINGS.values()], ids=lambda entry: entry.__name__
)
def test_the_line_of_a_method_names_its_source(entry) -> None:
    line = summary(entry)
    assert line.endswith('.')
    assert re.search(r'\([^()]*\b(19|20)\d\d\b[^()]*\)', line), line


@pytest.fixture
def trained(toy_config, tmp_path) -> Path:
    out = tmp_path / 'run'
    assert cli.main(['train', '--config', str(toy_config), '--out', str(out)]) == 0
    return out / 'best.safetensors'


def test_tables_for_people_name_tasks_labels_and_the_cumulative_accuracy(
    trained, tmp_path, capsys
) -> None:
    picture = tmp_path / 'confusion.png'
    assert cli.main(['evaluate', '--checkpoint', str(trained), '--picture', str(picture)]) == 0
    shown = capsys.readouterr().out
    for word in ('action', 'gesture', 'left', 'right', 'still', 'cumulative'):
        assert word in shown
    assert picture.read_bytes().startswith(b'\x89PNG')


def test_evaluate_takes_other_clips_than_those_of_the_checkpoint(trained, capsys) -> None:
    arguments = ['evaluate', '--checkpoint', str(trained), '--json', '--split', 'val']
    cli.main([*arguments, '--num-clips', '7', '--data.gesture.settings.slow_sec', '0'])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures['split'], figures['samples']) == ('val', {'action': 7, 'gesture': 7})


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('fly', "unknown command 'fly'"),
        ('trian', "Did you mean 'train'?"),
        ('train', '--config is missing'),
        ('train --config nowhere.yaml', "config 'nowhere.yaml' does not exist; examples are in"),
        ('train --config {toy} --optimiser.lrr 1', "Did you mean '--optimiser.lr'?"),
        ('train --config {toy} --optimiser.lr abc', "must be of type float, got 'abc'"),
        ('train --config {toy} --optimiser.lr -1', 'lr must be positive, got -1'),
        ('train --config {toy} --network.trunks.clip.widht 3', "Did you mean 'width'?"),
        ('train --config {toy} --data.action.dataset toi', "Did you mean 'toy'?"),
        ('train --config {toy} --weighting.name avrage', "Did you mean 'average'?"),
        ('train --config {toy} --trainable_stages [layer9]', "no stage 'layer9'"),
        ('train --config {toy} --network.trunks.clip.depth 19', 'depth must be one of'),
        ('train --config {toy} --batch_size', 'expected one argument'),
        ('train --config {toy} --data.x', "'--data.x' needs a value"),
        (
            'train --config {toy} --out foreign.safetensors',
            "'foreign.safetensors' is not a folder",
        ),
        ('train --config {toy} --out foreign.safetensors/run', 'Not a directory'),
        (
            'train --config {toy} --data.action.settings.num_clips abc',
            'num_clips must be int, got',
        ),
        (
            'train --config {toy} --regime.name joint --regime.settings.label_smoothing abc',
            'must be float, got',
        ),
        ('train --resume --out nowhere', "config 'nowhere/config.yaml' does not exist"),
        ('evaluate --checkpoint nowhere', "Checkpoint 'nowhere'"),
        ('evaluate --checkpoint {foreign}', 'foreign.safetensors'),
        ('evaluate --checkpoint nowhere --num-clips 0', 'must be positive'),
        ('evaluate', 'checkpoint'),
        ('list --jsn', "Did you mean '--json'?"),
        ('compare --config {toy}', 'comparison has no entry'),
        ('compare', 'required: config'),
        ('report --runs .', "no runs in '.'"),
        ('scenes --stream --size big', 'size must be HEIGHTxWIDTH'),
    ],
)
def test_wrong_input_gets_one_line_and_exit_code_2(
    toy_config, tmp_path, monkeypatch, capsys, arguments, message
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file({'w': torch.zeros(2)}, tmp_path / 'foreign.safetensors')
    words = arguments.format(toy=toy_config, foreign='foreign.safetensors').split()
    try:
        code = cli.main(words)
    except SystemExit as leaving:
        code = leaving.code
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith('Using ')]
    assert code == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith('error: ')
    assert message in lines[0]
    assert captured.out == ''


def test_the_folder_is_checked_before_the_data(trained, toy_config, monkeypatch, capsys) -> None:
    monkeypatch.setattr('mtl_training.commands.train.Trainer', None)
    assert cli.main(['train', '--config', str(toy_config), '--out', str(trained.parent)]) == 2
    assert 'already holds a run' in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
def test_an_accelerator_that_is_not_there_gets_one_line(toy_config, tmp_path, capsys) -> None:
    arguments = ['train', '--config', str(toy_config), '--out', str(tmp_path / 'run')]
    assert cli.main([*arguments, '--accelerator', 'cuda']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "error: accelerator 'cuda' with 1 devices can't be used" in line


def test_wrong_data_for_a_checkpoint_is_refused(trained, capsys) -> None:
    for option, message in (
        ('--split=tset', "got 'tset'"),
        ('--data.pose.dataset=toy', "has no task 'pose'"),
        ('--network.trunks={}', 'only entries of data'),
        ('--device=abacus', "--device 'abacus' can't be used"),
        ('--data.action.test.num_clip=3', "Did you mean 'num_clips'?"),
    ):
        assert cli.main(['evaluate', '--checkpoint', str(trained), option]) == 2
        assert message in capsys.readouterr().err


def test_help_teaches_with_examples(capsys) -> None:
    assert cli.main(['--help']) == 0
    assert 'evaluate' in capsys.readouterr().out
    for command in ('train', 'evaluate', 'compare', 'report'):
        with pytest.raises(SystemExit) as leaving:
            cli.main([command, '--help'])
        assert leaving.value.code == 0
        shown = capsys.readouterr().out
        assert f'\n  python -m mtl_training {command} --' in shown
