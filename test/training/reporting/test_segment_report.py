"""Reports of tasks on windows of features: the tables of learning a novel task, by hand."""

import csv
import json
from pathlib import Path

from mtl_training.comparison.regime_entry import RegimeEntry
from mtl_training.reporting.results import load_results
from mtl_training.reporting.segment_figures import Aggregate, merged_rows, segment_columns
from mtl_training.reporting.segments import interaction_grids, segment_blocks
from mtl_training.reporting.tables import methods_of
from mtl_training.reporting.write import write_report
import pytest
import yaml

KINDS = {
    'act': 'recognition',
    'change': 'state_change',
    'next': 'anticipation',
    'when': 'point_of_no_return',
}
TASKS = tuple(KINDS)
GROUPS = ('verb', 'noun')


def figures(verb: float, noun: float, change: float, verb_ed: float, noun_ed: float, error: float):
    """Return the figures of all tasks, in the order of the tables."""
    rows = {
        'act': {'accuracy': {'verb': verb, 'noun': noun}, 'score': (verb + noun) / 2},
        'change': {'accuracy': change, 'score': change},
        'next': {
            'edit_distance': {'verb': verb_ed, 'noun': noun_ed},
            'score': 1 - (verb_ed + noun_ed) / 2,
        },
        'when': {'error_sec': error, 'score': 1 - min(error, 1.0)},
    }
    return {task: {**row, 'samples': 40} for task, row in rows.items()}


def add_run(root: Path, regime: str, position: int, segments: dict, **facts) -> Path:
    """Write the folder of a finished run of some tasks on windows."""
    seed, tasks = facts.get('seed', 0), facts.get('tasks', TASKS)
    folder = root / 'runs' / regime.replace(' ', '_') / f'seed{seed}'
    folder.mkdir(parents=True)
    names = {'data': 'data', 'sharing': facts.get('sharing', 'hard'), 'weighting': 'average'}
    identity = {**names, 'regime': regime, 'seed': seed, 'position': position}
    identity |= {'row': facts['row']} if 'row' in facts else {}
    (folder / 'run.json').write_text(json.dumps({**identity, 'at_a_time': 1}))
    graph = {'feature_dim': 8, 'num_layers': facts.get('num_layers', 3)}
    trunk = {'backbone': 'temporal_graph', 'graph': graph}
    trunk['sharing'] = facts.get('method', 'hard')
    groups = {'recognition', 'anticipation'}
    config = {
        'network': {
            'trunks': {'memory': trunk},
            'tasks': {
                task: {'trunk': 'memory', 'kind': KINDS[task]}
                | ({'groups': {g: ['a', 'b'] for g in GROUPS}} if KINDS[task] in groups else {})
                for task in tasks
            },
        },
        'data': {task: {'dataset': 'activity_grammar'} for task in tasks},
        'iterations': 10,
        'evaluation': {'selection': 'score'},
        'regime': facts.get('entry', {'name': 'joint'}),
        'seed': seed,
    }
    (folder / 'config.yaml').write_text(yaml.safe_dump(config))
    record = {'kind': 'val', 'iteration': 10, 'accuracy': {}, 'cumulative_accuracy': 0.0}
    (folder / 'metrics.jsonl').write_text(json.dumps({**record, 'segments': segments}) + '\n')
    test = {'accuracy': {}, 'cumulative_accuracy': 0.0, 'samples': {}, 'segments': segments}
    summary = {'finished': True, 'iteration': 10, 'samples': dict.fromkeys(tasks, 100)}
    (folder / 'summary.json').write_text(json.dumps({**summary, 'test': test}))
    return folder


def novel_entry(task: str, **settings) -> dict:
    return {'name': 'backpack', 'settings': {'novel': task, **settings}}


@pytest.fixture
def runs(tmp_path) -> Path:
    """Return baselines, learning all at once, and a novel task per run, two seeds of each."""
    position = 0
    for seed in range(2):
        shift = 0.02 * seed
        own = figures(0.25 + shift, 0.30, 0.70, 0.75, 0.75, 0.6)
        for sharing, num_layers, rows in (
            ('MLP', 0, figures(0.24, 0.30, 0.70, 0.76, 0.74, 1.76)),
            ('single', 3, own),
        ):
            facts = {'sharing': sharing, 'num_layers': num_layers, 'method': 'single_task'}
            add_run(tmp_path, f'joint of {sharing}', position, rows, seed=seed, **facts)
            position += 1
        rows = figures(0.22, 0.29, 0.71, 0.74, 0.746, 0.62)
        add_run(tmp_path, 'joint', position, rows, seed=seed)
        two = {task: rows[task] for task in ('act', 'when')}
        add_run(tmp_path, 'two', position + 1, two, seed=seed, tasks=('act', 'when'))
        position += 2
        for task in TASKS:
            found = figures(0.26 + shift, 0.31, 0.72, 0.728, 0.752, 0.61)
            # A known task is judged as well, but not what the run is about.
            segments = {task: found[task]} | ({'when': rows['when']} if task == 'act' else {})
            entry = novel_entry(task, k=8)
            facts = {'seed': seed, 'entry': entry, 'row': 'EgoPack k=8'}
            add_run(tmp_path, f'EgoPack novel={task} k=8', position, segments, **facts)
            position += 1
    return tmp_path


def rows_under(text: str, title: str) -> list[list[str]]:
    """Return the cells of the first table under a heading."""
    text = text.replace('\\', '').partition(f'### {title}\n')[2]
    lines = text[text.index('\n|') + 1 :].partition('\n\n')[0].splitlines()
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return [rows[0], *rows[2:]]


def report_of(root: Path) -> str:
    write_report(root, root / 'report')
    return (root / 'report' / 'report.md').read_text()


def test_runs_of_one_novel_task_each_are_one_row_in_the_layout_of_the_source(runs) -> None:
    header, *rows = rows_under(report_of(runs), 'Windows of features')
    assert header == [
        'method', 'act verb % ↑', 'act noun % ↑', 'change % ↑', 'next ED verb ↓', 'next ED noun ↓',
        'when error s ↓', 'n',
    ]  # fmt: skip
    assert [row[0] for row in rows] == [
        'MLP / joint of MLP', 'single / joint of single', 'hard / joint', 'hard / two',
        'hard / EgoPack k=8',
    ]  # fmt: skip
    # 26 and 28 %: the root of two times one point.
    assert rows[-1][1:] == [
        '**27.00 ± 1.41**', '**31.00 ± 0.00**', '**72.00 ± 0.00**', '**0.728 ± 0.000**',
        '0.752 ± 0.000', '0.61 ± 0.00', '2',
    ]  # fmt: skip
    assert rows[0][5:7] == ['**0.740 ± 0.000**', '1.76 ± 0.00']
    assert rows[1][6] == '**0.60 ± 0.00**', 'the least error is the best'
    assert rows[3][3:6] == ['–', '–', '–']


def test_the_mean_over_tasks_and_its_gains_are_those_by_hand(runs) -> None:
    header, *rows = rows_under(report_of(runs), 'All tasks together')
    assert header == [
        'method', 'mean over tasks % ↑', 'gain over MLP / joint of MLP %',
        'gain over single / joint of single %', 'n',
    ]  # fmt: skip
    by_name = {row[0]: row[1:] for row in rows}
    # (0.27 + 0.70 + 0.25 + 0) / 4: an error of more than a second counts as one.
    assert by_name['MLP / joint of MLP'] == ['30.50 ± 0.00', '–', '-25.15', '2']
    # (0.275 + 0.70 + 0.25 + 0.4) / 4 and one point more of verbs, so 0.25 more of the mean.
    assert by_name['single / joint of single'][0] == '40.75 ± 0.18'
    assert by_name['single / joint of single'][1] == '+33.61'
    # (0.285 + 0.72 + 0.26 + 0.39) / 4 and the same, of four runs for each seed.
    assert by_name['hard / EgoPack k=8'] == ['**41.50 ± 0.18**', '+36.07', '+1.84', '2']
    assert by_name['hard / two'] == ['–', '–', '–', '0']


def test_a_novel_task_is_compared_to_learning_all_at_once(runs) -> None:
    header, *rows = rows_under(report_of(runs), 'A novel task after the others')
    assert header[0] == 'against hard / joint'
    # 26 - 22 and 28 - 22 points: the standard error of their mean is one.
    assert rows == [[
        'hard / EgoPack k=8', '+5.00 ± 1.00', '+2.00 ± 0.00', '+1.00 ± 0.00', '-0.012 ± 0.000',
        '+0.006 ± 0.000', '-0.01 ± 0.00',
    ]]  # fmt: skip


def test_subsets_of_tasks_are_ticked(runs) -> None:
    header, *rows = rows_under(report_of(runs), 'Subsets of tasks')
    assert header[:6] == ['method', *TASKS, 'act verb % ↑']
    assert [row[:5] for row in rows] == [
        ['hard / two', '✓', '–', '–', '✓'],
        ['hard / joint', '✓', '✓', '✓', '✓'],
    ]


def test_a_run_that_is_missing_leaves_its_cells_empty_and_no_mean_of_its_seed(runs) -> None:
    for path in runs.rglob('EgoPack_novel=change_k=8/seed*/summary.json'):
        path.unlink()
    for path in runs.rglob('EgoPack_novel=act_k=8/seed1/summary.json'):
        path.unlink()
    text = report_of(runs)
    row = rows_under(text, 'Windows of features')[-1]
    assert (row[0], row[1], row[3], row[-1]) == ('hard / EgoPack k=8', '**26.00**', '–', '2')
    assert rows_under(text, 'All tasks together')[-1][1:] == ['–', '–', '–', '0']
    assert 'act k=8' in text.partition('Runs that are not counted')[2].replace('\\', '')


def test_ties_are_not_bold(tmp_path) -> None:
    for position, name in enumerate(('one', 'other')):
        add_run(tmp_path, name, position, figures(0.2, 0.3, 0.7, 0.7, 0.7, 0.6))
    text = report_of(tmp_path)
    assert all('**' not in cell for row in rows_under(text, 'Windows of features') for cell in row)
    assert 'A novel task' not in text
    assert 'Subsets' not in text


def test_rows_that_tell_the_same_task_twice_stay_apart(tmp_path) -> None:
    for position, error in enumerate((0.5, 0.6)):
        rows = figures(0.2, 0.3, 0.7, 0.7, 0.7, error)
        add_run(tmp_path, f'run {position}', position, rows, row='both')
    methods = methods_of(load_results(tmp_path))
    assert [row.name for row in merged_rows(methods)] == [m.name for m in methods]


def test_tasks_alone_are_one_row_where_their_entries_say_so(tmp_path) -> None:
    rows = figures(0.2, 0.3, 0.7, 0.7, 0.7, 0.6)
    for position, task in enumerate(TASKS):
        add_run(
            tmp_path, f'{task} alone', position, {task: rows[task]}, tasks=(task,), row='alone'
        )  # fmt: skip
    methods = methods_of(load_results(tmp_path))
    (row,) = merged_rows(methods)
    assert row.regime == 'alone'
    columns = segment_columns(row.runs)
    assert [row.spread(column.value).mean for column in columns] == [0.2, 0.3, 0.7, 0.7, 0.7, 0.6]
    # (0.25 + 0.7 + 0.3 + 0.4) / 4.
    assert Aggregate(TASKS).by_seed(row) == {0: pytest.approx(0.4125)}


def test_runs_of_plain_training_are_merged_by_their_configs(tmp_path) -> None:
    rows = figures(0.2, 0.3, 0.7, 0.7, 0.7, 0.6)
    for position, task in enumerate(TASKS):
        entry = novel_entry(task)
        folder = add_run(tmp_path, task, position, {task: rows[task]}, entry=entry)
        (folder / 'run.json').unlink()
    (row,) = merged_rows(methods_of(load_results(tmp_path)))
    assert row.regime == 'backpack'


def test_grids_of_k_and_depth_are_heat_maps(tmp_path) -> None:
    position = 0
    for k in (2, 4):
        for depth in (1, 3):
            for task in TASKS:
                rows = figures(0.2 + 0.01 * k, 0.3, 0.7, 0.7, 0.7, 0.6 - 0.01 * depth)
                settings = {'k': k} | ({} if depth == 3 else {'depth': depth})
                add_run(
                    tmp_path, f'pack k={k} depth={depth} novel={task}', position,
                    {task: rows[task]}, entry=novel_entry(task, **settings),
                    row=f'pack k={k} depth={depth}',
                )  # fmt: skip
                position += 1
    rows = merged_rows(methods_of(load_results(tmp_path)))
    (grid,) = interaction_grids(rows)
    assert sorted(grid) == [(2, 1), (2, 3), (4, 1), (4, 3)], 'depth has its default'
    assert grid[4, 1].regime == 'pack k=4 depth=1'
    text = report_of(tmp_path)
    assert text.count(', by k and depth') == 7
    assert '4 pairs of k and depth' in text


def test_every_run_is_a_row_of_the_spreadsheet_with_all_of_its_figures(runs) -> None:
    report_of(runs)
    with (runs / 'report' / 'results.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    row = next(r for r in rows if r['regime'] == 'joint')
    expected = {
        'accuracy_act_verb': 0.22, 'accuracy_act_noun': 0.29, 'accuracy_change': 0.71,
        'edit_distance_next_verb': 0.74, 'edit_distance_next_noun': 0.746, 'error_sec_when': 0.62,
        'score_when': 0.38, 'samples_when': 40, 'trained_when': 100,
    }  # fmt: skip
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected)
    # (0.255 + 0.71 + 0.257 + 0.38) / 4.
    assert float(row['mean_score']) == pytest.approx(0.4005)
    assert (row['cumulative_accuracy'], row['row']) == ('', '')
    novel = next(r for r in rows if r['regime'] == 'EgoPack novel=act k=8')
    assert (novel['row'], novel['accuracy_act_verb'], novel['error_sec_when']) == (
        'EgoPack k=8', '0.26', ''
    )  # fmt: skip
    with (runs / 'report' / 'segments.csv').open() as file:
        rows = list(csv.DictReader(file))
    row = next(r for r in rows if (r['regime'], r['figure']) == ('EgoPack k=8', 'mean_over_tasks'))
    assert float(row['mean']) == pytest.approx(0.415)
    assert (row['n'], row['data']) == ('2', 'data')
    row = next(
        r for r in rows if (r['regime'], r['figure']) == ('EgoPack k=8', 'accuracy_act_verb')
    )
    assert float(row['deviation']) == pytest.approx(0.02 / 2**0.5)


def test_runs_without_windows_have_no_such_section() -> None:
    assert segment_blocks([], None) == []


def test_a_grid_of_novel_tasks_names_the_row_of_its_runs() -> None:
    entry = RegimeEntry(name='backpack', grid={'novel': ('act', 'when'), 'k': (2, 4)})
    runs = entry.runs('EgoPack')
    assert {name: run.row for name, run in runs.items()} == {
        'EgoPack novel=act k=2': 'EgoPack k=2',
        'EgoPack novel=act k=4': 'EgoPack k=4',
        'EgoPack novel=when k=2': 'EgoPack k=2',
        'EgoPack novel=when k=4': 'EgoPack k=4',
    }
    plain = RegimeEntry(name='distilling', grid={'lambda_A': (0.1, 0.9)})
    assert {run.row for run in plain.runs('memory').values()} == {''}
    named = RegimeEntry(name='backpack', settings={'novel': 'act'}, row='EgoPack')
    assert named.runs('EgoPack act')['EgoPack act'].row == 'EgoPack'
