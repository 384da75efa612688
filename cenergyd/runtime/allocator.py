"""How the C library's allocator treats large blocks."""

from __future__ import annotations

import ctypes

LARGE_BLOCK_BYTES = 4 << 20
"""A hash of a password takes a block of 19 MB for 30 ms. A body or an answer of this size takes far more time than mapping its pages."""
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
"""Parameters of mallopt(3)."""


def return_large_blocks() -> bool:
    """Have freed blocks of :data:`LARGE_BLOCK_BYTES` and more returned to the system at once.

    By default glibc raises its limit to the largest block that was ever freed, and keeps further blocks of that size for each thread that
    had one. Returns False if the C library has no such setting (musl returns such blocks by itself).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES) and mallopt(_M_TRIM_THRESHOLD, 2 * LARGE_BLOCK_BYTES))
