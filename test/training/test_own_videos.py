"""Training on the user's own videos, by the commands of the README."""

import json
from pathlib import Path
import subprocess
import sys

import av
import numpy as np
import pytest

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


def test_a_missing_folder_gets_one_line(tmp_path: Path) -> None:
    config = ROOT / 'config' / 'training' / 'folder.yaml'
    root = ('--data.action.settings.root', tmp_path / 'nowhere')
    done = run('train', '--config', config, *root, '--out', tmp_path / 'run')
    assert done.returncode == 2
    assert 'nowhere' in done.stderr
    assert 'the layout is' in done.stderr
    assert 'Traceback' not in done.stderr
