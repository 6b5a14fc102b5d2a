"""From a config's settings to clips of videos, and what a run tells of them at its end."""

from collections.abc import Callable
import inspect
import json
from pathlib import Path
import subprocess
import sys
from typing import Any

from mtl_perception.network.config import NetworkConfig
from mtl_training.config import DataConfig, load_config
from mtl_training.data.clip_sets import DATASETS
from mtl_training.data.loading import build_dataset
from mtl_training.data.video_sets.folder import folder
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.registry import VIDEO_SETS
from mtl_training.tables import summary
import pytest

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / 'config' / 'training' / 'folder.yaml'
SMALL = (
    *('--iterations', '4', '--batch_size', '2', '--evaluation.every', '4', '--workers', '2'),
    *('--network.trunks.clip.width', '2', '--network.trunks.clip.num_frames', '2'),
    *('--network.trunks.clip.preprocessing.resize', '[20, 24]', '--optimiser.warmup', '0'),
    *('--network.trunks.clip.preprocessing.crop', '[16, 16]'),
)


@pytest.fixture
def videos(tmp_path: Path, write_video: Callable[..., Path]) -> Path:
    root = tmp_path / 'videos'
    for split in ('train', 'val'):
        for number, name in enumerate(('dark', 'light')):
            for i in range(2):
                write_video(root / split / name / f'{i}.avi', 25 + 4 * i + number)
    return root


def built(root: Path, split: str = 'train', **settings: Any) -> Any:
    network: NetworkConfig = load_config(str(CONFIG), []).network
    data = DataConfig(dataset='folder', settings={'root': str(root), **settings})
    return build_dataset('action', data, split, network)


def test_settings_of_what_there_is_and_of_how_it_is_read_stand_side_by_side(
    videos: Path,
) -> None:
    clips = built(videos, window='whole', augment=True, size=[32, 40], num_clips=3)
    assert isinstance(clips, VideoClips)
    assert clips.labels == ('dark', 'light')
    assert len(clips) == 3
    assert clips[0].frames.shape[1:] == (32, 40, 3)


def test_an_unknown_setting_gets_the_nearest_name_and_all_of_them(videos: Path) -> None:
    with pytest.raises(
        ValueError, match=r"task 'action' has no setting 'windo'.*'window'"
    ) as told:
        built(videos, windo='whole')
    names = [*inspect.signature(folder).parameters][1:]
    names += [*inspect.signature(VideoClips).parameters][3:]
    assert {'root', 'window', 'cache_dir', 'augment'} <= set(names)
    assert all(name in str(told.value) for name in names)
    with pytest.raises(ValueError, match='window must be str, got 3'):
        built(videos, window=3)


def test_every_data_set_of_videos_is_known_by_name_and_has_a_line() -> None:
    assert {'folder', 'synthetic', 'ucf101', 'merged'} <= set(DATASETS)
    assert set(VIDEO_SETS) <= set(DATASETS)
    for name, function in VIDEO_SETS.items():
        assert function.__name__ == name
        assert summary(function).endswith('.')
        # What is read and how may not share a name, or one could not be set.
        own = set(inspect.signature(function).parameters)
        assert own & set(inspect.signature(VideoClips).parameters) == {'split'}


def run(*arguments: object) -> 'subprocess.CompletedProcess[str]':
    command = [sys.executable, '-m', 'mtl_training', *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_run_lists_its_problems_at_the_end(
    videos: Path, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    (videos / 'train' / 'dark' / 'bad.mp4').write_bytes(b'nothing')
    write_video(videos / 'val' / 'light' / 'short.avi', 1)
    out = tmp_path / 'run'
    root = ('--data.action.settings.root', videos)
    trained = run('train', '--config', CONFIG, *root, '--out', out, *SMALL, '--json')
    assert trained.returncode == 0, trained.stderr
    figures = json.loads(trained.stdout)
    assert figures['video_problems'] == 2
    listed = Path(figures['video_problems_file']).read_text().splitlines()
    assert [Path(json.loads(line)[0]).name for line in listed] == ['bad.mp4', 'short.avi']
    assert json.loads((out / 'summary.json').read_text())['video_problems'] == 2
    assert f'2 problems with videos, listed in {out}' in trained.stderr
    assert trained.stderr.count("bad.mp4'") == 1
    evaluated = run('evaluate', '--checkpoint', out / 'best.safetensors', '--split', 'val')
    assert evaluated.returncode == 0, evaluated.stderr
    assert '1 problems with videos:' in evaluated.stderr
