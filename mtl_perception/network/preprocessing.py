"""From a camera image to a network input: the same numbers for training and robot."""

from __future__ import annotations

from mtl_perception.network.config import PreprocessingConfig
import torch
from torch import nn, Tensor
from torch.nn import functional as F


class FramePreprocessor(nn.Module):
    """
    Cut, resize and normalise frames as a config says.

    Split in two, so that a buffer can keep resized ``uint8`` frames and normalise them later.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, config: PreprocessingConfig) -> None:
        super().__init__()
        self.config = config
        mean, std = torch.tensor(config.mean), torch.tensor(config.std)
        # (x / 255 - mean) / std as one multiplication and one addition.
        self.register_buffer('scale', (1 / (255 * std)).view(3, 1, 1), persistent=False)
        self.register_buffer('offset', (-mean / std).view(3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Return normalised frames, float ``[N, 3, h, w]``, of RGB ``uint8 [N, H, W, 3]``."""
        return self.normalise(self.resize(frames))

    def clips(self, frames: Tensor) -> Tensor:
        """Return normalised clips, float ``[B, 3, T, h, w]``, of ``uint8 [B, T, H, W, 3]``."""
        if frames.ndim != 5:
            raise ValueError(f'frames must be [B, T, H, W, 3], got {tuple(frames.shape)}.')
        small = self.resize(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        # Laid out before it becomes four times as large.
        return self.normalise(small.transpose(1, 2).contiguous(), channel_axis=1)

    def resize(self, frames: Tensor) -> Tensor:
        """
        Return frames of the network's input size.

        :param frames: RGB, ``uint8 [N, H, W, 3]``; rows may be padded, memory may be read-only.
        :return: ``uint8 [N, 3, h, w]``, a view of ``frames`` if they have the size already.
        :raises ValueError: If ``frames`` has another layout or no pixels.
        """
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(
                f'frames must be uint8 [N, H, W, 3], got {frames.dtype} {tuple(frames.shape)}.'
            )
        if 0 in frames.shape[1:3]:
            raise ValueError(f'frames must have pixels, got {tuple(frames.shape)}.')
        images = frames.permute(0, 3, 1, 2)
        if self.config.fit == 'pad':
            images = self._letterbox(images)
        else:
            if self.config.fit == 'crop':
                images = _centre_window(images, *self._window(*frames.shape[1:3]))
            images = _resample(images, self.config.resize)
        return images if self.config.crop is None else _centre_window(images, *self.config.crop)

    def transform(self, size: tuple[int, int]) -> Tensor:
        """
        Return where :meth:`resize` puts the pixels of an image.

        :param size: Height and width of the image.
        :return: ``[2, 3]``, float64: (x', y') = matrix @ (x, y, 1), both in pixels, (0, 0) being
            the centre of the first one.
        """
        (height, width), (full_height, full_width) = size, self.config.resize
        window_height, window_width = (height, width)
        inner_height, inner_width = full_height, full_width
        if self.config.fit == 'crop':
            window_height, window_width = self._window(height, width)
        if self.config.fit == 'pad':
            inner_height, inner_width = self._inner(height, width)
        crop_height, crop_width = self.config.crop or self.config.resize
        rows = [
            _axis_map(width, window_width, inner_width, full_width, crop_width),
            _axis_map(height, window_height, inner_height, full_height, crop_height),
        ]
        (x_scale, x_offset), (y_scale, y_offset) = rows
        return torch.tensor(
            [[x_scale, 0.0, x_offset], [0.0, y_scale, y_offset]], dtype=torch.float64
        )

    def normalise(self, images: Tensor, *, channel_axis: int = -3) -> Tensor:
        """
        Return ``(images / 255 - mean) / std`` in float.

        :param images: ``uint8 [..., 3, h, w]``, or any layout with ``channel_axis`` given.
        """
        shape = [1] * images.ndim
        shape[channel_axis] = 3
        return (images * self.scale.view(shape)).add_(self.offset.view(shape))

    def _window(self, height: int, width: int) -> tuple[int, int]:
        target_height, target_width = self.config.resize
        if width * target_height > height * target_width:
            return height, max(1, round(height * target_width / target_height))
        return max(1, round(width * target_height / target_width)), width

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        full_height, full_width = self.config.resize
        scale = min(full_height / height, full_width / width)
        return (
            min(full_height, max(1, round(height * scale))),
            min(full_width, max(1, round(width * scale))),
        )

    def _letterbox(self, images: Tensor) -> Tensor:
        full_height, full_width = self.config.resize
        inner_height, inner_width = self._inner(images.shape[2], images.shape[3])
        inner = _resample(images, (inner_height, inner_width))
        if (inner_height, inner_width) == self.config.resize:
            return inner
        # Bars of the mean colour are zeros once normalised.
        colour = (torch.tensor(self.config.mean) * 255).round().clamp(0, 255)
        bars = colour.to(inner.device, torch.uint8).view(1, 3, 1, 1)
        padded = bars.repeat(len(images), 1, full_height, full_width)
        _centre_window(padded, inner_height, inner_width).copy_(inner)
        return padded


def _axis_map(length: int, window: int, inner: int, full: int, crop: int) -> tuple[float, float]:
    """Return the scale and the offset of one axis: cut, resampled, padded, cut again."""
    start, bar, cut = (length - window) // 2, (full - inner) // 2, (full - crop) // 2
    scale = inner / window
    return scale, (0.5 - start) * scale - 0.5 + bar - cut


def _centre_window(images: Tensor, height: int, width: int) -> Tensor:
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    return images[:, :, top : top + height, left : left + width]


def _resample(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[2:]) == size:
        return images
    # Only the CPU resamples integers; what it returns is the rounded float result.
    return (_resample_uint8 if images.device.type == 'cpu' else _resample_float)(images, size)


def _resample_uint8(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size, mode='bilinear', antialias=True)


def _resample_float(images: Tensor, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(images.float(), size, mode='bilinear', antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)
