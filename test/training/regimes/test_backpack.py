"""The backpack: prototypes, what each stage trains, and runs that go on after an interruption."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from mtl_perception.checkpoint import load_checkpoint, load_network
from mtl_training.config import build_config
from mtl_training.data.loading import build_dataset
from mtl_training.regimes import build_regime
from mtl_training.run_folder import RunFolder
from mtl_training.trainer import Trainer
import pytest
from rich.console import Console
from safetensors.torch import load_file
import torch

QUIET = Console(quiet=True)
Block = dict[str, Any]
KNOWN_ITERATIONS = 3


def trainer(block: Block, out: Path, *, stop: int = 10**6, **settings: Any) -> Trainer:
    if settings.get('novel'):
        settings = {'known_iterations': KNOWN_ITERATIONS, 'k': 2, 'depth': 1, **settings}
    if settings.get('prototypes') is False:
        settings = {name: s for name, s in settings.items() if name not in ('k', 'depth')}
    entries = block | {'regime': {'name': 'backpack', 'settings': settings}}
    run = Trainer(build_config(entries), out, QUIET)
    run._should_stop = lambda: run._iteration >= stop  # type: ignore[method-assign]
    return run


def part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if name.startswith(prefix)}


def is_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    assert one
    return all(torch.equal(one[name], other[name]) for name in one)


def copied(run: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run._network.state_dict().items()}


def test_prototypes_are_the_means_of_the_windows_of_each_concept(windows_block, tmp_path) -> None:
    run = trainer(windows_block, tmp_path, novel='oscc', stop=KNOWN_ITERATIONS)
    run.run()
    before = run._network.training
    run._regime.begin(KNOWN_ITERATIONS, run._recorder)
    assert run._network.training == before
    network, config = run._network.eval(), run._config
    data: Any = build_dataset('ar', config.data['ar'], 'train', network.config, augment=False)
    verbs, nouns = data.groups['verb'], data.groups['noun']
    windows = defaultdict(list)
    for sample in (data[i] for i in range(len(data))):
        verb, noun = sample.target.tolist()
        windows[f'{verbs[verb]} {nouns[noun]}'].append(sample.features)
    graph = network.config.trunks['memory'].graph
    assert graph is not None
    assert graph.concepts == tuple(sorted(windows))
    for task in ('ar', 'lta', 'pnr'):
        for concept, own in zip(graph.concepts, network.prototypes['memory'].of(task)):
            total = torch.zeros(8, dtype=torch.float64)
            for features in windows[concept]:
                with torch.no_grad():
                    nodes = network.trunks['memory'].forward_task(features[None], 'ar')[0]
                    total += network.heads[task].project(nodes[1]).double()
            expected = (total / len(windows[concept])).float()
            torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)


def test_prototypes_of_an_averaged_network_are_its_own(windows_block, tmp_path) -> None:
    run = trainer(windows_block | {'ema_decay': 0.5}, tmp_path)
    run.run()
    network, _ = load_network(tmp_path / 'last.safetensors')
    assert not torch.equal(
        network.heads['ar'].project[1].weight, run._network.heads['ar'].project[1].weight
    )
    data: Any = build_dataset('ar', run._config.data['ar'], 'train', network.config, augment=False)
    windows = defaultdict(list)
    for i in range(len(data)):
        windows[data.concept_of(i)].append(data[i].features)
    for task in ('ar', 'pnr'):
        for concept, own in windows.items():
            with torch.no_grad():
                seen = network.project('ar', torch.stack(own), [task])[task]
            found = network.prototypes['memory'].of(task)[concept]
            torch.testing.assert_close(found, seen.mean(0), atol=1e-5, rtol=1e-4)


@pytest.fixture(params=['oscc', 'lta', 'ar'])
def stages(request, windows_block, tmp_path) -> tuple[str, dict, dict, dict, Trainer]:
    """Return a novel task; the network after the first stage, one step later and at the end."""
    novel = request.param
    first = trainer(windows_block, tmp_path, novel=novel, stop=KNOWN_ITERATIONS)
    first.run()
    after_first = copied(first)
    second = trainer(windows_block, tmp_path, novel=novel, stop=KNOWN_ITERATIONS + 1)
    second.run(resume=True)
    one_later = copied(second)
    last = trainer(windows_block, tmp_path, novel=novel)
    assert last.run(resume=True)['finished']
    return novel, after_first, one_later, copied(last), last


def test_the_second_stage_trains_what_is_the_novel_tasks(stages, tmp_path) -> None:
    novel, after_first, one_later, end, run = stages
    # Prototypes: no parameters, never changed, part of the checkpoint.
    assert not [n for n, _ in run._network.named_parameters() if n.startswith('prototypes')]
    prototypes = part(end, 'prototypes.')
    assert is_same(prototypes, part(one_later, 'prototypes.'))
    assert not is_same(prototypes, part(after_first, 'prototypes.'))  # zeros before
    stored = load_checkpoint(tmp_path / 'last.safetensors')
    assert is_same(prototypes, part(stored.state_dict, 'prototypes.'))
    # The heads of known tasks are asked, not trained.
    for known in {'ar', 'lta', 'oscc', 'pnr'} - {novel}:
        assert is_same(part(after_first, f'heads.{known}.'), part(end, f'heads.{known}.'))
    own = f'heads.{novel}.'
    for kind in ('project.', 'classifiers.', 'exchanges.', 'voters.'):
        assert not is_same(part(after_first, own + kind), part(end, own + kind))
    # The trunk is trained but for anticipation: then no dropout moves it either.
    is_frozen = is_same(part(after_first, 'trunks.'), part(end, 'trunks.'))
    assert is_frozen == (novel == 'lta')
    assert run._network.trunks['memory'].training != is_frozen


def test_each_stage_judges_what_it_trains(stages, tmp_path) -> None:
    novel = stages[0]
    others = {'ar', 'lta', 'oscc', 'pnr'} - {novel}
    records = RunFolder(tmp_path).records()
    assert {(r['iteration'], frozenset(r['segments'])) for r in records if r['kind'] == 'val'} == {
        (KNOWN_ITERATIONS, frozenset(others)),
        (5, frozenset({novel})),
    }
    trained = {r['iteration']: {*r['loss']} for r in records if r['kind'] == 'train'}
    assert trained == {1: others, 2: others, 3: others, 4: {novel}, 5: {novel}}
    # What was reached of other tasks chooses no network.
    assert stages[4]._progress.best_iteration == 5


@pytest.mark.parametrize('stops', [(1,), (2, 4)])
@pytest.mark.parametrize('settings', [{}, {'prototypes': False}], ids=['backpack', 'finetuning'])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    windows_block, tmp_path, stops, settings
) -> None:
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    trainer(windows_block, whole, novel='oscc', **settings).run()
    for stop in (*stops, 10**6):
        trainer(windows_block, broken, novel='oscc', stop=stop, **settings).run(resume=True)
    for name in ('state.safetensors', 'last.safetensors'):
        assert is_same(load_file(whole / name), load_file(broken / name))


def test_the_second_stage_begins_with_an_optimiser_that_remembers_nothing(
    windows_block, tmp_path
) -> None:
    run = trainer(windows_block, tmp_path, novel='oscc', novel_lr={'oscc': 3e-3})
    run.run()
    steps = {int(state['step']) for state in run._optimiser.state.values()}
    assert steps == {5 - KNOWN_ITERATIONS}
    rates = [r['lr'] for r in RunFolder(tmp_path).records() if r['kind'] == 'train']
    assert rates[KNOWN_ITERATIONS] == pytest.approx(3e-3)


def test_a_novel_task_joins_without_the_data_of_the_known_ones(windows_block, tmp_path) -> None:
    first = dict(windows_block, network=dict(windows_block['network']))
    tasks = first['network']['tasks']
    first['network']['tasks'] = {t: tasks[t] for t in ('ar', 'lta', 'pnr')}
    first['data'] = {t: windows_block['data'][t] for t in ('ar', 'lta', 'pnr')}
    trainer(first, tmp_path / 'packed').run()
    path = tmp_path / 'packed' / 'best.safetensors'
    packed = load_checkpoint(path).state_dict
    assert any(value.any() for value in part(packed, 'prototypes.').values())
    tasks = {t: windows_block['network']['tasks'][t] for t in ('ar', 'lta', 'oscc')}
    second = windows_block | {
        'network': windows_block['network'] | {'tasks': tasks},
        'data': {'oscc': windows_block['data']['oscc']},
        'init_checkpoint': str(path),
    }
    run = trainer(second, tmp_path / 'novel', novel='oscc', known_iterations=0)
    summary = run.run()
    assert summary['finished']
    assert {*summary['val']['segments']} == {'oscc'}
    checkpoint = load_checkpoint(tmp_path / 'novel' / 'best.safetensors')
    known = checkpoint.config.trunks['memory'].graph
    assert known is not None
    assert known.known == ('ar', 'lta')
    assert checkpoint.config.tasks['lta'].groups['verb']
    for task in known.known:
        name = f'prototypes.memory.means.{task}'
        assert torch.equal(checkpoint.state_dict[name], packed[name])
        assert is_same(
            part(packed, f'heads.{task}.'), part(checkpoint.state_dict, f'heads.{task}.')
        )


def test_pcgrad_weighs_the_tasks_of_a_shared_graph(windows_block, tmp_path) -> None:
    block = windows_block | {'weighting': {'name': 'pcgrad'}, 'iterations': 2}
    summary = Trainer(build_config(block), tmp_path, QUIET).run()
    assert {*summary['val']['segments']} == {'ar', 'lta', 'oscc', 'pnr'}
    assert 0 <= summary['val']['mean_score'] <= 1
    records = [r for r in RunFolder(tmp_path).records() if r['kind'] == 'train']
    assert all(sum(r['weights'].values()) == pytest.approx(4) for r in records)
    # Weights that differ: the gradients of tasks met in the graph.
    assert any(max(r['weights'].values()) > 1.0001 for r in records)


TASKS = ('ar', 'oscc', 'pnr')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'novel': 'os', 'known_iterations': 1}, "no task 'os'. Did you mean 'oscc'"),
        ({'novel': 'ar'}, 'known_iterations must be given'),
        (
            {'known_iterations': 3},
            'known_iterations must not be given without a novel task, got 3',
        ),
        ({'novel': 'ar', 'known_iterations': -1}, 'known_iterations must be at least 0, got -1'),
        (
            {'novel': 'ar', 'known': ['ar'], 'known_iterations': 1},
            "known must not have the novel task 'ar'",
        ),
        ({'novel': 'ar', 'known': [], 'known_iterations': 1}, r'at least one, got \[\]'),
        (
            {'novel': 'ar', 'known_iterations': 1, 'prototypes': False, 'k': 3},
            'k is for a novel task with prototypes, got 3 without',
        ),
        ({'prototypes': False}, 'prototypes must not be false without a novel task'),
        (
            {'novel': 'ar', 'known_iterations': 1, 'novel_lr': -1.0},
            'novel_lr must be positive, got -1.0',
        ),
        (
            {'novel': 'ar', 'known_iterations': 1, 'novel_optimiser': {'name': 'adamw'}},
            "novel_optimiser must be of .*, got 'name'",
        ),
        (
            {'novel': 'ar', 'known_iterations': 1, 'novel_optimiser': {'warmup': '5'}},
            "novel_optimiser.warmup must be of type int, got '5'",
        ),
        (
            {'novel': 'ar', 'known_iterations': 1, 'novel_optimiser': {'schedule': 'late'}},
            "novel_optimiser: schedule must be one of .*, got 'late'",
        ),
        (
            {'novel': 'ar', 'known_iterations': 1, 'known': 'oscc'},
            "known must be a list of tasks, got 'oscc'",
        ),
        ({'novel': 'ar', 'known_iterations': 1, 'known': 5}, 'known must be .*, got 5'),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_regime('backpack', TASKS, **settings)


def test_a_first_stage_that_leaves_nothing_is_refused() -> None:
    regime = build_regime('backpack', TASKS, novel='ar', known_iterations=5)
    with pytest.raises(ValueError, match='must leave some for the novel task, got 5 of 5'):
        regime.stages(5)


@pytest.mark.parametrize(
    ('change', 'settings', 'message'),
    [
        ({}, {'novel': 'oscc', 'known': ['lta']}, r"got \['pnr'\] besides"),
        ({}, {'novel': 'oscc', 'known_iterations': 0}, 'at least 1 without init_checkpoint'),
        ({}, {'novel': 'oscc', 'concepts_of': 'lta'}, "concepts_of must be .*, got 'lta'"),
        ({'sharing': 'single_task'}, {'novel': 'oscc'}, "one trunk with sharing 'hard'"),
        ({}, {'novel': 'oscc', 'k': 10**4}, 'k must be at most the number of concepts'),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    windows_block, tmp_path, change, settings, message
) -> None:
    windows_block['network']['trunks']['memory'].update(change)
    with pytest.raises(ValueError, match=message):
        trainer(windows_block, tmp_path, **settings)


def test_a_final_rate_above_that_of_the_run_is_refused_before_the_first_stage(
    windows_block, tmp_path
) -> None:
    with pytest.raises(ValueError, match=r'final_lr must lie in \[0, lr\], got 0.5'):
        trainer(windows_block, tmp_path, novel='oscc', novel_optimiser={'final_lr': 0.5})


def test_tasks_that_are_trained_need_data(windows_block) -> None:
    del windows_block['data']['pnr']
    with pytest.raises(ValueError, match='data must name a data set for each task'):
        build_config(windows_block)
    backpack = {'name': 'backpack', 'settings': {'novel': 'oscc', 'known_iterations': 0}}
    with pytest.raises(ValueError, match='data must name a data set for each task'):
        build_config(windows_block | {'regime': backpack})
    build_config(windows_block | {'regime': backpack, 'init_checkpoint': 'some.safetensors'})
