"""Files of one array, as NumPy writes them."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# What a header that is no header makes NumPy raise, beside ValueError.
_HEADER_ERRORS = (
    EOFError,
    MemoryError,
    OverflowError,
    RecursionError,
    SyntaxError,
    TokenError,
    TypeError,
)


def load_array(path: Path, mmap_mode: Literal['r'] | None = None) -> NDArray[Any]:
    """
    Return the array of an ``.npy`` file; nothing is unpickled.

    :raises OSError: If the file can't be read.
    :raises ValueError: If it holds no array.
    """
    with path.open('rb') as file:
        # An archive would be taken for one of several arrays.
        if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            raise ValueError('it does not begin as an array does')
    try:
        array: NDArray[Any] = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except _HEADER_ERRORS as error:
        raise ValueError(str(error)) from error
    return array
