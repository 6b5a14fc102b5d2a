"""Memory of images, kept instead of given back and asked for anew at every frame."""

from __future__ import annotations

from collections.abc import Mapping
import ctypes
import os
import sys

# From glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_BLOCK_BYTES = 32 << 20  # glibc allows no more
KEPT_BYTES = 256 << 20


def keep_freed_memory(environ: Mapping[str, str] = os.environ) -> bool:
    """
    Make glibc keep what large blocks leave behind.

    As it comes, glibc returns the memory of an image to the system as soon as the image is freed.
    Every image then costs thousands of page faults: for 1280x720 three quarters of all CPU time
    that receiving it takes. Call it once, before the first image.

    :return: Whether it was done: not where the user has chosen otherwise, and only with glibc.
    """
    is_chosen = any(name.startswith('MALLOC_') for name in environ)
    is_chosen = is_chosen or 'glibc.malloc' in environ.get('GLIBC_TUNABLES', '')
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if is_chosen or mallopt is None:
        return False
    return all(
        mallopt(option, value) == 1
        for option, value in (
            (M_MMAP_THRESHOLD, LARGEST_BLOCK_BYTES),
            (M_TRIM_THRESHOLD, KEPT_BYTES),
        )
    )
