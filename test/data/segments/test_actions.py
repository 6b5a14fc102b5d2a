"""Windows of actions, worked by hand."""

from made_up import action, MadeUpSource
from mtl_training.data.multitask import FixedDataset, MultiTaskDataset, SampleKey
from mtl_training.data.sample import collate
from mtl_training.data.segments.actions import AnticipationWindows, RecognitionWindows
import numpy as np
import pytest
import torch

ACTIONS = [action(0, 0, 5, 0, 0), action(1, 5, 12, 1, 1), action(2, 12, 15, 0, 1)]


def rows(sample) -> list[list[int]]:  # type: ignore[no-untyped-def]
    """Return which rows of its video each node of a window shows."""
    return sample.features[..., 0].int().tolist()


def test_each_action_is_seen_evenly_between_its_neighbours_and_the_ends_repeat() -> None:
    dataset = RecognitionWindows('ar', MadeUpSource(ACTIONS), num_nodes=3)
    assert rows(dataset[0]) == [[0, 2, 4], [0, 2, 4], [5, 8, 11]]
    assert rows(dataset[1]) == [[0, 2, 4], [5, 8, 11], [12, 13, 14]]
    assert rows(dataset[2]) == [[5, 8, 11], [12, 13, 14], [12, 13, 14]]
    assert [sample.target.tolist() for sample in map(dataset.__getitem__, range(3))] == [
        [0, 0],
        [1, 1],
        [0, 1],
    ]
    assert dataset[1].seconds.tolist() == [0, 0]
    assert not dataset.varies


def test_moments_are_drawn_sorted_from_their_action_each_once_where_there_are_enough() -> None:
    dataset = RecognitionWindows('ar', MadeUpSource(ACTIONS), num_nodes=3, augment=True)
    seen = set()
    for _ in range(60):
        _, middle, last = rows(dataset[1])
        assert middle == sorted(set(middle))
        assert set(middle) <= set(range(5, 12))
        assert last == [12, 13, 14]
        seen.add(tuple(middle))
    assert len(seen) > 10
    assert dataset.varies


def test_actions_shorter_than_a_stride_show_the_nearest_row_and_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    actions = [*ACTIONS, action(3, 15, 15), action(4, 90, 95)]
    for augment in (False, True):
        dataset = RecognitionWindows('ar', MadeUpSource(actions), num_nodes=1, augment=augment)
        assert rows(dataset[3]) == [[15, 15, 15]]
        assert rows(dataset[4]) == [[39, 39, 39]]
    assert caplog.messages[0].startswith("2 of 5 actions of split 'train' have no row")


def test_concepts_are_the_combinations_that_occur_in_the_order_of_their_names() -> None:
    dataset = RecognitionWindows('ar', MadeUpSource([*ACTIONS, action(3, 15, 18, 1, 1)]))
    assert dataset.concepts == ('put pan', 'take cup', 'take pan')
    assert [dataset.concept_of(i) for i in range(4)] == [1, 0, 2, 0]
    assert dataset.describe(1) == 'a, 2.67 s to 6.40 s: put pan'
    assert dataset.groups == {'verb': ('take', 'put'), 'noun': ('cup', 'pan')}


@pytest.mark.parametrize(
    ('convention', 'count'), [('forecasting', 2), ('egopack', 1)], ids=['forecasting', 'egopack']
)
def test_the_future_is_what_follows_the_inputs(convention: str, count: int) -> None:
    dataset = AnticipationWindows(
        'lta', MadeUpSource(ACTIONS), num_inputs=1, num_futures=1, convention=convention
    )
    assert len(dataset) == count
    assert rows(dataset[0]) == [[0, 2, 4]]
    assert dataset[0].target.tolist() == [[1, 1]]


def test_features_depend_on_no_label() -> None:
    others = [a._replace(verb=1 - (a.verb or 0), noun=0) for a in ACTIONS]
    for make in (
        lambda source: RecognitionWindows('ar', source),
        lambda source: AnticipationWindows('lta', source, num_inputs=1, num_futures=2),
    ):
        ours, theirs = make(MadeUpSource(ACTIONS)), make(MadeUpSource(others))
        torch.testing.assert_close(ours[0].features, theirs[0].features)
        assert not torch.equal(ours[0].target, theirs[0].target)


def test_draws_depend_on_their_place_alone() -> None:
    dataset = RecognitionWindows('ar', MadeUpSource(ACTIONS), augment=True)
    drawn = MultiTaskDataset({'ar': dataset}, seed=3)
    once, again, elsewhere = (drawn[SampleKey('ar', 1, p)][1].features for p in (7, 7, 8))
    torch.testing.assert_close(once, again)
    assert not torch.equal(once, elsewhere)
    fixed = FixedDataset(dataset)
    torch.testing.assert_close(fixed[1].features, fixed[1].features)


def test_half_precision_becomes_float32_batches() -> None:
    dataset = RecognitionWindows('ar', MadeUpSource(ACTIONS, dtype=np.float16), num_nodes=3)
    batch = collate([dataset[0], dataset[2]])
    assert batch.features.dtype == torch.float32
    assert batch.features.shape == (2, 3, 3, 2)
    assert batch.targets.tolist() == [[0, 0], [0, 1]]
    assert batch.indices.tolist() == [0, 2]


def test_too_few_actions_and_actions_without_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"split 'train' has no clip of 2 \+ 20 actions"):
        AnticipationWindows('lta', MadeUpSource(ACTIONS))
    with pytest.raises(ValueError, match="split 'train' has no actions"):
        RecognitionWindows('ar', MadeUpSource())
    unlabelled = [ACTIONS[0]._replace(verb=None)]
    with pytest.raises(ValueError, match='actions without labels'):
        RecognitionWindows('ar', MadeUpSource(unlabelled))
