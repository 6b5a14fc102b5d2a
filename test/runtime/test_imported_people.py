"""People that weights of torchvision find, from the pixels of a camera to what is said."""

from __future__ import annotations

from pathlib import Path

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network import load_torchvision_weights, MultiTaskNetwork
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.network.torchvision_retinanet import retinanet_config
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.recognizer import Recognizer
from mtl_perception.runtime.results import RecognitionSettings
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

SIZE = (64, 64)


@pytest.fixture(scope='module')
def retinanet() -> RetinaNet:
    """Build torchvision's RetinaNet on a ResNet-18, which finds people everywhere."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name='resnet18',
        weights=None,
        norm_layer=nn.BatchNorm2d,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    scales = (1, 2 ** (1 / 3), 2 ** (2 / 3))
    sizes = tuple(tuple(int(x * scale) for scale in scales) for x in (32, 64, 128, 256, 512))
    network = RetinaNet(
        backbone,
        2,
        min_size=SIZE[0],
        max_size=SIZE[1],
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5),
        topk_candidates=10**6,
        detections_per_img=10**6,
    ).eval()
    head = network.head.classification_head.cls_logits
    nn.init.normal_(head.weight, std=0.1)
    nn.init.zeros_(head.bias)
    torch.set_rng_state(state)
    return network


@torch.no_grad()
def test_boxes_are_those_of_torchvision_in_pixels_of_the_camera(
    retinanet: RetinaNet, tmp_path: Path
) -> None:
    weights = retinanet.state_dict()
    network = MultiTaskNetwork(retinanet_config(weights, size=SIZE, norm_eps=1e-5))
    load_torchvision_weights(network, weights, trunk='frame')
    path = tmp_path / 'person.safetensors'
    save_checkpoint(path, network, metrics={}, training={})
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)

    recognizer = Recognizer(Engine(path, device='cpu', precision='float32'))
    recognizer.add_frame(Picture(image), 1_000_000_000, frame_id='camera', received_sec=0.0)
    people = recognizer.recognise(RecognitionSettings(min_person_score=0.1)).people
    assert people is not None
    found = np.stack([person.box for person in people.people])

    preprocess = FramePreprocessor(network.config.trunks['frame'].preprocessing)
    (theirs,) = retinanet([*preprocess.resize(torch.from_numpy(image[None])) / 255])
    is_person = theirs['labels'] == 1
    # By hand: half as large between bars of 8 rows; theirs count from the corner of the image.
    corners = theirs['boxes'][is_person].numpy().reshape(-1, 2, 2)
    originals = (corners - [0, 8]) * 2 - 0.5
    expected = np.clip(originals, -0.5, [127.5, 95.5]).reshape(-1, 4)
    assert len(found) > 3
    distances = np.abs(found[:, None] - expected).max(2)
    assert distances.min(1).max() < 0.05
