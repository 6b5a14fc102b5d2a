"""Whether the batches of all tasks go through the network together."""

from __future__ import annotations

from mtl_training.weighting.contract import Weighting


def merges_tasks(asked: bool | None, weighting: Weighting, name: str) -> bool:
    """
    Tell whether a step runs the batches of all tasks through what they share in one pass.

    :param asked: The entry ``merge_tasks``; None leaves it to the weighting.
    :param name: Of the weighting, for the message.
    :raises ValueError: If it is asked of a weighting that needs a graph of each task by itself.
    """
    if asked and weighting.separate_graphs:
        raise ValueError(
            f"merge_tasks must not be true with weighting '{name}', "
            'which needs the gradients of each task by itself.'
        )
    return not weighting.separate_graphs if asked is None else asked
