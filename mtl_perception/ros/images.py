"""
Image messages as pictures, with as few copies as their encoding allows.

========================================  =====================================================
rgb8, bgr8, 8UC3                          a view of the message, whatever the row step
rgba8, bgra8, 8UC4, mono8, 8UC1           one pass by OpenCV
rgb16, bgr16, rgba16, bgra16, mono16      the high bytes, one pass
yuv422 (uyvy), yuv422_yuy2 (yuyv)         one pass by OpenCV
nv12, nv21, bayer_*8                      one pass by OpenCV
JPEG and PNG                              decoded by OpenCV
========================================  =====================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from mtl_perception.ros.cdr import Header, ImageError, RawImage, read_compressed_image, read_image
from mtl_perception.ros.compressed import decode
from mtl_perception.runtime.picture import Picture
import numpy as np


@dataclass(frozen=True)
class Encoding:
    """How the pixels of an encoding lie in memory, and what makes three channels of them."""

    channels: int  # values of one pixel in a row
    bytes_per_value: int = 1
    is_bgr: bool = False
    conversion: int | None = None  # an OpenCV colour conversion; None where a view is enough
    row_factor: tuple[int, int] = (1, 1)  # rows in memory per row of the image
    even: tuple[int, int] = (1, 1)  # what height and width must be multiples of


ENCODINGS: dict[str, Encoding] = {
    'rgb8': Encoding(3),
    'bgr8': Encoding(3, is_bgr=True),
    'rgba8': Encoding(4, conversion=cv2.COLOR_RGBA2RGB),
    'bgra8': Encoding(4, conversion=cv2.COLOR_BGRA2RGB),
    'mono8': Encoding(1, conversion=cv2.COLOR_GRAY2RGB),
    # OpenCV's own names say nothing of colours; its order is blue, green, red.
    '8UC3': Encoding(3, is_bgr=True),
    '8UC4': Encoding(4, conversion=cv2.COLOR_BGRA2RGB),
    '8UC1': Encoding(1, conversion=cv2.COLOR_GRAY2RGB),
    'rgb16': Encoding(3, 2),
    'bgr16': Encoding(3, 2, is_bgr=True),
    'rgba16': Encoding(4, 2, conversion=cv2.COLOR_RGBA2RGB),
    'bgra16': Encoding(4, 2, conversion=cv2.COLOR_BGRA2RGB),
    'mono16': Encoding(1, 2, conversion=cv2.COLOR_GRAY2RGB),
    'nv12': Encoding(1, conversion=cv2.COLOR_YUV2RGB_NV12, row_factor=(3, 2), even=(2, 2)),
    'nv21': Encoding(1, conversion=cv2.COLOR_YUV2RGB_NV21, row_factor=(3, 2), even=(2, 2)),
    # OpenCV names a Bayer pattern by its second row: the other way round than ROS.
    'bayer_rggb8': Encoding(1, conversion=cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': Encoding(1, conversion=cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': Encoding(1, conversion=cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': Encoding(1, conversion=cv2.COLOR_BayerGB2RGB),
}
# Each has an old name in sensor_msgs and a newer one.
for _name in ('yuv422', 'uyvy'):
    ENCODINGS[_name] = Encoding(2, conversion=cv2.COLOR_YUV2RGB_UYVY, even=(1, 2))
for _name in ('yuv422_yuy2', 'yuyv'):
    ENCODINGS[_name] = Encoding(2, conversion=cv2.COLOR_YUV2RGB_YUYV, even=(1, 2))


def picture_from_image(message: bytes) -> tuple[Header, Picture]:
    """
    Return the header and the picture of a serialised ``sensor_msgs/Image``.

    :return: The picture may be a view of ``message``.
    :raises ImageError: If the message can't be used, saying what was found and the rule.
    """
    image = read_image(message)
    encoding = ENCODINGS.get(image.encoding)
    if encoding is None:
        raise ImageError(
            'encoding', f'encoding {image.encoding[:40]!r} is not one of {", ".join(ENCODINGS)}'
        )
    pixels = _view(image, encoding)
    if encoding.conversion is not None:
        try:
            pixels = cv2.cvtColor(pixels, encoding.conversion)
        except cv2.error as error:
            raise ImageError('undecodable', f'OpenCV cannot convert it: {error}') from error
    return image.header, Picture(pixels, encoding.is_bgr)


def picture_from_compressed(message: bytes) -> tuple[Header, Picture]:
    """
    Return the header and the picture of a serialised ``sensor_msgs/CompressedImage``.

    :raises ImageError: If the message can't be used, saying what was found and the rule.
    """
    image = read_compressed_image(message)
    return image.header, Picture(decode(image.data, image.format), is_bgr=True)


def _view(image: RawImage, encoding: Encoding) -> np.ndarray:
    """Return the 8-bit values ``[rows, W, channels]`` of a message, checked against its size."""
    rows = _check(image, encoding)
    width, channels, size = image.width, encoding.channels, encoding.bytes_per_value
    # Of a 16-bit value, the high byte: the last one unless the message says it is big endian.
    offset = size - 1 if not image.is_bigendian else 0
    view = np.ndarray(
        (rows, width, channels),
        np.uint8,
        image.data,
        offset,
        (image.step, channels * size, size),
    )
    return view if size == 1 else np.ascontiguousarray(view)


def _check(image: RawImage, encoding: Encoding) -> int:
    """Return how many rows lie in memory."""
    height, width, name = image.height, image.width, image.encoding
    if height == 0 or width == 0:
        raise ImageError('empty', f'an image must have pixels, got {width}x{height}')
    if height % encoding.even[0] or width % encoding.even[1]:
        raise ImageError(
            'odd_size', f'{name} shares its colours between neighbours, got {width}x{height}'
        )
    rows = height * encoding.row_factor[0] // encoding.row_factor[1]
    row_bytes = width * encoding.channels * encoding.bytes_per_value
    if image.step < row_bytes:
        raise ImageError(
            'row_step',
            f'step must be at least {row_bytes} for {width} pixels of {name}, got {image.step}',
        )
    if len(image.data) != rows * image.step:
        raise ImageError(
            'data_size',
            f'{width}x{height} {name} with step {image.step} needs {rows * image.step} bytes '
            f'of data, got {len(image.data)}',
        )
    return rows
