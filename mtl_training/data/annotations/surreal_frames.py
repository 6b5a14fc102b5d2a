"""What the files of a clip of SURREAL hold: person, camera, depth, body parts and flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
import zlib

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

# As they are named; the left and right ones are said to be exchanged (gulvarol/surreal#10), which
# is left as it is in the files: draw them before you train sides.
JOINTS = (
    'pelvis',
    'left_hip',
    'right_hip',
    'spine1',
    'left_knee',
    'right_knee',
    'spine2',
    'left_ankle',
    'right_ankle',
    'spine3',
    'left_foot',
    'right_foot',
    'neck',
    'left_collar',
    'right_collar',
    'head',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hand',
    'right_hand',
)
NUM_PARTS = 25  # of a segmentation: background, which is 0, and the parts of the body
SIZE = (240, 320)  # height and width
GENDERS = ('female', 'male')
# Of variables that hold one frame each: the shape and the kind of number.
KINDS: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
    'depth': (SIZE, np.float32),
    'segm': (SIZE, np.uint8),
    'gtflow': ((*SIZE, 2), np.float32),
}
_BACKGROUND_M = 1e9  # what is further away is no body; files have 1e10 there


class SurrealInfo(NamedTuple):
    """What a clip of T frames says of its person and its camera."""

    joints2d: NDArray[np.float32]  # [T, 24, 2], pixels; may lie outside the frame
    joints3d: NDArray[np.float32]  # [T, 24, 3], metres, in the world
    pose: NDArray[np.float32]  # [T, 72], radians: the axis-angle rotations of SMPL's 24 joints
    shape: NDArray[np.float32]  # [T, 10], of SMPL
    zrot_rad: NDArray[np.float32]  # [T], turn of the person about the vertical
    gender: NDArray[np.int64]  # [T], index into GENDERS
    camera_position: NDArray[np.float32]  # [3], metres, in the world
    camera_distance: float  # metres

    @property
    def num_frames(self) -> int:
        """Return T."""
        return len(self.joints2d)


def read_info(path: Path) -> SurrealInfo:
    """
    Read what a clip says of its person and its camera.

    :param path: Of <clip>_info.mat.
    :raises ValueError: If it is not of this format.
    """
    names = ('joints2D', 'joints3D', 'pose', 'shape', 'zrot', 'gender', 'camLoc', 'camDist')
    content = _load(path, names)
    # Matlab drops the last axis of the joints of a clip of one frame.
    num_frames = content['zrot'].size
    if not num_frames:
        raise ValueError(f"'{path}' must hold at least one frame, got none.")
    shapes = ((2, 24), (3, 24), (72,), (10,), (1,), (1,))
    arrays = [
        _last_axis_first(path, name, content[name], (*shape, num_frames))
        for name, shape in zip(names, shapes)
    ]
    gender = arrays[5][:, 0].astype(np.int64)
    if not np.isin(gender, (0, 1)).all():
        raise ValueError(f"'{path}': gender must be 0 or 1, got {np.unique(gender).tolist()}.")
    return SurrealInfo(
        joints2d=arrays[0].transpose(0, 2, 1),
        joints3d=arrays[1].transpose(0, 2, 1),
        pose=arrays[2],
        shape=arrays[3],
        zrot_rad=arrays[4][:, 0],
        gender=gender,
        camera_position=_last_axis_first(path, 'camLoc', content['camLoc'], (3, 1))[0],
        camera_distance=float(_last_axis_first(path, 'camDist', content['camDist'], (1, 1))[0, 0]),
    )


def read_frame(path: Path, kind: str, frame: int) -> NDArray[Any]:
    """
    Read the depth, the body parts or the flow of one frame, and nothing of the others.

    :param path: Of <clip>_depth.mat, <clip>_segm.mat or <clip>_gtflow.mat.
    :param kind: depth (metres, ``float32 [240, 320]``), segm (``uint8 [240, 320]``, 0 to 24) or
        gtflow (pixels, ``float32 [240, 320, 2]``).
    :param frame: From 0.
    :raises ValueError: If there is no such frame or it is not of this format.
    """
    if kind not in KINDS:
        raise ValueError(f'kind must be one of {tuple(KINDS)}, got {kind!r}.')
    shape, dtype = KINDS[kind]
    name = f'{kind}_{frame + 1}'  # Matlab counts from 1
    array = _load(path, (name,))[name]
    if array.shape != shape or not np.can_cast(array.dtype, dtype, 'same_kind'):
        raise ValueError(
            f"'{path}': {name} must be {dtype.__name__} of {shape}, got {array.dtype} of "
            f'{array.shape}.'
        )
    return np.asarray(array, dtype)


def count_frames(path: Path, kind: str) -> int:
    """
    Return how many frames a file of depth, body parts or flow has in one run from the first.

    :raises ValueError: If it is not a file of Matlab.
    """
    found = {name for name, _, _ in _guarded(path, whosmat)}
    count = 0
    while f'{kind}_{count + 1}' in found:
        count += 1
    return count


def usable_frames(num_annotated: int, num_decoded: int) -> int:
    """Return how many frames have both: videos have one more or one less than was rendered."""
    return min(num_annotated, num_decoded)


def body_mask(depth: NDArray[np.float32], segmentation: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """
    Return where depth is that of the body, ``[H, W]``; the background has a huge value instead.

    :param depth: Metres, ``[H, W]``.
    :param segmentation: Body parts, ``[H, W]``.
    """
    # False for NaN.
    return (segmentation > 0) & (depth > 0) & (depth < _BACKGROUND_M)


def inside_frame(joints2d: NDArray[np.float32], size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    """
    Return which joints lie in the frame, ``[..., 24]``.

    :param joints2d: (x, y) in pixels, ``[..., 24, 2]``; (0, 0) is the centre of the first one.
    :param size: Height and width of the frame.
    """
    x, y = joints2d[..., 0], joints2d[..., 1]
    return (x >= -0.5) & (y >= -0.5) & (x < size[1] - 0.5) & (y < size[0] - 0.5)


def _last_axis_first(
    path: Path, name: str, array: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return an array whose last axis, time, comes first; a column counts as a row."""
    is_number = np.issubdtype(array.dtype, np.number)
    is_turned = shape[0] != 1 and array.shape[0] != shape[0]
    if not is_number or is_turned or array.size != np.prod(shape):
        raise ValueError(f"'{path}': {name} must be numbers of {shape}, got {array.shape}.")
    return np.moveaxis(array.reshape(shape), -1, 0).astype(np.float32)


def _load(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    content = _guarded(path, loadmat, variable_names=names)
    if absent := [name for name in names if not isinstance(content.get(name), np.ndarray)]:
        raise ValueError(f"'{path}' must hold {', '.join(names)}, lacks {', '.join(absent)}.")
    return content


def _guarded(path: Path, read: Any, **settings: Any) -> Any:
    """Call a function of SciPy on a file; whatever its damage raises becomes one error."""
    if not path.is_file():
        raise ValueError(f"'{path}' is not a file that exists; expected a file of Matlab.")
    try:
        return read(path, **settings)
    except (
        EOFError,
        LookupError,
        MatReadError,
        NotImplementedError,
        OSError,
        TypeError,
        ValueError,
        zlib.error,
    ) as error:
        raise ValueError(
            f"'{path}' is not a Matlab file of version 7 or less: {error}."
        ) from error
