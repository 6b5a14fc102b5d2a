"""From pictures to sentences, against the network and the cosines by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caption_network import DIM, SENTENCES, write_caption_checkpoint
from mtl_perception.checkpoint import load_network
from mtl_perception.network.captions import EmbeddingHead, EncoderConfig
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.outputs import Outputs
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.recognizer import Recognizer
from mtl_perception.runtime.results import Caption, RecognitionSettings, Results
from mtl_perception.sentences import build_encoder, SentenceList
import numpy as np
import pytest
import torch

SECOND = 1_000_000_000
NOW = 1_795_000_000 * SECOND
FRAMES = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), np.uint8)
LISTED = SentenceList(
    SENTENCES, build_encoder(EncoderConfig(name='hashed'), DIM).encode(SENTENCES)
)


@pytest.fixture(scope='module', params=[False, True], ids=['alone', 'with actions'])
def checkpoint(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('captions') / 'captions.safetensors'
    return write_caption_checkpoint(path, actions=request.param)


@pytest.fixture(scope='module')
def engine(checkpoint: Path) -> Engine:
    return Engine(checkpoint, device='cpu', precision='float32')


def feed(recognizer: Recognizer, *, at_sec: float = 0.0, count: int = 8) -> None:
    for index, pixels in enumerate(FRAMES[:count]):
        stamp_ns = NOW + round((at_sec + index / 10) * SECOND)
        recognizer.add_frame(Picture(pixels), stamp_ns, frame_id='camera')


def recognise(recognizer: Recognizer, **settings: Any) -> Results:
    return recognizer.recognise(RecognitionSettings(**settings))


def caption_of(results: Results) -> Caption:
    assert not results.errors
    assert results.caption is not None
    return results.caption


def unit(*values: float) -> np.ndarray:
    vector = np.zeros(DIM, np.float32)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


def answer(monkeypatch: pytest.MonkeyPatch, *embeddings: np.ndarray) -> None:
    """Let the network say something else."""
    answers = iter(embeddings)
    monkeypatch.setattr(Engine, 'infer', lambda *_: Outputs({'caption': next(answers)}))


def test_a_caption_is_the_sentence_nearest_to_what_the_network_says(
    engine: Engine, checkpoint: Path
) -> None:
    recognizer = Recognizer(engine, sentences=lambda: LISTED)
    feed(recognizer)
    results = recognise(recognizer, top_k=9)
    caption = caption_of(results)
    network, saved = load_network(checkpoint)
    preprocess = FramePreprocessor(saved.config.trunks['clip'].preprocessing)
    # 0.5 s before the newest in four frames at 10 Hz: 2, 3.67, 5.33, 7 of 0 to 7.
    clip = preprocess(torch.from_numpy(FRAMES[[2, 4, 5, 7]])).transpose(0, 1).unsqueeze(0)
    with torch.inference_mode():
        embedding = network({'clip': clip})['caption'][0].numpy()
    expected = {s: float(np.dot(embedding, row)) for s, row in zip(SENTENCES, LISTED.embeddings)}
    assert dict(caption.candidates) == pytest.approx(expected, abs=1e-5)
    scores = [score for _, score in caption.candidates]
    assert scores == sorted(scores, reverse=True)
    assert (caption.sentence, caption.score) == caption.candidates[0]
    assert caption.stamp_ns == NOW + 7 * SECOND // 10
    assert caption.clip_start_ns == NOW + 2 * SECOND // 10
    assert (caption.task, caption.frame_id, caption.num_distinct) == ('caption', 'camera', 4)
    assert {r.task for r in results.recognitions} == set(saved.config.tasks) - {'caption'}
    assert results


def test_only_the_best_few_sentences_are_told(engine: Engine) -> None:
    recognizer = Recognizer(engine, sentences=lambda: LISTED)
    feed(recognizer)
    assert len(caption_of(recognise(recognizer, top_k=2)).candidates) == 2


def test_a_sentence_that_is_not_near_enough_is_empty_but_its_score_is_said(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = LISTED.embeddings[1]
    other = unit(1) - np.dot(unit(1), row) * row
    # A cosine of 0.8 with the second sentence.
    near = 0.8 * row + 0.6 * other / np.linalg.norm(other)
    for min_score, sentence in ((0.79, SENTENCES[1]), (0.81, '')):
        recognizer = Recognizer(engine, sentences=lambda: LISTED)
        feed(recognizer)
        answer(monkeypatch, near)
        caption = caption_of(recognise(recognizer, min_caption_score=min_score))
        assert caption.sentence == sentence
        assert caption.score == pytest.approx(0.8, abs=1e-5)
        assert caption.candidates[0][0] == SENTENCES[1]


def test_without_sentences_nothing_is_told_and_that_is_no_trouble(engine: Engine) -> None:
    listed: list[SentenceList | None] = [None]
    recognizer = Recognizer(engine, sentences=lambda: listed[0])
    feed(recognizer)
    silent = recognise(recognizer)
    assert silent.caption is None
    assert not silent.errors
    assert silent.is_pause == (not silent)
    listed[0] = LISTED  # from one clip to the next
    feed(recognizer, at_sec=0.8, count=1)
    results = recognise(recognizer)
    assert caption_of(results).sentence in SENTENCES
    assert not results.is_pause


def test_embeddings_are_smoothed_as_directions(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = Recognizer(engine, sentences=lambda: LISTED)
    old, new = unit(1, 2), unit(3, -1)
    answer(monkeypatch, old, new)
    feed(recognizer)
    recognise(recognizer, smoothing_sec=0.5)
    feed(recognizer, at_sec=1.2, count=1)  # half a second after the last
    caption = caption_of(recognise(recognizer, smoothing_sec=0.5, top_k=9))
    mean = np.exp(-1) * old + (1 - np.exp(-1)) * new
    mean /= np.linalg.norm(mean)
    expected = {s: float(np.dot(mean, row)) for s, row in zip(SENTENCES, LISTED.embeddings)}
    assert dict(caption.candidates) == pytest.approx(expected, abs=1e-5)


def test_directions_that_cancel_each_other_leave_the_newest(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = Recognizer(engine, sentences=lambda: LISTED)
    row = LISTED.embeddings[2]
    answer(monkeypatch, -row, row)
    feed(recognizer)
    recognise(recognizer, smoothing_sec=0.5 / np.log(2))
    feed(recognizer, at_sec=1.2, count=1)
    caption = caption_of(recognise(recognizer, smoothing_sec=0.5 / np.log(2)))
    assert caption.sentence == SENTENCES[2]
    assert caption.score == pytest.approx(1, abs=1e-5)
    assert caption.score <= 1


@pytest.mark.parametrize('broken', [np.nan, np.inf, 0.0], ids=str)
def test_nothing_is_told_of_a_clip_whose_embedding_is_none(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, broken: float
) -> None:
    recognizer = Recognizer(engine, sentences=lambda: LISTED)
    row = LISTED.embeddings[3]
    answer(monkeypatch, row, row * np.float32(broken), row)
    feed(recognizer)
    assert caption_of(recognise(recognizer, smoothing_sec=1.0)).sentence == SENTENCES[3]
    feed(recognizer, at_sec=0.8, count=1)
    refused = recognise(recognizer, smoothing_sec=1.0)
    assert not refused
    assert "embedding of task 'caption' must be a unit vector" in str(*refused.errors)
    feed(recognizer, at_sec=0.9, count=1)
    after = caption_of(recognise(recognizer, smoothing_sec=1.0))
    assert after.sentence == SENTENCES[3]
    assert after.score == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize('factor', [1.0, -1.0, float('nan')])
def test_auto_does_not_take_a_precision_that_tells_something_else(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    forward = EmbeddingHead.forward

    def wrong_in_half(self: EmbeddingHead, features: torch.Tensor) -> torch.Tensor:
        right = forward(self, features)
        return right * factor if features.dtype == torch.bfloat16 else right

    def half_is_fast(_: Engine, clips: dict[str, torch.Tensor], __: object) -> float:
        return 0.001 if clips['clip'].dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(EmbeddingHead, 'forward', wrong_in_half)
    monkeypatch.setattr(Engine, '_time_forward', half_is_fast)
    engine = Engine(checkpoint, device='cpu')
    assert engine.precision == ('bfloat16' if factor == 1.0 else 'float32')
