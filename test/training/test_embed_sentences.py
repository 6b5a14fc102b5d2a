"""The command ``embed-sentences``: lists for robots without an encoder."""

import json
from pathlib import Path
from typing import Any

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.captions import EncoderConfig
from mtl_perception.network.config import PreprocessingConfig
from mtl_perception.sentences import build_encoder, read_sentence_list
from mtl_training.cli import main
import numpy as np
import pytest


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / 'list.txt'
    path.write_text('# people\na man walks\na cat sleeps\n')
    return path


def checkpoint(path: Path, **tasks: TaskConfig) -> Path:
    trunk = TrunkConfig(width=4, num_frames=4, preprocessing=PreprocessingConfig(resize=(16, 16)))
    network = MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks=tasks))
    save_checkpoint(path, network, metrics={}, training={})
    return path


def caption_task(**encoder: Any) -> TaskConfig:
    return TaskConfig(kind='caption', settings={'dim': 12, 'encoder': encoder})


def test_the_encoder_is_that_of_the_checkpoint(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = caption_task(name='hashed', seed=5)
    weights = checkpoint(tmp_path / 'hri.safetensors', caption=task)
    out = tmp_path / 'new' / 'list.safetensors'
    arguments = ['embed-sentences', str(text), '--out', str(out), '--checkpoint', str(weights)]
    assert main([*arguments, '--json']) == 0
    encoder = build_encoder(EncoderConfig(name='hashed', seed=5), 12)
    shown = json.loads(capsys.readouterr().out)
    assert shown == {'out': str(out), 'sentences': 2, 'dim': 12, 'encoder': encoder.identity}
    listed = read_sentence_list(out, encoder)
    assert listed.sentences == ('a man walks', 'a cat sleeps')
    np.testing.assert_allclose(listed.embeddings, encoder.encode(listed.sentences), atol=1e-7)
    assert main(arguments) == 2
    assert 'say --overwrite' in capsys.readouterr().err
    assert main([*arguments, '--overwrite']) == 0
    assert '2 sentences, 12 numbers each' in capsys.readouterr().out


def test_the_encoder_can_be_named(tmp_path: Path, text: Path) -> None:
    out = tmp_path / 'list.safetensors'
    named = ['--encoder', 'hashed', '--dim', '8', '--seed', '3']
    assert main(['embed-sentences', str(text), '--out', str(out), *named]) == 0
    encoder = build_encoder(EncoderConfig(name='hashed', seed=3), 8)
    assert read_sentence_list(out, encoder).dim == 8


@pytest.mark.parametrize(
    'options, error',
    [
        (['--checkpoint', 'CLIPS'], 'must have a task of captions, its tasks are'),
        (['--checkpoint', 'HRI', '--seed', '1'], '--seed must not be given with --checkpoint'),
        (['--encoder', 'guessing'], 'name must be one of'),
        (['--encoder', 'files'], 'model must name the file'),
        (['--encoder', 'hashed', '--dim', '0'], 'dim must be from 1'),
        (['--model', '/nowhere/model'], "there is no folder '/nowhere/model'"),
        (['--device', 'toaster'], "got 'toaster'"),
        (['--encoder', 'hashed', '--out', 'list.txt'], 'must end in .safetensors'),
    ],
)
def test_wrong_arguments_are_told_in_one_line(
    tmp_path: Path,
    text: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    error: str,
) -> None:
    paths = {
        'CLIPS': checkpoint(tmp_path / 'clips.safetensors', action=TaskConfig(labels=('a', 'b'))),
        'HRI': checkpoint(tmp_path / 'hri.safetensors', caption=caption_task(name='hashed')),
    }
    options = [str(paths.get(option, option)) for option in options]
    out = str(tmp_path / 'out.safetensors')
    assert main(['embed-sentences', str(text), '--out', out, *options]) == 2
    shown = capsys.readouterr().err
    assert error in shown
    assert shown.count('\n') == 1
    assert not Path(out).exists()
