"""The made-up activities keep their rules, and show what they promise."""

from mtl_perception.network.config import from_mapping, NetworkConfig
from mtl_training.config import DataConfig
from mtl_training.data.activity_grammar import ActivityGrammar
from mtl_training.data.activity_grammar.grammar import (
    CHANGES,
    KINDS,
    NOUNS,
    RECIPES,
    STATES,
    steps_of_video,
    VERBS,
    VERBS_OF,
)
from mtl_training.data.loading import build_task_datasets, with_labels
from mtl_training.data.segments.actions import RecognitionWindows
from mtl_training.data.segments.changes import PointOfNoReturnWindows
import numpy as np
import pytest

TASKS = ('recognition', 'anticipation', 'state_change', 'point_of_no_return')


def test_states_change_by_the_rules_alone_and_objects_are_those_of_a_recipe() -> None:
    for seed in range(20):
        steps = steps_of_video(np.random.default_rng(seed), 40)
        assert len(steps) == 40
        assert any({NOUNS[s.noun] for s in steps} <= set(recipe) for recipe in RECIPES.values())
        for step in steps:
            kind, verb = KINDS[NOUNS[step.noun]], VERBS[step.verb]
            assert verb in (*VERBS_OF[kind], 'take', 'put', 'turn', 'inspect')
            if step.before != step.after:
                assert CHANGES[kind, STATES[step.before], verb] == STATES[step.after]


def test_the_same_arguments_give_the_same_videos_and_splits_share_none() -> None:
    ours, again = ActivityGrammar('train', num_videos=3), ActivityGrammar('train', num_videos=5)
    others = ActivityGrammar('val', num_videos=3), ActivityGrammar('train', num_videos=3, seed=1)
    assert ours.actions == again.actions[: len(ours.actions)]
    for video in {action.video_uid for action in ours.actions}:
        np.testing.assert_array_equal(ours.features(video), again.features(video))
    for other in others:
        assert not {a.video_uid for a in ours.actions} & {a.video_uid for a in other.actions}
        lengths = [[a.end_frame for a in source.actions[:5]] for source in (ours, other)]
        assert lengths[0] != lengths[1]


def test_changes_have_their_point_of_no_return_within_the_action() -> None:
    for change in ActivityGrammar('train', num_videos=4).changes:
        assert (change.pnr_frame is not None) == change.state_change
        if change.pnr_frame is not None:
            assert change.start_frame < change.pnr_frame < change.end_frame


def test_one_moment_tells_less_of_the_point_of_no_return_than_its_neighbours_do() -> None:
    train, val = (
        PointOfNoReturnWindows('pnr', ActivityGrammar(split, num_videos=n, noise=0.4))
        for split, n in (('train', 30), ('val', 15))
    )
    alone, together = (_error(train, val, reach) for reach in (0, 3))
    constant = min(
        np.mean([abs(node / 16 * s[0] - s[1]) for s in _seconds(val)]) for node in range(16)
    )
    assert together < 0.9 * constant
    assert together < 0.8 * alone


def test_a_noun_is_told_better_with_the_actions_around() -> None:
    sources = [ActivityGrammar('train', num_videos=60), ActivityGrammar('val', num_videos=20)]
    train, val = (RecognitionWindows('ar', source, num_nodes=5) for source in sources)
    alone, together = (_noun_accuracy(train, val, nodes) for nodes in ([2], range(5)))
    assert 2 / len(NOUNS) < alone < together - 0.05
    assert together < 0.95


def test_all_tasks_of_a_config_get_windows_and_groups() -> None:
    graph = {'feature_dim': 12, 'num_features': 2}
    config = {
        'trunks': {'memory': {'backbone': 'temporal_graph', 'graph': graph}},
        'tasks': {kind: {'kind': kind, 'trunk': 'memory'} for kind in TASKS},
    }
    network = from_mapping(NetworkConfig, config)
    data = DataConfig(dataset='activity_grammar', settings={'num_videos': 2})
    datasets = build_task_datasets(network, dict.fromkeys(TASKS, data), 'val')
    shapes = {task: tuple(datasets[task][0].features.shape) for task in TASKS}  # type: ignore[union-attr]
    assert shapes == dict(zip(TASKS, [(9, 2, 12), (2, 2, 12), (4, 2, 12), (16, 2, 12)]))
    labelled = with_labels(network, datasets)
    assert labelled.tasks['anticipation'].groups == {'verb': VERBS, 'noun': NOUNS}
    assert with_labels(labelled, datasets) == labelled
    swapped = {'recognition': {'noun': NOUNS, 'verb': VERBS}}
    with pytest.raises(ValueError, match="groups of task 'recognition' differ"):
        with_labels(network.with_groups(swapped), datasets)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'num_videos': 0}, 'num_videos must be from 1'),
        ({'num_actions': 0}, 'num_actions and dim must be positive'),
        ({'seed': -1}, 'seed must be from 0'),
        ({'noise': float('nan')}, 'noise must be a factor'),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActivityGrammar('train', **settings)


def _seconds(dataset: PointOfNoReturnWindows) -> np.ndarray:
    return np.stack([dataset[i].seconds.numpy() for i in range(len(dataset))])


def _error(train: PointOfNoReturnWindows, val: PointOfNoReturnWindows, reach: int) -> float:
    """Return the error in seconds of ridge regression on the differences within a reach."""

    def inputs(dataset: PointOfNoReturnWindows) -> tuple[np.ndarray, np.ndarray]:
        nodes = np.stack([dataset[i].features[:, 0].numpy() for i in range(len(dataset))])
        padded = np.pad(nodes, ((0, 0), (reach + 1, reach + 1), (0, 0)), 'edge')
        seen = [nodes, np.zeros_like(nodes)]
        if reach:
            after = np.mean([padded[:, reach + 1 + s :][:, :16] for s in range(reach)], 0)
            before = np.mean([padded[:, reach - s :][:, :16] for s in range(reach)], 0)
            seen[1] = after - before
        values = np.concatenate(seen, 2)
        return values, np.array([dataset[i].target.item() for i in range(len(dataset))])

    (x, y), (v, _) = inputs(train), inputs(val)
    features = [np.concatenate([z, z**2], 2) for z in (x, v)]
    mean, scale = features[0].mean((0, 1)), features[0].std((0, 1)) + 1e-6
    x, v = ((z - mean) / scale for z in features)
    flat, hot = x.reshape(-1, x.shape[2]), np.eye(16)[y].reshape(-1) - 1 / 16
    weights = np.linalg.solve(flat.T @ flat + 10 * np.eye(flat.shape[1]), flat.T @ hot)
    seconds = _seconds(val)
    return float(np.abs((v @ weights).argmax(1) / 16 * seconds[:, 0] - seconds[:, 1]).mean())


def _noun_accuracy(train: RecognitionWindows, val: RecognitionWindows, nodes: object) -> float:
    def inputs(dataset: RecognitionWindows) -> tuple[np.ndarray, np.ndarray]:
        samples = [dataset[i] for i in range(len(dataset))]
        seen = np.stack([s.features[list(nodes)].mean(1).flatten().numpy() for s in samples])  # type: ignore[call-overload]
        return np.pad(seen, ((0, 0), (0, 1)), constant_values=1), np.stack(
            [s.target[1].numpy() for s in samples]
        )

    (x, y), (v, truth) = inputs(train), inputs(val)
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ np.eye(len(NOUNS))[y])
    return float(((v @ weights).argmax(1) == truth).mean())
