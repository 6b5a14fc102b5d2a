"""Comparisons: their configs, and their workers in real processes that are stopped and killed."""

import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from mtl_perception.network.sharing import SHARING
from mtl_training import cli
from mtl_training.comparison.config import load_comparison
from mtl_training.comparison.devices import choose_devices
from mtl_training.comparison.plan import file_name, planned_runs
from mtl_training.comparison.progress import last_iteration, shown_time
from mtl_training.reporting.results import load_results
from mtl_training.run_folder import RunFolder
from mtl_training.trainer import Trainer
import pytest
from rich.console import Console
from safetensors.torch import load_file
import torch
import yaml

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).with_name('toy_run.py')


@pytest.fixture
def grid(toy_block) -> dict:
    """Return a comparison of two by one methods as plain values."""
    del toy_block['threads']
    return {
        'base': {**toy_block, 'iterations': 6, 'evaluation': {'every': 3, 'batch_size': 12}},
        'sharing': {
            'STL': {'name': 'single_task'},
            'HPS w=2': {'name': 'hard', 'network': {'width': 2}},
        },
        'weighting': {'average': {'name': 'average'}},
    }


def write(grid: dict, path: Path) -> Path:
    path.write_text(yaml.safe_dump(grid, sort_keys=False))
    return path


def start(*arguments: str) -> 'subprocess.Popen[str]':
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(TOY), 'compare', *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_iteration(process, run: Path, iteration: int) -> None:
    for _ in range(30000):  # of 10 ms: only a hang takes that long
        if last_iteration(run / 'metrics.jsonl') >= iteration:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    raise AssertionError(f'iteration {iteration} was never reached')


def children_of(pid: int) -> list[int]:
    children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    return [
        int(child)
        for child in children
        if 'spawn_main' in Path(f'/proc/{child}/cmdline').read_text()
    ]


# -- The config ----------------------------------------------------------------------------------


def test_every_combination_is_a_run_and_seeds_vary_slowest(grid, tmp_path) -> None:
    grid |= {
        'seeds': [4, 7],
        'data': {'one': {}, 'two': {'action': {'train': {'num_clips': 5}}}},
        'weighting': {
            'average': {'name': 'average'},
            'dwa': {'name': 'dwa', 'settings': {'interval': 2}},
        },
        'skip': [{'sharing': 'STL', 'weighting': 'dwa'}],
    }
    runs = planned_runs(load_comparison(write(grid, tmp_path / 'grid.yaml')), tmp_path / 'out')
    assert [(r.seed, r.data, r.sharing, r.weighting) for r in runs] == [
        (seed, data, *method)
        for seed in (4, 7)
        for data in ('one', 'two')
        for method in (('STL', 'average'), ('HPS w=2', 'average'), ('HPS w=2', 'dwa'))
    ]
    last = runs[-1]
    assert last.path == tmp_path / 'out/runs/two/HPS_w=2/dwa/seed7'
    assert last.config.seed == 7
    assert last.config.weighting.settings == {'interval': 2}
    trunk = last.config.network.trunks['clip']
    assert (trunk.sharing, trunk.width, trunk.num_frames) == ('hard', 2, 4)
    assert last.config.data['action'].train == {'num_clips': 5}
    assert last.config.data['gesture'].train == {'num_clips': 24}
    assert runs[0].config.network.trunks['clip'].width == 4


def test_regimes_are_varied_with_their_grids_and_tasks(grid, tmp_path) -> None:
    memory = {'lambda_A': [0.1, 0.9], 'lambda_S': [0.3, 0.7]}
    grid['base']['losses'] = {'action': {}, 'gesture': {}}
    grid['base']['network']['trunks']['other'] = {'num_frames': 2}
    grid['base']['network']['tasks']['gesture'] = {'trunk': 'other'}
    grid['regime'] = {
        'together': {'name': 'joint'},
        'actions alone': {
            'name': 'joint',
            'tasks': ['action'],
            'config': {'iterations': 3, 'optimiser': {'lr': 0.5}},
            'network': {'norm': 'group'},
        },
        'memory': {'name': 'distilling', 'settings': {'temperature': 3.0}, 'grid': memory},
    }
    grid['skip'] = [
        {'sharing': 'STL', 'regime': 'memory'},
        {'regime': 'memory lambda_A=0.9 lambda_S=0.7'},
    ]
    path = write(grid, tmp_path / 'grid.yaml')
    runs = planned_runs(load_comparison(path), tmp_path / 'out')
    both = ['together', 'actions alone']
    combinations = [f'memory lambda_A={a} lambda_S={s}' for a, s in ((0.1, 0.3), (0.1, 0.7))]
    combinations.append('memory lambda_A=0.9 lambda_S=0.3')
    expected = [('STL', name) for name in both] + [
        ('HPS w=2', name) for name in (*both, *combinations)
    ]
    assert [(run.sharing, run.regime) for run in runs] == expected
    alone = runs[3]
    assert alone.path == tmp_path / 'out/runs/data/HPS_w=2/average/actions_alone/seed0'
    assert alone.name == 'data / HPS w=2 / average / actions alone / seed 0'
    assert list(alone.config.network.tasks) == list(alone.config.data) == ['action']
    assert list(alone.config.network.trunks) == ['clip']
    trunk = alone.config.network.trunks['clip']
    assert (trunk.norm, trunk.width, trunk.sharing) == ('group', 2, 'hard')
    assert (alone.config.iterations, alone.config.optimiser.lr) == (3, 0.5)
    assert alone.config.optimiser.schedule == 'cosine', 'the rest is as in the base'
    assert alone.config.losses == {'action': {}}
    memory_run = runs[4].config
    settings = {'temperature': 3.0, 'lambda_A': 0.1, 'lambda_S': 0.3}
    assert (memory_run.regime.name, memory_run.regime.settings) == ('distilling', settings)
    assert (memory_run.iterations, len(memory_run.network.tasks)) == (6, 2)
    alone.path.mkdir(parents=True)
    alone.write_identity(3, {})
    assert json.loads((alone.path / 'run.json').read_text())['regime'] == 'actions alone'
    with pytest.raises(ValueError, match=r"'--regime.name' is what the comparison .* varies"):
        load_comparison(path, [('regime.name', 'joint')])


def test_without_a_section_regime_names_and_folders_have_none(grid, tmp_path) -> None:
    grid['base']['regime'] = {'name': 'alternating'}
    run = planned_runs(load_comparison(write(grid, tmp_path / 'grid.yaml')), tmp_path)[0]
    assert run.config.regime.name == 'alternating'
    assert (run.path, run.name) == (
        tmp_path / 'runs/data/STL/average/seed0',
        'data / STL / average / seed 0',
    )
    assert list(run.names) == ['data', 'sharing', 'weighting']
    other = load_comparison(tmp_path / 'grid.yaml', [('regime.name', 'joint')])
    assert planned_runs(other, tmp_path)[0].config.regime.name == 'joint'


def test_data_that_name_their_dataset_replace_those_of_the_base(grid, tmp_path) -> None:
    grid['data'] = {'own': {'action': {'dataset': 'folder', 'settings': {'root': 'videos'}}}}
    run = planned_runs(load_comparison(write(grid, tmp_path / 'grid.yaml')), tmp_path)[0]
    assert run.config.data['action'].train == {}
    assert run.config.data['gesture'].dataset == 'toy'


def test_the_base_may_be_a_file_beside_the_comparison(grid, toy_config, tmp_path) -> None:
    grid['base'] = toy_config.name
    grid['sharing']['STL']['config'] = {'iterations': 9}
    path = write(grid, tmp_path / 'grid.yaml')
    comparison = load_comparison(path, [('batch_size', 2)])
    configs = [run.config for run in planned_runs(comparison, tmp_path)]
    assert [(c.iterations, c.batch_size) for c in configs] == [(9, 2), (12, 2)]


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('weightings', {}, "no entry 'weightings'. Did you mean 'weighting'"),
        ('sharing', {}, 'sharing must have at least one entry'),
        ('sharing', {'A': {'nam': 'hard'}}, r"sharing.A has no entry 'nam'. Did you mean 'name'"),
        ('sharing', {'A': {'name': 'hrad'}}, r"sharing.A: Unknown .* 'hrad'. Did you mean 'hard'"),
        ('sharing', {'A': {'name': 'hard', 'config': {'seed': 2}}}, "must not set 'seed'"),
        ('weighting', {'A': {'name': 'avrage'}}, "STL / A: Unknown .*Did you mean 'average'"),
        ('weighting', {'A': {'name': 'dwa', 'settings': {'intervall': 2}}}, "mean 'interval'"),
        ('seeds', [1, 1], r'seeds must be distinct, got \[1, 1\]'),
        ('skip', [{'sharing': 'STLL'}], "skip: unknown sharing 'STLL'. Did you mean 'STL'"),
        ('skip', [{}], 'must name data, sharing, weighting or regime'),
        ('skip', [{'regime': 'joint'}], "skip: unknown regime 'joint'"),
        ('regime', {'A': {'name': 'jont'}}, "STL / average / A: Unknown .*mean 'joint'"),
        ('regime', {'A': {'name': 'joint', 'config': {'regime': {}}}}, "must not set 'regime'"),
        ('regime', {'A': {'name': 'joint', 'network': {'sharing': 'mmoe'}}},
         "regime.A: network must not set 'sharing'"),
        ('regime', {'A': {'name': 'joint', 'tasks': ['acton']}},
         "A: tasks: no task 'acton'. Did you mean 'action'"),
        ('regime', {'A': {'name': 'distilling', 'grid': {'lambda_A': []}}},
         'grid.lambda_A must have at least one value'),
        ('regime', {'A': {'name': 'lwf', 'settings': {'x': 1}, 'grid': {'x': [1]}}},
         'grid.x must not be among the settings'),
        ('regime', {'A': {'name': 'distilling', 'grid': {'lambda_A': [0.5, 1.5]}}},
         r'A lambda_A=1.5: lambda_A must lie in \[0, 1\]'),
        ('regime', {'A': {'name': 'alternating', 'tasks': ['action']}}, 'two or more tasks'),
        ('regime', {'A': {'name': 'lwf', 'settings': {'round_iterations': {'action': 6}}}},
         'STL / average / A: iterations must be those of all rounds, got 6'),
        ('skip', [{'data': 'data'}], 'skip leaves no combination'),
        ('sharing', {'A': {'name': 'mmoe', 'settings': {'num_expert': 2}}}, "mean 'num_experts'"),
        ('sharing', {'A': {'name': 'mmoe', 'settings': {'num_experts': 0}}},
         'A / average: .*num_experts'),
        ('sharing', {'A': {'name': 'hard', 'config': {'trainable_stages': ['layer9']}}},
         "A / average: trainable_stages: no stage 'layer9'. Did you mean 'layer4'"),
        ('sharing', {'A': {'name': 'hard', 'config': {'regime': {'name': 'jont'}}}},
         "mean 'joint'"),
        ('sharing', {'A': {'name': 'hard', 'config': {'merge_tasks': True}}},
         "A / pcgrad: merge_tasks must not be true with weighting 'pcgrad'"),
        ('data', {'a': {}, 'A': {}}, 'would share the folder'),
        ('base', {'iterations': 2}, r'config lacks .*network'),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_named_with_its_rule(grid, tmp_path, name, value, message) -> None:
    grid['weighting']['pcgrad'] = {'name': 'pcgrad'}
    grid[name] = value
    with pytest.raises(ValueError, match=message):
        planned_runs(load_comparison(write(grid, tmp_path / 'grid.yaml')), tmp_path)


def test_a_regime_has_one_place(grid, tmp_path) -> None:
    grid['sharing']['STL']['config'] = {'regime': {'name': 'alternating'}}
    path = write(grid, tmp_path / 'grid.yaml')
    assert planned_runs(load_comparison(path), tmp_path)
    grid['regime'] = {'A': {'name': 'joint'}}
    with pytest.raises(ValueError, match=r"sharing\.STL: config must not set 'regime'"):
        load_comparison(write(grid, path))


def test_a_run_that_wants_more_than_one_device_is_refused(grid, tmp_path) -> None:
    grid['base']['devices'] = 2
    with pytest.raises(ValueError, match='devices must be 1 in a comparison, got 2'):
        planned_runs(load_comparison(write(grid, tmp_path / 'grid.yaml')), tmp_path)


@pytest.mark.parametrize(
    'entry', ['seed', 'weighting.name', 'network.trunks.clip.sharing_settings.x']
)
def test_what_is_compared_is_not_overridden(grid, tmp_path, entry) -> None:
    with pytest.raises(ValueError, match=r'is what the comparison .* varies'):
        load_comparison(write(grid, tmp_path / 'grid.yaml'), [(entry, 1)])


def test_names_become_names_of_files() -> None:
    assert file_name('SPS s=0.2') == 'SPS_s=0.2'
    assert file_name('../a:b') == '_a_b'
    assert file_name('..') == '_'


def test_gpus_are_shared_out_by_their_own_names(grid, tmp_path, monkeypatch) -> None:
    grid['base']['accelerator'] = 'auto'
    config = planned_runs(load_comparison(write(grid, tmp_path / 'g.yaml')), tmp_path)[0].config
    configs = [config] * 9
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert choose_devices(configs, None) == ['0', '1']
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '5,MIG-a')
    assert choose_devices(configs, 3) == ['5', 'MIG-a', '5']
    assert choose_devices([config], None) == ['5']
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert choose_devices(configs, 3) == [None] * 3
    with pytest.raises(ValueError, match='--jobs must be at least 1, got 0'):
        choose_devices(configs, 0)


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        ({'accelerator': 'auto'}, 'accelerator must be the same in all runs .* cpu and auto'),
        ({'threads': 2}, 'threads must be the same in all runs .* None and 2'),
    ],
)
def test_all_runs_want_the_same_devices(grid, tmp_path, entry, message) -> None:
    grid['sharing']['HPS w=2']['config'] = entry
    runs = planned_runs(load_comparison(write(grid, tmp_path / 'grid.yaml')), tmp_path)
    with pytest.raises(ValueError, match=message):
        choose_devices([run.config for run in runs], None)


@pytest.mark.parametrize('name', SHARING)
def test_every_sharing_method_is_checked_without_memory(grid, tmp_path, name) -> None:
    grid['base']['network']['trunks']['clip']['width'] = 1024  # gigabytes, and minutes of values
    grid['sharing'] = {'A': {'name': name}}
    assert planned_runs(load_comparison(write(grid, tmp_path / 'grid.yaml')), tmp_path)


def test_times_are_shown_as_people_read_them() -> None:
    assert [shown_time(sec) for sec in (59.7, 61, 7260)] == [
        '1 min 00 s',
        '1 min 01 s',
        '2 h 01 min',
    ]


def test_a_dry_run_lists_the_runs_and_makes_nothing(grid, tmp_path, capsys) -> None:
    path, out = write(grid, tmp_path / 'grid.yaml'), tmp_path / 'out'
    arguments = ['compare', '--config', str(path), '--out', str(out), '--dry-run']
    assert cli.main([*arguments, '--json', '--jobs', '1']) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [run['status'] for run in listed['runs']] == ['new', 'new']
    assert listed['at_a_time'] == 1
    assert cli.main(arguments) == 0
    assert 'HPS w=2' in capsys.readouterr().out
    assert not out.exists()


# -- Real processes ------------------------------------------------------------------------------


def test_a_comparison_survives_its_parent_its_worker_and_a_stop_and_ends_as_plain_training_does(
    grid, tmp_path, capsys
) -> None:
    # Wrong in a way that only the data set knows.
    grid['data'] = {'bad': {'action': {'settings': {'num_clps': 3}}}, 'good': {}}
    grid['skip'] = [{'data': 'bad', 'sharing': 'STL'}]
    # Without effect on the result: long enough to be caught in the middle.
    grid['base'] |= {'iterations': 12, 'save_every': 1}
    grid['base']['evaluation']['every'] = 6
    grid['base']['data']['action']['settings'] = {'slow_sec': 0.03}
    path, out = write(grid, tmp_path / 'grid.yaml'), tmp_path / 'out'
    arguments = ('--config', str(path), '--out', str(out), '--jobs', '1', '--json')
    first = out / 'runs/good/STL/average/seed0'
    second = out / 'runs/good/HPS_w=2/average/seed0'

    process = start(*arguments)
    wait_for_iteration(process, first, 2)
    assert cli.main(['compare', *arguments]) == 2
    assert 'a comparison is running there already' in capsys.readouterr().err
    (worker,) = children_of(process.pid)
    process.kill()
    process.communicate(timeout=60)
    wait_for_end(worker)
    assert 2 <= last_iteration(first / 'metrics.jsonl') < 12
    assert (first / 'state.safetensors').exists()

    process = start(*arguments)
    wait_for_iteration(process, second, 2)
    (worker,) = children_of(process.pid)
    os.kill(worker, signal.SIGKILL)
    reached = last_iteration(second / 'metrics.jsonl')
    wait_for_iteration(process, second, reached + 2)
    os.killpg(process.pid, signal.SIGINT)
    printed, told = process.communicate(timeout=300)
    assert process.returncode == 130, told
    killed = 'once more: good / HPS w=2 / average / seed 0: its process was killed by SIGKILL'
    assert killed in told
    figures = json.loads(printed)
    assert not figures['finished']
    statuses = {run['data'] + run['sharing']: run['status'] for run in figures['runs']}
    assert statuses == {'badHPS w=2': 'failed', 'goodSTL': 'finished', 'goodHPS w=2': 'unfinished'}
    for text in (r"no setting 'num\_clps'", 'unfinished'):
        assert text in (out / 'report' / 'report.md').read_text()
    for folder in (first, second):
        assert 'resuming at iteration' in (folder / 'run.log').read_text()

    assert cli.main(['train', '--resume', '--out', str(second)]) == 0
    for folder in (first, second):
        assert yaml.safe_load((folder / 'config.yaml').read_text())['threads'] == 1
        assert_equals_plain_training(folder, tmp_path / 'alone' / folder.parents[1].name)


def wait_for_end(pid: int) -> None:
    for _ in range(30000):
        if not Path(f'/proc/{pid}').exists():
            return
        time.sleep(0.01)
    raise AssertionError('the worker went on alone')


def assert_equals_plain_training(folder: Path, alone: Path) -> None:
    config = str(folder / 'config.yaml')
    assert cli.main(['train', '--config', config, '--out', str(alone)]) == 0
    ours, theirs = (load_file(f / 'last.safetensors') for f in (folder, alone))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    untimed = [
        [{k: v for k, v in r.items() if k != 'step_ms'} for r in RunFolder(f).records()]
        for f in (folder, alone)
    ]
    assert untimed[0] == untimed[1]


@pytest.fixture
def finished(grid, tmp_path, monkeypatch) -> list[str]:
    """Return the arguments of a finished comparison of one run, which could start no worker."""
    del grid['sharing']['HPS w=2']
    grid['base'] |= {'iterations': 1, 'evaluation': {'every': 1, 'batch_size': 12}}
    path, out = write(grid, tmp_path / 'grid.yaml'), tmp_path / 'out'
    (run,) = planned_runs(load_comparison(path), out)
    Trainer(run.config, run.path, Console(quiet=True)).run()
    run.write_identity(0, {'command': 'first', 'git_revision': 'abc', 'at_a_time': 2})
    monkeypatch.setattr('mtl_training.comparison.pool.WorkerPool._start', None)
    return ['compare', '--config', str(path), '--out', str(out), '--json']


def test_what_is_finished_is_not_run_again_and_a_changed_config_is_refused(
    finished, capsys
) -> None:
    assert cli.main(finished) == 0
    assert json.loads(capsys.readouterr().out)['finished']
    assert cli.main([*finished, '--optimiser.lr', '0.5']) == 2
    error = capsys.readouterr().err
    assert 'holds a run with another config, it differs in: optimiser.lr' in error
    assert cli.main([*finished, '--optimiser.lr', '0.5', '--dry-run']) == 0
    assert 'another config: optimiser.lr' in capsys.readouterr().out


def test_entries_put_before_others_come_before_them_in_the_tables_and_failures_end_with_1(
    finished, grid, tmp_path, capsys, monkeypatch
) -> None:
    def fail(pool, runs):
        for run in runs:
            run.failure.write_text('no luck')
        return True

    monkeypatch.setattr('mtl_training.comparison.pool.WorkerPool.train', fail)
    grid['sharing'] = {'new': {'name': 'single_task', 'network': {'width': 2}}, **grid['sharing']}
    write(grid, tmp_path / 'grid.yaml')
    assert cli.main(finished) == 1
    runs = json.loads(capsys.readouterr().out)['runs']
    assert [run['status'] for run in runs] == ['failed', 'finished']
    results = load_results(tmp_path / 'out')
    assert [result.sharing for result in results] == ['new', 'STL']
    # How the finished one came about does not change.
    assert (results[1].git_revision, results[1].at_a_time) == ('abc', 2)
    assert results[0].command.startswith('python -m mtl_training compare')
