"""Arrays on disk of which the last ones used stay open."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Each holds a file open, of which a process may have about a thousand.
MAX_OPEN = 256


class OpenArrays:
    """
    Open arrays as they are asked for.

    :param open_array: From a name to an array, mapped into memory.
    :param most: How many stay open.
    """

    def __init__(
        self, open_array: Callable[[str], NDArray[np.floating]], most: int = MAX_OPEN
    ) -> None:
        self._open, self._most = open_array, most
        self._arrays: OrderedDict[str, NDArray[np.floating]] = OrderedDict()

    def __getitem__(self, name: str) -> NDArray[np.floating]:
        """Return the array of a name."""
        array = self._arrays.get(name)
        if array is None:
            array = self._arrays[name] = self._open(name)
            if len(self._arrays) > self._most:
                self._arrays.popitem(last=False)
        else:
            self._arrays.move_to_end(name)
        return array
