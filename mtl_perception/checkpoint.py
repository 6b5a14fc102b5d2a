"""
The one checkpoint format: a safetensors file whose metadata says how to build its network.

The entry ``mtl_perception`` of the metadata is a JSON document: ``format_version``, ``config``
(:class:`NetworkConfig` with labels, clip length and preprocessing), ``metrics``, ``training`` and
``git_revision``. The tensors are the network's state dict. Reading never unpickles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
from pickle import UnpicklingError
import stat
import struct
from typing import Any, NoReturn

from mtl_perception.atomic_file import write_atomically
from mtl_perception.network import from_mapping, MultiTaskNetwork, NetworkConfig, to_mapping
from safetensors import safe_open, SafetensorError
from safetensors.torch import save
import torch
from torch import Tensor

FORMAT_VERSION = 1
METADATA_KEY = 'mtl_perception'
WRAPPER = 'module.'  # what DataParallel puts before every name
STORAGE_DTYPES = {'float16': torch.float16, 'bfloat16': torch.bfloat16, 'float32': torch.float32}
FLOAT_DTYPES = ('F16', 'BF16', 'F32', 'F64')
INTEGER_DTYPES = ('I64',)
# What torch.load raises for a damaged file is any of these, depending on the place.
TORCH_LOAD_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    struct.error,
    TypeError,
    UnpicklingError,
    ValueError,
)


class CheckpointError(ValueError):
    """A checkpoint that can't be read or written; the message names the file and the reason."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"Checkpoint '{os.fspath(path)}': {reason}")
        self.path = Path(path)
        self.reason = reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A network's configuration and weights, and how they came about."""

    config: NetworkConfig
    state_dict: dict[str, Tensor]
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    git_revision: str = ''


def save_checkpoint(
    path: str | os.PathLike[str],
    network: MultiTaskNetwork,
    *,
    metrics: Mapping[str, Any],
    training: Mapping[str, Any],
    git_revision: str = '',
    dtype: str | None = None,
) -> None:
    """
    Write a checkpoint so that at every moment the path holds the old file or the new one, whole.

    :param path: Where to write; its folder must exist.
    :param network: A network as trained, not the result of ``deploy()``.
    :param metrics: What the weights reached; plain values that JSON knows, no NaN.
    :param training: How they were trained; plain values that JSON knows, no NaN.
    :param git_revision: Revision of the code that trained them.
    :param dtype: 'float16' or 'bfloat16' halves the file; a tensor whose values would overflow
        keeps its precision. None stores the precision of the network.
    :raises CheckpointError: If a weight is not finite, an entry is not JSON, or writing fails.
    """
    path = Path(path)
    if dtype is not None and dtype not in STORAGE_DTYPES:
        raise CheckpointError(path, f'dtype must be one of {[*STORAGE_DTYPES]}, got {dtype!r}.')
    if not isinstance(git_revision, str):
        raise CheckpointError(path, f'git_revision must be a string, got {git_revision!r}.')
    document = {
        'format_version': FORMAT_VERSION,
        'config': to_mapping(network.config),
        'metrics': dict(metrics),
        'training': dict(training),
        'git_revision': git_revision,
    }
    state_dict = network.state_dict()
    if state_dict.keys() != _expected_state(path, network.config).keys():
        raise CheckpointError(path, 'save the network as trained, not what deploy() returned.')
    _check_tensors(path, state_dict)
    tensors = {name: _stored(value, dtype) for name, value in state_dict.items()}
    metadata = {'format': 'pt', METADATA_KEY: _to_json(path, document)}
    try:
        write_atomically(path, save(tensors, metadata))
    except OSError as error:
        raise CheckpointError(path, f'cannot be written: {error.strerror}.') from error


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """
    Read and check a whole checkpoint; nothing is returned unless all of it fits together.

    :return: Its tensors are float32 (counters keep their type) and independent of the file.
    :raises CheckpointError: Naming the file, the reason and what to do.
    """
    path = Path(path)
    _check_is_safetensors(path)
    try:
        with safe_open(path, framework='pt') as file:
            document = _read_document(path, file.metadata() or {}, list(file.keys()))
            config = _read_config(path, document)
            expected = _expected_state(path, config)
            names = list(file.keys())
            _check_layout(path, {name: file.get_slice(name) for name in names}, expected)
            state_dict = {name: _restored(file.get_tensor(name)) for name in expected}
    except (SafetensorError, OSError) as error:
        _refuse_unreadable(path, error)
    _check_tensors(path, state_dict)
    return Checkpoint(
        config=config,
        state_dict=state_dict,
        metrics=document['metrics'],
        training=document['training'],
        git_revision=document['git_revision'],
    )


def load_network(path: str | os.PathLike[str]) -> tuple[MultiTaskNetwork, Checkpoint]:
    """
    Read a checkpoint and build its network.

    :return: The network on the CPU, in evaluation mode and float32, and the checkpoint,
        whose tensors are the network's own.
    :raises CheckpointError: Naming the file, the reason and what to do.
    """
    checkpoint = load_checkpoint(path)
    # Without memory of its own, the network costs no initialisation and takes the loaded tensors.
    with torch.device('meta'):
        network = MultiTaskNetwork(checkpoint.config)
    network.load_state_dict(checkpoint.state_dict, assign=True)
    return network.eval(), checkpoint


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """
    Read a plain state dict that somebody else wrote, such as torchvision's pretrained weights.

    Of a training state that holds one as ``state_dict`` it is that one; names that all begin with
    ``module.``, as of a network on several devices, lose it.

    :param path: A ``.safetensors`` file, or a PyTorch ``.pth`` or ``.pt`` file, of which only
        tensors and plain values are unpickled.
    :raises CheckpointError: If it is not a state dict or holds more than that.
    """
    path = Path(path)
    start, _ = _inspect(path)
    if not _looks_pickled(start):
        _check_is_safetensors(path)
        try:
            with safe_open(path, framework='pt') as file:
                return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(path, f'damaged or truncated ({error}).') from error
    try:
        state_dict = torch.load(path, map_location='cpu', weights_only=True)
    except TORCH_LOAD_ERRORS as error:
        # The reason that PyTorch gives advises to unpickle the file after all: not passed on.
        raise CheckpointError(
            path, 'not a file of plain tensors, or damaged; save only the state dict.'
        ) from error
    if isinstance(state_dict, Mapping) and isinstance(state_dict.get('state_dict'), Mapping):
        state_dict = state_dict['state_dict']
    if not isinstance(state_dict, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state_dict.items()
    ):
        raise CheckpointError(path, 'holds no state dict, a mapping from names to tensors.')
    is_wrapped = all(name.startswith(WRAPPER) for name in state_dict)
    return {
        name.removeprefix(WRAPPER) if is_wrapped else name: v for name, v in state_dict.items()
    }


def _inspect(path: Path) -> tuple[bytes, int]:
    """Return the first bytes and the size of a file, refusing what is no readable file."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise CheckpointError(path, 'is a folder; name the .safetensors file in it.')
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(path, 'is not a regular file.')
        with path.open('rb') as file:
            return file.read(64), status.st_size
    except FileNotFoundError as error:
        raise CheckpointError(path, 'does not exist.') from error
    except OSError as error:
        raise CheckpointError(path, f'cannot be read: {error.strerror}.') from error


def _check_is_safetensors(path: Path) -> None:
    start, size = _inspect(path)
    if size == 0:
        raise CheckpointError(path, 'is empty; copy or train it again.')
    if _looks_pickled(start):
        raise CheckpointError(
            path,
            'a pickled PyTorch file; checkpoints here are .safetensors and are never unpickled. '
            'Convert with read_state_dict() and load_torchvision_weights() into a network, then '
            'save_checkpoint().',
        )
    if start.startswith(b'version https://git-lfs'):
        raise CheckpointError(path, 'a Git LFS pointer, not the file itself; run `git lfs pull`.')
    header_size = int.from_bytes(start[:8], 'little')
    if size > 8 and start[8:9] != b'{':
        raise CheckpointError(path, 'not a safetensors file.')
    if size < 10 or header_size > size - 8:
        raise CheckpointError(
            path, f'truncated: {size} bytes do not hold its header; copy it again.'
        )


def _looks_pickled(start: bytes) -> bool:
    # A safetensors file starts with the size of its header, below 2^32, and may start with
    # 0x80 as pickles do; only a safetensors file goes on with zeros and a brace.
    is_pickle = start[:1] == b'\x80' and start[1:2] in (b'\x02', b'\x03', b'\x04', b'\x05')
    return start[:4] == b'PK\x03\x04' or (is_pickle and start[4:9] != b'\0\0\0\0{')


def _refuse_unreadable(path: Path, error: Exception) -> NoReturn:
    raise CheckpointError(path, f'damaged or truncated ({error}); copy it again.') from error


def _read_document(path: Path, metadata: Mapping[str, str], names: list[str]) -> dict[str, Any]:
    if METADATA_KEY not in metadata:
        kind = 'a torchvision video ResNet' if 'layer4.1.conv2.0.weight' in names else 'a network'
        raise CheckpointError(
            path,
            f'has no {METADATA_KEY} metadata: these are the weights of {kind}, not a checkpoint. '
            'Weights load into a network with read_state_dict() and load_torchvision_weights().',
        )
    try:
        document = json.loads(metadata[METADATA_KEY], parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f'its metadata is not JSON ({error}).') from error
    if not isinstance(document, dict):
        raise CheckpointError(path, 'its metadata must be a JSON object.')
    _check_version(path, document.get('format_version'))
    for entry in ('config', 'metrics', 'training'):
        if not isinstance(document.get(entry), dict):
            raise CheckpointError(path, f"its metadata must have an object '{entry}'.")
    if not isinstance(document.get('git_revision'), str):
        raise CheckpointError(path, "its metadata must have a string 'git_revision'.")
    return document


def _check_version(path: Path, version: Any) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(path, f'its format version must be a number, got {version!r}.')
    if version > FORMAT_VERSION:
        raise CheckpointError(
            path,
            f'its format version {version} is newer than {FORMAT_VERSION}, the newest that this '
            'installation reads; update mtl_perception.',
        )


def _read_config(path: Path, document: Mapping[str, Any]) -> NetworkConfig:
    try:
        return from_mapping(NetworkConfig, document['config'], 'config')
    except ValueError as error:
        raise CheckpointError(path, f'its configuration is refused: {error}') from error


def _expected_state(path: Path, config: NetworkConfig) -> dict[str, Tensor]:
    """Return the state dict that the configuration asks for, without memory behind it."""
    try:
        with torch.device('meta'):
            return MultiTaskNetwork(config).state_dict()
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(path, f'its configuration builds no network: {error}') from error


def _check_layout(path: Path, found: Mapping[str, Any], expected: Mapping[str, Tensor]) -> None:
    """Compare names, shapes and types with the expected ones before any weight is read."""
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        parts = [
            f'{kind} {names[:3]}' + (f' and {len(names) - 3} more' if len(names) > 3 else '')
            for kind, names in (('lacks', missing), ('has unexpected', extra))
            if names
        ]
        raise CheckpointError(path, f'does not fit its own configuration: {" and ".join(parts)}.')
    for name, tensor in expected.items():
        shape = tuple(found[name].get_shape())
        if shape != tuple(tensor.shape):
            raise CheckpointError(
                path, f"'{name}' has shape {shape}, its configuration asks {tuple(tensor.shape)}."
            )
        dtypes = FLOAT_DTYPES if tensor.is_floating_point() else INTEGER_DTYPES
        if found[name].get_dtype() not in dtypes:
            raise CheckpointError(
                path, f"'{name}' has type {found[name].get_dtype()}, must be one of {dtypes}."
            )


def _check_tensors(path: Path, state_dict: Mapping[str, Tensor]) -> None:
    for name, value in state_dict.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(path, f"'{name}' has values that are not finite.")


def _restored(value: Tensor) -> Tensor:
    # A copy: the tensor must not change or vanish with the file that it is mapped from.
    return value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)


def _stored(value: Tensor, dtype: str | None) -> Tensor:
    value = value.detach().to('cpu', copy=True).contiguous()
    if dtype is None or not value.is_floating_point():
        return value
    converted = value.to(STORAGE_DTYPES[dtype])
    return converted if converted.isfinite().all() else value


def _to_json(path: Path, document: Mapping[str, Any]) -> str:
    for entry, value in document.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(path, f"'{entry}' can't be stored as JSON: {error}.") from error
    return json.dumps(document, ensure_ascii=False)


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f'{constant} is no JSON value')
