"""Losses and figures of the tasks of windows of features."""

import math

from mtl_training.criteria.segments import (
    AnticipationCriterion,
    PointOfNoReturnCriterion,
    RecognitionCriterion,
    StateChangeCriterion,
)
from mtl_training.data.graph_sample import GraphBatch
from mtl_training.segment_evaluation import edit_figures, segment_figures, SegmentRows
import pytest
import torch
from torch import Tensor

GROUPS = {'verb': 3, 'noun': 4}


def batch(targets: Tensor, nodes: int, seconds: Tensor | None = None) -> GraphBatch:
    count = len(targets)
    return GraphBatch(
        torch.zeros(count, nodes, 3, 2),
        targets,
        torch.zeros(count, 2) if seconds is None else seconds,
        torch.arange(count),
    )


def logits(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def by_hand(rows: Tensor, label: int) -> float:
    shares = [math.exp(value) for value in rows.tolist()]
    return -math.log(shares[label] / sum(shares))


def test_recognition_sums_the_groups_of_the_centre() -> None:
    outputs = {group: logits(2, size) for group, size in GROUPS.items()}
    given = batch(torch.tensor([[2, 1], [0, 3]]), nodes=9)
    losses = RecognitionCriterion()(outputs, given)
    expected = [
        by_hand(outputs['verb'][i], verb) + by_hand(outputs['noun'][i], noun)
        for i, (verb, noun) in enumerate([(2, 1), (0, 3)])
    ]
    torch.testing.assert_close(losses, torch.tensor([expected]))
    # The published code divides by all nine nodes.
    published = RecognitionCriterion(averages='all')(outputs, given)
    torch.testing.assert_close(published * 9, losses)


def test_anticipation_is_the_mean_over_what_is_known_of_the_future() -> None:
    outputs = {group: logits(2, 5, size) for group, size in GROUPS.items()}
    targets = torch.full((2, 5, 2), -1)
    targets[0, :2] = torch.tensor([[0, 3], [2, 1]])  # nothing is known of the other window
    given = batch(targets, nodes=2)
    losses = AnticipationCriterion()(outputs, given)
    expected = sum(
        (by_hand(outputs['verb'][0, f], v) + by_hand(outputs['noun'][0, f], n)) / 2
        for f, (v, n) in enumerate([(0, 3), (2, 1)])
    )
    torch.testing.assert_close(losses, torch.tensor([[expected, 0.0]]))
    published = AnticipationCriterion(averages='all')(outputs, given)
    torch.testing.assert_close(published, losses * 2 / 7)


def test_a_change_of_state_is_a_question_of_two_answers() -> None:
    outputs = logits(3, 2)
    given = batch(torch.tensor([0, 1, 1]), nodes=4)
    losses = StateChangeCriterion()(outputs, given)
    expected = [by_hand(row, label) for row, label in zip(outputs, [0, 1, 1])]
    torch.testing.assert_close(losses, torch.tensor([expected]))
    smoothed = StateChangeCriterion(label_smoothing=0.1)(outputs, given)
    mean = torch.tensor([[(by_hand(row, 0) + by_hand(row, 1)) / 2 for row in outputs]])
    torch.testing.assert_close(smoothed, 0.9 * losses + 0.1 * mean)


def test_a_point_of_no_return_asks_every_node() -> None:
    outputs = logits(2, 4)
    losses = PointOfNoReturnCriterion()(outputs, batch(torch.tensor([1, 3]), nodes=4))
    expected = []
    for row, target in zip(outputs.tolist(), (1, 3)):
        shares = [1 / (1 + math.exp(-value)) for value in row]
        terms = [-math.log(s if i == target else 1 - s) for i, s in enumerate(shares)]
        expected.append(sum(terms) / 4)
    torch.testing.assert_close(losses, torch.tensor([expected]))


@pytest.mark.parametrize('criterion', [RecognitionCriterion, AnticipationCriterion])
def test_an_unknown_average_is_refused(criterion) -> None:
    with pytest.raises(ValueError, match=r"averages must be one of .*, got 'some'"):
        criterion(averages='some')


def sure(labels: Tensor, size: int) -> Tensor:
    """Return logits that leave no doubt."""
    return 1e4 * torch.nn.functional.one_hot(labels, size).float()


@pytest.mark.parametrize(
    ('criterion', 'outputs', 'given', 'share'),
    [
        (
            RecognitionCriterion(),
            {'verb': sure(torch.tensor([2, 0]), 3), 'noun': sure(torch.tensor([1, 1]), 4)},
            batch(torch.tensor([[2, 1], [0, 3]]), nodes=9),
            3 / 4,
        ),
        (
            AnticipationCriterion(),
            {'action': sure(torch.tensor([[2, 0, 1]]), 3)},
            batch(torch.tensor([[[2], [1], [-1]]]), nodes=2),
            1 / 2,
        ),
        (
            StateChangeCriterion(),
            sure(torch.tensor([0, 1]), 2),
            batch(torch.tensor([1, 1]), nodes=4),
            1 / 2,
        ),
        (
            PointOfNoReturnCriterion(),
            sure(torch.tensor([0, 3]), 4),
            batch(torch.tensor([0, 3]), nodes=4),
            1,
        ),
    ],
    ids=['recognition', 'anticipation', 'state_change', 'point_of_no_return'],
)
def test_the_fit_is_the_share_of_right_answers(criterion, outputs, given, share) -> None:
    assert criterion.fit(outputs, given).item() == pytest.approx(share)


def figures(kind: str, outputs, given: GraphBatch, cuts: tuple[int, ...] = ()) -> dict:
    """Return the figures of a batch, given in parts."""
    parts = []
    for first, end in zip((0, *cuts), (*cuts, len(given.indices))):
        rows = SegmentRows(kind)
        part = GraphBatch(*(tensor[first:end] for tensor in given))
        is_groups = isinstance(outputs, dict)
        own = {g: v[first:end] for g, v in outputs.items()} if is_groups else outputs[first:end]
        rows.add(own, part, torch.ones(end - first))
        parts.append(rows)
    return segment_figures(kind, parts[0].joined(parts[1:]))


def test_recognition_is_judged_per_group() -> None:
    outputs = {'verb': sure(torch.tensor([2, 0]), 3), 'noun': sure(torch.tensor([1, 1]), 4)}
    found = figures('recognition', outputs, batch(torch.tensor([[2, 1], [0, 3]]), nodes=9), (1,))
    assert found == {'accuracy': {'verb': 1.0, 'noun': 0.5}, 'samples': 2, 'score': 0.75}


def test_sure_sequences_have_the_edit_distance_of_their_labels() -> None:
    labels = torch.tensor([[0, 1, 2, 1], [2, 2, 2, 2], [0, 0, 0, 0]])
    truth = torch.tensor([[0, 1, 2, 1], [0, 0, 1, 1], [-1, -1, -1, -1]])
    outputs = {'action': sure(labels, 3)}
    found = figures('anticipation', outputs, batch(truth.unsqueeze(2), nodes=2), (1, 2))
    # The same, nothing in common, and a window of whose future nothing is known.
    assert found == {'edit_distance': {'action': 0.5}, 'samples': 3, 'score': 0.5}


def test_guesses_are_a_windows_own_whatever_its_batch() -> None:
    outputs = {'verb': logits(6, 5, 3), 'noun': logits(6, 5, 4)}
    targets = torch.randint(0, 3, (6, 5, 2), generator=torch.Generator().manual_seed(1))
    given = batch(targets, nodes=2)
    whole = figures('anticipation', outputs, given)
    assert whole == figures('anticipation', outputs, given, (1, 4))


def test_more_guesses_are_never_worse() -> None:
    outputs = {'action': logits(40, 6, 5)}
    targets = torch.randint(0, 5, (40, 6, 1), generator=torch.Generator().manual_seed(1))
    given = batch(targets, nodes=2)
    one, five = (edit_figures(outputs, given, count)['action'] for count in (1, 5))
    assert (five <= one).all()
    assert five.mean() < one.mean()


def test_labels_are_drawn_as_often_as_the_network_says() -> None:
    shares = torch.tensor([0.6, 0.3, 0.1])
    outputs = {'action': shares.log().expand(2000, 1, 3)}
    given = batch(torch.zeros(2000, 1, 1, dtype=torch.long), nodes=2)
    misses = edit_figures(outputs, given, 1)['action'].mean().item()
    assert misses == pytest.approx(0.4, abs=0.04)


def test_the_error_of_a_point_of_no_return_is_in_seconds() -> None:
    seconds = torch.tensor([[8.0, 3.0], [4.0, 3.5]])
    given = batch(torch.tensor([6, 14]), nodes=16, seconds=seconds)
    found = figures('point_of_no_return', sure(torch.tensor([6, 4]), 16), given)
    # 6 * 8 / 16 = 3 is right, 4 * 4 / 16 = 1 is 2.5 seconds early.
    assert found['error_sec'] == pytest.approx(1.25)
    assert found['score'] == 0.0
    given = batch(torch.tensor([6]), nodes=16, seconds=torch.tensor([[8.0, 3.25]]))
    found = figures('point_of_no_return', sure(torch.tensor([6]), 16), given)
    assert found == {'error_sec': 0.25, 'samples': 1, 'score': 0.75}


def test_changes_of_state_are_judged_by_their_share() -> None:
    given = batch(torch.tensor([1, 1, 0, 0]), nodes=4)
    found = figures('state_change', sure(torch.tensor([1, 0, 0, 0]), 2), given)
    assert found == {'accuracy': 0.75, 'samples': 4, 'score': 0.75}
