"""Where the runs of a comparison compute: one worker per GPU, or workers on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import os

from mtl_perception.network.config import to_mapping
from mtl_training.comparison.plan import PlannedRun
from mtl_training.config import TrainingConfig
import torch


def uses_gpus(config: TrainingConfig) -> bool:
    """Tell whether runs of a config compute on GPUs of this machine."""
    return config.accelerator in ('auto', 'cuda') and torch.cuda.is_available()


def choose_devices(configs: Sequence[TrainingConfig], jobs: int | None) -> list[str | None]:
    """
    Return the device of each worker, as a value for CUDA_VISIBLE_DEVICES; None for the CPU.

    :param configs: Of all runs, at least one.
    :param jobs: How many workers; by default one per GPU, or as the cores suffice.
    :raises ValueError: If ``jobs`` is not positive, or the runs want different devices.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f'--jobs must be at least 1, got {jobs}.')
    config, num_runs = configs[0], len(configs)
    # Any worker may get any run.
    for name in ('accelerator', 'threads'):
        if others := [v for c in configs if (v := getattr(c, name)) != getattr(config, name)]:
            raise ValueError(
                f'{name} must be the same in all runs of a comparison, got '
                f'{getattr(config, name)} and {others[0]}.'
            )
    if not uses_gpus(config):
        cores = len(os.sched_getaffinity(0)) // (config.threads or 1)
        return [None] * min(num_runs, jobs or max(1, cores))
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    names = named.split(',') if named else [str(i) for i in range(torch.cuda.device_count())]
    return [names[i % len(names)] for i in range(min(num_runs, jobs or len(names)))]


def with_threads(run: PlannedRun) -> dict[str, object]:
    """Return the config of a run, as plain values, with one thread unless it says otherwise."""
    config = run.config
    if config.threads is None and not uses_gpus(config):
        config = replace(config, threads=1)
    return to_mapping(config)
