"""One run in several processes: joining them, agreeing, and ending together.

Every process runs the same program. Files and prints are the work of the primary process.
"""

import collections
import contextlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from orbax.checkpoint import multihost

from psp_jax.experiment import ConfigError

# Steps until a request of one process is seen by all; by then it costs no waiting.
LAG_STEPS = 2
# The primary may have a data set to prepare; collectives would give up after half a minute.
TIMEOUT_S = 24 * 60 * 60

T = TypeVar("T")


def join(coordinator: str | None, process_id: int | None, num_processes: int | None) -> None:
    """Makes this process one of several; call it before anything is computed.

    Args:
        coordinator: `HOST:PORT` of process 0; None asks the cluster's environment for all three.
        process_id: number of this process, from 0.
        num_processes: how many there are.

    Raises:
        RuntimeError, ValueError: if the others are unknown or do not connect.
    """
    # `preemption` handles signals, which JAX's own service would take.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(coordinator, num_processes, process_id)


def is_primary() -> bool:
    """Returns whether this is the process that writes files and prints."""
    return jax.process_index() == 0


@contextlib.contextmanager
def exit_on_error() -> Iterator[None]:
    """Ends a process that fails at once; a regular exit would wait for the others.

    The others end as soon as they notice. Statuses above 128, on which all processes agree, are
    left to a regular exit.
    """
    try:
        yield
    except BaseException as error:
        status = error.code if isinstance(error, SystemExit) else 1
        if isinstance(status, int) and status > 128:
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def broadcast_from_primary(action: Callable[[], T]) -> T:
    """Runs an action on the primary process; the others wait for its result or its error.

    Args:
        action: returns what JSON can hold.

    Raises:
        OSError: on the other processes, if the action raised anything.
    """
    if jax.process_count() == 1:
        return action()
    message, raised = {}, None
    if is_primary():
        try:
            message = {"result": action()}
        except BaseException as error:
            message, raised = {"error": str(error) or type(error).__name__}, error
    message = json.loads(_broadcast(json.dumps(message).encode()))
    if raised is not None:
        raise raised
    if "error" in message:
        raise OSError(f"the primary process stopped: {message['error']}")
    return message["result"]


def primary_first(action: Callable[[], T]) -> T:
    """Runs an action on the primary process, and when it is done on the others."""
    if jax.process_count() == 1:
        return action()
    results: list[T] = []
    broadcast_from_primary(lambda: results.append(action()))
    return results[0] if is_primary() else action()


def assert_equal(facts: dict[str, Any]) -> None:
    """Raises ConfigError if facts, which JSON can hold, differ from those of the primary."""
    expected = broadcast_from_primary(lambda: facts)
    differ = [name for name in facts if json.loads(json.dumps(facts[name])) != expected[name]]
    if differ:
        raise ConfigError(
            f"process {jax.process_index()} and process 0 differ in {' and '.join(differ)}; "
            "start all processes with the same command, code and files"
        )


@contextlib.contextmanager
def primary_output(workdir: pathlib.Path, *names: str) -> Iterator[pathlib.Path]:
    """Yields the folder to write to: the workdir on the primary process.

    The others get a folder that is removed at the end of the `with` block, with copies of the files
    `names`, and what they print is dropped.
    """
    if is_primary():
        yield workdir
        return
    with (
        tempfile.TemporaryDirectory(prefix="psp_jax_") as folder,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        for name in names:
            if (workdir / name).exists():
                shutil.copy(workdir / name, folder)
        yield pathlib.Path(folder)


class Agreement:
    """Tells all processes at the same step what any of them requests."""

    def __init__(self):
        """Starts without a request."""
        self._pending: collections.deque[jax.Array] = collections.deque()
        mesh = jax.make_mesh((jax.device_count(),), ("devices",), axis_types=(AxisType.Auto,))
        self._split = NamedSharding(mesh, PartitionSpec("devices"))
        everywhere = NamedSharding(mesh, PartitionSpec())
        self._maximum = jax.jit(lambda numbers: numbers.max(), out_shardings=everywhere)

    def poll(self, number: int) -> int:
        """Returns the largest number that any process passed `LAG_STEPS` calls ago, or 0.

        With one process it is the number itself. All processes call it at every step.
        """
        if jax.process_count() == 1:
            return number
        self._send(number)
        return int(self._pending.popleft()) if len(self._pending) > LAG_STEPS else 0

    def sync(self, number: int) -> int:
        """Returns the largest number passed up to this call, for which all processes wait."""
        if jax.process_count() == 1:
            return number
        self._send(number)
        largest = max(int(each) for each in self._pending)
        self._pending.clear()
        return largest

    def _send(self, number: int) -> None:
        mine = np.full(jax.local_device_count(), number, np.int32)
        numbers = jax.make_array_from_process_local_data(self._split, mine)
        self._pending.append(self._maximum(numbers))


def _broadcast(content: bytes) -> bytes:
    """Returns the primary's content on every process."""
    everyone = set(range(jax.process_count()))
    multihost.sync_global_processes("psp_jax", timeout=TIMEOUT_S, processes=everyone)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    padded = np.zeros(size, np.uint8)
    if is_primary():
        padded[:] = np.frombuffer(content, np.uint8)
    return multihost_utils.broadcast_one_to_all(padded).tobytes()
