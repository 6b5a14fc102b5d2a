"""20BN-Jester: a fabricated data set in its layout, and the real lists."""

from pathlib import Path
import re
import shutil

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.video_sets.jester import jester, parse_clip, parse_label
import pytest

REAL = Path(__file__).parents[3].parent / 'shared' / 'data' / 'annotation_samples' / 'jester'
# In an order of their own, not that of their names.
LABELS = ('Swiping Left', 'Swiping Right', 'Drumming Fingers', 'No gesture')
LIST = Path('lists/jester-v1-train.csv')
LAYOUT = re.escape('the layout is <root>/20bn-jester-v1/<clip>/00001.jpg')


def write_list(root: Path, name: str, lines: list[str]) -> None:
    """Write a list as some of its copies are: CRLF, and the last line without an end."""
    (root / f'jester-v1-{name}.csv').write_bytes('\r\n'.join(lines).encode())


@pytest.fixture
def root(tmp_path):
    """Return a data set of 4 classes: clips 0 to 39 train, 40 to 47 validate, 48 is to test."""
    lines = [f'{clip};{LABELS[clip % 4]}' for clip in range(48)]
    write_list(tmp_path, 'labels', list(LABELS))
    write_list(tmp_path, 'train', lines[:40])
    write_list(tmp_path, 'validation', lines[40:])
    write_list(tmp_path, 'test', ['48'])
    for clip in range(49):
        folder = tmp_path / '20bn-jester-v1' / str(clip)
        folder.mkdir(parents=True)
        (folder / '00001.jpg').touch()
    return tmp_path


def clips(index) -> list[int]:
    """Return the numbers of the clips of an index."""
    return [int(entry.path.name) for entry in index.entries]


def test_the_official_lists_are_train_and_val(root):
    train, val = (jester(split, root=str(root)) for split in ('train', 'val'))
    assert clips(train) == list(range(40))
    assert clips(val) == list(range(40, 48))
    for index in (train, val):
        assert index.labels == LABELS
        assert index.missing == []
        assert [entry.label for entry in index.entries] == [clip % 4 for clip in clips(index)]
        assert all((entry.path / '00001.jpg').is_file() for entry in index.entries)
        assert index.rate_hz == 12


def test_there_is_no_test_split_and_the_reason_is_given(root):
    with pytest.raises(ValueError, match=r'labels .* are withheld. With val_share above 0, 0.1'):
        jester('test', root=str(root))


def test_with_a_share_the_official_validation_list_is_the_test(root):
    train, val, test = (
        clips(jester(split, root=str(root), val_share=0.3)) for split in ('train', 'val', 'test')
    )
    assert test == list(range(40, 48))
    assert val
    assert sorted(train + val) == list(range(40))


def test_the_lists_may_lie_in_a_folder_of_their_own(root):
    (root / 'annotations').mkdir()
    for path in root.glob('*.csv'):
        path.rename(root / 'annotations' / path.name)
    assert clips(jester('val', root=str(root))) == list(range(40, 48))


def test_a_swipe_to_the_left_is_mirrored_into_one_to_the_right(root):
    expected = {'Swiping Left': 'Swiping Right', 'Swiping Right': 'Swiping Left'}
    assert jester('train', root=str(root)).mirrored == expected


def test_clips_whose_mirror_image_is_no_class_must_not_be_mirrored(root):
    write_list(root, 'labels', ['Turning Hand Clockwise', *LABELS])
    assert jester('train', root=str(root)).mirrored is None


def test_missing_clips_are_listed_and_the_others_kept(root):
    shutil.rmtree(root / '20bn-jester-v1' / '42')
    index = jester('val', root=str(root))
    assert index.missing == [str(root / '20bn-jester-v1' / '42')]
    assert clips(index) == [40, 41, 43, 44, 45, 46, 47]


def test_what_is_missing_says_which_layout_was_expected(root):
    (root / 'jester-v1-train.csv').unlink()
    with pytest.raises(ValueError, match=rf"no file 'jester-v1-train\.csv' or .*; {LAYOUT}"):
        jester('train', root=str(root))
    shutil.rmtree(root / '20bn-jester-v1')
    with pytest.raises(ValueError, match=f"no folder '20bn-jester-v1'; {LAYOUT}"):
        jester('val', root=str(root))
    (root / '20bn-jester-v1').mkdir()
    with pytest.raises(ValueError, match=f'None of the 8 clips .*; {LAYOUT}'):
        jester('val', root=str(root))
    with pytest.raises(ValueError, match=f"none' is not a folder that exists.*{LAYOUT}"):
        jester('val', root=str(root / 'none'))


def test_another_split_or_share_is_refused(root):
    with pytest.raises(ValueError, match=r"split must be one of .* got 'validation'"):
        jester('validation', root=str(root))
    with pytest.raises(ValueError, match='val_share must be at least 0 and less than 1, got 1'):
        jester('train', root=str(root), val_share=1)


@pytest.mark.parametrize(
    ('name', 'line', 'expected'),
    [
        ('labels', 'Swiping Left', 'each class once'),
        ('labels', '0;Swiping Left', "'<class name>'"),
        ('train', '8;Thumb Up', "a class of 'jester-v1-labels.csv'"),
        # The numbers of another project's lists, by the alphabet.
        ('train', '34870 2', "'<clip>;<class name>'"),
        ('train', '109621', "'<clip>;<class name>'"),
        ('train', '../8;No gesture', "'<clip>;<class name>'"),
    ],
)
def test_a_wrong_line_is_named(root, name, line, expected):
    first = LABELS[0] if name == 'labels' else f'7;{LABELS[0]}'
    write_list(root, name, [first, '', line])
    problem = f"jester-v1-{name}.csv', line 3: expected {expected}, got {line!r}"
    with pytest.raises(ValueError, match=re.escape(problem)):
        jester('train', root=str(root))


@given(st.text() | st.from_regex(r'[0-9]+ *; *[\w ;]+', fullmatch=True))
def test_any_line_is_a_clip_and_its_class_or_refused(line):
    try:
        clip, name = parse_clip(LIST, 7, line)
    except ValueError as error:
        message = str(error)
    else:
        assert [part.strip() for part in line.split(';')] == [clip, name.strip()]
        assert set(clip) <= set('0123456789')
        return
    assert message == f"'{LIST}', line 7: expected '<clip>;<class name>', got {line!r}."


@given(st.text() | st.sampled_from(LABELS))
def test_any_line_is_a_class_or_refused(line):
    if line and ';' not in line:
        assert parse_label(LIST, 7, line) == line
    else:
        with pytest.raises(ValueError, match=r"csv', line 7: expected '<class name>', got "):
            parse_label(LIST, 7, line)


@pytest.fixture
def real_root(tmp_path):
    """Return the real lists, with one of the clips of each."""
    if not REAL.is_dir():
        pytest.skip(f'no real lists at {REAL}')
    shutil.copytree(REAL, tmp_path / 'annotations')
    first = tmp_path / 'annotations' / 'jester-v1-train_first2000.csv'
    first.rename(first.with_name('jester-v1-train.csv'))
    for clip in ('34870', '9223'):
        (tmp_path / '20bn-jester-v1' / clip).mkdir(parents=True)
    return tmp_path


def test_the_real_lists_have_their_published_counts_and_classes(real_root):
    val = jester('val', root=str(real_root))
    assert len(val.missing) == 14787 - 1
    assert [val.labels[entry.label] for entry in val.entries] == ['Thumb Up']
    train = jester('train', root=str(real_root))
    assert len(train.missing) == 2000 - 1
    assert [train.labels[entry.label] for entry in train.entries] == ['Drumming Fingers']
    assert val.labels == train.labels
    assert len(set(val.labels)) == 27
    assert (val.labels[0], val.labels[25:]) == (
        'Swiping Left',
        ('No gesture', 'Doing other things'),
    )


def test_three_pairs_of_real_classes_are_mirrored_into_each_other(real_root):
    mirrored = jester('val', root=str(real_root)).mirrored
    pairs = {tuple(sorted(pair)) for pair in mirrored.items()}
    assert pairs == {
        ('Swiping Left', 'Swiping Right'),
        ('Sliding Two Fingers Left', 'Sliding Two Fingers Right'),
        ('Turning Hand Clockwise', 'Turning Hand Counterclockwise'),
    }
    assert all(mirrored[other] == name for name, other in mirrored.items())


def test_the_real_list_with_other_line_ends_is_read_alike(real_root):
    copy = real_root / 'annotations' / 'jester-v1-train-quick-testing_CRLF.csv'
    assert copy.read_bytes().count(b'\r\n') == 7  # the last line has no end
    copy.rename(copy.with_name('jester-v1-train.csv'))
    train = jester('train', root=str(real_root))
    assert len(train.entries) + len(train.missing) == 8
    assert [train.labels[entry.label] for entry in train.entries] == ['Drumming Fingers']


def test_the_real_test_list_carries_no_labels():
    if not REAL.is_dir():
        pytest.skip(f'no real lists at {REAL}')
    lines = (REAL / 'jester-v1-test.csv').read_text().splitlines()
    assert len(lines) == 14743
    with pytest.raises(ValueError, match="line 1: expected '<clip>;<class name>', got '109621'"):
        parse_clip(LIST, 1, lines[0])
