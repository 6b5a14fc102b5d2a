"""Every encoding against pixels known beforehand, and everything that can be wrong with one."""

from __future__ import annotations

import array
import struct
import warnings
import zlib

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
from image_messages import (
    ENCODERS,
    EXACT,
    GREY,
    image_msg,
    random_grey,
    random_rgb,
    SMOOTH,
    smooth_rgb,
)
from mtl_perception.ros.cdr import ImageError
from mtl_perception.ros.compressed import MAX_PIXELS
from mtl_perception.ros.images import ENCODINGS, picture_from_compressed, picture_from_image
from mtl_perception.runtime.picture import Picture
import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
import torch


def rgb_of(picture: Picture) -> np.ndarray:
    return picture.pixels[..., ::-1] if picture.is_bgr else picture.pixels


def read(message: Image) -> np.ndarray:
    return rgb_of(picture_from_image(serialize_message(message))[1])


@pytest.mark.parametrize('padding', [0, 1, 13])
@pytest.mark.parametrize('encoding', sorted(EXACT))
def test_an_encoding_gives_the_pixels(encoding: str, padding: int) -> None:
    rgb = random_rgb()
    np.testing.assert_array_equal(read(image_msg(rgb, encoding, padding=padding)), rgb)


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('encoding', sorted(GREY))
def test_an_encoding_without_colour_gives_grey(encoding: str, padding: int) -> None:
    grey = random_grey()
    np.testing.assert_array_equal(read(image_msg(grey, encoding, padding=padding)), grey)


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('encoding', sorted(SMOOTH))
def test_an_encoding_that_shares_colours_is_close(encoding: str, padding: int) -> None:
    rgb = smooth_rgb()
    found = read(image_msg(rgb, encoding, padding=padding)).astype(int)
    # Within one pixel of the border a mosaic has too few neighbours.
    inside = np.abs(found - rgb)[2:-2, 2:-2]
    assert inside.max() <= 6


def test_every_encoding_is_tested() -> None:
    assert set(ENCODERS) | {'nv21'} == set(ENCODINGS)


def test_the_high_byte_of_a_big_endian_value_comes_first() -> None:
    rgb = random_rgb()
    message = image_msg(rgb, 'rgb16')
    message.data = array.array('B', np.frombuffer(message.data, '>u2').astype('<u2').tobytes())
    message.is_bigendian = 1
    np.testing.assert_array_equal(read(message), rgb)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8'])
@pytest.mark.parametrize('padding', [0, 7])
def test_common_encodings_are_views_that_torch_takes_quietly(encoding: str, padding: int) -> None:
    serialised = serialize_message(image_msg(random_rgb(), encoding, padding=padding))
    _, picture = picture_from_image(serialised)
    assert np.shares_memory(picture.pixels, np.frombuffer(serialised, np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        torch.from_numpy(picture.pixels)


def damaged(**changes: object) -> Image:
    message = image_msg(random_rgb())
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ('message', 'kind', 'match'),
    [
        (damaged(height=0), 'empty', r'must have pixels, got 64x0'),
        (damaged(width=0), 'empty', r'must have pixels, got 0x48'),
        (damaged(step=191), 'row_step', r'at least 192 for 64 pixels of rgb8, got 191'),
        (damaged(step=0), 'row_step', r'got 0'),
        (damaged(width=2**32 - 1), 'row_step', r'at least 12884901885'),
        (damaged(height=2**32 - 1), 'data_size', r'needs 824633720640 bytes of data, got 9216'),
        (damaged(step=193), 'data_size', r'step 193 needs 9264 bytes of data, got 9216'),
        (damaged(data=array.array('B', bytes(9215))), 'data_size', r'got 9215'),
        (damaged(data=array.array('B', bytes(9217))), 'data_size', r'got 9217'),
        (damaged(data=array.array('B')), 'data_size', r'got 0'),
        (damaged(encoding='32FC1'), 'encoding', r"'32FC1' is not one of rgb8, bgr8"),
        (damaged(encoding='16UC1'), 'encoding', r"'16UC1' is not one of"),
        (damaged(encoding=''), 'encoding', r"'' is not one of"),
        (damaged(encoding='RGB8'), 'encoding', r"'RGB8' is not one of"),
        (damaged(encoding='yuv422', width=63), 'odd_size', r'yuv422 shares .* got 63x48'),
        (damaged(encoding='nv12', height=47), 'odd_size', r'nv12 shares .* got 64x47'),
    ],
)
def test_a_message_that_contradicts_itself_is_refused(
    message: Image, kind: str, match: str
) -> None:
    with pytest.raises(ImageError, match=match) as caught:
        picture_from_image(serialize_message(message))
    assert caught.value.kind == kind


SIZES = st.integers(0, 70)


@given(
    height=SIZES,
    width=SIZES,
    step=st.integers(0, 300),
    size=st.integers(0, 9000),
    encoding=st.sampled_from([*ENCODINGS, 'unknown']),
    is_fitting=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_any_sizes_give_a_picture_or_an_error(
    height: int, width: int, step: int, size: int, encoding: str, is_fitting: bool
) -> None:
    message = Image(height=height, width=width, step=step, encoding=encoding)
    if is_fitting:
        factor = 1.5 if encoding.startswith('nv') else 1
        size = int(height * factor) * step
    message.data = array.array('B', bytes(size))
    try:
        picture = picture_from_image(serialize_message(message))[1]
    except ImageError:
        return
    assert picture.pixels.shape == (height, width, 3)
    assert picture.pixels.dtype == np.uint8
    picture.pixels.sum()  # touches all of it


def compressed(data: bytes, image_format: str = 'jpeg') -> bytes:
    return serialize_message(CompressedImage(format=image_format, data=array.array('B', data)))


def encoded(extension: str, rgb: np.ndarray, *settings: int) -> bytes:
    return cv2.imencode(extension, np.ascontiguousarray(rgb[..., ::-1]), settings)[1].tobytes()


def decoded(data: bytes) -> np.ndarray:
    return rgb_of(picture_from_compressed(compressed(data))[1])


def test_a_png_gives_the_pixels() -> None:
    rgb = random_rgb()
    np.testing.assert_array_equal(decoded(encoded('.png', rgb)), rgb)


@pytest.mark.parametrize('settings', [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)], ids=str)
@pytest.mark.parametrize('tail', [b'', bytes(300)], ids=['', 'zeros after it'])
def test_a_jpeg_is_close(settings: tuple[int, ...], tail: bytes) -> None:
    rgb = smooth_rgb()
    found = decoded(encoded('.jpg', rgb, *settings) + tail).astype(int)
    assert np.abs(found - rgb).mean() < 3


def test_a_grey_jpeg_gives_grey() -> None:
    data = cv2.imencode('.jpg', smooth_rgb()[..., 0])[1].tobytes()
    found = decoded(data)
    assert found.shape == (48, 64, 3)
    assert (found == found[..., :1]).all()


@given(st.floats(0, 1, exclude_max=True), st.sampled_from(['.jpg', '.png']))
@settings(deadline=None)
def test_data_cut_short_are_refused_not_half_grey(share: float, extension: str) -> None:
    data = encoded(extension, random_rgb())
    with pytest.raises(ImageError) as caught:
        decoded(data[: int(share * len(data))])
    assert caught.value.kind in ('truncated', 'compressed_format')


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack('>I', zlib.crc32(name + data))
        return struct.pack('>I', len(data)) + name + data + check

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IEND', b'')


def jpeg_header(width: int, height: int) -> bytes:
    frame = struct.pack('>BHHB', 8, height, width, 3) + bytes(9)
    return b'\xff\xd8\xff\xc0' + struct.pack('>H', len(frame) + 2) + frame + b'\xff\xd9'


@pytest.mark.parametrize('data', [png_header(65535, 65535), jpeg_header(65535, 65535)])
def test_a_bomb_is_refused_before_it_is_decoded(data: bytes) -> None:
    with pytest.raises(ImageError, match=f'1 to {MAX_PIXELS} pixels, got 65535x65535') as caught:
        decoded(data)
    assert caught.value.kind == 'too_large'


@pytest.mark.parametrize(
    ('data', 'kind', 'match'),
    [
        (b'', 'compressed_format', 'must be JPEG or PNG'),
        (b'GIF89a' + bytes(50), 'compressed_format', "format 'jpeg' with data that begin with 47"),
        (png_header(0, 5), 'empty', 'got 0x5'),
        (png_header(5, 5), 'undecodable', 'damaged'),
        (b'\xff\xd8\xff\xd9', 'undecodable', 'no frame header'),
        (b'\xff\xd8' + b'\xff' * 50 + b'\xff\xd9', 'undecodable', 'no frame header'),
    ],
)
def test_data_that_are_no_image_are_refused(data: bytes, kind: str, match: str) -> None:
    with pytest.raises(ImageError, match=match) as caught:
        decoded(data)
    assert caught.value.kind == kind


@given(st.binary(max_size=200), st.sampled_from([b'\xff\xd8', b'\x89PNG\r\n\x1a\n', b'']))
@settings(max_examples=200, deadline=None)
def test_garbage_gives_an_error(garbage: bytes, start: bytes) -> None:
    ends = {b'\xff\xd8': b'\xff\xd9', b'': b''}
    with pytest.raises(ImageError):
        decoded(start + garbage + ends.get(start, b'IEND\xaeB`\x82'))
