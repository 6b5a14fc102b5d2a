"""The shipped configs of captions, on small copies of their data sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from mtl_training.config import load_config
from mtl_training.data.annotations.voc2012 import CLASSES
from mtl_training.data.loading import build_datasets, evaluation_batches, with_labels
from mtl_training.data.sample import ClipBatch
import numpy as np
import pytest

CONFIGS = Path(__file__).parents[3] / 'config' / 'training'
NUM_PHOTOS = 40  # of a split: a tenth is held out
HASHED = ('network.tasks.caption.settings', {'dim': 8, 'encoder': {'name': 'hashed'}})


def ucf101(root: Path, write_video: Callable[..., Path]) -> None:
    lists = root / 'ucfTrainTestlist'
    lists.mkdir(parents=True)
    (lists / 'classInd.txt').write_text('1 Walk\n2 Run\n')
    names = [f'{c}/v_{c}_g{g:02d}_c01.avi' for c in ('Walk', 'Run') for g in range(8, 14)]
    (lists / 'trainlist01.txt').write_text(
        '\n'.join(f'{name} {1 + name.startswith("Run")}' for name in names)
    )
    (lists / 'testlist01.txt').write_text('Walk/v_Walk_g01_c01.avi\n')
    for name in (*names, 'Walk/v_Walk_g01_c01.avi'):
        write_video(root / 'UCF-101' / name, 60, rate=25)


def msvd(root: Path, write_video: Callable[..., Path]) -> None:
    clips = {'abc_0_9': 'vid1', 'def_0_9': 'vid1201', 'ghi_0_9': 'vid1301'}
    for clip in clips:
        write_video(root / 'YouTubeClips' / f'{clip}.avi', 120, rate=25)
    (root / 'youtube_mapping.txt').write_text('\n'.join(map(' '.join, clips.items())))
    text = '\n'.join(f'{clip} somebody is {doing}' for clip in clips for doing in ('up', 'away'))
    (root / 'AllVideoDescriptions.txt').write_text(f'#\n{text}\n')


def write_photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((30, 40, 3), 90, np.uint8))


def voc(root: Path) -> None:
    folder = root / 'VOCdevkit' / 'VOC2012'
    lists = folder / 'ImageSets' / 'Main'
    lists.mkdir(parents=True)
    for split in ('train', 'val'):
        ids = [f'2008_{split}{i}' for i in range(NUM_PHOTOS)]
        (lists / f'{split}.txt').write_text('\n'.join(ids))
        for column, name in enumerate(CLASSES):
            rows = [f'{key} {1 if i % 20 == column else -1:2d}' for i, key in enumerate(ids)]
            (lists / f'{name}_{split}.txt').write_text('\n'.join(rows))
        for key in ids:
            write_photo(folder / 'JPEGImages' / f'{key}.jpg')


def flickr8k(root: Path) -> None:
    texts = root / 'Flickr8k_text'
    texts.mkdir(parents=True)
    lines = []
    for split in ('train', 'dev', 'test'):
        (texts / f'Flickr_8k.{split}Images.txt').write_text(f'{split}.jpg\n')
        lines += [f'{split}.jpg#{i}\tA photo no. {i} .' for i in range(5)]
        write_photo(root / 'Flicker8k_Dataset' / f'{split}.jpg')
    (texts / 'Flickr8k.token.txt').write_text('\n'.join(lines))


def batches(name: str, overrides: list[tuple[str, Any]]) -> dict[str, dict[str, ClipBatch]]:
    """Return the first batch of each task and split of a config."""
    config = load_config(str(CONFIGS / name), [HASHED, *overrides])
    found: dict[str, dict[str, ClipBatch]] = {}
    for split in ('train', 'val', 'test'):
        datasets = build_datasets(config, split)
        network = with_labels(config.network, datasets)
        assert network.tasks['caption'].labels == ()
        found[split] = {}
        for task, dataset in datasets.items():
            batch = next(iter(evaluation_batches(dataset, NUM_PHOTOS)))
            assert isinstance(batch, ClipBatch)
            assert len(batch.labels) == len(dataset)
            found[split][task] = batch
    return found


def test_the_config_of_videos_gives_clips_of_the_sources_size(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    ucf101(tmp_path / 'ucf', write_video)
    msvd(tmp_path / 'msvd', write_video)
    found = batches(
        'captions_ucf101_msvd.yaml',
        [
            ('data.action.settings.root', str(tmp_path / 'ucf')),
            ('data.caption.settings.root', str(tmp_path / 'msvd')),
        ],
    )
    # Clips of 46 frames, a start every 24 of the 75 that there are.
    assert found['train']['caption'].frames.shape == (4, 16, 128, 171, 3)
    assert found['test']['action'].frames.shape == (1, 16, 128, 171, 3)
    assert len(found['train']['action'].labels) + len(found['val']['action'].labels) == 12


def test_the_config_of_photos_gives_single_frames(tmp_path: Path) -> None:
    voc(tmp_path / 'voc')
    flickr8k(tmp_path / 'flickr')
    found = batches(
        'captions_voc_flickr8k.yaml',
        [
            ('data.classes.settings.root', str(tmp_path / 'voc')),
            ('data.caption.settings.root', str(tmp_path / 'flickr')),
        ],
    )
    assert found['train']['caption'].frames.shape == (1, 1, 256, 256, 3)
    # The official list of val is judged on, a part of train chooses the network.
    counts = {split: len(tasks['classes'].labels) for split, tasks in found.items()}
    assert counts['test'] == counts['train'] + counts['val'] == NUM_PHOTOS


@pytest.mark.parametrize('name', ['captions_ucf101_msvd.yaml', 'captions_voc_flickr8k.yaml'])
def test_the_configs_have_the_sources_settings(name: str) -> None:
    config = load_config(str(CONFIGS / name), [])
    is_video = 'ucf101' in name
    assert config.optimiser.name == 'adam'
    assert config.optimiser.lr == (1e-5 if is_video else 5e-5)
    assert config.batch_size == (16 if is_video else 64)
    assert config.regime.name == 'distilling'
    wanted = {'lambda_A': 0.5, 'lambda_S': 0.7, 'temperature': 2.0}
    assert config.regime.settings == wanted
