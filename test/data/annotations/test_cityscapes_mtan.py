"""The arrays of MTAN's Cityscapes."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.cityscapes_mtan import _load, list_mtan, MtanFrames, read_mtan
import numpy as np
import pytest

SIZE = (4, 8)


def write(root: Path, number: int, split: str = 'train', **changes: np.ndarray) -> None:
    """Write the arrays of a frame; a change of None leaves one out."""
    rng = np.random.default_rng(number)
    labels = rng.integers(-1, 7, SIZE)
    labels[0, :2] = (-1, 6)
    disparity = rng.random((*SIZE, 1)) * 32257 / 65536
    disparity[0, 0] = 0
    arrays = {'image': rng.random((*SIZE, 3)), 'label': labels, 'depth': disparity, **changes}
    for part, array in arrays.items():
        (root / split / part).mkdir(parents=True, exist_ok=True)
        if array is not None:
            np.save(root / split / part / f'{number}.npy', array)


def test_frames_are_those_with_all_three_arrays_by_number(tmp_path: Path) -> None:
    for number in (10, 9, 100):
        write(tmp_path, number)
    write(tmp_path, 2, label=None)
    for name in ('x.npy', '07.npy', '1.txt'):
        (tmp_path / 'train/image' / name).touch()
    found = list_mtan('train', root=str(tmp_path))
    assert found.numbers == (9, 10, 100)
    assert found.missing == (tmp_path / 'train/label/2.npy',)


@pytest.mark.parametrize('squeezed', [False, True])
def test_pixels_without_label_or_disparity_are_told(tmp_path: Path, squeezed: bool) -> None:
    write(tmp_path, 3)
    path = tmp_path / 'train/depth/3.npy'
    raw = np.load(path)[..., 0]
    if squeezed:
        np.save(path, raw)
    frame = read_mtan(list_mtan('train', root=str(tmp_path)), 3)
    labels = np.load(tmp_path / 'train/label/3.npy')
    assert frame.labels.dtype == np.uint8
    assert frame.labels[0, :2].tolist() == [255, 6]
    assert (frame.labels == np.where(labels == -1, 255, labels)).all()
    assert frame.is_valid.tolist() == (raw > 0).tolist()
    np.testing.assert_array_equal(frame.disparity, raw.astype(np.float32))
    assert frame.image.shape == (*SIZE, 3)
    assert frame.image.dtype == frame.disparity.dtype == np.float32


@pytest.mark.parametrize(
    ('part', 'array', 'message'),
    [
        ('image', np.zeros(SIZE), r"image/3.npy' must be of \(H, W, 3\), got \(4, 8\)"),
        (
            'label',
            np.zeros((4, 7)),
            r"label/3.npy' must have the size of the image, \(4, 8\), got",
        ),
        ('depth', np.zeros((5, 8, 1)), r"depth/3.npy' must have the size of the image"),
        ('label', np.full(SIZE, 255), r"label/3.npy' must hold whole numbers from -1 to 254"),
        ('label', np.full(SIZE, -2), r'got -2 to -2'),
        ('label', np.full(SIZE, 0.5), r'must hold whole numbers'),
        ('label', np.full(SIZE, np.nan), r'must hold whole numbers'),
        ('depth', np.array(['x']), r"depth/3.npy' is not an array of numbers"),
        ('depth', np.array([{}]), r"depth/3.npy' is not an array of numbers"),
    ],
)
def test_arrays_of_another_format_are_refused(
    tmp_path: Path, part: str, array: np.ndarray, message: str
) -> None:
    write(tmp_path, 3, **{part: array})
    with pytest.raises(ValueError, match=message):
        read_mtan(list_mtan('train', root=str(tmp_path)), 3)


def test_missing_splits_and_frames_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no folder 'val'; the layout is <root>/<train"):
        list_mtan('val', root=str(tmp_path))
    with pytest.raises(ValueError, match=r"split must be one of .*, got 'test'"):
        list_mtan('test', root=str(tmp_path))
    write(tmp_path, 3, label=None)
    with pytest.raises(ValueError, match=r'train. holds no frame of .*; the layout is'):
        list_mtan('train', root=str(tmp_path))


@given(content=st.binary())
def test_any_file_gives_an_array_or_an_error_that_names_it(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / 'any'
    write(root, 3)
    (root / 'train/label/3.npy').write_bytes(content)
    with pytest.raises(ValueError, match=r"label/3.npy' is not an array of numbers"):
        read_mtan(MtanFrames(root / 'train', (3,), ()), 3)


@pytest.mark.parametrize('content', [b'PK\x03\x04 is no archive', b'PK\x05\x06' + bytes(18)])
def test_an_archive_in_place_of_an_array_is_an_error_that_names_it(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / '0.npy'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"0\.npy' is not an array of numbers"):
        _load(path)


@pytest.mark.parametrize(
    'header', [b"{'descr': (", b'((((', b"{'descr': '<f4', 'shape': (9" + b'9' * 40]
)
def test_a_header_that_is_none_is_an_error_that_names_the_file(
    header: bytes, tmp_path: Path
) -> None:
    path = tmp_path / '0.npy'
    path.write_bytes(b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header)
    with pytest.raises(ValueError, match=r"0\.npy' is not an array of numbers"):
        _load(path)
