"""Photos of several classes each: PASCAL VOC2012."""

from pathlib import Path
from typing import Any

import cv2
from mtl_perception.network.config import NetworkConfig, TaskConfig, TrunkConfig
from mtl_training.config import DataConfig
from mtl_training.data.annotations.voc2012 import CLASSES
from mtl_training.data.fingerprint import fingerprint
from mtl_training.data.loading import build_dataset
from mtl_training.data.multi_label import MultiLabelClips, voc2012
from mtl_training.data.multitask import FixedDataset
from mtl_training.data.videos.index import NoSplitError
from mtl_training.data.videos.problems import problem_log
import numpy as np
import pytest
import torch

# Flags of the first three classes; the others are absent. All that the fourth may show is
# uncertain.
FLAGS = {'2008_000001': (1, -1, -1), '2008_000002': (1, 1, 0), '2008_000003': (-1, 1, -1),
         '2008_000004': (-1, -1, 0), '2008_000005': (-1, -1, 1)}  # fmt: skip
NETWORK = NetworkConfig(
    trunks={'clip': TrunkConfig(num_frames=2)}, tasks={'classes': TaskConfig()}
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / 'voc' / 'VOCdevkit' / 'VOC2012'
    (folder / 'JPEGImages').mkdir(parents=True)
    (folder / 'ImageSets' / 'Main').mkdir(parents=True)
    for i, name in enumerate(FLAGS):
        path = folder / 'JPEGImages' / f'{name}.jpg'
        assert cv2.imwrite(str(path), np.full((50, 40, 3), 40 * (i + 1), np.uint8))
    write_lists(folder, FLAGS)
    return tmp_path / 'voc'


def write_lists(folder: Path, flags: dict[str, tuple[int, ...]]) -> None:
    for split in ('train', 'val'):
        lists = folder / 'ImageSets' / 'Main'
        (lists / f'{split}.txt').write_text('\n'.join(flags))
        for column, name in enumerate(CLASSES):
            lines = [f'{i} {row[column] if column < 3 else -1:2d}' for i, row in flags.items()]
            (lists / f'{name}_{split}.txt').write_text('\n'.join(lines))


def built(root: Path, split: str = 'train', **settings: Any) -> MultiLabelClips:
    data = DataConfig(
        dataset='voc2012', settings={'root': str(root), 'size': [24, 32], **settings}
    )
    dataset = build_dataset('classes', data, split, NETWORK)
    assert isinstance(dataset, MultiLabelClips)
    return dataset


def test_targets_are_the_classes_that_a_photo_shows_in_equal_parts(root: Path) -> None:
    data = built(root, 'val')
    assert data.labels == CLASSES
    expected = torch.zeros(5, 20)
    expected[0, 0] = expected[2, 1] = expected[4, 2] = 1
    expected[1, :2] = 0.5
    torch.testing.assert_close(data.targets, expected)
    assert [data[i].label for i in range(5)] == [0, 1, 2, 3, 4]
    assert data.positives.nonzero().tolist() == [[0, 0], [1, 0], [1, 1], [2, 1], [4, 2]]
    assert data.ignored.nonzero().tolist() == [[1, 2], [3, 2]]
    assert data.positives.shape == data.ignored.shape == (5, 20)
    assert data[1].frames.shape == (2, 24, 32, 3)
    assert [round(float(data[i].frames.float().mean())) for i in range(5)] == [
        *(40, 80, 120, 160, 200)
    ]
    assert Path(data.video_of(2)).name == '2008_000003.jpg'


def test_a_damaged_photo_is_told_and_left_out_with_its_row(root: Path) -> None:
    photo = root / 'VOCdevkit' / 'VOC2012' / 'JPEGImages' / '2008_000002.jpg'
    photo.write_bytes(photo.read_bytes()[:20])
    data = built(root)
    assert len(data) == 4
    assert data.targets[1].nonzero().flatten().tolist() == [1]
    assert [(Path(p.path).name, p.action) for p in problem_log().problems()] == [
        ('2008_000002.jpg', 'left out')
    ]


def test_a_photo_that_vanishes_is_replaced_by_another_with_its_classes(root: Path) -> None:
    data = built(root)
    (root / 'VOCdevkit' / 'VOC2012' / 'JPEGImages' / '2008_000001.jpg').unlink()
    sample = data[0]
    assert (sample.label, sample.index) == (1, 0)
    assert round(float(sample.frames.float().mean())) == 80
    assert [p.action for p in problem_log().problems()] == ['replaced']


def test_photos_of_the_training_split_are_varied_and_seeded(root: Path) -> None:
    data = built(root, augment=True, crop_scale=[1.0, 1.0], mirror=0.0, hue=0.0)
    fixed = FixedDataset(data)
    torch.testing.assert_close(fixed[0].frames, fixed[0].frames)
    means = {round(float(data[0].frames.float().mean())) for _ in range(10)}
    assert len(means) > 3


def test_with_a_share_val_is_held_out_of_train_and_test_is_the_official_val(root: Path) -> None:
    with pytest.raises(NoSplitError, match=r'VOC2012.s test list are not public'):
        voc2012('test', root=str(root))
    names = {
        split: [e.path.name for e in voc2012(split, root=str(root), val_share=0.5).clips.entries]
        for split in ('train', 'val', 'test')
    }
    assert sorted(names['train'] + names['val']) == names['test']
    assert len(names['test']) == 5
    assert names['train']
    assert names['val']
    # Rows follow the photos.
    held = voc2012('val', root=str(root), val_share=0.5)
    assert [entry.label for entry in held.clips.entries] == list(range(len(held.flags)))
    for entry, flags in zip(held.clips.entries, held.flags):
        assert tuple(flags[:3]) == FLAGS[entry.path.stem]


def test_other_flags_have_another_fingerprint(root: Path) -> None:
    before = fingerprint(built(root))
    assert fingerprint(built(root)) == before
    folder = root / 'VOCdevkit' / 'VOC2012'
    for changed in ((1, 0, -1), (1, 1, -1)):
        write_lists(folder, {**FLAGS, '2008_000001': changed})
        assert fingerprint(built(root)) != before


def test_wrong_labels_on_purpose_are_refused(root: Path) -> None:
    data = DataConfig(dataset='voc2012', settings={'root': str(root)}, label_noise=0.1)
    with pytest.raises(ValueError, match='label_noise is for clips of one class each'):
        build_dataset('classes', data, 'train', NETWORK)


def test_a_share_that_leaves_nothing_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"split 'val' holds no photo: val_share 1e-09 of 5"):
        voc2012('val', root=str(root), val_share=1e-9)
    with pytest.raises(ValueError, match=r'val_share must be at least 0 and less than 1, got 1.5'):
        voc2012('val', root=str(root), val_share=1.5)
