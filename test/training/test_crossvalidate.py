"""Folds divide people, never scenes; figures are those worked out by hand."""

import json
import statistics

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network.config import from_mapping, NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.pose.activity import ActivityConfig
from mtl_training import cli
from mtl_training.crossvalidation import CrossValidation, folds_of, gather_people, People
from mtl_training.predicted_poses import FoundPoses
import pytest
import torch

SMALL = ActivityConfig(hidden=(16, 8), dropout=0.0, history=2)


@pytest.mark.parametrize('seed', range(3))
def test_folds_are_a_partition_of_whole_groups_of_about_equal_size(seed) -> None:
    groups = torch.randint(0, 30, (200,), generator=torch.Generator().manual_seed(seed)) * 7
    fold_of = folds_of(groups, 5, seed=seed)
    assert sorted(fold_of.unique().tolist()) == [0, 1, 2, 3, 4]
    for group in groups.unique():
        assert len(fold_of[groups == group].unique()) == 1
    sizes = fold_of.bincount()
    assert sizes.sum() == 200
    assert sizes.max() - sizes.min() <= groups.unique(return_counts=True)[1].max()
    assert torch.equal(fold_of, folds_of(groups, 5, seed=seed))
    assert not torch.equal(fold_of, folds_of(groups, 5, seed=seed + 1))


def test_there_must_be_as_many_groups_as_folds() -> None:
    with pytest.raises(ValueError, match='folds must be at most the 3 images'):
        folds_of(torch.tensor([1, 1, 2, 5]), 4, seed=0)


def easy_people(count: int = 60) -> People:
    """Return people whose activity is the sign of all of their coordinates."""
    activities = torch.arange(count) % 2
    noise = 0.1 * torch.randn(count, 68, generator=torch.Generator().manual_seed(1))
    return People(noise + activities[:, None] - 0.5, activities, torch.arange(count) // 3)


def test_what_can_be_learnt_is_learnt_and_everybody_is_judged_once() -> None:
    reports = CrossValidation(folds=4, epochs=20, batch_size=8).run(
        easy_people(), SMALL, ('still', 'moving')
    )
    assert len(reports) == 4
    assert sum(report.confusion.num_samples for report in reports) == 60
    assert sum(report.confusion.num_correct for report in reports) >= 58


def test_who_is_judged_was_not_learnt_from() -> None:
    """Labels have nothing to do with the poses: only a memory could know them."""
    generator = torch.Generator().manual_seed(3)
    poses, labels = (torch.randn(40, 68, generator=generator), torch.arange(40) * 7 % 5 % 2)
    unlearnable = People(poses, labels, torch.arange(40))
    reports = CrossValidation(folds=4, epochs=20, batch_size=8).run(
        unlearnable, SMALL, ('still', 'moving')
    )
    assert sum(report.confusion.num_correct for report in reports) < 32


def test_runs_of_one_seed_are_alike_and_leave_the_generator_alone() -> None:
    before = torch.get_rng_state()
    settings = CrossValidation(folds=2, epochs=2, batch_size=8)
    one, two = (settings.run(easy_people(), SMALL, ('still', 'moving')) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for first, second in zip(one, two):
        assert torch.equal(first.confusion.counts, second.confusion.counts)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'folds': 1}, 'folds must be at least 2, got 1'),
        ({'epochs': 0}, 'epochs must be at least 1, got 0'),
        ({'batch_size': 1}, 'batch_size must be at least 2, got 1'),
        ({'lr': 0.0}, 'lr must be positive, got 0.0'),
        ({'patience': -1}, 'patience must not be negative, got -1'),
    ],
)
def test_settings_are_checked(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        CrossValidation(**settings)


def test_people_come_from_samples_with_the_groups_of_the_data_set(toy_module) -> None:
    data = toy_module.ToyFrames('activity', 'val', num_images=4, size=(64, 96), history=2)
    people = gather_people(data, SMALL)
    counts = [len(data[i].activities) for i in range(4)]
    assert people.groups.tolist() == [i for i, count in enumerate(counts) for _ in range(count)]
    assert people.activities.tolist() == [a for i in range(4) for a in data[i].activities.tolist()]
    data.groups = lambda: [9, 9, 4, 4]
    assert set(gather_people(data, SMALL).groups.tolist()) == {4, 9}
    found = [
        FoundPoses(data[i].keypoints, data[i].boxes[:, -1], torch.arange(count) == 0)
        for i, count in enumerate(counts)
    ]
    firsts = [sum(counts[:i]) for i in range(4)]
    torch.testing.assert_close(gather_people(data, SMALL, found).poses, people.poses[firsts])
    nobody = [f._replace(is_found=torch.zeros_like(f.is_found)) for f in found]
    assert gather_people(data, SMALL, found).num_known == sum(counts)
    with pytest.raises(ValueError, match='nobody whose activity is known was found'):
        gather_people(data, SMALL, nobody)


@pytest.fixture
def checkpoint(frames_block, tmp_path) -> str:
    data = {'dataset': 'toy', 'train': {'num_images': 8}, 'val': {'num_images': 12}}
    frames_block['data'] = {'activity': data}
    # Of many boxes some are right by chance.
    many = {'max_candidates': 300, 'max_people': 100, 'nms_iou': 0.9}
    frames_block['network']['tasks']['person']['settings'] |= many
    config = from_mapping(NetworkConfig, frames_block['network'])
    torch.manual_seed(0)
    network = MultiTaskNetwork(config.with_labels({'activity': ('still', 'moving')}))
    final = network.heads['person'].head.classification_head.cls_logits
    torch.nn.init.normal_(final.weight, std=0.5)
    torch.nn.init.zeros_(final.bias)
    path = tmp_path / 'frames.safetensors'
    training = {'config': {'data': frames_block['data']}}
    save_checkpoint(path, network, metrics={}, training=training)
    return str(path)


def test_the_reported_means_are_those_of_the_folds(checkpoint, tmp_path, capsys) -> None:
    picture = tmp_path / 'confusion.png'
    command = ['crossvalidate', '--checkpoint', checkpoint, '--truth', '--folds', '3']
    command += ['--epochs', '2', '--picture', str(picture)]
    assert cli.main([*command, '--json']) == 0
    figures = json.loads(capsys.readouterr().out)
    assert len(figures['folds']) == 3
    assert (figures['split'], figures['samples']) == ('val', 12)
    assert figures['known'] >= figures['people']
    for name in ('accuracy', 'precision', 'recall', 'f1'):
        values = [fold[name] for fold in figures['folds']]
        assert figures['mean'][name]['mean'] == pytest.approx(statistics.mean(values))
        assert figures['mean'][name]['deviation'] == pytest.approx(statistics.stdev(values))
    counts = torch.tensor(figures['confusion'])
    assert counts.sum() == figures['people'] == sum(fold['people'] for fold in figures['folds'])
    right = sum(fold['accuracy'] * fold['people'] for fold in figures['folds'])
    assert counts.diagonal().sum() == pytest.approx(right)
    assert picture.stat().st_size > 1000
    assert cli.main(command) == 0
    printed = capsys.readouterr()
    assert ' ± ' in printed.out
    assert f'found {figures["people"]} of {figures["known"]} people' in printed.out
    assert 'warning' not in printed.err


def test_the_network_finds_the_poses_and_who_it_misses_is_counted(checkpoint, capsys) -> None:
    command = ['crossvalidate', '--checkpoint', checkpoint, '--folds', '2', '--epochs', '1']
    assert cli.main([*command, '--json']) == 0
    figures = json.loads(capsys.readouterr().out)
    assert 2 <= figures['people'] <= figures['known']
    assert cli.main([*command, '--truth', '--json']) == 0
    truth = json.loads(capsys.readouterr().out)
    assert truth['people'] == truth['known'] == figures['known']
    assert cli.main([*command, '--split', 'train']) == 0
    assert 'warning: --split train: the network was trained' in capsys.readouterr().err
    assert cli.main([*command, '--split', 'train', '--truth']) == 0
    assert 'warning' not in capsys.readouterr().err


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--task', 'pose'], "--task must be 'activity'"),
        (['--folds', '1'], 'folds must be at least 2'),
        (['--num-images', '0'], '--num-images must be positive'),
        (['--truth', '--folds', '20'], 'folds must be at most the 12'),
    ],
)
def test_wrong_options_say_what_is_wrong(checkpoint, capsys, options, message) -> None:
    assert cli.main(['crossvalidate', '--checkpoint', checkpoint, *options]) == 2
    assert message in capsys.readouterr().err
