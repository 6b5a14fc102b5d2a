"""Videos to features: read in the background, in batches of one shape, stored one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, NamedTuple

from mtl_perception.network.config import to_mapping
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training.dataset_tools.processes import streams_of_processes
from mtl_training.features.folder import FeatureFolder
from mtl_training.features.models import FeatureModel
from mtl_training.features.progress import VideoProgress
from mtl_training.features.reading import VideoEnd, Window, WindowReader
from mtl_training.features.sources import Source
from mtl_training.features.windows import WindowConfig
import numpy as np
from numpy.typing import NDArray
import torch

FORMAT = 1
DTYPES = ('float16', 'float32')
_BATCHES_AHEAD = 2
_PATIENCE_SEC = 0.2
CRASHED = 'ends the process that decodes it'


@dataclass(slots=True)
class Extracted:
    """What became of the videos."""

    stored: list[str] = field(default_factory=list)
    repaired: dict[str, str] = field(default_factory=dict)  # path: what was damaged
    failed: dict[str, str] = field(default_factory=dict)  # path: why there are no features
    num_windows: int = 0


class FeatureExtractor:
    """
    Make the features of videos.

    :param model: What makes them.
    :param config: How videos are cut; it samples as many frames as the model sees.
    :param device: Of the model.
    :param dtype: How features are stored: float16 or float32.
    :param batch_size: Windows per pass; each pass has as many.
    :raises ValueError: If a setting is out of range, or the model can't see such windows.
    """

    def __init__(
        self,
        model: FeatureModel,
        config: WindowConfig,
        device: torch.device,
        *,
        dtype: str = 'float32',
        batch_size: int = 8,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f'dtype must be one of {DTYPES}, got {dtype!r}.')
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}.')
        self._model, self._config, self._device = model, config, device
        self._dtype = np.dtype(dtype)
        self._preprocessor = FramePreprocessor(model.preprocessing).to(device)
        shape = (batch_size, model.num_frames, *model.preprocessing.resize, 3)
        self._batch = torch.zeros(shape, dtype=torch.uint8, pin_memory=device.type == 'cuda')
        self.dim = self._features(self._batch).shape[1]

    def facts(self) -> dict[str, Any]:
        """Return what features of this model are of, as in ``features.json``."""
        return {
            'format': FORMAT,
            'model': self._model.name,
            'weights_sha256': self._model.digest,
            'dim': self.dim,
            'window': self._config.frames,
            'stride': self._config.stride,
            'rate_hz': self._config.rate_hz,
            'num_frames': self._model.num_frames,
            'dtype': self._dtype.name,
            'preprocessing': to_mapping(self._model.preprocessing),
        }

    def of_videos(
        self, sources: Sequence[Source], *, workers: int = 0
    ) -> Iterator[tuple[Source, NDArray[np.floating] | None, VideoEnd | float]]:
        """
        Yield the features of each video with its end, and in between how much of one is done.

        What can't be read has an end with a ``failure`` and no features.

        :param workers: Processes that read videos; 0: a thread of this one.
        """
        reader = WindowReader(
            self._config, self._model.preprocessing.resize, self._model.preprocessing.fit
        )
        rows: dict[str, list[NDArray[np.floating]]] = {source.name: [] for source in sources}
        with _in_background(_batches(reader, sources, workers, len(self._batch))) as batches:
            for batch in batches:
                for i, (_, window) in enumerate(batch.windows):
                    self._batch[i] = torch.from_numpy(window.frames)
                found = self._features(self._batch)[: len(batch.windows)]
                for (source, window), row in zip(batch.windows, found):
                    rows[source.name].append(row)
                    yield source, None, window.share
                for source, end in batch.ends:
                    features = rows.pop(source.name)
                    if end.failure:
                        yield source, None, end
                    elif not np.isfinite(stacked := np.stack(features)).all():
                        reason = f'its features are not finite as {self._dtype.name}'
                        yield source, None, VideoEnd(0, failure=reason)
                    else:
                        yield source, stacked, end

    def _features(self, frames: torch.Tensor) -> NDArray[np.floating]:
        on_device = frames.to(self._device, non_blocking=True)
        features = self._model(on_device, self._preprocessor).cpu().numpy()
        with np.errstate(over='ignore'):  # what is too large for float16 is told
            return features.astype(self._dtype)


def extract(
    extractor: FeatureExtractor,
    sources: Sequence[Source],
    folder: FeatureFolder,
    *,
    workers: int = 0,
    progress: VideoProgress,
) -> Extracted:
    """Write the features of all videos that are not there yet."""
    result = Extracted()
    missing = []
    for source in sources:
        if folder.has(source):
            progress.skip(source)
        else:
            missing.append(source)
    for source, features, end in extractor.of_videos(missing, workers=workers):
        if not isinstance(end, VideoEnd):
            result.num_windows += 1
            progress.window(source, end)
            continue
        path = str(source.entry.path)
        if features is None:
            result.failed[path] = end.failure
        else:
            folder.store(source, features, num_frames=end.num_frames, problem=end.problem)
            result.stored.append(source.name)
            if end.problem:
                result.repaired[path] = end.problem
        progress.end(source)
    return result


class _Batch(NamedTuple):
    windows: list[tuple[Source, Window]]
    ends: list[tuple[Source, VideoEnd]]  # of the videos whose last window this batch holds


def _batches(
    reader: WindowReader, sources: Sequence[Source], workers: int, size: int
) -> Iterator[_Batch]:
    """Gather the windows of several videos, which come mixed from several processes."""
    batch = _Batch([], [])
    for source, piece in streams_of_processes(reader, sources, workers):
        if isinstance(piece, Window):
            batch.windows.append((source, piece))
        else:
            batch.ends.append((source, piece or VideoEnd(0, failure=CRASHED)))
        if len(batch.windows) == size:
            yield batch
            batch = _Batch([], [])
    if batch.windows or batch.ends:
        yield batch


class _Failed(NamedTuple):
    error: BaseException


@contextmanager
def _in_background(items: Iterator[_Batch]) -> Iterator[Iterator[_Batch]]:
    """Let a thread go through an iterator, a few items ahead; at the end it is closed."""
    queue: Queue[_Batch | _Failed | None] = Queue(_BATCHES_AHEAD)
    is_over = Event()

    def put(item: _Batch | _Failed | None) -> None:
        while not is_over.is_set():
            try:
                return queue.put(item, timeout=_PATIENCE_SEC)
            except Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if is_over.is_set():
                    break
            put(None)
        except BaseException as error:  # raised again where they are taken
            put(_Failed(error))
        finally:
            items.close()  # type: ignore[attr-defined]

    def taken() -> Iterator[_Batch]:
        while True:
            try:
                # Not without end: an interruption should be heard.
                item = queue.get(timeout=_PATIENCE_SEC)
            except Empty:
                continue
            if isinstance(item, _Failed):
                raise item.error
            if item is None:
                return
            yield item

    thread = Thread(target=work, name='videos', daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        is_over.set()
        thread.join()
