"""Reading the weights that a run starts from."""

from __future__ import annotations

from pathlib import Path
import pickle

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch import Tensor


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """
    Read a state dict from a safetensors or a PyTorch file; only tensors are ever unpickled.

    :raises ValueError: If the file is missing or holds anything else.
    """
    path = Path(path)
    try:
        if path.suffix == '.safetensors':
            content = load_file(path)
        else:
            content = torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f"Cannot read the initial weights '{path}': {reason}") from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"Cannot read the initial weights '{path}': not a state dict.")
    return content
