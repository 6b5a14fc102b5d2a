"""Tests of ``python -m mtl_training datasets prepare``."""

from collections import namedtuple
from collections.abc import Callable
import json
import os
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import ColorRange, Colorspace
import cv2
from mtl_training import cli
from mtl_training.config import build_config
from mtl_training.data.decoding import packet_times, probe, read_frames
from mtl_training.data.loading import build_dataset
from mtl_training.data.videos.index import ClipEntry, ClipIndex
from mtl_training.data.videos.registry import VIDEO_SETS
from mtl_training.data.videos.scaling import FrameScaler
from mtl_training.dataset_tools.transcoding import Copied, CopyJob, make_copy
import numpy as np
import pytest
import yaml

HEIGHT, WIDTH = 120, 160
SHARED = Path(__file__).parents[3] / 'shared' / 'data'
ODD = ['[b] #1 & (c)! %20', "it's; ,@", '.hidden', '握手', os.fsdecode(b'caf\xe9'), 'x' * 240]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def write_video(
    path: Path,
    num_frames: int = 20,
    *,
    rate: int = 10,
    codec: str = 'mpeg4',
    size: tuple[int, int] = (WIDTH, HEIGHT),
    shade: int = 0,
) -> Path:
    """Write a video whose frame ``i`` is a red of ``shade + 8 * i`` beside green."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, 'yuv420p'
        stream.bit_rate = 8_000_000
        for i in range(num_frames):
            picture = np.zeros((size[1], size[0], 3), np.uint8)
            picture[:, : size[0] // 2, 0] = shade + 8 * i
            picture[:, size[0] // 2 :, 1] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return path


def reds(path: Path, times_sec: list[float]) -> list[float]:
    frames = read_frames(path, times_sec)
    assert all(abs(float(f[:, -f.shape[1] // 4 :, 1].mean()) - 200) < 6 for f in frames)
    return [float(f[:, : f.shape[1] // 4, 0].mean()) for f in frames]


def block_of(**data: dict[str, Any]) -> dict[str, Any]:
    trunk = {
        'width': 2,
        'num_frames': 4,
        'clip_seconds': 1.0,
        'preprocessing': {'resize': [48, 64]},
    }
    return {
        'network': {'trunks': {'clip': trunk}, 'tasks': {task: {} for task in data}},
        'data': data,
        'iterations': 1,
        'batch_size': 2,
        'evaluation': {'every': 1, 'batch_size': 2, 'test': False},
        'accelerator': 'cpu',
        'workers': 0,
        'threads': 1,
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / 'videos'
    for name in ('train/wave/a.avi', 'train/nod/b.mp4', 'val/wave/c.avi', 'val/nod/d.mkv'):
        write_video(root / name)
    return root


Prepare = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def prepare(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> Prepare:
    """Run the command and return its exit code and its JSON."""

    def run(*arguments: str, **data: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        default = {'gesture': {'dataset': 'folder', 'settings': {'root': str(root)}}}
        config = tmp_path / 'config.yaml'
        config.write_text(yaml.safe_dump(block_of(**(data or default))))
        given = ['--config', str(config), '--out', str(tmp_path / 'copy'), '--jobs', '1', '--json']
        code = cli.main(['datasets', 'prepare', *given, *arguments])
        captured = capsys.readouterr()
        assert captured.out, captured.err
        return code, json.loads(captured.out)

    return run


def copies(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / 'copy').rglob('*.mp4'))


def manifest(tmp_path: Path, split: str = 'train') -> list[dict[str, Any]]:
    lines = (tmp_path / 'copy' / 'gesture' / f'{split}.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_training_config_reads_the_copy(prepare: Prepare, tmp_path: Path, root: Path) -> None:
    settings = {'root': str(root), 'window': 'whole'}
    given = {'dataset': 'folder', 'settings': settings, 'train': {'augment': True}}
    code, found = prepare(gesture=given)
    assert (code, found['made'], found['failed']) == (0, 4, 0)
    section = yaml.safe_load((tmp_path / 'copy' / 'data.yaml').read_text())['data']
    assert section == found['data']
    assert section['gesture']['train'] == {'augment': True}
    assert section['gesture']['settings']['window'] == 'whole'
    ours, theirs = build_config(block_of(**section)), build_config(block_of(gesture=given))
    for split in ('train', 'val'):
        copied, source = (
            build_dataset('gesture', c.data['gesture'], split, c.network, augment=False)
            for c in (ours, theirs)
        )
        assert copied.labels == source.labels == ('nod', 'wave')
        assert len(copied) == len(source) == 2
        for one, other in zip(copied, source):
            assert one.label == other.label
            assert one.frames.shape == other.frames.shape
    config = tmp_path / 'train.yaml'
    config.write_text(yaml.safe_dump(block_of(**section)))
    out = str(tmp_path / 'run')
    assert cli.main(['train', '--config', str(config), '--out', out]) == 0


def test_copies_show_what_the_sources_show_at_the_same_times(
    prepare: Prepare, tmp_path: Path
) -> None:
    prepare()
    times = [0.0, 0.5, 1.0, 1.9]
    for row in manifest(tmp_path) + manifest(tmp_path, 'val'):
        copy = tmp_path / 'copy' / row['file']
        assert reds(copy, times) == pytest.approx([0, 40, 80, 152], abs=6)
        assert probe(copy).num_frames == 20
        assert probe(copy).problem == ''
        assert probe(copy).last_sec == pytest.approx(1.9, abs=0.01)


@pytest.mark.parametrize('value_range', [ColorRange.MPEG, ColorRange.JPEG])
@pytest.mark.parametrize('matrix', [Colorspace.ITU601, Colorspace.ITU709])
def test_copies_have_the_colours_of_their_sources_however_these_are_coded(
    tmp_path: Path, matrix: Colorspace, value_range: ColorRange
) -> None:
    halves = np.array([[60, 200, 20], [200, 40, 60]], np.uint8)
    picture = np.tile(halves.repeat(WIDTH // 2, axis=0), (HEIGHT, 1, 1))
    frame = av.VideoFrame.from_ndarray(picture, format='rgb24').reformat(
        format='yuv420p', dst_colorspace=matrix, dst_color_range=value_range
    )
    source, copy = tmp_path / 'a.mkv', tmp_path / 'a.mp4'
    with av.open(str(source), 'w') as container:
        stream = container.add_stream('libx264', rate=10, options={'crf': '5'})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
        # These two are numbered alike by FFmpeg's codecs and by its scaler.
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = value_range
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    make_copy(CopyJob(str(source), str(copy), None, (HEIGHT // 2, WIDTH // 2)))
    # As training sees them, the middle of each half.
    scaler = FrameScaler((48, 64), 'crop')
    theirs, ours = (
        read_frames(path, [0.0], scaler)[0][:, [16, 48]].astype(int) for path in (source, copy)
    )
    assert np.abs(theirs - halves).max() <= 4
    assert np.abs(ours - theirs).max() <= 4


def test_copies_are_small_without_sound_and_with_many_key_frames(
    prepare: Prepare, tmp_path: Path
) -> None:
    prepare()
    for path in copies(tmp_path):
        with av.open(str(path)) as container:
            assert [s.type for s in container.streams] == ['video']
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.width, stream.height) == ('h264', 80, 60)
            keys = [float(p.pts * p.time_base) for p in container.demux(stream) if p.is_keyframe]
        assert np.diff(keys).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ('size', 'arguments', 'expected'),
    [
        ((320, 240), [], (80, 60)),  # 48x64 and a quarter more
        ((240, 320), [], (80, 106)),  # a telephone's: as wide as it must be
        ((32, 24), [], (32, 24)),  # nothing grows
        ((321, 241), ['--size', '100'], (134, 100)),
        ((33, 25), ['--size', '100'], (32, 24)),  # even sides
    ],
)
def test_the_size_is_that_of_the_trunk_with_a_margin_or_what_is_asked_for(
    prepare: Prepare,
    tmp_path: Path,
    root: Path,
    size: tuple[int, int],
    arguments: list[str],
    expected: tuple[int, int],
) -> None:
    codec = 'mpeg4' if size[0] % 2 == 0 else 'png'
    path = root / 'train/wave/a.avi'
    if codec == 'png':
        path.unlink()
        folder = root / 'train/wave/a'
        folder.mkdir()
        for i in range(3):
            cv2.imwrite(str(folder / f'{i}.png'), np.zeros((size[1], size[0], 3), np.uint8))
    else:
        write_video(path, size=size)
    prepare(*arguments)
    (row,) = [row for row in manifest(tmp_path) if row['label'] == 'wave']
    with av.open(str(tmp_path / 'copy' / row['file'])) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == expected


def test_frames_beyond_a_rate_are_left_out(prepare: Prepare, tmp_path: Path, root: Path) -> None:
    write_video(root / 'train/wave/a.avi', 30, rate=30)
    prepare('--fps', '10')
    for row in manifest(tmp_path):
        copy, is_fast = tmp_path / 'copy' / row['file'], row['label'] == 'wave'
        # The other has ten frames a second as it is.
        assert probe(copy).num_frames == (10 if is_fast else 20)
        assert np.diff(packet_times(copy)) == pytest.approx(0.1, abs=1e-3)
        step = 24 if is_fast else 8
        assert reds(copy, [0.0, 0.3, 0.9]) == pytest.approx([0, 3 * step, 9 * step], abs=6)


def test_file_names_with_any_characters_survive(
    prepare: Prepare, tmp_path: Path, root: Path, listed: Callable[..., dict[str, Any]]
) -> None:
    for i, name in enumerate(ODD):
        source = write_video(root / 'train/nod' / 'x.mp4', shade=4 * i)
        source.rename(source.with_name(f'{name}.mp4'))
    entries = [ClipEntry(path, 0) for path in sorted((root / 'train/nod').iterdir())]
    code, found = prepare(gesture=listed((ODD[0], ODD[4]), *entries))
    assert (code, found['made']) == (0, 2 * len(entries))
    config = build_config(block_of(**found['data']))
    dataset = build_dataset('gesture', config.data['gesture'], 'train', config.network)
    assert len(dataset) == len(entries) == 1 + len(ODD)
    assert dataset.labels == (ODD[0], 'caf\ufffd')
    for row in manifest(tmp_path):
        assert (tmp_path / 'copy' / row['file']).is_file()
        assert Path(row['source']).is_file()


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Name a data set that lists given entries for both splits."""

    def register(labels: tuple[str, ...], *entries: ClipEntry, **more: Any) -> dict[str, Any]:
        def index(split: str) -> ClipIndex:
            """What is given."""
            return ClipIndex(labels, list(entries), **more)

        monkeypatch.setitem(VIDEO_SETS, 'listed', index)
        return {'dataset': 'listed'}

    return register


def test_ranges_groups_and_namesakes_are_kept_apart(
    prepare: Prepare, tmp_path: Path, listed: Callable[..., dict[str, Any]]
) -> None:
    one, two = write_video(tmp_path / '1/M_1.avi'), write_video(tmp_path / '2/M_1.avi', shade=90)
    data = listed(
        ('a/b', '.c'),
        ClipEntry(one, 0, (0, 5), 'person 1'),
        ClipEntry(one, 0, (10, 20), 'person 1'),
        ClipEntry(two, 0, (0, 5)),
        ClipEntry(two, 0, (0, 5)),  # twice in the list
        ClipEntry(two, 1),
        mirrored={},
    )
    code, found = prepare('--split', 'train', gesture=data)
    assert (code, len(copies(tmp_path))) == (0, 4)
    assert 'those of the copy never are' in found['notes'][0]
    rows = manifest(tmp_path)
    assert [row['frames'] for row in rows] == [[0, 5], [10, 20], [0, 5], [0, 5], None]
    assert [row['group'] for row in rows] == ['person 1', 'person 1', '', '', '']
    assert [row['label'] for row in rows] == ['a/b'] * 4 + ['.c']
    assert {Path(row['file']).parent.name for row in rows} == {'a_b', '_.c'}
    starts = [reds(tmp_path / 'copy' / row['file'], [0.0])[0] for row in rows]
    assert starts == pytest.approx([0, 80, 90, 90, 90], abs=6)
    counts = [probe(tmp_path / 'copy' / row['file']).num_frames for row in rows]
    assert counts == [5, 10, 5, 5, 20]


def test_folders_of_pictures_become_videos_at_their_rate(
    prepare: Prepare, tmp_path: Path, listed: Callable[..., dict[str, Any]]
) -> None:
    folder = tmp_path / '34870'
    folder.mkdir()
    for i in range(12):
        picture = np.zeros((100, 132, 3), np.uint8)
        picture[:, :66, 2], picture[:, 66:, 1] = 10 * i, 200
        cv2.imwrite(str(folder / f'{i + 1:05}.png'), picture)
    prepare(gesture=listed(('swipe',), ClipEntry(folder, 0, (2, 12)), rate_hz=12.0))
    (copy,) = [tmp_path / 'copy' / row['file'] for row in manifest(tmp_path)]
    assert reds(copy, [0.0, 0.5]) == pytest.approx([20, 80], abs=6)
    assert packet_times(copy) == pytest.approx(np.arange(10) / 12, abs=1e-3)


def test_what_is_there_is_kept_and_what_is_cut_off_or_changed_is_made_again(
    prepare: Prepare, tmp_path: Path, root: Path
) -> None:
    _, found = prepare()
    assert (found['made'], found['kept']) == (4, 0)
    before = {path: path.stat().st_mtime_ns for path in copies(tmp_path)}
    _, found = prepare()
    assert (found['made'], found['kept']) == (0, 4)
    cut = copies(tmp_path)[0]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    # As a process leaves it that was killed.
    (cut.parent / '.abc.tmp').write_bytes(b'half')
    write_video(root / 'val/nod/d.mkv', 10)
    _, found = prepare()
    assert (found['made'], found['kept']) == (2, 2)
    after = {path: path.stat().st_mtime_ns for path in copies(tmp_path)}
    assert sum(after[path] != before[path] for path in before) == 2
    _, found = prepare('--size', '30')
    assert (found['made'], found['kept']) == (4, 0)


def test_a_source_that_does_not_decode_is_listed_and_the_others_are_copied(
    prepare: Prepare,
    tmp_path: Path,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (root / 'train/wave/broken.mp4').write_bytes(b'no video')
    code, found = prepare()
    assert (code, found['made'], found['failed']) == (1, 4, 1)
    (problem,) = found['problems']
    assert problem['source'].endswith('broken.mp4')
    assert 'not a video that can be decoded' in problem['problem']
    assert all('broken' not in row['file'] for row in manifest(tmp_path))
    config = str(tmp_path / 'config.yaml')
    arguments = ['--config', config, '--out', str(tmp_path / 'copy'), '--jobs', '1']
    assert cli.main(['datasets', 'prepare', *arguments]) == 1
    text = capsys.readouterr().out
    assert 'left out:' in text
    assert '0 clips copied, 4 were there, 1 do not decode' in text
    assert 'times as fast' in text
    assert printed_section(text) == found['data']


def printed_section(text: str) -> dict[str, Any]:
    return yaml.safe_load(text[text.index('# Reads the copy') :].partition('\n\n')[0])['data']


def test_the_end_tells_how_many_sources_are_wrong_which_and_where_all_are_listed(
    prepare: Prepare,
    tmp_path: Path,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for i in range(7):
        (root / f'train/wave/broken{i}.mp4').write_bytes(b'no video')
    cut = root / 'val/nod/d.mkv'
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    prepare()
    for _ in range(2):  # what is kept was damaged all the same
        given = ['--config', str(tmp_path / 'config.yaml'), '--out', str(tmp_path / 'copy')]
        assert cli.main(['datasets', 'prepare', *given, '--jobs', '1']) == 1
        end = capsys.readouterr().out.split('\n\n')[-1].splitlines()
        assert end[0] == '7 sources of 11: left out, not a frame decodes:'
        assert all('broken' in line and 'not a video' in line for line in end[1:6])
        assert end[6] == '  and 2 more'
        assert end[7] == '1 source of 11: damaged, copied as far as they decode:'
        assert "nod/d.mkv': declares 20 frames" in end[8]
        assert end[9] == f'All of them are listed in {tmp_path / "copy" / "problems.jsonl"}'
    rows = (tmp_path / 'copy' / 'problems.jsonl').read_text().splitlines()
    actions = [json.loads(row)['action'] for row in rows]
    assert actions == ['left out'] * 7 + ['damaged']


def test_the_printed_section_is_whole_and_says_which_splits_are_copied(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rendered = {'dataset': 'synthetic', 'settings': {'num_clips': 9}}
    own = {'dataset': 'folder', 'settings': {'root': str(root)}}
    block = block_of(action=rendered, gesture=own)
    # The videos have no test split.
    block['evaluation']['test'] = True
    config = tmp_path / 'config.yaml'
    config.write_text(yaml.safe_dump(block))
    monkeypatch.chdir(tmp_path)
    given = ['--config', 'config.yaml', '--out', 'copy', '--jobs', '1']
    assert cli.main(['datasets', 'prepare', *given]) == 1
    text = capsys.readouterr().out
    section = printed_section(text)
    assert section['action'] == rendered
    assert section['gesture']['settings']['root'] == str(tmp_path / 'copy' / 'gesture')
    assert build_config(block | {'data': section})
    assert '# Reads the copy of: gesture (train, val).\n' in text
    assert '# As before, not copied: action.\n' in text
    end = text.split('\n\n')[-1]
    assert 'gesture, test: not copied:' in end
    assert "has no folder 'test'" in end
    assert '4 sources, nothing is wrong with any.' in end


def test_it_stops_before_the_disk_is_full(
    tmp_path: Path,
    root: Path,
    prepare: Prepare,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for i in range(20):
        write_video(root / f'train/wave/{i}.avi', 5)
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr('shutil.disk_usage', lambda path: usage(10**9, 10**9, 1000))
    config = tmp_path / 'config.yaml'
    gesture = {'dataset': 'folder', 'settings': {'root': str(root)}}
    config.write_text(yaml.safe_dump(block_of(gesture=gesture)))
    out = tmp_path / 'copy'
    given = ['--config', str(config), '--out', str(out), '--jobs', '1']
    assert cli.main(['datasets', 'prepare', *given]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert '0.00 GB free; the 16 copies that are left need about' in error
    assert len(copies(tmp_path)) == 8


def test_strangers_among_the_copies_are_refused(
    prepare: Prepare, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare()
    # Its copy would still be read.
    (root / 'train/wave/a.avi').unlink()
    write_video(root / 'train/wave/new.avi')
    arguments = ['--config', str(tmp_path / 'config.yaml'), '--out', str(tmp_path / 'copy')]
    assert cli.main(['datasets', 'prepare', *arguments, '--jobs', '1']) == 2
    assert 'is none of the copies of these data sets' in capsys.readouterr().err


def test_tasks_without_videos_are_not_copied_and_nothing_is_an_error(
    prepare: Prepare, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rendered = {'dataset': 'synthetic', 'settings': {'num_clips': 9}}
    own = {'dataset': 'folder', 'settings': {'root': str(root)}}
    code, found = prepare(action=rendered, gesture=own)
    assert (code, [*found['skipped']], [*found['data']]) == (1, ['action'], ['action', 'gesture'])
    arguments = ['--config', str(tmp_path / 'config.yaml'), '--out', str(tmp_path / 'other')]
    assert cli.main(['datasets', 'prepare', *arguments, '--task', 'action']) == 2
    assert "nothing to copy: action: the data set 'synthetic' is not of videos" in (
        capsys.readouterr().err
    )


def test_a_copy_that_can_not_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    source = write_video(tmp_path / 'a.avi')
    job = CopyJob(str(source), str(tmp_path / 'gone' / 'a.mp4'), None, (48, 64))
    with pytest.raises(OSError, match='No such file'):
        make_copy(job)
    lost = CopyJob(str(tmp_path / 'lost.avi'), str(tmp_path / 'a.mp4'), None, (48, 64))
    assert make_copy(lost) == Copied('failed', problem='is not there')
    assert [path.name for path in tmp_path.iterdir() if path.name != 'cache'] == ['a.avi']


@pytest.mark.skipif(not SHARED.is_dir(), reason=f'no real videos: {SHARED} is not there')
def test_a_copy_of_a_real_video_looks_like_it_and_decodes_faster(
    prepare: Prepare, listed: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    source = SHARED / 'ntu_mmaction2' / 'S001C001P001R001A001_rgb.avi'
    code, found = prepare('--split', 'train', gesture=listed(('drink',), ClipEntry(source, 0)))
    assert code == 0
    speed = found['clips_per_second']['gesture']
    assert speed['copy_hz'] > 3 * speed['source_hz']
    (row,) = manifest(tmp_path)
    copy = tmp_path / 'copy' / row['file']
    assert probe(copy).num_frames == probe(source).num_frames == 103
    for time_sec in (0.0, 1.5, 3.0):
        one, other = (
            cv2.resize(read_frames(path, [time_sec])[0], (64, 36), interpolation=cv2.INTER_AREA)
            for path in (copy, source)
        )
        assert np.abs(one.astype(int) - other.astype(int)).mean() < 3
