"""What ``datasets describe`` and ``check`` say of captions and of pictures of several classes."""

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

import cv2
from mtl_training import cli
from mtl_training.data.annotations.voc2012 import CLASSES
import numpy as np
import pytest
import yaml

Write = Callable[..., str]
SAID = {'a.jpg': ('A dog runs .', 'a dog  runs .', "It 's a dog ."), 'b.jpg': ('A dog runs .',)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Write a config of photos with captions and of photos with classes."""
    flickr, voc = tmp_path / 'flickr', tmp_path / 'voc' / 'VOC2012'
    rng = np.random.default_rng(0)
    photos = [flickr / 'Images' / name for name in SAID]
    photos += [voc / 'JPEGImages' / f'2008_00000{i}.jpg' for i in range(3)]
    for photo in photos:
        photo.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(photo), rng.integers(0, 256, (24, 32, 3), np.uint8))
    photos[1].write_bytes(b'no photo')
    tokens = [f'{name}#{i}\t{text}' for name, said in SAID.items() for i, text in enumerate(said)]
    (flickr / 'Flickr8k.token.txt').write_text('\n'.join(tokens))
    for split in ('train', 'dev', 'test'):
        (flickr / f'Flickr_8k.{split}Images.txt').write_text('a.jpg\nb.jpg\ngone.jpg')
    lists = voc / 'ImageSets' / 'Main'
    lists.mkdir(parents=True)
    ids = [f'2008_00000{i}' for i in range(3)]
    for split in ('train', 'val'):
        (lists / f'{split}.txt').write_text('\n'.join(ids))
        for name in CLASSES:
            flags = {'dog': (1, 1, 0), 'cat': (1, -1, -1)}.get(name, (-1, -1, -1))
            lines = [f'{i} {flag:2d}' for i, flag in zip(ids, flags)]
            (lists / f'{name}_{split}.txt').write_text('\n'.join(lines))
    caption: dict[str, Any] = {'kind': 'caption', 'settings': {'encoder': {'name': 'hashed'}}}
    trunk = {'width': 2, 'num_frames': 4, 'preprocessing': {'resize': [16, 16]}}
    block = {
        'network': {
            'trunks': {'clip': trunk},
            'tasks': {'caption': caption, 'classes': {}},
        },
        'data': {
            'caption': {'dataset': 'flickr8k', 'settings': {'root': str(flickr)}},
            'classes': {'dataset': 'voc2012', 'settings': {'root': str(voc.parent)}},
        },
        'iterations': 1,
        'evaluation': {'test': False, 'selection': 'score'},
    }
    path = tmp_path / 'config.yaml'
    path.write_text(yaml.safe_dump(block), encoding='utf-8')
    return str(path)


def test_captions_and_words_are_counted_without_opening_a_file(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(['datasets', 'describe', '--json', '--config', config]) == 0
    found = {
        f'{one["task"]} {one["split"]}': one
        for one in json.loads(capsys.readouterr().out)['datasets']
    }
    captions = found['caption train']
    assert captions['captions'] == {'sentences': 4, 'different': 3, 'words': 5}
    assert (captions['num_samples'], captions['missing'], captions['num_classes']) == (2, 1, 0)
    assert captions['missing_examples'] == ['gone.jpg']
    classes = found['classes val']
    assert classes['per_class']['dog'] == 2
    assert classes['per_class']['cat'] == 1
    assert (classes['num_samples'], classes['num_classes'], classes['unit']) == (3, 20, 'images')
    assert classes['captions'] == {}


def test_sentences_of_rendered_scenes_are_counted(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    block = yaml.safe_load(Path(config).read_text())
    settings = {'num_clips': 3, 'scenes': 'gesture', 'cache_dir': 'not/to/be/made'}
    block['data']['caption'] = {'dataset': 'synthetic', 'settings': settings}
    Path(config).write_text(yaml.safe_dump(block), encoding='utf-8')
    command = ['datasets', 'describe', '--json', '--config', config, '--task', 'caption']
    assert cli.main([*command, '--split', 'val']) == 0
    (one,) = json.loads(capsys.readouterr().out)['datasets']
    assert one['num_samples'] == one['captions']['sentences'] == 3
    assert not Path('not').exists()


def test_people_read_how_many_captions_there_are(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / 'out')
    command = ['datasets', 'describe', '--task', 'caption', '--config', config, '--out', out]
    assert cli.main(command) == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert 'caption, train: 3 different sentences, 5 words' in text
    assert "caption, train: 1 are missing, such as 'gone.jpg'" in text


def test_every_photo_is_checked(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        'datasets',
        'check',
        '--split',
        'train',
        '--jobs',
        '1',
        '--json',
        '--config',
        config,
    ]
    cli.main(command)
    text = capsys.readouterr().out
    found = json.loads(text)
    kinds = {(p['kind'], Path(p['path']).name) for p in found['problems']}
    assert kinds == {('missing', 'gone.jpg'), ('unreadable', 'b.jpg')}
