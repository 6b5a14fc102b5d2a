"""Two published data sets, in their own formats on disk, from their files to a network."""

from collections.abc import Iterator
import json
from pathlib import Path
import subprocess
import sys

import av
from mtl_training.data.synthetic import render, Scene
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SIZE, RATE = (72, 96), 15
# What the rendered people do, and what the data sets call it.
ACTIONS = {'walk': 'WalkingWithDog', 'jump': 'JumpingJack', 'squat': 'BodyWeightSquats'}
GESTURES = {'raise_both_hands': 18, 'wave': 4, 'stop': 22}  # numbers of NVGesture, from 1
CONFIG = {
    'network': {
        'trunks': {
            'clip': {
                'depth': 18,
                'width': 8,
                'num_frames': 8,
                'clip_seconds': 2.0,
                'subtract_mean': True,
                'preprocessing': {'resize': [48, 64]},
            }
        },
        'tasks': {'action': {}, 'gesture': {}},
    },
    'iterations': 500,
    'batch_size': 8,
    'optimiser': {'name': 'adamw', 'lr': 4.0e-3, 'schedule': 'cosine', 'warmup': 30},
    'evaluation': {'every': 250, 'batch_size': 20},
    'threads': 1,
}


def write_video(path: Path, scene: Scene, first_sec: float, seconds: float) -> int:
    """Write a part of a scene and return its number of frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = first_sec + np.arange(round(seconds * RATE)) / RATE
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=RATE)
        (stream.height, stream.width), stream.pix_fmt = SIZE, 'yuv420p'
        stream.bit_rate = 600_000
        for picture in render(scene, times, SIZE).frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return len(times)


def scenes(task: str, label: str, count: int) -> Iterator[Scene]:
    """Yield scenes that show a label, other ones for each task and label."""
    first = 1_000_000 * (1 + [*ACTIONS, *GESTURES].index(label))
    for seed in range(first, first + count):
        yield Scene.sample(seed, task=task, label=label, num_people=1)


def write_ucf101(root: Path) -> None:
    """Write classes of UCF101: 25 groups of 4 clips; the first split tests on groups 1 to 7."""
    lists = root / 'ucfTrainTestlist'
    lists.mkdir(parents=True)
    train, test = [], []
    for number, (label, name) in enumerate(ACTIONS.items(), 1):
        drawn = scenes('action', label, 100)
        for group in range(1, 26):
            for clip in (1, 2, 3, 4):
                path = f'{name}/v_{name}_g{group:02d}_c{clip:02d}.avi'
                scene = next(drawn)
                write_video(root / 'UCF-101' / path, scene, scene.window(0.5, 2.0), 2.0)
                (test if group <= 7 else train).append(path if group <= 7 else f'{path} {number}')
    names = [f'{number} {name}' for number, name in enumerate(ACTIONS.values(), 1)]
    for file, lines in (('classInd', names), ('trainlist01', train), ('testlist01', test)):
        (lists / f'{file}.txt').write_bytes(''.join(f'{line}\r\n' for line in lines).encode())


def write_nvgesture(root: Path) -> None:
    """Write gestures of NVGesture: 20 subjects, the gesture somewhere within longer videos."""
    lines: dict[str, list[str]] = {'train': [], 'test': []}
    for label, number in GESTURES.items():
        drawn = scenes('gesture', label, 80)
        for subject in range(1, 21):
            for take in range(4):
                scene = next(drawn)
                begin = scene.window(0.5, 2.0)
                before = min(begin, 0.5)
                folder = f'Video_data/class_{number:02d}/subject{subject}_r{take}'
                path = root / folder / 'sk_color.avi'
                write_video(path, scene, begin - before, before + 2.5)
                first = round(before * RATE) + 1
                part = f'sk_color:{first}:{first + 2 * RATE - 1}'
                split = 'test' if subject > 14 else 'train'
                lines[split].append(f'path:./{folder} color:{part} label:{number} ')
    for split, rows in lines.items():
        file = root / f'nvgesture_{split}_correct_cvpr2016_v2.lst'
        file.write_text('\n'.join(rows))


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'mtl_training', *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False
    )


def test_actions_of_ucf101_and_gestures_of_nvgesture_are_learnt_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'known'))
    write_ucf101(tmp_path / 'UCF101')
    write_nvgesture(tmp_path / 'NVGesture')
    kept = {'cache_dir': str(tmp_path / 'clips'), 'augment': True, 'crop_scale': [0.8, 1.0]}
    data = {
        'action': {
            'dataset': 'ucf101',
            'settings': {'root': str(tmp_path / 'UCF101'), 'val_share': 0.2, **kept},
        },
        'gesture': {
            'dataset': 'nvgesture',
            'settings': {'root': str(tmp_path / 'NVGesture'), 'val_share': 0.2, **kept},
        },
    }
    config = tmp_path / 'both.yaml'
    config.write_text(yaml.safe_dump({**CONFIG, 'data': data}))
    described = run('datasets', 'describe', '--config', config, '--json')
    assert described.returncode == 0, described.stderr
    trained = run('train', '--config', config, '--out', tmp_path / 'run')
    assert trained.returncode == 0, trained.stderr
    assert not (tmp_path / 'run' / 'video_problems.jsonl').exists()
    evaluated = run('evaluate', '--checkpoint', tmp_path / 'run' / 'best.safetensors', '--json')
    assert evaluated.returncode == 0, evaluated.stderr
    tasks = json.loads(evaluated.stdout)['tasks']
    accuracies = {task: tasks[task]['accuracy'] for task in ('action', 'gesture')}
    print(f'on the official test lists: {accuracies}')
    assert {task: sum(map(sum, tasks[task]['confusion'])) for task in tasks} == {
        'action': 3 * 7 * 4,
        'gesture': 3 * 6 * 4,
    }
    assert min(accuracies.values()) >= 0.8, accuracies
