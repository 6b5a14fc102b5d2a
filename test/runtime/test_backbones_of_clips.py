"""Trunks with fully connected layers, and those that look at single frames, on the robot."""

from __future__ import annotations

from pathlib import Path

from mtl_perception.checkpoint import load_network, save_checkpoint
from mtl_perception.network.config import (
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.runtime.clip_buffer import Admission
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.recognizer import Recognizer
from mtl_perception.runtime.results import RecognitionSettings
import numpy as np
import pytest
import torch

SECOND = 1_000_000_000
NOW = 1_795_000_000 * SECOND


def written(path: Path, backbone: str, num_frames: int) -> Path:
    """Write a checkpoint of a network with random weights."""
    trunk = TrunkConfig(
        backbone=backbone,
        width=1,
        num_frames=num_frames,
        preprocessing=PreprocessingConfig(resize=(32, 48)),
    )
    config = NetworkConfig(
        trunks={'clip': trunk}, tasks={'action': TaskConfig(labels=('walk', 'run', 'sit'))}
    )
    torch.manual_seed(0)
    save_checkpoint(path, MultiTaskNetwork(config), metrics={}, training={})
    return path


@pytest.mark.parametrize(
    'backbone, num_frames', [('vgg', 1), ('resnet_image', 1), ('vgg', 3), ('c3d', 16)]
)
def test_a_recognition_is_what_the_network_says_of_the_newest_frames(
    backbone: str, num_frames: int, tmp_path: Path
) -> None:
    path = written(tmp_path / 'network.safetensors', backbone, num_frames)
    recognizer = Recognizer(Engine(path, device='cpu', precision='float32'))
    assert recognizer.clip_sec == (0 if num_frames == 1 else 2)
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, 40, 60, 3), np.uint8)
    step = 2 * SECOND // max(num_frames - 1, 1)
    for index, pixels in enumerate(frames):
        admission = recognizer.add_frame(Picture(pixels), NOW + index * step, frame_id='camera')
        assert admission is Admission.STORED
    (found,) = recognizer.recognise(RecognitionSettings(top_k=3)).recognitions
    network, saved = load_network(path)
    preprocess = FramePreprocessor(saved.config.trunks['clip'].preprocessing)
    with torch.inference_mode():
        logits = network({'clip': preprocess.clips(torch.from_numpy(frames[None]))})['action']
    expected = dict(zip(('walk', 'run', 'sit'), logits[0].softmax(-1).tolist()))
    assert dict(found.top_k) == pytest.approx(expected, abs=1e-5)
    assert found.stamp_ns == NOW + (num_frames - 1) * step
    assert found.clip_start_ns == NOW


def test_every_frame_is_a_clip_of_one_frame_however_fast_they_come(tmp_path: Path) -> None:
    path = written(tmp_path / 'network.safetensors', 'resnet_image', 1)
    recognizer = Recognizer(Engine(path, device='cpu', precision='float32'))
    for index in range(30):
        stamp = NOW + index * SECOND // 1000
        pixels = np.full((32, 48, 3), index, np.uint8)
        assert recognizer.add_frame(Picture(pixels), stamp) is Admission.STORED
        (found,) = recognizer.recognise(RecognitionSettings()).recognitions
        assert found.clip_start_ns == found.stamp_ns == stamp


def test_half_precision_is_taken_only_where_it_says_the_same(tmp_path: Path) -> None:
    path = written(tmp_path / 'network.safetensors', 'c3d', 16)
    engine = Engine(path, device='cpu', precision='bfloat16')
    reference = Engine(path, device='cpu', precision='float32')
    clip = torch.randn(1, 3, 16, 32, 48)
    found = engine.infer({'clip': clip.bfloat16()}).scores['action']
    np.testing.assert_allclose(found, reference.infer({'clip': clip}).scores['action'], atol=5e-2)
