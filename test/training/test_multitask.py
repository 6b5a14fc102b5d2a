"""The product data set: order, places of draws, processes."""

from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.config import build_config
from mtl_training.data.loading import (
    build_dataset,
    build_datasets,
    build_task_datasets,
    evaluation_batches,
    training_batches,
)
from mtl_training.data.multitask import EndlessPermutation, MultiTaskSampler
import pytest
import torch

LENGTHS = {'action': 10, 'gesture': 3}


def draw(count, *, tasks_at=lambda i: ('action', 'gesture'), **settings):
    sampler = MultiTaskSampler(LENGTHS, 4, tasks_at=tasks_at, seed=5, **settings)
    return list(islice(sampler, count))


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_every_pass_is_a_permutation_and_no_two_tasks_share_it(length, seed) -> None:
    sequence = EndlessPermutation(length, seed=seed, task='action')
    for epoch in range(3):
        places = range(epoch * length, (epoch + 1) * length)
        assert sorted(sequence[place] for place in places) == list(range(length))
    if length > 12:
        other = EndlessPermutation(length, seed=seed, task='gesture')
        assert [sequence[i] for i in range(length)] != [other[i] for i in range(length)]


def test_a_batch_holds_every_task_and_small_sets_wrap_around() -> None:
    keys = [key for batch in draw(3) for key in batch]
    gestures = [key.index for key in keys if key.task == 'gesture']
    assert len(gestures) == 12
    assert sorted(gestures) == sorted([*range(3)] * 4)


@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 20))
def test_a_sampler_that_starts_later_draws_the_rest(start) -> None:
    assert draw(5, start=start) == draw(start + 5)[start:]


def test_a_task_that_pauses_keeps_its_place() -> None:
    taking_turns = draw(6, tasks_at=lambda i: ('action', 'gesture')[i % 2 :][:1])
    places = [key.position for batch in taking_turns[::2] for key in batch]
    assert places == list(range(12))
    assert (
        draw(2, tasks_at=lambda i: ('action', 'gesture')[i % 2 :][:1], start=4)
        == (taking_turns[4:])
    )


def test_processes_share_a_batch_without_overlap() -> None:
    whole = draw(3)
    parts = [draw(3, rank=rank, world_size=2) for rank in range(2)]
    for batch, *shares in zip(whole, *parts):
        assert sorted(batch) == sorted(key for share in shares for key in share)


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r'multiple of the 3 processes, got 4'):
        draw(1, rank=0, world_size=3)


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"task 'x' must not be empty"):
        EndlessPermutation(0, seed=0, task='x')


def batches_of(block, count, **settings):
    config = build_config(block)
    datasets = build_datasets(config, 'train')
    stream = training_batches(
        datasets, config, tasks_at=lambda i: ('action', 'gesture'), **settings
    )
    return list(islice(stream, count))


def test_what_is_drawn_depends_on_neither_workers_nor_interruptions(toy_block) -> None:
    whole = batches_of(toy_block, 4)
    torch.manual_seed(1234)
    toy_block['workers'] = 2
    resumed = batches_of(toy_block, 2, start=2)
    for expected, got in zip(whole[2:], resumed):
        assert list(expected) == list(got) == ['action', 'gesture']
        for task in expected:
            assert all(torch.equal(a, b) for a, b in zip(expected[task], got[task]))


def test_drawing_leaves_the_global_generator_alone(toy_block) -> None:
    before = torch.get_rng_state()
    batches_of(toy_block, 1)
    assert torch.equal(before, torch.get_rng_state())


def test_evaluation_sees_the_same_clips_every_time(toy_block) -> None:
    dataset = build_datasets(build_config(toy_block), 'val')['action']
    first, again = ([*evaluation_batches(dataset, size)] for size in (5, 12))
    assert [len(batch.labels) for batch in first] == [5, 5, 2]
    assert torch.equal(torch.cat([batch.frames for batch in first]), again[0].frames)
    assert again[0].indices.tolist() == list(range(12))


def test_an_unknown_setting_or_data_set_gets_the_nearest_name(toy_block) -> None:
    toy_block['data']['action']['train'] = {'num_clip': 3}
    with pytest.raises(ValueError, match=r"'action' has no setting 'num_clip'. .*'num_clips'"):
        batches_of(toy_block, 1)
    toy_block['data']['action'] = {'dataset': 'toyy'}
    with pytest.raises(ValueError, match=r"Unknown dataset 'toyy'. Did you mean 'toy'"):
        batches_of(toy_block, 1)


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('images', [0, 1, 2])
def test_the_number_of_frames_that_is_asked_for_wins(frames_block, split, images) -> None:
    config = build_config(frames_block)
    data = config.data['activity']
    dataset = build_dataset('activity', data, split, config.network, images=images)
    assert len(dataset[0].images) == images
    assert dataset[0].keypoints.shape[1] == 2


def test_poses_are_learnt_without_pixels_and_judged_with_them(frames_block) -> None:
    config = build_config(frames_block)
    learnt = build_datasets(config, 'train')
    assert {task: len(learnt[task][0].images) for task in learnt} == {
        'person': 1, 'keypoints': 1, 'pose': 0, 'activity': 0
    }  # fmt: skip
    for split in ('train', 'val'):
        judged = build_task_datasets(config.network, config.data, split)
        assert len({id(data.shared) for data in judged.values()}) == 1
        assert len(judged['activity'][0].images) == 2
