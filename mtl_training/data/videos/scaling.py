"""From decoded frames straight to the training size, as the robot sees them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import Any, cast, NamedTuple

import av
from av.filter import Graph
from mtl_perception.network.config import PreprocessingConfig
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training.data.decoding import Frame, quarter_turns, upright
import numpy as np
import torch

# Of everything that changes the frames; what was cached with another one is not used.
VERSION = 1
# Of its ways to scale, the one that is like the robot's: a triangle as wide as a pixel of the
# result, and colours computed for every pixel: without, a plain dark grey is off by 3 levels.
_SCALING = 'bilinear+accurate_rnd+full_chroma_int+full_chroma_inp'
_MAX_GRAPHS = 8


class Placement(NamedTuple):
    """One axis of an image: the pixels that are kept, and where they go."""

    start: int
    window: int
    bar: int  # pixels of padding before them
    inner: int


class FrameScaler:
    """
    Cut and scale frames to one size by FFmpeg's scaler, while colours are converted.

    Within 2 grey levels, on average, of what :class:`FramePreprocessor` makes of the whole frame,
    and several times as fast, as the frame is never in RGB at its full size.

    :param size: (height, width) of the result.
    :param fit: How a frame of another aspect ratio meets ``size``: crop, pad or stretch.
    """

    def __init__(self, size: tuple[int, int], fit: str) -> None:
        self._size, self._fit = size, fit
        self._upright = FramePreprocessor(PreprocessingConfig(resize=size, fit=fit))
        self._turned = FramePreprocessor(PreprocessingConfig(resize=size[::-1], fit=fit))
        self._bars = np.round(np.array(self._upright.config.mean) * 255).clip(0, 255)
        self._graphs: dict[Any, Callable[[Any], Frame]] = {}

    def __reduce__(self) -> Any:
        """Travel to other processes without what belongs to this one."""
        return FrameScaler, (self._size, self._fit)

    def __call__(self, frame: Any) -> Frame:
        """Return an ``av.VideoFrame`` as it is to be seen, RGB, ``uint8 [h, w, 3]``."""
        is_turned = bool(quarter_turns(frame) % 2)
        kind = (frame.width, frame.height, frame.format.name, is_turned)
        if kind not in self._graphs:
            if len(self._graphs) == _MAX_GRAPHS:
                self._graphs.clear()
            self._graphs[kind] = self._graph(frame, self._turned if is_turned else self._upright)
        return upright(self._graphs[kind](frame), frame)

    def of_rgb(self, picture: Frame) -> Frame:
        """Return a picture at the training size, RGB, ``uint8 [h, w, 3]``."""
        resized = self._upright.resize(torch.from_numpy(picture)[None])[0]
        return resized.permute(1, 2, 0).contiguous().numpy()

    def _graph(self, frame: Any, preprocessor: FramePreprocessor) -> Callable[[Any], Frame]:
        rows, columns = placements(preprocessor, (frame.height, frame.width))
        graph = Graph()
        # Where the binding can't say so, the scaler of one small frame has no use for more.
        with suppress(AttributeError):
            graph.threads = 1
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1, 1000),
        )
        crop = f'{columns.window}:{rows.window}:{columns.start}:{rows.start}:exact=1'
        filters = (
            source,
            graph.add('crop', crop),
            graph.add('scale', f'{columns.inner}:{rows.inner}:flags={_SCALING}'),
            graph.add('format', 'pix_fmts=rgb24'),
            graph.add('buffersink'),
        )
        graph.link_nodes(*filters)
        graph.configure()
        height, width = preprocessor.config.resize

        def run(frame: Any) -> Frame:
            graph.push(frame)
            picture: Frame = np.asarray(cast('av.VideoFrame', graph.pull()).to_ndarray(), np.uint8)
            if picture.shape[:2] == (height, width):
                return picture
            padded = np.empty((height, width, 3), np.uint8)
            padded[:] = self._bars
            inside = padded[rows.bar : rows.bar + rows.inner, columns.bar :]
            inside[:, : columns.inner] = picture
            return padded

        return run


def placements(preprocessor: FramePreprocessor, size: tuple[int, int]) -> list[Placement]:
    """
    Return what a preprocessor without ``crop`` does with the rows and the columns of an image.

    :param size: Height and width of the image.
    """
    matrix = preprocessor.transform(size).tolist()
    found = []
    for axis, length in enumerate(size):
        scale = matrix[1 - axis][1 - axis]
        full = preprocessor.config.resize[axis]
        inner = min(full, round(scale * length))
        window = min(length, round(inner / scale))
        start, bar = (length - window) // 2, (full - inner) // 2
        found.append(Placement(start, window, bar, inner))
    return found
