"""NVGesture: its lists, the ranges of its sensors, and the stretches of no gesture."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.video_sets.nvgesture import (
    LABELS,
    nvgesture,
    NvLine,
    NvRange,
    parse_line,
)
import pytest

REAL = Path(__file__).parents[3].parent / 'shared/data/annotation_samples/nvgesture_derived'
needs_real_lists = pytest.mark.skipif(not REAL.is_dir(), reason=f'real lists are not at {REAL}')
LINE = (
    'path:./Video_data/class_01/subject3_r0 depth:sk_depth:146:226 color:sk_color:146:226 '
    'duo_left:duo_left:170:263 label:1'
)
SENSORS = ('sk_color', 'sk_depth', 'duo_left', 'duo_right', 'duo_disparity')


def line_of(subject: int, run: int, label: int, start: int = 146) -> str:
    # The streams run at 30 and at about 35 Hz.
    left = int(start * 35 / 30)
    return (
        f'path:./Video_data/class_{label:02d}/subject{subject}_r{run} '
        f'depth:sk_depth:{start}:{start + 80} color:sk_color:{start}:{start + 80} '
        f'duo_left:duo_left:{left}:{left + 93} label:{label} '
    )


def make_root(root: Path, name: str = '_correct_cvpr2016_v2', frames: int = 300) -> Path:
    """Write subjects 1, 2 and 3 with two runs of labels 1 and 25, subject 5 for the test."""
    for split, subjects in (('train', (1, 2, 3)), ('test', (5,))):
        lines = [
            line_of(subject, run, label)
            for label in (1, 25)
            for subject in subjects
            for run in (0, 1)
        ]
        (root / f'nvgesture_{split}{name}.lst').write_text('\n'.join(lines))
        for line in lines:
            folder = root / parse_line(line).folder
            folder.mkdir(parents=True)
            for sensor in SENSORS:
                (folder / f'{sensor}.avi').touch()
            for sensor, length in (('sk_color', frames), ('duo_left', frames * 35 // 30)):
                log = '\n'.join(f'img{i:05d}.png {i}' for i in range(length))
                (folder / f'{sensor}_log.txt').write_text(log)
    return root


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    return make_root(tmp_path_factory.mktemp('nvgesture'))


def test_a_real_line_is_read() -> None:
    # Frames from 146 to 226, counted from 1, are the 81 frames from 145 on, counted from 0.
    assert parse_line(LINE + ' ') == NvLine(
        folder='Video_data/class_01/subject3_r0',
        subject=3,
        label=1,
        ranges={
            'depth': NvRange('sk_depth', (145, 226)),
            'color': NvRange('sk_color', (145, 226)),
            'duo_left': NvRange('duo_left', (169, 263)),
        },
    )


@given(
    st.text()
    | st.lists(
        st.sampled_from(LINE.split())
        | st.from_regex(r'\w+:\w+:\d+:\d+|label:\d+', fullmatch=True)
        | st.text()
    ).map(' '.join)
)
def test_any_line_is_a_clip_or_refused(text: str) -> None:
    refusal = line = None
    try:
        line = parse_line(text)
    except ValueError as error:
        refusal = str(error)
    if line:
        assert 1 <= line.label <= 25
        assert all(0 <= first < end for _, (first, end) in line.ranges.values())
        again = [f'path:./{line.folder}', f'label:{line.label:d}'] + [
            f'{sensor}:{stem}:{first + 1}:{end}'
            for sensor, (stem, (first, end)) in line.ranges.items()
        ]
        assert parse_line(' '.join(again)) == line
    else:
        assert refusal.startswith("expected 'path:./Video_data/class_01/subject3_r0 color:")


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('label:1', 'label:0'),
        ('label:1', 'label:26'),
        ('label:1', ''),
        ('label:1', 'label:1 label:2'),
        (':146:226', ':0:226'),
        (':146:226', ':227:226'),
        ('path:./Video_data', 'path:/Video_data'),
        ('path:./Video_data', 'path:./Video_data/..'),
        ('depth:', 'color:'),
        ('duo_left:duo_left:170:263', 'duo_left:170:263'),
    ],
)
def test_a_wrong_line_is_refused(old: str, new: str) -> None:
    assert old in LINE
    with pytest.raises(ValueError, match=r'expected .* labels from 1 to 25, got'):
        parse_line(LINE.replace(old, new))


@needs_real_lists
@pytest.mark.parametrize(
    ('name', 'count', 'of_other_folders'),
    [('trainlistall_but_None.txt', 1050, 15), ('vallistall_but_None.txt', 482, 8)],
)
def test_the_real_ranges_are_read(name: str, count: int, of_other_folders: int) -> None:
    lines = []
    for text in (REAL / name).read_text().splitlines():
        folder, label, start, end = text.split()
        folder = folder.removesuffix('/sk_color_all')
        lines.append(parse_line(f'path:{folder} color:sk_color:{start}:{end} label:{label}'))
    assert len(lines) == len({line.folder for line in lines}) == count
    assert {line.label for line in lines} == set(range(1, 26))
    assert {end - first for line in lines for _, (first, end) in line.ranges.values()} == {81}
    # The folder does not tell the label.
    differ = [f'class_{line.label:02d}' not in line.folder for line in lines]
    assert sum(differ) == of_other_folders


@pytest.mark.parametrize('sensor', ['color', 'depth', 'duo_left', 'duo_right', 'duo_disparity'])
def test_each_sensor_has_its_range(root, sensor) -> None:
    index = nvgesture('test', root=str(root), sensor=sensor)
    stem = sensor if sensor.startswith('duo') else f'sk_{sensor}'
    frames = (169, 263) if sensor.startswith('duo') else (145, 226)
    assert {(e.path.name, e.frames) for e in index.entries} == {(f'{stem}.avi', frames)}
    assert [e.label for e in index.entries] == [0, 0, 24, 24]
    assert all(e.path.is_file() for e in index.entries)
    assert index.missing == []


def test_a_mirror_changes_moves_and_rotations(root) -> None:
    index = nvgesture('test', root=str(root))
    assert index.labels == LABELS
    assert len(set(LABELS)) == 25
    names = [(0, 'five fingers move right'), (5, 'two fingers move left'), (19, 'levorotation')]
    assert [LABELS[i] for i, _ in names] == [name for _, name in names]
    pairs = {(LABELS.index(name), LABELS.index(image)) for name, image in index.mirrored.items()}
    assert pairs == {(0, 1), (1, 0), (4, 5), (5, 4), (19, 20), (20, 19)}


@pytest.mark.parametrize(
    'name', ['_correct_cvpr2016_v2', '_correct_cvpr2016', '_correct_v2', '_correct']
)
def test_older_names_of_the_lists_are_found(tmp_path, name) -> None:
    make_root(tmp_path, name)
    assert len(nvgesture('test', root=str(tmp_path)).entries) == 4


def test_the_newest_list_wins(root, tmp_path) -> None:
    make_root(tmp_path)
    (tmp_path / 'nvgesture_test_correct.lst').write_text('nonsense')
    assert len(nvgesture('test', root=str(tmp_path)).entries) == 4


def test_whole_subjects_validate(root) -> None:
    train, val, test = (nvgesture(s, root=str(root)) for s in ('train', 'val', 'test'))
    groups = [{entry.group for entry in index.entries} for index in (train, val, test)]
    assert groups == [{'subject 1', 'subject 3'}, {'subject 2'}, {'subject 5'}]
    whole = nvgesture('train', root=str(root), val_share=0)
    assert sorted(train.entries + val.entries) == sorted(whole.entries)


@needs_real_lists
def test_the_default_share_holds_out_real_subjects(tmp_path) -> None:
    text = ''
    for line in (REAL / 'trainlistall_but_None.txt').read_text().splitlines():
        folder, label, start, end = line.replace('/sk_color_all', '').split()
        text += f'path:{folder} color:sk_color:{start}:{end} label:{label} \n'
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / 'sk_color.avi').touch()
    (tmp_path / 'nvgesture_train_correct_cvpr2016_v2.lst').write_text(text)
    train, val = (nvgesture(split, root=str(tmp_path)) for split in ('train', 'val'))
    assert len(train.entries) + len(val.entries) == 1050
    assert 0.1 < len(val.entries) / 1050 < 0.25
    assert set(val.counts()) <= set(range(1, 20))


@pytest.mark.parametrize(
    ('sensor', 'before', 'after'),
    # A quarter of the 81 frames of a gesture is 20, of the 94 of the left stream 23.
    [('color', (0, 125), (246, 300)), ('duo_disparity', (0, 146), (286, 350))],
)
def test_stretches_of_no_gesture_become_a_class(root, sensor, before, after) -> None:
    plain = nvgesture('train', root=str(root), sensor=sensor)
    index = nvgesture('train', root=str(root), sensor=sensor, none_share=1)
    assert index.labels == (*LABELS, 'no gesture')
    added = index.entries[len(plain.entries) :]
    assert index.entries[: len(plain.entries)] == plain.entries
    assert [(e.label, e.frames) for e in added] == [(25, before), (25, after)] * 8
    assert [e.path for e in added[::2]] == [e.path for e in plain.entries]
    assert {e.group for e in added} == {e.group for e in plain.entries}


def test_without_a_log_what_is_after_a_gesture_is_not_used(root) -> None:
    index = nvgesture('test', root=str(root), sensor='depth', none_share=1)
    assert [e.frames for e in index.entries if e.label == 25] == [(0, 125)] * 4


def test_a_short_stretch_is_left_out(tmp_path) -> None:
    # After the margin, 39 frames are less than half of a gesture.
    make_root(tmp_path, frames=246 + 39)
    index = nvgesture('test', root=str(tmp_path), none_share=1)
    assert [e.frames for e in index.entries if e.label == 25] == [(0, 125)] * 4


def test_a_share_of_the_videos_gives_stretches(root) -> None:
    counts = [
        nvgesture('train', root=str(root), none_share=share, val_share=0).counts()[25]
        for share in (0.01, 0.5, 1.0)
    ]
    assert counts[0] <= counts[1] <= counts[2] == 24
    assert 0 < counts[1] < 24


def test_clips_that_are_not_on_disk_are_missing(tmp_path) -> None:
    make_root(tmp_path)
    (tmp_path / 'Video_data/class_25/subject5_r1/sk_color.avi').unlink()
    index = nvgesture('test', root=str(tmp_path))
    assert len(index.entries) == 3
    assert [Path(name).parts[-2:] for name in index.missing] == [('subject5_r1', 'sk_color.avi')]


def test_what_is_wrong_is_said(root, tmp_path) -> None:
    def refused(match: str, split: str = 'train', folder: Path = tmp_path, **settings) -> None:
        with pytest.raises(ValueError, match=match):
            nvgesture(split, root=str(folder), **settings)

    refused(r"split must be one of .*, got 'dev'", 'dev')
    refused(r"sensor must be one of \('color', .*, got 'rgb'", sensor='rgb')
    refused(r'none_share must lie in \[0, 1\], got 2', none_share=2)
    refused(r'val_share must be at least 0 and less than 1, got 1', folder=root, val_share=1.0)
    refused(r'is not a folder that exists.*the layout is <root>/Video_data', folder=tmp_path / 'x')
    refused(r"no folder 'Video_data'; the layout is <root>/Video_data/class_01/subject3_r0")
    (tmp_path / 'Video_data').mkdir()
    refused(r"no file 'nvgesture_train_correct_cvpr2016_v2\.lst' or .*the layout is")
    path = tmp_path / 'nvgesture_train_correct.lst'
    path.write_text(LINE)
    refused(r'None of the 1 clips of the lists is on disk .*sk_color\.avi.*the layout is')
    path.write_text(f'{LINE}\n\nlabel:1')
    refused(r"correct\.lst', line 3: expected 'path:\./Video_data.*got 'label:1'")
    path.write_text(LINE.replace('duo_left:duo_left:170:263 ', ''))
    refused(r"line 1: expected a range of the sensor 'duo_left', got", sensor='duo_right')
