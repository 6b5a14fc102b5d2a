"""People in frames: where they are in the original image, who they are, what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.outputs import FoundPeople, Outputs
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.recognizer import Recognizer
from mtl_perception.runtime.results import RecognitionSettings, Results
import numpy as np
from people_network import ACTIVITIES, people_config, write_people_checkpoint
import pytest
import torch

SECOND = 1_000_000_000
NOW = 1_795_000_000 * SECOND


@pytest.fixture(scope='module')
def make_engine(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Engine]:
    """Make engines of small networks with both branches or one of them."""
    made: dict[str, Engine] = {}

    def make(**settings: Any) -> Engine:
        if str(settings) not in made:
            path = tmp_path_factory.mktemp('people') / 'people.safetensors'
            write_people_checkpoint(path, people_config(**settings))
            made[str(settings)] = Engine(path, device='cpu', precision='float32')
        return made[str(settings)]

    return make


def noise(size: tuple[int, int] = (48, 64), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def show(
    recognizer: Recognizer,
    *,
    at_sec: float = 0.0,
    size: tuple[int, int] = (48, 64),
    frame_id: str = 'camera',
    **settings: Any,
) -> Results:
    """Give one frame and return its results."""
    stamp_ns = NOW + round(at_sec * SECOND)
    recognizer.add_frame(Picture(noise(size)), stamp_ns, frame_id=frame_id, received_sec=at_sec)
    return recognizer.recognise(RecognitionSettings(**settings))


def found(
    boxes: Sequence[Sequence[float]], *, scores: Sequence[float] = (), joint_score: float = 0.9
) -> FoundPeople:
    """Return people whose joints lie on the diagonal of their boxes."""
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    steps = np.linspace(0, 1, 17, dtype=np.float32)[None, :, None]
    places = corners[:, None, :2] * (1 - steps) + corners[:, None, 2:] * steps
    joints = np.concatenate([places, np.full((*places.shape[:2], 1), joint_score)], -1)
    values = np.array(scores or [0.9] * len(corners), np.float32)
    return FoundPeople(corners, values, joints.astype(np.float32), values * joint_score)


def pretend(monkeypatch: pytest.MonkeyPatch, answers: Sequence[FoundPeople]) -> None:
    """Let the network find given people, frame by frame."""
    remaining = iter(answers)
    monkeypatch.setattr(Engine, 'infer', lambda *_: Outputs(people=next(remaining)))


def test_what_is_said_is_what_the_network_finds(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    results = show(Recognizer(engine), min_person_score=0.1)
    network, settings = engine._network, engine.config.trunks['frames'].preprocessing
    preprocess = FramePreprocessor(settings)
    with torch.inference_mode():
        people = network.people(preprocess(torch.from_numpy(noise()[None])))
    assert results.people is not None
    said = results.people
    assert (said.stamp_ns, said.frame_id, said.size) == (NOW, 'camera', (48, 64))
    # From 48x64 to 64x96 with bars: 4/3 larger, and 85 of 96 columns.
    matrix = preprocess.transform((48, 64)).numpy()
    assert len(said.people) > 1
    boxes = np.stack([person.box for person in said.people])
    num_expected = 0
    for row in np.flatnonzero(people.box_scores[0].numpy() >= 0.1):
        box, joints = people.boxes[0, row].numpy(), people.keypoints[0, row].numpy()
        corners = (box.reshape(2, 2) - matrix[:, 2]) / matrix[[0, 1], [0, 1]]
        expected = np.clip(corners, -0.5, [63.5, 47.5]).reshape(4)
        if (expected[2:] - expected[:2] < 1).any():
            continue
        num_expected += 1
        assert np.abs(boxes - expected).max(1).min() < 1e-3
        assert np.isfinite(joints[:, :2]).all(1).tolist() == (joints[:, 2] > 0).tolist()
    assert len(boxes) == num_expected
    for person in said.people:
        is_found = person.keypoints[:, 2] > 0
        assert np.isfinite(person.keypoints[:, :2]).all(1).tolist() == is_found.tolist()
        assert sum(score for _, score in person.top_k) == pytest.approx(1, abs=1e-5)
        assert {label for label, _ in person.top_k} == set(ACTIVITIES)


@pytest.mark.parametrize('fit', ['pad', 'crop', 'stretch'])
@pytest.mark.parametrize('size', [(48, 64), (480, 640), (720, 1280), (640, 480), (64, 96)])
def test_places_are_those_of_the_original_image(
    make_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
    fit: str,
    size: tuple[int, int],
) -> None:
    engine = make_engine(fit=fit)
    # By hand: window and bars from the ratios of the sides, pixels as squares of side 1.
    (height, width), (rows, columns) = size, (64, 96)
    scales = (columns / width, rows / height)
    if fit != 'stretch':
        scale = min(scales) if fit == 'pad' else max(scales)
        inner = (round(width * scale), round(height * scale))
        if fit == 'pad':
            scales = (inner[0] / width, inner[1] / height)
            start = ((columns - inner[0]) // 2, (rows - inner[1]) // 2)
        else:
            window = (round(columns / scale), round(rows / scale))
            scales = (columns / window[0], rows / window[1])
            start = tuple(
                -((side - part) // 2) * s for side, part, s in zip((width, height), window, scales)
            )
    else:
        start = (0, 0)
    centre = np.array([width / 2, height / 2])
    original = np.concatenate([centre - 8, centre + 8])
    to_network = (original.reshape(2, 2) + 0.5) * scales + start - 0.5
    pretend(monkeypatch, [found([to_network.reshape(4)])])
    (person,) = show(Recognizer(engine), size=size).people.people  # type: ignore[union-attr]
    np.testing.assert_allclose(person.box, original, atol=1e-2)
    np.testing.assert_allclose(person.keypoints[[0, 16], :2].reshape(4), original, atol=1e-2)
    np.testing.assert_allclose(person.keypoints[:, 2], 0.9, atol=1e-6)


def test_nothing_lies_outside_the_image(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    # 48x48 in 64x96: 16 columns of bars on each side.
    pretend(monkeypatch, [found([[4, 8, 48, 56]])])
    results = show(Recognizer(make_engine()), size=(48, 48))
    (person,) = results.people.people  # type: ignore[union-attr]
    assert person.box[0] == -0.5
    is_missing = np.isnan(person.keypoints[:, 0])
    assert is_missing.any()
    assert not is_missing.all()
    assert (person.keypoints[is_missing, 2] == 0).all()
    assert (person.keypoints[~is_missing, 0] >= -0.5).all()


def test_weak_people_and_joints_are_not_said_but_weak_people_keep_their_ids(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = [20, 10, 60, 60]
    answers = [found([box], scores=[score], joint_score=0.3) for score in (0.9, 0.3, 0.9)]
    pretend(monkeypatch, answers)
    recognizer = Recognizer(make_engine())
    people = [
        show(recognizer, at_sec=0.1 * i, min_keypoint_score=0.5).people.people  # type: ignore[union-attr]
        for i in range(3)
    ]
    assert [len(found_in) for found_in in people] == [1, 0, 1]
    assert people[0][0].track_id == people[2][0].track_id != ''
    assert np.isnan(people[0][0].keypoints[:, :2]).all()
    assert people[0][0].activity  # judged from what the network found


def test_people_keep_their_ids_for_as_long_as_is_asked(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    person, nobody = found([[20, 10, 60, 60]]), found([])
    for max_age_sec, is_same in ((2.0, True), (0.5, False)):
        pretend(monkeypatch, [person, nobody, person])
        recognizer, ids = Recognizer(make_engine()), []
        for at_sec in (0.0, 0.4, 1.2):
            said = show(recognizer, at_sec=at_sec, max_track_age_sec=max_age_sec).people
            assert said is not None
            ids += [one.track_id for one in said.people]
        assert (ids[0] == ids[1]) is is_same


@pytest.mark.parametrize(
    'then', [{'frame_id': 'other'}, {'size': (50, 64)}, {'at_sec': -5.0}], ids=str
)
def test_another_stream_forgets_everybody(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, then: dict[str, Any]
) -> None:
    pretend(monkeypatch, [found([[20, 10, 60, 60]])] * 3)
    recognizer = Recognizer(make_engine())
    ids = [
        show(recognizer, **settings).people.people[0].track_id  # type: ignore[union-attr]
        for settings in ({}, {'at_sec': 0.1}, {'at_sec': 0.2, **then})
    ]
    assert ids[0] == ids[1] != ids[2]


def test_outputs_that_are_not_finite_are_refused_and_tracks_kept(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = Recognizer(make_engine())
    head: Any = recognizer._engine._network.heads['detection'].head.classification_head.cls_logits
    first = show(recognizer, min_person_score=0.1).people
    bias = head.bias.clone()
    head.bias.fill_(torch.nan)
    refused = show(recognizer, at_sec=0.1, min_person_score=0.1)
    head.bias.copy_(bias)
    assert refused.people is None
    assert 'outputs of the frame tasks must be finite' in str(*refused.errors)
    again = show(recognizer, at_sec=0.2, min_person_score=0.1).people
    assert first is not None
    assert again is not None
    assert [p.track_id for p in again.people] == [p.track_id for p in first.people]


def test_activities_that_are_not_finite_are_refused_and_people_said_without(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [found([[20, 10, 60, 60]])] * 3)
    answers = iter([[[0.9, 0.1, 0.0]], [[np.nan, 0.1, 0.0]], [[0.9, 0.1, 0.0]]])
    monkeypatch.setattr(Engine, 'activities', lambda *_: np.array(next(answers)))
    recognizer = Recognizer(make_engine())
    said = [show(recognizer, at_sec=0.1 * i, smoothing_sec=1.0) for i in range(3)]
    people = [results.people.people[0] for results in said]  # type: ignore[union-attr]
    assert [person.activity for person in people] == ['walking', '', 'walking']
    assert (people[1].activity_score, people[1].top_k) == (0, [])
    assert len({person.track_id for person in people}) == 1
    assert [len(results.errors) for results in said] == [0, 1, 0]
    assert 'probabilities must be finite' in str(*said[1].errors)


def test_people_come_in_the_order_of_what_is_published_as_their_score(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    people = found([[5, 5, 25, 60], [35, 5, 55, 60], [65, 5, 85, 60]], scores=[0.9, 0.8, 0.7])
    people.pose_scores[:] = (0.2, 0.6, 0.4)
    pretend(monkeypatch, [people])
    said = show(Recognizer(make_engine())).people
    assert said is not None
    assert [person.score for person in said.people] == pytest.approx([0.6, 0.4, 0.2])
    assert said.people[0].box[0] > said.people[2].box[0]


def test_activities_are_smoothed_and_weak_ones_have_no_label(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [found([[20, 10, 60, 60]])] * 2)
    answers = iter([np.array([[0.9, 0.1, 0.0]]), np.array([[0.1, 0.9, 0.0]])])
    monkeypatch.setattr(Engine, 'activities', lambda *_: next(answers))
    recognizer = Recognizer(make_engine())
    said = []
    for at_sec in (0.0, 1.0):
        people = show(recognizer, at_sec=at_sec, smoothing_sec=1.0, min_score=0.7, top_k=2).people
        assert people is not None
        said.append(people.people[0])
    assert (said[0].activity, said[0].activity_score) == ('walking', pytest.approx(0.9))
    expected = 0.1 * np.exp(-1) + 0.9 * (1 - np.exp(-1))
    assert (said[1].activity, said[1].activity_score) == ('', pytest.approx(expected))
    assert [label for label, _ in said[1].top_k] == ['sitting', 'walking']


def test_somebody_without_joints_does_nothing(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [found([[20, 10, 60, 60]], joint_score=0.0)])
    (person,) = show(Recognizer(make_engine())).people.people  # type: ignore[union-attr]
    assert (person.activity, person.top_k) == ('', [])


def test_earlier_poses_are_those_of_the_same_track(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = [10, 10, 30, 60], [60, 10, 80, 60]
    moved = [12, 10, 32, 60]
    engine = make_engine(history=2)  # whose warm-up asks the network itself
    pretend(monkeypatch, [found([left, right]), found([right, moved], scores=[0.95, 0.9])])
    seen: list[np.ndarray] = []

    def listen(_: Engine, keypoints: np.ndarray, boxes: np.ndarray, __: Any) -> np.ndarray:
        seen.append(keypoints)
        return np.full((len(keypoints), 3), 1 / 3)

    monkeypatch.setattr(Engine, 'activities', listen)
    recognizer = Recognizer(engine)
    show(recognizer)
    show(recognizer, at_sec=0.4)
    assert np.isnan(seen[0][:, 0, :, 0]).all()  # nobody has been seen before
    np.testing.assert_allclose(seen[1][:, :, 0, 0], [[60, 60], [10, 12]])


def test_both_branches_speak_of_the_same_frame_at_rates_of_their_own(
    make_engine: Callable[..., Engine],
) -> None:
    recognizer = Recognizer(make_engine(clips=True))
    said = []
    for index in range(16):
        results = show(recognizer, at_sec=0.1 * index, frame_every=2, clip_every=3)
        said.append((results.people is not None, len(results.recognitions)))
        stamps = {recognition.stamp_ns for recognition in results.recognitions}
        if results.people is not None:
            stamps.add(results.people.stamp_ns)
        assert stamps <= {NOW + round(0.1 * index * SECOND)}
        assert bool(results) == (index % 2 == 0 or (index % 3 == 0 and index >= 6))
        assert results.is_pause == (index % 2 > 0 and index % 3 > 0)
    assert [people for people, _ in said] == [index % 2 == 0 for index in range(16)]
    # Half a second must have passed before the first clip.
    assert [count for _, count in said[6:]] == [int(i % 3 == 0) for i in range(6, 16)]
    assert not any(count for _, count in said[:5])


def test_a_frame_is_looked_at_once_and_those_in_between_are_counted(
    make_engine: Callable[..., Engine],
) -> None:
    recognizer = Recognizer(make_engine())
    assert not recognizer.recognise()
    assert not recognizer.recognise().is_pause
    assert show(recognizer)
    assert not recognizer.recognise()
    for index in (1, 2, 3):
        recognizer.add_frame(Picture(noise()), NOW + index * SECOND // 10, frame_id='camera')
    assert recognizer.recognise().people.stamp_ns == NOW + 3 * SECOND // 10  # type: ignore[union-attr]
    assert recognizer.num_superseded == 2
    assert (recognizer.clip_sec, recognizer.span_sec) == (0, 0)


@pytest.mark.parametrize('is_bgr', [True, False])
@pytest.mark.parametrize('fit', ['pad', 'crop', 'stretch'])
@pytest.mark.parametrize('size', [(64, 96), (128, 192), (48, 64)])
def test_the_network_gets_frames_laid_out_as_at_warm_up(
    make_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
    is_bgr: bool,
    fit: str,
    size: tuple[int, int],
) -> None:
    engine = make_engine(fit=fit)
    given: list[torch.Tensor] = []

    def listen(_: Engine, inputs: dict[str, torch.Tensor], *_rest: Any) -> Outputs:
        given.extend(inputs.values())
        return Outputs(people=found([]))

    monkeypatch.setattr(Engine, 'infer', listen)
    recognizer = Recognizer(engine)
    recognizer.add_frame(Picture(noise(size), is_bgr), NOW)
    recognizer.recognise()
    assert [x.stride() for x in given] == [
        x.stride() for x in engine._noise(engine.dtype).values()
    ]


def test_blue_first_is_the_same_frame(make_engine: Callable[..., Engine]) -> None:
    boxes = []
    for is_bgr in (False, True):
        recognizer = Recognizer(make_engine())
        shown = np.ascontiguousarray(noise()[..., ::-1]) if is_bgr else noise()
        recognizer.add_frame(Picture(shown, is_bgr), NOW)
        people = recognizer.recognise(RecognitionSettings(min_person_score=0.1)).people
        assert people is not None
        boxes.append(np.stack([person.box for person in people.people]))
    np.testing.assert_allclose(*boxes)


def test_a_picture_is_kept_only_where_it_is_wanted(make_engine: Callable[..., Engine]) -> None:
    recognizer = Recognizer(make_engine())
    for stamp_ns, keep in ((NOW, False), (NOW + SECOND // 10, True)):
        picture = Picture(noise())
        recognizer.add_frame(picture, stamp_ns, keep_picture=keep)
        frame = recognizer.recognise().frame
        assert frame is not None
        assert frame.picture is (picture if keep else None)


def test_a_checkpoint_that_says_nothing_is_refused(tmp_path: Path) -> None:
    config = people_config()
    kept = {'keypoints': config.tasks['keypoints']}
    path = tmp_path / 'mute.safetensors'
    save_checkpoint(path, MultiTaskNetwork(replace(config, tasks=kept)), metrics={}, training={})
    with pytest.raises(ValueError, match=r"clip task or one of detection, it has \['keypoints'\]"):
        Engine(path, device='cpu')
