"""What every sharing method costs: parameters, and multiply-accumulates of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mtl_perception.network.backbones import build_backbone
from mtl_perception.network.sharing import build_sharing, SHARING
from mtl_training.step import count_parameters
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True, kw_only=True, slots=True)
class CostSettings:
    """
    The network and the clips whose costs are counted.

    :param depth: 18 or 34.
    :param width: Channels of the first layer; 64 is r3d_18.
    :param frames: Frames of a clip.
    :param size: Its height and width in pixels.
    :param tasks: Number of tasks.
    """

    depth: int = 18
    width: int = 64
    frames: int = 32
    size: int = 112
    tasks: int = 2

    def __post_init__(self) -> None:
        for name in ('frames', 'size', 'tasks'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}.')


@dataclass(frozen=True, slots=True)
class Cost:
    """
    The costs of one method, with its default settings and without heads.

    :param parameters: Parameters in training.
    :param deployed_parameters: Parameters on the robot.
    :param training_macs: MACs of a forward pass in training, per clip of a task.
    :param deployed_macs: MACs on the robot for all tasks on one clip.
    """

    parameters: int
    deployed_parameters: int
    training_macs: float
    deployed_macs: float


def sharing_cost(method: str, settings: CostSettings) -> Cost:
    """
    Return the costs of a sharing method as it is before training.

    A method that learns who shares what may deploy more afterwards: see the method.

    :raises ValueError: If the method or a setting is unknown.
    """
    make_trunk = partial(build_backbone, 'resnet3d', depth=settings.depth, width=settings.width)
    tasks = [f'task{i}' for i in range(settings.tasks)]
    sharing = build_sharing(method, make_trunk, tasks).train()
    for module in sharing.modules():
        if isinstance(module, _BatchNorm):
            module.eval()  # the smallest clips are too small for statistics
    deployed = sharing.deploy()
    clip = torch.zeros(1, 3, settings.frames, settings.size, settings.size)
    batches = dict.fromkeys(tasks, clip)
    return Cost(
        parameters=count_parameters(sharing),
        deployed_parameters=count_parameters(deployed),
        training_macs=count_macs(lambda: sharing.forward_tasks(batches)) / len(tasks),
        deployed_macs=count_macs(lambda: deployed(clip)),
    )


def sharing_costs(settings: CostSettings) -> dict[str, Cost]:
    """Return the costs of every sharing method."""
    return {method: sharing_cost(method, settings) for method in SHARING}


def count_macs(function: Callable[[], object]) -> float:
    """Return the multiply-accumulates of the convolutions and matrix products of a call."""
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what a sampled structure costs differs from sample to sample
        with torch.no_grad(), _UncomputedConvolutions(), counter:
            function()
    return counter.get_total_flops() / 2


class _UncomputedConvolutions(TorchDispatchMode):
    """
    Let convolutions return zeros: almost all of the time is theirs, and only shapes count.

    The meta device would compute nothing at all, but methods also ask for values: those that
    sample structures, or look up the most probable one.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.ops.aten.convolution.default:
            return func(*args, **(kwargs or {}))
        shapes = [arg.to('meta') if isinstance(arg, Tensor) else arg for arg in args]
        return args[0].new_zeros(func(*shapes, **(kwargs or {})).shape)
