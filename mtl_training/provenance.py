"""How a checkpoint came about: what goes into its metadata."""

from __future__ import annotations

from pathlib import Path
import platform
import subprocess
from typing import Any

from mtl_perception.network.config import to_mapping
from mtl_training.config import TrainingConfig
import torch


def git_revision() -> str:
    """Return the revision of the source tree, with ``-dirty`` if it was edited; '' without git."""
    root = Path(__file__).parents[1]
    if not (root / '.git').exists():
        return ''
    command = ['git', '-C', str(root), 'describe', '--always', '--dirty', '--abbrev=40']
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ''
    return done.stdout.strip()


def describe(
    config: TrainingConfig, *, iteration: int, samples: dict[str, int], wall_sec: float
) -> dict[str, Any]:
    """
    Return how a network was trained.

    :param samples: Clips seen per task, repetitions counted.
    :param wall_sec: Time since the start of the run, rendering and validation included.
    """
    return {
        'config': to_mapping(config),
        'iteration': iteration,
        'samples': samples,
        'wall_sec': round(wall_sec, 1),
        'cpu_threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'python': platform.python_version(),
    }
