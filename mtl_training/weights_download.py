"""Weights that torchvision publishes, downloaded by its own means."""

from __future__ import annotations

import hashlib
from pathlib import Path
import sys

from mtl_training.tables import nearest
import torch
from torchvision.models import get_model_weights

# What fits a trunk of ours.
MODELS = (
    'keypointrcnn_resnet50_fpn',
    'r3d_18',
    'resnet101',
    'resnet152',
    'resnet18',
    'resnet34',
    'resnet50',
    'retinanet_resnet50_fpn',
    'retinanet_resnet50_fpn_v2',
    *(f'vgg{depth}{norm}' for depth in (11, 13, 16, 19) for norm in ('', '_bn')),
)


def download(model: str) -> Path:
    """
    Return the file of a model's best published weights, downloaded unless it is there.

    It lies where torch keeps such files. Its name holds the beginning of its SHA-256, which is
    checked also of a file that was there.

    :param model: One of :data:`MODELS`.
    :raises ValueError: If the model is unknown, the network fails or the file is damaged.
    """
    if model not in MODELS:
        raise ValueError(f"--download knows no model '{model}'. {nearest(model, MODELS)}")
    return download_weights(model, f'--download {model}')


def download_weights(model: str, option: str) -> Path:
    """
    Return the file of the best published weights of any model of torchvision, as :func:`download`.

    :param option: What asked for it, for messages.
    :raises ValueError: If the network fails or the file is damaged.
    """
    url = get_model_weights(model).DEFAULT.url
    path = Path(torch.hub.get_dir()) / 'checkpoints' / url.rpartition('/')[2]
    digest = path.stem.rpartition('-')[2]
    if path.is_file():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if not found.startswith(digest):
            raise ValueError(f"'{path}' is damaged, its SHA-256 is {found}: delete it.")
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digest, progress=sys.stderr.isatty())
    # URLError is an OSError; a wrong digest is a RuntimeError, an interrupted answer a ValueError.
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{option}: '{url}' could not be downloaded ({error}); without a network, "
            'bring the file from elsewhere and name it with --weights.'
        ) from error
    return path
