"""Tests of ``python -m mtl_training datasets check``."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
import ctypes
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

import av
import cv2
from mtl_training import cli
from mtl_training.data.decoding import probe, VideoFacts
from mtl_training.data.videos.index import ClipEntry, ClipIndex
from mtl_training.data.videos.registry import VIDEO_SETS
from mtl_training.dataset_tools.checking import KINDS
from mtl_training.dataset_tools.inspection import inspect_file
from mtl_training.dataset_tools.processes import in_processes
import numpy as np
import pytest
import yaml

SHARED = Path(__file__).parents[3] / 'shared' / 'data'


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def write_video(path: Path, num_frames: int = 12, *, seed: int = 0, codec: str = 'h264') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, 'yuv420p', 4
        stream.codec_context.max_b_frames = 0
        for _ in range(num_frames):
            picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return path


def write_pictures(folder: Path, count: int, *, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        cv2.imwrite(str(folder / f'{i:05}.jpg'), rng.integers(0, 256, (24, 32, 3), np.uint8))
    return folder


def damage(path: Path) -> Path:
    """Overwrite a tenth of a file in its middle."""
    content = bytearray(path.read_bytes())
    start, length = len(content) // 2, len(content) // 10
    content[start : start + length] = np.random.default_rng(1).bytes(length)
    path.write_bytes(content)
    return path


def write_config(tmp_path: Path, **data: dict[str, Any]) -> str:
    trunk = {'width': 2, 'num_frames': 4, 'preprocessing': {'resize': [16, 16]}}
    block = {
        'network': {'trunks': {'clip': trunk}, 'tasks': {task: {} for task in data}},
        'data': data,
        'iterations': 1,
        'evaluation': {'test': False},
    }
    path = tmp_path / 'config.yaml'
    path.write_text(yaml.safe_dump(block))
    return str(path)


def folder_of(root: Path) -> dict[str, Any]:
    return {'dataset': 'folder', 'settings': {'root': str(root)}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a data set with nothing wrong in it, in several containers and as pictures."""
    root = tmp_path / 'videos'
    for seed, name in enumerate(['train/wave/a.mp4', 'train/nod/b.avi', 'val/wave/c.mp4']):
        write_video(root / name, seed=seed, codec='mpeg4' if name.endswith('avi') else 'h264')
    write_pictures(root / 'val/nod/d', 3)
    return root


Report = Callable[..., dict[str, Any]]


@pytest.fixture
def report(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> Report:
    def run(*arguments: str, code: int = 1) -> dict[str, Any]:
        config = write_config(tmp_path, gesture=folder_of(root))
        out = tmp_path / 'new' / 'report.json'
        given = ['--config', config, '--jobs', '1', '--out', str(out), *arguments]
        assert cli.main(['datasets', 'check', *given]) == code, capsys.readouterr()
        return json.loads(out.read_text())

    return run


def kinds(report: dict[str, Any], name: str) -> list[str]:
    found = [p for p in report['problems'] if p['path'].endswith(name)]
    return sorted(problem['kind'] for problem in found)


def test_clean_data_has_no_problems(report: Report) -> None:
    found = report(code=0)
    assert (found['problems'], found['num_files']) == ([], 4)
    train = next(row for row in found['statistics'] if row['split'] == 'train')
    assert train['resolutions'] == {'64x48': 2}
    assert train['rates_hz'] == {'10': 2}
    assert train['frames'] == {'min': 12, 'median': 12, 'max': 12, 'total': 24}
    assert train['duration_sec']['max'] == pytest.approx(1.2, abs=0.01)
    val = next(row for row in found['statistics'] if row['split'] == 'val')
    assert val['resolutions'] == {'64x48': 1, '32x24': 1}


def test_files_that_do_not_open_are_found(report: Report, root: Path) -> None:
    (root / 'train/wave/empty.mp4').touch()
    (root / 'train/wave/text.avi').write_text('no video at all')
    found = report()
    assert kinds(found, 'empty.mp4') == kinds(found, 'text.avi') == ['unreadable']
    assert found['counts'] == {'unreadable': 2}


@pytest.mark.parametrize('name', ['x.mp4', 'x.mkv', 'x.avi'])
def test_damage_in_the_middle_is_found(report: Report, root: Path, name: str) -> None:
    damage(write_video(root / 'train/wave' / name, 40, seed=9))
    assert 'damaged' in kinds(report(), name)


def test_a_video_that_is_cut_off_declares_more_than_it_holds(report: Report, root: Path) -> None:
    path = write_video(root / 'train/wave/x.mkv', 40, seed=9)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = report()
    assert 'frame_count' in kinds(found, 'x.mkv')
    (detail,) = [p['detail'] for p in found['problems'] if p['kind'] == 'frame_count']
    assert 'declares 40 frames and holds' in detail


def test_a_video_of_one_frame_is_found(report: Report, root: Path) -> None:
    write_video(root / 'train/wave/x.mp4', 1, seed=9)
    write_pictures(root / 'train/nod/single', 1, seed=9)
    found = report()
    assert kinds(found, 'x.mp4') == kinds(found, 'single') == ['one_frame']


def test_pictures_that_do_not_decode_are_found(report: Report, root: Path) -> None:
    folder = write_pictures(root / 'train/nod/shots', 4, seed=9)
    whole = (folder / '00002.jpg').read_bytes()
    (folder / '00002.jpg').write_bytes(whole[: len(whole) // 2])
    found = report()
    assert kinds(found, 'shots') == ['damaged']
    assert "1 of 4 pictures do not decode, as '00002.jpg'" in found['problems'][0]['detail']


def test_the_same_content_in_train_and_val_is_the_worst(report: Report, root: Path) -> None:
    (root / 'val/wave/copy.mp4').write_bytes((root / 'train/wave/a.mp4').read_bytes())
    found = report()
    assert kinds(found, 'copy.mp4') == ['leak']
    assert found['problems'][0]['detail'].endswith("train/wave/a.mp4' of train")


def test_the_same_content_under_two_labels_is_mislabelled(report: Report, root: Path) -> None:
    (root / 'train/nod/copy.mp4').write_bytes((root / 'train/wave/a.mp4').read_bytes())
    found = report()
    # Which of them is wrong is not known: the second is told, with the first.
    (problem,) = found['problems']
    assert problem['kind'] == 'mislabelled'
    assert "train/nod/copy.mp4' of train, which is 'nod', not 'wave'" in problem['detail']


def test_the_same_content_twice_is_a_duplicate(report: Report, root: Path) -> None:
    (root / 'train/wave/copy.mp4').write_bytes((root / 'train/wave/a.mp4').read_bytes())
    assert kinds(report(), 'copy.mp4') == ['duplicate']


@pytest.fixture
def ranged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Report:
    """Check a data set that lists given entries for training."""

    def run(*entries: ClipEntry, missing: tuple[str, ...] = (), code: int = 1) -> dict[str, Any]:
        other = write_video(tmp_path / 'val.mp4', seed=99)

        def listed(split: str) -> ClipIndex:
            """Ranges."""
            found = [*entries] if split == 'train' else [ClipEntry(other, 0)]
            return ClipIndex(('a', 'b'), found, [*missing] if split == 'train' else [])

        monkeypatch.setitem(VIDEO_SETS, 'listed', listed)
        config = write_config(tmp_path, gesture={'dataset': 'listed'})
        assert cli.main(['datasets', 'check', '--config', config, '--jobs', '1', '--json']) == code
        return json.loads(capsys.readouterr().out)

    return run


def test_ranges_beyond_the_end_are_found(ranged: Report, tmp_path: Path) -> None:
    path = write_video(tmp_path / 'x.mp4', 12)
    entries = [ClipEntry(path, 0, frames) for frames in ((0, 5), (5, 12), (8, 13), (20, 30))]
    found = ranged(*entries)
    details = [problem['detail'] for problem in found['problems']]
    assert details == ['frames 8 to 13 of 12', 'frames 20 to 30 of 12']
    assert found['counts'] == {'range': 2}
    assert found['num_files'] == 2, 'a file is decoded once, however many ranges it has'


def test_parts_of_one_recording_are_no_duplicates(ranged: Report, tmp_path: Path) -> None:
    path = write_video(tmp_path / 'x.mp4', 12)
    ranged(ClipEntry(path, 0, (0, 6)), ClipEntry(path, 1, (6, 12)), code=0)


@pytest.mark.parametrize(
    ('declared', 'kind', 'code'),
    [(13, 'off_by_one', 0), (11, 'off_by_one', 0), (14, 'frame_count', 1)],
)
def test_frame_counts_that_are_off_by_one_are_counted_and_no_problem(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    declared: int,
    kind: str,
    code: int,
) -> None:
    def declares(path: Path) -> VideoFacts:
        return probe(path)._replace(problem=f'declares {declared} frames and holds 12')

    monkeypatch.setattr('mtl_training.dataset_tools.inspection.probe', declares)
    config = write_config(tmp_path, gesture=folder_of(root))
    assert cli.main(['datasets', 'check', '--config', config, '--jobs', '1']) == code
    text = capsys.readouterr().out
    assert f'{kind}: 3' in text
    ending = '4 files, 0 problems, 3 harmless frame counts off by one'
    assert text.endswith(f'{ending}\n' if code == 0 else '4 files, 3 problems\n')
    # Each is listed only where something is wrong.
    assert ('a.mp4' in text) is (code == 1)


def test_one_problem_is_singular(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / 'train/wave/empty.mp4').touch()
    config = write_config(tmp_path, gesture=folder_of(root))
    assert cli.main(['datasets', 'check', '--config', config, '--jobs', '1']) == 1
    assert capsys.readouterr().out.endswith('5 files, 1 problem\n')


def test_what_is_missing_is_found(ranged: Report, tmp_path: Path) -> None:
    path = write_video(tmp_path / 'x.mp4')
    gone = ClipEntry(tmp_path / 'gone.mp4', 0)
    found = ranged(ClipEntry(path, 0), gone, missing=('class/lost.avi',))
    names = {Path(problem['path']).name for problem in found['problems']}
    assert (names, found['counts']) == ({'lost.avi', 'gone.mp4'}, {'missing': 2})


def test_val_in_the_place_of_a_test_split_is_no_problem(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def listed(split: str) -> ClipIndex:
        """Test is val."""
        name = 'train/wave/a.mp4' if split == 'train' else 'val/wave/c.mp4'
        return ClipIndex(('wave',), [ClipEntry(root / name, 0)])

    monkeypatch.setitem(VIDEO_SETS, 'listed', listed)
    config = write_config(tmp_path, gesture={'dataset': 'listed'})
    block = yaml.safe_load(Path(config).read_text()) | {'evaluation': {'test': True}}
    Path(config).write_text(yaml.safe_dump(block))
    arguments = ['--config', config, '--jobs', '1', '--json']
    assert cli.main(['datasets', 'check', *arguments]) == 0
    splits = [row['split'] for row in json.loads(capsys.readouterr().out)['statistics']]
    assert splits == ['train', 'val', 'test']


def test_a_data_set_that_is_not_there_is_a_problem(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {'gesture': folder_of(root), 'action': folder_of(tmp_path / 'nowhere')}
    config = write_config(tmp_path, **data)
    assert cli.main(['datasets', 'check', '--config', config, '--jobs', '1', '--json']) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found['counts'], found['num_files']) == ({'not_there': 2}, 4)
    assert 'the layout is' in found['problems'][0]['detail']


def test_names_of_any_bytes_survive_and_people_get_a_table(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ['[b] #1 & (c)! %20.mp4', "it's; ,@.mp4", os.fsdecode(b'caf\xe9.mp4')]
    for seed, name in enumerate(names):
        path = write_video(root / 'train/wave/x.mp4', 1, seed=50 + seed)
        path.rename(path.with_name(name))
    config = write_config(tmp_path, gesture=folder_of(root))
    assert cli.main(['datasets', 'check', '--config', config, '--jobs', '1']) == 1
    text = capsys.readouterr().out
    assert 'one_frame: 3' in text
    assert KINDS['one_frame'].split()[0] in text
    assert '7 files, 3 problems' in text


def test_several_processes_find_the_same(report: Report, root: Path) -> None:
    (root / 'train/wave/text.avi').write_text('no video at all')
    damage(write_video(root / 'train/wave/x.mp4', 40, seed=9))
    assert report('--jobs', '2') == report('--jobs', '1')


@pytest.mark.skipif(not SHARED.is_dir(), reason=f'no real videos: {SHARED} is not there')
def test_real_videos_declare_what_is_known_of_them() -> None:
    # Nine of these twenty declare a frame more than decodes, and one some more.
    found = [inspect_file(path) for path in sorted(SHARED.glob('intel_asl_gestures/*.mkv'))]
    details = Counter(kind for facts in found for kind, _ in facts.problems)
    assert len(found) == 20
    assert details == {'off_by_one': 9, 'frame_count': 1}
    (again,) = [facts for facts in found if facts.path.endswith('again.mkv')]
    assert again.num_frames == 77
    ucf101 = inspect_file(SHARED / 'ucf101_c3d/v_ApplyEyeMakeup_g01_c01.avi')
    ntu = inspect_file(SHARED / 'ntu_mmaction2/S001C001P001R001A001_rgb.avi')
    assert (ucf101.problems, ucf101.num_frames) == ([], 164)
    assert (ntu.problems, ntu.num_frames, ntu.size) == ([], 103, (1920, 1080))


def test_what_ends_its_process_is_told_and_the_others_are_done() -> None:
    # Of an address that is none, the third reads what is there.
    items = [b'a', b'b', 0, b'c', b'd', b'e']
    found = dict(in_processes(ctypes.string_at, items, 2))
    assert found == {**{item: item for item in items if item}, 0: None}


SLOW = """
import os, signal, sys, time
from mtl_training.dataset_tools.processes import in_processes

def deaf(seconds):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(seconds)

if __name__ == '__main__':
    # Ignored where the tests themselves run in the background of a shell.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print('started', flush=True)
    try:
        for _ in in_processes(FUNCTION, [*SHORT, 300.0, 300.0, 300.0], 2):
            print('one', flush=True)
    except KeyboardInterrupt:
        print('interrupted', flush=True)
        sys.exit(130)
elif IS_IMPORTING:
    try:
        os.close(os.open('first', os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        time.sleep(300)
"""


@pytest.mark.parametrize('reached', ['all', 'the first'])
@pytest.mark.parametrize('state', ['working', 'importing', 'deaf'])
def test_an_interruption_ends_all_processes_at_once_without_a_word(
    tmp_path: Path, state: str, reached: str
) -> None:
    is_importing = state == 'importing'
    script = SLOW.replace('FUNCTION', 'deaf' if state == 'deaf' else 'time.sleep')
    # Either may be the first to have imported, which is then the one to be done with its item.
    script = script.replace('SHORT', '(0.01, 0.01)' if is_importing else '(0.01,)')
    (tmp_path / 'slow.py').write_text(script.replace('IS_IMPORTING', str(is_importing)))
    environment = os.environ | {'PYTHONPATH': str(Path(__file__).parents[2])}
    command = [sys.executable, str(tmp_path / 'slow.py')]
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        assert [process.stdout.readline() for _ in range(2)] == ['started\n', 'one\n']
        # As the terminal does, to all processes of the group; or as another program may.
        (os.killpg if reached == 'all' else os.kill)(process.pid, signal.SIGINT)
        # The pipes close with the last of them.
        out, error = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, out, error) == (130, 'interrupted\n', '')


def test_an_error_of_an_item_is_raised_here() -> None:
    with pytest.raises(FileNotFoundError, match='nowhere'):
        list(in_processes(os.listdir, ['nowhere/1', 'nowhere/2'], 2))


def photos(root: Path) -> Iterator[Path]:
    """Make a data set of photos in COCO's format and yield its images."""
    for split, number in (('train', 3), ('val', 1)):
        folder = root / f'{split}2017'
        folder.mkdir(parents=True)
        images = [
            {'id': i, 'file_name': f'{i}.jpg', 'height': 48, 'width': 64} for i in range(number)
        ]
        people = [
            {
                'id': i,
                'image_id': i,
                'category_id': 1,
                'iscrowd': 0,
                'area': 900.0,
                'num_keypoints': 17,
                'bbox': [5, 5, 40, 40],
                'keypoints': [10, 10, 2] * 17,
                'segmentation': [[5, 5, 45, 5, 45, 45]],
            }
            for i in range(number)
        ]
        content = {'images': images, 'annotations': people, 'categories': []}
        path = root / 'annotations' / f'person_keypoints_{split}2017.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        rng = np.random.default_rng(number)
        for i in range(number):
            image = folder / f'{i}.jpg'
            cv2.imwrite(str(image), rng.integers(0, 256, (48, 64, 3), np.uint8))
            yield image


def test_photos_are_decoded_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = list(photos(tmp_path / 'coco'))
    train[0].unlink()
    whole = train[1].read_bytes()
    train[1].write_bytes(whole[: len(whole) // 2])
    train[3].write_bytes(train[2].read_bytes())
    trunk = {'backbone': 'resnet2d', 'depth': 18, 'preprocessing': {'resize': [64, 64]}}
    block = {
        'network': {
            'trunks': {'frame': trunk},
            'tasks': {'person': {'kind': 'detection', 'trunk': 'frame'}},
        },
        'data': {'person': {'dataset': 'coco', 'settings': {'root': str(tmp_path / 'coco')}}},
        'iterations': 1,
        'evaluation': {'selection': 'score', 'test': False},
    }
    config = tmp_path / 'coco.yaml'
    config.write_text(yaml.safe_dump(block))
    assert cli.main(['datasets', 'check', '--config', str(config), '--jobs', '1', '--json']) == 1
    found = json.loads(capsys.readouterr().out)
    assert found['counts'] == {'leak': 1, 'missing': 1, 'unreadable': 1}
    assert kinds(found, 'train2017/1.jpg') == ['unreadable']
    missing = next(p for p in found['problems'] if p['kind'] == 'missing')
    assert '1 of 3 images are not in' in missing['detail']
    assert cli.main(['datasets', 'describe', '--config', str(config), '--json']) == 0
    train_facts = json.loads(capsys.readouterr().out)['datasets'][0]
    assert (train_facts['num_samples'], train_facts['missing']) == (2, 1)
    assert train_facts['people']['people'] == 3


def test_what_is_rendered_has_no_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, action={'dataset': 'synthetic', 'settings': {'num_clips': 9}})
    assert cli.main(['datasets', 'check', '--config', config, '--jobs', '1']) == 0
    assert 'action, train: samples are no files' in capsys.readouterr().out
