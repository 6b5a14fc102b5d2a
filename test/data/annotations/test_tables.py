"""Tables and JSON of other people: what is wrong in them is named."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.tables import (
    count_of,
    load_entries,
    number_of,
    optional_number,
    optional_text,
    table_rows,
    text_of,
)
import pytest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=5,
)
READERS = [count_of, number_of, optional_number, optional_text, text_of]


def test_a_value_in_quotes_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / 'a.csv'
    path.write_bytes(b'\xef\xbb\xbfname,said\r\nx,"one, ""two""\r\nthree"\r\n\r\ny,four\r\n')
    assert list(table_rows(path, ('said', 'name'))) == [
        (2, {'name': 'x', 'said': 'one, "two"\r\nthree'}),
        (5, {'name': 'y', 'said': 'four'}),
    ]


def test_bytes_that_are_not_utf_8_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / 'a.csv'
    path.write_bytes(b'name\ncaf\xe9\n')
    assert [row['name'] for _, row in table_rows(path, ('name',))] == ['caf\ufffd']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', "a.csv' is empty; expected a row of columns name, said"),
        ('name\nx\n', "a.csv', line 1: expected a row of columns name, said, got 'name'"),
        ('name,said\nx,y\n\nx\n', "a.csv', line 4: expected 2 values, got 'x'"),
        ('name,said\nx,"' + 'y' * 200_000, "a.csv', line 2: expected values in quotes"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / 'a.csv'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        list(table_rows(path, ('name', 'said')))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.csv' is not a file that exists; expected a row of"):
        list(table_rows(tmp_path / 'a.csv', ('name',)))


@given(text=st.text())
def test_any_text_is_a_table_or_an_error_with_a_line(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / 'any.csv'
    path.write_text(f'name,said\n{text}', encoding='utf-8')
    try:
        for _, row in table_rows(path, ('name',)):
            assert set(row) == {'name', 'said'}
    except ValueError as error:
        assert "any.csv', line " in str(error)  # noqa: PT017


@pytest.mark.parametrize('text', ['{', '[]', '{"clips": 3}', '[' * 100_000])
def test_json_without_the_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json' (is not JSON|must hold a list of 'clips')"):
        load_entries(path, 'clips')


def test_the_list_of_a_json_file_is_returned(tmp_path: Path) -> None:
    path = tmp_path / 'a.json'
    path.write_text(json.dumps({'clips': [1, None]}))
    assert load_entries(path, 'clips') == [1, None]


@pytest.mark.parametrize('entry', [{}, {'x': None}, {'x': float('nan')}])
def test_absent_null_and_nan_are_no_number(entry: dict[str, float]) -> None:
    assert optional_number('here', entry, 'x') is None
    with pytest.raises(ValueError, match="here must have a number 'x'"):
        number_of('here', entry, 'x')


@pytest.mark.parametrize('value', [True, 'x', float('inf'), 10**400, [1]], ids=str)
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match='here: x must be a finite number'):
        optional_number('here', {'x': value}, 'x')


@pytest.mark.parametrize('value', [-1, 1.5])
def test_a_count_is_whole_and_not_negative(value: float) -> None:
    with pytest.raises(ValueError, match=f'x must be whole and at least 0, got {float(value)}'):
        count_of('here', {'x': value}, 'x')
    assert count_of('here', {'x': 3.0}, 'x') == 3


@pytest.mark.parametrize('value', [None, ''])
def test_a_text_that_must_be_there_is_not_empty(value: object) -> None:
    with pytest.raises(ValueError, match="here must have a text 'x'"):
        text_of('here', {'x': value}, 'x')


@pytest.mark.parametrize('read', READERS, ids=lambda read: read.__name__)
@given(entry=JSON | st.fixed_dictionaries({'x': JSON}))
def test_any_entry_gives_a_value_or_an_error_that_names_it(read, entry) -> None:
    try:
        read('here', entry, 'x')
    except ValueError as error:
        assert str(error).startswith('here')  # noqa: PT017
