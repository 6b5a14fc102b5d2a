"""Kinetics-400: fabricated data sets in the layouts of its copies."""

import csv
import io
from pathlib import Path
import re
import shutil

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.video_sets.kinetics400 import kinetics400
from mtl_training.data.video_sets.kinetics_lists import (
    COLUMNS,
    parse_header,
    parse_row,
    Row,
    spelling,
)
import pytest

LABELS = ('abseiling', "massaging person's head", 'petting animal (not cat)')
LIST = Path('lists/train.csv')
LAYOUT = re.escape('the layout is <root>/annotations/<train|val|test>.csv')
# Ids begin with - and have _ in them, some of them like times.
IDS = ('-x_M1PMw2hY', 'yq_000001_000011', '__-MR', 'aB3')
# Each copy spells the folders of classes in its own way.
FOLDERS = {
    'flat': lambda label: '',
    'blanks': lambda label: label,
    'underscores': lambda label: label.replace(' ', '_'),
    'letters': lambda label: re.sub('[^a-z_]', '', label.replace(' ', '_')),
}


def rows(split: str) -> list[tuple[str, str, int, int]]:
    """Return a list: of each class 8 clips of 4 videos to train, 4 of 4 others to validate."""
    starts = (0, 38) if split == 'train' else (123,)
    return [
        (label, f'{youtube_id}{split}{label[0]}', start, start + 10)
        for start in starts
        for youtube_id in IDS
        for label in reversed(LABELS)
    ]


def file_name(youtube_id: str, start: int, end: int) -> str:
    """Return the name of a clip's file."""
    return f'{youtube_id}_{start:06d}_{end:06d}.mp4'


def write_list(path: Path, table: list, header: str = ','.join(COLUMNS)) -> None:
    """Write a list with commas, quotes and the line ends of the csv format."""
    path.parent.mkdir(exist_ok=True)
    text = io.StringIO()
    csv.writer(text).writerows([header.split(','), *table])
    path.write_bytes(text.getvalue().encode())


def write(root: Path, naming: str = 'flat') -> Path:
    """Write lists and clips."""
    for split in ('train', 'val'):
        write_list(root / 'annotations' / f'{split}.csv', rows(split))
        for label, *segment in rows(split):
            path = root / split / FOLDERS[naming](label) / file_name(*segment)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


@pytest.fixture
def root(tmp_path):
    """Return a data set of flat folders."""
    return write(tmp_path)


@pytest.mark.parametrize('naming', FOLDERS)
def test_each_clip_has_the_label_of_its_row_however_folders_are_named(tmp_path, naming):
    write(tmp_path, naming)
    for split in ('train', 'val'):
        index = kinetics400(split, root=str(tmp_path))
        assert index.labels == LABELS
        assert index.missing == []
        assert [
            (index.labels[entry.label], entry.path.name, entry.group) for entry in index.entries
        ] == [(label, file_name(*segment), segment[0]) for label, *segment in rows(split)]
        for entry in index.entries:
            assert entry.path.is_file()
            folder = tmp_path / split / FOLDERS[naming](LABELS[entry.label])
            assert entry.path.parent == folder


def test_clips_may_be_mirrored_and_no_class_changes(root):
    assert kinetics400('val', root=str(root)).mirrored == {}


def test_columns_are_found_by_name(root):
    expected = kinetics400('val', root=str(root))
    turned = [(i, 0, end, start, label, 'val') for label, i, start, end in rows('val')]
    header = 'youtube_id,is_cc,time_end,time_start,label,split'
    write_list(root / 'annotations' / 'val.csv', turned, header)
    assert kinetics400('val', root=str(root)) == expected


def test_lists_may_spell_classes_in_different_ways(root):
    expected = kinetics400('val', root=str(root)).entries
    spelt = [(spelling(label), *segment) for label, *segment in rows('val')]
    write_list(root / 'annotations' / 'val.csv', spelt)
    index = kinetics400('val', root=str(root))
    assert (index.labels, index.entries) == (LABELS, expected)


def test_missing_clips_are_listed_and_the_others_kept(root):
    expected = kinetics400('val', root=str(root))
    gone = expected.entries[1].path
    gone.rename(gone.with_name('another_000000_000010.mp4'))
    index = kinetics400('val', root=str(root))
    assert len(index.missing) == 1
    assert index.missing[0].endswith(gone.name)
    assert index.entries == [e for e in expected.entries if e.path != gone]


def test_a_clip_in_the_folder_of_another_class_is_missing(tmp_path):
    write(tmp_path, 'blanks')
    path = tmp_path / 'val' / LABELS[0] / file_name(*rows('val')[2][1:])
    assert path.is_file()
    path.rename(tmp_path / 'val' / LABELS[1] / path.name)
    assert kinetics400('val', root=str(tmp_path)).missing == [str(path)]


def test_other_files_and_suffixes(root):
    expected = kinetics400('val', root=str(root))
    path = expected.entries[0].path
    path.with_suffix('.txt').touch()
    (path.parent / f'._{path.name}').touch()
    path.rename(path.with_suffix('.WEBM'))
    index = kinetics400('val', root=str(root))
    assert index.entries[0].path == path.with_suffix('.WEBM')
    assert index.entries[1:] == expected.entries[1:]


def test_replaced_clips_come_first(tmp_path):
    write(tmp_path, 'underscores')
    replaced = file_name(*rows('val')[5][1:])
    (tmp_path / 'replacement').mkdir()
    (tmp_path / 'replacement' / replaced).touch()
    index = kinetics400('val', root=str(tmp_path), videos={'val': ['replacement', 'val']})
    assert index.missing == []
    assert [i for i, e in enumerate(index.entries) if e.path.parent.name == 'replacement'] == [5]


@pytest.mark.parametrize(
    ('names', 'folders', 'settings'),
    [
        ('{}.csv', '{}', {}),
        ('annotations/kinetics_{}.csv', 'videos_{}', {}),
        (
            'k400 {}.csv',
            '{}_256',
            {
                'lists': {'train': 'k400 train.csv', 'val': 'k400 val.csv'},
                'videos': {'train': 'train_256', 'val': 'val_256'},
            },
        ),
    ],
)
def test_lists_and_clips_are_found_in_other_places(root, names, folders, settings):
    counts = {split: kinetics400(split, root=str(root)).counts() for split in ('train', 'val')}
    for split in ('train', 'val'):
        (root / 'annotations' / f'{split}.csv').rename(root / names.format(split))
        (root / split).rename(root / folders.format(split))
    for split in ('train', 'val'):
        assert kinetics400(split, root=str(root), **settings).counts() == counts[split]


def test_with_a_share_videos_are_held_out_and_the_official_val_list_is_the_test(root):
    official = {split: kinetics400(split, root=str(root)).entries for split in ('train', 'val')}
    train, val, test = (
        kinetics400(split, root=str(root), val_share=0.4).entries
        for split in ('train', 'val', 'test')
    )
    assert test == official['val']
    assert sorted(train + val) == sorted(official['train'])
    assert {e.group for e in train}.isdisjoint(e.group for e in val)
    assert {e.group for e in train}
    assert {e.group for e in val}


@pytest.mark.parametrize('header', ['youtube_id,time_start,time_end,split', ','.join(COLUMNS)])
def test_a_test_list_without_labels_says_what_to_do(root, header):
    row = ('', 'abc', 1, 11) if header.startswith('label') else ('abc', 1, 11, 'test')
    write_list(root / 'annotations' / 'test.csv', [row], header)
    (root / 'test').mkdir()
    with pytest.raises(ValueError, match=r'a label for each clip .* with val_share above 0, val'):
        kinetics400('test', root=str(root))


def test_a_test_list_with_labels_is_read(root):
    (root / 'annotations' / 'val.csv').rename(root / 'annotations' / 'test.csv')
    (root / 'val').rename(root / 'test')
    assert kinetics400('test', root=str(root)).counts() == [4, 4, 4]


def test_what_is_missing_says_which_layout_was_expected(root):
    with pytest.raises(ValueError, match=rf"no file 'annotations/test\.csv' or .*; {LAYOUT}"):
        kinetics400('test', root=str(root))
    write_list(root / 'annotations' / 'test.csv', rows('val'))
    with pytest.raises(ValueError, match=f"no folder 'test' or 'videos_test'; {LAYOUT}"):
        kinetics400('test', root=str(root))
    with pytest.raises(ValueError, match=f"no file 'k.csv'; {LAYOUT}"):
        kinetics400('val', root=str(root), lists={'val': 'k.csv'})
    with pytest.raises(ValueError, match=f"no folder 'k'; {LAYOUT}"):
        kinetics400('val', root=str(root), videos={'val': ['k']})
    shutil.rmtree(root / 'val')
    (root / 'val').mkdir()
    with pytest.raises(ValueError, match=f"val' holds none of the 12 clips .*; {LAYOUT}"):
        kinetics400('val', root=str(root))
    (root / 'annotations' / 'train.csv').unlink()
    with pytest.raises(ValueError, match=rf"no file 'annotations/train\.csv' or .*; {LAYOUT}"):
        kinetics400('val', root=str(root))
    with pytest.raises(ValueError, match=f"none' is not a folder that exists.*{LAYOUT}"):
        kinetics400('val', root=str(root / 'none'))


@pytest.mark.parametrize('name', ['lists', 'videos'])
@pytest.mark.parametrize('value', [{'valid': 'x'}, 'x', {'val': ''}, {'val': []}], ids=repr)
def test_settings_that_are_not_by_split_are_refused(root, name, value):
    problem = f"{name} must be by official split, of ('train', 'val', 'test'), and none empty"
    with pytest.raises(ValueError, match=f'{re.escape(problem)}, got {re.escape(repr(value))}'):
        kinetics400('val', root=str(root), **{name: value})


def test_another_split_or_share_is_refused(root):
    with pytest.raises(ValueError, match=r"split must be one of .* got 'validate'"):
        kinetics400('validate', root=str(root))
    with pytest.raises(ValueError, match='val_share must be at least 0 and less than 1, got -1'):
        kinetics400('train', root=str(root), val_share=-1)


@pytest.mark.parametrize(
    ('row', 'expected'),
    [
        (('juggling', 'abc', 1, 11), 'a label of the train list'),
        (('abseiling', 'abc', 1), 'a video, its first second and its last'),
        (('abseiling', '', 1, 11), 'a video, its first second and its last'),
        (('abseiling', 'abc', -1, 11), 'a video, its first second and its last'),
        (('abseiling', 'abc', 1, 11.5), 'a video, its first second and its last'),
        (('', 'abc', 1, 11), 'a label for each clip'),
    ],
)
def test_a_wrong_row_is_named(root, row, expected):
    write_list(root / 'annotations' / 'val.csv', [*rows('val')[:1], row])
    with pytest.raises(ValueError, match=rf"val\.csv', line 3: expected {expected}.*, got '"):
        kinetics400('val', root=str(root))


def test_a_list_without_a_header_is_refused(root):
    write_list(root / 'annotations' / 'val.csv', [], 'abseiling,yq_M1PMw2hY,38,48,val')
    with pytest.raises(ValueError, match=r"line 1: expected 'label,youtube_id,time_start,time_e"):
        kinetics400('val', root=str(root))


def test_a_published_row_is_the_name_of_its_file():
    columns = parse_header(LIST, 1, 'label,youtube_id,time_start,time_end,split')
    row = parse_row(LIST, 2, 'abseiling,yq_M1PMw2hY,38,48,val', columns)
    assert row == Row('abseiling', 'yq_M1PMw2hY', 38, 48)
    assert row.stem == 'yq_M1PMw2hY_000038_000048'


def refusal(parse, *args) -> str:
    """Return the message of the error that a line gives; empty if it gives none."""
    try:
        parse(LIST, 7, *args)
    except ValueError as error:
        return str(error)
    return ''


@given(
    st.text()
    | st.permutations([*COLUMNS, 'is_cc']).map(','.join)
    | st.sampled_from(['a\rb', 'label\0'])
)
def test_any_line_is_a_header_or_refused(line):
    if message := refusal(parse_header, line):
        assert message.startswith(f"'{LIST}', line 7: expected ")
        assert message.endswith(f', got {line!r}.')
    else:
        places = parse_header(LIST, 7, line)
        assert [line.split(',')[places[column]] for column in COLUMNS] == list(COLUMNS)


@given(
    fields=st.lists(st.text() | st.from_regex('[0-9]{1,7}', fullmatch=True), max_size=6),
    places=st.permutations(range(5)).map(lambda places: dict(zip(COLUMNS, places))),
)
def test_any_line_is_a_row_or_refused(fields, places):
    line = ','.join(fields)
    if message := refusal(parse_row, line, places):
        assert message.startswith(f"'{LIST}', line 7: expected a ")
        assert message.endswith(f', got {line!r}.')
    else:
        row = parse_row(LIST, 7, line, places)
        assert row.label
        assert row.youtube_id
        assert 0 <= row.start_sec < 1_000_000
        assert 0 <= row.end_sec < 1_000_000


@given(
    label=st.text('abc ()\'"', min_size=1).map(str.strip).filter(spelling),
    youtube_id=st.text('aB3_-', min_size=1),
    times=st.tuples(st.integers(0, 999999), st.integers(0, 999999)),
    places=st.permutations(range(5)).map(lambda places: dict(zip(COLUMNS, places))),
)
def test_a_row_written_is_the_row_read(label, youtube_id, times, places):
    row = Row(label, youtube_id, *times)
    fields = ['other'] * 5
    for column, value in zip(COLUMNS, row):
        fields[places[column]] = str(value)
    text = io.StringIO()
    csv.writer(text).writerow(fields)
    assert parse_row(LIST, 7, text.getvalue().strip(), places) == row
