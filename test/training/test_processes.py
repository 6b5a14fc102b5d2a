"""Runs on several processes are those of one process with the same global batch."""

from copy import deepcopy
import json
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import time

from mtl_training.run_folder import RunFolder
import pytest
from safetensors.torch import load_file
import torch

ROOT = Path(__file__).parents[2]
MANY = Path(__file__).with_name('many_runs.py')
# What differs between the runs: sharing with its settings, weighting with its, norm.
RUNS = {
    'average, live batch norms': ('hard', {}, 'average', {}, 'batch'),
    'single tasks': ('single_task', {}, 'average', {}, 'group'),
    'a loss weighting': ('hard', {}, 'gls', {}, 'batch'),
    'a learned weighting': ('hard', {}, 'automatic', {}, 'group'),
    'a gradient weighting': ('hard', {}, 'pcgrad', {}, 'batch'),
    'a gradient weighting with state': ('mmoe', {}, 'db_mtl', {}, 'group'),
    'losses after the step': ('hard', {}, 'famo', {}, 'group'),
    'losses of the next batch': ('hard', {}, 'auto_lambda', {}, 'group'),
    'tables of samples': ('hard', {}, 'instance_level', {}, 'batch'),
    'search': ('learned_weight_sharing', {'search_rate': 0.1}, 'dwa', {'interval': 1}, 'batch'),
    'regularisation': ('dselect_k', {'entropy_weight': 0.1}, 'average', {}, 'group'),
    'annealed draws': ('learning_to_branch', {}, 'rlw', {}, 'group'),
}

# Their own arithmetic is in float32, whatever the network's.
SINGLE = {
    'a gradient weighting', 'a gradient weighting with state', 'losses after the step',
    'losses of the next batch',
}  # fmt: skip


def block_of(toy_block: dict, name: str, devices: int) -> dict:
    sharing, sharing_settings, weighting, settings, norm = RUNS[name]
    block = deepcopy(toy_block)
    trunk = block['network']['trunks']['clip']
    trunk |= {'sharing': sharing, 'sharing_settings': sharing_settings, 'norm': norm}
    block |= {
        'weighting': {'name': weighting, 'settings': settings},
        'iterations': 3,
        'precision': '64-true',  # so that nothing but a mistake can differ
        'devices': devices,
        'optimiser': {'name': 'adam', 'lr': 1e-3},
        'evaluation': {'every': 3, 'batch_size': 5},
    }
    return block


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('processes')


def run_on_two(script: Path) -> None:
    """Run a script in two processes."""
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node=2']
    command += ['--master-addr=127.0.0.1', f'--master-port={free_port()}', str(script)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-4000:]


FRAMES = 'frame tasks'


def frames_of(block: dict, devices: int) -> dict:
    """Return a run of all frame tasks, people of unknown number in each process."""
    return {
        **block,
        'iterations': 3,
        'precision': '64-true',
        'devices': devices,
        'evaluation': {'every': 3, 'batch_size': 5, 'selection': 'score'},
    }


@pytest.fixture
def trained(toy_block, frames_block, folders) -> Path:
    """Train every config on one process and on two, once."""
    if not (folders / 'done').exists():
        for devices in (1, 2):
            jobs = [
                (block_of(toy_block, name, devices), str(folders / f'{devices}' / str(number)))
                for number, name in enumerate(RUNS)
            ]
            jobs.append((frames_of(frames_block, devices), str(folders / f'{devices}' / FRAMES)))
            listed = folders / f'{devices}.json'
            listed.write_text(json.dumps(jobs))
            command = [sys.executable]
            if devices > 1:
                command += ['-m', 'torch.distributed.run', f'--nproc-per-node={devices}']
                command += ['--master-addr=127.0.0.1', f'--master-port={free_port()}']
            done = subprocess.run(
                [*command, str(MANY), str(listed)],
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
                env={**os.environ, 'PYTHONPATH': str(ROOT)},
            )
            assert done.returncode == 0, done.stderr[-4000:]
        (folders / 'done').touch()
    return folders


@pytest.mark.parametrize('name', RUNS)
def test_two_processes_do_what_one_does(name, trained) -> None:
    one, two = (trained / str(devices) / str(list(RUNS).index(name)) for devices in (1, 2))
    for file in ('last.safetensors', 'state.safetensors'):
        expected, got = load_file(one / file), load_file(two / file)
        assert expected.keys() == got.keys()
        for key, value in expected.items():
            if key.startswith('rng'):
                continue
            close = (
                {'rtol': 1e-3, 'atol': 1e-6} if name in SINGLE else {'rtol': 1e-6, 'atol': 1e-9}
            )
            torch.testing.assert_close(
                got[key], value, **close, msg=lambda m, key=key: f'{key}: {m}'
            )
    pairs = list(zip(RunFolder(one).records(), RunFolder(two).records(), strict=True))
    assert any(record['kind'] == 'val' for record, _ in pairs)
    for expected, got in pairs:
        assert got['loss'] == pytest.approx(expected['loss'], rel=1e-5)
        if expected['kind'] == 'val':
            assert got['accuracy'] == expected['accuracy']


def test_two_processes_do_with_frames_what_one_does(trained) -> None:
    one, two = (trained / str(devices) / FRAMES for devices in (1, 2))
    expected, got = load_file(one / 'last.safetensors'), load_file(two / 'last.safetensors')
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            got[key], value, rtol=1e-5, atol=1e-7, msg=lambda m, key=key: f'{key}: {m}'
        )
    pairs = list(zip(RunFolder(one).records(), RunFolder(two).records(), strict=True))
    for expected_record, got_record in pairs:
        assert got_record['loss'] == pytest.approx(expected_record['loss'], rel=1e-5)
        if expected_record['kind'] == 'val':
            assert got_record['people'].keys() == expected_record['people'].keys()


def test_a_signal_to_one_process_stops_all_and_finishes_nothing(toy_config, tmp_path) -> None:
    command = [sys.executable, str(MANY.with_name('toy_run.py')), 'train', '--devices', '2']
    command += ['--config', str(toy_config), '--out', str(tmp_path / 'run'), '--iterations', '60']
    command += ['--data.action.settings.slow_sec', '0.05', '--evaluation.every', '100']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    run = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / 'run' / 'metrics.jsonl'
    while not (metrics.exists() and metrics.read_text().count('\n') > 2):
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.05)
    children = Path(f'/proc/{run.pid}/task/{run.pid}/children').read_text().split()
    other = next(c for c in children if 'toy_run' in Path(f'/proc/{c}/cmdline').read_text())
    os.kill(int(other), signal.SIGTERM)
    _, told = run.communicate(timeout=120)
    assert run.returncode == 130, told
    assert 'stopped at iteration' in told
    assert not (tmp_path / 'run' / 'summary.json').exists()
    assert (tmp_path / 'run' / 'state.safetensors').exists()


def test_processes_keep_one_state_of_the_generator_whatever_people_draw(
    frames_block, tmp_path
) -> None:
    """Each has its own number of people, and so of draws: joints that vary and dropout."""
    settings = {t: task['settings'] for t, task in frames_block['network']['tasks'].items()}
    settings['pose'] |= {'confusion': 0.3, 'dropout': 0.5}
    settings['activity'] |= {'dropout': 0.3}
    block = {**frames_block, 'iterations': 3, 'devices': 2, 'weighting': {'name': 'rlw'}}
    script = tmp_path / 'run.py'
    script.write_text(
        f"""
import importlib.util
import torch
from mtl_training import passes
from mtl_training.config import build_config
from mtl_training.processes import gather_objects
from mtl_training.trainer import Trainer
from rich.console import Console
spec = importlib.util.spec_from_file_location('toy_run', {str(MANY.with_name('toy_run.py'))!r})
spec.loader.exec_module(importlib.util.module_from_spec(spec))
trainer = Trainer(build_config({block!r}), {str(tmp_path / 'run')!r}, Console(quiet=True))
iterate = trainer._iterate
def checking(*batches):
    before = torch.get_rng_state()
    iterate(*batches)
    one, other = gather_objects(torch.get_rng_state())
    assert torch.equal(one, other), 'the generators differ'
    assert not torch.equal(one, before)
    with passes.own_draws():
        drawn, again = gather_objects(torch.rand(3))
    assert not torch.equal(drawn, again), 'the processes draw the same noise'
trainer._iterate = checking
assert trainer.run()['iteration'] == 3
"""
    )
    run_on_two(script)


def test_processes_learn_from_the_same_poses_each_having_found_a_share(
    frames_block, tmp_path
) -> None:
    stages = [{'tasks': ['activity'], 'predicted_poses': True}]
    block = {**frames_block, 'devices': 2}
    block['regime'] = {'name': 'staged', 'settings': {'stages': stages}}
    script = tmp_path / 'run.py'
    script.write_text(
        f"""
import importlib.util, os
import torch
from mtl_training import stages
from mtl_training.config import build_config
from mtl_training.predicted_poses import FoundPoses, load_poses
from mtl_training.processes import gather_objects
from mtl_training.trainer import Trainer
from rich.console import Console
spec = importlib.util.spec_from_file_location('toy_run', {str(MANY.with_name('toy_run.py'))!r})
spec.loader.exec_module(importlib.util.module_from_spec(spec))
asked, learnt = [], []
def own_poses(network, dataset, *_, **__):
    samples = [dataset[index] for index in range(len(dataset))]
    asked.extend(sample.index for sample in samples)
    return [
        FoundPoses(
            sample.keypoints + int(os.environ['RANK']),
            sample.boxes[:, -1],
            torch.ones(len(sample.boxes), dtype=torch.bool),
        )
        for sample in samples
    ]
class Recorded(stages.PredictedPoses):
    def __init__(self, dataset, poses, **settings):
        super().__init__(dataset, poses, **settings)
        learnt.extend(poses)
        for index, found in enumerate(poses):
            truth = dataset[index]
            assert torch.equal(found.keypoints, truth.keypoints + index % 2)
            assert torch.equal(found.boxes, truth.boxes[:, -1])
stages.find_all_poses, stages.PredictedPoses = own_poses, Recorded
trainer = Trainer(build_config({block!r}), {str(tmp_path / 'run')!r}, Console(quiet=True))
trainer.run()
assert len(learnt) == 8
assert gather_objects(asked) == [[0, 2, 4, 6], [1, 3, 5, 7]]
stored = load_poses(trainer._folder.poses, 0)
for mine, theirs in zip(learnt, stored, strict=True):
    assert all(map(torch.equal, mine, theirs))
"""
    )
    run_on_two(script)


def test_processes_start_alike_whatever_their_data_sets_draw(toy_block, tmp_path) -> None:
    block = block_of(toy_block, 'average, live batch norms', 2)
    block['iterations'] = 1
    script = tmp_path / 'run.py'
    script.write_text(
        f"""
import importlib.util, os, sys
import torch
from mtl_training.config import build_config
from mtl_training.processes import mean_over_processes
from mtl_training.trainer import Trainer
from rich.console import Console
spec = importlib.util.spec_from_file_location('toy_run', {str(MANY.with_name('toy_run.py'))!r})
toy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy)
initial = toy.ToyClips.__init__
def drawing(self, *args, **kwargs):
    torch.rand(3 + int(os.environ['RANK']))
    initial(self, *args, **kwargs)
toy.ToyClips.__init__ = drawing
trainer = Trainer(build_config({block!r}), {str(tmp_path / 'run')!r}, Console(quiet=True))
drawn = torch.rand(1).double()
assert torch.equal(mean_over_processes(drawn), drawn), 'the generators differ'
trainer.run()
for name, value in trainer._network.state_dict().items():
    value = value.double()
    torch.testing.assert_close(mean_over_processes(value), value, rtol=1e-12, atol=0, msg=name)
"""
    )
    run_on_two(script)
