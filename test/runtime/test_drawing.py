"""Drawings of people: where pixels change, in which colours, and that nothing breaks them."""

from __future__ import annotations

from mtl_perception.network.pose.skeleton import LIMBS
from mtl_perception.runtime.drawing import draw_labels, draw_people, LEFT, PersonView, RIGHT
import numpy as np
import pytest

GREY = 90


def person(*, track_id: str = 'abcde', activity: str = 'walking') -> PersonView:
    joints = np.full((17, 3), np.nan)
    joints[5], joints[7] = (120, 120, 1), (120, 180, 1)  # left shoulder and elbow
    joints[6], joints[8] = (220, 120, 1), (220, 180, 1)  # right ones
    return PersonView(track_id, np.array([80.0, 60, 260, 220]), joints, activity, 0.87)


def canvas(height: int = 240, width: int = 320) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


@pytest.mark.parametrize('is_bgr', [False, True])
def test_limbs_have_the_colour_of_their_side(is_bgr: bool) -> None:
    image = canvas(720, 960)  # limbs 3 pixels wide: only their edges are mixed with the ground
    draw_people(image, [person()], is_bgr=is_bgr)
    shown = image[..., ::-1] if is_bgr else image
    assert (5, 7) in LIMBS
    np.testing.assert_array_equal(shown[150, 120], LEFT)
    np.testing.assert_array_equal(shown[150, 220], RIGHT)
    assert (shown[140, 60] == GREY).all()  # beside the person


def test_limbs_to_missing_joints_are_not_drawn() -> None:
    image = canvas()
    draw_people(image, [person(activity='')])
    assert (image[200, 100:240] == GREY).all()


def test_the_caption_covers_what_the_box_shows_least() -> None:
    image = canvas()
    draw_people(image, [person()])
    assert (image[48:58, 82:110] != GREY).any()
    longer = canvas()
    draw_people(longer, [person(activity='standing_on_one_leg')])
    assert (longer[:60] != GREY).sum() > (image[:60] != GREY).sum()


def test_a_track_keeps_its_colour() -> None:
    images = [canvas(), canvas(), canvas()]
    for image, track_id in zip(images, ('abcde', 'abcde', 'zzzzz')):
        draw_people(image, [person(track_id=track_id, activity='')])
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0][140, 80] != images[2][140, 80]).any()


@pytest.mark.parametrize('size', [(1, 1), (20, 30), (240, 320), (720, 1280), (2160, 3840)])
@pytest.mark.parametrize('far', [0.0, -1e9, 1e9, 3.4e38])
def test_people_anywhere_are_drawn_in_images_of_any_size(
    size: tuple[int, int], far: float
) -> None:
    image = canvas(*size)
    away = PersonView('abcde', np.array([far, far, far + 10, far + 10]), np.full((17, 3), far))
    draw_people(image, [away, person()])
    draw_labels(image, ['action: walk 87%'] * 3)
    assert (image != GREY).any()


def test_nobody_and_no_lines_leave_the_image_alone() -> None:
    image = canvas()
    draw_people(image, [])
    draw_labels(image, [])
    assert (image == GREY).all()


def test_captions_of_people_in_one_place_do_not_cover_each_other() -> None:
    one, both = canvas(), canvas()
    draw_people(one, [person(track_id='zzzzz')])
    draw_people(both, [person(track_id='abcde'), person(track_id='zzzzz')])
    # The second caption lies below the first instead of over it.
    assert (both[62:72, 84:130] != one[62:72, 84:130]).any()


def test_a_line_that_is_too_wide_goes_on_in_the_next_row() -> None:
    wide, rows = canvas(240, 200), canvas(240, 200)
    words = ['somebody', 'sits', 'down', 'on', 'a', 'chair', 'in', 'front', 'of', 'us']
    draw_labels(wide, [' '.join(words)])
    draw_labels(rows, [' '.join(words[:5]), ' '.join(words[5:])])
    tops = [int((image != GREY).any((1, 2)).argmax()) for image in (wide, rows)]
    assert tops[0] == tops[1]  # as high as two lines
    draw_labels(wide, ['w' * 500])  # has no place to be broken at


def test_labels_stand_in_the_lower_left_corner() -> None:
    image = canvas()
    draw_labels(image, ['action: walk 87%', 'gesture: wave 64%'])
    assert (image[:190] == GREY).all()
    assert (image[235, :100] == GREY // 4).any()
