"""Training on the user's own videos, by the commands of the README."""

import json
from pathlib import Path
import subprocess
import sys

import av
from mtl_training.config import build_config, read_yaml
from mtl_training.run_state import load_state, save_state
from mtl_training.trainer import Trainer
import numpy as np
import pytest
from rich.console import Console

ROOT = Path(__file__).parents[2]
SMALL = (
    *('--iterations', '40', '--batch_size', '4', '--evaluation.every', '40', '--workers', '0'),
    *('--network.trunks.clip.width', '2', '--network.trunks.clip.num_frames', '2'),
    *('--network.trunks.clip.preprocessing.resize', '[16, 16]', '--optimiser.lr', '0.01'),
    *('--network.trunks.clip.preprocessing.crop', 'null', '--optimiser.warmup', '0'),
)


def write_video(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for _ in range(25):
            picture = np.full((48, 64, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())


def run(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'mtl_training', *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / 'videos'
    for split in ('train', 'val'):
        for name, level in (('dark', 30), ('light', 220)):
            for i in range(2):
                write_video(folder / split / name / f'{i}.mp4', level + 5 * i)
    return folder


def test_own_videos_are_trained_on_and_evaluated(videos: Path, tmp_path: Path) -> None:
    config = ROOT / 'config' / 'training' / 'folder.yaml'
    root = ('--data.action.settings.root', videos)
    out = tmp_path / 'run'
    trained = run('train', '--config', config, *root, '--out', out, *SMALL)
    assert trained.returncode == 0, trained.stderr
    command = ('evaluate', '--checkpoint', out / 'best.safetensors', '--split', 'val', '--json')
    evaluated = run(*command)
    assert evaluated.returncode == 0, evaluated.stderr
    result = json.loads(evaluated.stdout)
    assert result['tasks']['action']['labels'] == ['dark', 'light']
    assert result['tasks']['action']['confusion'] == [[2, 0], [0, 2]]


@pytest.fixture
def block(videos: Path) -> dict:
    """Return a config of two iterations on the videos as plain values."""
    block = read_yaml(ROOT / 'config' / 'training' / 'folder.yaml')
    trunk = {'width': 2, 'num_frames': 2, 'preprocessing': {'resize': [16, 16], 'crop': None}}
    block['network']['trunks'] = {'clip': trunk}
    block['data']['action']['settings']['root'] = str(videos)
    block |= {'iterations': 2, 'batch_size': 2, 'workers': 0, 'accelerator': 'cpu'}
    return block | {'optimiser': {'warmup': 0}, 'init_weights': None}


def train(block: dict, out: Path, *, resume: bool = False) -> dict:
    """Train; a new run is stopped after its first iteration."""
    trainer = Trainer(build_config(block), out, Console(quiet=True))
    if not resume:
        trainer._should_stop = lambda: trainer._iteration == 1
    return trainer.run(resume=resume)


@pytest.mark.parametrize('label_noise', [0.0, 0.5])
def test_a_stopped_run_goes_on_with_the_videos_that_it_began_with_alone(
    videos: Path, block: dict, tmp_path: Path, label_noise: float
) -> None:
    block['data']['action']['label_noise'] = label_noise
    out = tmp_path / 'run'
    assert not train(block, out)['finished']
    video, elsewhere = videos / 'train' / 'dark' / '0.mp4', tmp_path / 'elsewhere.mp4'
    video.rename(elsewhere)
    message = r"run' .*samples of task 'action': 4 then, 3 now\. Restore .* another --out"
    with pytest.raises(ValueError, match=message):
        train(block, out, resume=True)
    elsewhere.rename(video.with_name('9.mp4'))
    with pytest.raises(ValueError, match=r"task 'action': 4 then, 4 others now"):
        train(block, out, resume=True)
    video.with_name('9.mp4').rename(video)
    assert train(block, out, resume=True)['finished']


def test_a_run_that_did_not_store_its_videos_goes_on(
    videos: Path, block: dict, tmp_path: Path
) -> None:
    out = tmp_path / 'run'
    train(block, out)
    state = load_state(out / 'state.safetensors')
    del state.facts['samples']
    save_state(out / 'state.safetensors', state)
    (videos / 'train' / 'dark' / '0.mp4').unlink()
    assert train(block, out, resume=True)['finished']


def test_a_missing_folder_gets_one_line(tmp_path: Path) -> None:
    config = ROOT / 'config' / 'training' / 'folder.yaml'
    root = ('--data.action.settings.root', tmp_path / 'nowhere')
    done = run('train', '--config', config, *root, '--out', tmp_path / 'run')
    assert done.returncode == 2
    assert 'nowhere' in done.stderr
    assert 'the layout is' in done.stderr
    assert 'Traceback' not in done.stderr
