"""Memory that a process keeps: what the system's allocator gives back it must fetch again, page by page.

A network run by itself hands its largest tensors back to the system after every run (glibc maps blocks above
32 MiB anew each time), and whether it does depends on what ran before. Services keep their memory.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
KEPT = "freed memory stays with the process (mallopt: no mmap, no trim)"
AS_IS = "the system's allocator as it is"


def keep_memory() -> str:
    """Tell glibc to keep what is freed, from now on; says in words what is the case afterwards."""
    try:
        libc = ctypes.CDLL(None)
        is_set = libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):  # no glibc
        return AS_IS
    return KEPT if is_set else AS_IS
