"""Reports: figures by hand, files that stand alone, and what is missing is said."""

import csv
from html.parser import HTMLParser
import json
import os
from pathlib import Path
import re

from mtl_training import cli
from mtl_training.reporting.document import Table, to_markdown
from mtl_training.reporting.html import to_html
from mtl_training.reporting.results import load_results, without_absolute_paths
from mtl_training.reporting.run_result import spread
from mtl_training.reporting.tables import method_table, methods_of
from mtl_training.reporting.write import write_report
import numpy as np
import pytest
import yaml

TASKS = ('action', 'gesture')
LABELS = ['left', 'right', 'still']


def add_run(root: Path, sharing: str, weighting: str, seed: int, block: dict, **facts) -> Path:
    """Write the folder of a finished run; ``correct`` is of 30 actions and 10 gestures."""
    folder = root / 'runs' / facts.get('data', 'toy') / sharing / weighting / f'seed{seed}'
    folder.mkdir(parents=True)
    names = {'data': facts.get('data', 'toy'), 'sharing': sharing, 'weighting': weighting}
    identity = {**names, 'seed': seed, 'position': facts.get('position', 0)}
    identity |= {'command': 'compare --config c.yaml --out /home/me/out', 'git_revision': 'abc123'}
    identity |= {'at_a_time': facts.get('at_a_time', 3)}
    (folder / 'run.json').write_text(json.dumps(identity))
    config = {**block, 'weighting': {'name': facts.get('method', 'average')}}
    (folder / 'config.yaml').write_text(yaml.safe_dump(config))
    random = np.random.default_rng([seed, facts.get('position', 0)])
    records = []
    for iteration in range(10, 101, 10):
        weight = 1 + 0.5 * np.sin(iteration / 20 + seed) if weighting != 'average' else 1.0
        weights = {'action': weight, 'gesture': 2 - weight}
        train = {'kind': 'train', 'iteration': iteration, 'weights': weights, 'step_ms': 3.0}
        end = 0.7 + facts['correct'][0] / 120
        accuracy = end - 0.6 * 0.97**iteration + random.normal(0, 0.02)
        rows = {'action': [0.75, 0.25], 'gesture': [0.1, 0.9]}
        structure = {'clip': {f'layer{i}.{j}': rows for i in (3, 4) for j in (0, 1)}}
        val = {'kind': 'val', 'iteration': iteration, 'cumulative_accuracy': accuracy}
        records += [train, {**val, 'structure': structure if sharing == 'LWS' else {}}]
    (folder / 'metrics.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in records))
    correct = facts['correct']
    counts = [[correct[0] // 3, 1, 0], [0, correct[0] // 3, 2], [3, 0, correct[0] // 3]]
    summary = {
        'finished': True,
        'iteration': 100,
        'samples': {'action': 400, 'gesture': 400},
        'skipped_steps': facts.get('skipped', 0),
        'parameters': {'training': 2_000_000, 'deployed': 1_500_000},
        'step_ms': facts.get('step_ms', 4.0),
        'test': {
            'accuracy': {'action': correct[0] / 30, 'gesture': correct[1] / 10},
            'cumulative_accuracy': sum(correct) / 40,
            'mean_accuracy': (correct[0] / 30 + correct[1] / 10) / 2,
            'samples': {'action': 30, 'gesture': 10},
            'confusion': {task: {'labels': LABELS, 'counts': counts} for task in TASKS},
        },
    }
    (folder / 'summary.json').write_text(json.dumps(summary))
    return folder


@pytest.fixture
def runs(toy_block, tmp_path) -> Path:
    """Return a comparison with two seeds of three methods, a failure and a run never started."""
    facts = [
        ('HPS', 'average', 0, (21, 7), 4.0),
        ('HPS', 'average', 1, (24, 8), 6.0),
        ('HPS', 'D|WA', 0, (18, 5), 7.5),
        ('HPS', 'D|WA', 1, (15, 5), 7.5),
        ('LWS', 'D|WA', 0, (24, 7), 10.0),
        ('LWS', 'D|WA', 1, (30, 9), 10.0),
    ]
    for position, (sharing, weighting, seed, correct, step_ms) in enumerate(facts):
        method = 'average' if weighting == 'average' else 'dwa'
        block = {**toy_block, 'seed': seed}
        if sharing == 'LWS':
            block['network'] = {**toy_block['network']}
            trunk = {**toy_block['network']['trunks']['clip'], 'sharing': 'learned_weight_sharing'}
            block['network']['trunks'] = {'clip': trunk}
        add_run(
            tmp_path, sharing, weighting, seed, block,
            correct=correct, step_ms=step_ms, method=method, position=position,
        )  # fmt: skip
    failed = add_run(tmp_path, 'LWS', 'average', 0, toy_block, correct=(1, 1), position=6)
    (failed / 'summary.json').unlink()
    (failed / 'failure.txt').write_text('Training <diverged>.\n')
    waiting = add_run(tmp_path, 'LWS', 'average', 1, toy_block, correct=(1, 1), position=7)
    for name in ('config.yaml', 'summary.json', 'metrics.jsonl'):
        (waiting / name).unlink()
    return tmp_path


class Page(HTMLParser):
    """What a page holds: links, cells, tags that were left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.cells, self.open, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ('src', 'href')]
        if tag not in ('meta', 'img'):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if {'td', 'th'} & set(self.open):
            self.cells.append(data)


def tables_of(markdown: str) -> list[list[list[str]]]:
    """Return the cells of all tables; a row with another number of cells than its header fails."""
    tables = []
    for block in re.findall(r'(?:^\|.*\|\n)+', markdown, re.MULTILINE):
        rows = [re.split(r'(?<!\\)\|', line)[1:-1] for line in block.splitlines()]
        assert len({len(row) for row in rows}) == 1
        assert set(''.join(rows[1])) <= set(' -:')
        tables.append([[cell.strip() for cell in row] for row in (rows[0], *rows[2:])])
    return tables


def test_the_table_has_mean_deviation_costs_and_the_best_in_bold(runs) -> None:
    write_report(runs, runs / 'report')
    *_, overview, methods, missing = tables_of((runs / 'report' / 'report.md').read_text())
    assert methods == [
        ['sharing', 'weighting', 'action %', 'gesture %', 'cumulative %', 'n', 'parameters',
         'deployed', 'ms/step'],
        # 21 and 24 of 30: 75 % and, with n - 1, half of 10 points times the root of two.
        ['HPS', 'average', '75.00 ± 7.07', '75.00 ± 7.07', '75.00 ± 7.07', '2', '2.000 M',
         '1.500 M', '5.0'],
        ['HPS', r'D\|WA', '55.00 ± 7.07', '50.00 ± 0.00', '53.75 ± 5.30', '2', '2.000 M',
         '1.500 M', '7.5'],
        ['LWS', r'D\|WA', '**90.00 ± 14.14**', '**80.00 ± 14.14**', '**87.50 ± 14.14**', '2',
         '2.000 M', '1.500 M', '10.0'],
    ]  # fmt: skip
    assert overview == [
        ['cumulative %', 'average', r'D\|WA'],
        ['HPS', '75.00', '53.75'],
        ['LWS', '–', '**87.50**'],
    ]
    assert [row[-2:] for row in missing[1:]] == [
        ['failed', r'Training \<diverged>.'],
        ['not started', ''],
    ]


def test_the_margins_come_first_and_compare_what_has_all_else_in_common(runs) -> None:
    write_report(runs, runs / 'report')
    sharing, weighting, *_ = tables_of((runs / 'report' / 'report.md').read_text())
    assert sharing == [
        ['sharing', 'action %', 'gesture %', 'cumulative %', 'n', 'ms/step', 'to HPS, points',
         'pairs', 'time'],
        # Cumulative: 28, 32, 23 and 20 of 40; ms: 4, 6, 7.5, 7.5.
        ['HPS', '65.00 ± 12.91', '62.50 ± 15.00', '64.38 ± 13.29', '4', '6.8', '–', '–', '1.00×'],
        # With the same weighting and seed 31 - 23 and 39 - 20 of 40: 20 and 47.5 points.
        ['LWS', '**90.00 ± 14.14**', '**80.00 ± 14.14**', '**87.50 ± 14.14**', '2', '10.0',
         '+33.75 ± 13.75', '2', '1.48×'],
    ]  # fmt: skip
    # 23 - 28 and 20 - 32 of 40, with hard sharing alone.
    assert [row[-3:-1] for row in weighting[1:]] == [['–', '–'], ['-21.25 ± 8.75', '2']]
    assert [row[4] for row in weighting[1:]] == ['2', '4']


def test_what_is_not_significant_is_said(runs) -> None:
    write_report(runs, runs / 'report')
    text = (runs / 'report' / 'report.md').read_text()
    assert 'Seeds per method: 2.' in text
    # 87.5 - 75 = 12.5 points, less than 14.14; 87.5 - 53.75 is more.
    assert r'Best cumulative accuracy: LWS / D\|WA.' in text
    assert 'so not told apart: HPS / average.' in text
    assert 'uncertain by 5.23 points' in text  # the root of 0.875 x 0.125 / 40
    assert '6 of 8 runs are finished.' in text
    assert 'git abc123' in text
    assert 'best of 3 methods by the same figures' in text
    assert 'Every run was trained on 800 clips' in text
    assert 'shared the machine with 2 others' in text
    assert 'normalise: false, which none does here' in text
    assert 'one path at a time under learned weight sharing' in text
    assert 'Not every combination has all seeds' in text
    assert 'kipped training steps' not in text
    assert 'share nothing' not in text
    assert 'out /home' not in text  # no paths of this machine
    assert 'compare --config c.yaml --out out' in text


def test_what_holds_of_some_methods_is_said_where_they_are(toy_block, tmp_path) -> None:
    toy_block['network']['trunks']['clip'] |= {'sharing': 'single_task', 'norm': 'group'}
    for position, name in enumerate(('average', 'dwa', 'instance_level')):
        folder = add_run(
            tmp_path, 'STL', name, 0, toy_block, correct=(9 + position, 3), method=name,
            position=position, skipped=position, at_a_time=1,
        )  # fmt: skip
        config = yaml.safe_load((folder / 'config.yaml').read_text())
        config['weighting']['settings'] = {'normalise': False} if name == 'dwa' else {}
        (folder / 'config.yaml').write_text(yaml.safe_dump(config))
    write_report(tmp_path, tmp_path / 'report')
    text = (tmp_path / 'report' / 'report.md').read_text().replace('\\', '')
    assert 'share nothing (single_task)' in text
    assert 'normalise: false, as for dwa.' in text
    assert 'The weights shown of instance_level are means' in text
    steps = 'STL / dwa / seed 0: 1 of 100; STL / instance_level / seed 0: 2 of 100.'
    assert f'a loss or gradient was not finite: {steps}' in text
    assert 'each run had the machine to itself' in text
    assert 'one path at a time' not in text


def test_runs_of_different_experiments_are_never_pooled(toy_block, tmp_path) -> None:
    def add(name: str, **changes) -> None:
        seed = changes.pop('seed', 0)
        block = {**toy_block, 'seed': seed, **changes}
        folder = add_run(tmp_path, name, 'average', seed, block, correct=(21, 7))
        (folder / 'run.json').unlink()

    add('a', optimiser={'lr': 1e-3}, iterations=100)
    add('b', optimiser={'lr': 1e-2}, iterations=200, threads=2)  # threads change no result
    add('c', optimiser={'lr': 1e-2}, iterations=200, seed=1)
    data = {task: {'dataset': 'toy', 'train': {'num_clips': 5}} for task in TASKS}
    add('d', optimiser={'lr': 1e-3}, iterations=100, data=data)
    results = load_results(tmp_path)
    assert len({result.data for result in results}) == 2
    assert 'data.action.train.num_clips=24' in results[0].data
    methods = methods_of([result for result in results if result.data == results[0].data])
    names = ['hard (iterations=100, lr=0.001)', 'hard (iterations=200, lr=0.01)']
    assert [(method.sharing, len(method.runs)) for method in methods] == [
        (names[0], 1),
        (names[1], 2),
    ]


def test_of_two_runs_with_one_config_and_seed_the_newer_counts(toy_block, tmp_path) -> None:
    for name, age_sec, correct in (('a', 0, 21), ('b', 100, 3), ('c', 50, 9)):
        folder = add_run(tmp_path, name, 'average', 0, toy_block, correct=(correct, 7))
        (folder / 'run.json').unlink()
        os.utime(folder / 'summary.json', (1e9 - age_sec, 1e9 - age_sec))
    (method,) = methods_of(load_results(tmp_path))
    assert [run.folder.parts[2] for run in method.runs] == ['a']
    write_report(tmp_path, tmp_path / 'report')
    text = (tmp_path / 'report' / 'report.md').read_text()
    assert '2 finished runs have a newer one of the same config and seed' in text
    assert text.count('| superseded |') == 2
    assert 'runs/toy/a/average/seed0 has the same config and seed and is newer' in text


@pytest.mark.parametrize(
    ('text', 'published'),
    [
        ('compare --out /tmp/x/out --config c/d.yaml', 'compare --out out --config c/d.yaml'),
        ("cannot read '/home/me/a.yaml': no", "cannot read 'a.yaml': no"),
        ('--out=/a/b', '--out=b'),
        ('1/2 and/or https://a.b/c/d ~/e/f', '1/2 and/or https://a.b/c/d ~/e/f'),
    ],
)
def test_reports_name_no_folders_of_the_machine(text, published) -> None:
    assert without_absolute_paths(text) == published


def test_one_seed_claims_nothing(runs) -> None:
    for folder in runs.glob('runs/*/*/*/seed1'):
        (folder / 'summary.json').unlink(missing_ok=True)
    write_report(runs, runs / 'report')
    text = (runs / 'report' / 'report.md').read_text()
    assert 'With one seed nothing is known about the spread' in text
    assert '±' not in tables_of(text)[3][1][2]


def test_the_page_stands_alone_and_says_the_same(runs) -> None:
    page_file = write_report(runs, runs / 'report')
    assert page_file == runs / 'report' / 'report.html'
    page = Page(page_file.read_text())
    assert not page.open
    assert not {'script', 'link', 'iframe', 'object'} & set(page.tags)
    assert page.links
    assert all(link.startswith('data:image/png;base64,') for link in page.links)
    assert 'url(' not in page_file.read_text()
    pictures = sorted((runs / 'report').glob('figures/*.png'))
    # All runs, curves, weights, the structure of one method, confusions of both.
    assert len(pictures) == len(page.links) == 6
    text = (runs / 'report' / 'report.md').read_text()
    assert sorted(re.findall(r'\]\(([^)]+)\)', text)) == [
        f'figures/{picture.name}' for picture in pictures
    ]
    for cell in ('90.00 ± 14.14', 'D|WA', 'Training <diverged>.'):
        assert cell in page.cells


def test_the_csv_has_one_row_per_run(runs) -> None:
    write_report(runs, runs / 'report')
    with (runs / 'report' / 'results.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert float(rows[1]['accuracy_action']) == 0.8
    assert float(rows[1]['cumulative_accuracy']) == 0.8
    assert (rows[1]['samples_gesture'], rows[1]['parameters_deployed']) == ('10', '1500000')
    assert (rows[1]['trained_action'], rows[1]['skipped_steps']) == ('400', '0')
    assert rows[1]['folder'] == 'runs/toy/HPS/average/seed1'
    assert (rows[6]['status'], rows[6]['accuracy_action']) == ('failed', '')


def test_entries_that_older_runs_lack_are_dashes(runs) -> None:
    for path in runs.rglob('summary.json'):
        summary = json.loads(path.read_text())
        del summary['parameters'], summary['step_ms'], summary['test']['confusion']
        path.write_text(json.dumps(summary))
    for path in runs.rglob('metrics.jsonl'):
        path.unlink()
    write_report(runs, runs / 'report')
    text = (runs / 'report' / 'report.md').read_text()
    assert tables_of(text)[3][1][-3:] == ['–'] * 3
    assert tables_of(text)[0][1][-1] == '–'
    assert len(list((runs / 'report').glob('figures/*.png'))) == 1


def files_of(report: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in report.rglob('*') if path.is_file()}


def test_a_report_is_written_over_an_older_one_and_leaves_files_of_others_alone(runs) -> None:
    report = runs / 'report'
    write_report(runs, report)
    before = files_of(report)
    for name in ('figure_0_99.png', 'figures/figure_9.png', 'figures/figure_0_98.png', 'mine.txt'):
        (report / name).write_text('mine')
    write_report(runs, report)
    others = dict.fromkeys(
        ('figure_0_99.png', 'figure_9.png', 'figure_0_98.png', 'mine.txt'), b'mine'
    )
    assert files_of(report) == before | others
    for path in runs.rglob('metrics.jsonl'):
        path.unlink()  # no curves, weights or structures any more
    write_report(runs, report)
    assert len(files_of(report)) == len(before | others) - 3


def test_many_runs_stay_small_enough_to_keep(toy_block, tmp_path) -> None:
    position = 0
    for sharing in ['HPS', 'LWS', *(f'S{i}' for i in range(5))]:
        for weighting in ['average', *(f'W{i}' for i in range(9))]:
            for seed in range(2):
                block = {**toy_block, 'seed': seed}
                correct = (position % 30, position % 10)
                add_run(
                    tmp_path, sharing, weighting, seed, block, correct=correct, position=position
                )
                position += 1
    write_report(tmp_path, tmp_path / 'report')
    assert position == 140
    assert sum(map(len, files_of(tmp_path / 'report').values())) < 3e6


def test_runs_of_plain_training_are_reported_too(toy_config, tmp_path, capsys) -> None:
    runs = tmp_path / 'runs'
    for sharing in ('hard', 'single_task'):
        arguments = ['train', '--config', str(toy_config), '--out', str(runs / sharing)]
        assert cli.main([*arguments, '--network.trunks.clip.sharing', sharing]) == 0
    capsys.readouterr()
    assert cli.main(['report', '--runs', str(runs), '--out', str(tmp_path / 'out')]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / 'out' / 'report.html')
    *_, table = tables_of((tmp_path / 'out' / 'report.md').read_text())
    summary = json.loads((runs / 'single_task' / 'summary.json').read_text())
    share = 100 * summary['test']['cumulative_accuracy']
    assert [row[:2] for row in table[1:]] == [['hard', 'average'], ['single\\_task', 'average']]
    assert table[2][4].strip('*') == f'{share:.2f}'


def test_a_folder_without_runs_is_refused(tmp_path, capsys) -> None:
    assert cli.main(['report', '--runs', str(tmp_path)]) == 2
    assert 'error: no runs in' in capsys.readouterr().err


def test_texts_are_escaped() -> None:
    table = Table(['a|b', '<i>'], [['*x*', '1_2']], bold=frozenset([(0, 1)]), shades={(0, 0): 1.0})
    assert to_markdown([table]).splitlines()[2] == r'| \*x\* | **1\_2** |'
    page = to_html([table], 'T & t')
    assert '&lt;i&gt;' in page
    assert '<title>T &amp; t</title>' in page
    assert '<b>1_2</b>' in page


def test_mean_and_deviation() -> None:
    assert spread([]) is None
    assert spread([0.5]).deviation is None
    values = [0.2, 0.5, 0.9]
    assert spread(values).mean == pytest.approx(np.mean(values))
    assert spread(values).deviation == pytest.approx(np.std(values, ddof=1))


def test_the_order_is_that_of_the_comparison(runs) -> None:
    methods = methods_of(load_results(runs))
    assert [method.name for method in methods] == ['HPS / average', 'HPS / D|WA', 'LWS / D|WA']
    assert method_table(methods).num_names == 2
