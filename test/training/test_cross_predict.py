"""The command ``cross-predict``: what is asked, what is written, and what is refused."""

import base64
from html.parser import HTMLParser
import io
import json
from pathlib import Path
import re

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.config import PreprocessingConfig
from mtl_training.cli import main
from mtl_training.cross_prediction import CrossPrediction, likeliest, spread_over, truth_of
from mtl_training.cross_sheet import sheet_html, sheet_png
from mtl_training.data.synthetic.labels import TASK_LABELS
import numpy as np
from PIL import Image
import pytest
import torch

ACTIONS = TASK_LABELS['action']
CAPTION = TaskConfig(kind='caption', settings={'dim': 12, 'encoder': {'name': 'hashed'}})
RENDERED = {'dataset': 'synthetic', 'test': {'num_clips': 5}, 'train': {'augment': True}}


def checkpoint(path: Path, **tasks: TaskConfig) -> Path:
    """Write an untrained network with the data sets of rendered scenes."""
    torch.manual_seed(0)
    trunk = TrunkConfig(width=4, num_frames=4, preprocessing=PreprocessingConfig(resize=(16, 22)))
    network = MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks=tasks))
    data = dict.fromkeys(tasks, RENDERED)
    save_checkpoint(path, network, metrics={}, training={'config': {'data': data}})
    return path


@pytest.fixture
def crossed(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return checkpoint(
        tmp_path / 'hri.safetensors', action=TaskConfig(labels=ACTIONS), describe=CAPTION
    )


class Page(HTMLParser):
    """The texts and pictures of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts, self.pictures, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append(tag)
        if tag == 'img':
            self.pictures.append(dict(attributes)['src'])

    def handle_data(self, data) -> None:
        self.texts.append(data)


def test_each_task_speaks_of_the_clips_of_the_other(crossed, tmp_path, capsys) -> None:
    out = tmp_path / 'out'
    arguments = ['cross-predict', '--checkpoint', str(crossed), '--out', str(out), '--num', '4']
    assert main([*arguments, '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found['split'], found['pool']) == ('test', 5)
    predictions = found['predictions']
    asked = [(p['task'], p['other'], p['index']) for p in predictions]
    numbers = [0, 1, 2, 3]  # of five clips, evenly
    assert asked == [('action', 'describe', i) for i in numbers] + [
        ('describe', 'action', i) for i in numbers
    ]
    page = (out / 'cross_prediction.html').read_text()
    sentences = {p['truth'][0] for p in predictions if p['task'] == 'describe'}
    for prediction in predictions:
        (truth,) = prediction['truth']
        assert len(prediction['said']) == 3
        values = [value for _, value in prediction['said']]
        assert values == sorted(values, reverse=True)
        if prediction['task'] == 'action':
            assert truth in ACTIONS
            assert prediction['source'].endswith(f', {truth}')
            assert prediction['said'][0][0].endswith('.')
        else:
            assert {label for label, _ in prediction['said']} <= set(ACTIONS)
            assert sum(values) < 1
        for text in (truth, prediction['said'][0][0]):
            assert text in ' '.join(Page(page).texts)
    assert len(sentences) == 4
    assert 'pool of 5' in page
    shown = Page(page)
    assert not {'script', 'link', 'iframe'} & set(shown.tags)
    assert 'url(' not in page
    assert len(shown.pictures) == 8
    for source in shown.pictures:
        kind, _, data = source.partition(';base64,')
        assert kind == 'data:image/jpeg'
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.height >= 96
    with Image.open(out / 'cross_prediction.png') as image:
        assert image.width == 1200
    assert not [path for path in out.iterdir() if path.suffix not in ('.html', '.png')]


def test_sentences_may_come_from_a_list(crossed, tmp_path, capsys) -> None:
    listed = tmp_path / 'list.txt'
    listed.write_text('A dog <b>sleeps</b>.\nNobody is there.\n')
    out = tmp_path / 'out'
    arguments = ['cross-predict', '--checkpoint', str(crossed), '--out', str(out), '--num', '2']
    overrides = ['--data.action.val.num_clips', '3', '--data.describe.val.num_clips', '3']
    arguments += ['--sentences', str(listed), '--split', 'val', *overrides]
    assert main(arguments) == 0
    assert capsys.readouterr().out.split() == [
        str(out / f'cross_prediction.{suffix}') for suffix in ('html', 'png')
    ]
    page = (out / 'cross_prediction.html').read_text()
    assert 'A dog &lt;b&gt;sleeps&lt;/b&gt;.' in page
    assert 'pool of 2, those of list.txt' in page


@pytest.mark.parametrize(
    ('tasks', 'message'),
    [
        ({'action': TaskConfig(labels=ACTIONS)}, 'there must be a task of kind caption'),
        ({'describe': CAPTION}, "kind classification on the trunk 'clip' of the captions"),
    ],
)
def test_a_network_of_one_kind_is_refused(tmp_path, capsys, tasks, message) -> None:
    weights = checkpoint(tmp_path / 'one.safetensors', **tasks)
    assert main(['cross-predict', '--checkpoint', str(weights), '--out', str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_wrong_arguments_are_told_before_anything_is_loaded(crossed, tmp_path, capsys) -> None:
    arguments = ['cross-predict', '--checkpoint', str(crossed)]
    (tmp_path / 'file').write_text('')
    for more, message in (
        (['--out', str(tmp_path / 'file')], "can't be written"),
        (['--out', str(tmp_path), '--num', '0'], '--num must be positive, got 0'),
        (['--out', str(tmp_path), '--sentences', str(tmp_path / 'file')], 'file'),
    ):
        assert main([*arguments, *more]) == 2
        assert message in capsys.readouterr().err


def test_names_of_any_kind_are_shown_as_they_are() -> None:
    """A label is no markup and no formula."""
    frames = np.zeros((2, 8, 10, 3), np.uint8)
    truth, said = ('<i>$x$ & y</i>',), (('$a_b$ \\q', 0.5), ('other', 0.25))
    predictions = [
        CrossPrediction('act', 'say', 3, 'a<b', truth, said, frames),
        CrossPrediction('say', 'act', 4, '', ('one', 'two'), said, frames),
        CrossPrediction('say', 'act', 5, '', (), said, frames),
    ]
    shown = {'caption': 'say', 'title': 'T & t', 'notes': ['n <1>']}
    page = sheet_html(predictions, **shown)
    texts = Page(page).texts
    assert 'act, true: <i>$x$ & y</i>' in texts
    assert '$a_b$ \\q (cosine 0.50)' in texts
    assert '$a_b$ \\q (50%)' in texts
    assert 'say, true: one, two' in texts
    assert 'say, true: unknown' in texts
    assert re.search('<title>T &amp; t</title>', page)
    with Image.open(io.BytesIO(sheet_png(predictions, **shown))) as image:
        assert len(set(image.convert('L').tobytes())) > 20, 'frames and text'


def test_truths_are_sentences_classes_or_a_label() -> None:
    class Clips:
        labels = ('cat', 'dog', 'bird')

    class Photos(Clips):
        positives = torch.tensor([[True, False, True], [False, False, False]])

    class Captioned:
        sentences = ('s0', 's1', 's2')

        def truths(self, index):
            return (0, 2)

    assert truth_of(Clips(), 0, 1) == ('dog',)
    assert truth_of(Photos(), 0, 0) == ('cat', 'bird')
    assert truth_of(Photos(), 0, 1) == ()
    assert truth_of(Captioned(), 0, 2) == ('s2', 's0')
    # Another clip stands in for a damaged one: its sentence, and no other, is true of it.
    assert truth_of(Captioned(), 0, 1) == ('s1',)


def test_the_likeliest_come_first_and_clips_are_spread() -> None:
    logits = torch.tensor([0.0, 2.0, 1.0])
    (first, share), (second, _) = likeliest(logits, ('a', 'b', 'c'), 2)
    assert (first, second) == ('b', 'c')
    assert share == pytest.approx(float(logits.softmax(0)[1]))
    assert len(likeliest(logits, ('a', 'b', 'c'), 9)) == 3
    assert spread_over(10, 4) == [0, 2, 5, 7]
    assert spread_over(3, 9) == [0, 1, 2]
