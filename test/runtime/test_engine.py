"""The engine against the network as it is trained."""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any

from mtl_perception.checkpoint import CheckpointError, load_network
from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.heads import RelevanceHead
from mtl_perception.network.pose.activity import ActivityClassifier
from mtl_perception.network.pose.association import PoseResidualNetwork
from mtl_perception.runtime.engine import Engine, find_device
import numpy as np
from people_network import people_config, write_people_checkpoint
import pytest
import torch


def random_clip(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 3, 4, 32, 32, generator=generator).to(dtype)


@pytest.mark.parametrize(
    ('precision', 'tolerance'), [('float32', 1e-5), ('bfloat16', 3e-2)], ids=str
)
def test_probabilities_are_those_of_the_network(
    checkpoint: Path, precision: str, tolerance: float
) -> None:
    engine = Engine(checkpoint, device='cpu', precision=precision)
    network, _ = load_network(checkpoint)
    found = engine.infer({'clip': random_clip(engine.dtype)}).scores
    with torch.inference_mode():
        expected = network({'clip': random_clip()})
    assert found.keys() == expected.keys() == {'action', 'gesture'}
    for task, values in found.items():
        labels = expected[task].softmax(-1)[0].numpy()
        np.testing.assert_allclose(values, [*labels, 0], atol=tolerance)
        assert values.sum() == pytest.approx(1, abs=1e-5)


def test_auto_takes_a_precision_that_it_has_timed(checkpoint: Path) -> None:
    engine = Engine(checkpoint, device='cpu')
    assert engine.forward_sec.keys() == {'float32', 'bfloat16'}
    speedup = engine.forward_sec['float32'] / engine.forward_sec['bfloat16']
    assert engine.precision == ('bfloat16' if speedup >= 1.25 else 'float32')
    assert all(parameter.dtype == engine.dtype for parameter in engine._network.parameters())


@pytest.mark.parametrize('factor', [1.0, 1.5, float('nan')])
def test_auto_does_not_take_a_precision_that_computes_something_else(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    pool = ResNet3d.pool

    def wrong_in_half(x: torch.Tensor) -> torch.Tensor:
        return pool(x) * (factor if x.dtype == torch.bfloat16 else 1.0)

    def half_is_fast(_: Engine, clips: dict[str, torch.Tensor], __: object) -> float:
        return 0.001 if clips['clip'].dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(ResNet3d, 'pool', staticmethod(wrong_in_half))
    monkeypatch.setattr(Engine, '_time_forward', half_is_fast)
    engine = Engine(checkpoint, device='cpu')
    assert engine.precision == ('bfloat16' if factor == 1.0 else 'float32')


@pytest.mark.parametrize('shift', [0.0, 1.0, float('nan')])
def test_auto_does_not_take_a_precision_with_another_relevance(
    doubting_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    forward = RelevanceHead.forward

    def wrong_in_half(self: RelevanceHead, features: torch.Tensor) -> torch.Tensor:
        right = forward(self, features)
        return right + shift if features.dtype == torch.bfloat16 else right

    def half_is_fast(_: Engine, clips: dict[str, torch.Tensor], __: object) -> float:
        return 0.001 if clips['clip'].dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(RelevanceHead, 'forward', wrong_in_half)
    monkeypatch.setattr(Engine, '_time_forward', half_is_fast)
    engine = Engine(doubting_checkpoint, device='cpu')
    assert engine.precision == ('bfloat16' if shift == 0 else 'float32')


@pytest.fixture(scope='module')
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a checkpoint with all frame tasks and one of clips."""
    path = tmp_path_factory.mktemp('people') / 'people.safetensors'
    return write_people_checkpoint(path, people_config(history=2, clips=True))


@pytest.mark.parametrize('head', [PoseResidualNetwork, ActivityClassifier])
@pytest.mark.parametrize('factor', [1.0, 1.5, float('nan')])
def test_auto_does_not_take_a_precision_that_says_something_else_of_a_person(
    people: Path, monkeypatch: pytest.MonkeyPatch, head: type[torch.nn.Module], factor: float
) -> None:
    forward = head.forward

    def wrong_in_half(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = forward(self, x)
        return said * (factor if x.dtype == torch.bfloat16 else 1.0)

    def half_is_fast(_: Engine, inputs: dict[str, torch.Tensor], __: object) -> float:
        return 0.001 if inputs['frames'].dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(head, 'forward', wrong_in_half)
    monkeypatch.setattr(Engine, '_time_forward', half_is_fast)
    engine = Engine(people, device='cpu')
    assert engine.precision == ('bfloat16' if factor == 1.0 else 'float32')


@pytest.mark.parametrize('head', [PoseResidualNetwork, ActivityClassifier])
def test_the_time_that_a_person_takes_is_measured(
    people: Path, monkeypatch: pytest.MonkeyPatch, head: type[torch.nn.Module]
) -> None:
    forward = head.forward

    def slow_for_somebody(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05 * bool(len(x)))
        said: torch.Tensor = forward(self, x)
        return said

    # Nobody is found in the noise.
    nobody = [torch.zeros(size) for size in (4, 1, 51, 1, 1)]
    monkeypatch.setattr(Engine, '_people', lambda *_: nobody)
    monkeypatch.setattr(head, 'forward', slow_for_somebody)
    engine = Engine(people, device='cpu', precision='float32')
    assert engine.forward_sec['float32'] >= 0.05


def test_a_person_whose_joints_are_no_numbers_is_not_finite(people: Path) -> None:
    engine = Engine(people, device='cpu', precision='float32')
    frames = torch.randn(1, 3, 64, 96)
    found = engine.infer({'frames': frames}).people
    assert found is not None
    assert found.is_finite
    network: Any = engine._network.heads['association']
    network.layers[-2].bias[0] = torch.nan
    broken = engine.infer({'frames': frames}).people
    assert broken is not None
    assert len(broken.boxes) == len(found.boxes)
    assert not broken.is_finite


def test_unloading_and_loading_changes_nothing(checkpoint: Path) -> None:
    engine = Engine(checkpoint, device='cpu', precision='float32')
    before = engine.infer({'clip': random_clip()}).scores
    engine.unload()
    engine.load()
    after = engine.infer({'clip': random_clip()}).scores
    np.testing.assert_array_equal(before['action'], after['action'])
    assert engine.memory_bytes() is None


@pytest.mark.parametrize('name', ['tpu', 'cuda:x', 'cpu:-1', ''])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"device must be 'auto', 'cpu', 'cuda' or 'cuda:N'"):
        find_device(name)


def test_a_gpu_that_is_not_there_is_never_replaced(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"'cuda:99' is not there: this machine has \d+ usable"):
        Engine(checkpoint, device='cuda:99')


def test_an_unknown_precision_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"precision must be one of .*, got 'int4'"):
        Engine(checkpoint, precision='int4')


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'garbage.safetensors'
    path.write_bytes(b'garbage' * 100)
    with pytest.raises(CheckpointError, match=r'garbage\.safetensors'):
        Engine(path, device='cpu')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='this machine has no GPU')
@pytest.mark.parametrize('precision', ['float32', 'float16', 'auto'])
def test_a_gpu_gives_the_same_and_gets_its_memory_back(checkpoint: Path, precision: str) -> None:
    engine = Engine(checkpoint, device='cuda', precision=precision)
    expected = Engine(checkpoint, device='cpu', precision='float32')
    found = engine.infer({'clip': random_clip(engine.dtype).cuda()}).scores
    for task, values in expected.infer({'clip': random_clip()}).scores.items():
        np.testing.assert_allclose(found[task], values, atol=1e-2)
    before = torch.cuda.memory_allocated()
    engine.unload()
    assert torch.cuda.memory_allocated() < before


@pytest.mark.skipif(not torch.cuda.is_available(), reason='this machine has no GPU')
@pytest.mark.parametrize('precision', ['float32', 'auto'])
def test_a_gpu_finds_the_same_people_and_gets_its_memory_back(
    people: Path, precision: str
) -> None:
    before = torch.cuda.memory_allocated()
    engine = Engine(people, device='cuda', precision=precision)
    expected = Engine(people, device='cpu', precision='float32')
    frames = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    inputs = {'frames': frames, 'clip': random_clip()}
    given = {name: x.to('cuda', engine.dtype) for name, x in inputs.items()}
    found, reference = engine.infer(given), expected.infer(inputs)
    np.testing.assert_allclose(found.scores['action'], reference.scores['action'], atol=1e-2)
    assert found.people is not None
    assert reference.people is not None
    assert found.people.is_finite
    if engine.precision == 'float32':
        for part, value in zip(vars(found.people).values(), vars(reference.people).values()):
            np.testing.assert_allclose(part, value, atol=2e-2)
        poses, boxes = reference.people.keypoints[:, None], reference.people.boxes
        said, wanted = (
            one.activities(np.repeat(poses, 2, 1), boxes, (64, 96)) for one in (engine, expected)
        )
        np.testing.assert_allclose(said, wanted, atol=1e-2)
    del given
    engine.unload()
    assert torch.cuda.memory_allocated() == before
