"""
Serialised image messages, read in place.

Letting rclpy deserialise an image copies its pixels twice. Here they stay where the middleware
put them: the few fields before them are read from the message (CDR, the encoding of DDS), and
every offset is checked, because a message comes from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
import struct

import numpy as np

# Representation identifiers of plain CDR, version 1 and 2, which agree for these messages.
BYTE_ORDERS = {0x0000: '>', 0x0001: '<', 0x0006: '>', 0x0007: '<'}
HEADER_BYTES = 4


class ImageError(ValueError):
    """
    A frame that can't be used.

    :param kind: A short name under which such frames are counted.
    :param reason: What was found, and the rule it breaks.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Header:
    """A ``std_msgs/Header``."""

    sec: int
    nanosec: int
    frame_id: str

    def stamp_ns(self) -> int:
        """
        Return the stamp in nanoseconds.

        :raises ImageError: If it can't be one: before 1970, with too many nanoseconds, or zero,
            which is what a driver sends that does not stamp its images.
        """
        if self.sec < 0 or self.nanosec >= 1_000_000_000:
            raise ImageError(
                'bad_stamp',
                f'a stamp must have sec >= 0 and nanosec < 1e9, got {self.sec} s '
                f'{self.nanosec} ns',
            )
        if self.sec == 0 and self.nanosec == 0:
            raise ImageError(
                'unstamped', 'the stamp is zero; clips need the time at which a frame was taken'
            )
        return self.sec * 1_000_000_000 + self.nanosec


@dataclass(frozen=True)
class RawImage:
    """A ``sensor_msgs/Image`` whose data lie in the message it was read from."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: bool
    step: int
    data: np.ndarray  # uint8 [N]; not to be written


@dataclass(frozen=True)
class RawCompressedImage:
    """A ``sensor_msgs/CompressedImage`` whose data lie in the message it was read from."""

    header: Header
    format: str
    data: np.ndarray  # uint8 [N]; not to be written


def read_image(message: bytes) -> RawImage:
    """
    Read a serialised ``sensor_msgs/Image``.

    :raises ImageError: If it ends early or is not CDR.
    """
    reader = _Reader(message)
    header = _read_header(reader)
    height, width = reader.number('I'), reader.number('I')
    encoding = reader.string()
    is_bigendian = reader.number('B') != 0
    return RawImage(
        header, height, width, encoding, is_bigendian, reader.number('I'), reader.octets()
    )


def read_compressed_image(message: bytes) -> RawCompressedImage:
    """
    Read a serialised ``sensor_msgs/CompressedImage``.

    :raises ImageError: If it ends early or is not CDR.
    """
    reader = _Reader(message)
    return RawCompressedImage(_read_header(reader), reader.string(), reader.octets())


def _read_header(reader: _Reader) -> Header:
    return Header(reader.number('i'), reader.number('I'), reader.string())


class _Reader:
    """Reads one field after the other, never past the end."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._offset = HEADER_BYTES
        self._require(0)
        (kind,) = struct.unpack_from('>H', message)
        if kind not in BYTE_ORDERS:
            raise ImageError('malformed', f'the message is not plain CDR (0x{kind:04x})')
        self._order = BYTE_ORDERS[kind]

    def number(self, code: str) -> int:
        size = struct.calcsize(code)
        # Numbers are aligned to their size, counted from the end of the CDR header.
        self._offset += -(self._offset - HEADER_BYTES) % size
        self._require(size)
        (value,) = struct.unpack_from(self._order + code, self._message, self._offset)
        self._offset += size
        return value

    def string(self) -> str:
        length = self.number('I')
        self._require(length)
        characters = self._message[self._offset : self._offset + length]
        self._offset += length
        return bytes(characters).rstrip(b'\0').decode('utf-8', 'replace')

    def octets(self) -> np.ndarray:
        length = self.number('I')
        self._require(length)
        return _writable(np.frombuffer(self._message, np.uint8, length, self._offset))

    def _require(self, size: int) -> None:
        if self._offset + size > len(self._message):
            raise ImageError(
                'malformed',
                f'the message ends early: it has {len(self._message)} bytes, '
                f'{self._offset + size} are needed',
            )


class _Unguarded:
    """Hands out an array's memory without its write protection, and keeps it alive."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, 'data': (interface['data'][0], False)}


def _writable(array: np.ndarray) -> np.ndarray:
    # torch warns about every read-only array that it is given. Nothing writes to these pixels,
    # and every other way of quietening it copies them.
    return np.asarray(_Unguarded(array))
