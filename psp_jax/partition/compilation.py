"""Compiled loops, kept on disk between runs where the disk allows it."""

from collections.abc import Callable
from typing import Any

import numba


def compile_cached(function: Callable) -> Callable:
    """Compiles a function of arrays and scalars with numba on its first call.

    The machine code is cached next to the source or in the user's cache folder. Where neither can
    be written (a read-only container), every process compiles instead of failing.
    """
    return _compile(function, {"nogil": True})


def compile_uncounted(function: Callable) -> Callable:
    """Compiles as `compile_cached` does a function that makes no arrays and returns none.

    Its arrays are not reference-counted, which takes half the time of a loop over many arrays.
    """
    return _compile(function, {"nogil": True, "_nrt": False})


def inlined(function: Callable) -> Callable:
    """Compiles a function into the compiled functions that call it.

    It saves the passing of named tuples, whose arrays are reference-counted at every call. numba
    checks the age of the caller's file only: after changing such a function, delete the caller's
    `__pycache__`.
    """
    return numba.njit(inline="always")(function)


def _compile(function: Callable, options: dict[str, Any]) -> Callable:
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba has no place for its cache.
        return numba.njit(**options)(function)
