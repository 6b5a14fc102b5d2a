"""The source's four sets of actions and gestures: configs, mappings, and classes."""

import inspect
from itertools import product
from pathlib import Path

from mtl_training.config import load_config, TrainingConfig
from mtl_training.data.video_sets.ntu_partition import read_partition
from mtl_training.data.video_sets.nvgesture import nvgesture
from mtl_training.data.videos import registry
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.index import ClipIndex, SPLITS
import pytest

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / 'config' / 'training'
SETS = (1, 2, 3, 4)
# Classes of the action and of the gesture task; UCF101 and IsoGD and NVGesture have 101, 249 and
# 25, and two of NVGesture's are NTU's.
NUM_CLASSES = {1: (101, 249), 2: (101, 25), 3: (96, 24 + 249), 4: (96, 24 + 25 - 2)}


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines), newline='\r\n')


def make_ucf101(root: Path) -> None:
    names = [f'Class{number}' for number in range(1, 102)]
    write(
        root / 'ucfTrainTestlist/classInd.txt',
        [f'{number} {name}' for number, name in enumerate(names, start=1)],
    )
    for listed, groups in (('trainlist01', range(8, 26)), ('testlist01', range(1, 8))):
        lines = []
        for number, group in product((1, 2), groups):
            file = f'Class{number}/v_Class{number}_g{group:02d}_c01.avi'
            lines.append(f'{file} {number}' if listed == 'trainlist01' else file)
            touch(root / 'UCF-101' / file)
        write(root / 'ucfTrainTestlist' / f'{listed}.txt', lines)


def make_isogd(root: Path) -> None:
    for split, phase in (('train', 1), ('valid', 1), ('test', 2)):
        files = [f'{split}/001/{letter}_00001.avi' for letter in 'MK']
        write(root / 'IsoGD_labels' / f'{split}.txt', [' '.join([*files, '249'])])
        touch(root / f'IsoGD_phase_{phase}' / files[0])


def make_nvgesture(root: Path) -> None:
    for split, subjects in (('train', (1, 2)), ('test', (5,))):
        folders = [f'Video_data/class_25/subject{subject}_r0' for subject in subjects]
        lines = [f'path:./{folder} color:sk_color:146:226 label:25 ' for folder in folders]
        write(root / f'nvgesture_{split}_correct_cvpr2016_v2.lst', lines)
        for folder in folders:
            touch(root / folder / 'sk_color.avi')


def make_ntu(root: Path) -> None:
    # A performer for each split, who shows an action and the gesture that NVGesture has, too.
    for performer in (1, 3, 28):
        for action in (61, 71):
            name = f'S018C001P{performer:03d}R001A{action:03d}_rgb.avi'
            touch(root / 'nturgb+d_rgb' / name)


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch) -> None:
    make_ucf101(tmp_path / 'data/UCF101')
    make_isogd(tmp_path / 'data/IsoGD')
    make_nvgesture(tmp_path / 'data/NVGesture')
    make_ntu(tmp_path / 'data/NTU')
    # Roots and mappings of the shipped configs are seen from where the command is run.
    (tmp_path / 'config').symlink_to(ROOT / 'config')
    monkeypatch.chdir(tmp_path)


def index_of(config: TrainingConfig, task: str, split: str) -> ClipIndex:
    data = config.data[task]
    index, rest = registry.build_index(data.dataset, split, data.of_split(split), task)
    assert rest == {'window': 'whole'}
    assert rest.keys() <= inspect.signature(VideoClips).parameters.keys()
    return index


@pytest.mark.parametrize('number', SETS)
@pytest.mark.parametrize('split', SPLITS)
def test_a_set_lists_the_clips_of_both_tasks(number: int, split: str) -> None:
    config = load_config(CONFIGS / f'set{number}.yaml')
    indexes = [index_of(config, task, split) for task in ('action', 'gesture')]
    assert tuple(len(index.labels) for index in indexes) == NUM_CLASSES[number]
    for index in indexes:
        assert index.entries
        assert index.missing == []
        assert all(entry.path.is_file() for entry in index.entries)


@pytest.mark.parametrize('number', SETS)
def test_a_set_has_the_sources_share_of_classes(number: int) -> None:
    # "approximately 75 %" and "74 %" gestures, "80 %" and "about 66 %" actions.
    actions, gestures = NUM_CLASSES[number]
    published = {1: 1 - 0.75, 2: 0.80, 3: 1 - 0.74, 4: 0.66}[number]
    assert actions / (actions + gestures) == pytest.approx(published, abs=0.05)


@pytest.mark.parametrize('number', SETS)
def test_a_set_trains_as_the_source_does(number: int) -> None:
    paper, config = (load_config(CONFIGS / f'{name}.yaml') for name in ('paper', f'set{number}'))
    same = [name for name in TrainingConfig.__dataclass_fields__ if name != 'data']
    assert [getattr(config, name) for name in same] == [getattr(paper, name) for name in same]


def test_gestures_of_two_data_sets_are_one_class() -> None:
    config = load_config(CONFIGS / 'set4.yaml')
    index = index_of(config, 'gesture', 'train')
    shown = [(e.path.name, index.labels[e.label], e.group) for e in index.entries]
    assert shown == [
        ('S018C001P001R001A071_rgb.avi', 'make ok sign', 'ntu/P001'),
        ('sk_color.avi', 'make ok sign', 'nvgesture/subject 1'),
    ]
    assert not {'OK', 'thumbs up'} & set(index.labels)
    assert {'one', 'thumb down', 'levorotation'} <= set(index.labels)
    # NTU's gestures have no side.
    assert index.mirrored == nvgesture('train', root='data/NVGesture').mirrored


def test_gestures_without_names_keep_their_numbers() -> None:
    index = index_of(load_config(CONFIGS / 'set3.yaml'), 'gesture', 'test')
    gestures = [one.name for one in read_partition() if one.partition == 'gesture']
    assert index.labels == (*gestures, *(f'isogd_{number:03d}' for number in range(1, 250)))
    # Of IsoGD nobody knows which gestures a mirror changes.
    assert index.mirrored is None


def test_a_users_line_merges_a_number_with_a_name(tmp_path) -> None:
    text = (CONFIGS / 'mappings' / 'ntu_isogd.yaml').read_text()
    mine = tmp_path / 'mine.yaml'
    mine.write_text(text.replace('salute: [ntu/salute]', 'salute: [ntu/salute, isogd/isogd_24*]'))
    settings = [('data.gesture.settings.mapping', str(mine))]
    index = index_of(load_config(CONFIGS / 'set3.yaml', settings), 'gesture', 'test')
    assert len(index.labels) == 24 + 249 - 10
    assert index.labels[index.entries[-1].label] == 'salute'


def test_gestures_that_are_only_alike_are_merged_by_removing_a_sign(tmp_path) -> None:
    text = (CONFIGS / 'mappings' / 'ntu_nvgesture.yaml').read_text()
    (tmp_path / 'm.yaml').write_text(
        '\n'.join(
            line.removeprefix('# ') if 'nvgesture/' in line else line for line in text.splitlines()
        )
    )
    settings = [('data.gesture.settings.mapping', str(tmp_path / 'm.yaml'))]
    index = index_of(load_config(CONFIGS / 'set4.yaml', settings), 'gesture', 'train')
    assert len(index.labels) == 24 + 25 - 5
    assert not {'OK', 'thumbs up', 'one', 'two', 'shake hand'} & set(index.labels)
