"""Moving an annotated image, its people and its mask by one affine map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
from mtl_perception.network.pose.skeleton import FLIPPED
from mtl_training.data.frame_sample import FrameSample, MASK_STRIDE
import numpy as np
import torch
from torch import Tensor

# Of the box of somebody whom the border of the image cuts; less is a limb, nobody to be found.
MIN_SHARE = 0.2
# Of joints, of somebody who had as many before.
MIN_JOINTS = 3


class _Seen(NamedTuple):
    """What of every person is in the image, per frame."""

    boxes: Tensor  # [P, T, 4], cut at the border
    shares: Tensor  # [P, T], of the box, 0 for somebody who is not in the frame


def compose(second: Tensor, first: Tensor) -> Tensor:
    """Return the affine map, float64 ``[2, 3]``, that does ``first`` and then ``second``."""
    second, first = second.double(), first.double()
    linear, offset = second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2:] + second[:, 2:]
    return torch.cat([linear, offset], dim=1)


def warp_sample(
    sample: FrameSample,
    matrix: Tensor,
    size: tuple[int, int],
    *,
    mean: Sequence[float],
    mask_stride: int = MASK_STRIDE,
) -> FrameSample:
    """
    Return a sample whose pixels and truth an affine map has moved, resampled once.

    :param matrix: ``[2, 3]``, from pixels of ``sample`` to those of the result; a negative
        determinant mirrors and so exchanges the left joints with the right.
    :param size: Height and width of the result.
    :param mean: Colour around the image, RGB in [0, 1].
    :param mask_stride: Pixels of ``sample`` per cell of its mask; the result's is MASK_STRIDE.
    """
    truth = warp_truth(sample, matrix, size, mask_stride=mask_stride)
    return truth._replace(images=warp_images(sample.images, matrix, size, mean))


def warp_images(
    images: Tensor, matrix: Tensor, size: tuple[int, int], mean: Sequence[float]
) -> Tensor:
    """
    Return ``uint8 [F, h, w, 3]`` of ``uint8 [F, H, W, 3]``, moved by a map of pixels to pixels.

    What shrinks is blurred first, by as much as the antialiased resize of the robot does: a
    triangle of width ``f`` has the variance ``f ** 2 / 6``, of which bilinear interpolation brings
    one sixth. The surroundings are of the mean colour, as the bars of the robot's letterbox are;
    reflecting the image would show people whom nobody annotated.
    """
    shrinking = 1 / matrix[:, :2].double().norm(dim=0).clamp_min(1e-6)
    sigmas = ((shrinking.square() - 1).clamp_min(0) / 6).sqrt().tolist()
    colour = [round(255 * value) for value in mean]
    warped = np.empty((len(images), *size, 3), np.uint8)
    # OpenCV takes one image at a time.
    for image, target in zip(images.numpy(), warped):
        # A Gaussian this narrow has a kernel of one cell.
        if max(sigmas) > 1 / 6:
            image = cv2.GaussianBlur(
                image, (0, 0), max(sigmas[0], 1e-6), sigmaY=max(sigmas[1], 1e-6)
            )
        cv2.warpAffine(
            image,
            matrix.double().numpy(),
            size[::-1],
            dst=target,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=colour,
        )
    return torch.from_numpy(warped)


def warp_truth(
    sample: FrameSample,
    matrix: Tensor,
    size: tuple[int, int],
    *,
    mask_stride: int = MASK_STRIDE,
) -> FrameSample:
    """
    Return a sample whose truth, but not its pixels, an affine map has moved.

    - Joints outside the image get visibility 0; joints of visibility 0 lie at (0, 0), as in COCO.
    - The box of a rotated person is that of the rotated ellipse inscribed in it, for the corners
      of a box are empty (Kalra et al., "Towards Rotation Invariance in Object Detection", ICCV
      2021), and of those joints that it held before. It is exact without rotation. Crowds fill
      their boxes: theirs are the boxes of the rotated rectangle. Boxes are cut at the border.
    - Areas of segments scale with the determinant and with the share of the box that is inside.
    - Of whom less than MIN_SHARE of the box or less than MIN_JOINTS joints remain in the newest
      frame, there is something to be seen but nobody to be found: they become a crowd, without
      joints, and the mask leaves out their box. In an older frame they are not in the frame.
    - Who is in no frame any more is left out.
    - The surroundings of the image hold nobody: the mask is true there.

    :param matrix: ``[2, 3]``, from pixels of ``sample`` to those of the result.
    :param size: Height and width of the result.
    :param mask_stride: Pixels of ``sample`` per cell of its mask.
    """
    matrix = matrix.double()
    determinant = float(torch.linalg.det(matrix[:, :2]))
    keypoints = _warp_keypoints(sample.keypoints, matrix, size, mirrored=determinant < 0)
    seen = _warp_boxes(sample, matrix, size)
    counts_before = (sample.keypoints[..., 2] > 0).sum(-1)
    counts = (keypoints[..., 2] > 0).sum(-1)
    lost = (counts < MIN_JOINTS) & (counts_before >= MIN_JOINTS)
    is_rest = (seen.shares > 0) & ((seen.shares < MIN_SHARE) | lost)
    is_rest &= ~sample.is_crowd[:, None]
    is_crowd = sample.is_crowd | is_rest[:, -1]
    is_in_frame = (seen.shares > 0) & ~is_rest
    is_in_frame[:, -1] |= is_rest[:, -1]
    has_joints = is_in_frame & ~is_crowd[:, None]
    areas = sample.areas * abs(determinant) * seen.shares
    kept = is_in_frame.any(1)
    mask = _warp_mask(sample.mask, matrix, size, mask_stride)
    return sample._replace(
        boxes=(seen.boxes * is_in_frame[..., None])[kept].float(),
        keypoints=(keypoints * has_joints[..., None, None])[kept].float(),
        areas=(areas * is_in_frame)[kept].float(),
        activities=sample.activities[kept],
        is_crowd=is_crowd[kept],
        mask=mask & ~_covered(seen.boxes[is_rest[:, -1], -1], mask),
        transform=compose(matrix, sample.transform).float(),
    )


def warp_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Return points ``[..., 2]`` moved by an affine map ``[2, 3]``."""
    return points.to(matrix.dtype) @ matrix[:, :2].T + matrix[:, 2]


def _warp_keypoints(
    keypoints: Tensor, matrix: Tensor, size: tuple[int, int], *, mirrored: bool
) -> Tensor:
    points = warp_points(keypoints[..., :2], matrix)
    limits = torch.tensor([size[1], size[0]]) - 0.5
    inside = ((points >= -0.5) & (points < limits)).all(-1)
    visibilities = keypoints[..., 2] * inside
    points = points * (visibilities > 0)[..., None]
    moved = torch.cat([points, visibilities[..., None].to(points.dtype)], dim=-1)
    return moved[..., list(FLIPPED), :] if mirrored else moved


def _warp_boxes(sample: FrameSample, matrix: Tensor, size: tuple[int, int]) -> _Seen:
    boxes = sample.boxes.double()
    lows, highs = boxes[..., :2], boxes[..., 2:]
    is_present = (highs > lows).all(-1)
    sides = ((highs - lows) / 2)[..., None, :] * matrix[:, :2]
    ellipses, rectangles = sides.square().sum(-1).sqrt(), sides.abs().sum(-1)
    extents = torch.where(sample.is_crowd[:, None, None], rectangles, ellipses)
    centres = warp_points((lows + highs) / 2, matrix)
    joints = sample.keypoints[..., :2].double()
    held = (joints >= lows[..., None, :]) & (joints <= highs[..., None, :])
    held = (held.all(-1) & (sample.keypoints[..., 2] > 0))[..., None]
    moved = warp_points(joints, matrix)
    new_lows = (centres - extents).minimum(moved.where(held, torch.inf).amin(-2))
    new_highs = (centres + extents).maximum(moved.where(held, -torch.inf).amax(-2))
    limits = torch.tensor([size[1], size[0]], dtype=torch.float64) - 0.5
    cut_lows = new_lows.clamp_min(-0.5).minimum(limits)
    cut_highs = new_highs.minimum(limits).clamp_min(-0.5)
    shares = (cut_highs - cut_lows).prod(-1) / (new_highs - new_lows).prod(-1).clamp_min(1e-9)
    return _Seen(torch.cat([cut_lows, cut_highs], dim=-1), shares * is_present)


def _warp_mask(mask: Tensor, matrix: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    cells = compose(_to_cells(MASK_STRIDE), compose(matrix, _from_cells(stride)))
    warped = cv2.warpAffine(
        mask.numpy().astype(np.uint8),
        cells.numpy(),
        (size[1] // MASK_STRIDE, size[0] // MASK_STRIDE),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=[1],
    )
    return torch.from_numpy(warped.astype(bool))


def _covered(boxes: Tensor, mask: Tensor) -> Tensor:
    """Return the cells of a mask that any of some boxes ``[K, 4]`` touches."""
    rows, columns = (torch.arange(side) * MASK_STRIDE for side in mask.shape)
    first, last = -0.5, MASK_STRIDE - 0.5
    is_row = (rows + last > boxes[:, 1:2]) & (rows + first < boxes[:, 3:4])
    is_column = (columns + last > boxes[:, 0:1]) & (columns + first < boxes[:, 2:3])
    return (is_row[:, :, None] & is_column[:, None, :]).any(0)


def _from_cells(stride: int) -> Tensor:
    middle = (stride - 1) / 2
    return torch.tensor([[stride, 0.0, middle], [0.0, stride, middle]], dtype=torch.float64)


def _to_cells(stride: int) -> Tensor:
    middle = -(stride - 1) / 2 / stride
    return torch.tensor(
        [[1 / stride, 0.0, middle], [0.0, 1 / stride, middle]], dtype=torch.float64
    )
