"""Frames as image messages, filled at the speed of memcpy."""

from __future__ import annotations

from array import array

from builtin_interfaces.msg import Time
import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image


class ImageWriter:
    """
    Writes frames into one image message after the other.

    The message is reused: publishing serialises it at once, so that it is free again when
    ``publish`` returns. Assigning to ``data`` runs a check of every element for most types, and
    copies or allocates for the others; writing into the array that is already there is one copy
    into memory that is already mapped.
    """

    def __init__(self, encoding: str, frame_id: str) -> None:
        """
        Prepare a message.

        :param encoding: Of the frames: ``bgr8`` or ``rgb8``.
        """
        self._message = Image(encoding=encoding)
        self._message.header.frame_id = frame_id

    def write(self, pixels: NDArray[np.uint8], stamp: Time) -> Image:
        """
        Return the message that holds a frame; valid until the next call.

        :param pixels: ``[H, W, 3]`` uint8.
        """
        message = self._message
        height, width, channels = pixels.shape
        if (message.height, message.width) != (height, width):
            message.height, message.width, message.step = height, width, width * channels
            message.data = array('B', bytes(pixels.size))
        # Rows of a cropped view do not follow one another; NumPy copies them where they belong.
        np.frombuffer(message.data, np.uint8).reshape(pixels.shape)[...] = pixels
        message.header.stamp = stamp
        return message

    def pixels(self) -> NDArray[np.uint8]:
        """Return the pixels of the message, ``[H, W, 3]``, to be drawn into."""
        message = self._message
        shape = (message.height, message.width, -1)
        return np.frombuffer(message.data, np.uint8).reshape(shape)


class JpegWriter:
    """Writes frames into compressed image messages."""

    def __init__(self, encoding: str, frame_id: str, quality: int) -> None:
        """
        Prepare a message.

        :param encoding: Of the frames: ``bgr8`` or ``rgb8``.
        :param quality: Of the JPEG, 1 to 100.
        """
        self._swap_channels = encoding == 'rgb8'
        self._options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        # What image_transport writes, and what its subscribers expect.
        self._message = CompressedImage(format=f'{encoding}; jpeg compressed bgr8')
        self._message.header.frame_id = frame_id

    def write(self, pixels: NDArray[np.uint8], stamp: Time) -> CompressedImage:
        """
        Return the message that holds a frame; valid until the next call.

        :param pixels: ``[H, W, 3]`` uint8.
        """
        if self._swap_channels:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)  # type: ignore[assignment]
        is_encoded, jpeg = cv2.imencode('.jpg', pixels, self._options)
        assert is_encoded
        data = array('B')
        data.frombytes(jpeg.data)
        self._message.data = data
        self._message.header.stamp = stamp
        return self._message
