"""Tests of :mod:`mtl_perception.checkpoint`: what is written, and all that may be wrong."""

from collections.abc import Callable
import dataclasses
import json
from pathlib import Path
import pickle
import subprocess
import sys
import textwrap
import time
from typing import Any

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
from mtl_perception import checkpoint as module
from mtl_perception.checkpoint import (
    Checkpoint,
    CheckpointError,
    FORMAT_VERSION,
    load_checkpoint,
    load_network,
    METADATA_KEY,
    read_state_dict,
    save_checkpoint,
)
from mtl_perception.network import (
    MultiTaskNetwork,
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
import pytest
from safetensors import safe_open
from safetensors.torch import save_file
import torch
from torch import Tensor
from torchvision.models.video import r3d_18

METRICS = {'val': {'action': {'accuracy': 0.875}}, 'iteration': 400}
TRAINING = {'seed': 7, 'optimizer': {'name': 'adam', 'betas': [0.9, 0.999]}, 'note': 'Größe 3'}
CONFIG = NetworkConfig(
    trunks={
        'clip': TrunkConfig(
            width=1,
            num_frames=8,
            clip_seconds=1.5,
            preprocessing=PreprocessingConfig(resize=(32, 40), crop=(32, 32), fit='pad'),
        )
    },
    tasks={
        'action': TaskConfig(labels=('walk', 'sit down', 'hüpfen')),
        'gesture': TaskConfig(labels=('wave', 'stop')),
    },
)


@pytest.fixture
def network() -> MultiTaskNetwork:
    torch.manual_seed(0)
    network = MultiTaskNetwork(CONFIG)
    for name, buffer in network.named_buffers():
        if name.endswith('running_var'):
            buffer.uniform_(0.5, 2)
    return network.eval()


@pytest.fixture
def path(network: MultiTaskNetwork, tmp_path: Path) -> Path:
    """Write a valid checkpoint and return where it is."""
    path = tmp_path / 'demo.safetensors'
    save_checkpoint(path, network, metrics=METRICS, training=TRAINING, git_revision='abc123')
    return path


@pytest.fixture
def rewrite(path: Path) -> Callable[..., Path]:
    """Write the valid checkpoint again with other tensors or another document."""

    def write(
        tensors: Callable[[dict[str, Tensor]], Any] | None = None,
        document: Callable[[dict[str, Any]], Any] | None = None,
        raw: str | None = None,
    ) -> Path:
        with safe_open(path, framework='pt') as file:
            values = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            entry = json.loads(file.metadata()[METADATA_KEY])
        if tensors:
            tensors(values)
        if document:
            document(entry)
        save_file(values, path, {METADATA_KEY: json.dumps(entry) if raw is None else raw})
        return path

    return write


def assert_refused(path: Path, match: str) -> None:
    """Assert that both ways of loading refuse the file, naming it and the reason."""
    for load in (load_checkpoint, load_network):
        with pytest.raises(CheckpointError, match=match) as caught:
            load(path)
        assert str(path) in str(caught.value)


def clips() -> dict[str, Tensor]:
    return {'clip': torch.randn(2, 3, 4, 16, 16)}


# What is written is read


def test_everything_comes_back(network: MultiTaskNetwork, path: Path) -> None:
    loaded = load_checkpoint(str(path))
    assert loaded.config == CONFIG
    assert loaded.metrics == METRICS
    assert loaded.training == TRAINING
    assert loaded.git_revision == 'abc123'
    expected = network.state_dict()
    assert loaded.state_dict.keys() == expected.keys()
    for name, value in loaded.state_dict.items():
        assert torch.equal(value, expected[name])
        assert value.dtype == expected[name].dtype


@pytest.mark.parametrize('sharing', ['hard', 'single_task'])
def test_the_loaded_network_gives_the_same_logits(sharing: str, tmp_path: Path) -> None:
    trunk = dataclasses.replace(CONFIG.trunks['clip'], sharing=sharing)
    network = MultiTaskNetwork(dataclasses.replace(CONFIG, trunks={'clip': trunk})).eval()
    save_checkpoint(tmp_path / 'a', network, metrics={}, training={})
    loaded, checkpoint = load_network(tmp_path / 'a')
    assert isinstance(checkpoint, Checkpoint)
    assert not loaded.training
    assert not any(value.is_meta for value in [*loaded.parameters(), *loaded.buffers()])
    assert all(p.requires_grad for p in loaded.parameters())
    inputs = clips()
    for task, logits in loaded(inputs).items():
        assert torch.equal(logits, network(inputs)[task])
    loaded.deploy()(inputs)
    loaded.train().forward_tasks({'action': inputs['clip']})['action'].sum().backward()


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_half_precision_halves_the_file_and_loads_as_float32(
    dtype: str, network: MultiTaskNetwork, tmp_path: Path
) -> None:
    full, half = tmp_path / 'full', tmp_path / 'half'
    save_checkpoint(full, network, metrics={}, training={})
    save_checkpoint(half, network, metrics={}, training={}, dtype=dtype)
    stored = sum(p.numel() for p in network.parameters()) * 2
    assert full.stat().st_size - half.stat().st_size >= stored
    loaded, _ = load_network(half)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for name, value in loaded.state_dict().items():
        expected = network.state_dict()[name]
        if expected.is_floating_point():
            expected = expected.to(getattr(torch, dtype)).float()
        assert torch.equal(value, expected)


def test_what_overflows_half_precision_keeps_its_own(
    network: MultiTaskNetwork, tmp_path: Path
) -> None:
    variance = network.get_buffer('trunks.clip.trunk.stem.1.running_var').fill_(1e6)
    save_checkpoint(tmp_path / 'a', network, metrics={}, training={}, dtype='float16')
    state_dict = load_checkpoint(tmp_path / 'a').state_dict
    assert torch.equal(state_dict['trunks.clip.trunk.stem.1.running_var'], variance)


def test_saving_does_not_touch_the_network(network: MultiTaskNetwork, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    save_checkpoint(tmp_path / 'a', network.train(), metrics={}, training={}, dtype='float16')
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype


def test_loaded_weights_outlive_the_file(path: Path) -> None:
    network, _ = load_network(path)
    inputs = clips()
    before = network(inputs)['action']
    path.write_bytes(bytes(path.stat().st_size))
    path.unlink()
    assert torch.equal(network(inputs)['action'], before)


def test_a_file_of_8_megabytes_loads_in_a_moment(tmp_path: Path) -> None:
    trunk = dataclasses.replace(CONFIG.trunks['clip'], width=22)
    network = MultiTaskNetwork(dataclasses.replace(CONFIG, trunks={'clip': trunk}))
    save_checkpoint(tmp_path / 'a', network, metrics={}, training={}, dtype='float16')
    assert 7e6 < (tmp_path / 'a').stat().st_size < 9e6
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        load_network(tmp_path / 'a')
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.25  # about 40 ms; more would mean weights initialised in vain


def test_the_permissions_are_those_of_any_new_file(path: Path) -> None:
    other = path.with_name('other')
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


# Files that are no checkpoints


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / 'none.safetensors', 'does not exist')


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, 'is a folder; name the .safetensors file in it')


def test_what_is_no_regular_file_is_refused() -> None:
    assert_refused(Path('/dev/null'), 'is not a regular file')


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'a').touch()
    assert_refused(tmp_path / 'a', 'is empty')


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], 'little')
    cuts = {*range(1, 40), header - 1, header, header + 1, len(data) - 1}
    cuts |= set(range(40, len(data), len(data) // 60))
    for cut in sorted(cuts):
        path.write_bytes(data[:cut])
        with pytest.raises(CheckpointError, match='truncated'):
            load_network(path)


def test_a_file_with_bytes_to_spare_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b'\0')
    assert_refused(path, 'damaged or truncated')


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.binary(min_size=1, max_size=300))
def test_random_bytes_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / 'random').write_bytes(data)
    assert_refused(tmp_path / 'random', 'Checkpoint')


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1))
def test_a_changed_header_is_read_whole_or_refused(
    changes: list[tuple[int, int]], path: Path
) -> None:
    data = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(data[:8], 'little')
    for position, value in changes:
        data[position % header] = value
    changed = path.with_name('changed')
    changed.write_bytes(data)
    try:
        network, _ = load_network(changed)
    except CheckpointError as refusal:
        error: CheckpointError | None = refusal
    else:
        error = None
        assert all(value.isfinite().all() for value in network.state_dict().values())
    assert error is None or str(changed) in str(error)


def test_a_header_that_promises_too_much_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for size in (len(data), 2**31, 2**62, 2**64 - 1):
        path.write_bytes(size.to_bytes(8, 'little') + data[8:])
        assert_refused(path, 'truncated')


class Bomb:
    """Would leave a mark if it were unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_a_pickle_is_refused_and_never_unpickled(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / 'mark'
    (tmp_path / 'a.pt').write_bytes(pickle.dumps(Bomb(mark), protocol))
    assert_refused(tmp_path / 'a.pt', 'a pickled PyTorch file; checkpoints here are .safetensors')
    with pytest.raises(CheckpointError, match='not a file of plain tensors'):
        read_state_dict(tmp_path / 'a.pt')
    assert not mark.exists()


@pytest.mark.parametrize('zipped', [True, False])
def test_a_pytorch_file_is_refused(
    zipped: bool, network: MultiTaskNetwork, tmp_path: Path
) -> None:
    file = tmp_path / 'weights.pth'
    torch.save(network.state_dict(), file, _use_new_zipfile_serialization=zipped)
    assert_refused(file, r'a pickled PyTorch file; .* Convert with read_state_dict\(\)')


def test_a_pickled_bomb_in_a_zip_is_not_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / 'mark'
    torch.save({'weight': torch.zeros(1), 'bomb': Bomb(mark)}, tmp_path / 'a.pt')
    assert_refused(tmp_path / 'a.pt', 'a pickled PyTorch file')
    with pytest.raises(CheckpointError, match='not a file of plain tensors'):
        read_state_dict(tmp_path / 'a.pt')
    assert not mark.exists()


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_a_header_whose_size_begins_like_a_pickle_is_read(protocol: int, path: Path) -> None:
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], 'little')
    size = next(n for n in range(0x80 + 256 * protocol, 2**30, 0x10000) if n >= end - 8)
    header = data[8:end].ljust(size)
    path.write_bytes(size.to_bytes(8, 'little') + header + data[end:])
    assert path.read_bytes()[:2] == bytes([0x80, protocol])
    load_network(path)


def test_a_pointer_of_git_lfs_is_explained(tmp_path: Path) -> None:
    (tmp_path / 'a').write_text('version https://git-lfs.github.com/spec/v1\noid sha256:00\n')
    assert_refused(tmp_path / 'a', 'a Git LFS pointer, not the file itself; run `git lfs pull`')


def test_an_unreadable_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(Path, 'open', refuse)  # root may read everything
    assert_refused(path, 'cannot be read: Permission denied')


# Safetensors files of something else


def test_torchvision_weights_are_no_checkpoint(tmp_path: Path) -> None:
    save_file(r3d_18().state_dict(), tmp_path / 'a')
    assert_refused(
        tmp_path / 'a',
        'has no mtl_perception metadata: these are the weights of a torchvision video ResNet, '
        r'not a checkpoint\. Weights load into a network with',
    )


def test_weights_of_anything_are_no_checkpoint(tmp_path: Path) -> None:
    save_file({'x': torch.zeros(2)}, tmp_path / 'a', {'format': 'pt'})
    assert_refused(tmp_path / 'a', 'has no mtl_perception metadata: .* of a network')


def change(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return a function that sets an entry deep in a document."""

    def apply(document: dict[str, Any]) -> None:
        *parents, last = path
        for parent in parents:
            document = document[parent]
        document[last] = value

    return apply


@pytest.mark.parametrize(
    'raw, match',
    [
        ('{', 'its metadata is not JSON'),
        ('', 'its metadata is not JSON'),
        ('{"format_version": NaN}', 'its metadata is not JSON .NaN is no JSON value'),
        ('{"format_version": 1, "metrics": {"loss": Infinity}}', 'Infinity is no JSON value'),
        ('[' * 100_000, 'its metadata is not JSON'),
        ('[]', 'its metadata must be a JSON object'),
        ('{}', 'its format version must be a number, got None'),
        ('{"format_version": "1"}', "its format version must be a number, got '1'"),
        ('{"format_version": true}', 'its format version must be a number, got True'),
        ('{"format_version": 0}', 'its format version must be a number, got 0'),
        ('{"format_version": 1}', "its metadata must have an object 'config'"),
    ],
)
def test_broken_metadata_is_refused(raw: str, match: str, rewrite: Callable[..., Path]) -> None:
    assert_refused(rewrite(raw=raw), match)


CLIP = ('config', 'trunks', 'clip')


@pytest.mark.parametrize(
    'document, match',
    [
        (
            change('format_version', value=FORMAT_VERSION + 1),
            'format version 2 is newer than 1, .*; update mtl_perception',
        ),
        (change('metrics', value=[1]), "must have an object 'metrics'"),
        (change('training', value=None), "must have an object 'training'"),
        (change('git_revision', value=3), "must have a string 'git_revision'"),
        (change(*CLIP, 'widht', value=3), "clip has no entry 'widht'. Did you mean 'width'"),
        (change(*CLIP, 'width', value=-1), 'its configuration is refused: .*width must be from 1'),
        (change(*CLIP, 'width', value=10**30), 'configuration is refused: .*width must be from 1'),
        (change(*CLIP, 'depth', value=50), "builds no network: trunk 'clip': depth must be one"),
        (
            change(*CLIP, 'sharing', value='x'),
            "builds no network: trunk 'clip': Unknown sharing method 'x'",
        ),
        (change(*CLIP, 'sharing_settings', value={'a': 1}), r"'hard' has no setting \['a'\]"),
        (change('config', 'tasks', 'action', 'labels', value=[]), 'every task needs labels'),
        (change('config', 'tasks', value={}), 'configuration is refused: .*at least one task'),
        (change(*CLIP, 'width', value=2), "'.*' has shape .*, its configuration asks"),
        (change('config', 'tasks', 'action', 'labels', value=['a']), r'shape \(3, 8\).*\(1, 8\)'),
        (change('config', 'tasks', 'mood', value={'labels': ['a']}), r"lacks \['heads\.mood\.b"),
    ],
)
def test_a_document_that_does_not_fit_is_refused(
    document: Callable[[dict[str, Any]], None], match: str, rewrite: Callable[..., Path]
) -> None:
    assert_refused(rewrite(document=document), match)


WEIGHT = 'trunks.clip.trunk.layer3.0.conv1.0.weight'
COUNTER = 'trunks.clip.trunk.stem.1.num_batches_tracked'


@pytest.mark.parametrize(
    'tensors, match',
    [
        (lambda t: t.pop(WEIGHT), r"does not fit its own configuration: lacks \['trunks\.clip"),
        (lambda t: t.update(more=torch.zeros(1)), r"has unexpected \['more'\]"),
        (lambda t: [t.pop(k) for k in list(t)], r'lacks \[.*\] and \d+ more'),
        (lambda t: t.update({WEIGHT: t[WEIGHT][:1]}), rf"'{WEIGHT}' has shape \(1, .* asks \(4, "),
        (lambda t: t.update({WEIGHT: t[WEIGHT].int()}), f"'{WEIGHT}' has type I32, must be one"),
        (lambda t: t.update({WEIGHT: t[WEIGHT].bool()}), f"'{WEIGHT}' has type BOOL"),
        (
            lambda t: t.update({WEIGHT: t[WEIGHT].to(torch.float8_e4m3fn)}),
            f"'{WEIGHT}' has type F8_E4M3",
        ),
        (lambda t: t.update({COUNTER: torch.tensor(1.0)}), f"'{COUNTER}' has type F32"),
        (lambda t: t[WEIGHT][1, 0].fill_(float('nan')), f"'{WEIGHT}' has values that are not fin"),
        (lambda t: t[WEIGHT][1, 0].fill_(float('-inf')), f"'{WEIGHT}' has values that are not"),
        (
            lambda t: t.update({WEIGHT: torch.full(t[WEIGHT].shape, 1e300, dtype=torch.float64)}),
            f"'{WEIGHT}' has values that are not finite",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    tensors: Callable[[dict[str, Tensor]], Any], match: str, rewrite: Callable[..., Path]
) -> None:
    assert_refused(rewrite(tensors=tensors), match)


# Saving


def no_leftovers(folder: Path) -> bool:
    return not [file for file in folder.iterdir() if file.suffix == '.tmp']


def test_weights_that_are_not_finite_are_not_saved(network: MultiTaskNetwork, path: Path) -> None:
    before = path.read_bytes()
    network.heads['action'].weight.data[0, 0] = float('nan')
    with pytest.raises(CheckpointError, match=r"'heads\.action\.weight' has values that are not"):
        save_checkpoint(path, network, metrics={}, training={})
    assert path.read_bytes() == before
    assert no_leftovers(path.parent)


@pytest.mark.parametrize(
    'entries, match',
    [
        ({'metrics': {'loss': float('nan')}}, "'metrics' can't be stored as JSON"),
        ({'metrics': {'loss': torch.tensor(1.0)}}, "'metrics' .*Tensor is not JSON serializable"),
        ({'training': {'when': object()}}, "'training' can't be stored as JSON"),
        ({'git_revision': None}, 'git_revision must be a string, got None'),
        ({'dtype': 'int8'}, r"dtype must be one of \['float16', .*\], got 'int8'"),
    ],
)
def test_what_cannot_be_stored_is_refused(
    entries: dict[str, Any], match: str, network: MultiTaskNetwork, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=match):
        save_checkpoint(tmp_path / 'a', network, **{'metrics': {}, 'training': {}, **entries})
    assert not list(tmp_path.iterdir())


def test_a_deployed_network_is_not_saved(network: MultiTaskNetwork, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'save the network as trained, not what deploy\(\)'):
        save_checkpoint(tmp_path / 'a', network.deploy(), metrics={}, training={})


def test_a_missing_folder_is_refused(network: MultiTaskNetwork, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='cannot be written: No such file or directory'):
        save_checkpoint(tmp_path / 'none' / 'a', network, metrics={}, training={})


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_failing_disk_leaves_the_old_file_and_nothing_else(
    step: str, network: MultiTaskNetwork, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> None:
        raise OSError(28, 'No space left on device')

    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(*((module.os, 'fsync') if step == 'fsync' else (Path, 'replace')), fail)
        with pytest.raises(CheckpointError, match='cannot be written: No space left on device'):
            save_checkpoint(path, network, metrics={}, training={})
    assert path.read_bytes() == before
    assert no_leftovers(path.parent)


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(path: Path) -> None:
    # Forks its writers, so that PyTorch is imported once and many moments can be tried.
    script = """
        import os, signal, sys, time
        import torch
        from mtl_perception.checkpoint import load_checkpoint, load_network, save_checkpoint
        torch.set_num_threads(1)
        path = sys.argv[1]
        network, _ = load_network(path)
        written = set()
        for attempt in range(40):
            writer = os.fork()
            if not writer:
                for i in range(1_000_000):
                    metrics = {'number': 1000 * attempt + i}
                    save_checkpoint(path, network, metrics=metrics, training={})
            time.sleep(0.005 * attempt)
            os.kill(writer, signal.SIGKILL)
            os.waitpid(writer, 0)
            written.add(load_checkpoint(path).metrics.get('number'))
        print(len(written))
    """
    result = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(script), str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(module.__file__).parents[1],
        check=True,
        timeout=100,
    )
    assert int(result.stdout) > 10, 'the writers must have come to write'


# Weights of others


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth', '.pt'])
def test_weights_are_read_from_either_format(suffix: str, tmp_path: Path) -> None:
    weights = r3d_18(num_classes=3).state_dict()
    file = tmp_path / f'weights{suffix}'
    (save_file if suffix == '.safetensors' else torch.save)(weights, file)
    loaded = read_state_dict(file)
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_a_cut_file_of_weights_is_refused(tmp_path: Path) -> None:
    for name, write in (('a.pth', torch.save), ('a.safetensors', save_file)):
        file = tmp_path / name
        write({'x': torch.randn(50, 50), 'y': torch.ones(3)}, file)
        data = file.read_bytes()
        for cut in {1, 5, 9, *range(20, len(data), len(data) // 40), len(data) - 1}:
            file.write_bytes(data[:cut])
            with pytest.raises(CheckpointError, match=r'a\.(pth|safetensors)'):
                read_state_dict(file)


@pytest.mark.parametrize('value', [[torch.zeros(1)], {'model': {'x': torch.zeros(1)}}, {1: 2}])
def test_what_is_no_state_dict_is_refused(value: Any, tmp_path: Path) -> None:
    torch.save(value, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='holds no state dict'):
        read_state_dict(tmp_path / 'a.pth')


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='does not exist'):
        read_state_dict(tmp_path / 'none.pth')
