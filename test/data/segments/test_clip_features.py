"""Clips as windows of features, by the trunk of a checkpoint."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network import from_mapping, MultiTaskNetwork, NetworkConfig
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_training.data.segments import clip_features as module
from mtl_training.data.segments.clip_features import clip_features
from mtl_training.data.synthetic import SyntheticClips
import pytest
import torch

NODES = SimpleNamespace(num_nodes=1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    trunk = {
        'width': 2,
        'num_frames': 4,
        'clip_seconds': 1.0,
        'preprocessing': {'resize': [16, 16]},
    }
    config = {'trunks': {'clip': trunk}, 'tasks': {'gesture': {'labels': ['a', 'b']}}}
    network = MultiTaskNetwork(from_mapping(NetworkConfig, config)).eval()
    path = tmp_path / 'trunk.safetensors'
    save_checkpoint(path, network, metrics={}, training={})
    return path


def build(checkpoint: Path, kind: str = 'recognition', dim: int = 16, **own: Any) -> Any:
    return clip_features(
        'seen',
        kind,
        'val',
        settings=NODES,
        graph=GraphConfig(feature_dim=dim),
        dataset='synthetic',
        checkpoint=str(checkpoint),
        features_dir=str(checkpoint.parent / 'features'),
        **own,
    )


def test_a_window_is_the_feature_of_a_clip_and_made_once(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = build(checkpoint, num_clips=3)
    clips = SyntheticClips('gesture', 'val', 3, num_frames=4, clip_seconds=1.0, size=(16, 16))
    model = module.model_of_checkpoint(checkpoint, None, torch.device('cpu'))
    for i in range(3):
        frames = clips[i].frames[None]
        expected = model(frames, FramePreprocessor(model.preprocessing)).expand(3, -1)
        torch.testing.assert_close(dataset[i].features, expected[None])
        assert dataset[i].target.tolist() == [clips[i].label]
        assert dataset.concepts[dataset.concept_of(i)] == clips.labels[clips[i].label]
    assert dataset.groups == {'gesture': clips.labels}
    render, calls = module._Extraction.render, []
    monkeypatch.setattr(
        module._Extraction, 'render', lambda self, i: calls.append(i) or render(self, i)
    )
    build(checkpoint, num_clips=3)
    assert calls == [0]  # how many dimensions there are
    build(checkpoint, num_clips=3, augment=False)  # as prototypes are recorded
    assert calls == [0, 0]
    build(checkpoint, num_clips=3, seed=1)
    assert len(calls) > 3


def test_what_does_not_fit_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"feature_dim .* 16 of 'gesture' .* got 5"):
        build(checkpoint, dim=5, num_clips=1)
    with pytest.raises(ValueError, match='is for tasks of kind recognition, got state_change'):
        build(checkpoint, 'state_change')
    with pytest.raises(ValueError, match='augment must be false'):
        build(checkpoint, augment=True)
    with pytest.raises(ValueError, match="has no setting 'num_clip'"):
        build(checkpoint, num_clip=1)
