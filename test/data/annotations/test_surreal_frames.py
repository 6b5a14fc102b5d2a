"""What files of SURREAL hold: a real one, and made up ones with one frame and with more."""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.data.annotations.surreal_frames import (
    body_mask,
    count_frames,
    inside_frame,
    JOINTS,
    read_frame,
    read_info,
    SIZE,
    usable_frames,
)
import numpy as np
import pytest
from scipy.io import loadmat, savemat

SAMPLE = Path(__file__).parents[3].parent / 'shared/data/surreal_sample/01_01_c0001_info.mat'
needs_sample = pytest.mark.skipif(not SAMPLE.is_file(), reason=f"'{SAMPLE}' is not there.")


def info(num_frames: int) -> dict[str, Any]:
    """Return what a file of a clip holds, as Matlab keeps it."""
    rng = np.random.default_rng(num_frames)
    joints = {
        name: rng.random((axes, 24, num_frames), np.float32)
        for name, axes in (('joints2D', 2), ('joints3D', 3))
    }
    if num_frames == 1:
        joints = {name: array[:, :, 0] for name, array in joints.items()}
    return {
        **joints,
        'pose': rng.random((72, num_frames), np.float32),
        'shape': rng.random((10, num_frames), np.float32),
        'zrot': rng.random((num_frames, 1), np.float32),
        'gender': np.ones((num_frames, 1), np.uint8),
        'camLoc': np.array([[7], [-1], [-2]], np.float32),
        'camDist': np.array([[7.5]], np.float32),
        'source': 'cmu',
    }


def write_frames(path: Path, kind: str, frames: list[np.ndarray]) -> Path:
    savemat(path, {f'{kind}_{i + 1}': frame for i, frame in enumerate(frames)})
    return path


@needs_sample
def test_the_real_file_has_100_frames() -> None:
    found = read_info(SAMPLE)
    assert found.num_frames == 100
    assert found.joints2d.shape == (100, 24, 2)
    assert found.joints3d.shape == (100, 24, 3)
    assert found.pose.shape == (100, 72)
    assert found.shape.shape == (100, 10)
    assert found.zrot_rad.shape == (100,)
    assert found.gender.tolist() == [1] * 100
    # An independent look into the file.
    raw = loadmat(SAMPLE)
    for frame, joint in ((0, 0), (7, 15), (99, 23)):
        assert (found.joints2d[frame, joint] == raw['joints2D'][:, joint, frame]).all()
        assert (found.joints3d[frame, joint] == raw['joints3D'][:, joint, frame]).all()
    assert (found.pose[42] == raw['pose'][:, 42]).all()
    assert found.camera_distance == pytest.approx(raw['camDist'].item())
    assert (found.camera_position == raw['camLoc'][:, 0]).all()


@needs_sample
def test_the_real_person_is_in_the_frame_and_upright() -> None:
    found = read_info(SAMPLE)
    assert inside_frame(found.joints2d).all()
    head, pelvis = JOINTS.index('head'), JOINTS.index('pelvis')
    # The y of pixels points down.
    assert (found.joints2d[:, head, 1] < found.joints2d[:, pelvis, 1]).all()
    lengths = np.linalg.norm(found.joints3d[:, head] - found.joints3d[:, pelvis], axis=1)
    assert ((lengths > 0.4) & (lengths < 0.8)).all()  # metres


@pytest.mark.parametrize('num_frames', [1, 2, 24])
def test_a_clip_of_any_length_has_its_frames_first(tmp_path: Path, num_frames: int) -> None:
    content = info(num_frames)
    savemat(tmp_path / 'x_info.mat', content)
    found = read_info(tmp_path / 'x_info.mat')
    joints = content['joints2D'].reshape(2, 24, num_frames)
    for frame in range(num_frames):
        np.testing.assert_array_equal(found.joints2d[frame], joints[:, :, frame].T)
        np.testing.assert_array_equal(found.pose[frame], content['pose'][:, frame])
        assert found.zrot_rad[frame] == content['zrot'][frame, 0]
    assert found.num_frames == num_frames
    assert found.camera_position.tolist() == [7, -1, -2]
    assert found.camera_distance == 7.5


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'pose': None}, r"x_info.mat' must hold .*, lacks pose"),
        ({'pose': np.zeros((2, 72))}, r"x_info.mat': pose must be numbers of \(72, 2\), got \(2,"),
        ({'joints2D': np.zeros((2, 24, 3))}, r'joints2D must be numbers of \(2, 24, 2\)'),
        ({'shape': 'text'}, r'shape must be numbers of \(10, 2\)'),
        ({'gender': np.array([[1], [2]])}, r'gender must be 0 or 1, got \[1, 2\]'),
        ({'zrot': np.zeros((0, 0))}, r'must hold at least one frame'),
    ],
)
def test_files_of_another_format_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    content = {k: v for k, v in {**info(2), **changes}.items() if v is not None}
    savemat(tmp_path / 'x_info.mat', content)
    with pytest.raises(ValueError, match=message):
        read_info(tmp_path / 'x_info.mat')


@settings(max_examples=50)
@given(content=st.binary(max_size=300), place=st.integers(0, 4000), value=st.integers(1, 255))
def test_damaged_files_are_refused_or_read(
    content: bytes, place: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / 'damaged_info.mat'
    if not content:
        savemat(path, info(2), do_compression=True)
        whole = bytearray(path.read_bytes())
        whole[place % len(whole)] ^= value
        content = bytes(whole)
    path.write_bytes(content)
    try:
        assert read_info(path).num_frames > 0
    except ValueError as error:
        assert "damaged_info.mat'" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ('kind', 'shape', 'dtype'),
    [('depth', SIZE, np.float32), ('segm', SIZE, np.uint8), ('gtflow', (*SIZE, 2), np.float32)],
)
@pytest.mark.parametrize('num_frames', [1, 3])
def test_one_frame_is_read_at_a_time(
    tmp_path: Path, kind: str, shape: tuple[int, ...], dtype: type, num_frames: int
) -> None:
    frames = [np.full(shape, 7 + i, dtype) for i in range(num_frames)]
    path = write_frames(tmp_path / f'x_{kind}.mat', kind, frames)
    assert count_frames(path, kind) == num_frames
    for i, frame in enumerate(frames):
        found = read_frame(path, kind, i)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, frame)
    with pytest.raises(ValueError, match=f'lacks {kind}_{num_frames + 1}'):
        read_frame(path, kind, num_frames)


def test_reading_a_frame_leaves_the_others_alone(tmp_path: Path) -> None:
    frames = [np.random.default_rng(i).random(SIZE, np.float32) for i in range(4)]
    path = tmp_path / 'x_depth.mat'
    savemat(path, {f'depth_{i + 1}': frame for i, frame in enumerate(frames)}, do_compression=True)
    whole = bytearray(path.read_bytes())
    # Damage in the last frame is not noticed by who reads the second.
    whole[-5000:-4900] = bytes(100)
    path.write_bytes(bytes(whole))
    np.testing.assert_array_equal(read_frame(path, 'depth', 1), frames[1])
    with pytest.raises(ValueError, match=r"x_depth.mat' is not a Matlab file"):
        read_frame(path, 'depth', 3)


def test_frames_of_another_format_are_refused(tmp_path: Path) -> None:
    path = write_frames(tmp_path / 'x_segm.mat', 'segm', [np.zeros((2, 2), np.uint8)])
    with pytest.raises(
        ValueError, match=r'segm_1 must be uint8 of \(240, 320\), got uint8 of \(2,'
    ):
        read_frame(path, 'segm', 0)
    write_frames(path, 'segm', [np.zeros(SIZE)])
    with pytest.raises(ValueError, match=r'segm_1 must be uint8 of \(240, 320\), got float64'):
        read_frame(path, 'segm', 0)
    with pytest.raises(ValueError, match=r"kind must be one of .*, got 'info'"):
        read_frame(path, 'info', 0)
    with pytest.raises(ValueError, match=r"absent.mat' is not a file that exists"):
        count_frames(tmp_path / 'absent.mat', 'segm')


@pytest.mark.parametrize('num_decoded', [99, 100, 101])
def test_frames_that_both_have_can_be_used(num_decoded: int) -> None:
    assert usable_frames(100, num_decoded) == min(100, num_decoded)


def test_depth_of_the_background_is_masked() -> None:
    depth = np.array([[5, 1e10, 5], [np.nan, 0, 1e10]], np.float32)
    parts = np.array([[1, 0, 0], [3, 3, 24]], np.uint8)
    assert body_mask(depth, parts).tolist() == [[True, False, False], [False, False, False]]


def test_joints_outside_the_frame_are_found() -> None:
    places = np.array([[0, 0], [-1, 5], [319, 239], [320, 5], [5, 240], [-0.4, 239.4]], np.float32)
    assert inside_frame(places).tolist() == [True, False, True, False, False, True]


def test_there_are_24_joints() -> None:
    assert len(JOINTS) == len(set(JOINTS)) == 24
