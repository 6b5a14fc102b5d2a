"""NTU RGB+D: names of files, protocols, and the table of actions and gestures."""

from itertools import product
from pathlib import Path
import re

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.video_sets.ntu_partition import (
    mirrored_names,
    parse_class,
    read_partition,
    TABLE,
)
from mtl_training.data.video_sets.ntu_rgbd import (
    is_training,
    ntu_rgbd,
    NtuName,
    parse_name,
    SUBJECTS_60,
    SUBJECTS_120,
)
import pytest

SHARED = Path(__file__).parents[3].parent / 'shared'
REAL = SHARED / 'data' / 'ntu_mmaction2'
needs_real_names = pytest.mark.skipif(not REAL.is_dir(), reason=f'real names are not at {REAL}')
# Performers on both sides of both lists: 28 is held out for validation, 41 comes with the second
# half; setups on both sides of its start.
FIRST_HALF = list(product((1, 2, 17), (1, 2, 3), (1, 3, 28), (1, 2), (1, 10, 60)))
SECOND_HALF = list(product((18, 20, 32), (1, 2, 3), (28, 41, 45, 58), (1, 2), (61, 69)))


def file_of(numbers) -> str:
    return '{:03d}C{:03d}P{:03d}R{:03d}A{:03d}_rgb.avi'.format(*numbers).join(['S', ''])


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('ntu') / 'nturgb+d_rgb'
    folder.mkdir()
    for numbers in FIRST_HALF + SECOND_HALF:
        (folder / file_of(numbers)).touch()
    (folder / 'readme.txt').touch()
    (folder / '._S001C001P001R001A001_rgb.avi').touch()
    return folder.parent


def outcome(parse, *arguments):
    """Return what is parsed, or the message of its refusal."""
    try:
        return parse(*arguments), ''
    except ValueError as error:
        return None, str(error)


def names_of(index) -> list[NtuName]:
    return [parse_name(entry.path.name) for entry in index.entries]


@given(st.text() | st.from_regex(r'S\d{3}C\d{3}P\d{3}R\d{3}A\d{3}(_rgb)?(\.avi)?'))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    name, refusal = outcome(parse_name, text)
    if name:
        assert text.startswith(file_of(name).removesuffix('_rgb.avi'))
    else:
        assert re.match(r'expected a name such as S001C002P003R002A013_rgb\.avi.*, got ', refusal)


@given(st.tuples(*(st.integers(1, last) for last in (32, 3, 106, 2, 120))))
def test_a_name_is_read_back(numbers) -> None:
    assert parse_name(file_of(numbers)) == numbers


@pytest.mark.parametrize(
    'name',
    ['S000C001P001R001A001_rgb.avi', 'S001C004P001R001A001_rgb.avi', 'S001C001P107R001A001',
     'S001C001P001R003A001', 'S001C001P001R001A121', 'S01C001P001R001A001', '٠'],
)  # fmt: skip
def test_a_number_out_of_range_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r'expected a name such as .*, got'):
        parse_name(name)


@needs_real_names
@pytest.mark.parametrize(
    ('protocol', 'train', 'test'), [('cross_subject', 229, 73), ('cross_view', 274, 28)]
)
def test_the_protocols_divide_real_names_as_published(protocol, train, test) -> None:
    # Published with and without the samples that have no skeleton: 40,320 and 40,091 train across
    # subjects, 37,920 and 37,646 across views.
    lines = (REAL / 'NTU_RGBD_samples_with_missing_skeletons.txt').read_text().split()
    trains = [is_training(parse_name(line), 60, protocol) for line in lines]
    assert (sum(trains), len(trains) - sum(trains)) == (train, test)


def test_as_many_performers_train_as_published() -> None:
    # Half of 40, and half of 106; those of the first half train in both.
    assert (len(SUBJECTS_60), len(SUBJECTS_120)) == (20, 53)
    assert {p for p in SUBJECTS_120 if p <= 40} == SUBJECTS_60


@needs_real_names
def test_all_real_names_are_read(tmp_path) -> None:
    first, both = (
        (REAL / f'NTU_RGBD{version}_samples_with_missing_skeletons.txt').read_text().split()
        for version in ('', '120')
    )
    assert (len(first), len(both)) == (302, 535)
    for name in both:
        (tmp_path / f'{name}_rgb.avi').touch()
    counts = {}
    for version in (60, 120):
        train, test = (
            ntu_rgbd(split, root=str(tmp_path), version=version, val_share=0)
            for split in ('train', 'test')
        )
        assert not train.missing
        counts[version] = len(train.entries) + len(test.entries)
    assert counts == {60: 302, 120: 535}


@pytest.mark.parametrize(
    ('version', 'protocol', 'trains'),
    [
        (60, 'cross_subject', lambda name: name.performer in (1, 28)),
        (60, 'cross_view', lambda name: name.camera != 1),
        (120, 'cross_subject', lambda name: name.performer in (1, 28, 45, 58)),
        (120, 'cross_setup', lambda name: name.setup in (2, 18, 20, 32)),
    ],
)
def test_a_protocol_divides_the_clips(root, version, protocol, trains) -> None:
    parts = {
        split: ntu_rgbd(split, root=str(root), version=version, protocol=protocol)
        for split in ('train', 'val', 'test')
    }
    names = {split: set(names_of(index)) for split, index in parts.items()}
    every = FIRST_HALF + (SECOND_HALF if version == 120 else [])
    assert names['train'] | names['val'] == {name for name in every if trains(NtuName(*name))}
    assert names['test'] == {name for name in every if not trains(NtuName(*name))}
    groups = [{entry.group for entry in index.entries} for index in parts.values()]
    assert not groups[0] & groups[1]
    assert {len(index.labels) for index in parts.values()} == {version}


@pytest.mark.parametrize(
    ('protocol', 'held_out'), [('cross_subject', {'P028'}), ('cross_setup', {'S020'})]
)
def test_whole_performers_or_setups_validate(root, protocol, held_out) -> None:
    index = ntu_rgbd('val', root=str(root), protocol=protocol)
    assert {entry.group for entry in index.entries} == held_out


@pytest.mark.parametrize('partition', ['all', 'action', 'gesture'])
def test_labels_are_the_names_of_the_classes(root, partition) -> None:
    index = ntu_rgbd('test', root=str(root), partition=partition)
    named = {1: 'drink water', 10: 'clapping', 60: 'walking apart from each other',
             61: 'put on headphone', 69: 'thumb up'}  # fmt: skip
    shown = {name.action for name in names_of(index)}
    assert shown == {'all': set(named), 'action': {1, 60, 61}, 'gesture': {10, 69}}[partition]
    for entry, name in zip(index.entries, names_of(index), strict=True):
        assert index.labels[entry.label] == named[name.action]
    assert len(index.labels) == {'all': 120, 'action': 96, 'gesture': 24}[partition]
    assert index.mirrored == {}


def test_the_first_half_has_its_own_partition(root) -> None:
    sizes = [
        len(ntu_rgbd('test', root=str(root), version=60, partition=partition).labels)
        for partition in ('action', 'gesture')
    ]
    assert sizes == [48, 12]


def test_videos_of_other_names_are_reported(tmp_path) -> None:
    (tmp_path / file_of((1, 1, 3, 1, 1))).touch()
    (tmp_path / 'S001C001P003R001A001_rgb (copy).avi').touch()
    index = ntu_rgbd('test', root=str(tmp_path))
    assert [entry.path.name for entry in index.entries] == [file_of((1, 1, 3, 1, 1))]
    assert len(index.missing) == 1
    assert re.search(r"\(copy\)\.avi: expected a name such as .*, got 'S001", index.missing[0])


def test_what_is_wrong_is_said(root, tmp_path) -> None:
    def refused(match: str, split: str = 'test', **settings) -> None:
        with pytest.raises(ValueError, match=match):
            ntu_rgbd(split, **{'root': str(root), **settings})

    refused(r"split must be one of .*, got 'dev'", split='dev')
    refused('version must be 60 or 120, got 61', version=61)
    refused("protocol must be .*'cross_setup'.* of NTU RGB.D 120, got 'cross_view'",
            protocol='cross_view')  # fmt: skip
    refused("partition must be one of .*, got 'gestures'", partition='gestures')
    refused('val_share must be .* less than 1, got 1', split='val', val_share=1.0)
    refused(r"none' is not a folder that exists.*the layout is <root>/nturgb\+d_rgb",
            root=str(tmp_path / 'none'))  # fmt: skip
    refused(r"holds no clip of the split 'test'.*the layout is", root=str(tmp_path))
    table = tmp_path / 'table.csv'
    table.write_text('A,name,partition\n1,drink,action\n')
    refused("table.csv' has no class of the partition 'gesture'",
            partition_file=str(table), partition='gesture')  # fmt: skip


def test_a_users_table_wins(root, tmp_path) -> None:
    table = tmp_path / 'mine.csv'
    # As a spreadsheet saves it.
    table.write_bytes(
        '\ufeffname,note,A,partition\r\nthumb,,69,gesture\r\n"drink, eat",,1,gesture\r\n'.encode()
    )
    index = ntu_rgbd('test', root=str(root), partition='gesture', partition_file=str(table))
    assert index.labels == ('drink, eat', 'thumb')
    assert {name.action for name in names_of(index)} == {1, 69}


@pytest.mark.skipif(not SHARED.is_dir(), reason=f'the source of the table is not at {SHARED}')
def test_the_table_is_that_of_its_source() -> None:
    assert read_partition(SHARED / 'ntu120_classes.csv') == read_partition()


def test_the_table_has_all_classes() -> None:
    classes = read_partition()
    assert [one.number for one in classes] == list(range(1, 121))
    assert sum(one.partition == 'gesture' for one in classes) == 24


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('', r'must have the columns A,name,partition and a line for each class, got \[\]'),
        ('A,name\n1,x\n', r"must have the columns A,name,partition .*got \['A', 'name'\]"),
        ('A,name,partition\n', 'a line for each class'),
        ('A,name,partition\n\n121,x,action\n', r"t\.csv', line 3: expected A from 1.*'121'"),
        ('A,name,partition\n1,x,acton\n', "line 2: .* the partition being action or gesture, got"),
        ('A,name,partition\n1,x\n', r"line 2: .*got \['1', 'x', ''\]"),
        ('A,name,partition\n1,x,action\n1,y,action\n', r"t\.csv': the number 1 is there twice"),
        ('A,name,partition\n1,x,action\n2,x,action\n', r"t\.csv': the name 'x' is there twice"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused(tmp_path, text, match) -> None:
    (tmp_path / 't.csv').write_text(text)
    with pytest.raises(ValueError, match=match):
        read_partition(tmp_path / 't.csv')


def test_a_missing_table_is_named(tmp_path) -> None:
    with pytest.raises(
        ValueError, match=r"partition_file '.*none\.csv' is not a file that exists"
    ):
        read_partition(tmp_path / 'none.csv')


@given(st.lists(st.text(), max_size=4))
def test_any_row_is_a_class_or_refused(row: list[str]) -> None:
    one, refusal = outcome(parse_class, row, 'here')
    if not one:
        assert refusal.startswith('here: expected A from 1 to 120')
    else:
        assert [str(one.number), one.name, one.partition] == [
            row[0].strip().lstrip('0'), row[1].strip(), row[2].strip()
        ]  # fmt: skip


@given(st.binary() | st.text(alphabet='A,name partition1\n"\r\0').map(str.encode))
def test_any_bytes_are_a_table_or_refused(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / 'any.csv'
    path.write_bytes(TABLE.read_bytes()[:40] + content)
    classes, refusal = outcome(read_partition, path)
    assert classes or 'any.csv' in refusal


def test_names_of_sides_are_swapped() -> None:
    assert mirrored_names(('wave left', 'wave right', 'clap')) == {
        'wave left': 'wave right',
        'wave right': 'wave left',
    }
    assert mirrored_names(('wave left', 'clap')) is None
    assert mirrored_names(('upright', 'leftover')) == {}


@needs_real_names
def test_the_real_clip_is_listed() -> None:
    index = ntu_rgbd('train', root=str(REAL), version=60)
    assert [entry.path.name for entry in index.entries] == ['S001C001P001R001A001_rgb.avi']
    assert index.labels[index.entries[0].label] == 'drink water'
    names = (REAL / 'label_map_ntu60.txt').read_text().splitlines()
    assert len(names) == len(index.labels)
    assert [a for a, b in zip(names, index.labels) if a != b] == []
