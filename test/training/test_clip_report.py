"""Tables of captions, of several classes and of videos say what was found."""

import io
import json

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.config import PreprocessingConfig
from mtl_training.cli import main
from mtl_training.metrics import Evaluation
from mtl_training.report import print_evaluation
from rich.console import Console

RETRIEVED = {
    'pool': 90,
    'queries': 95,
    'r1': 0.123,
    'r5': 0.4,
    'r10': 0.5,
    'median_rank': 9.5,
    'mean_rank': 20.25,
}
SMALL = {**RETRIEVED, 'pool': 12, 'r1': 0.5, 'median_rank': 1.5}
ALL = {**RETRIEVED, 'pool': 400, 'r1': 0.01}


def printed(evaluation: Evaluation) -> list[list[str]]:
    """Return the cells of every row of every table."""
    file = io.StringIO()
    print_evaluation(Console(file=file, width=120), evaluation, 'mine')
    lines = file.getvalue().splitlines()
    return [[c.strip() for c in line.strip('│┃').replace('┃', '│').split('│')] for line in lines]


def test_captions_are_told_with_each_pool_and_its_size() -> None:
    figures = {**RETRIEVED, 'score': 0.3, 'all_sentences': ALL, 'small_pools': SMALL}
    rows = printed(Evaluation(captions={'say': figures}, losses={'say': -0.25}))
    header = ['task', 'of', 'R@1', 'R@5', 'R@10', 'Med r', 'Mean r', 'pool', 'clips', 'loss']
    assert header in rows
    rest = ['40.0%', '50.0%']
    assert [row for row in rows if row[0] == 'say'] == [
        ['say', 'one sentence per item', '12.3%', *rest, '9.5', '20.2', '90', '95', '-0.250'],
        ['say', 'all sentences', '1.0%', *rest, '9.5', '20.2', '400', '95', '-0.250'],
        ['say', 'random pools', '50.0%', *rest, '1.5', '20.2', '12', '95', '-0.250'],
    ]


def test_too_few_sentences_for_small_pools_are_no_error() -> None:
    figures = {**RETRIEVED, 'score': 0.3, 'all_sentences': ALL, 'small_pools': None}
    rows = printed(Evaluation(captions={'say': figures}, losses={'say': 0.0}))
    assert [row[1] for row in rows if row[0] == 'say'] == [
        'one sentence per item',
        'all sentences',
    ]


def test_several_classes_and_videos_are_told() -> None:
    shown = {'map': 0.5, 'map_11_points': 0.525, 'hit_at_1': 0.75, 'images': 8}
    videos = {'accuracy': 0.8, 'clip_accuracy': 0.7, 'videos': 10, 'clips': 33}
    rows = printed(
        Evaluation(
            multilabel={'see': {**shown, 'per_class': {'cat': 1.0, 'dog': None}}},
            videos={'act': videos},
            losses={'see': 1.5},
        )
    )
    assert ['see', '50.0%', '52.5%', '75.0%', '8', '1.500'] in rows
    assert ['cat', '100.0%'] in rows
    assert ['dog', '-'] in rows, 'a class that no picture shows has no precision'
    assert ['act', '80.0%', '10', '70.0%', '33'] in rows


def test_a_checkpoint_with_captions_is_evaluated_with_its_pool(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    trunk = TrunkConfig(width=4, num_frames=4, preprocessing=PreprocessingConfig(resize=(16, 22)))
    task = TaskConfig(kind='caption', settings={'dim': 12, 'encoder': {'name': 'hashed'}})
    network = MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks={'say': task}))
    data = {'say': {'dataset': 'synthetic', 'test': {'num_clips': 4}}}
    path = tmp_path / 'one.safetensors'
    save_checkpoint(path, network, metrics={}, training={'config': {'data': data}})
    assert main(['evaluate', '--checkpoint', str(path), '--json']) == 0
    (found,) = json.loads(capsys.readouterr().out)['captions'].values()
    assert (found['pool'], found['queries'], found['r5']) == (4, 4, 1.0)
    assert found['all_sentences']['pool'] == 4
    assert found['small_pools'] is None, 'four sentences are too few for a pool of twelve'
