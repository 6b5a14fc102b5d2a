"""Tables of the terminal: none is wider than it, and no cell is lost or broken."""

import io

from mtl_training.fitting_tables import fitting_parts, print_table
from mtl_training.metrics import ConfusionMatrix, Evaluation
from mtl_training.report import print_evaluation
import pytest
from rich.console import Console
from rich.table import Table
import torch

WIDTH = 80


def table_of(num_columns: int) -> Table:
    table = Table(title='what it is', caption='how many')
    table.add_column('name')
    for column in range(num_columns):
        table.add_column(f'column {column}', justify='right')
    for row in range(3):
        table.add_row(
            f'row number {row}',
            *(f'{row}.{column:03}' for column in range(num_columns)),
            end_section=row == 1,
        )
    return table


def printed(table: Table, width: int = WIDTH, num_names: int = 1) -> str:
    file = io.StringIO()
    print_table(Console(file=file, width=width), table, num_names=num_names)
    return file.getvalue()


@pytest.mark.parametrize('num_columns', [1, 4, 20])
def test_every_cell_is_there_whole_and_no_line_is_too_long(num_columns) -> None:
    text = printed(table_of(num_columns))
    assert max(map(len, text.splitlines())) <= WIDTH
    for column in range(num_columns):
        assert text.count(f' column {column} ') == 1
        for row in range(3):
            assert text.count(f' {row}.{column:03} ') == 1
    assert text.count('what it is') == text.count('how many') == 1


def test_every_part_has_the_names() -> None:
    parts = fitting_parts(Console(width=WIDTH), table_of(20))
    assert len(parts) > 1
    for part in parts:
        assert list(part.columns[0].cells) == [f'row number {row}' for row in range(3)]
        assert [row.end_section for row in part.rows] == [False, True, False]


def test_what_fits_is_as_it_was() -> None:
    table = table_of(3)
    assert fitting_parts(Console(width=WIDTH), table) == [table]


def test_large_confusion_matrices_fit_a_terminal() -> None:
    labels = [f'label number {i}' for i in range(24)]
    matrix = ConfusionMatrix(labels)
    matrix.counts += 100 * torch.eye(24, dtype=torch.int64)
    file = io.StringIO()
    evaluation = Evaluation({'action': matrix}, {'action': 0.5})
    print_evaluation(Console(file=file, width=WIDTH), evaluation, 'mine')
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.count(' 100 ') == 24
    assert all(f'{i} {label}' in text for i, label in enumerate(labels))
