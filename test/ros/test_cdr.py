"""The reader of serialised images against rclpy's own, and against garbage."""

from __future__ import annotations

import array
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.ros.cdr import Header, ImageError, read_compressed_image, read_image
import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

TEXT = st.text(st.characters(exclude_characters='\0', codec='utf-8'), max_size=20)
UINT32 = st.integers(0, 2**32 - 1)


@st.composite
def images(draw: st.DrawFn) -> Image:
    message = Image()
    message.header.stamp.sec = draw(st.integers(-(2**31), 2**31 - 1))
    message.header.stamp.nanosec = draw(UINT32)
    message.header.frame_id = draw(TEXT)
    message.height, message.width, message.step = draw(UINT32), draw(UINT32), draw(UINT32)
    message.encoding = draw(TEXT)
    message.is_bigendian = draw(st.integers(0, 1))
    message.data = array.array('B', draw(st.binary(max_size=50)))
    return message


def big_endian(message: Image) -> bytes:
    """Write an image as a big-endian machine would, field by field."""
    out = bytearray()

    def number(code: str, value: int) -> None:
        out.extend(b'\0' * (-len(out) % struct.calcsize(code)))
        out.extend(struct.pack('>' + code, value))

    def string(text: str) -> None:
        number('I', len(text.encode()) + 1)
        out.extend(text.encode() + b'\0')

    number('i', message.header.stamp.sec)
    number('I', message.header.stamp.nanosec)
    string(message.header.frame_id)
    number('I', message.height)
    number('I', message.width)
    string(message.encoding)
    number('B', message.is_bigendian)
    number('I', message.step)
    number('I', len(message.data))
    return b'\0\0\0\0' + bytes(out) + bytes(message.data)


def check_equal(serialised: bytes, message: Image) -> None:
    found = read_image(serialised)
    stamp = message.header.stamp
    assert found.header == Header(stamp.sec, stamp.nanosec, message.header.frame_id)
    assert (found.height, found.width, found.step) == (message.height, message.width, message.step)
    assert found.encoding == message.encoding
    assert found.is_bigendian == bool(message.is_bigendian)
    assert found.data.tobytes() == bytes(message.data)


@given(images())
def test_it_reads_what_rclpy_writes(message: Image) -> None:
    check_equal(serialize_message(message), message)


@given(images())
def test_it_reads_what_a_big_endian_machine_writes(message: Image) -> None:
    check_equal(big_endian(message), message)


@given(frame_id=TEXT, image_format=TEXT, data=st.binary(max_size=50))
def test_it_reads_compressed_images(frame_id: str, image_format: str, data: bytes) -> None:
    message = CompressedImage(format=image_format, data=array.array('B', data))
    message.header.frame_id = frame_id
    found = read_compressed_image(serialize_message(message))
    assert found.header == Header(0, 0, frame_id)
    assert found.format == image_format
    assert found.data.tobytes() == data


@given(images(), st.data())
@settings(max_examples=300)
def test_damage_gives_an_error_or_data_inside(message: Image, data: st.DataObject) -> None:
    serialised = bytearray(serialize_message(message))
    for _ in range(data.draw(st.integers(0, 4))):
        position = data.draw(st.integers(0, len(serialised) - 1))
        serialised[position] = data.draw(st.integers(0, 255))
    damaged = bytes(serialised[: data.draw(st.integers(0, len(serialised)))])
    for read in (read_image, read_compressed_image):
        check_inside(read, damaged)


@given(st.binary(max_size=100))
def test_garbage_gives_an_error_or_data_inside(garbage: bytes) -> None:
    for read in (read_image, read_compressed_image):
        check_inside(read, b'\0\1\0\0' + garbage)
        check_inside(read, garbage)


def check_inside(read: object, message: bytes) -> None:
    try:
        found = read(message)  # type: ignore[operator]
    except ImageError:
        return
    start = np.frombuffer(message, np.uint8).ctypes.data
    if len(found.data):
        assert start <= found.data.ctypes.data
        assert found.data.ctypes.data + len(found.data) <= start + len(message)


def test_the_pixels_are_not_copied() -> None:
    message = Image(data=array.array('B', bytes(range(100))))
    serialised = serialize_message(message)
    found = read_image(serialised)
    assert np.shares_memory(found.data, np.frombuffer(serialised, np.uint8))
    del serialised
    assert found.data.tolist() == list(range(100))


@pytest.mark.parametrize(
    ('header', 'kind', 'match'),
    [
        (Header(-1, 0, ''), 'bad_stamp', 'got -1 s'),
        (Header(1, 10**9, ''), 'bad_stamp', 'got 1 s 1000000000 ns'),
        (Header(0, 0, ''), 'unstamped', 'stamp is zero'),
    ],
)
def test_a_stamp_that_is_none_is_refused(header: Header, kind: str, match: str) -> None:
    with pytest.raises(ImageError, match=match) as caught:
        header.stamp_ns()
    assert caught.value.kind == kind


def test_a_stamp_keeps_its_nanoseconds() -> None:
    assert Header(1_795_000_000, 123_456_789, '').stamp_ns() == 1_795_000_000_123_456_789


@pytest.mark.parametrize(
    ('message', 'match'),
    [(b'', 'ends early'), (b'\0\1', 'ends early'), (b'\0\3\0\0' + bytes(60), r'not plain CDR')],
)
def test_what_is_no_message_is_refused(message: bytes, match: str) -> None:
    with pytest.raises(ImageError, match=match):
        read_image(message)
