"""UCF101: a fabricated data set in its layout, and the real lists."""

from pathlib import Path
import re
import shutil

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.video_sets.ucf101 import ListedVideo, parse_class, parse_video, ucf101
import pytest

REAL = Path(__file__).parents[3].parent / 'shared' / 'data'
REAL_LISTS = REAL / 'annotation_samples' / 'ucf101' / 'ucfTrainTestlist'
# The numbers are in the file, and not those of sorted names.
CLASSES = ('Hammering', 'HammerThrow', 'HandstandPushups')
LIST = Path('lists/trainlist01.txt')


def names(class_name: str, groups: range) -> list[str]:
    """Return the list entries of two clips of each group; one class is misspelt in its files."""
    spelt = class_name.replace('Handstand', 'HandStand')
    return [f'{class_name}/v_{spelt}_g{g:02d}_c{c:02d}.avi' for g in groups for c in (1, 2)]


def write_list(path: Path, lines: list[str]) -> None:
    """Write a list as the originals are: CRLF everywhere."""
    path.write_bytes(''.join(f'{line}\r\n' for line in lines).encode())


@pytest.fixture
def root(tmp_path):
    """Return a data set of 3 classes, whose division 1 has groups 1 and 2 as test."""
    lists = tmp_path / 'ucfTrainTestlist'
    lists.mkdir()
    write_list(lists / 'classInd.txt', [f'{i} {name}' for i, name in enumerate(CLASSES, 1)])
    test = [name for c in CLASSES for name in names(c, range(1, 3))]
    train = [f'{n} {i}' for i, c in enumerate(CLASSES, 1) for n in names(c, range(3, 26))]
    write_list(lists / 'testlist01.txt', test)
    write_list(lists / 'trainlist01.txt', train)
    write_list(lists / 'testlist03.txt', test[:1])
    write_list(lists / 'trainlist03.txt', train[:9])
    for class_name in CLASSES:
        (tmp_path / 'UCF-101' / class_name).mkdir(parents=True)
        for name in names(class_name, range(1, 26)):
            (tmp_path / 'UCF-101' / name).touch()
    return tmp_path


def test_classes_have_the_numbers_of_the_list_and_those_of_the_folders(root):
    for split in ('train', 'val', 'test'):
        index = ucf101(split, root=str(root))
        assert index.labels == CLASSES
        assert index.missing == []
        for entry in index.entries:
            assert entry.path.is_file()
            assert entry.path.parent.name == index.labels[entry.label]
        assert min(index.counts()) > 0


def test_splits_share_no_clip_and_no_group_and_are_all_there_is(root):
    indices = [ucf101(split, root=str(root)) for split in ('train', 'val', 'test')]
    paths = [entry.path for index in indices for entry in index.entries]
    assert len(paths) == len(set(paths)) == 3 * 25 * 2
    groups = [{entry.group for entry in index.entries} for index in indices]
    assert groups[2] == {'g01', 'g02'}
    assert set.union(*groups) == {f'g{g:02d}' for g in range(1, 26)}
    assert sum(map(len, groups)) == 25
    for index in indices:
        for entry in index.entries:
            assert f'_{entry.group}_c' in entry.path.name


def test_the_clips_may_be_mirrored_and_no_class_changes(root):
    assert ucf101('train', root=str(root)).mirrored == {}


def test_another_fold_reads_its_own_lists(root):
    test = ucf101('test', root=str(root), fold=3)
    assert [entry.path.name for entry in test.entries] == ['v_Hammering_g01_c01.avi']
    assert len(ucf101('train', root=str(root), fold=3, val_share=0).entries) == 9


def test_missing_videos_are_listed_and_the_others_kept(root):
    gone = root / 'UCF-101' / 'HammerThrow' / 'v_HammerThrow_g01_c02.avi'
    gone.unlink()
    shutil.rmtree(root / 'UCF-101' / 'Hammering')
    index = ucf101('test', root=str(root))
    assert len(index.missing) == 5
    assert str(gone) in index.missing
    assert index.counts() == [0, 3, 4]


@pytest.mark.parametrize('fold', [0, 4])
def test_another_fold_or_split_is_refused(root, fold):
    with pytest.raises(ValueError, match=f'fold must be 1, 2 or 3, got {fold}'):
        ucf101('train', root=str(root), fold=fold)
    with pytest.raises(ValueError, match=r"split must be one of .* got 'training'"):
        ucf101('training', root=str(root))


def test_what_is_missing_says_which_layout_was_expected(root):
    layout = r'the layout is <root>/UCF-101/<class>/v_<class>_g<group>_c<clip>\.avi and'
    with pytest.raises(ValueError, match=f"trainlist02.txt' is not a file that.*{layout}"):
        ucf101('train', root=str(root), fold=2)
    shutil.rmtree(root / 'UCF-101')
    with pytest.raises(ValueError, match=f"has no folder 'UCF-101'; {layout}"):
        ucf101('train', root=str(root))
    (root / 'UCF-101').mkdir()
    with pytest.raises(ValueError, match=f'None of the 12 clips of the lists.*{layout}'):
        ucf101('test', root=str(root))
    shutil.rmtree(root / 'ucfTrainTestlist')
    with pytest.raises(ValueError, match=f"has no folder 'ucfTrainTestlist'; {layout}"):
        ucf101('train', root=str(root))
    with pytest.raises(ValueError, match=f"none' is not a folder that exists.*{layout}"):
        ucf101('train', root=str(root / 'none'))


@pytest.mark.parametrize(
    ('file', 'line', 'expected'),
    [
        ('classInd.txt', '5 Archery', 'class 1, with a name of its own'),
        ('classInd.txt', 'Archery', "'<class number> <class name>'"),
        ('trainlist01.txt', 'Archery/v_Archery_g01_c01.avi 1', "a class of 'classInd.txt'"),
        ('trainlist01.txt', 'Hammering/v_x_g01_c01.avi 2', "1, the number in 'classInd.txt'"),
        ('trainlist01.txt', 'v_Hammering_g01_c01.avi 1', "'<class>/<name>_g<group>_c<clip>.avi'"),
    ],
)
def test_a_wrong_line_is_named(root, file, line, expected):
    write_list(root / 'ucfTrainTestlist' / file, [line])
    problem = f"{file}', line 1: expected {expected}"
    with pytest.raises(ValueError, match=f'{re.escape(problem)}.*, got {re.escape(repr(line))}'):
        ucf101('train', root=str(root))


def test_two_classes_of_one_name_are_refused(root):
    write_list(root / 'ucfTrainTestlist' / 'classInd.txt', ['1 Archery', '2 Archery'])
    with pytest.raises(ValueError, match='line 2: expected class 2, with a name of its own'):
        ucf101('train', root=str(root))


def test_lines_are_parsed_as_written():
    path = Path('a')
    assert parse_class(path, 1, '101 YoYo') == (101, 'YoYo')
    trap = 'HandstandPushups/v_HandStandPushups_g08_c01.avi'
    expected = ListedVideo('HandstandPushups', 'v_HandStandPushups_g08_c01.avi', 'g08', None)
    assert parse_video(path, 1, trap) == expected
    assert parse_video(path, 1, f'{trap} 37') == expected._replace(class_number=37)


def parsed(parse, line: str):
    """Return the fields of a line; ``None`` if it is refused, by file, line, rule and value."""
    try:
        return parse(LIST, 7, line)
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"'{LIST}', line 7: expected '<class")
    assert message.endswith(f', got {line!r}.')
    return None


@given(st.text() | st.from_regex(r'[0-9]{1,9} +[\w ]+', fullmatch=True))
def test_any_line_is_a_numbered_class_or_refused(line):
    if fields := parsed(parse_class, line):
        number, name = line.split()
        assert fields == (int(number), name)


@given(
    st.text()
    | st.from_regex(r'[\w/]{1,9}/v_\w_g[0-9]{1,3}_c[0-9]\.avi( +[0-9]{1,9})?', fullmatch=True)
)
def test_any_line_is_a_listed_video_or_refused(line):
    if video := parsed(parse_video, line):
        name, *numbers = line.split()
        assert f'{video.class_name}/{video.file}' == name
        assert name.count('/') == 1
        assert [video.class_number] == ([int(n) for n in numbers] or [None])
        assert re.search(r'_(g\d+)_c\d+\.avi$', name)[1] == video.group


@pytest.fixture
def real_root(tmp_path):
    """Return the real lists, and two of the real videos in their folders."""
    if not REAL_LISTS.is_dir():
        pytest.skip(f'no real lists at {REAL_LISTS}')
    shutil.copytree(REAL_LISTS, tmp_path / 'ucfTrainTestlist')
    for name in ('ApplyEyeMakeup', 'BaseballPitch'):
        (tmp_path / 'UCF-101' / name).mkdir(parents=True)
        video = f'v_{name}_g01_c01.avi'
        shutil.copy(REAL / 'ucf101_c3d' / video, tmp_path / 'UCF-101' / name / video)
    return tmp_path


def test_two_real_videos_of_the_real_lists_are_found(real_root):
    index = ucf101('test', root=str(real_root))
    assert [index.labels[entry.label] for entry in index.entries] == [
        'ApplyEyeMakeup',
        'BaseballPitch',
    ]
    assert len(index.missing) == 3783 - 2
    # Both are of group 1, which divisions 2 and 3 train on.
    with pytest.raises(ValueError, match='None of the 9537 clips'):
        ucf101('train', root=str(real_root), val_share=0)
    assert len(ucf101('train', root=str(real_root), fold=2).entries) == 2


def test_the_real_lists_have_their_published_counts(real_root, monkeypatch):
    # As if all of it were on disk.
    monkeypatch.setattr(
        'mtl_training.data.video_sets.ucf101.part_missing', lambda entries, _: (entries, [])
    )
    for fold, num_train, num_test, test_groups in (
        (1, 9537, 3783, range(1, 8)),
        (2, 9586, 3734, range(8, 15)),
        (3, 9624, 3696, range(15, 22)),
    ):
        index = {
            split: ucf101(split, root=str(real_root), fold=fold)
            for split in ('train', 'val', 'test')
        }
        assert {len(of_split.labels) for of_split in index.values()} == {101}
        assert len(index['train'].entries) + len(index['val'].entries) == num_train
        assert len(index['test'].entries) == num_test
        paths = {entry.path for of_split in index.values() for entry in of_split.entries}
        assert len(paths) == 13320
        assert {e.group for e in index['test'].entries} == {f'g{g:02d}' for g in test_groups}
        assert all(min(of_split.counts()) > 0 for of_split in index.values())


def test_the_real_classes_have_their_official_numbers(real_root):
    labels = ucf101('test', root=str(real_root)).labels
    assert (labels[0], labels[100]) == ('ApplyEyeMakeup', 'YoYo')
    moved = {name for name, other in zip(labels, sorted(labels)) if name != other}
    assert moved == {'Hammering', 'HammerThrow', 'JumpingJack', 'JumpRope'}
    lines = (REAL_LISTS / 'trainlist01.txt').read_text().splitlines()
    videos = [parse_video(LIST, number, line) for number, line in enumerate(lines, start=1)]
    assert {video.class_name for video in videos} == set(labels)
    misspelt = {v.class_name for v in videos if not v.file.startswith(f'v_{v.class_name}_')}
    assert misspelt == {'HandstandPushups'}
