"""Resume points: whole, exact, and never pickled."""

import random

from mtl_perception.checkpoint import write_atomically
from mtl_training.run_state import (
    load_module,
    load_optimiser_tensors,
    load_state,
    optimiser_tensors,
    RunState,
    save_state,
)
import numpy as np
import pytest
import torch
from torch import nn


def trained(steps: int = 3):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4)).to(
        memory_format=torch.channels_last_3d
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(steps):
        step(model, optimiser)
    return model, optimiser


def step(model, optimiser) -> None:
    optimiser.zero_grad()
    model(torch.rand(2, 3, 4, 5, 5)).square().mean().backward()
    optimiser.step()


def test_a_resumed_optimiser_and_generators_go_on_exactly(tmp_path) -> None:
    model, optimiser = trained()
    path = tmp_path / 'state.safetensors'
    state = RunState(3, {'best': 0.5}, {'network': model.state_dict()})
    state.optimiser = optimiser_tensors(optimiser)
    save_state(path, state)
    expected_numbers = random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    torch.manual_seed(7)
    step(model, optimiser)

    other, other_optimiser = trained(steps=1)
    random.seed(99)
    loaded = load_state(path)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected_numbers  # noqa: NPY002
    assert (loaded.iteration, loaded.facts) == (3, {'best': 0.5})
    load_module(other, loaded.modules['network'], 'network')
    load_optimiser_tensors(other_optimiser, loaded.optimiser)
    torch.manual_seed(7)
    step(other, other_optimiser)
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch) -> None:
    path = tmp_path / 'file'
    write_atomically(path, b'old')

    def fail(*_: object) -> None:
        raise OSError('disk full')

    monkeypatch.setattr('pathlib.Path.replace', fail)
    with pytest.raises(OSError, match=r'disk full'):
        write_atomically(path, b'new')
    assert path.read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir()] == ['file']


def test_a_written_file_has_the_rights_of_any_other(tmp_path) -> None:
    write_atomically(tmp_path / 'ours', b'')
    (tmp_path / 'plain').write_bytes(b'')
    assert (tmp_path / 'ours').stat().st_mode == (tmp_path / 'plain').stat().st_mode


@pytest.mark.parametrize('content', [b'', b'\x80\x04K\x01.', b'\x08' + b'\0' * 20])
def test_a_damaged_resume_point_is_refused(tmp_path, content) -> None:
    path = tmp_path / 'state.safetensors'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot resume from '.*state.safetensors'"):
        load_state(path)


def test_a_truncated_resume_point_is_refused(tmp_path) -> None:
    path = tmp_path / 'state.safetensors'
    save_state(path, RunState(modules={'network': {'w': torch.zeros(100)}}))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r'Cannot resume from'):
        load_state(path)


def test_a_resume_point_of_another_version_is_refused(tmp_path, monkeypatch) -> None:
    path = tmp_path / 'state.safetensors'
    save_state(path, RunState())
    monkeypatch.setattr('mtl_training.run_state.STATE_VERSION', 3)
    with pytest.raises(ValueError, match=r'its version is 2, this program reads version 3'):
        load_state(path)


def test_a_resume_point_of_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r'does not fit the network: .*size mismatch'):
        load_module(
            nn.Linear(2, 2), {'weight': torch.ones(3, 2), 'bias': torch.ones(2)}, 'network'
        )
