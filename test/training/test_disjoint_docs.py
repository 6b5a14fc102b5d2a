"""What docs/disjoint.md says against what there is."""

from inspect import signature
from pathlib import Path
import re

from mtl_training.comparison.config import load_comparison
from mtl_training.comparison.plan import planned_runs
from mtl_training.comparison.regime_entry import RegimeEntry
from mtl_training.config import build_config
from mtl_training.data.loading import build_dataset
from mtl_training.regimes import build_regime, REGIMES
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / 'docs' / 'disjoint.md').read_text()
ALONE, GRID = re.findall(r'```yaml\n(.*?)```', DOCS, re.DOTALL)
WITH_ROUNDS = ('alternating', 'distilling', 'finetune', 'lwf')


def rows_after(header: str) -> list[list[str]]:
    """Return the cells of the table with a header."""
    lines = DOCS.partition(f'| {header} |')[2].partition('\n\n')[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip('|').split(' | ')] for line in lines]


def test_every_regime_is_documented_and_no_other() -> None:
    assert {row[0].strip('` ') for row in rows_after('regime')} == set(REGIMES)


@pytest.mark.parametrize('name', WITH_ROUNDS)
def test_the_settings_of_every_regime_are_documented_with_their_defaults(name: str) -> None:
    documented = {}
    for setting, regimes, _ in rows_after('setting'):
        if 'all with rounds' in regimes or f'`{name}`' in regimes:
            found = re.fullmatch(r'`(\w+)`(?: \((.+)\))?', setting)
            assert found
            documented[found[1]] = yaml.safe_load((found[2] or 'null').strip('`'))
    own = list(signature(REGIMES[name]).parameters.values())[2:]
    assert documented == {parameter.name: parameter.default for parameter in own}


def test_the_run_of_the_docs_can_be_built() -> None:
    config = build_config(yaml.safe_load(ALONE))
    regime = build_regime(config.regime.name, [*config.network.tasks], **config.regime.settings)
    assert regime.stages(config.iterations)
    small = {'num_clips': 2, 'cache_dir': None}
    action = build_dataset('action', config.data['action'], 'val', config.network, **small)
    assert action[0].frames.shape == (8, 32, 43, 3)


def test_the_comparison_of_the_docs_can_be_planned(tmp_path) -> None:
    (tmp_path / 'disjoint.yaml').write_text(ALONE)
    (tmp_path / 'compare.yaml').write_text(GRID)
    runs = planned_runs(load_comparison(tmp_path / 'compare.yaml'), tmp_path)
    assert len(runs) == 3 * (3 + 9)
    listed = re.findall(r'^- (`.*?):', DOCS.partition('## A comparison')[2], re.MULTILINE)
    names = re.findall(r'`(\w+)`', ' '.join(listed))
    assert sorted(names) == sorted(signature(RegimeEntry).parameters)


def test_the_small_comparison_trains_every_regime_on_as_many_clips_of_each_task() -> None:
    comparison = load_comparison(ROOT / 'config' / 'training' / 'disjoint_small.yaml')
    runs = planned_runs(comparison, 'out')
    assert {run.seed for run in runs} == {0, 1, 2}
    assert {run.config.regime.name for run in runs} == {'joint', *WITH_ROUNDS}
    both = next(run for run in runs if len(run.config.data) == 2)
    sets = {task: data.settings['seed'] for task, data in both.config.data.items()}
    assert sets['gesture'] != sets['caption'], 'the scenes of the tasks are disjoint'
    for run in runs:
        config, tasks = run.config, list(run.config.network.tasks)
        epoch = config.data[tasks[0]].train['num_clips']
        regime = build_regime(config.regime.name, tasks, **config.regime.settings)
        sizes = dict.fromkeys(tasks, epoch)
        regime.prepare(sizes, dict.fromkeys(tasks, config.batch_size))
        regime.stages(config.iterations)
        counts = dict.fromkeys(tasks, 0)
        for iteration in range(config.iterations):
            for task in regime.tasks_at(iteration):
                counts[task] += 1
        assert len(set(counts.values())) == 1
        assert counts[tasks[0]] == 675
        if config.regime.name in ('alternating', 'distilling'):
            assert regime.round_at(config.iterations - 1).number + 1 == 6
