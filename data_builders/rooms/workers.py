"""Runs the drawing of scans in threads, or in processes where there is much to draw."""

import concurrent.futures
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cv2
import jax

Item = TypeVar("Item")
MAX_THREADS = 8  # More of them wait for the interpreter's lock.
# Read by XLA when a process first computes. All workers share one GPU, and each has one CPU core.
_ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "NPROC": "1", "OMP_NUM_THREADS": "1"}
# JAX's settings of the cache of compiled programs, which workers take over.
_SETTINGS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


def in_threads(work: Callable[[Item], None], items: Sequence[Item]) -> Iterator[None]:
    """Calls `work` with every item, yielding after each; starts at once, and shares one compiler.

    NumPy and XLA release the interpreter's lock, so threads use several cores.
    """
    with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as pool:
        yield from pool.map(work, items)


def in_processes(work: Callable[[Item], None], items: Sequence[Item], count: int) -> Iterator[None]:
    """Calls `work` with every item in processes of one core each, yielding after each.

    Args:
        work: picklable function.
        items: its arguments.
        count: number of processes.

    Raises:
        OSError: if a process is killed, such as for lack of memory.
    """
    # JAX and OpenCV have threads, whose state a forked process must not inherit.
    context = multiprocessing.get_context("spawn")
    config: Any = jax.config
    settings = {name: getattr(config, name) for name in _SETTINGS}
    with concurrent.futures.ProcessPoolExecutor(count, context, _set_up, (settings,)) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise OSError(
                f"one of {count} processes that draw was killed, perhaps for lack of memory; "
                "finished scans are kept, and the same command draws the rest"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _set_up(settings: dict[str, Any]) -> None:
    """Configures a worker process, before it computes anything; `settings` are JAX's, by name."""
    os.environ.update(_ENVIRONMENT)
    for name, value in settings.items():
        jax.config.update(name, value)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent process handles it.
