"""Tests of ``python -m mtl_training extract-features``, on real files."""

from collections.abc import Callable
import csv
import ctypes
import fcntl
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import av
from mtl_perception.checkpoint import load_network, save_checkpoint
from mtl_perception.network.config import from_mapping, NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training import cli
from mtl_training.data.decoding import decode_range
from mtl_training.data.videos.scaling import FrameScaler
from mtl_training.dataset_tools.processes import streams_of_processes
from mtl_training.features.models import (
    model_of_torchvision,
    published_preprocessing,
    VIDEO_MODELS,
)
import numpy as np
import pytest
import torch
import torchvision

SIZE = (24, 32)
TRUNK = {
    'width': 4,
    'num_frames': 4,
    'clip_seconds': 0.5,
    'preprocessing': {'resize': [24, 32], 'crop': [20, 20]},
}


def write_video(
    path: Path, seconds: float, rate: int, codec: str = 'mpeg4', seed: int = 0
) -> Path:
    """Write a video of a grey that changes with time, whatever the rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = SIZE
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        stream.bit_rate, stream.gop_size = 8_000_000, 12
        noise = np.random.default_rng(seed).integers(0, 40, (*SIZE, 3))
        for i in range(round(seconds * rate)):
            level = 128 + 80 * np.sin(7 * i / rate + np.linspace(0, 3, SIZE[1]))[None, :, None]
            picture = (noise + level).clip(0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def network_of(**trunk: Any) -> MultiTaskNetwork:
    torch.manual_seed(0)
    block = {
        'trunks': {'clip': {**TRUNK, **trunk}},
        'tasks': {'action': {'labels': ['a', 'b']}, 'gesture': {'labels': ['c', 'd']}},
    }
    network = MultiTaskNetwork(from_mapping(NetworkConfig, block)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
    return network


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / 'clip.safetensors', network_of(), metrics={}, training={})
    return tmp_path / 'clip.safetensors'


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    root = tmp_path / 'videos'
    write_video(root / 'a/slow.mp4', 2.1, 10)
    write_video(root / 'a/fast.mp4', 1.3, 60)
    write_video(root / 'b/c/film.mkv', 3.0, 24, seed=1)
    write_video(root / 'b/camera.avi', 1.7, 30, 'mjpeg', seed=2)
    write_video(root / 'single.avi', 0.1, 10, seed=3)
    return root


Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, videos: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, out: str = 'out') -> tuple[int, dict[str, Any]]:
        given = ['--videos', str(videos), '--out', str(tmp_path / out), '--device', 'cpu']
        if '--model' not in arguments:
            given += ['--checkpoint', str(checkpoint)]
        workers = [] if '--workers' in arguments else ['--workers', '0']
        code = cli.main(['extract-features', *given, *workers, '--json', *arguments])
        captured = capsys.readouterr()
        assert captured.out, captured.err
        return code, json.loads(captured.out)

    return run


def arrays(folder: Path) -> dict[str, np.ndarray]:
    return {
        path.relative_to(folder).with_suffix('').as_posix(): np.load(path)
        for path in sorted(folder.rglob('*.npy'))
    }


def reference(path: Path, checkpoint: Path, window: int, stride: int) -> np.ndarray:
    """One window at a time, from all frames in memory."""
    network, _ = load_network(checkpoint)
    preprocessing = network.config.trunks['clip'].preprocessing
    scaler = FrameScaler(preprocessing.resize, preprocessing.fit)
    shown = [(t, scaler(frame)) for t, frame in decode_range(path, (0.0, 1e9), to_sec=0.0)]
    period = shown[-1][0] / (len(shown) - 1) if len(shown) > 1 else 1 / 30
    count = round((shown[-1][0] + period) * 30)
    grid = [
        min(reversed(shown), key=lambda f: round(abs(f[0] - g / 30), 6))[1] for g in range(count)
    ]
    starts = [*range(0, max(1, count - window + 1), stride)]
    if starts[-1] + window < count:
        starts.append(count - window)
    rows = []
    for start in starts:
        cut = grid[start : start + window]
        chosen = [cut[int(i * (len(cut) - 1) / 3 + 0.5)] for i in range(4)]
        clips = FramePreprocessor(preprocessing).clips(torch.from_numpy(np.stack(chosen))[None])
        with torch.no_grad():
            rows.append(network.features({'clip': clips})['action'][0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize('workers', ['0', '2'])
def test_features_are_those_of_one_window_at_a_time(
    run: Run, videos: Path, checkpoint: Path, tmp_path: Path, workers: str
) -> None:
    code, told = run('--stride', '7', '--batch-size', '3', '--workers', workers)
    assert (code, told['failed'], told['stored']) == (0, {}, 5)
    found = arrays(tmp_path / 'out')
    assert sorted(found) == ['a/fast', 'a/slow', 'b/c/film', 'b/camera', 'single']
    for path in videos.rglob('*.*'):
        name = path.relative_to(videos).with_suffix('').as_posix()
        expected = reference(path, checkpoint, 15, 7)  # the trunk sees half a second
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected, atol=1e-5, rtol=1e-4)
    assert told['windows'] == sum(map(len, found.values()))


def test_any_rate_gives_nearly_the_same_features(run: Run, videos: Path, tmp_path: Path) -> None:
    for rate in (15, 30, 60):
        write_video(videos / f'rates/{rate}.mp4', 2.0, rate)
    run()
    found = arrays(tmp_path / 'out')
    slow, plain, fast = (found[f'rates/{rate}'] for rate in (15, 30, 60))
    assert slow.shape == plain.shape == fast.shape
    spread = np.abs(plain - plain.mean(0)).mean()
    assert np.abs(fast - plain).mean() < 0.5 * spread


def test_the_manifest_and_the_facts_say_what_is_there(
    run: Run, videos: Path, tmp_path: Path
) -> None:
    run('--window', '32', '--dtype', 'float16')
    facts = json.loads((tmp_path / 'out/features.json').read_text())
    known = {'window': 32, 'stride': 16, 'rate_hz': 30.0, 'dtype': 'float16', 'num_frames': 4}
    assert known.items() <= facts.items()
    assert len(facts['weights_sha256']) == 64
    with (tmp_path / 'out/manifest.csv').open() as file:
        rows = {row['video']: row for row in csv.DictReader(file)}
    for name, array in arrays(tmp_path / 'out').items():
        assert array.dtype == np.float16
        assert array.shape == (int(rows[name]['windows']), facts['dim'])
    assert rows['a/slow']['frames'] == '63'
    assert rows['b/c/film']['source'] == str(videos / 'b/c/film.mkv')


def test_a_second_run_makes_only_what_is_missing_or_has_changed(
    run: Run, videos: Path, tmp_path: Path
) -> None:
    run()
    before = arrays(tmp_path / 'out')
    changed = {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').rglob('*.npy')}
    write_video(videos / 'a/slow.mp4', 1.0, 10, seed=9)
    write_video(videos / 'new.mp4', 0.6, 10)
    (tmp_path / 'out/b/camera.npy').unlink()
    _, told = run()
    assert (told['stored'], told['failed']) == (3, {})
    assert len(arrays(tmp_path / 'out')['a/slow']) < len(before['a/slow'])
    same = tmp_path / 'out/b/c/film.npy'
    assert same.stat().st_mtime_ns == changed[same]


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        (['--stride', '8'], 'stride'),
        (['--dtype', 'float16'], 'dtype'),
        (['--task', 'gesture'], 'model'),
    ],
)
def test_a_folder_of_other_features_is_refused(
    run: Run, tmp_path: Path, arguments: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    videos, checkpoint = str(tmp_path / 'videos'), str(tmp_path / 'clip.safetensors')
    given = ['--videos', videos, '--out', str(tmp_path / 'out'), '--checkpoint', checkpoint]
    assert cli.main(['extract-features', *given, *arguments]) == 2
    assert f'features of another {name}' in capsys.readouterr().err


def test_what_can_not_be_read_is_told_and_the_rest_is_there(
    run: Run, videos: Path, tmp_path: Path
) -> None:
    (videos / 'junk.mp4').write_bytes(b'no video at all')
    (videos / 'empty.avi').write_bytes(b'')
    whole = (videos / 'b/camera.avi').read_bytes()
    (videos / 'cut.avi').write_bytes(whole[: len(whole) * 2 // 3])
    code, told = run()
    assert code == 1
    assert sorted(Path(path).name for path in told['failed']) == ['empty.avi', 'junk.mp4']
    assert 'not a video' in told['failed'][str(videos / 'junk.mp4')]
    found = arrays(tmp_path / 'out')
    assert len(found) == 6
    assert 1 <= len(found['cut']) < len(found['b/camera'])
    assert str(videos / 'cut.avi') in told['repaired']
    code, told = run()
    assert (code, told['stored'], len(told['failed'])) == (1, 0, 2)


def test_what_a_killed_process_leaves_is_whole_and_gone_on_with(
    run: Run, videos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    for i in range(12):
        write_video(videos / f'more/{i}.avi', 2.0, 30, 'mjpeg', seed=i)
    out = tmp_path / 'killed'
    command = [sys.executable, '-m', 'mtl_training', 'extract-features', '--videos', str(videos)]
    command += ['--out', str(out), '--checkpoint', str(checkpoint), '--workers', '1']
    command += ['--batch-size', '1', '--stride', '2', '--device', 'cpu']
    with subprocess.Popen(command, env={**os.environ, 'OMP_NUM_THREADS': '1'}) as process:
        until = time.monotonic() + 120
        while len(list(out.rglob('*.npy'))) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = arrays(out)
    assert 3 <= len(left) < 17
    # As if it had been killed while it wrote.
    (out / '.more.npy.1234.tmp').write_bytes(b'half')
    with (out / 'manifest.csv').open('ab') as file:
        file.write(b'more/11,/some')
    _, told = run('--stride', '2', out='killed')
    assert (told['stored'] + told['kept'], told['failed']) == (17, {})
    assert told['kept'] >= len(left) - 1
    run('--stride', '2', out='whole')
    whole, found = arrays(tmp_path / 'whole'), arrays(out)
    assert whole.keys() == found.keys()
    assert all(np.allclose(whole[name], found[name], atol=1e-5) for name in whole)
    assert not list(out.rglob('*.tmp'))
    assert (out / 'manifest.csv').read_bytes() == (tmp_path / 'whole/manifest.csv').read_bytes()


def test_two_writers_at_once_are_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    held = os.open(tmp_path / 'out', os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with pytest.raises(AssertionError, match='another process writes'):
            run()
    finally:
        os.close(held)


def test_two_videos_of_one_name_are_refused(run: Run, videos: Path) -> None:
    write_video(videos / 'a/slow.avi', 0.5, 10)
    with pytest.raises(AssertionError, match=r"the features 'a/slow\.npy'"):
        run()


def test_a_network_whose_features_differ_by_task_needs_one(run: Run, checkpoint: Path) -> None:
    save_checkpoint(checkpoint, network_of(sharing='single_task'), metrics={}, training={})
    with pytest.raises(AssertionError, match=r"several: \['action', 'gesture'\]"):
        run()
    assert run('--task', 'gesture')[0] == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--model', 'r3d_81', '--weights', 'none'], "Did you mean 'r3d_18'"),
        (['--task', 'nothing'], r"no clip task of .* which has \['action', 'gesture'\]"),
        (['--stride', '0'], 'stride of a window must be at least 1'),
        (['--dtype', 'float8'], 'dtype must be one of'),
        (['--batch-size', '0'], 'batch_size must be at least 1'),
        (['--workers', '-1'], '--workers must not be negative'),
        (['--dataset', 'folder'], 'either --videos or --dataset must be given, got both'),
        (['--weights', 'none'], '--weights goes with --model'),
        (['--splits', 'val'], '--splits goes with --dataset'),
        (['--videos', 'nowhere'], 'not a folder that exists'),
    ],
)
def test_wrong_arguments_are_refused(run: Run, arguments: list[str], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        run(*arguments)


def test_data_sets_give_each_video_once(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ('train/wave/a.avi', 'train/nod/b.mp4', 'val/wave/c.avi'):
        write_video(tmp_path / 'set' / name, 0.6, 10)
    given = ['--dataset', 'folder', '--settings', f'{{root: {tmp_path / "set"}}}']
    given += ['--out', str(tmp_path / 'out'), '--checkpoint', str(checkpoint), '--workers', '0']
    assert cli.main(['extract-features', *given]) == 0
    assert sorted(arrays(tmp_path / 'out')) == ['train/nod/b', 'train/wave/a', 'val/wave/c']


def test_a_model_of_torchvision_takes_a_file_of_weights(run: Run, tmp_path: Path) -> None:
    write_video(tmp_path / 'one/short.avi', 0.1, 10)
    torch.manual_seed(1)
    own = torchvision.models.video.r3d_18(num_classes=3)
    torch.save(own.state_dict(), tmp_path / 'own.pth')
    given = ['--model', 'r3d_18', '--batch-size', '1', '--videos', str(tmp_path / 'one')]
    run(*given, '--weights', str(tmp_path / 'own.pth'))
    assert arrays(tmp_path / 'out')['short'].shape == (1, 512)
    torch.save({'fc.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    with pytest.raises(AssertionError, match='do not fit r3d_18'):
        run(*given, '--weights', str(tmp_path / 'other.pth'), out='other')


def test_a_pickle_of_anything_else_is_not_loaded(run: Run, tmp_path: Path) -> None:
    torch.save({'f': print}, tmp_path / 'evil.pth')
    with pytest.raises(AssertionError, match='not a file of plain tensors'):
        run('--model', 'r3d_18', '--weights', str(tmp_path / 'evil.pth'))


def test_features_are_what_the_classifier_of_torchvision_sees() -> None:
    model = model_of_torchvision('s3d', 'none', torch.device('cpu'))
    torch.manual_seed(0)
    whole = torchvision.models.video.s3d().eval()
    seen = []
    head = getattr(whole, VIDEO_MODELS['s3d'][1])
    head.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    # Of the size that both scale to: torchvision scales without a filter.
    size = (1, model.num_frames, *model.preprocessing.resize, 3)
    clip = torch.randint(0, 256, size, dtype=torch.uint8)
    transforms = torchvision.models.get_model_weights('s3d').DEFAULT.transforms()
    with torch.no_grad():
        whole(transforms(clip.permute(0, 1, 4, 2, 3)))
    found = model(clip, FramePreprocessor(model.preprocessing))
    torch.testing.assert_close(found, seen[0].mean((2, 3, 4)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', VIDEO_MODELS)
def test_every_model_of_torchvision_is_seen_through_its_own_preprocessing(name: str) -> None:
    found = published_preprocessing(name)
    published = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    assert found.crop == tuple(published.crop_size)
    assert min(found.resize) == min(published.resize_size)
    assert (found.mean, found.std) == (tuple(published.mean), tuple(published.std))


def test_an_item_that_ends_its_process_is_told_and_the_others_come() -> None:
    # Bytes are pieces; address 0 is nobody's.
    found = list(streams_of_processes(ctypes.string_at, [b'ab', 0, b'c'], 1))
    assert found == [(b'ab', 97), (b'ab', 98), (0, None), (b'c', 99)]
