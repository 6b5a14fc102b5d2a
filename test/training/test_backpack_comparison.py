"""The comparisons of the backpack: which runs they have, and what is left out of each."""

from pathlib import Path

from mtl_training.comparison.config import load_comparison
from mtl_training.comparison.plan import planned_runs, PlannedRun
import pytest

CONFIGS = Path(__file__).parents[2] / 'config' / 'training'
TASKS = ['ar', 'lta', 'oscc', 'pnr']


def runs_of(name: str, out: Path) -> dict[tuple[str, str, str], PlannedRun]:
    runs = planned_runs(load_comparison(CONFIGS / f'{name}.yaml'), out)
    return {(r.sharing, r.weighting, r.regime): r for r in runs if r.seed == 0}


def test_the_small_comparison_has_every_method_of_the_papers_table(tmp_path) -> None:
    runs = runs_of('backpack_small', tmp_path)
    novel = [f'{name} novel={task}' for name in ('finetuning', 'backpack') for task in TASKS]
    assert set(runs) == {
        ('hard', 'average', 'joint'),
        ('hard', 'pcgrad', 'joint'),
        ('single_task', 'average', 'joint'),
        ('MLP', 'average', 'joint'),
        ('task_translation', 'average', 'task_translation'),
        *(('hard', 'average', name) for name in novel),
    }
    graphs = {key: run.config.network.trunks['memory'].graph for key, run in runs.items()}
    assert {key for key, graph in graphs.items() if graph and not graph.num_layers} == {
        ('MLP', 'average', 'joint')
    }
    for (_, _, regime), run in runs.items():
        # As many iterations per task, whatever the method.
        assert run.config.iterations == (1000 if regime == 'joint' else 2000)
        assert [*run.config.network.tasks] == TASKS


def test_subsets_of_known_tasks_leave_the_others_out(tmp_path) -> None:
    runs = runs_of('backpack_grid', tmp_path)
    tasks = {
        regime.removeprefix('known known='): [*run.config.network.tasks]
        for (_, _, regime), run in runs.items()
        if regime.startswith('known')
    }
    # The windows of ar make the prototypes even where it is not known.
    assert tasks == {
        'ar': ['ar', 'oscc'],
        'lta': ['ar', 'lta', 'oscc'],
        'pnr': ['ar', 'oscc', 'pnr'],
        'ar+lta': ['ar', 'lta', 'oscc'],
        'ar+pnr': ['ar', 'oscc', 'pnr'],
        'lta+pnr': TASKS,
    }
    for run in runs.values():
        assert run.config.data.keys() == run.config.network.tasks.keys()


def test_a_regime_with_another_sharing_is_refused(tmp_path) -> None:
    comparison = load_comparison(CONFIGS / 'backpack_small.yaml')
    with pytest.raises(
        ValueError, match=r'single_task .* backpack .* needs? one trunk with sharing'
    ):
        planned_runs(
            type(comparison)(
                base=comparison.base,
                sharing={'single_task': comparison.sharing['single_task']},
                weighting={'average': comparison.weighting['average']},
                regime={'backpack': comparison.regime['backpack']},
            ),
            tmp_path,
        )
