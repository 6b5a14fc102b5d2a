"""Which network of a run is kept: the best one, or the last."""

from mtl_training.config import build_config
from mtl_training.run_folder import RunFolder
from mtl_training.trainer import Trainer
import pytest
from rich.console import Console


@pytest.mark.parametrize('selection', ['last', 'score'])
def test_the_network_at_the_end_or_the_one_of_the_best_score_is_kept(
    toy_block, tmp_path, monkeypatch, selection
) -> None:
    scores = iter([0.3, 0.9, 0.2, 0.5])  # of three validations, and of the best network at last
    monkeypatch.setattr(
        'mtl_training.metrics.Evaluation.mean_score', property(lambda _: next(scores))
    )
    monkeypatch.setattr('mtl_training.metrics.Evaluation.summary', lambda _: {'loss': {}})
    toy_block |= {'iterations': 6, 'evaluation': {'every': 2, 'selection': selection}}
    console = Console(record=True, width=200)
    summary = Trainer(build_config(toy_block), tmp_path, console).run()
    kept = {'last': (6, 0.2), 'score': (4, 0.9)}[selection]
    assert (summary['best_iteration'], summary['best_mean_score']) == kept
    assert RunFolder(tmp_path).best.exists()
    lines = [x for x in console.export_text().splitlines() if 'validation ' in x]
    assert ['mean score 90.0%' in line for line in lines] == [False, True, False]
    told = [line.endswith(', best so far') for line in lines]
    assert told == ([True, True, False] if selection == 'score' else [False] * 3)
