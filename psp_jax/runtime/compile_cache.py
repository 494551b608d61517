"""The folder in which JAX keeps compiled programs from one process to the next."""

import contextlib
import os
import pathlib
import platform
import time
import zlib
from typing import Any

import jax

MAX_AGE_DAYS = 30.0
_DAY_S = 24 * 60 * 60
_SUFFIXES = ("-cache", "-atime")  # Of JAX's files.


def folder() -> pathlib.Path:
    """Returns the default folder, in the user's cache folder, for processors like this one.

    XLA's programs for CPUs hold instructions that another processor may lack, and home folders
    are shared.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    cache = pathlib.Path(root) if os.path.isabs(root) else pathlib.Path.home() / ".cache"
    return cache / "psp_jax" / f"jax-{jax.__version__}-{zlib.crc32(_processor().encode()):08x}"


def _processor() -> str:
    """Describes the instructions that the processor knows."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith(("flags", "Features")):
                return line
    return platform.machine()


def enable() -> pathlib.Path | None:
    """Lets JAX keep compiled programs, and deletes those that were not used for a month.

    A folder that `JAX_COMPILATION_CACHE_DIR` or the program has set is left as it is.

    Returns:
        The folder in use; None if the default one can't be written or caching is off.
    """
    config: Any = jax.config
    if not config.jax_enable_compilation_cache:
        return None
    if (chosen := config.jax_compilation_cache_dir) is not None:
        return pathlib.Path(chosen)
    try:
        cache = folder()
        cache.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder.
        return None
    if not os.access(cache, os.W_OK):
        return None
    clean(cache.parent)
    config.update("jax_compilation_cache_dir", str(cache))
    # JAX would keep none that takes less than a second; a program has hundreds of them.
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return cache


def clean(root: pathlib.Path, *, max_age_days: float = MAX_AGE_DAYS) -> int:
    """Deletes compiled programs that were neither written nor read for `max_age_days`.

    It also deletes empty ones, which a full disk leaves: JAX would warn of them in every run.

    Args:
        root: holds folders `jax-*`; other files in there are left alone.
        max_age_days: days.

    Returns:
        How many files were deleted.
    """
    oldest, count = time.time() - max_age_days * _DAY_S, 0
    for path in root.glob("jax-*/*"):
        with contextlib.suppress(OSError):  # Another process may delete it first.
            status = path.stat()
            is_old = max(status.st_atime, status.st_mtime) < oldest
            if path.name.endswith(_SUFFIXES) and (is_old or not status.st_size):
                path.unlink()
                count += 1
    return count
