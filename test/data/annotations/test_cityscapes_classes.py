"""The classes of Cityscapes, against the tables of its definition."""

from mtl_training.data.annotations.cityscapes_classes import (
    IGNORED,
    nineteen_classes,
    seven_classes,
)
import numpy as np

# Of the benchmark, by the ids 0 to 33: the number for training and the category.
TRAIN_IDS = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12]
TRAIN_IDS += [13, 14, 15, 255, 255, 16, 17, 18]
CATEGORIES = [0] * 7 + [1] * 4 + [2] * 6 + [3] * 4 + [4] * 2 + [5] + [6] * 2 + [7] * 8


def test_there_are_19_classes_in_the_order_of_the_benchmark() -> None:
    classes = nineteen_classes()
    assert classes.table[:34].tolist() == TRAIN_IDS
    assert (classes.table[34:] == IGNORED).all()  # -1, the plates, are 255
    assert classes.names == (
        'road',
        'sidewalk',
        'building',
        'wall',
        'fence',
        'pole',
        'traffic light',
        'traffic sign',
        'vegetation',
        'terrain',
        'sky',
        'person',
        'rider',
        'car',
        'truck',
        'bus',
        'train',
        'motorcycle',
        'bicycle',
    )


def test_the_7_groups_are_the_categories_of_the_benchmark() -> None:
    classes = seven_classes()
    expected = [IGNORED if category == 0 else category - 1 for category in CATEGORIES]
    assert classes.table[:34].tolist() == expected
    assert (classes.table[34:] == IGNORED).all()
    assert classes.names == ('flat', 'construction', 'object', 'nature', 'sky', 'human', 'vehicle')


def test_groups_without_what_is_not_scored_are_those_of_the_19_classes() -> None:
    classes = seven_classes(with_unscored=False)
    for label_id, train_id in enumerate(TRAIN_IDS):
        expected = IGNORED if train_id == 255 else CATEGORIES[label_id] - 1
        assert classes.table[label_id] == expected


def test_pixels_get_the_class_of_their_id() -> None:
    ids = np.array([[7, 24], [255, 9]], np.uint8)
    assert nineteen_classes()(ids).tolist() == [[0, 11], [255, 255]]
    assert seven_classes()(ids).tolist() == [[0, 5], [255, 0]]
