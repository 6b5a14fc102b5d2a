"""What makes features of windows: a clip trunk of a checkpoint, or a published video network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import hashlib
from pathlib import Path

from mtl_perception.checkpoint import load_network, read_state_dict
from mtl_perception.network.config import NetworkConfig, PreprocessingConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training.tables import choose
from mtl_training.weights_download import download_weights
import torch
from torch import nn, Tensor
import torchvision
from torchvision.models import get_model_weights

# Model of torchvision -> the frames of a clip that it was published with, and the module that
# makes classes of its features.
VIDEO_MODELS = {
    'mc3_18': (16, 'fc'),
    'mvit_v1_b': (16, 'head'),
    'mvit_v2_s': (16, 'head'),
    'r2plus1d_18': (16, 'fc'),
    'r3d_18': (16, 'fc'),
    's3d': (32, 'classifier'),  # published with 128 frames: a window has fewer
    'swin3d_b': (32, 'head'),
    'swin3d_s': (32, 'head'),
    'swin3d_t': (32, 'head'),
}
DEFAULT, NONE = 'default', 'none'


@dataclass(frozen=True, slots=True)
class FeatureModel:
    """
    A frozen network from clips to features.

    :param name: Of the model, or of the task whose features they are.
    :param digest: SHA-256 of the file of its weights; empty for random ones.
    :param network: From normalised clips, ``[B, 3, T, h, w]``, to ``[B, D]``.
    :param preprocessing: From frames to clips.
    :param num_frames: T.
    :param window_frames: How many frames at 30 Hz it is used to see of a window.
    """

    name: str
    digest: str
    network: Callable[[Tensor], Tensor]
    preprocessing: PreprocessingConfig
    num_frames: int
    window_frames: float = 32.0

    @torch.inference_mode()
    def __call__(self, frames: Tensor, preprocessor: FramePreprocessor) -> Tensor:
        """Return the features, float32 ``[B, D]``, of frames, ``uint8 [B, T, h, w, 3]``."""
        return self.network(preprocessor.clips(frames)).float()


def model_of_checkpoint(path: str | Path, task: str | None, device: torch.device) -> FeatureModel:
    """
    Return the clip trunk of a checkpoint, up to the head of one of its tasks.

    :param task: Whose features; ``None``: what the memory trunk remembers, or the only ones.
    :raises ValueError: If the checkpoint can't be read or has no such task.
    """
    network, _ = load_network(path)
    chosen = clip_task(network.config, task, str(path))
    trunk = network.config.trunks[network.config.tasks[chosen].trunk]
    return FeatureModel(
        name=chosen,
        digest=_sha256(Path(path)),
        network=TrunkFeatures(network.deploy().to(device), chosen),
        preprocessing=trunk.preprocessing,
        num_frames=trunk.num_frames,
        window_frames=30.0 * trunk.clip_seconds,
    )


class TrunkFeatures:
    """From clips to what the head of a task sees of them."""

    def __init__(self, network: MultiTaskNetwork, task: str) -> None:
        self._network, self._task = network, task
        self._trunk = network.config.tasks[task].trunk

    def __call__(self, clips: Tensor) -> Tensor:
        """Return ``[B, D]`` of normalised clips, ``[B, 3, T, h, w]``."""
        return self._network.features({self._trunk: clips})[self._task]


def clip_task(config: NetworkConfig, task: str | None, where: str) -> str:
    """
    Return the clip task whose features are meant.

    :param task: As the user said, or ``None``.
    :param where: The checkpoint, for messages.
    :raises ValueError: If there is none, or several with features of their own.
    """
    clips = {t: name for name in config.trunks_of('clip') for t in config.tasks_of(name)}
    if task is not None:
        if task not in clips:
            raise ValueError(
                f"--task '{task}' is no clip task of '{where}', which has {[*clips]}."
            )
        return task
    if not clips:
        raise ValueError(f"--checkpoint '{where}' must have a task of clips, got none.")
    graphs = (trunk.graph for trunk in config.trunks.values() if trunk.graph is not None)
    if source := next((graph.source for graph in graphs if graph.source), None):
        return source
    trunks = set(clips.values())
    if len(clips) > 1 and (len(trunks) > 1 or config.trunks[min(trunks)].sharing != 'hard'):
        raise ValueError(
            f"--task must say whose features are meant, '{where}' has several: {[*clips]}."
        )
    return next(iter(clips))


def model_of_torchvision(name: str, weights: str, device: torch.device) -> FeatureModel:
    """
    Return a video network of torchvision without its classifier.

    :param name: A key of :data:`VIDEO_MODELS`.
    :param weights: default: the published ones, downloaded; none: random ones, always the same;
        or a file of a state dict, in which a classifier may be missing.
    :raises ValueError: If the model is unknown, or the weights can't be read or do not fit.
    """
    num_frames, head = choose(VIDEO_MODELS, name, 'video model of torchvision')
    path = None
    if weights != NONE:
        path = download_weights(name, '--weights') if weights == DEFAULT else Path(weights)
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        network: nn.Module = getattr(torchvision.models.video, name)()
    setattr(network, head, nn.Identity())
    if path is not None:
        state = {k: v for k, v in read_state_dict(path).items() if not k.startswith(f'{head}.')}
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            reason = ' '.join(str(error).split())[:300]
            raise ValueError(f"--weights '{path}' do not fit {name}: {reason}") from error
    return FeatureModel(
        name=name,
        digest=_sha256(path) if path else '',
        network=network.eval().requires_grad_(False).to(device),
        preprocessing=published_preprocessing(name),
        num_frames=num_frames,
    )


def published_preprocessing(name: str) -> PreprocessingConfig:
    """Return what torchvision did to the frames that a model learnt from, as our settings."""
    published = get_model_weights(name).DEFAULT.transforms()
    size, crop = list(published.resize_size), tuple(published.crop_size)
    # One number is the short side; a square of it is cut out of the middle, then cropped.
    return PreprocessingConfig(
        resize=(size[0], size[-1]),
        fit='stretch' if len(size) == 2 else 'crop',
        crop=crop,
        mean=tuple(published.mean),
        std=tuple(published.std),
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
