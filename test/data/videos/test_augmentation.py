"""Random changes to a whole clip, all of its frames alike."""

import colorsys
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.data.videos.augmentation import ClipAugmentation, colour_matrix, cut, LUMA
import numpy as np
import pytest

STILL = {'brightness': 0.0, 'contrast': 0.0, 'saturation': 0.0, 'hue': 0.0, 'mirror': 0.0}
PLAIN = {'brightness': 1.0, 'contrast': 1.0, 'saturation': 1.0, 'hue': 0.0, 'mean': 100.0}


def noise(num_frames: int = 4, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_frames, *size, 3), np.uint8)


@given(
    st.integers(0, 1000),
    st.sampled_from([None, (20, 20), (24, 32), (7, 30)]),
    st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(lambda pair: tuple(sorted(pair))),
)
@settings(max_examples=150, deadline=None)
def test_all_frames_are_changed_alike(
    seed: int, crop: tuple[int, int] | None, scale: tuple[float, float]
) -> None:
    frames = np.repeat(noise(1), 3, axis=0)
    random.seed(seed)
    changed, _ = ClipAugmentation(scale)(frames, crop=crop, may_mirror=True)
    assert changed.shape == frames.shape
    assert changed.dtype == np.uint8
    assert (changed == changed[:1]).all()


def test_without_changes_a_clip_stays_as_it_is() -> None:
    frames = noise()
    changed, is_mirrored = ClipAugmentation((1.0, 1.0), **STILL)(
        frames, crop=None, may_mirror=True
    )
    assert (changed == frames).all()
    assert not is_mirrored


def test_the_same_seed_gives_the_same_clip_and_another_seed_another() -> None:
    clips = []
    for seed in (1, 1, 2):
        random.seed(seed)
        clips.append(ClipAugmentation()(noise(), crop=None, may_mirror=True)[0])
    assert (clips[0] == clips[1]).all()
    assert (clips[0] != clips[2]).any()


def test_a_mirrored_clip_is_the_mirror_image_and_only_where_it_may_be() -> None:
    frames = noise()
    always = ClipAugmentation((1.0, 1.0), **{**STILL, 'mirror': 1.0})
    changed, is_mirrored = always(frames, crop=None, may_mirror=True)
    assert is_mirrored
    assert (changed == frames[:, :, ::-1]).all()
    changed, is_mirrored = always(frames, crop=None, may_mirror=False)
    assert not is_mirrored
    assert (changed == frames).all()


@given(st.integers(0, 10_000), st.floats(0.05, 1.0))
@settings(max_examples=150, deadline=None)
def test_what_the_network_sees_is_a_window_of_its_aspect_within_the_video(
    seed: int, area: float
) -> None:
    # Of a picture that is its own map, what the network sees tells where it was cut.
    height, width, crop = 128, 171, (112, 112)
    rows, columns = np.mgrid[:height, :width]
    frames = np.stack([rows, columns, 0 * rows], axis=-1)[None].astype(np.uint8)
    random.seed(seed)
    augmentation = ClipAugmentation((area, area), **STILL)
    changed, _ = augmentation(frames, crop=crop, may_mirror=False)
    top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
    seen = changed[0, top : top + crop[0], left : left + crop[1]].astype(int)
    spans = [np.ptp(seen[..., axis]) + 1 for axis in range(2)]
    # 128 pixels are the largest square; the window is a share of its area.
    assert spans[0] == pytest.approx(128 * area**0.5, abs=3)
    assert spans[1] == pytest.approx(128 * area**0.5, abs=3)


def test_windows_reach_all_borders() -> None:
    rows, columns = np.mgrid[:24, :32]
    frames = np.stack([rows, columns, 0 * rows], axis=-1)[None].astype(np.uint8)
    augmentation = ClipAugmentation((0.3, 0.3), **STILL)
    seen = [augmentation(frames, crop=None, may_mirror=False)[0] for _ in range(200)]
    assert min(frame[..., 0].min() for frame in seen) <= 1
    assert max(frame[..., 0].max() for frame in seen) >= 22
    assert min(frame[..., 1].min() for frame in seen) <= 1
    assert max(frame[..., 1].max() for frame in seen) >= 30


def test_a_window_is_cut_as_a_loop_over_frames_would() -> None:
    frames = noise(3, (10, 12))
    window = cut(frames, (2, 12), (-3, 9), is_mirrored=True)
    for frame, whole in zip(window, frames):
        for row in range(10):
            for column in range(12):
                source = whole[min(row + 2, 9), max(0, 11 - column - 3)]
                assert (frame[row, column] == source).all()


def test_light_and_colour_by_hand() -> None:
    def of(**changes: float) -> np.ndarray:
        colour = np.array([200.0, 100.0, 50.0, 1.0])
        return colour_matrix(**{**PLAIN, **changes}) @ colour

    np.testing.assert_allclose(of(), [200, 100, 50])
    np.testing.assert_allclose(of(brightness=0.5), [100, 50, 25])
    np.testing.assert_allclose(of(contrast=0.5), [150, 100, 75])
    grey = np.array([200.0, 100.0, 50.0]) @ LUMA
    np.testing.assert_allclose(of(saturation=0.0), [grey] * 3, rtol=1e-2)
    # A third of a turn brings red near to green or blue, and back after three of them.
    third = colour_matrix(**{**PLAIN, 'hue': 1 / 3})[:, :3]
    np.testing.assert_allclose(third @ third @ third, np.eye(3), atol=1e-9)
    hue = colorsys.rgb_to_hsv(*(third @ [200.0, 100.0, 50.0] / 255))[0]
    assert abs(hue - colorsys.rgb_to_hsv(200 / 255, 100 / 255, 50 / 255)[0]) > 0.25
    np.testing.assert_allclose((third @ [80.0, 80.0, 80.0]), [80] * 3, rtol=2e-2)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'scale': (0.0, 1.0)}, r'crop_scale must be two ascending shares .*\[0.0, 1.0\]'),
        ({'scale': (0.9, 0.5)}, 'crop_scale'),
        ({'brightness': 1.5}, 'brightness must be from 0 to 1, got 1.5'),
        ({'hue': 0.6}, 'hue must be from 0 to 0.5'),
        ({'mirror': -0.1}, 'mirror must be from 0 to 1'),
    ],
)
def test_strengths_out_of_range_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipAugmentation(**changes)
