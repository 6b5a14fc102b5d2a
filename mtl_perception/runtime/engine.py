"""The network on its device: every task's probabilities from one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import time

from mtl_perception.checkpoint import load_network
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
import numpy as np
import torch
from torch import Tensor

PRECISIONS: dict[str, torch.dtype] = {
    'float32': torch.float32,
    'bfloat16': torch.bfloat16,
    'float16': torch.float16,
}
# 'auto' leaves float32 only for a gain worth the lost digits.
WORTHWHILE_SPEEDUP = 1.25
# Of the logits and of the scores, relative. Rounding costs a few per cent; a kernel that is wrong
# for some shape, as there have been (pytorch/pytorch#169688, #163539), costs far more.
MAX_HALF_ERROR = 0.1


class Engine:
    """
    A checkpoint's network, deployed on a device in a precision, warmed up with real shapes.

    Weights and inputs are cast once, instead of at every call as autocast would: a deployed
    network has no gradients, and autocast keeps no casts of such weights.

    :param checkpoint: Path of the checkpoint.
    :param device: ``auto`` (CUDA where there is one, else the CPU), ``cpu``, ``cuda``,
        ``cuda:N``.
    :param precision: ``float32``, ``bfloat16``, ``float16`` or ``auto``: whichever of float32 and
        the device's half precision (float16 on CUDA, bfloat16 on a CPU) is measured to be faster
        at warm-up; the half must win clearly and give the same logits and scores.
    :raises CheckpointError: If the file is no usable checkpoint.
    :raises ValueError: If the device or the precision cannot be had.
    """

    def __init__(
        self, checkpoint: str | Path, *, device: str = 'auto', precision: str = 'auto'
    ) -> None:
        if precision != 'auto' and precision not in PRECISIONS:
            known = ['auto', *PRECISIONS]
            raise ValueError(f'precision must be one of {known}, got {precision!r}.')
        self.device = find_device(device)
        network, self.checkpoint = load_network(checkpoint)
        self._network: MultiTaskNetwork = network.deploy()
        self.config: NetworkConfig = self.checkpoint.config
        self.forward_sec: dict[str, float] = {}
        self.precision = self._warm_up(precision)
        self.dtype = PRECISIONS[self.precision]
        self._is_loaded = True

    @property
    def num_parameters(self) -> int:
        """Return how many numbers the deployed network holds."""
        return sum(parameter.numel() for parameter in self._network.parameters())

    def infer(self, clips: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """
        Return the probabilities ``[C + 1]`` of every task: of its labels and, last, of nothing.

        :param clips: For each trunk, ``[1, 3, T, H, W]`` on the engine's device.
        """
        with torch.inference_mode():
            scores = self._network.scores(clips)
            # One transfer, and one wait for the device, for all tasks together.
            flat = torch.cat([values[0] for values in scores.values()]).cpu().numpy()
        ends = np.cumsum([values.shape[1] for values in scores.values()])[:-1]
        return dict(zip(scores, np.split(flat, ends)))

    def load(self) -> None:
        """Bring the network back to its device after :meth:`unload`."""
        if not self._is_loaded:
            self._network.to(self.device)
            self._is_loaded = True

    def unload(self) -> None:
        """Give the device's memory back, keeping the network in the computer's."""
        self._network.to('cpu')
        self._is_loaded = False
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Drop the network."""
        self.unload()
        del self._network

    def memory_bytes(self) -> int | None:
        """Return how much of the GPU's memory this process holds, or None on a CPU."""
        return torch.cuda.memory_reserved(self.device) if self.device.type == 'cuda' else None

    def _warm_up(self, precision: str) -> str:
        half = 'float16' if self.device.type == 'cuda' else 'bfloat16'
        candidates = ['float32', half] if precision == 'auto' else [precision]
        original = self._network
        outputs: dict[str, tuple[Tensor, Tensor]] = {}
        for name in candidates:
            self._network = original.deploy().to(self.device, PRECISIONS[name])
            clips = self._noise(PRECISIONS[name])
            self.forward_sec[name] = self._time_forward(clips)
            outputs[name] = self._outputs(clips)
        best = candidates[-1]
        if precision == 'auto':
            speedup = self.forward_sec['float32'] / self.forward_sec[half]
            pairs = zip(outputs[half], outputs['float32'])
            is_equal = all(relative_error(*pair) <= MAX_HALF_ERROR for pair in pairs)
            best = half if is_equal and speedup >= WORTHWHILE_SPEEDUP else 'float32'
        if best != candidates[-1]:
            self._network = original.deploy().to(self.device, PRECISIONS[best])
        return best

    def _outputs(self, clips: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits of all tasks, and their scores, which say too whether there is any."""
        with torch.inference_mode():
            logits, scores = self._network(clips), self._network.scores(clips)
            return torch.cat([*logits.values()], 1).float(), torch.cat([*scores.values()], 1)

    def _noise(self, dtype: torch.dtype) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {
            name: torch.randn(
                (1, 3, trunk.num_frames, *trunk.preprocessing.size), generator=generator
            ).to(self.device, dtype)
            for name, trunk in self.config.trunks.items()
            if self.config.tasks_of(name)
        }

    def _time_forward(self, clips: Mapping[str, Tensor]) -> float:
        # The first calls choose kernels and grow memory; the fastest of the rest is the truth.
        durations = []
        for _ in range(5):
            start = time.perf_counter()
            self.infer(clips)
            durations.append(time.perf_counter() - start)
        return min(durations[2:])


def relative_error(values: Tensor, reference: Tensor) -> float:
    """Return the norm of the difference over that of the reference; NaN counts as infinite."""
    error = float((values - reference).norm() / reference.norm().clamp_min(1e-12))
    return error if error == error else float('inf')


def find_device(name: str) -> torch.device:
    """
    Return the device that a name stands for.

    :raises ValueError: If there is no such device; another never takes its place.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    kind, _, index = name.partition(':')
    if kind not in ('cpu', 'cuda') or (index and not index.isdecimal()):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {name!r}.")
    if kind == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise ValueError(
                f"device '{name}' is not there: this machine has {count} usable CUDA device(s). "
                "Use device 'cpu', or 'auto' to take a GPU only where there is one."
            )
    return torch.device(name)
