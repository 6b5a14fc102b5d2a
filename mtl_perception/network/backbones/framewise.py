"""Layers of images applied to clips: every frame by itself."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn, Tensor


def framewise(layers: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """
    Return what layers of images make of every frame of some clips.

    :param layers: From ``[N, C, H, W]`` to ``[N, C', H', W']``.
    :param clips: ``[B, C, T, H, W]``.
    :return: ``[B, C', T, H', W']``; its frames lie in memory as the layers have left them, so
        that one call after another copies nothing.
    """
    batch, _, num_frames = clips.shape[:3]
    images = layers(clips.transpose(1, 2).flatten(0, 1))
    return images.unflatten(0, (batch, num_frames)).transpose(1, 2)


class FrameWise(nn.Sequential):
    """Layers of images, one after the other, on every frame of a clip."""

    def forward(self, clips: Tensor) -> Tensor:
        """Return ``[B, C', T, H', W']`` of ``[B, C, T, H, W]``."""
        return framewise(super().forward, clips)
