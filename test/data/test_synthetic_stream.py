import json
from pathlib import Path
import subprocess
import sys

import av
from mtl_training.data.synthetic import ACTIONS, ACTIVITIES, GESTURES, Scene, SyntheticClips
from mtl_training.data.synthetic.command import main
from mtl_training.data.synthetic.scene import MAX_PEOPLE
from mtl_training.data.synthetic.stream import (
    iterate_scenes,
    render_video,
    stream_labels,
    StreamSettings,
)
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, '-m', 'mtl_training.data.synthetic.command']


def run_command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, timeout=1800)


def parse(raw: bytes) -> tuple[dict, list[dict], list[np.ndarray]]:
    line, _, rest = raw.partition(b'\n')
    header, truths, images = json.loads(line), [], []
    count = header['height'] * header['width'] * 3
    while rest:
        line, _, rest = rest.partition(b'\n')
        truths.append(json.loads(line))
        assert len(rest) >= count
        image = np.frombuffer(rest[:count], np.uint8)
        images.append(image.reshape(header['height'], header['width'], 3))
        rest = rest[count:]
    return header, truths, images


def test_a_stream_from_a_child_process_follows_the_protocol() -> None:
    done = run_command(
        '--stream', '--size', '48x64', '--fps', '10', '--seed', '7', '--scenes', '3'
    )
    assert (done.returncode, done.stderr) == (0, b'')
    header, truths, images = parse(done.stdout)
    assert header == {'width': 64, 'height': 48, 'fps': 10.0, 'encoding': 'rgb8', 'scenes': 3}
    np.testing.assert_allclose([truth['t'] for truth in truths], np.arange(len(truths)) / 10)
    assert [truth['scene'] for truth in truths] == sorted(truth['scene'] for truth in truths)
    assert {truth['scene'] for truth in truths} == {0, 1, 2}
    for truth in truths:
        assert (truth['action'] is None) == (truth['gesture'] in GESTURES)
        assert (truth['gesture'] is None) == (truth['action'] in ACTIONS)
        assert 1 <= truth['num_people'] <= 4
        assert np.shape(truth['boxes']) == (len(truth['activities']), 4)
        assert np.shape(truth['keypoints']) == (len(truth['activities']), 17, 3)
    expected = iterate_scenes(StreamSettings((48, 64), 10.0, 7, 3))
    np.testing.assert_array_equal(
        np.stack(images), np.concatenate([streamed.clip.frames for streamed in expected])
    )


def test_each_frame_tells_who_of_the_people_is_in_the_picture() -> None:
    (streamed,) = iterate_scenes(StreamSettings((96, 128), 5.0, 3, 1, 'activity'))
    for frame, boxes in enumerate(streamed.clip.boxes):
        truth = streamed.frame_truth(frame)
        shown = [person for person, box in enumerate(boxes.tolist()) if any(box)]
        assert truth['people'] == shown
        np.testing.assert_allclose(truth['boxes'], boxes[shown], atol=5e-3)


def test_a_closed_pipe_ends_the_stream_quietly() -> None:
    with subprocess.Popen(
        [*COMMAND, '--stream', '--size', '120x160'],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert json.loads(child.stdout.readline())['scenes'] is None
        child.stdout.read(100_000)
        child.stdout.close()
        assert child.wait(timeout=180) == 0
        assert child.stderr.read() == b''


def test_labels_come_round_evenly_and_tasks_take_turns() -> None:
    labels = stream_labels('both', 3)
    round_of_all = [next(labels) for _ in range(len(ACTIONS) + len(GESTURES))]
    assert set(round_of_all) == {*ACTIONS, *GESTURES}
    assert set(round_of_all[::2]) == set(ACTIONS)
    gestures = stream_labels('gesture', 3)
    assert {next(gestures) for _ in GESTURES} == set(GESTURES)


def test_scenes_of_activities_take_turns_with_the_tasks() -> None:
    labels = stream_labels('all', 3)
    taken = [next(labels) for _ in range(9)]
    assert taken[2::3] == [None] * 3
    assert {*taken[::3]} < set(ACTIONS)
    assert {*taken[1::3]} < set(GESTURES)
    for streamed in iterate_scenes(StreamSettings((16, 22), 2.0, 0, 2, 'activity')):
        assert streamed.scene.task == 'activity'
        assert (streamed.clip.action, streamed.clip.gesture) == (None, None)


def test_each_frame_tells_who_is_in_the_picture_where_and_what_they_do() -> None:
    gone = 0
    for streamed in iterate_scenes(StreamSettings((240, 320), 2.0, 0, 6, 'activity')):
        for frame in range(len(streamed.times_sec)):
            truth = streamed.frame_truth(frame)
            boxes, keypoints = streamed.clip.boxes[frame], streamed.clip.keypoints[frame]
            shown = [person for person, box in enumerate(boxes) if box.any()]
            gone += len(boxes) - len(shown)
            assert len(truth['boxes']) == len(truth['keypoints']) == len(shown)
            for place, person in enumerate(shown):
                np.testing.assert_allclose(truth['boxes'][place], boxes[person], atol=0.0051)
                np.testing.assert_allclose(
                    truth['keypoints'][place], keypoints[person], atol=0.0051
                )
                activity = streamed.clip.frame_activities[frame, person]
                assert truth['activities'][place] == ACTIVITIES[activity]
            # Readers take lines of 65536 bytes; four people must fit many times.
            assert len(json.dumps(truth)) < 4096
    assert gone > 0


def test_recognizable_frames_end_a_clip_that_shows_the_motion() -> None:
    for streamed in iterate_scenes(StreamSettings((32, 44), 10.0, 1, 4)):
        assert len(streamed.recognizable) == len(streamed.times_sec)
        assert any(streamed.recognizable)
        assert not any(
            good
            for good, time in zip(streamed.recognizable, streamed.times_sec)
            if time < 2.0 - 1e-6
        )


def test_streams_show_other_scenes_than_the_data_sets() -> None:
    streamed = {s.scene.seed for s in iterate_scenes(StreamSettings((16, 22), 2.0, 0, 4))}
    for split in ('train', 'val', 'test'):
        data = SyntheticClips('action', split, 50)
        assert not streamed & {data.scene(i).seed for i in range(50)}


def test_a_video_has_its_frames_and_its_truth_beside_it(tmp_path: Path) -> None:
    settings = StreamSettings((48, 64), 10.0, 5, 2, 'action')
    path = tmp_path / 'new' / 'scenes.mp4'
    render_video(path, settings)
    truth = json.loads((tmp_path / 'new' / 'scenes.mp4.truth.json').read_text())
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate) == 10.0
    expected = np.concatenate([one.clip.frames for one in iterate_scenes(settings)])
    assert np.stack(frames).shape == expected.shape
    assert np.abs(np.stack(frames).astype(float) - expected).mean() < 12
    assert [scene['action'] in ACTIONS for scene in truth['scenes']] == [True, True]
    first = truth['scenes'][0]
    count = len(first['recognizable'])
    assert np.shape(first['boxes']) == (count, first['num_people'], 4)
    assert np.shape(first['keypoints']) == (count, first['num_people'], 17, 3)
    assert np.shape(first['activities']) == (count, first['num_people'])
    assert truth['scenes'][1]['start_sec'] == pytest.approx(count / 10)


def test_the_contact_sheet_is_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / 'sheet.png'
    assert main(['--contact-sheet', str(path), '--size', '32x44', '--task', 'gesture']) == 0
    assert str(path) in capsys.readouterr().out
    with av.open(str(path)) as container:
        image = next(container.decode(video=0))
    assert (image.height, image.width) == (32 * len(GESTURES), 44 * 8)


def test_the_contact_sheet_shows_activities(tmp_path: Path) -> None:
    path = tmp_path / 'sheet.png'
    assert main(['--contact-sheet', str(path), '--size', '16x22', '--task', 'activity']) == 0
    with av.open(str(path)) as container:
        image = next(container.decode(video=0))
    assert (image.height, image.width) == (16 * MAX_PEOPLE, 22 * 8)


def test_unknown_tasks_of_a_stream_are_refused() -> None:
    with pytest.raises(ValueError, match=r"task must be one of .*'all'.*, got 'pose'"):
        StreamSettings((16, 22), task='pose')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--stream', '--scenes', '0'], 'num_scenes must be positive, got 0'),
        (['--stream', '--fps', '0'], 'fps must be from 1 to 240, got 0'),
        (['--stream', '--size', '2x2'], 'size must be at least 16x16, got 2x2'),
        (['--stream', '--seed', '-1'], 'seed must be from 0'),
        (['--out', 'a.mp4', '--size', '31x40', '--scenes', '1'], 'size must be even, got 31x40'),
        (['--contact-sheet', 'a.xyz', '--size', '16x16'], 'must end in .png or .jpg'),
    ],
)
def test_wrong_arguments_give_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1


def test_one_seed_shows_one_stream() -> None:
    settings = StreamSettings((16, 22), 2.0, 9, 2)
    first, again = (
        [streamed.clip.frames for streamed in iterate_scenes(settings)] for _ in range(2)
    )
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)
    assert isinstance(next(iterate_scenes(settings)).scene, Scene)
