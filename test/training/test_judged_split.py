"""Tests of what is judged where a data set has no test split."""

import json
from pathlib import Path

import cv2
from mtl_perception.checkpoint import load_checkpoint, save_checkpoint
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training import cli
from mtl_training.commands.data_of import of_judged_split
from mtl_training.config import build_config, to_mapping
from mtl_training.data.loading import build_datasets, with_labels
from mtl_training.data.video_sets.jester import jester
from mtl_training.data.video_sets.merged import merged
from mtl_training.data.videos.index import NoSplitError
import numpy as np
import pytest


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Make clips of two classes as folders of pictures, without a test split."""
    for name in ('train/a/1', 'train/b/1', 'val/a/1', 'val/b/1'):
        folder = tmp_path / 'videos' / name
        folder.mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(str(folder / f'{i}.png'), np.full((16, 16, 3), 60 * i, np.uint8))
    return tmp_path / 'videos'


@pytest.fixture
def checkpoint(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    trunk = {'width': 2, 'num_frames': 2, 'preprocessing': {'resize': [16, 16]}}
    data = {'dataset': 'folder', 'settings': {'root': str(videos)}}
    block = {
        'network': {'trunks': {'clip': trunk}, 'tasks': {'one': {}, 'two': {}}},
        'data': {'one': data, 'two': data},
        'iterations': 1,
    }
    config = build_config(block)
    network = MultiTaskNetwork(with_labels(config.network, build_datasets(config, 'val')))
    path = str(tmp_path / 'plain.safetensors')
    save_checkpoint(path, network, metrics={}, training={'config': to_mapping(config)})
    return path


def test_val_is_judged_where_there_is_no_test_split_and_a_line_says_so(
    checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(['evaluate', '--checkpoint', checkpoint, '--json']) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found['split'], found['samples']) == ('val', {'one': 2, 'two': 2})
    (line,) = (line for line in said.err.splitlines() if 'test' in line)
    assert line.startswith('There is no test split, judged is val: ')
    assert line.endswith("videos' has no folder 'test'.")


def test_training_without_a_test_split_is_told_how(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / 'mine.yaml'
    file.write_text(
        'network: {trunks: {clip: {width: 2}}, tasks: {one: {}}}\n'
        f'data: {{one: {{dataset: folder, settings: {{root: {videos}}}}}}}\niterations: 1\n'
    )
    assert cli.main(['train', '--config', str(file), '--out', str(tmp_path / 'run')]) == 2
    error = capsys.readouterr().err
    assert "has no folder 'test'" in error
    assert 'Train without one by --evaluation.test false.' in error


def test_calibrate_judges_val_too_and_says_that_the_figures_flatter(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / 'calibrated.safetensors')
    assert cli.main(['calibrate', '--checkpoint', checkpoint, '--out', out]) == 0
    said = capsys.readouterr()
    assert 'There is no test split, judged is val' in said.err
    assert 'on the clips it was calibrated on' in ' '.join(said.out.split())
    assert load_checkpoint(out).metrics['val']['relevance']['calibrated_on'] is True
    # Now with mixed scenes.
    assert cli.main(['evaluate', '--checkpoint', out]) == 0
    said = capsys.readouterr()
    assert said.err.count('There is no test split') == 1
    assert 'mixed scenes of split val' in ' '.join(said.out.split())


@pytest.mark.parametrize('command', ['evaluate', 'calibrate'])
def test_a_test_split_that_is_asked_for_and_is_not_there_is_an_error_that_names_val(
    command: str, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ['--out', str(tmp_path / 'new.safetensors')] if command == 'calibrate' else []
    given = [command, '--checkpoint', checkpoint, '--split', 'test', *out]
    assert cli.main(given) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: --split test: ')
    assert "has no folder 'test'" in error
    assert '--split val' in error


def test_a_data_set_that_is_wrong_otherwise_is_not_judged_on_val(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ['evaluate', '--checkpoint', checkpoint, '--data.one.settings.root']
    assert cli.main([*given, str(tmp_path / 'nowhere')]) == 2
    assert "nowhere' is not a folder that exists" in capsys.readouterr().err


def test_a_test_split_is_judged_where_there_is_one() -> None:
    assert of_judged_split(None, str.upper) == ('test', 'TEST')
    assert of_judged_split('train', str.upper) == ('train', 'TRAIN')


def test_parts_and_published_data_sets_tell_that_there_is_no_test_split(videos: Path) -> None:
    with pytest.raises(NoSplitError, match=r"part 'own': .*has no folder 'test'"):
        merged('test', parts={'own': {'dataset': 'folder', 'root': str(videos)}})
    with pytest.raises(NoSplitError, match="labels of Jester's test list are withheld"):
        jester('test', root=str(videos))
