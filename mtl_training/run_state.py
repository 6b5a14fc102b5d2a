"""
The resume point of a run: one safetensors file, written atomically, never unpickled.

Tensors are stored under flat names; everything else is JSON in the file's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
from pathlib import Path
import random
from typing import Any

from mtl_perception.checkpoint import write_atomically
import numpy as np
from safetensors import safe_open, SafetensorError
from safetensors.torch import save
import torch
from torch import nn, Tensor
from torch.optim import Optimizer

STATE_VERSION = 2


@dataclass(slots=True)
class RunState:
    """Everything that a run needs to go on as if nothing had happened."""

    iteration: int = 0
    facts: dict[str, Any] = field(default_factory=dict)  # JSON values
    modules: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    optimiser: dict[str, Tensor] = field(default_factory=dict)


def save_state(path: Path, state: RunState) -> None:
    """Write a resume point."""
    tensors: dict[str, Tensor] = {'rng/torch': torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors['rng/cuda'] = torch.cuda.get_rng_state()
    for name, values in state.modules.items():
        tensors |= {f'module/{name}/{key}': value for key, value in values.items()}
    tensors |= {f'optimiser/{key}': value for key, value in state.optimiser.items()}
    metadata = {
        'version': STATE_VERSION,
        'iteration': state.iteration,
        'facts': state.facts,
        'rng_python': random.getstate(),
        'rng_numpy': _numpy_rng(),
    }
    # A copy of each: safetensors refuses tensors that share memory or are not contiguous.
    plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    write_atomically(path, save(plain, {'state': json.dumps(metadata, allow_nan=False)}))


def load_state(path: Path) -> RunState:
    """
    Read a resume point and put the random generators into its state.

    :raises ValueError: If the file is damaged or of another version.
    """
    try:
        with safe_open(path, framework='pt') as file:
            metadata = json.loads((file.metadata() or {})['state'])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"Cannot resume from '{path}': {error}.") from error
    if metadata['version'] != STATE_VERSION:
        raise ValueError(
            f"Cannot resume from '{path}': its version is {metadata['version']}, "
            f'this program reads version {STATE_VERSION}.'
        )
    state = RunState(iteration=metadata['iteration'], facts=metadata['facts'])
    for key, value in tensors.items():
        kind, _, rest = key.partition('/')
        if kind == 'module':
            name, _, parameter = rest.partition('/')
            state.modules.setdefault(name, {})[parameter] = value
        elif kind == 'optimiser':
            state.optimiser[rest] = value
    _restore_rng(metadata, tensors)
    return state


def optimiser_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's state as named tensors: ``<parameter number>/<entry>``."""
    return {
        f'{number}/{entry}': torch.as_tensor(value)
        for number, values in optimiser.state_dict()['state'].items()
        for entry, value in values.items()
    }


def load_optimiser_tensors(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore what :func:`optimiser_tensors` returned."""
    parameters = [p for group in optimiser.param_groups for p in group['params']]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, entry = key.partition('/')
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # In the parameter's memory layout, as the optimiser made it.
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(number), {})[entry] = value
    groups = optimiser.state_dict()['param_groups']
    optimiser.load_state_dict({'state': state, 'param_groups': groups})


def load_module(module: nn.Module, values: Mapping[str, Tensor], name: str) -> None:
    """
    Load a module's part of a resume point, strictly.

    :raises ValueError: If the resume point belongs to another network.
    """
    try:
        module.load_state_dict(dict(values), strict=True)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'The resume point does not fit the {name}: {reason}') from error


def _numpy_rng() -> list[Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return [kind, np.asarray(keys).tolist(), position, has_gauss, gauss]


def _restore_rng(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    version, words, gauss = metadata['rng_python']
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = metadata['rng_numpy']
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(tensors['rng/torch'])
    if 'rng/cuda' in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors['rng/cuda'])
