"""Compressed camera images: JPEG and PNG, decoded only when they are whole and of a sane size."""

from __future__ import annotations

import struct

import cv2
from mtl_perception.ros.cdr import ImageError
import numpy as np

# An 8K image. A few bytes can claim a size that no memory holds.
MAX_PIXELS = 7680 * 4320
JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'
PNG_START, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'
# Start-of-frame markers: 0xC0 to 0xCF but for tables (C4, CC) and the reserved C8.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
JPEG_SCAN = 0xDA


def decode(data: np.ndarray, image_format: str) -> np.ndarray:
    """
    Return the pixels of a JPEG or PNG file.

    :param data: The file, ``uint8 [N]``.
    :param image_format: The message's format string, for the error; the data say what they are.
    :return: BGR, ``uint8 [H, W, 3]``, as stored: an orientation in EXIF is not applied, since
        the camera's calibration is not rotated either.
    :raises ImageError: If it is another format, cut short, too large or damaged.
    """
    height, width = _size(data, image_format)
    if not 0 < height * width <= MAX_PIXELS:
        raise ImageError(
            'too_large' if height * width else 'empty',
            f'a compressed image must have 1 to {MAX_PIXELS} pixels, got {width}x{height}',
        )
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError('undecodable', f'OpenCV cannot decode it: {error}') from error
    if pixels is None or pixels.shape != (height, width, 3):
        raise ImageError('undecodable', f'{image_format[:40]!r} data are damaged')
    return pixels


def _size(data: np.ndarray, image_format: str) -> tuple[int, int]:
    start = data[:8].tobytes()
    # Cameras may fill their buffers up with zeros.
    end = data[-4096:].tobytes().rstrip(b'\0')
    if start.startswith(JPEG_START):
        if not end.endswith(JPEG_END):
            raise ImageError('truncated', f'JPEG data must end with EOI, these {len(data)} do not')
        return _jpeg_size(data)
    if start == PNG_START:
        if len(data) < 24 or not end.endswith(PNG_END):
            raise ImageError('truncated', f'PNG data must end with IEND, these {len(data)} do not')
        width, height = struct.unpack_from('>II', data.data, 16)
        return height, width
    raise ImageError(
        'compressed_format',
        f'compressed images must be JPEG or PNG, got format {image_format[:40]!r} '
        f'with data that begin with {start.hex()}',
    )


def _jpeg_size(data: np.ndarray) -> tuple[int, int]:
    offset = 2
    while offset + 9 <= len(data) and data[offset] == 0xFF:
        marker = int(data[offset + 1])
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from('>HH', data.data, offset + 5)
            return height, width
        if marker == JPEG_SCAN:
            break
        if marker == 0xFF:  # a fill byte
            offset += 1
        elif marker in JPEG_BARE:
            offset += 2
        else:
            (length,) = struct.unpack_from('>H', data.data, offset + 2)
            offset += 2 + length
    raise ImageError('undecodable', 'JPEG data have no frame header')
