"""Whole runs on disjoint data: what they record, and that an interruption changes nothing."""

from collections.abc import Sequence
from contextlib import nullcontext
import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mtl_training import recording
from mtl_training.config import build_config
from mtl_training.data.sample import collate
from mtl_training.recording import RunRecorder
from mtl_training.run_folder import RunFolder
from mtl_training.trainer import Trainer
import pytest
from rich.console import Console
from safetensors.torch import load_file
import torch

QUIET = Console(quiet=True)
ITERATIONS = 14  # rounds of 3: 12 clips, 4 at a time


def trainer(
    block: dict[str, Any],
    out: Path,
    regime: str,
    *,
    steady: bool = False,
    clips: int = 12,
    **settings: Any,
) -> Trainer:
    for data in block['data'].values():
        data['train'] = {'num_clips': clips, 'steady': steady}
    block |= {'regime': {'name': regime, 'settings': settings}, 'batch_size': 4}
    return Trainer(build_config(block, [('iterations', ITERATIONS)]), out, QUIET)


def probabilities_of(run: Trainer, task: str, head: str, samples: Sequence[Any]) -> torch.Tensor:
    """Return what a head says of clips of another task, one by one, in evaluation mode."""
    network = copy.deepcopy(run._network).eval()
    rows = []
    for sample in samples:
        clip = run._inputs({task: collate([sample])})[task]
        with torch.no_grad():
            rows.append(network({'clip': clip})[head].softmax(1))
    return torch.cat(rows)


def probabilities(run: Trainer, task: str, head: str) -> torch.Tensor:
    dataset = run._datasets['train'][task]
    return probabilities_of(run, task, head, [dataset[i] for i in range(len(dataset))])


def rounds_of(folder: Path) -> list[tuple[int, int, list[str]]]:
    records = [r for r in RunFolder(folder).records() if 'round' in r]
    return [(r['round'], r['iteration'], r['trained']) for r in records]


def test_every_round_is_judged_and_trains_one_task(toy_block, tmp_path) -> None:
    trainer(toy_block, tmp_path, 'alternating').run()
    turns = [['action'], ['gesture'], ['action'], ['gesture'], ['action']]
    ends = [3, 6, 9, 12, 14]  # the last one is cut short by the end of the run
    assert rounds_of(tmp_path) == [(-1, 0, []), *zip(range(5), ends, turns)]
    for record in RunFolder(tmp_path).records():
        if record['kind'] == 'train':
            turn = ['action', 'gesture'][(record['iteration'] - 1) // 3 % 2]
            assert record['loss'].keys() == {turn}


def test_the_losses_of_rounds_that_are_shorter_than_a_line_of_the_log_are_in_it(
    toy_block, tmp_path
) -> None:
    every, sparse = tmp_path / 'every', tmp_path / 'sparse'
    trainer(copy.deepcopy(toy_block), every, 'alternating').run()
    trainer(copy.deepcopy(toy_block) | {'log_every': 6}, sparse, 'alternating').run()
    lines = {r['iteration']: r for r in RunFolder(every).records() if r['kind'] == 'train'}
    told = [r for r in RunFolder(sparse).records() if r['kind'] == 'train']
    assert [r['iteration'] for r in told] == [6, 12]
    for record in told:
        last = record['iteration']
        for figure in ('loss', 'accuracy'):
            turns = (lines[last - 3][figure], lines[last][figure])  # action, gesture
            assert record[figure] == {**turns[0], **turns[1]}


def test_one_way_runs_have_a_round_per_task(toy_block, tmp_path) -> None:
    trainer(toy_block, tmp_path, 'lwf', order=['gesture', 'action']).run()
    assert rounds_of(tmp_path) == [(-1, 0, []), (0, 7, ['gesture']), (1, 14, ['action'])]


@pytest.mark.parametrize('stops', [(4,), (3, 8)])
@pytest.mark.parametrize(
    ('regime', 'steady', 'kind'),
    [
        ('alternating', False, ''),
        ('distilling', False, 'snapshot'),
        ('distilling', True, 'records'),
        ('lwf', True, 'records'),
    ],
)
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    toy_block, tmp_path, regime, steady, kind, stops
) -> None:
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    trainer(toy_block, whole, regime, steady=steady).run()
    for stop in stops:
        interrupted = trainer(toy_block, broken, regime, steady=steady)
        interrupted._should_stop = lambda run=interrupted, stop=stop: run._iteration >= stop  # type: ignore[method-assign]
        assert not interrupted.run(resume=True)['finished']
    trainer(toy_block, broken, regime, steady=steady).run(resume=True)
    assert rounds_of(whole) == rounds_of(broken)
    for name in ('state.safetensors', 'last.safetensors'):
        expected, found = load_file(whole / name), load_file(broken / name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)
    if kind:
        assert any(f'/memory.{kind}/' in key for key in load_file(whole / 'state.safetensors'))


def test_the_records_are_what_the_network_said_when_the_round_began(toy_block, tmp_path) -> None:
    run = trainer(toy_block, tmp_path, 'distilling', steady=True)
    run._should_stop = lambda: run._iteration >= 5  # type: ignore[method-assign]
    run.run()
    # The second round trains gestures from iteration 3 on and asks what it said of actions then.
    said = run._regime.memory.get_buffer('records/action')
    assert said.shape == (12, 3)
    assert torch.allclose(said.sum(1), torch.ones(12))
    again = trainer(toy_block, tmp_path / 'again', 'distilling', steady=True)
    again._should_stop = lambda: again._iteration >= 3  # type: ignore[method-assign]
    again.run()
    assert torch.allclose(said, probabilities(again, 'gesture', 'action'), atol=1e-5)


@pytest.mark.parametrize('num_processes', [1, 2])
def test_each_clip_has_its_own_record_whoever_made_it(
    toy_block, tmp_path, monkeypatch, num_processes
) -> None:
    run = trainer(toy_block, tmp_path, 'distilling', steady=True, clips=11)
    run._network.train()
    shares = []
    for rank in range(num_processes):
        fabric = SimpleNamespace(
            global_rank=rank, world_size=num_processes, device=torch.device('cpu'),
            autocast=nullcontext,
        )  # fmt: skip
        recorder = RunRecorder(
            fabric,
            run._config,
            run._network,
            run._inputs,
            run._datasets['train'],  # type: ignore[arg-type]
        )
        # What the other processes would send: those before, as they came.
        monkeypatch.setattr(recording, 'gather_objects', lambda own: [*shares, own])
        if rank < num_processes - 1:
            samples = [run._datasets['train']['gesture'][i] for i in range(rank, 11, 2)]
            shares.append({'action': probabilities_of(run, 'gesture', 'action', samples)})
        else:
            said = recorder.outputs('gesture', ['action'])['action']
    assert torch.allclose(said, probabilities(run, 'gesture', 'action'), atol=1e-5)
    assert all(module.training for module in run._network.modules())


def test_records_of_clips_that_vary_are_refused(toy_block, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"memory must be 'snapshot' or 'auto' where"):
        trainer(toy_block, tmp_path, 'distilling', memory='records')


def test_tasks_of_different_trunks_can_not_remember_each_other(toy_block, tmp_path) -> None:
    trunk = toy_block['network']['trunks']['clip']
    toy_block['network']['trunks'] = {'clip': trunk, 'other': dict(trunk)}
    toy_block['network']['tasks']['gesture'] = {'trunk': 'other'}
    with pytest.raises(ValueError, match=r'must read the same trunk .* got the trunks'):
        trainer(toy_block, tmp_path, 'distilling')


@pytest.mark.parametrize('sharing', ['cross_stitch', 'learned_weight_sharing', 'mmoe'])
def test_any_sharing_remembers(toy_block, tmp_path, sharing) -> None:
    toy_block['network']['trunks']['clip']['sharing'] = sharing
    assert trainer(toy_block, tmp_path, 'distilling').run()['finished']


@pytest.mark.parametrize('regime', ['joint', 'distilling'])
def test_what_shares_is_searched_by_the_losses_of_the_tasks(toy_block, tmp_path, regime) -> None:
    # Labels of captions are rows of targets, more of them than the head has outputs.
    toy_block['network']['trunks']['clip']['sharing'] = 'learned_weight_sharing'
    caption = {'kind': 'caption', 'settings': {'dim': 4, 'encoder': {'name': 'hashed'}}}
    toy_block['network']['tasks'] = {'action': {}, 'caption': caption}
    clips = {'dataset': 'synthetic', 'settings': {'num_clips': 9}}
    toy_block['data'] = {'action': toy_block['data']['action'], 'caption': clips}
    toy_block |= {'regime': {'name': regime}, 'batch_size': 4, 'iterations': 4}
    toy_block.setdefault('evaluation', {}).update({'selection': 'score', 'test': False})
    assert Trainer(build_config(toy_block), tmp_path, QUIET).run()['finished']


def test_weightings_that_look_ahead_do_not_go_with_a_memory(toy_block, tmp_path) -> None:
    toy_block['weighting'] = {'name': 'auto_lambda'}
    with pytest.raises(ValueError, match=r"'auto_lambda' looks at the batch of the next step"):
        trainer(toy_block, tmp_path, 'distilling')
