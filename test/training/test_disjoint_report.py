"""Reports of learning from disjoint data: figures by hand, in every file that is written."""

import csv
import json
from pathlib import Path

from mtl_training.reporting.disjoint import figure_table, lambda_grids
from mtl_training.reporting.disjoint_figures import curves_of, result_columns, retrieval_columns
from mtl_training.reporting.results import load_results
from mtl_training.reporting.tables import methods_of
from mtl_training.reporting.write import write_report
import pytest
import yaml

POOL = 90


def retrieved(r1: float, rank: float, pool: int = POOL) -> dict:
    ranks = {'median_rank': rank, 'mean_rank': 2 * rank}
    shares = {'r1': r1, 'r5': 2 * r1, 'r10': 3 * r1}
    return {'pool': pool, 'queries': 95, **shares, **ranks, 'score': 2 * r1}


def val(round_: int | None, trained: list[str], action: float | None, r1: float | None) -> dict:
    record = {'kind': 'val', 'iteration': 10 * ((round_ or 0) + 1), 'cumulative_accuracy': action}
    record |= {'accuracy': {} if action is None else {'action': action}, 'loss': {}}
    if r1 is not None:
        record['captions'] = {'describe': retrieved(r1, 5.0)}
    return record if round_ is None else {**record, 'round': round_, 'trained': trained}


def rounds(loss: float, seed: int) -> list[dict]:
    """Return the records of a run whose tasks forget that much in a round of the other."""
    shift = 0.02 * seed
    return [
        val(-1, [], 0.1, 0.0),
        val(0, ['describe'], 0.1, 0.2),
        val(1, ['action'], 0.6 + shift, 0.2 - loss / 2 - shift),
        val(2, ['describe'], 0.6 - loss, 0.25),
        val(3, ['action'], 0.7, 0.25 - loss / 2 - shift),
    ]


def add_run(root: Path, block: dict, regime: str, entry: dict, position: int, **facts) -> Path:
    """Write the folder of a finished run of one regime."""
    seed = facts.get('seed', 0)
    folder = root / 'runs' / 'data' / 'HPS' / 'average' / regime / f'seed{seed}'
    folder.mkdir(parents=True)
    identity = {'data': 'data', 'sharing': 'HPS', 'weighting': 'average', 'regime': regime}
    identity |= {'seed': seed, 'position': position, 'command': 'compare', 'at_a_time': 1}
    (folder / 'run.json').write_text(json.dumps(identity))
    tasks = facts.get('tasks', ('action', 'describe'))
    kinds = {'action': {}, 'describe': {'kind': 'caption', 'settings': {'dim': 8}}}
    config = {
        **block,
        'network': {**block['network'], 'tasks': {task: kinds[task] for task in tasks}},
        'data': {task: {'dataset': 'toy'} for task in tasks},
        'evaluation': {'selection': 'score'},
        'regime': entry,
        'seed': seed,
    }
    (folder / 'config.yaml').write_text(yaml.safe_dump(config))
    lines = [json.dumps(record) for record in facts['records']]
    (folder / 'metrics.jsonl').write_text('\n'.join(lines) + '\n')
    action, r1 = facts['correct']
    test = {
        'accuracy': {} if action is None else {'action': action},
        'cumulative_accuracy': action or 0.0,
        'samples': {} if action is None else {'action': 50},
    }
    if r1 is not None:
        small = retrieved(0.5 + r1, 2.0, 12) if facts.get('small', True) else None
        test['captions'] = {'describe': {**retrieved(r1, 8.0), 'small_pools': small}}
    if 'videos' in facts:
        test['videos'] = {'action': {'accuracy': facts['videos'], 'clips': 9, 'videos': 3}}
    if 'map' in facts:
        test['multilabel'] = {'see': {'map': facts['map'], 'hit_at_1': 0.5, 'images': 8}}
    summary = {'finished': True, 'iteration': 40, 'samples': dict.fromkeys(tasks, 100)}
    (folder / 'summary.json').write_text(json.dumps({**summary, 'test': test}))
    return folder


@pytest.fixture
def runs(toy_block, tmp_path) -> Path:
    """Return a comparison of both alone, joint and two regimes of rounds, two seeds of each."""
    for seed in range(2):
        entries = [
            ('action alone', {'name': 'joint'}, ('action',), [val(None, [], 0.7, None)],
             0.7, None),
            ('captions alone', {'name': 'joint'}, ('describe',), [val(None, [], None, 0.3)],
             None, 0.3),
            ('joint', {'name': 'joint'}, None, [val(None, [], 0.5, 0.1), val(None, [], 0.7, 0.2)],
             0.75, 0.2),
            ('alternating', {'name': 'alternating'}, None, rounds(0.2, seed),
             0.6 + 0.1 * seed, 0.1),
            ('distilling', {'name': 'distilling'}, None, rounds(0.06, seed), 0.8, 0.25),
        ]  # fmt: skip
        for position, (regime, entry, tasks, records, action, r1) in enumerate(entries):
            facts = {'tasks': tasks} if tasks else {}
            facts |= {'seed': seed, 'records': records, 'correct': (action, r1)}
            add_run(tmp_path, toy_block, regime, entry, position + 5 * seed, **facts)
    return tmp_path


def rows_under(text: str, title: str) -> list[list[str]]:
    """Return the cells of the first table under a heading."""
    text = text.replace('\\', '').partition(f'### {title}\n')[2]
    lines = text[text.index('\n|') + 1 :].partition('\n\n')[0].splitlines()
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return [rows[0], *rows[2:]]


def test_the_table_has_the_layout_of_the_source(runs) -> None:
    write_report(runs, runs / 'report')
    text = (runs / 'report' / 'report.md').read_text()
    header, *rows = rows_under(text, 'Classes and sentences')
    assert header == [
        'method', 'action Hit@1 %', 'describe R@1 %', 'describe R@5 %', 'describe R@10 %',
        'describe Med r', 'describe Mean r', 'describe pool', 'n',
    ]  # fmt: skip
    assert [row[0] for row in rows] == [
        'action alone', 'captions alone', 'joint', 'alternating', 'distilling'
    ]  # fmt: skip
    assert rows[0] == ['action alone', '70.00 ± 0.00', *['–'] * 6, '2']
    assert rows[1][1:4] == ['–', '**30.00 ± 0.00**', '**60.00 ± 0.00**']
    # 60 and 70 %: 7.07 is the root of two times five points.
    assert rows[3][1] == '65.00 ± 7.07'
    assert rows[4][1] == '**80.00 ± 0.00**'
    assert rows[4][5:] == ['8.0 ± 0.0', '16.0 ± 0.0', '90', '2'], 'all ranks equal: none bold'
    small = rows_under(text, 'Small pools of sentences')
    assert [row[-2] for row in small] == ['describe pool', *['–'], *['12'] * 4]
    assert small[2][1] == '**80.00 ± 0.00**'


def test_what_is_forgotten_is_a_mean_over_rounds_and_then_over_seeds(runs) -> None:
    write_report(runs, runs / 'report')
    text = (runs / 'report' / 'report.md').read_text()
    header, *rows = rows_under(text, 'What is forgotten')
    assert header[:7] == [
        'method', 'action accuracy F %', 'action accuracy final %', 'action accuracy best %',
        'describe R@1 F %', 'describe R@1 final %', 'describe R@1 best %',
    ]  # fmt: skip
    assert [title for title in header if 'R@10' in title] == [
        f'describe R@10 {name} %' for name in ('F', 'final', 'best')
    ]
    by_name = {row[0]: row[1:] for row in rows}
    # Of actions only round 2 counts, the first after that which trained them: 60 % + 2 points of
    # the second seed, to 40 %. Of captions rounds 1 and 3, 10 points each, and 12 in the other.
    assert by_name['alternating'][0] == '21.00 ± 1.41'
    assert by_name['alternating'][3] == '11.00 ± 1.41'
    assert by_name['distilling'][0] == '**7.00 ± 1.41**'
    assert by_name['distilling'][1:3] == ['70.00 ± 0.00', '70.00 ± 0.00']
    assert by_name['joint'][0] == '–'
    assert by_name['joint'][4:6] == ['20.00 ± 0.00', '20.00 ± 0.00']
    assert by_name['action alone'][:4] == ['–', '70.00 ± 0.00', '70.00 ± 0.00', '–']


def test_pictures_page_and_spreadsheet_have_it_too(runs) -> None:
    page = write_report(runs, runs / 'report').read_text()
    text = (runs / 'report' / 'report.md').read_text()
    assert text.count('Validation after every round (R@1 of captions)') == 1
    assert text.count('Validation after every round (R@10 of captions)') == 1
    for cell in ('describe pool', '21.00 ± 1.41', 'Forgetting and recovery over the rounds'):
        assert cell in page
    with (runs / 'report' / 'results.csv').open() as file:
        rows = list(csv.DictReader(file))
    row = next(r for r in rows if (r['regime'], r['seed']) == ('alternating', '1'))
    assert float(row['forgetting_action']) == pytest.approx(0.22)
    assert float(row['forgetting_r1_describe']) == pytest.approx(0.12)
    assert (row['r1_describe'], row['pool_describe']) == ('0.1', '90')
    assert (row['small_pool_describe'], row['small_r1_describe']) == ('12', '0.6')
    assert row['best_r10_describe'] == '0.75'
    alone = next(r for r in rows if r['regime'] == 'captions alone')
    # What has no labels has no cumulative accuracy, but samples and a score.
    assert (alone['hit_at_1_action'], alone['cumulative_accuracy']) == ('', '')
    assert (alone['samples_describe'], alone['score_describe'], alone['mean_score']) == (
        '95', '0.6', '0.6'
    )  # fmt: skip


def test_what_is_over_all_tasks_is_a_mean_of_scores_where_not_all_are_of_classes(runs) -> None:
    write_report(runs, runs / 'report')
    text = (runs / 'report' / 'report.md').read_text()
    header, *rows = rows_under(text, 'All methods')
    assert header[:6] == [
        'sharing', 'weighting', 'regime', 'action score %', 'describe score %', 'mean score %',
    ]  # fmt: skip
    by_name = {row[2]: row[3:6] for row in rows}
    # Captions: the mean of 30, 60 and 90 %. It is of fewer tasks, so not the best of all.
    assert by_name['captions alone'] == ['–', '**60.00 ± 0.00**', '60.00 ± 0.00']
    assert by_name['joint'] == ['75.00 ± 0.00', '40.00 ± 0.00', '57.50 ± 0.00']
    assert by_name['distilling'][2] == '**65.00 ± 0.00**'
    overview = rows_under(text, 'Sharing by weighting')
    assert overview[0] == ['mean score %', 'average']
    assert overview[1:3] == [['HPS / action alone', '70.00'], ['HPS / captions alone', '60.00']]
    assert overview[-1] == ['HPS / distilling', '**65.00**']
    text = text.replace('\\', '')
    assert 'Best mean score: HPS / average / distilling.' in text
    assert 'fewer tasks than the others: HPS / average / action alone; HPS / average / cap' in text
    assert 'Mean score of validation over the iterations' in text
    assert 'Scores on the test split' in text


@pytest.mark.parametrize(
    ('selections', 'said'),
    [
        (('score', 'score'), 'of the network that validation chose.'),
        (('last', 'last'), 'of the network at the end.'),
        (('score', 'last'), 'of the network that validation chose or the network at the end.'),
    ],
)
def test_it_is_said_which_network_was_judged(toy_block, tmp_path, selections, said) -> None:
    for position, selection in enumerate(selections):
        records = [val(None, [], 0.5, 0.1)]
        folder = add_run(
            tmp_path, toy_block, f'joint {position}', {'name': 'joint'}, position,
            records=records, correct=(0.5, 0.1),
        )  # fmt: skip
        config = folder / 'config.yaml'
        config.write_text(
            config.read_text().replace('selection: score', f'selection: {selection}')
        )
    write_report(tmp_path, tmp_path / 'report')
    assert said in (tmp_path / 'report' / 'report.md').read_text()


def test_videos_several_classes_and_no_small_pools(toy_block, tmp_path) -> None:
    add_run(
        tmp_path, toy_block, 'joint', {'name': 'joint'}, 0,
        records=[val(None, [], 0.5, 0.1)], correct=(0.5, 0.1), small=False, videos=0.625, map=0.25,
    )  # fmt: skip
    (method,) = methods_of(load_results(tmp_path))
    assert not retrieval_columns(method.runs, small=True)
    table = figure_table([method], result_columns(method.runs))
    cells = dict(zip(table.header, table.rows[0]))
    assert cells['action Hit@1 %'] == '50.00'
    assert cells['action Acc %'] == '62.50'
    assert (cells['see Hit@1 %'], cells['see mAP %']) == ('50.00', '25.00')
    assert not table.bold
    write_report(tmp_path, tmp_path / 'report')
    text = (tmp_path / 'report' / 'report.md').read_text()
    assert 'What is forgotten' not in text
    assert 'Small pools' not in text


def test_a_grid_of_lambdas_becomes_heat_maps(toy_block, tmp_path) -> None:
    position = 0
    for share in (0.1, 0.5, 0.9):
        for memory in (0.3, 0.7):
            settings = {'lambda_A': share} | ({'lambda_S': memory} if memory == 0.3 else {})
            add_run(
                tmp_path, toy_block, f'memory {share} {memory}',
                {'name': 'distilling', 'settings': settings}, position,
                records=rounds(0.1, 0), correct=(share, memory / 10),
            )  # fmt: skip
            position += 1
    add_run(
        tmp_path, toy_block, 'naive', {'name': 'alternating'}, 9,
        records=rounds(0.2, 0), correct=(0.5, 0.1),
    )  # fmt: skip
    methods = methods_of(load_results(tmp_path))
    (grid,) = lambda_grids(methods)
    assert sorted(grid) == [(a, s) for a in (0.1, 0.5, 0.9) for s in (0.3, 0.7)]
    assert grid[0.9, 0.7].regime == 'memory 0.9 0.7', 'a lambda that is not set has its default'
    write_report(tmp_path, tmp_path / 'report')
    text = (tmp_path / 'report' / 'report.md').read_text()
    assert text.count('over the lambdas, in %') == 4  # Hit@1, R@1, R@5, R@10
    assert '6 pairs of lambdas' in text


def test_runs_without_a_comparison_are_named_by_their_regimes(toy_block, tmp_path) -> None:
    for name, records in (('joint', [val(None, [], 0.5, 0.1)]), ('alternating', rounds(0.1, 0))):
        folder = add_run(
            tmp_path, toy_block, name, {'name': name}, 0, records=records, correct=(0.5, 0.1)
        )
        (folder / 'run.json').unlink()
    assert {run.regime for run in load_results(tmp_path)} == {'joint', 'alternating'}


def test_a_run_without_rounds_forgets_nothing_that_can_be_told(runs) -> None:
    run = next(r for r in load_results(runs) if r.regime == 'joint')
    assert curves_of(run)['describe'].figures() == {
        'forgetting': None, 'recovery': pytest.approx(0.1), 'first_gain': None,
        'final': 0.2, 'best': 0.2,
    }  # fmt: skip
