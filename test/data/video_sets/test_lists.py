"""Text lists of data sets, and what of them is on disk."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.video_sets.lists import (
    check_fold,
    find_file,
    find_folder,
    line_error,
    names_in,
    numbered_lines,
    official_split,
    part_missing,
)
from mtl_training.data.videos.index import ClipEntry
import pytest


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'], ids=repr)
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=('Cs', 'Cc'), exclude_characters='\ufeff'))
    ),
    is_ended=st.booleans(),
)
def test_lines_are_those_written_whatever_ends_them(tmp_path_factory, end, texts, is_ended):
    path = tmp_path_factory.getbasetemp() / 'list.txt'
    path.write_bytes((end.join(texts) + end * is_ended).encode())
    expected = [(i, text.strip()) for i, text in enumerate(texts, start=1) if text.strip()]
    if expected:
        assert numbered_lines(path, 'names') == expected
    else:
        with pytest.raises(ValueError, match=r"list\.txt' is empty; expected names"):
            numbered_lines(path, 'names')


@given(st.binary())
def test_any_bytes_are_a_list_or_an_empty_one(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / 'list.txt'
    path.write_bytes(content)
    if content.decode('utf-8-sig', errors='replace').strip():
        assert all(line == line.strip() != '' for _, line in numbered_lines(path, 'names'))
    else:
        with pytest.raises(ValueError, match='is empty'):
            numbered_lines(path, 'names')


def test_a_byte_order_mark_and_trailing_blanks_are_no_part_of_a_line(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes(b'\xef\xbb\xbf1 Archery \r\n\r\n2 Ca\xffe')
    assert numbered_lines(path, 'classes') == [(1, '1 Archery'), (3, '2 Ca\ufffde')]


def test_a_missing_list_says_which_and_what_it_holds(tmp_path):
    with pytest.raises(ValueError, match=r"list\.txt' is not a file that exists; expected names"):
        numbered_lines(tmp_path / 'list.txt', 'names')


def test_the_error_of_a_line_names_file_line_rule_and_value():
    error = line_error(Path('a/list.txt'), 7, 'x y', '<name> <number>')
    assert str(error) == f"'{Path('a/list.txt')}', line 7: expected <name> <number>, got 'x y'."


def test_the_first_candidate_that_exists_is_found(tmp_path):
    (tmp_path / 'b').mkdir()
    (tmp_path / 'c').mkdir()
    (tmp_path / 'd').touch()
    assert find_folder(tmp_path, 'a', 'd', 'c', 'b', layout='L') == tmp_path / 'c'
    assert find_folder(str(tmp_path), '.', 'c', layout='L') == tmp_path
    assert find_file(tmp_path, 'a', 'c', 'd', layout='L') == tmp_path / 'd'


def test_a_root_in_the_users_own_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'b').mkdir()
    assert find_folder('~/b', '.', layout='L') == tmp_path / 'b'


@pytest.mark.parametrize(('find', 'kind'), [(find_folder, 'folder'), (find_file, 'file')])
def test_a_missing_candidate_or_root_says_what_the_layout_is(tmp_path, find, kind):
    with pytest.raises(ValueError, match=rf"has no {kind} 'a' or 'b'; the layout is L\."):
        find(tmp_path, 'a', 'b', layout='L')
    with pytest.raises(ValueError, match=r"none' is not a folder that exists.*the layout is L\."):
        find(tmp_path / 'none', 'a', layout='L')


def test_a_folder_that_is_missing_holds_no_names(tmp_path):
    (tmp_path / 'a[1].avi').touch()
    (tmp_path / 'b').mkdir()
    assert names_in(tmp_path) == {'a[1].avi', 'b'}
    assert names_in(tmp_path / 'none') == names_in(tmp_path / 'a[1].avi') == set()


def test_clips_are_parted_by_what_is_on_disk_in_their_order(tmp_path):
    names = ['(Rad)!_[1].avi', 'one*.avi', 'a@#&;,.avi', 'gone?.avi']
    entries = [ClipEntry(tmp_path / name, i) for i, name in enumerate(names)]
    for entry in entries[:3]:
        entry.path.touch()
    elsewhere = ClipEntry(tmp_path / 'none' / 'x.avi', 0)
    found, missing = part_missing([elsewhere, *entries], 'L')
    assert found == entries[:3]
    assert missing == [str(elsewhere.path), str(entries[3].path)]


def test_each_folder_is_listed_once(tmp_path, monkeypatch):
    (tmp_path / 'a').touch()
    listed = []

    def listing(folder):
        listed.append(folder)
        return {'a'}

    monkeypatch.setattr('mtl_training.data.video_sets.lists.names_in', listing)
    part_missing([ClipEntry(tmp_path / 'a', 0)] * 100, 'L')
    assert listed == [str(tmp_path)]


def test_lists_of_which_nothing_is_on_disk_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"None of the 2 clips.*a\.avi' is the first.*layout is L"
    ):
        part_missing([ClipEntry(tmp_path / name, 0) for name in ('a.avi', 'b.avi')], 'L')
    with pytest.raises(ValueError, match='None of the 0 clips'):
        part_missing([], 'L')


@pytest.mark.parametrize('fold', [0, 4, '1', None])
def test_there_are_three_folds(fold):
    for known in (1, 2, 3):
        check_fold(known)
    with pytest.raises(ValueError, match=f'fold must be 1, 2 or 3, got {fold!r}'):
        check_fold(fold)


def test_with_a_share_the_official_val_list_is_the_test():
    splits = ('train', 'val', 'test')
    assert [official_split(split, 0) for split in splits] == ['train', 'val', 'test']
    assert [official_split(split, 0.1) for split in splits] == ['train', 'train', 'val']
    for share in (-0.1, 1.0, float('nan')):
        with pytest.raises(ValueError, match='val_share must be at least 0 and less than 1'):
            official_split('val', share)
