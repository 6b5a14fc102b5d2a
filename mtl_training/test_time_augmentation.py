"""Test-time augmentation: several scales and the mirror image, averaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mtl_perception.network.config import FRAME_MULTIPLE
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.pose.decoding import box_candidates, People, suppress
from mtl_perception.network.pose.keypoints import HEATMAP_STRIDE, KeypointOutput
from mtl_perception.network.pose.skeleton import FLIPPED, NUM_KEYPOINTS
import torch
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True, slots=True)
class TestTimeAugmentation:
    """
    How often, and how, an image is looked at.

    Heatmaps are averaged at the size of the plain image's; the boxes of all scales and of the
    mirror images compete in one non-maximum suppression.

    :param scales: Of the network's input; the source takes 0.5, 1, 1.5, 2 and 2.5.
    :param flip: Look at the mirror image too.
    """

    __test__ = False  # no test, whatever pytest makes of the name

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if not self.scales or not all(0.1 <= scale <= 8 for scale in self.scales):
            raise ValueError(f'scales must be numbers from 0.1 to 8, got {self.scales}.')

    def run(
        self, network: MultiTaskNetwork, trunk: str, frames: Tensor
    ) -> tuple[dict[str, Any], People | None]:
        """
        Return the outputs of the frame tasks, and the people where the network detects any.

        :param frames: Normalised, ``[B, 3, h, w]``.
        :return: The outputs are those of the plain image, but for the averaged heatmaps. It is
            looked at for them even if the scales leave it out.
        """
        size = (frames.shape[2], frames.shape[3])
        cells = [side // HEATMAP_STRIDE for side in size]
        detection = network.config.task_of_kind('detection')
        keypoints = network.config.task_of_kind('keypoints')
        outputs: dict[str, Any] = {}
        heatmaps: list[Tensor] = []
        candidates: list[tuple[Tensor, Tensor]] = []
        for view, flipped in self._views(frames):
            own = network({trunk: view})
            if view is frames:
                outputs = own
            if keypoints:
                maps = _upright(own[keypoints].heatmaps.float(), flipped)
                heatmaps.append(interpolate(maps, cells, mode='bilinear', align_corners=False))
            if detection:
                candidates.append(_boxes(network, own[detection], view, size, flipped))
        outputs = outputs or network({trunk: frames})
        if keypoints:
            mean = torch.stack(heatmaps).mean(0)
            outputs[keypoints] = KeypointOutput(mean, outputs[keypoints].intermediate)
        if not detection:
            return outputs, None
        boxes, scores = (torch.cat(parts, 1) for parts in zip(*candidates))
        config: Any = network.heads[detection].config
        return outputs, network.poses_in(*suppress(boxes, scores, config), outputs)

    def _views(self, frames: Tensor) -> Iterator[tuple[Tensor, bool]]:
        for scale in self.scales:
            sides = [
                max(1, round(side * scale / FRAME_MULTIPLE)) * FRAME_MULTIPLE
                for side in frames.shape[2:]
            ]
            view = frames
            if sides != [*frames.shape[2:]]:
                view = interpolate(frames, sides, mode='bilinear', antialias=True)
            yield view, False
            if self.flip:
                yield view.flip(3), True


NO_AUGMENTATION = TestTimeAugmentation()


def _upright(heatmaps: Tensor, flipped: bool) -> Tensor:
    return heatmaps.flip(3)[:, [*FLIPPED, NUM_KEYPOINTS]] if flipped else heatmaps


def _boxes(
    network: MultiTaskNetwork, output: Any, view: Tensor, size: tuple[int, int], flipped: bool
) -> tuple[Tensor, Tensor]:
    """Return candidates in pixels of the plain image."""
    height, width = view.shape[2:]
    detection = network.config.task_of_kind('detection')
    assert detection is not None
    config: Any = network.heads[detection].config
    boxes, scores = box_candidates(output, config, (height, width))
    if flipped:
        left, top, right, bottom = boxes.unbind(-1)
        boxes = torch.stack([width - 1 - right, top, width - 1 - left, bottom], -1)
    ratio = torch.tensor([size[1] / width, size[0] / height] * 2, device=boxes.device)
    # (0, 0) is the centre of the first pixel, at any scale.
    return (boxes + 0.5) * ratio - 0.5, scores
