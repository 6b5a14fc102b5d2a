"""HMDB51: a fabricated data set in its layout."""

from pathlib import Path
import re
import shutil

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.video_sets.hmdb51 import hmdb51, parse_video, source
import pytest

# In the order of their names, which is not that of their length or of the disk.
CLASSES = ('cartwheel', 'shake_hands', 'sword', 'sword_exercise')
FILMS = (
    '(Rad)Schlag_die_Bank!',
    'Goalkeeper_Training_Day_@_7',
    'Fights[1]_#2',
    'Tom&Jerry;_or,not',
    *(f'Film_{number}' for number in range(16)),
)
LIST = Path('lists/wave_test_split1.txt')


def name(film: str, class_name: str, clip: int) -> str:
    """Return the name of a clip."""
    return f'{film}_{class_name}_f_cm_np1_ba_med_{clip}.avi'


def write_list(path: Path, uses: dict[str, int]) -> None:
    """Write a list as the originals are: a blank before each end of line."""
    path.write_text(''.join(f'{file} {use} \n' for file, use in uses.items()))


@pytest.fixture
def root(tmp_path):
    """Return a data set of 4 classes: of the 3 clips of each film, one trains and one tests."""
    lists = tmp_path / 'testTrainMulti_7030_splits'
    lists.mkdir()
    for class_name in CLASSES:
        (tmp_path / 'hmdb51_org' / class_name).mkdir(parents=True)
        files = [name(film, class_name, clip) for film in FILMS for clip in range(3)]
        for file in files:
            (tmp_path / 'hmdb51_org' / class_name / file).touch()
        for fold in (1, 2, 3):
            uses = {file: (i + fold) % 3 for i, file in enumerate(files)}
            write_list(lists / f'{class_name}_test_split{fold}.txt', uses)
    return tmp_path


def test_the_label_of_each_clip_is_that_of_its_folder(root):
    for split in ('train', 'val', 'test'):
        index = hmdb51(split, root=str(root))
        assert index.labels == CLASSES
        assert index.missing == []
        for entry in index.entries:
            assert entry.path.is_file()
            assert entry.path.parent.name == index.labels[entry.label]


def test_clips_of_no_use_in_a_division_are_left_out(root):
    for fold, (train, test) in {1: ('0', '1'), 2: ('2', '0'), 3: ('1', '2')}.items():
        for split, clip in (('train', train), ('test', test)):
            index = hmdb51(split, root=str(root), fold=fold, val_share=0)
            assert index.counts() == [len(FILMS)] * len(CLASSES)
            assert {entry.path.stem[-1] for entry in index.entries} == {clip}


def test_whole_films_are_held_out_of_train_for_val(root):
    films = {
        split: {entry.group for entry in hmdb51(split, root=str(root)).entries}
        for split in ('train', 'val', 'test')
    }
    assert films['test'] == films['train'] | films['val'] == set(FILMS)
    assert not films['train'] & films['val']


def test_clips_may_be_mirrored_and_no_class_changes(root):
    assert hmdb51('train', root=str(root)).mirrored == {}


def test_classes_may_lie_in_the_root_itself(root):
    expected = hmdb51('test', root=str(root))
    for class_name in CLASSES:
        (root / 'hmdb51_org' / class_name).rename(root / class_name)
    (root / 'hmdb51_org').rmdir()
    found = hmdb51('test', root=str(root))
    assert [e.path.name for e in found.entries] == [e.path.name for e in expected.entries]


def test_missing_clips_are_listed_and_the_others_kept(root):
    shutil.rmtree(root / 'hmdb51_org' / 'sword')
    gone = root / 'hmdb51_org' / 'cartwheel' / name('Fights[1]_#2', 'cartwheel', 1)
    gone.unlink()
    index = hmdb51('test', root=str(root))
    assert index.counts() == [len(FILMS) - 1, len(FILMS), 0, len(FILMS)]
    assert len(index.missing) == len(FILMS) + 1
    assert index.missing[0] == str(gone)


def test_files_that_are_no_lists_are_passed_over(root):
    lists = root / 'testTrainMulti_7030_splits'
    for other in ('readme.txt', '._wave_test_split1.txt', 'wave_test_split4.txt'):
        (lists / other).touch()
    assert hmdb51('test', root=str(root)).labels == CLASSES


def test_what_is_missing_says_which_layout_was_expected(root):
    lists = root / 'testTrainMulti_7030_splits'
    layout = re.escape('the layout is <root>/hmdb51_org/<class>/<name>.avi')
    (lists / 'sword_test_split2.txt').unlink()
    with pytest.raises(ValueError, match=rf"sword_test_split2\.txt' is not a file.*{layout}"):
        hmdb51('train', root=str(root), fold=2)
    shutil.rmtree(root / 'hmdb51_org')
    with pytest.raises(ValueError, match=f'None of the 80 clips of the lists.*{layout}'):
        hmdb51('test', root=str(root))
    shutil.rmtree(lists)
    with pytest.raises(ValueError, match=f"no folder 'testTrainMulti_7030_splits'; {layout}"):
        hmdb51('test', root=str(root))
    lists.mkdir()
    with pytest.raises(ValueError, match=f'holds no list of a class; {layout}'):
        hmdb51('test', root=str(root))
    with pytest.raises(ValueError, match=f"none' is not a folder that exists.*{layout}"):
        hmdb51('test', root=str(root / 'none'))


def test_another_fold_or_split_is_refused(root):
    with pytest.raises(ValueError, match='fold must be 1, 2 or 3, got 0'):
        hmdb51('train', root=str(root), fold=0)
    with pytest.raises(ValueError, match=r"split must be one of .* got 'valid'"):
        hmdb51('valid', root=str(root))


@pytest.mark.parametrize('line', ['a.avi 3', 'a.avi', 'a.avi 1 2', 'b/a.avi 1', '1'])
def test_a_wrong_line_is_named(root, line):
    path = root / 'testTrainMulti_7030_splits' / 'sword_test_split1.txt'
    path.write_text(f'ok.avi 1 \n\n{line}\n')
    problem = f"sword_test_split1.txt', line 3: expected '<name>.avi <0|1|2>', got {line!r}"
    with pytest.raises(ValueError, match=re.escape(problem)):
        hmdb51('train', root=str(root))


@pytest.mark.parametrize(
    ('file', 'class_name', 'film'),
    [
        ('April_09_brush_hair_u_nm_np1_ba_goo_0.avi', 'brush_hair', 'April_09'),
        ('(Rad)Schlag_die_Bank!_cartwheel_f_cm_np1_le_med_0.avi', 'cartwheel', FILMS[0]),
        ('Goalkeeper_Training_Day_@_7_catch_f_cm_np1_ri_med_0.avi', 'catch', FILMS[1]),
        ('sword_fight_1_sword_h_nm_np12_fr_bad_10.avi', 'sword', 'sword_fight_1'),
        ('no fields.avi', 'wave', 'no fields.avi'),
    ],
)
def test_the_film_is_what_stands_before_the_class_and_the_fields(file, class_name, film):
    assert source(file, class_name) == film


@given(
    st.text() | st.from_regex(r'[\w ()\[\]!@#&;]{1,9}\.avi +[0-3]', fullmatch=True),
    st.text(),
)
def test_any_line_is_a_clip_and_its_use_or_refused(line, class_name):
    try:
        file, use = parse_video(LIST, 7, line)
    except ValueError as error:
        message = str(error)
    else:
        assert [file, str(use)] == [part.strip() for part in re.split(r'\s+(?=[012]$)', line)]
        assert source(file, class_name)
        return
    assert message == f"'{LIST}', line 7: expected '<name>.avi <0|1|2>', got {line!r}."
