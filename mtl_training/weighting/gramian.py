"""The inner products of the tasks' gradients: all that most gradient weightings look at."""

from __future__ import annotations

import torch
from torch import Tensor

# Outside, squares of float32 may underflow or overflow.
_SAFE = (1e-24, 1e30)
_BLOCK = 4096


def gramian(rows: Tensor) -> Tensor:
    """
    Return the inner products of the rows, ``[K, K]`` float64 on the CPU.

    Summed in float32 within blocks and in float64 over them: a plain float32 product of 30 million
    elements would be right to three digits only. The rounding of TF32, where a machine is set to
    it, averages out over that many.
    Rows of any finite magnitude are right, but for what float64 itself can't hold.

    :param rows: ``[K, P]`` float32, finite.
    """
    products = _products(rows)
    squares = products.diagonal()
    if ((squares > _SAFE[0]) & (squares < _SAFE[1])).all() or rows.shape[1] == 0:
        return products
    peaks = torch.linalg.vector_norm(rows, torch.inf, dim=1)
    peaks = torch.where(peaks > 0, peaks, 1)
    scales = peaks.double().cpu()
    return _products(rows / peaks[:, None]) * torch.outer(scales, scales)


def _products(rows: Tensor) -> Tensor:
    num_blocks = rows.shape[1] // _BLOCK
    rest = rows[:, num_blocks * _BLOCK :]
    blocks = rows[:, : num_blocks * _BLOCK].unflatten(1, (num_blocks, _BLOCK)).transpose(0, 1)
    products = torch.bmm(blocks, blocks.mT).double().sum(0) + (rest @ rest.mT).double()
    return products.cpu()


def correlation(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norms of the gradients, ``[K]``, all positive, and their cosines, ``[K, K]``."""
    norms = gram.diagonal().sqrt()
    cosines = (gram / torch.outer(norms, norms)).clamp(-1, 1)
    return norms, cosines.fill_diagonal_(1)


def square_root(gram: Tensor) -> Tensor:
    """Return ``R [K, K]`` with ``R' R`` the Gramian, for solvers of least squares."""
    eigenvalues, vectors = torch.linalg.eigh(gram)
    return eigenvalues.clamp_min(0).sqrt()[:, None] * vectors.T
