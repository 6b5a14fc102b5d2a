"""Figures of people found: against pycocotools on real annotations, slow loops, and by hand."""

from contextlib import redirect_stdout
import io
from itertools import chain, permutations
import json
import math
from pathlib import Path
import pickle
import statistics

from mtl_perception.network.pose.skeleton import object_keypoint_similarity, OKS_SIGMAS
from mtl_training.data.frame_sample import UNKNOWN
from mtl_training.metrics import Evaluation
from mtl_training.pose_metrics import (
    across_folds,
    ActivityReport,
    FoundPeople,
    match_people,
    pooled,
    PoseEvaluation,
    TruePeople,
)
from mtl_training.report import draw_confusions
import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)
from torchvision.ops import box_iou

SHARED = Path(__file__).parents[2].parent / 'shared'
REAL = SHARED / 'data' / 'coco_tiny' / 'annotations' / 'person_keypoints_val2017.json'
LABELS = ('walking', 'running', 'sitting', 'standing')


@pytest.fixture(scope='module')
def real():
    """Return real annotations, as the file has them."""
    if not REAL.exists():
        pytest.skip(f'no real annotations at {REAL}')
    return json.loads(REAL.read_text())


def direct(real, results, kind):
    """Return all figures of pycocotools' own path, from the file's contents to the end."""
    with redirect_stdout(io.StringIO()):
        truth = COCO(REAL)
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    places = {'bbox': (0, 1, 2, 4, 5, 8), 'keypoints': range(6)}[kind]
    names = ('ap', 'ap50', 'ap75', 'ap_medium', 'ap_large', 'ar')
    return dict(zip(names, evaluation.stats[list(places)].tolist()))


def evaluation_of(real, shifted) -> PoseEvaluation:
    """Return our evaluation of (image, box as xywh, joints, score)."""
    evaluation = PoseEvaluation()
    for image in real['images']:
        here = [row for row in shifted if row[0] == image['id']]
        scores = torch.tensor([row[3] for row in here])
        boxes, joints = tensors([row[1] for row in here], [row[2] for row in here])
        found = FoundPeople(boxes, scores, joints, scores)
        evaluation.update(image['id'], found, true_people(real, image['id']))
    return evaluation


def tensors(boxes, joints):
    xywh = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    boxes = torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    return boxes, torch.tensor(joints, dtype=torch.float32).reshape(-1, 17, 3)


def true_people(real, image_id) -> TruePeople:
    rows = [row for row in real['annotations'] if row['image_id'] == image_id]
    boxes, joints = tensors([row['bbox'] for row in rows], [row['keypoints'] for row in rows])
    return TruePeople(
        boxes,
        joints,
        torch.tensor([row['area'] for row in rows], dtype=torch.float32),
        torch.tensor([bool(row['iscrowd']) for row in rows], dtype=torch.bool),
        torch.full((len(rows),), UNKNOWN),
    )


def shifted(real, shift, *, posed_only):
    """Return the truth moved to the right, with scores that fall along the file."""
    rows = real['annotations']
    chosen = [(n, r) for n, r in enumerate(rows) if r['num_keypoints'] or not posed_only]
    moved = []
    for number, row in chosen:
        box, joints = np.array(row['bbox']), np.array(row['keypoints'], float).reshape(17, 3)
        box[0] += shift
        joints[:, 0] += shift
        moved.append((row['image_id'], box.tolist(), joints.tolist(), 1 - number / len(rows)))
    return moved


@pytest.mark.parametrize(
    ('shift', 'expected'),
    [(0, 1.0), (2, 0.910868), (5, 0.526265), (10, 0.157113), (20, 0.013556)],
)
def test_poses_moved_by_some_pixels_get_what_pycocotools_gives_them(real, shift, expected) -> None:
    moved = shifted(real, shift, posed_only=True)
    ours = evaluation_of(real, moved).keypoints()
    results = [
        {'image_id': i, 'category_id': 1, 'keypoints': np.ravel(joints).tolist(), 'score': score}
        for i, _, joints, score in moved
    ]
    assert ours == pytest.approx(direct(real, results, 'keypoints'), abs=1e-6)
    assert ours['ap'] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('shift', [0, 3, 10])
def test_boxes_moved_by_some_pixels_get_what_pycocotools_gives_them(real, shift) -> None:
    moved = shifted(real, shift, posed_only=False)
    results = [
        {'image_id': i, 'category_id': 1, 'bbox': box, 'score': score}
        for i, box, _, score in moved
    ]
    expected = direct(real, results, 'bbox')
    assert evaluation_of(real, moved).boxes() == pytest.approx(expected, abs=1e-6)
    assert (expected['ap'] == pytest.approx(1)) == (shift == 0)


@pytest.mark.parametrize('noise_px', [0.0, 4.0, 40.0])
def test_the_similarity_of_poses_is_that_of_pycocotools_and_of_a_slow_loop(real, noise_px) -> None:
    random = np.random.default_rng(3)
    num_pairs = 0
    for image in real['images']:
        truth = true_people(real, image['id'])
        posed = (truth.keypoints[..., 2] > 0).any(1)
        joints, areas = truth.keypoints[posed].double(), truth.areas[posed].double()
        noise = torch.from_numpy(random.normal(0, noise_px, joints[..., :2].shape))
        found = torch.cat([joints[..., :2] + noise + noise_px, joints[..., 2:]], -1)
        if len(found):
            alike = object_keypoint_similarity(found, joints, areas)
            assert alike.numpy() == pytest.approx(oks_of_pycocotools(found, joints, areas))
            assert alike.tolist() == pytest.approx(oks_of_a_loop(found, joints, areas), abs=1e-9)
            single = object_keypoint_similarity(found.float(), joints.float(), areas.float())
            assert single.numpy() == pytest.approx(alike.numpy(), abs=1e-5)
            num_pairs += alike.numel()
    assert num_pairs > 46  # of as many people, so that people were compared with others too


def oks_of_pycocotools(found, joints, areas):
    evaluation = COCOeval(iouType='keypoints')
    evaluation.params.maxDets = [len(found)]
    for number, (pose, truth, area) in enumerate(zip(found, joints, areas)):
        evaluation._dts[0, 1].append({'keypoints': pose.ravel().tolist(), 'score': -number})
        row = {'keypoints': truth.ravel().tolist(), 'bbox': [0, 0, 0, 0], 'area': float(area)}
        evaluation._gts[0, 1].append(row)
    return evaluation.computeOks(0, 1)


def oks_of_a_loop(found, joints, areas):
    rows = []
    for pose in found.tolist():
        rows.append([])
        for truth, area in zip(joints.tolist(), areas.tolist()):
            total, count = 0.0, 0
            for (x, y, _), (true_x, true_y, visibility), sigma in zip(pose, truth, OKS_SIGMAS):
                if visibility > 0:
                    squared = (x - true_x) ** 2 + (y - true_y) ** 2
                    total += math.exp(-squared / (2 * area * (2 * sigma) ** 2))
                    count += 1
            rows[-1].append(total / count)
    return [pytest.approx(row, abs=1e-9) for row in rows]


def standing_at(*lefts, num_labelled=17, height=200.0):
    """Return true people of 100 by `height` pixels, with joints along the diagonal."""
    lefts = torch.tensor(lefts).float().reshape(-1, 1)
    tops = torch.full_like(lefts, 10.0)
    boxes = torch.cat([lefts, tops, lefts + 100, tops + height], 1)
    along = torch.linspace(0.05, 0.95, 17)
    xs, ys = lefts + 100 * along, tops + height * along
    visible = (torch.arange(17) < num_labelled).float().expand_as(xs)
    return TruePeople(
        boxes,
        torch.stack([xs * visible, ys * visible, 2 * visible], -1),
        torch.full((len(boxes),), 100 * height),
        torch.zeros(len(boxes), dtype=torch.bool),
        torch.full((len(boxes),), UNKNOWN),
    )


def found_of(truth, *, scores=None) -> FoundPeople:
    scores = torch.linspace(0.9, 0.5, len(truth.boxes)) if scores is None else scores
    return FoundPeople(truth.boxes, scores, truth.keypoints.clone(), scores)


def without(found, *joints) -> FoundPeople:
    keypoints = found.keypoints.clone()
    keypoints[:, list(joints)] = math.nan
    return found._replace(keypoints=keypoints)


def figures(*images):
    evaluation = PoseEvaluation()
    for number, (found, truth) in enumerate(images):
        evaluation.update(number, found, truth)
    return evaluation.boxes(), evaluation.keypoints()


def test_a_joint_that_was_not_found_lowers_the_similarity_by_its_share() -> None:
    truth = standing_at(0)
    truth.keypoints[:, 0, :2] = 0  # the corner of the image is a place as any other
    for count in range(1, 17):
        _, poses = figures((without(found_of(truth), *range(count)), truth))
        # One person is found or not: the AP is the share of thresholds that is passed.
        passed = sum((17 - count) / 17 >= t - 1e-9 for t in np.linspace(0.5, 0.95, 10))
        assert poses['ap'] == pytest.approx(passed / 10), count


def test_a_joint_that_was_not_found_costs_as_much_as_one_far_away() -> None:
    truth = standing_at(0, 300)
    far = found_of(truth)
    far.keypoints[:, :5, :2] = -5000.0
    _, expected = figures((far, truth))
    # But it does not make the pose large.
    assert figures((without(found_of(truth), *range(5)), truth))[1] == expected


def test_a_wrong_pose_that_lacks_a_joint_counts_against_the_others_all_the_same() -> None:
    truth = standing_at(0)
    both = found_of(standing_at(900, 0))
    _, complete = figures((both, truth))
    _, lacking = figures((both._replace(keypoints=without(both, 3).keypoints), truth))
    assert complete['ap'] == pytest.approx(0.5)
    assert lacking['ap50'] == pytest.approx(0.5)


def test_somebody_without_a_found_joint_is_a_box_and_no_pose() -> None:
    truth = standing_at(0, 300)
    found = found_of(truth)
    found.keypoints[0] = math.nan
    found = found._replace(pose_scores=torch.tensor([math.nan, 0.5]))
    boxes, poses = figures((found, truth))
    assert boxes['ap'] == pytest.approx(1)
    assert poses['ar'] == pytest.approx(0.5)
    one = type(found)(*(values[1:] for values in found))
    assert poses == figures((one, truth))[1]


def test_a_crowd_counts_neither_for_nor_against() -> None:
    truth = standing_at(0, 300)
    crowd = truth._replace(is_crowd=torch.tensor([False, True]))
    all_found = found_of(standing_at(300, 0))  # the one in the crowd has the better score
    one_found = found_of(standing_at(0))
    for found in (all_found, one_found):
        for kind in figures((found, crowd)):
            assert kind['ap'] == pytest.approx(1)
            assert kind['ar'] == pytest.approx(1)
    boxes, poses = figures((one_found, truth))
    assert boxes['ar'] == pytest.approx(0.5)
    assert poses['ar'] == pytest.approx(0.5)


def test_somebody_without_annotated_joints_counts_as_a_box_and_is_ignored_as_a_pose() -> None:
    truth = standing_at(0, 300)
    truth.keypoints[1] = 0
    boxes, poses = figures((found_of(standing_at(300, 0)), truth))
    assert boxes['ap'] == pytest.approx(1)
    assert poses['ap'] == pytest.approx(1)
    boxes, poses = figures((found_of(standing_at(0)), truth))
    assert boxes['ar'] == pytest.approx(0.5)
    assert poses['ar'] == pytest.approx(1)


def test_where_the_truth_has_nobody_there_is_no_figure() -> None:
    nobody = standing_at()
    for images in ((), ((found_of(nobody), nobody),), ((found_of(standing_at(0)), nobody),)):
        for kind in figures(*images):
            assert set(kind.values()) == {None}
    boxes, poses = figures((found_of(nobody), standing_at(0)))  # 141 pixels wide: large
    for kind in (boxes, poses):
        expected = dict.fromkeys(('ap', 'ap50', 'ap75', 'ap_large', 'ar'), 0.0)
        assert kind == {**expected, 'ap_medium': None}
    small = standing_at(0, height=50.0)
    for kind in figures((found_of(small), small)):
        assert kind['ap_medium'] == pytest.approx(1)
        assert kind['ap_large'] is None


def test_boxes_and_poses_go_by_scores_of_their_own() -> None:
    right_first, wrong_first = torch.tensor([0.9, 0.1]), torch.tensor([0.1, 0.9])
    found = found_of(standing_at(0, 900), scores=right_first)
    boxes, poses = figures((found._replace(pose_scores=wrong_first), standing_at(0)))
    assert boxes['ap'] == pytest.approx(1)
    assert poses['ap'] == pytest.approx(0.5)


def test_the_order_of_the_images_does_not_matter_to_equal_scores() -> None:
    truth = standing_at(0)
    images = [(0, found_of(standing_at(900))), (1, found_of(truth))]
    evaluations = [PoseEvaluation(), PoseEvaluation()]
    for evaluation, order in zip(evaluations, (images, images[::-1])):
        for image_id, found in order:
            evaluation.update(image_id, found, truth)
    assert evaluations[0].boxes() == evaluations[1].boxes()
    assert evaluations[0].keypoints() == evaluations[1].keypoints()


def test_evaluating_prints_nothing(capsys) -> None:
    truth = standing_at(0)
    figures((found_of(truth), truth))
    assert capsys.readouterr() == ('', '')


def test_shares_of_the_images_merge_into_the_whole(real) -> None:
    moved = shifted(real, 4, posed_only=False)
    whole = evaluation_of(real, moved)
    first, second = PoseEvaluation(), PoseEvaluation()
    for number, image in enumerate(whole.to_lists()):
        (first, second)[number % 2].merge(PoseEvaluation.from_lists([image]))
    sent = json.dumps(second.to_lists(), allow_nan=False)
    total = PoseEvaluation.from_lists(json.loads(sent))
    # As the processes of one run send it to each other; no file is ever read so.
    total.merge(pickle.loads(pickle.dumps(first)))
    assert len(total) == len(whole) == 50
    assert total.keypoints() == whole.keypoints()
    assert total.boxes() == whole.boxes()


def test_lists_keep_joints_that_were_not_found_without_nan() -> None:
    truth = standing_at(0, 300)
    evaluation = PoseEvaluation()
    evaluation.update(7, without(found_of(truth), 0, 1, 2, 3), truth)
    lists = json.loads(json.dumps(evaluation.to_lists(), allow_nan=False))
    assert lists[0]['found']['keypoints'][1][3] == [None, None, None]
    back = PoseEvaluation.from_lists(lists)
    assert back.to_lists() == evaluation.to_lists()
    assert back.keypoints() == evaluation.keypoints()


def test_what_was_added_does_not_change_with_the_callers_arrays() -> None:
    truth = standing_at(0)
    truth = truth._replace(boxes=truth.boxes.double())
    found = FoundPeople(*(values.double().numpy() for values in found_of(truth)))
    evaluation = PoseEvaluation()
    evaluation.update(0, found, truth)
    found.boxes[:] = 0
    truth.boxes[:] = 1
    assert evaluation.boxes()['ap'] == pytest.approx(1)


@pytest.mark.parametrize(
    ('field', 'values', 'message'),
    [
        ('boxes', torch.zeros(2, 5), r'found\.boxes must be \[2, 4\], got \[2, 5\]'),
        ('pose_scores', torch.ones(3), r'found\.pose_scores must be \[2\], got \[3\]'),
        ('keypoints', torch.ones(2, 17, 2), r'found\.keypoints must be \[2, 17, 3\], got \[2, 17'),
        ('box_scores', torch.tensor([1, math.nan]), r'found\.box_scores must be finite, got nan'),
        (
            'pose_scores',
            torch.tensor([1, math.inf]),
            r'found\.pose_scores must be finite, got inf',
        ),
        ('boxes', torch.full((2, 4), math.nan), r'found\.boxes must be finite, got nan'),
    ],
)
def test_what_is_no_people_is_refused(field, values, message) -> None:
    truth = standing_at(0, 300)
    with pytest.raises(ValueError, match=message):
        PoseEvaluation().update(0, found_of(truth)._replace(**{field: values}), truth)


def test_an_image_counts_once() -> None:
    truth = standing_at(0)
    evaluation = PoseEvaluation()
    evaluation.update(5, found_of(truth), truth)
    with pytest.raises(ValueError, match='image_id must be new to the evaluation, got 5'):
        evaluation.update(torch.tensor(5), found_of(truth), truth)
    with pytest.raises(ValueError, match='got 5'):
        evaluation.merge(evaluation)


@pytest.mark.parametrize('seed', range(8))
def test_the_matching_is_the_best_of_all(seed) -> None:
    torch.manual_seed(seed)
    true = torch.rand(5, 4) * 30
    true[:, 2:] += 30 + true[:, :2]
    found = true[torch.randperm(5)[:4]] + torch.randn(4, 4) * 4
    is_crowd = torch.rand(5) < 0.2
    worth = box_iou(found, true) * ~is_crowd
    worth = worth * (worth >= 0.5)
    best = max(
        sum(worth[i, j] for i, j in enumerate(order)) for order in permutations(range(5), 4)
    )
    of_found, of_true = match_people(found, true, is_crowd)
    assert worth[of_found, of_true].sum() == pytest.approx(float(best))
    assert (worth[of_found, of_true] >= 0.5).all()
    assert len(of_true.unique()) == len(of_true) == len(of_found.unique())
    assert of_found.tolist() == sorted(of_found.tolist())


def test_nobody_is_matched_with_absent_people_crowds_or_nothing() -> None:
    absent = torch.zeros(1, 4)
    person = torch.tensor([[0.0, 0, 10, 20]])
    pairs = [(absent, absent), (person, absent), (absent, person), (person[:0], person)]
    for found, true in [*pairs, (person, person[:0])]:
        assert [len(numbers) for numbers in match_people(found, true)] == [0, 0]
    of_found, of_true = match_people(person, torch.cat([person, person + 1]), torch.tensor([1, 0]))
    assert (of_found.tolist(), of_true.tolist()) == ([0], [1])
    far = person + torch.tensor([6.0, 0, 6, 0])  # an IoU of a quarter
    assert len(match_people(person, far)[0]) == 0
    assert len(match_people(person, far, min_iou=0.25)[0]) == 1
    with pytest.raises(ValueError, match=r'min_iou must be in \(0, 1\], got 0'):
        match_people(person, person, min_iou=0)


def slow_figures(predicted, true):
    """Return accuracy and macro precision, recall and F1 of plain lists."""
    rows = []
    for label in sorted({*predicted, *true}):
        hits = sum(p == t == label for p, t in zip(predicted, true))
        precision = hits / predicted.count(label) if label in predicted else 0.0
        recall = hits / true.count(label) if label in true else 0.0
        rows.append((precision, recall, 2 * precision * recall / ((precision + recall) or 1)))
    accuracy = sum(p == t for p, t in zip(predicted, true)) / len(true)
    return dict(zip(('precision', 'recall', 'f1'), map(statistics.fmean, zip(*rows)))) | {
        'accuracy': accuracy
    }


def report_of(predicted, true) -> ActivityReport:
    report = ActivityReport(LABELS)
    report.update(torch.tensor(predicted[:5]), torch.tensor(true[:5]))
    report.update(torch.tensor(predicted[5:]), torch.tensor(true[5:]))
    return report


def random_pairs(seed, *, labels=4, count=40):
    random = np.random.default_rng(seed)
    true = random.integers(0, labels, count)
    predicted = np.where(random.random(count) < 0.6, true, random.integers(0, labels, count))
    return predicted.tolist(), true.tolist()


@pytest.mark.parametrize('labels', [1, 3, 4])
@pytest.mark.parametrize('seed', range(3))
def test_activity_figures_are_those_of_a_slow_loop_and_of_torchmetrics(labels, seed) -> None:
    predicted, true = random_pairs(seed, labels=labels)
    summary = report_of(predicted, true).summary()
    assert summary == pytest.approx(slow_figures(predicted, true))
    pair = torch.tensor(predicted), torch.tensor(true)
    for name, oracle in (
        ('precision', multiclass_precision),
        ('recall', multiclass_recall),
        ('f1', multiclass_f1_score),
    ):
        assert summary[name] == pytest.approx(float(oracle(*pair, num_classes=4)), abs=1e-6)


def test_figures_per_activity_by_hand() -> None:
    # walking: 2 of 3 found, and 2 of the 4 predictions right
    report = report_of([0, 0, 1, 0, 0, 1], [0, 0, 0, 1, 1, 1])
    assert report.per_class()['walking'] == pytest.approx(
        {'precision': 0.5, 'recall': 2 / 3, 'f1': 4 / 7, 'samples': 3}
    )
    assert report.per_class()['sitting'] == dict.fromkeys(
        ('precision', 'recall', 'f1', 'samples'), 0
    )


def test_macro_figures_count_an_activity_that_was_only_predicted_and_none_that_never_was() -> None:
    summary = report_of([0, 2], [0, 1]).summary()
    assert summary == pytest.approx(
        {'accuracy': 1 / 2, 'precision': 1 / 3, 'recall': 1 / 3, 'f1': 1 / 3}
    )


def test_people_of_unknown_activity_are_left_out_and_other_numbers_refused() -> None:
    report = report_of([0, 1, 2, 3, 3, 3], [0, UNKNOWN, 2, UNKNOWN, 3, 3])
    assert report.confusion.num_samples == 4
    assert report.summary()['accuracy'] == 1
    with pytest.raises(ValueError, match='true must be from 0 to 3, got 4'):
        report.update(torch.tensor([0]), torch.tensor([4]))
    with pytest.raises(ValueError, match='predicted must be from 0 to 3, got -1'):
        report.update(torch.tensor([-1]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r'same shape, got \[2\] and \[1\]'):
        report.update(torch.tensor([0, 1]), torch.tensor([0]))
    assert set(ActivityReport(LABELS).summary().values()) == {0.0}


def test_folds_have_a_mean_a_deviation_and_a_sum() -> None:
    folds = [random_pairs(seed) for seed in range(5)]
    reports = [report_of(*fold) for fold in folds]
    slow = [slow_figures(*fold) for fold in folds]
    for name, figure in across_folds(reports).items():
        values = [figures[name] for figures in slow]
        assert figure.mean == pytest.approx(statistics.fmean(values))
        assert figure.deviation == pytest.approx(statistics.stdev(values))
        assert figure.count == 5
    together = [list(chain(*column)) for column in zip(*folds)]
    assert pooled(reports).summary() == pytest.approx(slow_figures(*together))
    assert across_folds(reports[:1])['f1'].deviation is None


def test_folds_must_exist_and_agree() -> None:
    with pytest.raises(ValueError, match='reports must not be empty'):
        across_folds([])
    with pytest.raises(ValueError, match='reports must have the same labels, got'):
        pooled([ActivityReport(LABELS), ActivityReport(LABELS[:2])])


def test_the_confusions_of_activities_are_drawn_from_light_to_dark(tmp_path) -> None:
    true = [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10
    predicted = [0] * 10 + [1] * 5 + [0] * 5 + [2] * 9 + [3] + [3] * 10
    path = tmp_path / 'activities.png'
    draw_confusions(Evaluation({'activity': report_of(predicted, true).confusion}), path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert('L'), dtype=float)
    assert pixels.min() < 60 < 250 < pixels.max()
    assert min(pixels.shape) > 300
