"""Compiled loops, kept on disk between runs where the disk allows it."""

from collections.abc import Callable

import numba


def compile_cached(function: Callable) -> Callable:
    """Compiles a function of arrays and scalars with numba on its first call.

    The machine code is cached next to the source or in the user's cache folder. Where neither can
    be written (a read-only container), every process compiles instead of failing.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba has no place for its cache.
        return numba.njit(nogil=True)(function)


def inlined(function: Callable) -> Callable:
    """Compiles a function into the compiled functions that call it.

    It saves the passing of named tuples, whose arrays are reference-counted at every call.
    """
    return numba.njit(inline="always")(function)
