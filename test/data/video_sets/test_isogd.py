"""IsoGD: its lists of two and three columns, and where its clips lie."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.video_sets.isogd import isogd, IsogdLine, parse_line
import pytest

REAL = Path(__file__).parents[3].parent / 'shared' / 'data' / 'annotation_samples' / 'isogd'
needs_real_lists = pytest.mark.skipif(not REAL.is_dir(), reason=f'real lists are not at {REAL}')
THEIRS = {'train': 'train', 'val': 'valid', 'test': 'test'}


def make_clips(folder: Path, split: str, numbers) -> None:
    (folder / split / '001').mkdir(parents=True)
    for number in numbers:
        for letter in 'MK':
            (folder / split / '001' / f'{letter}_{number:05d}.avi').touch()


def line_of(split: str, number: int, label: int | str) -> str:
    return f'{split}/001/M_{number:05d}.avi {split}/001/K_{number:05d}.avi {label}'.strip()


def make_phases(root: Path) -> None:
    """Write the first release: clips 1 and 2 of each split, labels for training alone."""
    for split, phase in (('train', 1), ('valid', 1), ('test', 2)):
        folder = root / f'IsoGD_phase_{phase}'
        make_clips(folder, split, (1, 2))
        labels = (26, 249) if split == 'train' else ('', '')
        lines = [line_of(split, number, label) for number, label in zip((1, 2), labels)]
        (folder / f'{split}_list.txt').write_text('\n'.join(lines) + '\n')


def make_labels(root: Path) -> None:
    """Write the later release of the labels, whose lines end in a blank and CRLF."""
    (root / 'IsoGD_labels').mkdir()
    for split, label in (('train', 1), ('valid', 2), ('test', 3)):
        lines = [line_of(split, number, label) + ' \r\n' for number in (1, 2, 3)]
        (root / 'IsoGD_labels' / f'{split}.txt').write_bytes(''.join(lines).encode())


@given(
    st.text()
    | st.from_regex(r'(train|valid)/\d+/M_\d+\.avi\s+(train|valid)/\d+/K_\d+\.avi(\s+\d{1,4})?')
)
def test_any_line_is_a_clip_or_refused(text: str) -> None:
    refusal = line = None
    try:
        line = parse_line(text)
    except ValueError as error:
        refusal = str(error)
    if line:
        found = [line.rgb, line.depth] + ([line.label] if line.label else [])
        assert [int(t) if t.isdigit() else t for t in text.split()] == found
    else:
        assert refusal.startswith("expected 'train/001/M_00001.avi train/001/K_00001.avi 26'")


@given(st.integers(1, 249), st.integers(0, 99999))
def test_a_line_is_read_back(label: int, number: int) -> None:
    path = f'_{number:05d}.avi'
    expected = IsogdLine(f'valid/001/M{path}', f'valid/001/K{path}', label)
    assert parse_line(line_of('valid', number, label)) == expected
    assert parse_line(line_of('valid', number, '')) == expected._replace(label=None)


@pytest.mark.parametrize('label', [0, 250, -1, 1.5])
def test_a_label_out_of_range_is_refused(label) -> None:
    with pytest.raises(ValueError, match='a label from 1 to 249 or none, got'):
        parse_line(line_of('train', 1, label))


@needs_real_lists
def test_the_real_lists_are_read() -> None:
    train, valid = (
        [parse_line(line) for line in (REAL / name).read_text().splitlines()]
        for name in ('train_list.txt', 'valid_list.txt')
    )
    assert (len(train), len(valid)) == (35_878, 5_784)
    labels = [line.label for line in train]
    assert set(labels) == set(range(1, 250))
    counts = [labels.count(label) for label in range(1, 250)]
    assert (min(counts), max(counts)) == (64, 851)
    assert {line.label for line in valid} == {None}
    for line in (*train, *valid):
        assert line.depth == line.rgb.replace('/M_', '/K_')
    folders = [line.rgb.split('/')[1] for line in train]
    assert folders.count('001') == 200
    assert folders.count('180') == 78


@pytest.mark.parametrize('modality, letter', [('rgb', 'M'), ('depth', 'K')])
def test_the_first_release_trains(tmp_path, modality, letter) -> None:
    make_phases(tmp_path)
    index = isogd('train', root=str(tmp_path), modality=modality)
    folder = tmp_path / 'IsoGD_phase_1' / 'train' / '001'
    assert [(e.path, e.label) for e in index.entries] == [
        (folder / f'{letter}_00001.avi', 25),
        (folder / f'{letter}_00002.avi', 248),
    ]
    assert len(index.labels) == 249
    assert (index.labels[25], index.labels[248]) == ('isogd_026', 'isogd_249')
    assert index.mirrored is None
    assert index.missing == []


@pytest.mark.parametrize('split', ['val', 'test'])
def test_lists_without_labels_say_which_file_has_them(tmp_path, split) -> None:
    make_phases(tmp_path)
    with pytest.raises(
        ValueError,
        match=rf"_list\.txt', line 1: this list has no labels.*IsoGD_labels/{THEIRS[split]}\.txt",
    ):
        isogd(split, root=str(tmp_path))


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('layout', ['phases', 'flat', 'flat_clips'])
def test_the_later_release_labels_every_split(tmp_path, split, layout) -> None:
    make_phases(tmp_path)
    make_labels(tmp_path)
    if layout != 'phases':
        for split_folder in sorted(tmp_path.glob('IsoGD_phase_*/*/')):
            split_folder.rename(tmp_path / split_folder.name)
    if layout == 'flat':
        for path in sorted(tmp_path.glob('IsoGD_labels/*')):
            path.rename(tmp_path / path.name)
    index = isogd(split, root=str(tmp_path))
    label = ('train', 'val', 'test').index(split)
    # The number of a file starts anew in every split: only the whole path tells.
    assert [(e.path.parts[-3:], e.label) for e in index.entries] == [
        ((THEIRS[split], '001', f'M_0000{number}.avi'), label) for number in (1, 2)
    ]
    assert all(entry.path.is_file() for entry in index.entries)
    # In the lists and not on disk.
    assert [Path(name).name for name in index.missing] == ['M_00003.avi']


def test_what_is_wrong_is_said(tmp_path) -> None:
    def refused(match: str, split: str = 'train', **settings) -> None:
        with pytest.raises(ValueError, match=match):
            isogd(split, **{'root': str(tmp_path), **settings})

    refused(r"split must be one of .*, got 'valid'", 'valid')
    refused(r"modality must be one of \('rgb', 'depth'\), got 'rgbd'", modality='rgbd')
    refused(r"x' is not a folder that exists.*layout is <root>/IsoGD", root=str(tmp_path / 'x'))
    refused(r"no folder 'IsoGD_phase_1/train' or 'train'; the layout is <root>/IsoGD_phase_1")
    (tmp_path / 'train').mkdir()
    refused(r"no file 'IsoGD_labels/train.txt' or .*'train_list.txt'; the layout is")
    path = tmp_path / 'train_list.txt'
    path.write_text(line_of('train', 1, 4) + '\n')
    refused(r'None of the 1 clips of the lists is on disk .*M_00001\.avi.*the layout is')
    path.write_text(line_of('train', 1, 4) + '\n\ntrain/001/M_00002.avi 5\n')
    refused(r"train_list\.txt', line 3: expected 'train/001/M_00001\.avi .*got 'train/001/M_00002")
