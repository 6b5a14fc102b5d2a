"""Joined checkpoints say what their parts say, and evaluate finds all data."""

import json

from mtl_perception.checkpoint import load_checkpoint, load_network, save_checkpoint
from mtl_perception.network.config import from_mapping, NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training import cli
from mtl_training.config import build_config, DataConfig
from mtl_training.data.loading import build_task_datasets
from mtl_training.joining import common_dtype, join_checkpoints
import pytest
from safetensors import safe_open
import torch

CLIPS = {'accuracy': {'action': 0.5}, 'cumulative_accuracy': 0.5, 'relevance': {'tasks': {}}}
PEOPLE = {
    'accuracy': {'activity': 0.7},
    'cumulative_accuracy': 0.7,
    'people': {'person': {'ap': 0.4}},
}

WINDOWS = {
    'accuracy': {},
    'cumulative_accuracy': 0.0,
    'segments': {'doing': {'score': 0.3}},
}


def stored(path, block: dict, labels: dict, metrics: dict, *, dtype=None, seed=0) -> str:
    torch.manual_seed(seed)
    config = from_mapping(NetworkConfig, block['network']).with_labels(labels)
    network = MultiTaskNetwork(config).eval()
    training = {'config': {'data': block['data'], 'losses': block.get('losses', {})}}
    save_checkpoint(
        path, network, metrics={'test': metrics}, training=training, git_revision=path.stem,
        dtype=dtype,
    )  # fmt: skip
    return str(path)


@pytest.fixture
def clips(toy_block, tmp_path) -> str:
    labels = dict.fromkeys(('action', 'gesture'), ('left', 'right', 'still'))
    return stored(tmp_path / 'clips.safetensors', toy_block, labels, CLIPS, dtype='float16')


@pytest.fixture
def frames(frames_block, tmp_path) -> str:
    labels = {'activity': ('still', 'moving')}
    build_config(frames_block)
    return stored(tmp_path / 'frames.safetensors', frames_block, labels, PEOPLE, dtype='float16')


@pytest.fixture
def windows(tmp_path) -> str:
    data = {'dataset': 'activity_grammar', 'settings': {'num_videos': 2, 'num_actions': 6}}
    graph = {'feature_dim': 8, 'width': 8, 'num_layers': 1}
    task = {'kind': 'recognition', 'trunk': 'memory', 'settings': {'num_nodes': 3}}
    block = {
        'network': {
            'trunks': {'memory': {'backbone': 'temporal_graph', 'graph': graph}},
            'tasks': {'doing': task},
        },
        'data': {'doing': data},
    }
    config = from_mapping(NetworkConfig, block['network'])
    given = {'doing': from_mapping(DataConfig, data)}
    task['groups'] = build_task_datasets(config, given, 'test')['doing'].groups  # type: ignore[union-attr]
    return stored(tmp_path / 'windows.safetensors', block, {}, WINDOWS)


@pytest.mark.parametrize('order', [1, -1], ids=['clips first', 'frames first'])
def test_every_output_stays_bit_for_bit(clips, frames, tmp_path, order) -> None:
    out = tmp_path / 'joined.safetensors'
    assert cli.main(['join', '--checkpoints', *[clips, frames][::order], '--out', str(out)]) == 0
    joined, _ = load_network(out)
    inputs = {'clip': torch.randn(2, 3, 4, 16, 16), 'frame': torch.randn(2, 3, 64, 96)}
    with torch.no_grad():
        both = joined(inputs)
        people = joined.people(inputs['frame'])
        for path, trunk in ((clips, 'clip'), (frames, 'frame')):
            part, _ = load_network(path)
            for task, expected in part({trunk: inputs[trunk]}).items():
                _assert_same(both[task], expected)
            if trunk == 'frame':
                _assert_same(people, part.people(inputs['frame']))


def _assert_same(got, expected) -> None:
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)
    elif isinstance(expected, tuple):
        for one, other in zip(got, expected, strict=True):
            _assert_same(one, other)
    else:
        assert got == expected


@pytest.mark.parametrize('order', [1, -1], ids=['clips first', 'frames first'])
def test_figures_of_all_parts_are_kept(clips, frames, order) -> None:
    joined = join_checkpoints([clips, frames][::order])
    test = joined.metrics['test']
    assert test['accuracy'] == {'action': 0.5, 'activity': 0.7}
    assert test['cumulative_accuracy'] == 0.5
    assert test['relevance'] == {'tasks': {}}
    assert test['people'] == PEOPLE['people']
    assert joined.training['config']['data'].keys() == joined.network.config.tasks.keys()
    parts = {part['git_revision']: part for part in joined.training['joined']}
    assert parts['clips']['metrics'] == {'test': CLIPS}
    assert parts['frames']['metrics'] == {'test': PEOPLE}


@pytest.mark.parametrize('order', [1, -1], ids=['clips first', 'windows first'])
def test_figures_of_clips_are_not_those_of_windows(clips, windows, order) -> None:
    test = join_checkpoints([clips, windows][::order]).metrics['test']
    assert test['cumulative_accuracy'] == 0.5
    assert test['segments'] == WINDOWS['segments']


def test_fewer_clips_are_asked_of_clips_alone(clips, windows, tmp_path, capsys) -> None:
    out = str(tmp_path / 'joined.safetensors')
    assert cli.main(['join', '--checkpoints', clips, windows, '--out', out]) == 0
    capsys.readouterr()
    given = ['evaluate', '--checkpoint', out, '--num-clips', '4', '--device', 'cpu', '--json']
    assert cli.main(given) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['samples'] == {'action': 4, 'gesture': 4}
    assert found['segments']['doing']['samples'] == 12


def test_the_precision_of_the_parts_is_that_of_the_joined(
    clips, frames, frames_block, tmp_path
) -> None:
    assert common_dtype([clips, frames]) == 'float16'
    wide = stored(tmp_path / 'wide.safetensors', frames_block, {'activity': ('a', 'b')}, {})
    assert common_dtype([clips, wide]) == 'float32'
    out = tmp_path / 'joined.safetensors'
    command = ['join', '--checkpoints', clips, frames, '--out', str(out)]
    assert cli.main(command) == 0
    assert _dtypes(out) == {'F16', 'I64'}
    assert cli.main([*command, '--overwrite', '--dtype', 'float32']) == 0
    assert _dtypes(out) == {'F32', 'I64'}


def _dtypes(path) -> set[str]:
    with safe_open(path, framework='pt') as file:
        return {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118


def test_an_old_file_is_only_written_over_when_asked(clips, frames, tmp_path, capsys) -> None:
    command = ['join', '--checkpoints', clips, frames, '--out', clips]
    before = load_checkpoint(clips).config
    assert cli.main(command) == 2
    assert 'say --overwrite' in capsys.readouterr().err
    assert load_checkpoint(clips).config == before


def test_parts_must_be_several_distinct_and_of_different_names(clips, frames, tmp_path) -> None:
    with pytest.raises(ValueError, match='at least two to be joined, got 1'):
        join_checkpoints([clips])
    with pytest.raises(ValueError, match='checkpoints must be distinct'):
        join_checkpoints([clips, clips])
    copy = tmp_path / 'copy.safetensors'
    copy.write_bytes((tmp_path / 'clips.safetensors').read_bytes())
    with pytest.raises(ValueError, match=r"both have a trunk 'clip'"):
        join_checkpoints([clips, str(copy)])
    with pytest.raises(ValueError, match='does not exist'):
        join_checkpoints([clips, str(tmp_path / 'none.safetensors')])


def test_evaluate_finds_the_data_of_all_tasks(clips, frames, tmp_path, capsys) -> None:
    out = str(tmp_path / 'joined.safetensors')
    assert cli.main(['join', '--checkpoints', clips, frames, '--out', out, '--json']) == 0
    assert json.loads(capsys.readouterr().out)['parts'][clips] == ['action', 'gesture']
    sheet, picture = tmp_path / 'people.png', tmp_path / 'confusion.png'
    command = ['evaluate', '--checkpoint', out, '--split', 'val', '--num-images', '3']
    command += ['--num-clips', '6', '--batch-size', '4']
    pictures = [
        '--people',
        str(sheet),
        '--picture',
        str(picture),
        '--flip',
        '--scales',
        '1',
        '1.5',
    ]
    assert cli.main([*command, *pictures, '--json']) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures['samples']['action'] == 6
    assert figures['images'] == 3
    assert figures['people'].keys() == {'person', 'keypoints', 'pose', 'activity'}
    assert figures['loss'].keys() == figures['accuracy'].keys() | figures['people'].keys()
    assert figures['activities']['activity'].keys() == {'still', 'moving'}
    assert sheet.stat().st_size > 1000
    assert picture.stat().st_size > 1000
    assert cli.main(command) == 0
    shown = capsys.readouterr().out
    for text in ('AP50', 'poses in the true boxes', 'share of people found', 'cumulative'):
        assert text in shown
