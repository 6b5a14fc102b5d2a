"""The training loop: it learns, it survives being killed, and it says when it cannot go on."""

import json
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import time

from mtl_perception.checkpoint import load_checkpoint, load_network
from mtl_training.config import build_config
from mtl_training.data.clip_sets import DATASETS
from mtl_training.data.loading import build_datasets
from mtl_training.data.sample import ClipBatch
from mtl_training.evaluation import evaluate
from mtl_training.run_folder import RunFolder
from mtl_training.step import DivergedError
from mtl_training.trainer import Trainer
import pytest
from rich.console import Console
from safetensors.torch import load_file
import torch

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).with_name('toy_run.py')
QUIET = Console(quiet=True)


def train(block, out, *, resume=False, **entries) -> dict:
    config = build_config(block, [(k.replace('__', '.'), v) for k, v in entries.items()])
    return Trainer(config, out, QUIET).run(resume=resume)


def train_losses(folder: Path, task: str) -> list[float]:
    records = RunFolder(folder).records()
    return [record['loss'][task] for record in records if record['kind'] == 'train']


@pytest.mark.parametrize('sharing', ['hard', 'single_task'])
def test_every_sharing_learns_and_the_run_folder_tells_it_all(toy_block, tmp_path, sharing):
    toy_block['network']['trunks']['clip']['sharing'] = sharing
    summary = train(toy_block, tmp_path, iterations=60, optimiser__lr=0.01)
    for task in ('action', 'gesture'):
        losses = train_losses(tmp_path, task)
        assert len(losses) == 60
        assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert summary['finished']
    assert summary == json.loads((tmp_path / 'summary.json').read_text())
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {
        'best.safetensors', 'last.safetensors', 'state.safetensors', 'config.yaml',
        'metrics.jsonl', 'tensorboard', 'confusion.png', 'learning_curves.png',
    }  # fmt: skip
    assert any((tmp_path / 'tensorboard').iterdir())


def test_the_best_checkpoint_is_the_one_that_validation_chose(toy_block, tmp_path) -> None:
    config = build_config(toy_block, [('iterations', 20), ('evaluation.every', 5)])
    summary = Trainer(config, tmp_path, QUIET).run()
    validations = [r for r in RunFolder(tmp_path).records() if r['kind'] == 'val']
    assert [record['iteration'] for record in validations] == [5, 10, 15, 20]
    best = max(record['cumulative_accuracy'] for record in validations)
    assert summary['best_cumulative_accuracy'] == best
    network, checkpoint = load_network(tmp_path / 'best.safetensors')
    again = evaluate(network.deploy(), build_datasets(config, 'val'))
    assert again.cumulative_accuracy == pytest.approx(best)
    assert checkpoint.training['iteration'] == summary['best_iteration']
    num_clips = 4 * summary['best_iteration']
    assert checkpoint.training['samples'] == {'action': num_clips, 'gesture': num_clips}
    assert build_config(checkpoint.training['config']) == config
    confusion = summary['test'].pop('confusion')
    assert checkpoint.metrics['test'] == summary['test']
    for task, accuracy in summary['test']['accuracy'].items():
        counts = torch.tensor(confusion[task]['counts'])
        assert float(counts.diagonal().sum() / counts.sum()) == pytest.approx(accuracy)


def test_a_run_that_is_there_is_not_overwritten(toy_block, tmp_path) -> None:
    train(toy_block, tmp_path, iterations=6)
    with pytest.raises(ValueError, match=r'already holds a run: --resume'):
        train(toy_block, tmp_path, iterations=6)
    with pytest.raises(ValueError, match=r'with another config, it differs in: optimiser.lr'):
        train(toy_block, tmp_path, resume=True, iterations=6, optimiser__lr=0.5)
    again = train(toy_block, tmp_path, resume=True, iterations=6)
    assert again['iteration'] == 6


@pytest.mark.parametrize('resume', [True, False])
def test_a_run_killed_before_its_first_resume_point_writes_its_metrics_once(
    toy_block, tmp_path, resume
) -> None:
    RunFolder(tmp_path).log({'kind': 'train', 'iteration': 1, 'loss': {'action': 9.0}})
    train(toy_block, tmp_path, resume=resume, iterations=6)
    records = RunFolder(tmp_path).records()
    assert [r['iteration'] for r in records if r['kind'] == 'train'] == [1, 2, 3, 4, 5, 6]


def test_labels_that_differ_from_the_data_set_are_refused(toy_block, tmp_path) -> None:
    toy_block['network']['tasks']['action'] = {'labels': ['up', 'down']}
    with pytest.raises(ValueError, match=r"labels of task 'action' differ"):
        train(toy_block, tmp_path)


def test_a_wrong_test_split_is_refused_before_training(toy_block, tmp_path) -> None:
    toy_block['data']['action']['test'] = {'num_clps': 3}
    with pytest.raises(ValueError, match=r"no setting 'num_clps'"):
        Trainer(build_config(toy_block), tmp_path, QUIET)
    Trainer(build_config(toy_block, [('evaluation.test', False)]), tmp_path, QUIET)


@pytest.mark.parametrize('split', ['val', 'test'])
def test_a_split_with_other_labels_is_refused(
    toy_block, tmp_path, toy_module, monkeypatch, split
) -> None:
    class Relabelled(toy_module.ToyClips):
        def __init__(self, task: str, split_: str, **settings) -> None:
            super().__init__(task, split_, **settings)
            if split_ == split:
                self.labels = ('right', 'left', 'still')

    monkeypatch.setitem(DATASETS, 'toy', Relabelled)
    with pytest.raises(ValueError, match=r"labels of task 'action' differ"):
        Trainer(build_config(toy_block), tmp_path, QUIET)


def test_a_run_is_not_resumed_with_other_labels(
    toy_block, tmp_path, toy_module, monkeypatch
) -> None:
    train(toy_block, tmp_path, iterations=6)
    monkeypatch.setattr(toy_module, 'LABELS', ('right', 'left', 'still'))
    with pytest.raises(ValueError, match=r"other labels: .*'left', 'right'.* against .*'right', "):
        train(toy_block, tmp_path, resume=True, iterations=6)


def test_a_resumed_run_keeps_the_scale_of_its_losses(toy_block, tmp_path) -> None:
    def scaled_trainer(scale: float) -> Trainer:
        trainer = Trainer(build_config(toy_block, [('iterations', 6)]), tmp_path, QUIET)
        precision = trainer._fabric.strategy.precision
        precision.state_dict = lambda: {'scale': scale}
        precision.load_state_dict = loaded.append
        return trainer

    loaded: list[dict[str, float]] = []
    scaled_trainer(512.0).run()
    scaled_trainer(65536.0).run(resume=True)
    assert loaded == [{'scale': 512.0}]


def test_the_moving_average_is_what_is_validated_and_kept(toy_block, tmp_path) -> None:
    train(toy_block, tmp_path, ema_decay=0.9)
    state = load_file(tmp_path / 'state.safetensors')
    kept = load_checkpoint(tmp_path / 'last.safetensors').state_dict
    name = 'trunks.clip.trunk.stem.0.weight'
    assert torch.equal(kept[name], state[f'module/averaged/module.{name}'])
    assert not torch.equal(kept[name], state[f'module/network/{name}'])


def test_low_precision_and_other_layouts_train(toy_block, tmp_path) -> None:
    train(toy_block, tmp_path, precision='bf16-mixed', channels_last=True, iterations=6)
    assert all(loss < 10 for loss in train_losses(tmp_path, 'action'))


@pytest.mark.parametrize(
    ('precision', 'dtype'),
    [
        ('32-true', torch.float32),
        ('bf16-mixed', torch.bfloat16),
        ('bf16-true', torch.bfloat16),
        ('64-true', torch.float64),
    ],
)
def test_training_and_validation_compute_in_the_precision(
    toy_block, tmp_path, precision, dtype
) -> None:
    config = build_config(toy_block, [('precision', precision), ('iterations', 2)])
    trainer = Trainer(config, tmp_path, QUIET)
    computed = set()
    stem = next(m for m in trainer._network.modules() if isinstance(m, torch.nn.Conv3d))
    stem.register_forward_hook(lambda m, _, out: computed.add((m.training, out.dtype)))
    assert trainer.run()['finished']
    # The final evaluation runs another network: the one that was stored.
    assert computed == {(True, dtype), (False, dtype)}


def test_half_precision_halves_the_checkpoint_and_keeps_what_it_says(toy_block, tmp_path) -> None:
    train(toy_block, tmp_path / 'full', iterations=6)
    train(toy_block, tmp_path / 'half', iterations=6, checkpoint_dtype='float16')
    full, half = (load_file(tmp_path / d / 'last.safetensors') for d in ('full', 'half'))
    for name, value in full.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.half(), half[name])


def test_initial_weights_load_and_only_the_named_stages_train(toy_block, tmp_path) -> None:
    config = build_config(toy_block)
    donor = Trainer(config, tmp_path / 'donor', QUIET)
    prefix = 'trunks.clip.trunk.'
    weights = {
        key.removeprefix(prefix): value
        for key, value in donor._network.state_dict().items()
        if key.startswith(prefix)
    }
    torch.save(weights, tmp_path / 'weights.pt')
    train(
        toy_block,
        tmp_path / 'run',
        seed=8,
        init_weights=str(tmp_path / 'weights.pt'),
        trainable_stages=['layer4'],
    )
    trained = load_checkpoint(tmp_path / 'run' / 'last.safetensors').state_dict
    for key, value in weights.items():
        if not key.endswith('num_batches_tracked'):
            assert torch.equal(trained[prefix + key], value) == ('layer4' not in key), key


@pytest.mark.parametrize(
    ('entry', 'value'), [('trainable_stages', ['layer4']), ('freeze_batch_norm', True)]
)
def test_random_weights_are_not_frozen(toy_block, tmp_path, entry, value) -> None:
    with pytest.raises(
        ValueError, match=rf'{entry} keeps .* without init_weights they are random'
    ):
        train(toy_block, tmp_path, **{entry: value})


def test_16_mixed_is_refused_on_a_cpu(toy_block, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"'16-mixed' needs a GPU; a CPU can take 'bf16-mixed'"):
        train(toy_block, tmp_path, precision='16-mixed')


def test_pickled_code_in_initial_weights_is_never_run(toy_block, tmp_path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'evil'),)

    torch.save({'w': Evil()}, tmp_path / 'weights.pt')
    with pytest.raises(ValueError, match=r'weights.pt.: not a file of plain tensors'):
        train(toy_block, tmp_path / 'run', init_weights=str(tmp_path / 'weights.pt'))
    assert not (tmp_path / 'evil').exists()


def poisoned_trainer(toy_block, tmp_path, poison) -> Trainer:
    trainer = Trainer(build_config(toy_block, [('evaluation.test', False)]), tmp_path, QUIET)
    losses = trainer._regime.losses
    calls = iter(range(1000))

    def poisoned(forward, batches: dict[str, ClipBatch]):
        result, logits = losses(forward, batches)
        if poison(next(calls)):
            result['action'].values.data[0] = float('nan')
        return result, logits

    trainer._regime.losses = poisoned
    return trainer


def test_a_loss_that_is_not_finite_skips_its_step_and_is_counted(toy_block, tmp_path) -> None:
    trainer = poisoned_trainer(toy_block, tmp_path, lambda call: call in (3, 4))
    summary = trainer.run()
    assert summary['skipped_steps'] == 2
    assert all(torch.isfinite(p).all() for p in trainer._network.parameters())


def test_a_skipped_step_changes_no_parameter(toy_block, tmp_path) -> None:
    trainer = poisoned_trainer(toy_block, tmp_path, lambda call: True)
    before = [p.clone() for p in trainer._network.parameters()]
    trainer.run()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer._network.parameters()))


def test_a_skipped_step_changes_no_statistic_and_no_moving_average(toy_block, tmp_path) -> None:
    config = build_config(toy_block, [('ema_decay', 0.9), ('evaluation.test', False)])
    trainer = Trainer(config, tmp_path, QUIET)
    trainer._inputs.register_forward_hook(
        lambda module, batches, clips: {task: c * float('nan') for task, c in clips.items()}
    )
    modules = trainer._network, trainer._averaged
    before = [{k: v.clone() for k, v in m.state_dict().items()} for m in modules]
    assert trainer.run()['skipped_steps'] == config.iterations
    for module, expected in zip(modules, before):
        assert all(torch.equal(v, expected[k]) for k, v in module.state_dict().items())


def test_training_that_diverged_stops_with_advice(toy_block, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr('mtl_training.step.TrainingStep.patience', 5)
    with pytest.raises(DivergedError, match=r'the last 5 steps .* a lower optimiser.lr'):
        poisoned_trainer(toy_block, tmp_path, lambda call: True).run()


# -- Killed and resumed, in real processes ---------------------------------------------------


def start(*arguments: str) -> 'subprocess.Popen[str]':
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(TOY), 'train', *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_iteration(process, folder: Path, iteration: int) -> None:
    metrics = folder / 'metrics.jsonl'
    for _ in range(30000):
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        if any(f'"iteration": {iteration},' in line for line in lines):
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    raise AssertionError(f'iteration {iteration} was never reached')


def untimed(records: list[dict]) -> list[dict]:
    return [{k: v for k, v in record.items() if k != 'step_ms'} for record in records]


@pytest.mark.parametrize(
    ('sharing', 'weighting'),
    # The last two look at the next batch as well.
    [('hard', 'average'), ('learned_weight_sharing', 'dwa'), ('hard', 'auto_lambda')],
)
def test_a_run_that_is_stopped_and_killed_ends_as_if_it_had_not_been(
    sharing, weighting, toy_config, tmp_path
) -> None:
    slow = [
        '--network.trunks.clip.sharing', sharing, '--weighting.name', weighting,
        '--config', str(toy_config), '--iterations', '24', '--evaluation.every', '4',
        '--save_every', '3', '--workers', '1', '--data.action.settings.slow_sec', '0.03',
    ]  # fmt: skip
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    undisturbed = start(*slow, '--out', str(whole))

    for iteration, number in ((2, signal.SIGINT), (5, signal.SIGTERM)):
        process = start(*slow, '--out', str(broken), '--resume')
        wait_for_iteration(process, broken, iteration)
        os.killpg(process.pid, number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130, told
        assert f'train --resume --out {broken}' in told
    for iteration in (8, 11):
        process = start(*slow, '--out', str(broken), '--resume')
        wait_for_iteration(process, broken, iteration)
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    process = start('--out', str(broken), '--resume', '--json')
    figures, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    undisturbed.communicate(timeout=60)

    for name in ('state.safetensors', 'last.safetensors', 'best.safetensors'):
        expected, got = load_file(whole / name), load_file(broken / name)
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected), name
    assert untimed(RunFolder(whole).records()) == untimed(RunFolder(broken).records())
    reported, planned = json.loads(figures), json.loads((whole / 'summary.json').read_text())
    assert reported['test'] == planned['test']
    assert reported['samples'] == planned['samples'] == {'action': 96, 'gesture': 96}
