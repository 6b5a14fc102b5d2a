"""From pictures to recognitions, against the network called by hand."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys
import threading
from typing import Any

import mtl_perception
from mtl_perception.checkpoint import load_network
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.runtime.clip_buffer import Admission
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.outputs import Outputs
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.recognizer import Recognizer
from mtl_perception.runtime.results import Recognition, RecognitionSettings
from mtl_perception.runtime.smoothing import Smoother
import numpy as np
from people_network import people_config, write_people_checkpoint
import pytest
import torch

SECOND = 1_000_000_000
NOW = 1_795_000_000 * SECOND


@pytest.fixture(scope='module')
def engine(checkpoint: Path) -> Engine:
    return Engine(checkpoint, device='cpu', precision='float32')


def random_frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), np.uint8)


def recognise(recognizer: Recognizer, **settings: Any) -> list[Recognition]:
    return recognizer.recognise(RecognitionSettings(**settings)).recognitions


def feed(recognizer: Recognizer, frames: np.ndarray, *, start_ns: int = NOW) -> None:
    for index, pixels in enumerate(frames):
        recognizer.add_frame(Picture(pixels), start_ns + index * SECOND // 10, frame_id='camera')


def test_a_recognition_is_what_the_network_says_of_the_clip(
    engine: Engine, checkpoint: Path
) -> None:
    recognizer, frames = Recognizer(engine), random_frames(8)
    feed(recognizer, frames)
    found = {recognition.task: recognition for recognition in recognise(recognizer, top_k=9)}
    network, saved = load_network(checkpoint)
    preprocess = FramePreprocessor(saved.config.trunks['clip'].preprocessing)
    # 0.5 s before the newest in four frames at 10 Hz: 2, 3.67, 5.33, 7 of 0 to 7.
    chosen = torch.from_numpy(frames[[2, 4, 5, 7]])
    with torch.inference_mode():
        logits = network({'clip': preprocess(chosen).transpose(0, 1).unsqueeze(0)})
    for task, values in logits.items():
        labels = saved.config.tasks[task].labels
        expected = dict(zip(labels, values[0].softmax(-1).tolist()))
        assert dict(found[task].top_k) == pytest.approx(expected, abs=1e-5)
        assert found[task].label == max(expected, key=expected.__getitem__)
        assert found[task].score == pytest.approx(max(expected.values()), abs=1e-5)
        assert found[task].stamp_ns == NOW + 7 * SECOND // 10
        assert found[task].clip_start_ns == NOW + 2 * SECOND // 10
        assert found[task].frame_id == 'camera'


def test_blue_first_is_the_same_picture(engine: Engine) -> None:
    frames, results = random_frames(8), []
    for is_bgr in (False, True):
        recognizer = Recognizer(engine)
        for index, pixels in enumerate(frames):
            shown = np.ascontiguousarray(pixels[..., ::-1]) if is_bgr else pixels
            recognizer.add_frame(Picture(shown, is_bgr), NOW + index * SECOND // 10)
        results.append(recognise(recognizer))
    assert results[0] == results[1]


def test_an_improbable_label_is_empty_but_its_score_is_said(engine: Engine) -> None:
    recognizer = Recognizer(engine)
    feed(recognizer, random_frames(8))
    for recognition in recognise(recognizer, min_score=1.0, top_k=1):
        assert recognition.label == ''
        assert len(recognition.top_k) == 1
        assert 0 < recognition.score == recognition.top_k[0][1] < 1


@pytest.mark.parametrize(
    ('min_relevance', 'shows'), [(0.0, True), (0.29, True), (0.31, False), (0.5, False)]
)
def test_a_task_of_which_nothing_is_to_be_seen_has_no_label(
    doubting_checkpoint: Path, min_relevance: float, shows: bool
) -> None:
    recognizer = Recognizer(Engine(doubting_checkpoint, device='cpu', precision='float32'))
    feed(recognizer, random_frames(8))
    found = recognise(recognizer, min_relevance=min_relevance, top_k=9)
    action, gesture = sorted(found, key=lambda recognition: recognition.task)
    assert action.label
    assert action.nothing == 0
    assert bool(gesture.label) == shows
    assert gesture.nothing == pytest.approx(0.7, abs=1e-5)
    assert {label for label, _ in gesture.top_k} == {'wave', 'stop'}
    assert gesture.nothing + sum(score for _, score in gesture.top_k) == pytest.approx(1)


def test_nothing_is_smoothed_like_the_labels(
    doubting_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = Recognizer(Engine(doubting_checkpoint, device='cpu', precision='float32'))
    answers = iter([np.array([0.9, 0.0, 0.1]), np.array([0.1, 0.0, 0.9])])
    monkeypatch.setattr(Engine, 'infer', lambda *_: Outputs({'gesture': next(answers)}))
    feed(recognizer, random_frames(8))
    (first,) = recognise(recognizer, smoothing_sec=1.0)
    feed(recognizer, random_frames(1), start_ns=NOW + 17 * SECOND // 10)
    (second,) = recognise(recognizer, smoothing_sec=1.0)
    assert (first.label, first.nothing) == ('wave', pytest.approx(0.1))
    # One second later, the old weighs 1/e.
    expected = 0.1 * np.exp(-1) + 0.9 * (1 - np.exp(-1))
    assert (second.label, second.nothing) == ('', pytest.approx(expected))


@pytest.mark.parametrize('place', [0, 1, 2])
def test_nothing_is_said_of_a_clip_whose_scores_are_not_finite(
    doubting_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    recognizer = Recognizer(Engine(doubting_checkpoint, device='cpu', precision='float32'))
    broken = np.array([0.9, 0.0, 0.1])
    broken[place] = np.nan
    answers = iter([np.array([0.9, 0.0, 0.1]), broken, np.array([0.9, 0.0, 0.1])])
    monkeypatch.setattr(Engine, 'infer', lambda *_: Outputs({'gesture': next(answers)}))
    feed(recognizer, random_frames(8))
    assert recognise(recognizer, smoothing_sec=1.0)[0].label == 'wave'
    feed(recognizer, random_frames(1), start_ns=NOW + 8 * SECOND // 10)
    refused = recognizer.recognise(RecognitionSettings(smoothing_sec=1.0))
    assert not refused
    assert 'probabilities must be finite' in str(*refused.errors)
    feed(recognizer, random_frames(1), start_ns=NOW + 9 * SECOND // 10)
    (after,) = recognise(recognizer, smoothing_sec=1.0)
    assert (after.label, after.score) == ('wave', pytest.approx(0.9))


@pytest.mark.parametrize('scores', [[np.nan, np.nan, 0.1], [0.9, 0.0, np.nan]], ids=str)
def test_scores_that_can_not_be_compared_give_no_label(
    doubting_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float]
) -> None:
    recognizer = Recognizer(Engine(doubting_checkpoint, device='cpu', precision='float32'))
    monkeypatch.setattr(Engine, 'infer', lambda *_: Outputs({'gesture': np.array(scores)}))
    monkeypatch.setattr(Smoother, 'update', lambda _, values, *__, **___: values)
    feed(recognizer, random_frames(8))
    (found,) = recognise(recognizer)
    assert found.label == ''


def test_nothing_is_recognised_twice_or_too_early(engine: Engine) -> None:
    recognizer = Recognizer(engine)
    assert recognise(recognizer) == []
    feed(recognizer, random_frames(4))
    assert recognise(recognizer) == []
    feed(recognizer, random_frames(4), start_ns=NOW + 4 * SECOND // 10)
    assert len(recognise(recognizer)) == 2
    assert recognise(recognizer) == []


def test_frames_that_came_meanwhile_are_counted(engine: Engine) -> None:
    recognizer = Recognizer(engine)
    feed(recognizer, random_frames(8))
    assert recognise(recognizer)
    assert recognizer.num_superseded == 0  # filling the first clip is no delay
    feed(recognizer, random_frames(5), start_ns=NOW + 8 * SECOND // 10)
    assert recognise(recognizer)
    assert recognizer.num_superseded == 4
    feed(recognizer, random_frames(8))  # a jump back in time: filling again
    assert recognise(recognizer)
    assert recognizer.num_superseded == 4


def test_another_size_starts_a_new_clip(engine: Engine) -> None:
    recognizer = Recognizer(engine)
    feed(recognizer, random_frames(8))
    picture = Picture(np.zeros((20, 30, 3), np.uint8))
    stamp_ns = NOW + 8 * SECOND // 10
    assert recognizer.add_frame(picture, stamp_ns, frame_id='camera') is Admission.NEW_SOURCE
    assert recognise(recognizer) == []
    assert recognizer.span_sec == 0


def test_smoothing_holds_on_to_the_past(engine: Engine) -> None:
    def last(smoothing_sec: float) -> Recognition:
        recognizer = Recognizer(engine)
        feed(recognizer, random_frames(8))
        recognise(recognizer, smoothing_sec=smoothing_sec)
        feed(recognizer, 255 - random_frames(8), start_ns=NOW + 8 * SECOND // 10)
        return recognise(recognizer, smoothing_sec=smoothing_sec)[0]

    first = Recognizer(engine)
    feed(first, random_frames(8))
    past = dict(recognise(first)[0].top_k)
    present = dict(last(0.0).top_k)
    for label, score in last(1e6).top_k:
        assert score == pytest.approx(past[label], abs=1e-4)
    assert present != pytest.approx(past, abs=1e-4)


def test_a_reset_forgets_the_frames(engine: Engine) -> None:
    recognizer = Recognizer(engine)
    feed(recognizer, random_frames(8))
    recognizer.reset()
    assert recognise(recognizer) == []


def test_a_waiting_thread_is_woken_by_a_frame(engine: Engine) -> None:
    recognizer, woken = Recognizer(engine), threading.Event()

    def wait() -> None:
        if recognizer.wait_for_frame(20):
            woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    feed(recognizer, random_frames(1))
    thread.join(20)
    assert woken.is_set()
    recognise(recognizer)
    assert not recognizer.wait_for_frame(0)
    recognizer.wake()
    assert recognizer.wait_for_frame(0)


def test_only_people_need_a_tracker(checkpoint: Path, tmp_path: Path) -> None:
    write_people_checkpoint(tmp_path / 'people.safetensors', people_config())
    program = """
import sys
sys.modules['trackers'] = None
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.recognizer import Recognizer
for path in sys.argv[1:]:
    try:
        print(Recognizer(Engine(path, device='cpu', precision='float32')).clip_sec)
    except ImportError as error:
        print(error)
"""
    paths = [str(checkpoint), str(tmp_path / 'people.safetensors')]
    said = subprocess.run(
        [sys.executable, '-c', program, *paths],
        env={**os.environ, 'PYTHONPATH': str(Path(mtl_perception.__file__).parents[1])},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout.splitlines()
    assert len(said) == 2
    assert float(said[0]) > 0
    assert 'a checkpoint that finds people needs requirements/tracking.txt installed' in said[1]


@pytest.mark.parametrize(
    ('name', 'values', 'rule'),
    [
        ('min_score', (-0.1, 1.1, np.nan), r'lie in \[0\.0, 1\]'),
        ('min_relevance', (-0.1, 1.1, np.nan), r'lie in \[0\.0, 1\]'),
        ('min_keypoint_score', (-0.1, 1.1, np.nan), r'lie in \[0\.0, 1\]'),
        ('min_caption_score', (-1.1, 1.1, np.nan), r'lie in \[-1\.0, 1\]'),
        ('min_person_score', (0.05, 1.1, np.nan), r'lie in \[0\.1, 1\]'),
        ('smoothing_sec', (-1.0, np.inf, np.nan), 'be finite and not negative'),
        ('max_track_age_sec', (0.0, np.inf, np.nan), 'be positive and finite'),
        ('top_k', (0,), 'be at least 1'),
        ('clip_every', (0,), 'be at least 1'),
        ('frame_every', (0,), 'be at least 1'),
    ],
)
def test_settings_that_break_their_rule_are_refused(
    name: str, values: tuple[float, ...], rule: str
) -> None:
    for value in values:
        with pytest.raises(ValueError, match=f'{name} must {rule}, got {value}'):
            RecognitionSettings(**{name: value})
