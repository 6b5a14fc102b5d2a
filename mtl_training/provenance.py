"""How a checkpoint came about: what goes into its metadata."""

from __future__ import annotations

import os
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


def cpu_time() -> float:
    """Return the processor time of this process and of its children that have ended, seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def rounded(times_sec: dict[str, float]) -> dict[str, float]:
    """Return times to a tenth of a second."""
    return {name: round(value, 1) for name, value in times_sec.items()}


def describe(
    config: TrainingConfig, *, iteration: int, samples: dict[str, int], cost: dict[str, float]
) -> dict[str, Any]:
    """
    Return how a network was trained.

    :param samples: Clips seen per task, repetitions counted.
    :param cost: Times that the run took so far, rendering and validation included.
    """
    return {
        'config': to_mapping(config),
        'iteration': iteration,
        'samples': samples,
        **rounded(cost),
        'cpu_threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'python': platform.python_version(),
    }
