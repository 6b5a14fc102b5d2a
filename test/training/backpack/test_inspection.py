"""What a task draws from its backpack, against slow loops over its windows."""

import json
from pathlib import Path

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network import from_mapping, MultiTaskNetwork, NetworkConfig
from mtl_training import cli
from mtl_training.backpack import sheet
from mtl_training.backpack.inspection import inspect_backpack, MOMENTS, VOTE
from mtl_training.backpack.sheet import sheet_blocks, with_rest
from mtl_training.commands import inspect_backpack as command
from mtl_training.data.graph_sample import GraphBatch, GraphSample, UNKNOWN
from mtl_training.reporting.html import to_html
import numpy as np
from PIL import Image
import pytest
import torch

CONCEPTS = ('take knife', 'cut bread', 'put knife', 'open door', 'close door')
GROUPS = {'verb': ('take', 'cut', 'put'), 'noun': ('knife', 'bread')}
DIM, WINDOWS = 6, 7
NODES = {'action': 3, 'next': 2, 'change': 4, 'moment': 5}
KINDS = {
    'action': ('recognition', {'num_nodes': 3}),
    'next': ('anticipation', {'num_inputs': 2, 'num_futures': 4}),
    'change': ('state_change', {'num_nodes': 4}),
    'moment': ('point_of_no_return', {'num_nodes': 5}),
}


def network_of(novel: str, *, k: int = 2, depth: int = 2) -> MultiTaskNetwork:
    known = [task for task in KINDS if task != novel]
    tasks = {}
    for name, (kind, settings) in KINDS.items():
        tasks[name] = {'kind': kind, 'trunk': 'memory', 'settings': dict(settings)}
        if kind in ('recognition', 'anticipation'):
            tasks[name]['groups'] = GROUPS
    tasks[novel]['settings']['backpack'] = {'tasks': known, 'k': k, 'depth': depth}
    graph = {'feature_dim': DIM, 'width': 8, 'known': known, 'concepts': CONCEPTS}
    trunk = {'backbone': 'temporal_graph', 'graph': graph}
    torch.manual_seed(1)
    network = MultiTaskNetwork(
        from_mapping(NetworkConfig, {'trunks': {'memory': trunk}, 'tasks': tasks})
    )
    for task in known:
        network.prototypes['memory'].store(task, torch.randn(len(CONCEPTS), 8))
    return network.eval()


def batch_of(novel: str) -> GraphBatch:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(WINDOWS, NODES[novel], 3, DIM, generator=generator)

    def draw(most: int, *shape: int) -> torch.Tensor:
        return torch.randint(most, (WINDOWS, *shape), generator=generator)

    targets = {
        'action': lambda: torch.stack([draw(3), draw(2)], 1),
        'next': lambda: torch.stack([draw(3, 4), draw(2, 4)], 2),
        'change': lambda: draw(2),
        'moment': lambda: draw(5),
    }[novel]()
    if novel == 'next':
        targets[0, 2:] = UNKNOWN
    return GraphBatch(features, targets, torch.zeros(WINDOWS, 2), torch.arange(WINDOWS))


def halves(batch: GraphBatch):
    return [GraphBatch(*(part[rows] for part in batch)) for rows in (slice(3), slice(3, None))]


def inspected(novel: str, **settings):
    network = network_of(novel, **settings)
    device = torch.device('cpu')
    return network, inspect_backpack(network, novel, halves(batch_of(novel)), device=device)


def truth_of(batch: GraphBatch, novel: str, group: int, window: int, node: int) -> int:
    if novel == 'action':
        return int(batch.targets[window, group])
    if novel == 'next':
        return int(batch.targets[window, node, group])
    if novel == 'change':
        return int(batch.targets[window])
    return int(batch.targets[window] == node)


@pytest.mark.parametrize('novel', KINDS)
def test_matches_are_counted_by_class_and_concept(novel) -> None:
    network, found = inspected(novel)
    batch = batch_of(novel)
    with torch.no_grad():
        matches = network.perspectives(novel, batch.features).matches
    assert found.num_windows == WINDOWS
    assert found.concepts == CONCEPTS
    for group, counts in enumerate(found.groups.values()):
        for task in found.known:
            expected = np.zeros((2, len(counts.classes), len(CONCEPTS)))
            for layer, window, node, best in np.ndindex(*matches[task].shape):
                true = truth_of(batch, novel, group, window, node)
                if true != UNKNOWN:
                    concept = int(matches[task][layer, window, node, best])
                    expected[layer, true, concept] += 1
            np.testing.assert_array_equal(counts.closest[task].numpy(), expected)
    if novel == 'moment':
        assert counts.classes == MOMENTS


@pytest.mark.parametrize('novel', KINDS)
def test_agreement_and_accuracies_are_those_of_a_loop(novel) -> None:
    network, found = inspected(novel)
    batch = batch_of(novel)
    with torch.no_grad():
        logits = network.perspectives(novel, batch.features).logits
        logits[VOTE] = network.forward_tasks({novel: batch.features})[novel]
    assert list(logits) == list(found.perspectives)
    for group, (name, counts) in enumerate(found.groups.items()):
        decided, true = [], []
        for output in logits.values():
            values = output[name] if isinstance(output, dict) else output
            decided.append(values.argmax(-1).flatten().tolist())
        targets = batch.targets if novel in ('change', 'moment') else batch.targets[..., group]
        true = targets.flatten().tolist()
        agreement, accuracy = counts.agreement(), counts.accuracy()
        for i, one in enumerate(decided):
            pairs = [(a, t) for a, t in zip(one, true) if t != UNKNOWN]
            assert accuracy[i] == pytest.approx(np.mean([a == t for a, t in pairs]))
            for j, other in enumerate(decided):
                same = np.mean([a == b for a, b in zip(one, other)])
                assert agreement[i, j] == pytest.approx(same)
        assert counts.confusion.num_samples == sum(t != UNKNOWN for t in true)
        assert counts.confusion.accuracy == pytest.approx(float(accuracy[-1]))


@pytest.mark.parametrize('novel', KINDS)
def test_the_page_names_concepts_and_stands_alone(novel, tmp_path) -> None:
    _, found = inspected(novel)
    page = to_html(sheet_blocks(found, tmp_path, 'the title'), 'the title')
    assert 'In its backpack: ' in page
    assert (
        page.count('src="data:image/png')
        == len(list(tmp_path.glob('*.png')))
        == 3 * len(found.groups)
    )
    for path in tmp_path.glob('*.png'):
        with Image.open(path) as image:
            assert min(image.size) > 200
    assert 'decides as all together %' in page
    json.dumps(found.facts())


def test_concepts_are_shown_by_their_names_and_the_most_frequent_first(
    monkeypatch, tmp_path
) -> None:
    figures = []
    monkeypatch.setattr(sheet, 'save', lambda figure, path: figures.append(figure))
    _, found = inspected('change')
    (counts,) = found.groups.values()
    sheet._draw_closest(tmp_path / 'a.png', counts=counts, concepts=CONCEPTS)
    axis = figures[0].axes[0]
    names = [text.get_text() for text in axis.get_yticklabels()]
    total = counts.closest['action'][0].sum(0)
    assert sorted(names) == sorted(CONCEPTS)
    assert [int(total[CONCEPTS.index(name)]) for name in names] == sorted(total.tolist())[::-1]
    widths = sorted(bar.get_width() for bar in axis.patches)
    assert sum(widths) == pytest.approx(200), 'the shares of each of two classes'


def test_without_exchanges_there_are_perspectives_alone(tmp_path) -> None:
    _, found = inspected('change', depth=0)
    blocks = sheet_blocks(found, tmp_path, 'title')
    assert len(list(tmp_path.glob('*.png'))) == 2
    assert not any('closest' in getattr(block, 'text', '') for block in blocks)


def test_the_most_frequent_labels_are_kept_and_the_rest_is_one() -> None:
    counts = np.array([[1, 0, 0, 1], [0, 5, 1, 0], [1, 0, 0, 0], [0, 2, 0, 4]])
    labels, folded = with_rest(counts, list('abcd'), 2)
    assert labels == ['b', 'd', 'rest']
    np.testing.assert_array_equal(folded, [[5, 0, 1], [2, 4, 0], [0, 1, 2]])
    assert with_rest(counts, list('abcd'), 4) == (list('abcd'), counts)


class Windows:
    """A data set of windows, as the command builds it."""

    task, labels, groups = 'change', ('no_change', 'change'), {}

    def __len__(self) -> int:
        return WINDOWS

    def __getitem__(self, index: int) -> GraphSample:
        batch = batch_of('change')
        return GraphSample(batch.features[index], batch.targets[index], torch.zeros(2), index)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    path = tmp_path / 'novel.safetensors'
    config = {'data': {'change': {'dataset': 'activity_grammar'}}}
    save_checkpoint(path, network_of('change'), metrics={}, training={'config': config})
    return path


def test_the_command_writes_page_pictures_and_figures(
    checkpoint, tmp_path, monkeypatch, capsys
) -> None:
    asked = []

    def build(config, data, split):
        asked.append((data['change'].dataset, split))
        return {'change': Windows()}

    monkeypatch.setattr(command, 'build_task_datasets', build)
    out = tmp_path / 'out'
    arguments = ['inspect-backpack', '--checkpoint', str(checkpoint), '--out', str(out)]
    assert cli.main([*arguments, '--split', 'val', '--device', 'cpu']) == 0
    assert asked == [('activity_grammar', 'val')]
    shown = capsys.readouterr().out.split()
    assert shown == [str(out / 'backpack.html'), str(out / 'backpack.json')]
    facts = json.loads((out / 'backpack.json').read_text())
    _, found = inspected('change')
    assert facts == {**facts, **json.loads(json.dumps(found.facts()))}
    assert (facts['split'], facts['windows']) == ('val', WINDOWS)
    assert sorted(path.name for path in out.iterdir()) == [
        'backpack.html', 'backpack.json', 'change_00.png', 'change_01.png', 'change_02.png',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--task', 'action'], "--task 'action' has no backpack; have one: change"),
        (['--batch-size', '0'], '--batch-size must be positive, got 0'),
    ],
)
def test_what_it_can_not_do_is_refused(checkpoint, tmp_path, capsys, arguments, message) -> None:
    start = ['inspect-backpack', '--checkpoint', str(checkpoint), '--out', str(tmp_path)]
    assert cli.main([*start, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_without_a_backpack_is_refused(tmp_path, capsys) -> None:
    path = tmp_path / 'plain.safetensors'
    config = {
        'trunks': {'clip': {'width': 4, 'num_frames': 4}},
        'tasks': {'action': {'labels': ['a', 'b']}},
    }
    save_checkpoint(
        path, MultiTaskNetwork(from_mapping(NetworkConfig, config)), metrics={}, training={}
    )
    assert cli.main(['inspect-backpack', '--checkpoint', str(path), '--out', str(tmp_path)]) == 2
    assert 'has no task with a backpack' in capsys.readouterr().err
