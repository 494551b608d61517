"""Compiled loops, kept on disk between runs where the disk allows it."""

import functools
import hashlib
import os
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba.core import config, event

NOTICE_S = 2.0  # After so many seconds of compiling, a line tells what takes so long.


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

    It saves the passing of named tuples, whose arrays are reference-counted at every call.
    """
    return numba.njit(inline="always")(function)


def _compile(function: Callable, options: dict[str, Any]) -> Callable:
    try:
        with _cached_in(pathlib.Path(function.__code__.co_filename).parent):
            return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba has no place for its cache.
        return numba.njit(**options)(function)


@contextmanager
def _cached_in(folder: pathlib.Path) -> Iterator[None]:
    """Names numba's cache by the content of a folder of loops and of this one.

    numba itself compares the age of a function's own file only, not of the files of the functions
    and constants in it, and would go on with the machine code of older ones. Where the folder can't
    be written, it takes its own.
    """
    settings: Any = config
    outer = settings.CACHE_DIR
    root = pathlib.Path(outer or folder / "__pycache__")
    settings.CACHE_DIR = os.fspath(root / f"loops-{_digest(folder)}")
    try:
        yield
    finally:
        settings.CACHE_DIR = outer


@functools.cache
def _digest(folder: pathlib.Path) -> str:
    sources = [*folder.glob("*.py"), *pathlib.Path(__file__).parent.glob("*.py")]
    contents = b"\0".join(path.read_bytes() for path in sorted(sources))
    return hashlib.sha256(contents).hexdigest()[:16]


class _Notice(event.Listener):
    """Prints a line, once in a process, when compiling has taken long."""

    def __init__(self):
        self._depth = 0  # Compiling a loop compiles the loops that it calls.
        self._left_s = NOTICE_S
        self._began_s = 0.0
        self._timer = threading.Timer(0.0, _print_notice)

    def on_start(self, event: event.Event) -> None:
        self._depth += 1
        if self._depth == 1 and self._left_s > 0:
            self._began_s = time.monotonic()
            self._timer = threading.Timer(self._left_s, _print_notice)
            self._timer.daemon = True
            self._timer.start()

    def on_end(self, event: event.Event) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._timer.cancel()
            self._left_s -= time.monotonic() - self._began_s


def _print_notice() -> None:
    print("compiling loops, once: later runs load them from a cache", file=sys.stderr, flush=True)


_NOTICE = _Notice()
event.register("numba:compile", _NOTICE)
