"""How people are judged: matched poses, original pixels, and test-time augmentation."""

import io
from itertools import product
import json
import re

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network.config import from_mapping, NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.pose.decoding import People
from mtl_perception.network.pose.skeleton import FLIPPED
from mtl_training import cli
from mtl_training.config import build_config
from mtl_training.criteria import build_criteria
from mtl_training.data.frame_sample import collate_frames
from mtl_training.evaluation import evaluate
from mtl_training.frame_evaluation import (
    found_people,
    FrameEvaluation,
    FrameEvaluator,
    matched_poses,
    to_original,
    true_people,
)
from mtl_training.inputs import TaskInputs
from mtl_training.people_report import people_details, print_people
from mtl_training.predicted_poses import (
    find_all_poses,
    FoundPoses,
    load_poses,
    PredictedPoses,
    save_poses,
)
from mtl_training.report import draw_confusions
from mtl_training.test_time_augmentation import _boxes, _upright, TestTimeAugmentation
from mtl_training.trainer import Trainer
import numpy as np
import pytest
from rich.console import Console
import torch
from torch.nn.functional import interpolate
from torchvision.ops import box_iou


@pytest.fixture
def network(frames_block) -> MultiTaskNetwork:
    torch.manual_seed(0)
    block = frames_block['network']
    block['tasks']['activity']['labels'] = ['still', 'moving']
    network = MultiTaskNetwork(from_mapping(NetworkConfig, block)).eval()
    # Where training starts nobody is found, not even by chance.
    final = network.heads['person'].head.classification_head.cls_logits
    torch.nn.init.normal_(final.weight, std=0.5)
    torch.nn.init.zeros_(final.bias)
    return network


@pytest.fixture
def dataset(toy_module):
    return toy_module.ToyFrames(
        'activity', 'val', num_images=5, size=(64, 96), images=2, history=2
    )


def perfect_people(batch) -> People:
    """Return what a perfect detector finds in every frame."""
    boxes = batch.boxes.transpose(1, 2).flatten(0, 1)
    joints = batch.keypoints.transpose(1, 2).flatten(0, 1).clone()
    missing = joints[..., 2] <= 0
    joints[..., 2] = (~missing).float()
    joints[..., :2] = joints[..., :2].masked_fill(missing[..., None], torch.nan)
    there = batch.is_person.repeat_interleave(batch.boxes.shape[2], 0).float()
    return People(boxes, 0.9 * there, joints, 0.9 * there)


def test_perfect_people_have_an_average_precision_of_one(dataset, network) -> None:
    batch = collate_frames([dataset[i] for i in range(5)])
    result = FrameEvaluation(network.config, [*network.config.tasks])
    newest = People(*(values[1::2] for values in perfect_people(batch)))
    for found, truth in zip(found_people(newest, batch.transforms), true_people(batch)):
        result.poses.update(len(result.poses), found, truth)
    figures = result.figures()
    for task in ('person', 'keypoints'):
        assert figures[task]['ap'] == pytest.approx(1)
        assert figures[task]['score'] == pytest.approx(1)


def test_who_scores_less_than_the_robot_asks_for_is_not_found(dataset) -> None:
    batch = collate_frames([dataset[i] for i in range(5)])
    people = perfect_people(batch)
    people.box_scores[0, 0] = people.box_scores[3, 0] = 0.4  # an older frame and a newest one
    everybody = matched_poses(people, batch, 2)[2]
    assert torch.equal(everybody, batch.is_person[..., None].expand(-1, -1, 2))
    is_found = matched_poses(people, batch, 2, min_score=0.5)[2]
    assert (is_found != everybody).nonzero().tolist() == [[1, 0, 1]]


def test_the_score_that_a_person_needs_is_an_option(
    frames_block, network, tmp_path, capsys
) -> None:
    path = tmp_path / 'frames.safetensors'
    training = {'config': {'data': frames_block['data']}}
    save_checkpoint(path, network, metrics={}, training=training)
    command = ['evaluate', '--checkpoint', str(path), '--split', 'val', '--json']
    found = []
    for score in ('0', '1'):
        assert cli.main([*command, '--min-person-score', score]) == 0
        figures = json.loads(capsys.readouterr().out)
        found.append(figures['people']['activity']['found'])
    assert found[0] > found[1] == 0
    assert cli.main([*command, '--min-person-score', '1.1']) == 2
    assert 'must be from 0 to 1, got 1.1' in capsys.readouterr().err


def test_coordinates_keep_their_bits_under_autocast(dataset, network, monkeypatch) -> None:
    batch = collate_frames([dataset[i] for i in range(5)])
    run = TestTimeAugmentation.run
    monkeypatch.setattr(
        TestTimeAugmentation, 'run', lambda *args: (run(*args)[0], perfect_people(batch))
    )
    evaluator = FrameEvaluator(
        network,
        TaskInputs(network.config).eval(),
        autocast=lambda: torch.autocast('cpu', torch.bfloat16),
    )
    result = evaluator.run([batch], [*network.config.tasks], device=torch.device('cpu'))
    for poses in (result.poses, result.poses_in_true_boxes):
        for index, (found, truth) in poses._images.items():
            expected = dataset[index].boxes[:, -1].numpy()
            for boxes in (found.boxes, truth.boxes):
                np.testing.assert_allclose(boxes, expected, atol=1e-3)
    keypoints = result.poses._images[0][0].keypoints
    seen = dataset[0].keypoints[:, -1, :, 2].numpy() > 0
    expected = dataset[0].keypoints[:, -1, :, :2].numpy()
    np.testing.assert_allclose(keypoints[seen][:, :2], expected[seen], atol=1e-3)


def test_poses_are_matched_as_a_slow_loop_matches_them(dataset) -> None:
    batch = collate_frames([dataset[i] for i in range(5)])
    people = perfect_people(batch)
    # In another order, some of them lost in the older frame.
    order = torch.randperm(people.boxes.shape[1], generator=torch.Generator().manual_seed(2))
    people = People(*(values[:, order].clone() for values in people))
    people.box_scores[0, 0] = 0
    poses, boxes, is_found = matched_poses(people, batch, 2)
    for image, person, frame in product(range(5), range(batch.boxes.shape[1]), range(2)):
        row, box = 2 * image + frame, batch.boxes[image, person, frame]
        hits = [
            n for n in range(len(order))
            if people.box_scores[row, n] > 0 and batch.is_person[image, person]
            and box_iou(box[None], people.boxes[row, n][None]) > 0.99
        ]  # fmt: skip
        assert is_found[image, person, frame] == bool(hits)
        expected = people.keypoints[row, hits[0]] if hits else None
        if expected is None:
            assert (poses[image, person, frame, :, 2] == 0).all()
            assert poses[image, person, frame, :, :2].isnan().all()
        else:
            torch.testing.assert_close(poses[image, person, frame], expected, equal_nan=True)
    torch.testing.assert_close(boxes[batch.is_person], batch.boxes[:, :, -1][batch.is_person])


def test_pixels_go_back_to_where_they_came_from() -> None:
    transforms = torch.tensor([[[2.0, 0.5, 3], [-0.3, 1.5, 7]], [[0.5, 0, 0], [0, 0.5, 10]]])
    points = torch.rand(2, 4, 17, 2) * 50
    ones = torch.ones(2, 4, 17, 1)
    moved = torch.einsum('bij,bpkj->bpki', transforms, torch.cat([points, ones], -1))
    torch.testing.assert_close(to_original(moved, transforms), points, rtol=1e-4, atol=1e-4)


def test_losses_are_means_over_images_and_merge(network) -> None:
    parts = []
    for losses in ([1.0, 2.0, 3.0], [6.0]):
        part = FrameEvaluation(network.config, ['person'])
        part.add_losses('person', torch.tensor(losses).double(), torch.tensor(0.5).double())
        parts.append(part)
    parts[0].merge(parts[1])
    assert parts[0].losses() == {'person': 3.0}


@pytest.mark.parametrize('kinds', [['person', 'keypoints'], ['activity'], ['pose']], ids=str)
def test_without_the_other_tasks_the_score_is_how_well_a_task_fits(
    frames_block, dataset, tmp_path, kinds
) -> None:
    block = frames_block['network']
    block['tasks']['activity']['labels'] = ['still', 'moving']
    block['tasks'] = {task: block['tasks'][task] for task in kinds}
    network = MultiTaskNetwork(from_mapping(NetworkConfig, block)).eval()
    found = evaluate(
        network, dict.fromkeys(kinds, dataset), criteria=build_criteria(network.config, {})
    )
    assert found.confusions == {}
    assert 'ap' in found.people.get('person', {'ap': None})
    fits = {t: float(row[1] / row[2]) for t, row in found.frames[0]._totals.items()}
    for task in kinds[-1:]:
        assert found.people[task] == {'score': fits[task]}
    print_people(Console(quiet=True), found, network.config, 'nothing of activities')
    assert people_details(found, network.config)['activities'] == {}
    draw_confusions(found, tmp_path / 'none.png')
    assert not (tmp_path / 'none.png').exists()


@pytest.mark.parametrize('task', ['person', 'keypoints', 'pose', 'activity'])
def test_tasks_of_frames_are_chosen_by_their_score(frames_block, task) -> None:
    for part in (frames_block['network']['tasks'], frames_block['data']):
        for name in [*part]:
            if name != task:
                del part[name]
    frames_block['evaluation']['selection'] = 'cumulative'
    with pytest.raises(ValueError, match='selection must be score for tasks of frames'):
        build_config(frames_block)


# -- Test-time augmentation ------------------------------------------------------------------


def test_one_scale_without_mirroring_is_the_plain_network(network) -> None:
    frames = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        plain = network({'frame': frames})
        outputs, people = TestTimeAugmentation().run(network, 'frame', frames)
        expected = network.people(frames)
    assert people.is_found.any()
    torch.testing.assert_close(outputs['keypoints'].heatmaps, plain['keypoints'].heatmaps)
    for got, wanted in zip(people, expected):
        torch.testing.assert_close(got, wanted, equal_nan=True)


def test_mirrored_heatmaps_are_averaged_upright(network) -> None:
    frames = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        outputs, _ = TestTimeAugmentation(flip=True).run(network, 'frame', frames)
        plain = network({'frame': frames})['keypoints'].heatmaps
        mirrored = network({'frame': frames.flip(3)})['keypoints'].heatmaps.flip(3)
    expected = plain.clone()
    for joint in range(17):
        expected[:, joint] = (plain[:, joint] + mirrored[:, FLIPPED[joint]]) / 2
    expected[:, 17] = (plain[:, 17] + mirrored[:, 17]) / 2
    torch.testing.assert_close(outputs['keypoints'].heatmaps, expected)
    torch.testing.assert_close(_upright(_upright(plain, True), True), plain)


@pytest.mark.parametrize('scales', [(0.5, 1.0), (1.0, 0.5), (0.5,), (2.0, 1.5)], ids=str)
def test_heatmaps_are_averaged_at_the_size_of_the_plain_image(network, scales) -> None:
    frames = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        outputs, _ = TestTimeAugmentation(scales).run(network, 'frame', frames)
        plain = network({'frame': frames})
        views = [
            interpolate(frames, [*sides], mode='bilinear', antialias=True)
            for sides in ({0.5: (32, 64), 1.0: (64, 96), 1.5: (96, 128), 2.0: (128, 192)}[s]
                          for s in scales)
        ]  # fmt: skip
        maps = [network({'frame': view})['keypoints'].heatmaps for view in views]
    aligned = [interpolate(m, (16, 24), mode='bilinear') for m in maps]
    torch.testing.assert_close(outputs['keypoints'].heatmaps, sum(aligned) / len(scales))
    torch.testing.assert_close(outputs['person'].logits, plain['person'].logits)


def test_losses_are_those_of_the_plain_image_whatever_the_scales(network, dataset) -> None:
    batch = collate_frames([dataset[i] for i in range(5)])
    inputs = TaskInputs(network.config).eval()
    criteria = build_criteria(network.config, {})
    losses = []
    for scales in ((1.0,), (0.5, 1.0), (2.0,)):
        evaluator = FrameEvaluator(
            network, inputs, criteria, augmentation=TestTimeAugmentation(scales)
        )
        found = evaluator.run([batch], [*network.config.tasks], device=torch.device('cpu'))
        losses.append(found.losses()['person'])
    assert losses[1:] == pytest.approx([losses[0]] * 2)


def test_an_image_and_its_mirror_image_have_mirrored_people(network) -> None:
    frames, augmentation = torch.randn(1, 3, 64, 96), TestTimeAugmentation(flip=True)
    with torch.no_grad():
        _, one = augmentation.run(network, 'frame', frames)
        _, two = augmentation.run(network, 'frame', frames.flip(3))
    assert int(one.is_found.sum()) == int(two.is_found.sum()) > 0
    left, top, right, bottom = two.boxes[two.is_found].unbind(-1)
    mirrored = torch.stack([95 - right, top, 95 - left, bottom], -1)
    overlaps = box_iou(one.boxes[one.is_found], mirrored)
    assert overlaps.amax(1).min() > 0.999


@pytest.mark.parametrize('flipped', [False, True])
def test_boxes_of_a_larger_view_lie_where_their_pixels_do(network, flipped, monkeypatch) -> None:
    """A pixel's left edge is half a pixel before its centre, at every scale."""
    module = 'mtl_training.test_time_augmentation.box_candidates'
    seen = torch.tensor([[[19.5, 39.5, 59.5, 79.5]]])  # the edges of pixels 20 to 59, 40 to 79
    monkeypatch.setattr(module, lambda *_: (seen, torch.ones(1, 1)))
    boxes, _ = _boxes(network, None, torch.zeros(1, 3, 128, 192), (64, 96), flipped)
    columns = [65.5, 85.5] if flipped else [9.5, 29.5]
    expected = [columns[0], 19.5, columns[1], 39.5]
    assert boxes[0, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize('scales', [(), (0.0,), (1.0, 9.0)], ids=str)
def test_scales_are_checked(scales) -> None:
    with pytest.raises(ValueError, match=r'scales must be numbers from 0\.1 to 8'):
        TestTimeAugmentation(scales)


# -- Predicted poses -------------------------------------------------------------------------


def found_of(dataset) -> list[FoundPoses]:
    batches = [collate_frames([dataset[i]]) for i in range(len(dataset))]
    found = []
    for number, batch in enumerate(batches):
        keypoints = batch.keypoints[0] + 1
        is_found = torch.arange(len(keypoints)) != number % 3
        found.append(FoundPoses(keypoints, batch.boxes[0, :, -1] + 1, is_found))
    return found


def test_predicted_poses_replace_the_true_ones_and_leave_out_who_was_not_found(dataset) -> None:
    found = found_of(dataset)
    data = PredictedPoses(dataset, found, augment=False)
    assert (len(data), data.labels) == (5, dataset.labels)
    for index, row in enumerate(found):
        sample, truth = data[index], dataset[index]
        torch.testing.assert_close(sample.keypoints, truth.keypoints[row.is_found] + 1)
        torch.testing.assert_close(sample.boxes[:, -1], truth.boxes[row.is_found, -1] + 1)
        assert torch.equal(sample.activities, truth.activities[row.is_found])


def test_mirrored_poses_are_the_same_poses_seen_from_the_other_side(dataset) -> None:
    found = found_of(dataset)
    plain, data = PredictedPoses(dataset, found, augment=False), PredictedPoses(dataset, found)
    data.FLIP, data.YOUNG = 1.0, 0.0
    sample, mirrored = plain[1], data[1]
    expected = sample.keypoints[:, :, list(FLIPPED)].clone()
    expected[..., 0] = 95 - expected[..., 0]
    torch.testing.assert_close(mirrored.keypoints, expected)
    torch.testing.assert_close(mirrored.boxes[..., 0], 95 - sample.boxes[..., 2])


@pytest.mark.parametrize('batch_size', [1, 3])
def test_everybody_is_found_frame_by_frame_as_a_slow_loop_finds_them(
    network, dataset, batch_size
) -> None:
    inputs, device = TaskInputs(network.config).eval(), torch.device('cpu')
    poses = find_all_poses(network, dataset, inputs, batch_size=batch_size, device=device)
    assert sum(int(found.is_found.sum()) for found in poses) > 0
    for index, found in enumerate(poses):
        batch = collate_frames([dataset[index]])
        with torch.no_grad():
            frames = [network.people(inputs.frames('person', image[None]))
                      for image in batch.images[0]]  # fmt: skip
        people = People(*(torch.cat(values) for values in zip(*frames)))
        keypoints, boxes, is_found = matched_poses(people, batch, 2)
        assert torch.equal(found.is_found, is_found[0, :, -1])
        torch.testing.assert_close(found.keypoints, keypoints[0].nan_to_num(0.0))
        torch.testing.assert_close(found.boxes, boxes[0])


def test_a_stage_learns_from_poses_that_the_network_finds(frames_block, tmp_path) -> None:
    # Below what boxes and joints score where training starts.
    many = {'min_score': 1e-3, 'max_candidates': 300, 'max_people': 100, 'nms_iou': 0.9}
    frames_block['network']['tasks']['person']['settings'] |= many
    frames_block['network']['tasks']['keypoints']['settings']['min_score'] = 1e-6
    stages = [{'tasks': ['activity'], 'predicted_poses': True}]
    frames_block['regime'] = {'name': 'staged', 'settings': {'stages': stages}}
    console = Console(file=io.StringIO(), width=200)
    assert Trainer(build_config(frames_block), tmp_path, console).run()['finished']
    told = re.search(r'found (\d+) of (\d+) people', console.file.getvalue())
    assert 0 < int(told[1]) <= int(told[2])
    stored = load_poses(tmp_path / 'poses.safetensors', 0)
    assert sum(int(row.is_found.sum()) for row in stored) == int(told[1])


def test_poses_must_be_of_all_samples(dataset) -> None:
    with pytest.raises(ValueError, match='poses must be of 5 samples, got 4'):
        PredictedPoses(dataset, found_of(dataset)[:4])


def test_poses_are_read_again_for_the_stage_that_they_were_found_for(dataset, tmp_path) -> None:
    path, found = tmp_path / 'poses.safetensors', found_of(dataset)
    assert load_poses(path, 2) is None
    save_poses(path, found, 2)
    assert load_poses(path, 3) is None
    for got, expected in zip(load_poses(path, 2), found, strict=True):
        for one, other in zip(got, expected):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
