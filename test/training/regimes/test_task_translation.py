"""Task translation: single tasks first, then what translates between them."""

from pathlib import Path
from typing import Any

from mtl_training.config import build_config
from mtl_training.regimes import build_regime
from mtl_training.trainer import Trainer
import pytest
from rich.console import Console
from safetensors.torch import load_file
import torch

QUIET = Console(quiet=True)
Tensors = dict[str, torch.Tensor]


def trainer(block: dict[str, Any], out: Path, *, stop: int = 10**6) -> Trainer:
    block['network']['trunks']['memory']['sharing'] = 'task_translation'
    regime = {'name': 'task_translation', 'settings': {'own_iterations': 3}}
    run = Trainer(build_config(block | {'regime': regime}), out, QUIET)
    run._should_stop = lambda: run._iteration >= stop  # type: ignore[method-assign]
    return run


def is_same(one: Tensors, other: Tensors, prefix: str) -> bool:
    names = [name for name in one if name.startswith(prefix)]
    assert names
    return all(torch.equal(one[name], other[name]) for name in names)


def test_the_translator_is_trained_on_frozen_graphs(windows_block, tmp_path) -> None:
    first = trainer(windows_block, tmp_path, stop=3)
    first.run()
    method: Any = first._network.trunks['memory']
    assert not method.translates
    before = {name: value.clone() for name, value in first._network.state_dict().items()}
    last = trainer(windows_block, tmp_path)
    assert last.run(resume=True)['finished']
    end = last._network.state_dict()
    method = last._network.trunks['memory']
    assert method.translates
    assert is_same(before, end, 'trunks.memory.task_trunks.')
    assert not any(part.training for _, part in method.copies())
    assert method.encoder.training
    for trained in ('trunks.memory.encoder.', 'trunks.memory.decoder.', 'heads.ar.'):
        assert not is_same(before, end, trained)
    whole = tmp_path / 'whole'
    trainer(windows_block, whole).run()
    for name in ('state.safetensors', 'last.safetensors'):
        expected, found = load_file(whole / name), load_file(tmp_path / name)
        assert expected.keys() == found.keys()
        assert is_same(expected, found, '')


def test_the_regime_needs_the_sharing_of_its_name(windows_block, tmp_path) -> None:
    regime = {'name': 'task_translation', 'settings': {'own_iterations': 3}}
    config = build_config(windows_block | {'regime': regime})
    with pytest.raises(ValueError, match="needs sharing 'task_translation' of every trunk"):
        Trainer(config, tmp_path, QUIET)


def test_stages_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match='own_iterations must be at least 0, got -1'):
        build_regime('task_translation', ['ar'], own_iterations=-1)
    with pytest.raises(ValueError, match='translation_lr must be positive, got 0'):
        build_regime('task_translation', ['ar'], own_iterations=1, translation_lr=0.0)
    regime = build_regime('task_translation', ['ar'], own_iterations=4)
    with pytest.raises(ValueError, match='must leave some for the translator, got 4 of 4'):
        regime.stages(4)
