"""Labels that are wrong on purpose: how many, which, and that they stay wrong."""

import math

from mtl_training.config import build_config, DataConfig
from mtl_training.data.label_noise import NoisyLabels
from mtl_training.data.loading import build_dataset, build_datasets
from mtl_training.data.sample import ClipSample
import pytest
import torch

LABELS = ('left', 'still', 'right')


class Mirrored:
    """Samples that are mirrored at random, which swaps left and right."""

    task, labels = 'action', LABELS

    def __init__(self, num_samples: int = 50) -> None:
        self.right: list[int] = []
        self._num_samples = num_samples

    def __len__(self) -> int:
        return self._num_samples

    def __getitem__(self, index: int) -> ClipSample:
        label = index % 3
        if torch.rand(()) < 0.5:
            label = 2 - label
        self.right.append(label)
        return ClipSample(torch.zeros(1, 1, 1, 3, dtype=torch.uint8), label, index)


@pytest.mark.parametrize('share, count', [(0.4, 20), (0.01, 0), (0.05, 2), (0.99, 50)])
def test_exactly_the_share_is_wrong_and_nothing_else(share, count) -> None:
    dataset = Mirrored()
    noisy = NoisyLabels(dataset, share)
    assert int(noisy.corrupted.sum()) == count
    given = [noisy[index].label for index in range(len(noisy))]
    wrong = [label != right for label, right in zip(given, dataset.right)]
    assert wrong == noisy.corrupted.tolist()


def test_wrong_labels_stay_wrong_when_augmentation_changes_the_right_one() -> None:
    dataset = Mirrored()
    noisy = NoisyLabels(dataset, 0.5)
    index = int(noisy.corrupted.nonzero()[0])
    given = [noisy[index].label for _ in range(20)]
    assert all(label != right for label, right in zip(given, dataset.right))
    assert all(label in range(3) for label in given)


def test_every_other_label_is_given_about_as_often() -> None:
    dataset = Mirrored(3000)
    noisy = NoisyLabels(dataset, 0.5)
    given = [noisy[index].label for index in range(3000)]
    shifts = [(label - right) % 3 for label, right in zip(given, dataset.right)]
    assert shifts.count(1) + shifts.count(2) == 1500
    # Six standard deviations of a fair choice among 1500.
    assert abs(shifts.count(1) - 750) < 6 * math.sqrt(1500 / 4)


def test_the_seed_and_the_task_choose_the_samples() -> None:
    def chosen(seed: int, task: str) -> list[bool]:
        dataset = Mirrored()
        dataset.task = task
        return NoisyLabels(dataset, 0.4, seed=seed).corrupted.tolist()

    assert chosen(3, 'action') == chosen(3, 'action')
    assert chosen(3, 'action') != chosen(4, 'action')
    assert chosen(3, 'action') != chosen(3, 'gesture')


def test_only_the_training_split_of_the_named_task_is_noisy(toy_block) -> None:
    toy_block['data']['gesture'] |= {'label_noise': 0.25, 'label_noise_seed': 7}
    config = build_config(toy_block)
    noisy, clean = (build_datasets(config, split) for split in ('train', 'val'))
    assert isinstance(noisy['gesture'], NoisyLabels)
    assert int(noisy['gesture'].corrupted.sum()) == 6
    for dataset in (noisy['action'], *clean.values()):
        labels = [dataset[index].label for index in range(len(dataset))]
        assert labels == [index % 3 for index in range(len(dataset))]


def test_rendered_clips_tell_their_scene_and_what_is_performed(toy_block) -> None:
    config = build_config(toy_block)
    settings = {'num_clips': 4}
    dataset = build_dataset(
        'gesture', DataConfig(dataset='synthetic', settings=settings, label_noise=0.5), 'train',
        config.network,
    )  # fmt: skip
    for index in range(4):
        number, performed = dataset.describe(index).removeprefix('scene ').split(', ')
        assert int(number) == dataset.dataset.scene(index).seed
        assert (dataset.labels[dataset[index].label] != performed) == dataset.corrupted[index]


def test_data_that_does_not_know_where_it_came_from_says_nothing() -> None:
    assert NoisyLabels(Mirrored(), 0.4).describe(0) == ''


@pytest.mark.parametrize('share', [1.0, -0.1, math.nan])
def test_a_share_that_leaves_no_right_label_is_refused(share) -> None:
    with pytest.raises(ValueError, match=rf'label_noise must lie in \[0, 1\), got {share}'):
        DataConfig(dataset='toy', label_noise=share)


def test_a_seed_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r'label_noise_seed must be at least 0, got -1'):
        DataConfig(dataset='toy', label_noise_seed=-1)


def test_one_label_alone_cannot_be_wrong() -> None:
    single = Mirrored()
    single.labels = ('only',)
    with pytest.raises(ValueError, match=r"label_noise of task 'action' needs another label"):
        NoisyLabels(single, 0.5)
