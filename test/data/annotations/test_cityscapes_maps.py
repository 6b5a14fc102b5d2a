"""Ids, disparity and cameras of Cityscapes, from files written bit by bit."""

import json
from pathlib import Path
from typing import Any

import cv2
from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.cityscapes_maps import (
    Camera,
    decode_disparity,
    Disparity,
    disparity_to_depth,
    parse_camera,
    read_camera,
    read_disparity,
    read_labels,
    resize_disparity,
)
import numpy as np
import pytest

CAMERA = {
    'extrinsic': {'baseline': 0.209313, 'pitch': 0.05, 'x': 1.7},
    'intrinsic': {'fx': 2262.52, 'fy': 2265.3, 'u0': 1096.98, 'v0': 513.137},
}
RAW = np.array([[0, 1, 257, 32257], [256, 0, 65535, 513]], np.uint16)


def test_sixteen_bits_are_read_unchanged(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'x.png'), RAW)
    disparity = read_disparity(tmp_path / 'x.png')
    assert disparity.is_valid.tolist() == (RAW > 0).tolist()
    assert disparity.pixels[0].tolist() == [0, 0, 1, 126]
    assert disparity.pixels[1].tolist() == [255 / 256, 0, 65534 / 256, 2]


def test_a_plate_of_a_car_is_255(tmp_path: Path) -> None:
    ids = np.array([[7, 24], [255, 0]], np.uint8)
    cv2.imwrite(str(tmp_path / 'x.png'), ids)
    np.testing.assert_array_equal(read_labels(tmp_path / 'x.png'), ids)


@pytest.mark.parametrize(
    ('image', 'read', 'message'),
    [
        (
            RAW.astype(np.uint8),
            read_disparity,
            r'must be a grey image of uint16, got uint8 of \(2',
        ),
        (RAW, read_labels, r'must be a grey image of uint8, got uint16'),
        (np.zeros((2, 2, 3), np.uint8), read_labels, r'got uint8 of \(2, 2, 3\)'),
        (b'no image', read_labels, r"x.png' must be a grey image of uint8, got none"),
        (None, read_labels, r"x.png' is not a file that exists"),
    ],
)
def test_images_of_another_format_are_refused(
    tmp_path: Path, image: Any, read: Any, message: str
) -> None:
    if isinstance(image, bytes):
        (tmp_path / 'x.png').write_bytes(image)
    elif image is not None:
        cv2.imwrite(str(tmp_path / 'x.png'), image)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / 'x.png')


def test_depth_is_baseline_times_focal_length_over_disparity() -> None:
    camera = Camera(0.2, 2000.0)
    depth, is_known = disparity_to_depth(decode_disparity(RAW), camera, width=4)
    # 400 over 1, 126, 255 / 256, 65534 / 256 and 2 pixels; neither 0 nor 1 in the file tells it.
    expected = [[0, 0, 400, 400 / 126], [400 * 256 / 255, 0, 400 * 256 / 65534, 200]]
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    assert is_known.tolist() == [[False, False, True, True], [True, False, True, True]]


def test_a_smaller_image_has_smaller_disparities_and_the_same_depth() -> None:
    raw = np.full((8, 16), 513, np.uint16)
    raw[:, :8] = 0
    small = resize_disparity(decode_disparity(raw), (2, 4))
    assert small.pixels.tolist() == [[0, 0, 0.5, 0.5]] * 2
    assert small.is_valid.tolist() == [[False, False, True, True]] * 2
    camera = Camera(0.2, 2000.0)
    full, _ = disparity_to_depth(decode_disparity(raw), camera, width=16)
    depth, is_known = disparity_to_depth(small, camera, width=16)
    np.testing.assert_allclose(depth[is_known], full[0, -1])


@given(raw=st.lists(st.integers(0, 65535), min_size=6, max_size=6))
def test_only_what_was_measured_has_a_depth(raw: list[int]) -> None:
    disparity = decode_disparity(np.array(raw, np.uint16).reshape(2, 3))
    assert isinstance(disparity, Disparity)
    depth, is_known = disparity_to_depth(disparity, Camera(0.2, 2000.0))
    assert (depth > 0).ravel().tolist() == is_known.ravel().tolist() == [p > 1 for p in raw]
    assert np.isfinite(depth).all()
    for p, pixels in zip(raw, disparity.pixels.ravel().tolist()):
        assert pixels == (0 if p == 0 else (p - 1) / 256)


def test_the_cameras_of_a_frame_are_read(tmp_path: Path) -> None:
    path = tmp_path / 'x_camera.json'
    path.write_text(json.dumps(CAMERA))
    assert read_camera(path) == Camera(0.209313, 2262.52)
    with pytest.raises(ValueError, match=r"y_camera.json' is not a file that exists"):
        read_camera(tmp_path / 'y_camera.json')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({**CAMERA, 'extrinsic': {}}, r"'x.json': extrinsic must have a number 'baseline'"),
        ({**CAMERA, 'intrinsic': None}, r"'x.json': intrinsic must be an object with 'fx'"),
        ({**CAMERA, 'intrinsic': {'fx': 0}}, r'baseline and fx must be positive, got \(0.2'),
        ([], r"'x.json': extrinsic must be an object"),
    ],
)
def test_cameras_of_another_format_are_refused(content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_camera(Path('x.json'), json.dumps(content))


@given(text=st.text() | st.text().map(lambda value: json.dumps(CAMERA).replace('2262.52', value)))
def test_any_text_gives_cameras_or_an_error_that_names_the_file(text: str) -> None:
    try:
        assert min(parse_camera(Path('x.json'), text)) > 0
    except ValueError as error:
        assert str(error).startswith("'x.json'")  # noqa: PT017
