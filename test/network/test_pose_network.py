"""Tests of the branch of frames in :class:`MultiTaskNetwork`, next to tasks of clips."""

from collections.abc import Callable
from typing import Any

from mtl_perception.checkpoint import load_network, save_checkpoint
from mtl_perception.network import (
    MultiTaskNetwork,
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.pose.decoding import People
import pytest
import torch
from torch import nn, Tensor

SIZE = (64, 96)
ACTIVITIES = ('walking', 'running', 'sitting', 'standing')
FRAME_TASKS: dict[str, dict[str, Any]] = {
    'detection': {'channels': 8, 'num_convs': 1, 'max_people': 5, 'min_score': 0.0},
    'keypoints': {'pyramid_channels': 8, 'channels': 4, 'max_peaks': 6},
    'association': {'height': 14, 'width': 9, 'hidden': 16},
    'activity': {'hidden': (12, 8), 'history': 2},
}


def frame_trunk(**settings: Any) -> TrunkConfig:
    size = settings.pop('size', SIZE)
    preprocessing = PreprocessingConfig(resize=size, fit='pad')
    arguments = {'backbone': 'resnet2d', 'width': 4, 'preprocessing': preprocessing}
    return TrunkConfig(**(arguments | settings))


def frame_task(kind: str, **settings: Any) -> TaskConfig:
    labels = ACTIVITIES if kind == 'activity' else ()
    chosen = FRAME_TASKS[kind] | settings
    return TaskConfig(kind=kind, trunk='frame', labels=labels, settings=chosen)


def make_config(*kinds: str, clips: bool = True, **activity: Any) -> NetworkConfig:
    tasks = {f'{kind}_task': frame_task(kind) for kind in kinds}
    if activity:
        tasks['activity_task'] = frame_task('activity', **activity)
    trunks = {'frame': frame_trunk()}
    if clips:
        trunks['clip'] = TrunkConfig(width=4, num_frames=4)
        tasks['action'] = TaskConfig(labels=('wave', 'walk', 'sit'))
    return NetworkConfig(trunks=trunks, tasks=tasks)


@pytest.fixture
def network(randomise: Callable[[nn.Module], nn.Module]) -> MultiTaskNetwork:
    """Build a network of all kinds of tasks, with scores that spread as those of a trained one."""
    whole = MultiTaskNetwork(make_config(*FRAME_TASKS))
    randomise(whole)
    nn.init.normal_(whole.heads['keypoints_task'].heatmaps.weight, std=0.5)
    classifier = whole.heads['detection_task'].head.classification_head
    nn.init.normal_(classifier.cls_logits.weight, std=2.0)
    return whole.eval()


def inputs() -> dict[str, Tensor]:
    return {'frame': torch.randn(2, 3, *SIZE), 'clip': torch.randn(2, 3, 4, 32, 32)}


def own_inputs() -> dict[str, Tensor]:
    """Return a batch per task, as for training."""
    return {
        'detection_task': torch.randn(2, 3, *SIZE),
        'keypoints_task': torch.randn(3, 3, *SIZE),
        'association_task': torch.rand(4, 17, 14, 9),
        'activity_task': torch.rand(5, 68),
        'action': torch.randn(2, 3, 4, 32, 32),
    }


def tensors(output: Any) -> list[Tensor]:
    """Return all tensors of an output, in order."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output
    return [x for part in parts if not isinstance(part, int) for x in tensors(part)]


def close(found: Any, expected: Any) -> None:
    for value, other in zip(tensors(found), tensors(expected), strict=True):
        torch.testing.assert_close(value, other, atol=1e-3, rtol=1e-3, equal_nan=True)


@torch.no_grad()
def test_one_network_answers_for_frames_and_clips(network: MultiTaskNetwork) -> None:
    outputs = network(inputs())
    assert set(outputs) == {'detection_task', 'keypoints_task', 'action'}
    assert outputs['action'].shape == (2, 3)
    assert outputs['keypoints_task'].heatmaps.shape == (2, 18, 16, 24)
    detection = outputs['detection_task']
    assert detection.logits.shape == (2, sum(detection.level_sizes))
    assert detection.deltas.shape == (*detection.logits.shape, 4)
    assert set(network({'clip': inputs()['clip']})) == {'action'}


@torch.no_grad()
def test_people_have_boxes_and_joints_within_the_image(network: MultiTaskNetwork) -> None:
    people = network.people(inputs()['frame'])
    assert people.boxes.shape == (2, 5, 4)
    assert people.is_found.all()
    assert (people.keypoints[..., 2] > 0).any()
    assert people.boxes.isfinite().all()
    limits = torch.tensor([SIZE[1], SIZE[0]]) - 0.5
    places = people.keypoints[..., :2].nan_to_num(0)
    assert ((people.boxes >= -0.5) & (people.boxes <= limits.repeat(2))).all()
    assert (people.boxes == -0.5).any(), 'somebody is cut'
    assert ((places >= -0.5) & (places <= limits)).all()
    outputs = network({'frame': inputs()['frame']})
    assert isinstance(network.people_of(outputs, SIZE), People)


@pytest.mark.parametrize('seed', range(3))
@torch.no_grad()
def test_random_networks_find_finite_boxes(seed: int) -> None:
    torch.manual_seed(seed)
    network = MultiTaskNetwork(make_config(*FRAME_TASKS, clips=False)).eval()
    head = network.heads['detection_task'].head
    nn.init.normal_(head.regression_head.bbox_reg.weight, std=1e4)
    people = network.people(1e3 * torch.randn(1, 3, *SIZE))
    assert people.boxes.isfinite().all()
    assert people.box_scores.isfinite().all()
    assert people.pose_scores.isfinite().all()


@pytest.mark.parametrize('kinds', [('detection',), ('detection', 'keypoints')])
@torch.no_grad()
def test_without_tasks_for_joints_people_have_boxes_alone(kinds: tuple[str, ...]) -> None:
    people = MultiTaskNetwork(make_config(*kinds)).eval().people(inputs()['frame'])
    assert people.is_found.any()
    assert people.keypoints.shape == (2, 5, 17, 3)
    assert people.keypoints[..., :2].isnan().all()
    assert not people.keypoints[..., 2].any()
    assert not people.pose_scores.any()


def test_a_branch_without_tasks_does_not_exist() -> None:
    config = make_config()
    assert list(MultiTaskNetwork(config).trunks) == ['clip']
    frames = MultiTaskNetwork(make_config('keypoints', clips=False))
    assert list(frames.trunks) == ['frame']
    assert not any('detection' in name or 'clip' in name for name in frames.state_dict())


@pytest.mark.parametrize(
    'kind, call',
    [
        ('detection', lambda network: network.people(torch.zeros(1, 3, *SIZE))),
        ('activity', lambda network: network.activities(*[torch.zeros(1, 1, 17, 3)] * 3)),
    ],
)
def test_what_no_task_is_there_for_is_refused(
    kind: str, call: Callable[[MultiTaskNetwork], object]
) -> None:
    network = MultiTaskNetwork(make_config('keypoints')).eval()
    with pytest.raises(ValueError, match=f'the network has no task of kind {kind}'):
        call(network)


@torch.no_grad()
def test_merged_and_separate_passes_agree_in_evaluation(network: MultiTaskNetwork) -> None:
    given = own_inputs()
    merged, separate = (network.forward_tasks(given, merge=merge) for merge in (True, False))
    assert list(merged) == list(given)
    close(merged, separate)
    for task in ('detection_task', 'keypoints_task'):
        close(merged[task], network({'frame': given[task]})[task])


@torch.no_grad()
def test_frames_of_different_sizes_are_not_merged(network: MultiTaskNetwork) -> None:
    given = {'detection_task': torch.randn(1, 3, 64, 64), 'keypoints_task': inputs()['frame']}
    outputs = network.forward_tasks(given)
    assert outputs['keypoints_task'].heatmaps.shape[2:] == (16, 24)


def test_only_tasks_that_are_given_get_a_gradient(network: MultiTaskNetwork) -> None:
    given = own_inputs()
    outputs = network.forward_tasks({'keypoints_task': given['keypoints_task']})
    sum(x.square().sum() for x in tensors(outputs)).backward()
    assert all(p.grad is not None for p in network.heads['keypoints_task'].parameters())
    assert network.trunks['frame'].body.conv1.weight.grad.any()
    assert all(p.grad is None for p in network.heads['detection_task'].parameters())
    assert all(p.grad is None for p in network.trunks['clip'].parameters())


@torch.no_grad()
def test_the_deployed_network_says_the_same_with_less(network: MultiTaskNetwork) -> None:
    given, deployed = inputs(), network.deploy()
    outputs, expected = deployed(given), network(given)
    assert outputs['keypoints_task'].intermediate == ()
    expected['keypoints_task'] = expected['keypoints_task']._replace(intermediate=())
    close(outputs, expected)
    norms = [
        m for m in deployed.trunks.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    assert not norms
    assert not any('intermediate' in name for name in deployed.state_dict())
    assert any('intermediate' in name for name in network.state_dict()), 'it is a copy'
    assert not any(p.requires_grad for p in deployed.parameters())


@torch.no_grad()
def test_a_deployed_network_runs_in_half_precision(network: MultiTaskNetwork) -> None:
    half = network.deploy().bfloat16()
    people = half.people(inputs()['frame'].bfloat16())
    assert people.boxes.dtype == torch.float32
    assert people.boxes.isfinite().all()
    scores = half.activities(people.keypoints[0][:, None].expand(-1, 2, -1, -1), people.boxes[0],
                             torch.tensor(SIZE))  # fmt: skip
    torch.testing.assert_close(scores.sum(1), torch.ones(5))


@torch.no_grad()
def test_a_checkpoint_of_all_kinds_brings_back_what_was_saved(
    network: MultiTaskNetwork, tmp_path
) -> None:
    save_checkpoint(tmp_path / 'all.safetensors', network, metrics={}, training={})
    loaded, _ = load_network(tmp_path / 'all.safetensors')
    assert loaded.config.tasks.keys() == network.config.tasks.keys()
    given = inputs()
    for value, expected in zip(tensors(loaded(given)), tensors(network(given)), strict=True):
        assert torch.equal(value, expected)
    close(loaded.people(given['frame']), network.people(given['frame']))


def test_changing_the_person_in_a_clip_of_poses_changes_what_it_does(
    network: MultiTaskNetwork,
) -> None:
    keypoints, boxes = torch.rand(3, 2, 17, 3), torch.tensor([[0.0, 0, 1, 1]]).expand(3, 4)
    scores = network.activities(keypoints, boxes, torch.tensor(SIZE))
    assert scores.shape == (3, 4)
    torch.testing.assert_close(scores.sum(1), torch.ones(3))
    order = network.activities(keypoints.flip(1), boxes, torch.tensor(SIZE))
    assert not torch.allclose(scores, order), 'the newest pose comes last'


def test_coordinates_may_be_shares_of_the_image() -> None:
    config = make_config('detection', normalise='image', history=1)
    network = MultiTaskNetwork(config).eval()
    keypoints = torch.ones(1, 1, 17, 3)
    keypoints[..., :2] = torch.tensor([95.0, 63.0]) * torch.rand(1, 1, 17, 1)
    found = network.activity_inputs(keypoints, torch.rand(1, 4), torch.tensor(SIZE))
    expected = keypoints[..., :2] / torch.tensor([95.0, 63.0])
    torch.testing.assert_close(found, expected.flatten(1))


@pytest.mark.parametrize(
    'build, match',
    [
        (lambda: frame_trunk(size=(64, 100)), r'multiples of 32 for a frame trunk, got \(64, 100'),
        (lambda: frame_trunk(sharing='cgc'), "sharing must be 'hard' .* got 'cgc'"),
        (lambda: frame_trunk(norm='group'), "norm must be 'batch' for a frame trunk, got 'group'"),
        (lambda: frame_trunk(subtract_mean=True), 'subtract_mean must not be set'),
        (lambda: frame_trunk(norm_eps=-1.0), r'norm_eps must lie in \[0, 1\), got -1.0'),
        (
            lambda: NetworkConfig(
                trunks={'frame': TrunkConfig()}, tasks={'d': frame_task('detection')}
            ),
            "'d' of kind detection needs a trunk of frames, 'frame' looks at clips",
        ),
        (
            lambda: NetworkConfig(
                trunks={'clip': frame_trunk()}, tasks={'a': TaskConfig(labels=('x',))}
            ),
            "'a' of kind classification needs a trunk of clips, 'clip' looks at frames",
        ),
        (
            lambda: NetworkConfig(
                trunks={'frame': frame_trunk()},
                tasks={'a': frame_task('detection'), 'b': frame_task('detection')},
            ),
            r"one task of kind detection at most, got \['a', 'b'\]",
        ),
        (
            lambda: MultiTaskNetwork(
                NetworkConfig(
                    trunks={'frame': frame_trunk()},
                    tasks={'d': frame_task('detection', chanels=4)},
                )
            ),
            r"tasks\.d\.settings has no entry 'chanels'\. Did you mean 'channels'",
        ),
        (
            lambda: MultiTaskNetwork(
                NetworkConfig(
                    trunks={'frame': frame_trunk(depth=19)}, tasks={'d': frame_task('detection')}
                )
            ),
            r"trunk 'frame': depth must be one of \[18, 34, 50, 101, 152\], got 19",
        ),
        (
            lambda: TaskConfig(kind='keypoints', labels=('nose',)),
            r"labels of a task of kind keypoints are fixed, got \['nose'\]",
        ),
        (
            lambda: TaskConfig(kind='activity', labels=('x',), relevance=True),
            "relevance is for tasks of labels, the kind is 'activity'",
        ),
    ],
)
def test_a_config_of_what_does_not_fit_together_is_refused(
    build: Callable[[], object], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        build()
