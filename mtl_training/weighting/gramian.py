"""The inner products of the tasks' gradients: all that most gradient weightings look at."""

from __future__ import annotations

import torch
from torch import Tensor

# Outside, squares of float32 may underflow or overflow.
_SAFE = (1e-24, 1e30)


def gramian(rows: Tensor) -> Tensor:
    """
    Return the inner products of the rows, ``[K, K]`` float64 on the CPU.

    The products are summed pairwise in float32, not by a matrix product: that may run in TF32.
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
    num_rows = len(rows)
    upper = [(i, j) for i in range(num_rows) for j in range(i, num_rows)]
    # One copy to the CPU for all of them.
    values = torch.stack([(rows[i] * rows[j]).sum() for i, j in upper]).double().cpu()
    result = torch.empty(num_rows, num_rows, dtype=torch.float64)
    for (i, j), value in zip(upper, values):
        result[i, j] = result[j, i] = value
    return result


def correlation(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norms of the gradients, ``[K]``, all positive, and their cosines, ``[K, K]``."""
    norms = gram.diagonal().sqrt()
    cosines = (gram / torch.outer(norms, norms)).clamp(-1, 1)
    return norms, cosines.fill_diagonal_(1)


def square_root(gram: Tensor) -> Tensor:
    """Return ``R [K, K]`` with ``R' R`` the Gramian, for solvers of least squares."""
    eigenvalues, vectors = torch.linalg.eigh(gram)
    return eigenvalues.clamp_min(0).sqrt()[:, None] * vectors.T
