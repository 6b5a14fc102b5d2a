"""What is forgotten between rounds, by hand and against slow loops; its pictures."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from mtl_training.forgetting import round_curves, RoundCurve
from mtl_training.reporting import round_figures
from mtl_training.reporting.round_figures import draw_forgetting, draw_grid, draw_lambda_grid
import numpy as np
from PIL import Image
import pytest


def record(round_, trained, action, caption, **others):
    return {
        'kind': 'val',
        'iteration': 10 * (round_ + 1),
        'round': round_,
        'trained': list(trained),
        'accuracy': {'action': action},
        'captions': {'describe': {'r1': caption, 'r5': 2 * caption, 'pool': 30}},
        'loss': {},
        **others,
    }


RECORDS = [
    record(-1, [], 0.1, 0.0),
    {'kind': 'train', 'iteration': 1},
    record(0, ['describe'], 0.2, 0.3),
    record(1, ['action'], 0.6, 0.2),
    record(2, ['describe'], 0.5, 0.4),
    record(3, ['action'], 0.8, 0.35),
    record(4, ['describe'], 0.76, 0.38),
]


def test_forgetting_and_recovery_by_hand() -> None:
    curves = round_curves(RECORDS)
    assert list(curves) == ['action', 'describe']
    assert curves['action'].figures() == pytest.approx(
        # Rounds 2 and 4 take from it; round 1 is the first that trains it, 3 trains it again.
        {'forgetting': 0.07, 'recovery': 0.3, 'first_gain': 0.4, 'final': 0.76, 'best': 0.8}
    )
    assert curves['describe'].figures() == pytest.approx(
        {'forgetting': 0.075, 'recovery': 0.115, 'first_gain': 0.3, 'final': 0.38, 'best': 0.4}
    )
    assert curves['describe'].metric == 'r1'
    assert (curves['action'].best_round, curves['describe'].best_round) == (3, 2)


def test_another_figure_can_stand_for_captions() -> None:
    curve = round_curves(RECORDS, 'r5')['describe']
    assert (curve.metric, curve.final) == ('r5', pytest.approx(0.76))
    with pytest.raises(ValueError, match=r"one of .*'r10'.*, got 'median_rank'"):
        round_curves(RECORDS, 'median_rank')


def test_a_metric_that_rises_untrained_is_forgotten_negatively() -> None:
    curve = curve_of([0.1, 0.5, 0.6], [False, True, False])
    assert curve.forgetting == pytest.approx(-0.1)


def test_what_was_never_learnt_is_not_forgotten() -> None:
    curve = curve_of([0.3, 0.2, 0.1, 0.8, 0.6], [False, False, False, True, False])
    assert curve.forgetting == pytest.approx(0.2)
    assert curve.recovery is None
    never = curve_of([0.3, 0.2, 0.1], [False] * 3)
    assert (never.forgetting, never.recovery, never.first_gain) == (None, None, None)


def test_training_one_task_after_the_other_forgets_the_first_only() -> None:
    curves = round_curves(RECORDS[:4])
    assert curves['describe'].forgetting == pytest.approx(0.1)
    assert curves['action'].forgetting is None


def test_joint_rounds_forget_nothing_that_can_be_told() -> None:
    both = [record(r, ['action', 'describe'], 0.1 * r + 0.1, 0.2) for r in range(4)]
    curve = round_curves(both)['action']
    assert (curve.forgetting, curve.recovery) == (None, pytest.approx(0.1))
    assert curve.first_gain is None, 'no record before the first round'


def curve_of(values, trained, rounds=None) -> RoundCurve:
    rounds = rounds or range(-1, len(values) - 1)
    return RoundCurve(
        task='t',
        metric='accuracy',
        rounds=tuple(rounds),
        values=tuple(values),
        trained=tuple(trained),
    )


def test_a_change_over_a_missing_round_is_not_counted() -> None:
    curve = curve_of(
        [0.1, 0.5, 0.1, 0.9, 0.8], [False, True, False, True, False], [-1, 0, 2, 3, 4]
    )
    assert curve.forgetting == pytest.approx(0.1)
    assert curve.recovery == pytest.approx(0.8)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from('abc')), *[st.integers(0, 8)] * 3),
        min_size=1,
        max_size=12,
    )
)
def test_figures_of_three_tasks_are_those_of_a_slow_loop(rounds) -> None:
    records = []
    for number, (trained, *values) in enumerate(rounds):
        trained = sorted(trained) if number else []
        accuracy = {task: value / 8 for task, value in zip('abc', values)}
        row = {'kind': 'val', 'iteration': number, 'round': number - 1, 'trained': trained}
        records.append({**row, 'accuracy': accuracy})
    for task, curve in round_curves(records).items():
        lost, gained, has_learnt = [], [], False
        for before, after in pairwise(records):
            change = after['accuracy'][task] - before['accuracy'][task]
            is_trained = task in after['trained']
            if has_learnt:
                (gained if is_trained else lost).append(change if is_trained else -change)
            has_learnt = has_learnt or is_trained
        for found, expected in ((curve.forgetting, lost), (curve.recovery, gained)):
            mean = pytest.approx(sum(expected) / len(expected)) if expected else None
            assert found == mean


def test_of_several_validations_of_a_round_the_last_counts() -> None:
    curve = round_curves([*RECORDS, record(4, ['describe'], 0.5, 0.9)])['action']
    assert (curve.final, len(curve.rounds)) == (0.5, 6)


def test_records_without_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match='got none among 1 records'):
        round_curves([{'kind': 'val', 'iteration': 5, 'accuracy': {'a': 1.0}}])


def colours_in(path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert('RGB')).reshape(-1, 3)
        assert image.width > 150
        assert image.height > 100
    return {tuple(pixel) for pixel in np.unique(pixels, axis=0).tolist()}


BLUE, ORANGE, GREEN = (31, 119, 180), (255, 127, 14), (44, 160, 44)


def has_colour(path, colour) -> bool:
    return any(max(abs(a - b) for a, b in zip(colour, c)) < 12 for c in colours_in(path))


def test_forgetting_is_drawn_for_runs_of_two_methods(tmp_path) -> None:
    path = tmp_path / 'forgetting.png'
    other = round_curves([{**r, 'accuracy': {'action': 0.5}} for r in RECORDS if 'round' in r])
    draw_forgetting({'alternating': [round_curves(RECORDS), other], 'distilling': [other]}, path)
    assert has_colour(path, BLUE)
    assert has_colour(path, ORANGE)
    assert not has_colour(path, GREEN)


def test_what_has_no_curve_is_not_drawn(tmp_path) -> None:
    with pytest.raises(ValueError, match="got none for 'alternating'"):
        draw_forgetting({'alternating': []}, tmp_path / 'none.png')
    with pytest.raises(ValueError, match='must have a method'):
        draw_forgetting({}, tmp_path / 'none.png')


def test_the_ground_has_the_colour_of_the_task_that_is_trained(monkeypatch, tmp_path) -> None:
    axes = axes_of(monkeypatch, lambda: draw_forgetting({'m': [round_curves(RECORDS)]}, tmp_path))
    spans = [(p.get_x(), p.get_width(), p.get_facecolor()[:3]) for p in axes[0].patches]
    drawn = {x: colour for x, width, colour in spans if width == 1}
    blue, orange = (tuple(v / 255 for v in colour) for colour in (BLUE, ORANGE))
    # Round r lies between r and r + 1 rounds done; the captions begin.
    expected = {0: orange, 1: blue, 2: orange, 3: blue, 4: orange}
    assert {x: pytest.approx(colour) for x, colour in expected.items()} == drawn


def test_the_first_best_cell_of_a_grid_is_framed_and_missing_ones_empty(
    monkeypatch, tmp_path
) -> None:
    grid = {(0.1, 0.3): 0.5, (0.1, 0.7): 0.61, (0.5, 0.3): 0.61, (0.9, 0.7): float('nan')}
    draw_lambda_grid(grid, tmp_path / 'grid.png', 'mAP')
    assert has_colour(tmp_path / 'grid.png', ORANGE)
    axes = axes_of(monkeypatch, lambda: draw_lambda_grid(grid, tmp_path / 'grid.png', 'mAP'))
    texts = {text.get_position(): text.get_text() for text in axes[0].texts}
    # Columns are lambda_S, rows lambda_A.
    assert texts == {(0, 0): '50.0', (1, 0): '61.0', (0, 1): '61.0'}
    framed = {(round(p.get_x()), round(p.get_y())) for p in axes[0].patches}
    assert framed == {(1, 0)}, 'not the other one that is as good'
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ['0.1', '0.5', '0.9']


def test_no_cell_is_framed_where_all_look_equal(monkeypatch, tmp_path) -> None:
    grid = {(0.1, 0.3): 0.61, (0.1, 0.7): 0.6101}
    axes = axes_of(monkeypatch, lambda: draw_lambda_grid(grid, tmp_path / 'grid.png', 'mAP'))
    assert not axes[0].patches


def test_the_least_is_framed_where_less_is_better(monkeypatch, tmp_path) -> None:
    grid = {(1, 2): 0.6, (1, 3): 0.9, (4, 2): float('nan')}
    axes = axes_of(
        monkeypatch,
        lambda: draw_grid(
            grid, tmp_path / 'grid.png', title='error', axes=('k', 'depth'), digits=2, sign=-1
        ),
    )
    assert [(round(p.get_x()), round(p.get_y())) for p in axes[0].patches] == [(0, 0)]
    assert {text.get_text() for text in axes[0].texts} == {'0.60', '0.90'}
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == ('depth', 'k')


def axes_of(monkeypatch, draw):
    """Return the axes that are drawn, in place of a file."""
    figures = []
    monkeypatch.setattr(round_figures, 'save', lambda figure, path: figures.append(figure))
    draw()
    plt.close(figures[0])
    return figures[0].axes


@pytest.mark.parametrize('grid', [{}, {(0.1, 0.1): float('nan')}])
def test_a_grid_without_numbers_is_refused(grid, tmp_path) -> None:
    with pytest.raises(ValueError, match='must have a number, got none'):
        draw_lambda_grid(grid, tmp_path / 'grid.png')
