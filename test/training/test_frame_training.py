"""Frame tasks from a config to a checkpoint: stages, freezing, resumes, joint fine-tuning."""

from copy import deepcopy
import json
import math

from lightning_fabric import Fabric
from mtl_perception.checkpoint import load_checkpoint
from mtl_training import stages as stages_module
from mtl_training.config import build_config, OptimiserConfig
from mtl_training.optimisation import learning_rate, Plateau
from mtl_training.predicted_poses import FoundPoses, load_poses
from mtl_training.regimes import build_regime
from mtl_training.trainer import Trainer
import pytest
from rich.console import Console
from safetensors.torch import load_file
import torch

TASKS = ('person', 'keypoints', 'pose', 'activity')
STAGES = [
    {'tasks': ['keypoints'], 'iterations': 2},
    {'tasks': ['person'], 'iterations': 2, 'freeze': ['frame']},
    {'tasks': ['pose', 'activity'], 'iterations': 2, 'predicted_poses': True},
    {'tasks': list(TASKS), 'iterations': 2, 'predicted_poses': True},
]


def trained(block: dict, folder, *, stop_at: int | None = None, resume: bool = False) -> dict:
    """Train, and stop as if asked to after some iterations."""
    trainer = Trainer(build_config(deepcopy(block)), folder, Console(quiet=True))
    if stop_at is not None:
        iterate = trainer._iterate

        def stopping(*batches):
            iterate(*batches)
            trainer._stop_request.is_made |= trainer._iteration == stop_at

        trainer._iterate = stopping
    return trainer.run(resume=resume)


def states(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / 'last.safetensors')


def changed(before: dict, after: dict) -> set[str]:
    """Return which trunks and heads differ in a bit."""
    names = {'.'.join(key.split('.')[:2]) for key in before}
    equal = {n: all(torch.equal(v, after[k]) for k, v in before.items() if k.startswith(f'{n}.'))
             for n in names}  # fmt: skip
    return {name for name, same in equal.items() if not same}


@pytest.fixture
def staged_block(frames_block) -> dict:
    settings = {'stages': deepcopy(STAGES)}
    regime = {'name': 'staged', 'settings': settings}
    return {**frames_block, 'iterations': 8, 'regime': regime}


def test_stages_follow_each_other_and_the_last_takes_the_rest() -> None:
    stages = [{'tasks': ['a'], 'iterations': 3}, {'tasks': ['a', 'b'], 'lr': 0.1}]
    first, last = build_regime('staged', ['a', 'b'], stages=stages).stages(10)
    assert (first.first, first.iterations, first.tasks) == (0, 3, ('a',))
    assert (last.first, last.iterations, last.lr) == (3, 7, 0.1)


@pytest.mark.parametrize(
    ('stages', 'message'),
    [
        ([], 'stages must be at least one'),
        ([{'tasks': ['c']}], r"stages\[0\]: no task 'c'"),
        ([{'tasks': ['a', 'a']}], 'tasks must be distinct'),
        ([{'tasks': ['a']}, {'tasks': ['b']}], r'stages\[0\] lacks iterations'),
        ([{'tasks': ['a'], 'iterations': 0}], 'iterations must be at least 1, got 0'),
        ([{'tasks': ['a'], 'lr': 0.0}], 'lr must be positive, got 0.0'),
        ([{'tasks': ['a'], 'schedule': 'plato'}], "schedule must be one of .* got 'plato'"),
        ([{'tasks': ['a'], 'gamma': 1.0}], 'gamma must lie between 0 and 1, got 1.0'),
        ([{'tasks': ['a'], 'patience': -1}], 'patience must be at least 0, got -1'),
        ([{'tasks': ['a'], 'clip_norm': 0.0}], 'clip_norm must be positive and finite, got 0.0'),
        ([{'tasks': ['a'], 'freezes': []}], "no entry 'freezes'. Did you mean 'freeze'"),
    ],
)
def test_stages_are_checked(stages, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_regime('staged', ['a', 'b'], stages=stages)


@pytest.mark.parametrize('lengths', [(3, 8), (3, 6), (12, None)], ids=str)
def test_stages_must_fill_the_run(lengths) -> None:
    stages = [{'tasks': ['a'], 'iterations': length} for length in lengths]
    with pytest.raises(ValueError, match='iterations must be those of all stages, got 10'):
        build_regime('staged', ['a'], stages=stages).stages(10)


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        ({'freeze': ['frames']}, r"stages\[0\].freeze: no trunk 'frames'. Did you mean 'frame'"),
        ({'predicted_poses': True}, r'stages\[0\].predicted_poses is for the task of kind'),
    ],
)
def test_stages_are_checked_against_the_network(frames_block, tmp_path, entry, message) -> None:
    stages = [{'tasks': ['keypoints'], **entry}]
    frames_block['regime'] = {'name': 'staged', 'settings': {'stages': stages}}
    with pytest.raises(ValueError, match=message):
        Trainer(build_config(frames_block), tmp_path, Console(quiet=True))


def test_an_average_of_weights_is_for_a_run_of_one_stage(staged_block, tmp_path) -> None:
    block = {**staged_block, 'ema_decay': 0.9}
    with pytest.raises(ValueError, match=r'ema_decay must be null in several stages, got 0\.9'):
        Trainer(build_config(block), tmp_path, Console(quiet=True))
    block['iterations'] = 2
    block['regime'] = {'name': 'staged', 'settings': {'stages': STAGES[:1]}}
    Trainer(build_config(block), tmp_path, Console(quiet=True))


@pytest.mark.parametrize('lacking', ['person', 'keypoints', 'pose'])
def test_predicted_poses_need_all_tasks_that_find_them(frames_block, tmp_path, lacking) -> None:
    block = deepcopy(frames_block)
    kind = block['network']['tasks'].pop(lacking)['kind']
    del block['data'][lacking]
    stages = [{'tasks': ['activity'], 'predicted_poses': True}]
    block['regime'] = {'name': 'staged', 'settings': {'stages': stages}}
    with pytest.raises(ValueError, match=rf'stages\[0\].*the network has none of kind {kind}'):
        Trainer(build_config(block), tmp_path, Console(quiet=True))


def test_a_stage_without_any_pose_to_learn_from_is_refused(
    staged_block, tmp_path, monkeypatch
) -> None:
    def nobody(network, dataset, *_, **__) -> list[FoundPoses]:
        jointless = torch.tensor([1.0, 1.0, 0.0])
        return [p._replace(keypoints=p.keypoints * jointless) for p in poses_of(network, dataset)]

    monkeypatch.setattr(stages_module, 'find_all_poses', nobody)
    with pytest.raises(ValueError, match=r'data\.activity: .* no joint of anybody in its 8'):
        trained(staged_block, tmp_path)


def test_the_rate_falls_by_gamma_at_every_step() -> None:
    config = OptimiserConfig(lr=4e-5, schedule='step', step_iters=10, gamma=0.333)
    rates = [learning_rate(config, i, 1000) for i in range(35)]
    assert rates == [pytest.approx(4e-5 * 0.333 ** (i // 10)) for i in range(35)]


def test_a_plateau_reduces_the_rate_once_patience_is_over() -> None:
    config = OptimiserConfig(schedule='plateau', gamma=0.1, patience=2)
    plateau, factors = Plateau(), []
    for loss in (3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.5, 1.5, 1.5):
        plateau.update(loss, config)
        factors.append(plateau.factor)
    assert factors == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01])


def test_a_stage_has_settings_of_its_own_and_the_others_those_of_the_optimiser(
    frames_block, tmp_path, monkeypatch
) -> None:
    waiting = {'schedule': 'plateau', 'gamma': 0.1, 'patience': 0, 'clip_norm': 0.5}
    stages = [
        {'tasks': ['keypoints'], 'iterations': 2},
        {'tasks': ['person'], 'lr': 1e-12, 'freeze': ['frame'], **waiting},
    ]
    block = deepcopy(frames_block) | {'iterations': 6}
    block['regime'] = {'name': 'staged', 'settings': {'stages': stages}}
    block['optimiser'] |= {'schedule': 'cosine', 'clip_norm': 7.0}
    block['evaluation']['every'] = 1
    norms, clip = [], Fabric.clip_gradients

    def clipping(*args, max_norm, **settings):
        norms.append(max_norm)
        return clip(*args, max_norm=max_norm, **settings)

    monkeypatch.setattr(Fabric, 'clip_gradients', clipping)
    trained(block, tmp_path, stop_at=4)
    assert trained(block, tmp_path, resume=True)['finished']
    records = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    rates = [record['lr'] for record in records if record['kind'] == 'train']
    # At such a rate nothing is learnt: each validation after the first of the stage is too much.
    assert rates == pytest.approx([1e-3, 5e-4, 1e-12, 1e-12, 1e-13, 1e-14], rel=1e-6)
    assert norms == [7.0, 7.0, 0.5, 0.5, 0.5, 0.5]


def poses_of(network, dataset, *_, **__) -> list[FoundPoses]:
    """Find everybody, moved by what depends on every weight: a resumed stage must not ask anew."""
    shift = 3 * math.sin(1e4 * sum(float(p.double().sum()) for p in network.parameters()))
    samples = [dataset[index] for index in range(len(dataset))]
    return [
        FoundPoses(
            sample.keypoints + torch.tensor([shift, 0.0, 0.0]),
            sample.boxes[:, -1],
            torch.ones(len(sample.boxes), dtype=torch.bool),
        )
        for sample in samples
    ]


def test_a_stage_changes_only_what_it_trains_and_resumes_are_bitwise(
    staged_block, tmp_path, monkeypatch
) -> None:
    """One uninterrupted run against one that stops in the middle of and after every stage."""
    monkeypatch.setattr(stages_module, 'find_all_poses', poses_of)
    summary = trained(staged_block, tmp_path / 'whole')
    assert summary['finished']
    before = None
    expected = ({'heads.person'}, {'heads.pose', 'heads.activity'})
    for stop_at in range(1, 8):
        stopped = trained(staged_block, tmp_path / 'parts', stop_at=stop_at, resume=stop_at > 1)
        assert not stopped['finished']
        assert stopped['iteration'] == stop_at
        if stop_at in (2, 4, 6):
            now = states(tmp_path / 'parts')
            if before is not None:
                assert changed(before, now) == expected[stop_at // 2 - 2]
            before = now
    assert trained(staged_block, tmp_path / 'parts', resume=True)['finished']
    assert changed(before, states(tmp_path / 'parts')) == {
        'trunks.frame', *(f'heads.{task}' for task in TASKS)
    }  # fmt: skip
    whole, parts = states(tmp_path / 'whole'), states(tmp_path / 'parts')
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    _check_files(tmp_path / 'whole')


def _check_files(folder) -> None:
    for name in ('confusion.png', 'learning_curves.png'):
        assert (folder / name).stat().st_size > 1000
    people = json.loads((folder / 'summary.json').read_text())['val']['people']
    assert people.keys() == set(TASKS)
    assert {'ap', 'ap50', 'ar', 'score'} <= people['person'].keys()
    assert load_checkpoint(folder / 'best.safetensors').metrics['val']['people'].keys() == set(
        TASKS
    )


TOGETHER = {'stages': [{'tasks': list(TASKS), 'predicted_poses': True}]}


@pytest.mark.parametrize(
    'regime', [{'name': 'joint'}, {'name': 'staged', 'settings': TOGETHER}], ids=str
)
@pytest.mark.parametrize('weighting', ['uncertainty', 'pcgrad'])
def test_all_branches_are_tuned_together_under_a_weighting(
    frames_block, tmp_path, monkeypatch, weighting, regime
) -> None:
    monkeypatch.setattr(stages_module, 'find_all_poses', poses_of)
    block = {**frames_block, 'weighting': {'name': weighting}, 'regime': regime}
    start = Trainer(build_config(deepcopy(block)), tmp_path / 'a', Console(quiet=True))
    before = {k: v.clone() for k, v in start._network.state_dict().items()}
    assert trained(block, tmp_path / 'b')['skipped_steps'] == 0
    found = load_poses(tmp_path / 'b' / 'poses.safetensors', 0)
    assert (found is None) == (regime['name'] == 'joint')
    assert changed(before, states(tmp_path / 'b')) == {
        'trunks.frame', *(f'heads.{task}' for task in TASKS)
    }  # fmt: skip


def test_a_run_starts_from_the_parts_of_a_checkpoint(frames_block, tmp_path, caplog) -> None:
    trained({**frames_block, 'iterations': 1}, tmp_path / 'first')
    path = tmp_path / 'first' / 'last.safetensors'
    given = states(tmp_path / 'first')
    block = deepcopy(frames_block) | {'init_checkpoint': str(path)}
    # A head more than the checkpoint's, under another name.
    block['network']['tasks']['doing'] = block['network']['tasks'].pop('activity')
    block['data'] = dict.fromkeys(block['network']['tasks'], block['data']['person'])
    trainer = Trainer(build_config(block), tmp_path / 'second', Console(quiet=True))
    own = trainer._network.state_dict()
    same = {k for k, v in given.items() if k in own and torch.equal(v, own[k])}
    assert same == {k for k in given if not k.startswith('heads.activity')}
    assert not caplog.messages
    block['network']['tasks']['person']['settings']['anchor_scale'] = 1.0
    trunk = block['network']['trunks']['frame']
    trunk['norm_eps'] = 0.0
    trunk['preprocessing'] |= {'resize': [96, 128], 'mean': [0.5, 0.5, 0.5]}
    Trainer(build_config(block), tmp_path / 'third', Console(quiet=True))
    of_trunk, of_head = caplog.messages
    assert 'trunks.frame: norm_eps 1e-05 (here 0.0), preprocessing.mean' in of_trunk
    assert 'resize' not in of_trunk
    assert of_head.endswith('settings of heads.person: anchor_scale 0.5 (here 1.0).')
    block['network']['tasks']['person']['settings']['channels'] = 16
    with pytest.raises(ValueError, match=r"does not fit 'heads\.person'.*has shape"):
        Trainer(build_config(block), tmp_path / 'third', Console(quiet=True))
