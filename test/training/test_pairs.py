"""Every sharing method with every weighting: trains, resumes bit by bit, deploys."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from mtl_perception.checkpoint import load_network, save_checkpoint
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.config import PreprocessingConfig
from mtl_perception.network.sharing import SHARING
from mtl_training.config import OptimiserConfig
from mtl_training.data.sample import ClipBatch
from mtl_training.inputs import TaskInputs
from mtl_training.optimisation import build_optimiser, set_train_mode
from mtl_training.regimes import build_regime
from mtl_training.run_state import (
    load_module,
    load_optimiser_tensors,
    load_state,
    optimiser_tensors,
    RunState,
    save_state,
)
from mtl_training.step import StepResult, TrainingStep
from mtl_training.weighting import build_weighting, WEIGHTINGS
import pytest
import torch
from torch.amp import GradScaler

TASKS = ('action', 'gesture', 'third')
NUM_SAMPLES = 6
# What has no default that fits.
WEIGHTING_SETTINGS = {'fixed': {'weights': dict.fromkeys(TASKS, 1.0)}}
PAIRS = list(product(sorted(SHARING), sorted(WEIGHTINGS)))


class Run:
    """What a trainer holds, without its files and pictures."""

    def __init__(
        self, sharing: str, weighting: str, *, seed: int = 0, scaler: GradScaler | None = None
    ) -> None:
        torch.manual_seed(seed)
        scaled = [MixedPrecision('16-mixed', 'cpu', scaler=scaler)] if scaler else None
        fabric = Fabric(accelerator='cpu', devices=1, plugins=scaled)
        trunk = TrunkConfig(
            width=2,
            sharing=sharing,
            num_frames=4,
            preprocessing=PreprocessingConfig(resize=(16, 16)),
        )
        tasks = {task: TaskConfig(labels=('a', 'b', 'c')) for task in TASKS}
        self.network = MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks=tasks))
        settings = WEIGHTING_SETTINGS.get(weighting, {})
        self.weighting = build_weighting(weighting, TASKS, **settings)
        self.weighting.prepare(dict.fromkeys(TASKS, NUM_SAMPLES))
        sharing_method = self.network.sharing('clip')
        self.optimiser = build_optimiser(
            OptimiserConfig(lr=1e-3),
            self.network,
            self.weighting.parameters(),
            sharing_method.rate_multipliers(),
        )
        self.step = TrainingStep(
            fabric,
            self.network,
            fabric.setup_optimizers(self.optimiser),
            inputs=TaskInputs(self.network.config),
            regime=build_regime('joint', TASKS),
            weighting=self.weighting,
            clip_norm=5.0,
            merge=not self.weighting.separate_graphs,
            iterations=10,
        )

    def train(self, iteration: int) -> StepResult:
        set_train_mode(self.network, freeze_batch_norm=False)
        return self.step(iteration, batches(iteration), batches(iteration + 1))

    def save(self, path: Path) -> None:
        modules = {'network': self.network, 'weighting': self.weighting}
        states = {name: module.state_dict() for name, module in modules.items()}
        save_state(path, RunState(0, {}, states, optimiser_tensors(self.optimiser)))

    def restore(self, path: Path) -> None:
        state = load_state(path)
        load_module(self.network, state.modules['network'], 'network')
        load_module(self.weighting, state.modules.get('weighting', {}), 'weighting')
        load_optimiser_tensors(self.optimiser, state.optimiser)

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.network.state_dict().items()
        yield from self.weighting.state_dict().items()


def batches(iteration: int) -> dict[str, ClipBatch]:
    generator = torch.Generator().manual_seed(iteration)

    def batch(size: int) -> ClipBatch:
        frames = torch.randint(0, 255, (size, 4, 16, 16, 3), generator=generator).to(torch.uint8)
        labels = torch.randint(0, 3, (size,), generator=generator)
        return ClipBatch(frames, labels, torch.randperm(NUM_SAMPLES, generator=generator)[:size])

    return {task: batch(size) for task, size in zip(TASKS, (2, 3, 2))}


@pytest.mark.parametrize(('sharing', 'weighting'), PAIRS)
def test_it_trains_resumes_and_deploys(sharing: str, weighting: str, tmp_path: Path) -> None:
    run = Run(sharing, weighting)
    start = {name: value.clone() for name, value in run.network.named_parameters()}
    for iteration in range(2):
        result = run.train(iteration)
        assert not result.skipped
        assert set(result.loss) == set(TASKS)
    moved = [n for n, p in run.network.named_parameters() if not torch.equal(p, start[n])]
    assert any(name.startswith('heads') for name in moved)
    assert any(name.startswith('trunks') for name in moved)
    assert set(run.weighting.weights()) == set(TASKS)

    run.save(tmp_path / 'state.safetensors')
    run.train(2)
    resumed = Run(sharing, weighting, seed=1)
    resumed.restore(tmp_path / 'state.safetensors')
    resumed.train(2)
    for (name, expected), (_, got) in zip(run.tensors(), resumed.tensors(), strict=True):
        assert torch.equal(expected, got), name

    network = run.network.eval()
    clips = torch.randn(2, 3, 4, 16, 16)
    save_checkpoint(tmp_path / 'run.safetensors', network, metrics={}, training={})
    loaded, _ = load_network(tmp_path / 'run.safetensors')
    with torch.no_grad():
        expected = network({'clip': clips})
        for task, logits in loaded.deploy()({'clip': clips}).items():
            torch.testing.assert_close(logits, expected[task], rtol=1e-4, atol=1e-5)
            own = network.forward_tasks({task: clips})[task]
            torch.testing.assert_close(own, expected[task], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('weighting', sorted(WEIGHTINGS))
def test_a_step_whose_gradients_overflow_changes_nothing(weighting: str) -> None:
    run = Run('learned_weight_sharing', weighting)
    run.train(0)
    before = {name: value.clone() for name, value in run.tensors()}
    moments = {key: value.clone() for key, value in optimiser_tensors(run.optimiser).items()}
    # In a head alone: the gradients of what tasks share stay finite.
    hook = run.network.heads['action'].weight.register_hook(lambda gradient: gradient / 0)
    assert run.train(1).skipped
    hook.remove()
    for name, value in run.tensors():
        assert torch.equal(value, before[name]), name
    for key, value in optimiser_tensors(run.optimiser).items():
        assert torch.equal(value, moments[key]), key
    assert not run.train(2).skipped


@pytest.mark.parametrize('weighting', sorted(WEIGHTINGS))
def test_the_loss_scaler_of_every_process_sees_an_overflow(
    weighting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    averaged = []
    monkeypatch.setattr('mtl_training.step.average_gradients', lambda p: averaged.append(list(p)))
    scaler = GradScaler('cpu', init_scale=1024.0)
    run = Run('hard', weighting, scaler=scaler)
    assert not run.train(0).skipped
    hook = run.network.heads['action'].weight.register_hook(lambda gradient: gradient / 0)
    assert run.train(1).skipped
    hook.remove()
    # Averaged before the scaler looked: in a process without the overflow, it would have stepped.
    assert len(averaged) == 2
    assert scaler.get_scale() == 512
    assert not run.train(2).skipped


@pytest.mark.parametrize('sharing', ['hard', 'learned_weight_sharing', 'learning_to_branch'])
def test_losses_after_a_step_are_those_of_the_structure_that_it_drew(sharing: str) -> None:
    run = Run(sharing, 'famo')
    for group in run.optimiser.param_groups:
        group['lr'] = 0.0
    seen = {}
    run.weighting.after_step = seen.update
    state = torch.get_rng_state()
    result = run.train(0)
    assert {task: float(value) for task, value in seen.items()} == pytest.approx(
        result.loss, rel=1e-5
    )
    # The draws of later steps do not depend on the weighting.
    after_famo = torch.get_rng_state()
    other = Run(sharing, 'average')
    torch.set_rng_state(state)
    other.train(0)
    assert torch.equal(torch.get_rng_state(), after_famo)
