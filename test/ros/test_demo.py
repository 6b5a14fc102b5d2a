from __future__ import annotations

import io
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import cv2
from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network.config import (
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.ros import demo
from mtl_perception.ros.demo.film import Film
from mtl_perception.ros.demo.film_frame import draw, fitted, PICTURE_SIZE, TaskView, View
from mtl_perception.ros.demo.processes import NodeProcess
from mtl_perception.ros.demo.report import problems_of, Report
from mtl_perception.ros.demo.scoring import (
    accuracy,
    false_alarms,
    HeardResult,
    percentiles,
    Scene,
    segments,
)
import numpy as np
from perception import insist
import pytest
import torch

ROOT = Path(__file__).parents[2]
SEC = 1_000_000_000


def heard(start_sec: float, end_sec: float, task: str = 'action', **scores: float) -> HeardResult:
    return HeardResult(
        task=task,
        clip_start_ns=round(start_sec * SEC),
        stamp_ns=round(end_sec * SEC),
        heard_ns=round((end_sec + 0.1) * SEC),
        label=max(scores, key=lambda label: scores[label], default=''),
        scores=scores,
    )


def scene_of(*results: HeardResult, truth: str = 'walk') -> Scene:
    scene = Scene(1, 'action', truth, 10 * SEC, 14 * SEC)
    for result in results:
        scene.add(result)
    return scene


@pytest.mark.parametrize(
    'start, end, task, belongs',
    [
        (10.0, 12.0, 'action', True),
        (12.0, 14.0, 'action', True),
        (9.99, 11.99, 'action', False),
        (12.01, 14.01, 'action', False),
        (11.0, 13.0, 'gesture', False),
    ],
)
def test_only_results_whose_clip_lies_in_the_scene_count(
    start: float, end: float, task: str, belongs: bool
) -> None:
    result = heard(start, end, task, walk=0.9)
    assert scene_of().holds(result) is belongs


def test_the_highest_mean_score_decides() -> None:
    # 'run' is best twice out of three times, 'walk' in the mean.
    scene = scene_of(
        heard(10, 12, walk=0.3, run=0.4),
        heard(10.5, 12.5, walk=0.3, run=0.4),
        heard(11, 13, walk=0.9, run=0.05),
    )
    label, score = scene.recognised()
    assert label == 'walk'
    assert score == pytest.approx(0.5)
    assert scene.is_hit()


def test_a_class_that_a_result_does_not_list_has_no_score_there() -> None:
    scene = scene_of(heard(10, 12, walk=0.6), heard(11, 13, run=0.5, jump=0.4))
    assert scene.mean_scores() == pytest.approx({'walk': 0.3, 'run': 0.25, 'jump': 0.2})


def test_a_scene_without_results_is_a_miss() -> None:
    scene = scene_of()
    assert scene.recognised() == ('', 0.0)
    assert not scene.is_hit()
    assert scene.as_dict()['latency_ms'] == {'p50': None, 'p95': None}


def test_the_accuracy_is_that_of_the_task() -> None:
    hit, miss = scene_of(heard(10, 12, walk=1.0)), scene_of(heard(10, 12, run=1.0))
    assert accuracy([hit, hit, hit, miss], 'action') == 0.75
    assert accuracy([hit], 'gesture') is None


def test_labels_of_other_tasks_are_false_alarms() -> None:
    scene = Scene(1, 'action', 'walk', 10 * SEC)
    for result in (
        heard(9, 11, 'gesture', wave=0.9),  # of the scene before, too
        heard(10, 12, 'gesture', wave=0.9),
        heard(10, 12, 'action', walk=0.9),
        heard(11, 13, 'gesture'),
        heard(13, 15, 'gesture', stop=0.9),  # of the next one, too
    ):
        scene.add(result)
    scene.end(14 * SEC)
    assert [result.stamp_ns for result in scene.results] == [12 * SEC]
    assert false_alarms([scene]) == {'gesture': {'labels': 1, 'results': 2}}
    assert scene.as_dict()['false_alarms'] == false_alarms([scene])
    assert false_alarms([scene, scene])['gesture'] == {'labels': 2, 'results': 4}
    assert false_alarms([scene_of(heard(10, 12, walk=1.0))]) == {}


def test_percentiles_are_those_of_numpy() -> None:
    values = list(np.random.default_rng(0).uniform(0, 100, 57))
    p50, p95 = np.percentile(values, [50, 95])
    assert percentiles(values) == {
        'p50': pytest.approx(p50, abs=0.01),
        'p95': pytest.approx(p95, abs=0.01),
    }


def test_equal_labels_in_a_row_are_one_segment() -> None:
    results = [
        heard(0, 2, walk=0.5),
        heard(0.5, 2.5, walk=0.7),
        heard(1, 3, run=0.9),
        heard(1.5, 3.5, walk=0.4),
    ]
    found = [(run['start_sec'], run['end_sec'], run['label']) for run in segments(results, 0)]
    assert found == [(2.0, 2.5, 'walk'), (3.0, 3.0, 'run'), (3.5, 3.5, 'walk')]
    assert segments(results, 0)[0]['score'] == pytest.approx(0.6)


@pytest.mark.parametrize(
    'action, gesture, predictions, expected',
    [
        (0.75, 1.0, 10, []),
        (0.74, 1.0, 10, ['action hit rate']),
        (1.0, None, 10, ['no gesture scene']),
        (0.0, 0.0, 0, ['no result was heard', 'action hit rate', 'gesture hit rate']),
    ],
)
def test_what_is_wrong_with_a_demo_is_said(
    action: float | None, gesture: float | None, predictions: int, expected: list[str]
) -> None:
    summary = {
        'action_accuracy': action,
        'gesture_accuracy': gesture,
        'predictions': predictions,
        'tasks_asked': ['action', 'gesture'],
    }
    problems = problems_of(summary)
    assert len(problems) == len(expected)
    assert all(start in problem for problem, start in zip(problems, expected))


def test_nothing_but_text_is_printed_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    report = Report(stream)
    report.scenes_header()
    report.scene(scene_of(heard(10, 12, walk=0.91)))
    report.verdict(['too bad.'])
    assert '\x1b' not in stream.getvalue()
    assert '0.91' in stream.getvalue()
    assert 'FAILED: too bad.' in stream.getvalue()


def test_the_table_at_the_end_names_false_alarms() -> None:
    stream = io.StringIO()
    summary = {
        'action_accuracy': None,
        'gesture_accuracy': None,
        'latency_ms': {'p50': None, 'p95': None},
        'frames_in': 9,
        'frames_published': 9,
        'frames_dropped': 0,
        'rate_hz': 10.0,
        'predictions': 9,
        'film': 'film.mp4',
        'scenes': [],
        'false_alarms': {'gesture': {'labels': 1, 'results': 8}},
    }
    Report(stream).summary(summary)
    assert (
        '  gesture false alarms  12.5% of 8 results in scenes of no gesture\n' in stream.getvalue()
    )


VIEW = View('scene 1', 1.0, (TaskView('action', 'walk', (('walk', 0.9),), True),), 'latency 9 ms')


@pytest.mark.parametrize('shape', [(48, 64), (64, 48), (480, 640), (30, 200)], ids=str)
def test_every_image_fits_into_the_film(shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), (10, 200, 90), np.uint8)
    picture = fitted(pixels)
    assert picture.shape[0] == PICTURE_SIZE[0] or picture.shape[1] == PICTURE_SIZE[1]
    canvas = draw(pixels, False, VIEW)
    height, width = PICTURE_SIZE
    np.testing.assert_array_equal(canvas[height // 2, width // 2], (10, 200, 90))
    np.testing.assert_array_equal(draw(pixels, True, VIEW)[height // 2, width // 2], (90, 200, 10))
    # Something is written beside it.
    assert len(np.unique(canvas[:, width:].reshape(-1, 3), axis=0)) > 10


def test_a_film_holds_every_image(tmp_path: Path) -> None:
    film = Film(tmp_path / 'film.mp4', 20)
    for value in range(30):
        film.add(np.full((48, 64, 3), 8 * value, np.uint8), False, VIEW)
    film.close()
    film.close()
    capture = cv2.VideoCapture(str(tmp_path / 'film.mp4'))
    levels = []
    while (read := capture.read())[0]:
        levels.append(read[1][240, 320].mean())
    np.testing.assert_allclose(levels, 8.0 * np.arange(30), atol=4)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that nobody has waited for is over all the same.
    return ') Z ' not in Path(f'/proc/{pid}/stat').read_text()


def wait_until(condition: Any, timeout_sec: float = 180.0) -> bool:
    end = time.monotonic() + timeout_sec
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(condition())


def test_a_child_takes_its_own_children_along(tmp_path: Path) -> None:
    (tmp_path / 'sleeper.py').write_text(
        'import subprocess, sys, time\n'
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])\n'
        'print(child.pid, flush=True)\n'
        'time.sleep(600)\n'
    )
    environ = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    process = NodeProcess('sleeper', {}, log=tmp_path / 'log', environ=environ)
    assert wait_until(lambda: process.log.read_text().strip())
    grandchild = int(process.last_words())
    process.stop()
    assert not is_running(process.pid)
    assert wait_until(lambda: not is_running(grandchild))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a network that knows nothing, of the labels of the rendered scenes."""
    synthetic = pytest.importorskip('mtl_training.data.synthetic')
    torch.manual_seed(0)
    trunk = TrunkConfig(
        width=4, num_frames=4, clip_seconds=0.5, preprocessing=PreprocessingConfig(resize=(32, 43))
    )
    tasks = {
        'action': TaskConfig(labels=synthetic.ACTIONS),
        'gesture': TaskConfig(labels=synthetic.GESTURES),
    }
    path = tmp_path_factory.mktemp('checkpoint') / 'random.safetensors'
    network = MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks=tasks))
    save_checkpoint(path, network, metrics={}, training={})
    return path


def start_demo(*arguments: object) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    return subprocess.Popen(
        [sys.executable, '-m', 'mtl_perception.ros.demo', *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_demo(*arguments: object) -> tuple[int, str]:
    with start_demo(*arguments) as process:
        output, _ = process.communicate(timeout=600)
    return process.returncode, output


def children_of(folder: Path) -> list[int]:
    """Return the processes of a demo, by the folder of its logs."""
    found = []
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                target = os.readlink(entry / 'fd' / '1')
            except OSError:
                continue
            if target.startswith(str(folder)):
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path('/proc/self/fd').is_dir(), reason='finds processes in /proc')
def test_a_demo_on_rendered_scenes_adds_up(tmp_path: Path, checkpoint: Path) -> None:
    pytest.importorskip('jsonargparse')
    out = tmp_path / 'out'
    code, output = run_demo(
        '--checkpoint', checkpoint, '--scenes', 2, '--size', '96x128', '--rate', 10, '--out', out
    )  # fmt: skip
    summary = json.loads((out / 'summary.json').read_text())
    rates = [summary['action_accuracy'], summary['gesture_accuracy']]
    assert code == (0 if min(rates) >= 0.75 else 1), output
    assert len(summary['scenes']) == 2
    for scene in summary['scenes']:
        assert f'{scene["truth"]:<16} {scene["recognized"]:<16}' in output
        assert scene['results'] > 0
        assert scene['rate_hz'] == pytest.approx(10, rel=0.1)
    assert summary['frames_in'] + summary['frames_dropped'] == summary['frames_published']
    assert summary['frames_in'] >= 0.9 * summary['frames_heard_by_demo']
    assert summary['predictions'] > 0
    alarms = summary['false_alarms']
    assert alarms.keys() == {'action', 'gesture'}
    for task, row in alarms.items():
        others = [s['false_alarms'][task] for s in summary['scenes'] if s['task'] != task]
        assert row['results'] == sum(other['results'] for other in others) > 0
        share = f'{row["labels"] / row["results"]:.1%}'
        shown = f'{share} of {row["results"]} results in scenes of no {task}'
        assert f'  {f"{task} false alarms":<22}{shown}' in output
    assert 0 < summary['latency_ms']['p50'] <= summary['latency_ms']['p95']
    capture = cv2.VideoCapture(str(out / 'demo.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == summary['frames_heard_by_demo']
    assert '\x1b' not in output
    assert not children_of(out)


@pytest.mark.skipif(not Path('/proc/self/fd').is_dir(), reason='finds processes in /proc')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_nothing_outlives_the_demo(
    tmp_path: Path, checkpoint: Path, number: signal.Signals
) -> None:
    out = tmp_path / 'out'
    video = tmp_path / 'video'
    video.mkdir()
    for index in range(600):
        cv2.imwrite(str(video / f'{index}.jpg'), np.full((48, 64, 3), 100, np.uint8))
    with start_demo('--checkpoint', checkpoint, '--video', video, '--out', out) as process:
        try:
            assert wait_until(lambda: len(children_of(out)) == 2)
            if number == signal.SIGINT:
                assert process.stdout is not None
                assert any('(unsure)' in line or '0.' in line for line in process.stdout)
            process.send_signal(number)
            if number == signal.SIGINT:
                insist(process)
            output, _ = process.communicate(timeout=180)
        finally:
            process.kill()
    assert process.returncode == (demo.INTERRUPTED if number == signal.SIGINT else -number), output
    assert 'Traceback' not in output
    assert wait_until(lambda: not children_of(out))


def test_a_video_shorter_than_a_clip_is_no_failure(tmp_path: Path, checkpoint: Path) -> None:
    video = tmp_path / 'video'
    video.mkdir()
    for index in range(4):
        cv2.imwrite(str(video / f'{index}.jpg'), np.full((48, 64, 3), 100, np.uint8))
    out = tmp_path / 'out'
    code, output = run_demo('--checkpoint', checkpoint, '--video', video, '--out', out)
    assert code == 0, output
    assert 'less than one clip of 0.5 s' in output
    summary = json.loads((out / 'summary.json').read_text())
    assert (summary['action_accuracy'], summary['gesture_accuracy']) == (None, None)


@pytest.mark.parametrize(
    'arguments, reason',
    [
        (['--checkpoint', 'nowhere.safetensors'], 'nowhere.safetensors'),
        (['--video', 'nowhere.mp4'], 'nowhere.mp4: no such file'),
    ],
    ids=['checkpoint', 'video'],
)
def test_what_is_missing_is_said_in_a_line(
    tmp_path: Path,
    checkpoint: Path,
    arguments: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ('ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE'):
        monkeypatch.setenv(name, os.environ[name])
    common = ['--out', str(tmp_path), '--checkpoint', str(checkpoint)]
    assert demo.main([*common, *arguments]) == 1
    assert reason in capsys.readouterr().out
