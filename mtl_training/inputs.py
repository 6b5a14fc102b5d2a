"""From the batches of the tasks to what the network takes."""

from __future__ import annotations

from collections.abc import Mapping

from mtl_perception.network.config import CLIP_KINDS, GRAPH_KINDS, NetworkConfig
from mtl_perception.network.heads import settings_of
from mtl_perception.network.pose.activity import activity_inputs
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training.criteria.activity import has_activity
from mtl_training.criteria.association import association_inputs
from mtl_training.data.frame_sample import FrameBatch
from mtl_training.data.graph_sample import GraphBatch
from mtl_training.data.sample import Batch, ClipBatch
import torch
from torch import nn, Tensor


class TaskInputs(nn.Module):
    """
    Turn each task's batch into what the network takes for the task.

    In training mode, as it is when new, the inputs of the Pose Residual Network vary where its
    settings ask for it.

    :param config: The network's config.
    :param channels_last: Use the memory layout in which channels are innermost.
    :param dtype: Of the inputs: that of the network's parameters.
    """

    def __init__(
        self,
        config: NetworkConfig,
        *,
        channels_last: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self._dtype, self._channels_last = dtype, channels_last
        self._tasks = dict(config.tasks)
        self._settings = {
            name: settings_of(name, task)
            for name, task in config.tasks.items()
            if task.kind not in CLIP_KINDS
        }
        self.preprocessors = nn.ModuleDict(
            {name: FramePreprocessor(trunk.preprocessing) for name, trunk in config.trunks.items()}
        )

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """
        Return the inputs per task.

        :return: Normalised clips, ``[B, 3, T, h, w]``; normalised newest frames, ``[B, 3, h, w]``;
            the maps of the joints in the boxes of all people, ``[B * P, 17, height, width]``;
            normalised poses of the people whose activity is known, ``[N, T * 34]``: padding must
            not move the statistics of batch norms; windows of features, ``[B, N, S, D]``.
        """
        return {task: self._input(task, batch) for task, batch in batches.items()}

    def frames(self, task: str, images: Tensor) -> Tensor:
        """Return normalised frames ``[N, 3, h, w]`` of images ``uint8 [N, h, w, 3]``."""
        preprocessor = self.preprocessors[self._tasks[task].trunk]
        assert isinstance(preprocessor, FramePreprocessor)
        # Laid out before they become four times as large; the data sets have resized them already.
        layout = torch.channels_last if self._channels_last else torch.contiguous_format
        laid_out = images.permute(0, 3, 1, 2).contiguous(memory_format=layout)
        return preprocessor.normalise(laid_out).to(self._dtype)

    def _input(self, task: str, batch: Batch) -> Tensor:
        kind = self._tasks[task].kind
        if kind in CLIP_KINDS:
            assert isinstance(batch, ClipBatch)
            return self._clips(task, batch)
        if kind in GRAPH_KINDS:
            assert isinstance(batch, GraphBatch)
            return batch.features.to(self._dtype)
        assert isinstance(batch, FrameBatch)
        if kind == 'association':
            settings = self._settings[task]
            return association_inputs(batch, settings, varies=self.training).to(self._dtype)
        if kind == 'activity':
            return self._poses(task, batch).to(self._dtype)
        return self.frames(task, batch.images[:, -1])

    def _clips(self, task: str, batch: ClipBatch) -> Tensor:
        preprocessor = self.preprocessors[self._tasks[task].trunk]
        assert isinstance(preprocessor, FramePreprocessor)
        layout = torch.channels_last_3d if self._channels_last else torch.contiguous_format
        normalised = preprocessor.clips(batch.frames).to(self._dtype)
        return normalised.contiguous(memory_format=layout)

    def _poses(self, task: str, batch: FrameBatch) -> Tensor:
        counts = has_activity(batch)
        keypoints, boxes = batch.keypoints[counts], batch.boxes[:, :, -1][counts]
        sizes = torch.tensor(batch.images.shape[2:4], device=boxes.device)
        return activity_inputs(self._settings[task], keypoints, boxes, sizes)
