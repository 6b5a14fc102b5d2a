"""From pictures to what is told from remembered features, against windows cut by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memory_network import (
    ACTIONS,
    KINDS,
    memory_config,
    NOUNS,
    NUM_FUTURES,
    NUM_MOMENTS,
    STRIDE_SEC,
    VERBS,
    write_memory_checkpoint,
)
from mtl_perception.checkpoint import load_network
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.network.temporal_graph.heads import GraphHead
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.recognizer import Recognizer
from mtl_perception.runtime.results import RecognitionSettings, Results
import numpy as np
import pytest
import torch

SECOND = 1_000_000_000
NOW = 1_795_000_000 * SECOND
TICK = SECOND // 10
FRAMES = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
ALL = RecognitionSettings(top_k=9)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_memory_checkpoint(tmp_path_factory.mktemp('memory') / 'memory.safetensors')


@pytest.fixture
def engine(checkpoint: Path) -> Engine:
    return Engine(checkpoint, device='cpu', precision='float32')


def watch(
    recognizer: Recognizer,
    indices: range,
    *,
    start_ns: int = NOW,
    settings: RecognitionSettings = ALL,
    frame_id: str = 'camera',
) -> list[Results]:
    """Show frames at 10 Hz, recognising after each."""
    results = []
    for index in indices:
        picture = Picture(FRAMES[index % len(FRAMES)])
        recognizer.add_frame(picture, start_ns + index * TICK, frame_id=frame_id)
        results.append(recognizer.recognise(settings))
    return results


def said(results: Results) -> set[str]:
    """Return the tasks on windows that say something."""
    told = {r.task for r in results.recognitions} - {'action'}
    parts = {'forecast': results.anticipation, 'change': results.change}
    return told | {name for name, part in parts.items() if part is not None}


def features_by_hand(network: MultiTaskNetwork, newest: int) -> list[tuple[float, torch.Tensor]]:
    """Return the time of the newest frame and the feature of each clip up to a frame."""
    preprocess = FramePreprocessor(network.config.trunks['clip'].preprocessing)
    found = []
    for last in range(5, newest + 1):
        # Half a second in four frames, of 10 a second.
        chosen = [last - 5, last - 3, last - 2, last]
        frames = torch.from_numpy(FRAMES[chosen])
        with torch.inference_mode():
            clip = preprocess(frames).transpose(0, 1).unsqueeze(0)
            found.append((last / 10, network.features({'clip': clip})['action'][0]))
    return found


def window_by_hand(
    features: list[tuple[float, torch.Tensor]], moments: list[float], num_nodes: int
) -> torch.Tensor:
    def nearest_to(moment: float) -> torch.Tensor:
        # The later of two that are equally near.
        distances = [abs(round(1000 * time) - round(1000 * moment)) for time, _ in features]
        return features[max(i for i, d in enumerate(distances) if d == min(distances))][1]

    nearest = [nearest_to(moment) for moment in moments]
    return torch.stack(nearest).view(1, num_nodes, -1, nearest[0].shape[0])


def test_windows_are_those_cut_by_hand(engine: Engine, checkpoint: Path) -> None:
    results = watch(Recognizer(engine), range(20))[-1]
    network, _ = load_network(checkpoint)
    features, now = features_by_hand(network, 19), 1.9
    # Every second ends with the newest feature; the last one of an action starts a stride sooner.
    third = max(1 / 3 - STRIDE_SEC, 0)
    windows = {
        'step': (3, [now - third - i / 3 + j * third for i in (2, 1, 0) for j in (0, 1)]),
        'deed': (1, [now - 0.75, now]),
        'forecast': (2, [now - 0.75, now - 0.5, now - 0.25, now]),
        'change': (2, [now - 0.75, now - 0.5, now - 0.25, now]),
    }
    inputs = {name: window_by_hand(features, m, n) for name, (n, m) in windows.items()}
    at = {round(10 * time): feature for time, feature in features}
    # Nodes stand for moments 0.25 s apart, at and between the features of every tenth.
    between = [(at[11] + at[12]) / 2, at[14], (at[16] + at[17]) / 2, at[19]]
    inputs['moment'] = torch.stack(between)[None, :, None].expand(1, NUM_MOMENTS, 2, -1)
    with torch.inference_mode():
        outputs = network.forward_tasks(inputs)
    by_key = {(r.task, r.group): r for r in results.recognitions}
    for task, group, labels in (
        ('step', 'verb', VERBS),
        ('step', 'noun', NOUNS),
        ('deed', 'action', ACTIONS),
    ):
        found = by_key[task, group if task == 'step' else '']
        expected = dict(zip(labels, outputs[task][group][0].softmax(-1).tolist()))
        assert dict(found.top_k) == pytest.approx(expected, abs=1e-5)
        assert found.label == max(expected, key=expected.__getitem__)
        assert found.stamp_ns == NOW + 19 * TICK
    anticipation = results.anticipation
    assert anticipation is not None
    assert anticipation.groups == ('verb', 'noun')
    assert len(anticipation.actions) == NUM_FUTURES
    for place, action in enumerate(anticipation.actions):
        for (label, score), group, names in zip(action, ('verb', 'noun'), (VERBS, NOUNS)):
            scores = outputs['forecast'][group][0, place].softmax(-1)
            assert names[int(scores.argmax())] == label
            assert score == pytest.approx(float(scores.max()), abs=1e-5)
    change = results.change
    assert change is not None
    assert change.is_change
    assert change.change_score == pytest.approx(
        float(outputs['change'].softmax(-1)[0, 1]), abs=1e-5
    )
    moments = outputs['moment'].sigmoid()[0]
    node = int(moments.argmax())
    # The middle of the newest clip is the last moment.
    assert change.point_ns == NOW + round((1.65 - (NUM_MOMENTS - 1 - node) * 0.25) * SECOND)
    assert change.point_score == pytest.approx(float(moments[node]), abs=1e-5)


def test_what_is_told_names_the_oldest_frame_behind_it(engine: Engine) -> None:
    results = watch(Recognizer(engine), range(20))[-1]
    assert results.anticipation is not None
    assert results.change is not None
    # The feature 0.75 s ago is that of the frames from 0.6 to 1.1 or 0.7 to 1.2 s.
    assert results.anticipation.memory_start_ns in (NOW + 6 * TICK, NOW + 7 * TICK)
    assert results.change.memory_start_ns == NOW + 6 * TICK
    for told in (results.anticipation, results.change):
        assert (told.stamp_ns, told.frame_id) == (NOW + 19 * TICK, 'camera')


def test_nothing_is_told_before_features_span_the_window(engine: Engine) -> None:
    recognizer = Recognizer(engine)
    results = watch(recognizer, range(20))
    # Clips from 0.5 s on; 0.75 s later there is a window, which takes 8 ticks.
    first = [next(i for i, r in enumerate(results) if name in said(r)) for name in KINDS[:4]]
    # Three nodes of a third of a second: the first begins 0.75 s before the newest feature, too.
    assert first == [13, 13, 13, 13]
    assert not said(results[12])
    assert [r.label for r in results[5].recognitions]
    assert recognizer.memory is not None
    assert recognizer.memory.is_filled
    assert recognizer.memory.needed_sec == pytest.approx(0.75)
    assert 0.75 <= recognizer.memory.span_sec <= 0.85


@pytest.mark.parametrize('how', ['gap', 'backward', 'camera', 'reset'])
def test_another_stream_begins_with_an_empty_memory(engine: Engine, how: str) -> None:
    recognizer = Recognizer(engine)
    assert said(watch(recognizer, range(15))[-1])
    start_ns = {'gap': NOW + 5 * SECOND, 'backward': NOW - 100 * SECOND}.get(how, NOW)
    if how == 'reset':
        recognizer.reset()
    frame_id = 'other' if how == 'camera' else 'camera'
    results = watch(recognizer, range(15, 32), start_ns=start_ns, frame_id=frame_id)
    first = next(index for index, result in enumerate(results) if said(result))
    # As after the start; a jump back is believed after two more frames.
    assert first - 13 in ((0, 1, 2) if how == 'backward' else (0,))
    state = recognizer.memory
    assert state is not None
    assert state.hole_sec <= 0.101


def test_one_clip_that_is_not_finite_is_not_remembered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer, other = Recognizer(engine), Recognizer(engine)
    watch(recognizer, range(16))
    watch(other, range(16))
    features = engine._network.features

    def broken(inputs: Any) -> dict[str, torch.Tensor]:
        found = features(inputs)
        return {name: values.clone().fill_(torch.nan) for name, values in found.items()}

    monkeypatch.setattr(engine._network, 'features', broken)
    (result,) = watch(recognizer, range(16, 17))
    assert not said(result)
    assert any('must be finite to be remembered' in str(error) for error in result.errors)
    monkeypatch.undo()
    other.add_frame(Picture(FRAMES[16]), NOW + 16 * TICK, frame_id='camera')
    (found,), (expected,) = (watch(r, range(17, 18)) for r in (recognizer, other))
    assert said(found) == {'step', 'deed', 'forecast', 'change'}
    assert found.anticipation == expected.anticipation
    assert found.change == expected.change


def test_the_memory_does_not_grow(engine: Engine) -> None:
    recognizer = Recognizer(engine)
    watch(recognizer, range(15))
    (memory,) = (trunk.memory for trunk in recognizer._memory._trunks.values())
    size, capacity = memory._features.data_ptr(), memory.capacity
    watch(recognizer, range(15, 60))
    assert memory._features.data_ptr() == size
    assert len(memory) <= capacity
    assert memory._features.shape == (capacity + 1, 32)


def test_labels_of_the_memory_are_smoothed_like_those_of_clips(engine: Engine) -> None:
    plain = watch(Recognizer(engine), range(16))[-2:]
    settings = RecognitionSettings(top_k=9, smoothing_sec=0.2)
    recognizer = Recognizer(engine)
    watch(recognizer, range(14))
    # What was smoothed so far is that of the first window, at 1.3 s.
    first = watch(Recognizer(engine), range(14))[-1]
    later = watch(recognizer, range(14, 15), settings=settings)[-1]
    keep = np.exp(-0.1 / 0.2)

    def scores(results: Results) -> dict[str, float]:
        (found,) = (r for r in results.recognitions if r.task == 'deed')
        return dict(found.top_k)

    for label, score in scores(later).items():
        expected = keep * scores(first)[label] + (1 - keep) * scores(plain[0])[label]
        assert score == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('is_change', [True, False])
def test_a_moment_is_told_only_of_a_change(tmp_path: Path, is_change: bool) -> None:
    path = write_memory_checkpoint(tmp_path / 'c.safetensors', is_change=is_change)
    recognizer = Recognizer(Engine(path, device='cpu', precision='float32'))
    change = watch(recognizer, range(16))[-1].change
    assert change is not None
    assert change.is_change == is_change == (change.point_ns is not None)


def test_a_moment_by_itself_is_told_always(tmp_path: Path) -> None:
    path = write_memory_checkpoint(tmp_path / 'm.safetensors', memory_config(tasks=('moment',)))
    recognizer = Recognizer(Engine(path, device='cpu', precision='float32'))
    change = watch(recognizer, range(16))[-1].change
    assert change is not None
    assert change.change_score is None
    assert not change.is_change
    assert change.point_ns is not None


def test_features_from_elsewhere_are_left_out(tmp_path: Path) -> None:
    path = write_memory_checkpoint(tmp_path / 'e.safetensors', memory_config(source=''))
    engine = Engine(path, device='cpu', precision='float32')
    assert engine.sourceless_trunks == ['memory']
    assert not engine.memory_trunks
    recognizer = Recognizer(engine)
    results = watch(recognizer, range(20))[-1]
    assert {r.task for r in results.recognitions} == {'action'}
    assert not said(results)
    assert recognizer.memory is None


def test_a_clip_is_looked_at_once_and_all_is_transferred_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = Recognizer(engine)
    watch(recognizer, range(15))
    calls: list[str] = []
    sharing = engine._network.sharing('clip')
    forward, transfer = sharing.forward, torch.Tensor.cpu

    def noted_forward(clips: torch.Tensor) -> Any:
        calls.append('clip')
        return forward(clips)

    def noted_transfer(values: torch.Tensor) -> torch.Tensor:
        calls.append('transfer')
        return transfer(values)

    monkeypatch.setattr(sharing, 'forward', noted_forward)
    monkeypatch.setattr(torch.Tensor, 'cpu', noted_transfer)
    results = watch(recognizer, range(15, 16))[-1]
    assert said(results) == {'step', 'deed', 'forecast', 'change'}
    assert calls == ['clip', 'transfer']
    assert results.branch_sec.keys() == {'clip', 'memory'}


@pytest.mark.parametrize('factor', [1.0, 1.5, float('nan')])
def test_auto_does_not_take_a_precision_that_foresees_something_else(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    perspectives = GraphHead.forward

    def wrong_in_half(self: GraphHead, nodes: torch.Tensor, *rest: Any) -> Any:
        is_wrong = nodes.dtype == torch.bfloat16
        return perspectives(self, nodes * factor if is_wrong else nodes, *rest)

    def half_is_fast(_: Engine, inputs: dict[str, torch.Tensor], __: object) -> float:
        return 0.001 if inputs['clip'].dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(GraphHead, 'forward', wrong_in_half)
    monkeypatch.setattr(Engine, '_time_forward', half_is_fast)
    engine = Engine(checkpoint, device='cpu')
    assert engine.precision == ('bfloat16' if factor == 1.0 else 'float32')


def test_the_time_that_the_memory_takes_is_measured(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    forward = GraphHead.forward

    def slow(self: GraphHead, *args: Any) -> Any:
        time.sleep(0.03)
        return forward(self, *args)

    monkeypatch.setattr(GraphHead, 'forward', slow)
    engine = Engine(checkpoint, device='cpu', precision='float32')
    assert engine.forward_sec['float32'] >= 0.03 * len(KINDS)
