"""Tests of :mod:`mtl_perception.network.preprocessing`; the oracle is Pillow."""

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.network import FramePreprocessor, PreprocessingConfig
from mtl_perception.network.preprocessing import _resample_float, _resample_uint8
import numpy as np
from PIL import Image
import pytest
import torch
from torch import Tensor

sides = st.integers(1, 90)
seeds = st.integers(0, 9)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Return an image with edges and noise, ``uint8 [1, H, W, 3]``."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (-(-height // 7), -(-width // 5), 3), np.uint8)
    pixels = np.kron(blocks, np.ones((7, 5, 1), np.uint8))[:height, :width]
    noise = rng.integers(-9, 10, pixels.shape)
    return torch.from_numpy(np.clip(pixels + noise, 0, 255).astype(np.uint8)[None])


def pillow(frame: Tensor, size: tuple[int, int], box: tuple[int, int, int, int]) -> Tensor:
    """Return what Pillow makes of the box (top, left, height, width), ``[3, h, w]``."""
    top, left, height, width = box
    window = frame[0, top : top + height, left : left + width].numpy()
    resized = Image.fromarray(window).resize(size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """Assert that no pixel differs by more than one step of 255."""
    torch.testing.assert_close(actual.int(), expected.int(), atol=1, rtol=0)


@settings(deadline=None, max_examples=60)
@given(height=sides, width=sides, size=st.tuples(sides, sides), seed=st.integers(0, 9))
def test_stretching_is_that_of_pillow(
    height: int, width: int, size: tuple[int, int], seed: int
) -> None:
    frame = picture(height, width, seed)
    resized = FramePreprocessor(PreprocessingConfig(resize=size, fit='stretch')).resize(frame)
    assert resized.dtype == torch.uint8
    assert_near(resized[0], pillow(frame, size, (0, 0, height, width)))


@settings(deadline=None, max_examples=60)
# PyTorch 2.15 resamples planar floats to a width of one pixel wrongly on the CPU: not drawn.
@given(
    height=sides, width=sides, size=st.tuples(sides, st.integers(2, 90)), seed=st.integers(0, 9)
)
def test_integer_and_float_resampling_agree(
    height: int, width: int, size: tuple[int, int], seed: int
) -> None:
    images = picture(height, width, seed).permute(0, 3, 1, 2)
    assert_near(_resample_uint8(images, size), _resample_float(images, size))


@pytest.mark.parametrize(
    'shape, window',
    [
        ((60, 100), (0, 10, 60, 80)),  # too wide: columns go
        ((90, 80), (15, 0, 60, 80)),  # too tall: rows go
        ((60, 80), (0, 0, 60, 80)),
        ((600, 800), (0, 0, 600, 800)),
        ((2, 99), (0, 48, 2, 3)),
    ],
)
def test_cropping_cuts_the_largest_centred_window_of_the_aspect(
    shape: tuple[int, int], window: tuple[int, int, int, int]
) -> None:
    frame = picture(*shape)
    resized = FramePreprocessor(PreprocessingConfig(resize=(30, 40))).resize(frame)
    assert_near(resized[0], pillow(frame, (30, 40), window))


@pytest.mark.parametrize(
    'shape, box',
    [
        ((60, 160), (7, 0, 15, 40)),  # bars above and below
        ((90, 60), (0, 10, 30, 20)),  # bars at the sides
        ((60, 80), (0, 0, 30, 40)),
        ((1, 900), (14, 0, 1, 40)),
    ],
)
def test_padding_keeps_the_whole_image_and_fills_with_the_mean(
    shape: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    top, left, height, width = box
    frame = picture(*shape)
    processor = FramePreprocessor(
        PreprocessingConfig(resize=(30, 40), fit='pad', mean=(0.2, 0.4, 0.6))
    )
    padded = processor.resize(frame)
    inner = padded[0, :, top : top + height, left : left + width]
    assert_near(inner, pillow(frame, (height, width), (0, 0, *shape)))
    outside = torch.ones(30, 40, dtype=torch.bool)
    outside[top : top + height, left : left + width] = False
    expected = torch.tensor([51, 102, 153]).view(3, 1).expand(-1, int(outside.sum()))
    assert torch.equal(padded[0][:, outside].long(), expected)
    assert processor(frame)[0][:, outside].abs().sum() < 1e-2, 'bars are zeros once normalised'


@settings(deadline=None, max_examples=60)
@given(
    height=sides,
    width=sides,
    size=st.tuples(sides, sides),
    fit=st.sampled_from(['crop', 'pad', 'stretch']),
)
def test_any_image_gets_the_size_of_the_network(
    height: int, width: int, size: tuple[int, int], fit: str
) -> None:
    config = PreprocessingConfig(resize=size, fit=fit, crop=(1 + size[0] // 2, size[1]))
    output = FramePreprocessor(config)(picture(height, width))
    assert output.shape == (1, 3, *config.size)
    assert output.isfinite().all()


def blob(height: int, width: int, x: float, y: float, sigma: float) -> Tensor:
    """Return a white Gaussian on black, ``uint8 [1, H, W, 3]``."""
    along, down = torch.arange(width) - x, torch.arange(height) - y
    wave = torch.exp(-(along.square() + down.square()[:, None]) / (2 * sigma**2))
    return (255 * wave).round().to(torch.uint8)[None, ..., None].expand(-1, -1, -1, 3)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(60, 140), st.integers(60, 140)),
    resize=st.tuples(st.integers(60, 140), st.integers(60, 140)),
    cut=st.tuples(st.integers(0, 20), st.integers(0, 20)) | st.none(),
    fit=st.sampled_from(['crop', 'pad', 'stretch']),
    place=st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
)
def test_the_transform_says_where_a_pixel_lands(
    shape: tuple[int, int],
    resize: tuple[int, int],
    cut: tuple[int, int] | None,
    fit: str,
    place: tuple[float, float],
) -> None:
    crop = None if cut is None else (resize[0] - cut[0], resize[1] - cut[1])
    # Bars in black: they must not count as a part of the blob.
    config = PreprocessingConfig(resize=resize, crop=crop, fit=fit, mean=(0.0, 0.0, 0.0))
    processor = FramePreprocessor(config)
    centre = torch.tensor([place[0] * shape[1], place[1] * shape[0]], dtype=torch.float64)
    pixels = processor.resize(blob(*shape, *centre.tolist(), sigma=3.0))[0, 0].double()
    mapping = processor.transform(shape)
    assert mapping.dtype == torch.float64
    x, y = mapping[:, :2] @ centre + mapping[:, 2]
    height, width = config.size
    if not (12 < x < width - 12 and 12 < y < height - 12):
        return  # what is cut off has another centre
    mass = pixels.sum()
    found_x = (pixels.sum(0) * torch.arange(width)).sum() / mass
    found_y = (pixels.sum(1) * torch.arange(height)).sum() / mass
    assert abs(found_x - x) < 0.1
    assert abs(found_y - y) < 0.1


@pytest.mark.parametrize('fit', ['crop', 'pad', 'stretch'])
def test_an_image_of_the_right_size_stays_where_it_is(fit: str) -> None:
    config = PreprocessingConfig(resize=(30, 40), fit=fit)
    expected = torch.tensor([[1.0, 0, 0], [0, 1, 0]], dtype=torch.float64)
    assert torch.equal(FramePreprocessor(config).transform((30, 40)), expected)


@settings(deadline=None, max_examples=60)
@given(
    height=sides,
    width=sides,
    size=st.tuples(sides, sides),
    fit=st.sampled_from(['pad', 'stretch']),
)
def test_no_corner_of_a_fitted_image_is_lost(
    height: int, width: int, size: tuple[int, int], fit: str
) -> None:
    processor = FramePreprocessor(PreprocessingConfig(resize=size, fit=fit))
    mapping = processor.transform((height, width))
    corners = torch.tensor([[-0.5, -0.5], [width - 0.5, height - 0.5]], dtype=torch.float64)
    low, high = corners @ mapping[:, :2].T + mapping[:, 2]
    limits = torch.tensor([size[1], size[0]], dtype=torch.float64) - 0.5
    assert (low >= -0.5 - 1e-6).all()
    assert (high <= limits + 1e-6).all()
    if fit == 'stretch':
        torch.testing.assert_close(high, limits)


def test_the_centre_crop_follows_the_resize() -> None:
    frame = picture(50, 70)
    whole = FramePreprocessor(PreprocessingConfig(resize=(20, 30))).resize(frame)
    cut = FramePreprocessor(PreprocessingConfig(resize=(20, 30), crop=(10, 16))).resize(frame)
    assert torch.equal(cut, whole[:, :, 5:15, 7:23])


@pytest.mark.parametrize('fit', ['crop', 'pad', 'stretch'])
def test_an_image_of_the_right_size_is_not_copied(fit: str) -> None:
    frame = picture(30, 40)
    resized = FramePreprocessor(PreprocessingConfig(resize=(30, 40), fit=fit)).resize(frame)
    assert resized.data_ptr() == frame.data_ptr()
    assert torch.equal(resized, frame.permute(0, 3, 1, 2))


def test_a_window_of_the_right_size_is_a_view() -> None:
    frame = picture(30, 60)
    resized = FramePreprocessor(PreprocessingConfig(resize=(30, 40))).resize(frame)
    assert resized.data_ptr() == frame[:, :, 10:].data_ptr()


@pytest.mark.parametrize('fit', ['crop', 'pad', 'stretch'])
@pytest.mark.filterwarnings('ignore:The given NumPy array is not writable')
def test_read_only_images_with_padded_rows_are_taken(fit: str) -> None:
    frame = picture(48, 70)
    rows = np.full((48, 70 * 3 + 5), 255, np.uint8)
    rows[:, : 70 * 3] = frame[0].numpy().reshape(48, -1)
    buffer = np.frombuffer(rows.tobytes(), np.uint8)  # read-only, as a message's data is
    view = np.lib.stride_tricks.as_strided(buffer, (48, 70, 3), (215, 3, 1), writeable=False)
    processor = FramePreprocessor(PreprocessingConfig(resize=(20, 20), fit=fit))
    assert torch.equal(processor.resize(torch.from_numpy(view)[None]), processor.resize(frame))
    assert buffer.tobytes() == rows.tobytes()


def test_frames_of_a_batch_do_not_mix() -> None:
    frames = torch.cat([picture(33, 47, seed) for seed in range(4)])
    processor = FramePreprocessor(PreprocessingConfig(resize=(16, 16)))
    together = processor.resize(frames)
    for i in range(4):
        assert torch.equal(together[i], processor.resize(frames[i : i + 1])[0])


def test_normalising_is_the_textbook_formula() -> None:
    config = PreprocessingConfig(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    images = picture(9, 8).permute(0, 3, 1, 2)
    mean, std = torch.tensor(config.mean), torch.tensor(config.std)
    expected = (images / 255.0 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    normalised = FramePreprocessor(config).normalise(images)
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised, expected)


def test_clips_are_their_frames_one_by_one() -> None:
    processor = FramePreprocessor(PreprocessingConfig(resize=(12, 16)))
    frames = torch.stack([picture(30, 31, seed) for seed in range(6)]).view(2, 3, 30, 31, 3)
    clips = processor.clips(frames)
    assert clips.shape == (2, 3, 3, 12, 16)
    assert clips.is_contiguous()
    for b in range(2):
        torch.testing.assert_close(clips[b].transpose(0, 1), processor(frames[b]))


def test_nothing_of_it_enters_a_state_dict() -> None:
    assert not FramePreprocessor(PreprocessingConfig()).state_dict()


@pytest.mark.parametrize(
    'frames',
    [
        torch.zeros(1, 4, 4, 3),
        torch.zeros(4, 4, 3, dtype=torch.uint8),
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
    ],
    ids=['float', 'no batch', 'channels first'],
)
def test_another_layout_is_refused(frames: Tensor) -> None:
    with pytest.raises(ValueError, match=r'frames must be uint8 \[N, H, W, 3\], got torch\.'):
        FramePreprocessor(PreprocessingConfig()).resize(frames)


def test_images_without_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match=r'frames must have pixels, got \(1, 0, 4, 3\)'):
        FramePreprocessor(PreprocessingConfig()).resize(torch.zeros(1, 0, 4, 3, dtype=torch.uint8))


def test_clips_without_a_time_axis_are_refused() -> None:
    with pytest.raises(ValueError, match=r'frames must be \[B, T, H, W, 3\], got \(1, 4, 4, 3\)'):
        FramePreprocessor(PreprocessingConfig()).clips(torch.zeros(1, 4, 4, 3, dtype=torch.uint8))
