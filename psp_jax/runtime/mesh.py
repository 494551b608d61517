"""Several devices in one process or in many: what lies where, and how processes agree.

Every process runs the same program on its own rows of every batch. The batch is one array over all
devices, so that under plain `jit` losses, gradients and batch norm statistics are those of the
whole batch.
"""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
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
from jax._src import distributed  # Its client waits without a device, as orbax's barriers do.
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

from psp_jax.experiment import ConfigError

AXIS = "data"  # Of the mesh: batches are split along it, and sharded parameters.
SMALL = 2**12  # Arrays of fewer elements are not worth gathering.
LAG = 2  # Steps until what one process asks for is heard by all; by then it costs no waiting.
WAIT_MS = 24 * 60 * 60 * 1000  # The first process may have a data set to prepare.
_CALLS = itertools.count()  # Processes number what they say in the same order.

T = TypeVar("T")


def check(batch_size: int) -> None:
    """Raises ConfigError unless batches can be split among all devices."""
    count = jax.device_count()
    if batch_size % count:
        raise ConfigError(
            f"config.data.batch_size={batch_size} is not a multiple of the {count} devices of "
            f"{_plural(jax.process_count(), 'process', 'processes')}; choose one that is, such as "
            f"{count * math.ceil(batch_size / count)}, or show fewer devices, such as by "
            "CUDA_VISIBLE_DEVICES"
        )


def join(coordinator: str | None, process_id: int | None, num_processes: int | None) -> None:
    """Makes this process one of several; before anything is computed.

    Args:
        coordinator: `HOST:PORT` of process 0; None asks the cluster's environment for all three.
        process_id: number of this process, from 0.
        num_processes: how many there are.

    Raises:
        RuntimeError, ValueError: if nothing says where the others are, or they don't come.
    """
    # A signal is for `termination` to hear, not for JAX's own service.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(coordinator, num_processes, process_id)


@contextlib.contextmanager
def leaving_together() -> Iterator[None]:
    """Ends a process that fails at once: at the exit it would wait for others that wait for it.

    The others end as soon as they notice. An end that all have agreed on is left to JAX.
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


class Devices:
    """All devices of all processes of a run.

    With one device nothing is placed, wrapped or asked.

    Attributes:
        count: number of devices.
        processes: number of processes.
        first: whether this is the process that writes files and speaks.
    """

    def __init__(self, *, shard_parameters: bool = False):
        """Takes every device that there is.

        Args:
            shard_parameters: whether large arrays of the state are split among the devices; they
                are gathered for a step. Otherwise every device holds all of them.
        """
        self.count, self.processes = jax.device_count(), jax.process_count()
        self.first = jax.process_index() == 0
        self._shard_parameters = shard_parameters
        self._mesh = jax.make_mesh((self.count,), (AXIS,), axis_types=(AxisType.Auto,))
        self._everywhere = NamedSharding(self._mesh, PartitionSpec())
        self._largest = jax.jit(lambda numbers: numbers.max(), out_shardings=self._everywhere)

    def rows(self, batch_size: int) -> list[int]:
        """Returns which rows of every batch are this process's."""
        parts = self._split(0).addressable_devices_indices_map((batch_size,)).values()
        return sorted(row for (part,) in filter(None, parts) for row in range(batch_size)[part])

    def batch(self, rows: Any, *, axis: int = 0) -> Any:
        """Makes global arrays, split along `axis`, of the rows that this process has read."""
        if self.count == 1:
            return jax.device_put(rows)
        split = self._split(axis)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(split, x), rows)

    def shardings(self, tree: Any) -> Any:
        """Returns where every array, or shape, of a state is to lie.

        That follows from its shape alone: with sharding of parameters large arrays are split along
        their longest axis that the number of devices divides.
        """
        if self.count == 1:
            device = SingleDeviceSharding(jax.devices()[0])
            return jax.tree.map(lambda _: device, tree)
        return jax.tree.map(lambda leaf: NamedSharding(self._mesh, self._spec(leaf.shape)), tree)

    def place(self, tree: Any) -> Any:
        """Puts arrays there that all processes have alike."""
        if self.count == 1:
            return tree

        def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
            host = np.asarray(leaf)
            return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

        return jax.tree.map(put, tree, self.shardings(tree))

    def create(self, make: Callable[[Any], Any], variables: Any) -> Any:
        """Makes a state of placed variables, placed itself."""
        if self.count == 1:
            return make(variables)
        shapes = jax.eval_shape(make, variables)
        return jax.jit(make, out_shardings=self.shardings(shapes))(variables)

    def local(self, tree: Any) -> Any:
        """Copies a placed tree to this process's first device; all processes have to call it."""
        if self.count == 1:
            return tree
        whole = jax.jit(lambda tree: tree, out_shardings=self._everywhere)(tree)
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), whole)

    def jit_step(self, step: Callable, state: Any) -> Any:
        """Compiles a training step, which gives its state away, with a state as it will get."""
        if self.count == 1:
            return jax.jit(step, donate_argnums=0)
        outputs = (self.shardings(state), self._everywhere)

        def gathering(state: Any, batch: Any) -> Any:
            return step(dataclasses.replace(state, params=self._gathered(state.params)), batch)

        return jax.jit(gathering, donate_argnums=0, out_shardings=outputs)

    def jit_evaluation(self, step: Callable) -> Any:
        """Compiles a function of variables and batch whose results every process has whole."""
        if self.count == 1:
            return jax.jit(step)

        def gathering(variables: Any, batch: Any) -> Any:
            return step(self._gathered(variables), batch)

        return jax.jit(gathering, out_shardings=self._everywhere)

    def first_says(self, action: Callable[[], T]) -> T:
        """Runs an action on the first process; the others wait for its result, or its error.

        Args:
            action: returns what JSON can hold.

        Raises:
            OSError: on the others, if the first process raised anything.
        """
        if self.processes == 1:
            return action()
        key, client = f"psp_jax/{next(_CALLS)}", distributed.global_state.client
        assert client is not None, "there are several processes"
        if not self.first:
            said = json.loads(client.blocking_key_value_get(key, WAIT_MS))
            if "error" in said:
                raise OSError(f"the first process stopped: {said['error']}")
            return said["result"]
        try:
            result = action()
        except BaseException as error:
            client.key_value_set(key, json.dumps({"error": str(error) or type(error).__name__}))
            raise
        client.key_value_set(key, json.dumps({"result": result}))
        return result

    def in_turn(self, action: Callable[[], T]) -> T:
        """Runs an action on the first process, and when that is done on the others."""
        if self.processes == 1:
            return action()
        results: list[T] = []
        self.first_says(lambda: results.append(action()))
        return results[0] if self.first else action()

    def check_agreement(self, facts: dict[str, Any]) -> None:
        """Raises ConfigError if facts, which JSON can hold, differ from the first process's."""
        said = self.first_says(lambda: facts)
        differ = [name for name in facts if json.loads(json.dumps(facts[name])) != said[name]]
        if differ:
            raise ConfigError(
                f"process {jax.process_index()} has another {' and '.join(differ)} than process 0; "
                "all have to be started with the same command, code and files"
            )

    @contextlib.contextmanager
    def outlet(self, workdir: pathlib.Path, *names: str) -> Iterator[pathlib.Path]:
        """Says where to write within a `with` block: only the first process is heard.

        It writes to the workdir. Others get a folder that is dropped, with copies of the files
        `names`, and what they print is dropped as well.
        """
        if self.first:
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

    def largest(self, numbers: Any) -> jax.Array:
        """Reduces numbers, one per device of this process, to the largest that any process has."""
        return self._largest(self.batch(numbers))

    def _split(self, axis: int) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec(*[None] * axis, AXIS))

    def _spec(self, shape: tuple[int, ...]) -> PartitionSpec:
        fitting = [axis for axis, size in enumerate(shape) if size % self.count == 0]
        if not self._shard_parameters or not fitting or math.prod(shape) < SMALL:
            return PartitionSpec()
        longest = max(fitting, key=lambda axis: shape[axis])
        return PartitionSpec(*[None] * longest, AXIS)

    def _gathered(self, tree: Any) -> Any:
        if not self._shard_parameters:
            return tree
        return jax.lax.with_sharding_constraint(tree, self._everywhere)


class Agreement:
    """What any process asks for, heard by all of them at the same step."""

    def __init__(self, devices: Devices):
        """Nothing is asked for yet."""
        self._devices = devices
        self._pending: collections.deque[jax.Array] = collections.deque()

    def later(self, number: int) -> int:
        """Returns the largest number that any process gave at its call `LAG` calls ago, or 0.

        With one process it is this call's. All have to call it at every step; none waits.
        """
        if self._devices.processes == 1:
            return number
        self._ask(number)
        return int(self._pending.popleft()) if len(self._pending) > LAG else 0

    def now(self, number: int) -> int:
        """Returns the largest that any process has given up to this call, for which all wait."""
        if self._devices.processes == 1:
            return number
        self._ask(number)
        heard = max(int(each) for each in self._pending)
        self._pending.clear()
        return heard

    def _ask(self, number: int) -> None:
        mine = np.full(jax.local_device_count(), number, np.int32)
        self._pending.append(self._devices.largest(mine))


def bytes_per_device(tree: Any) -> int:
    """Returns what the largest share of a device in the arrays of a tree takes."""
    taken: collections.Counter[int] = collections.Counter()
    for leaf in jax.tree.leaves(tree):
        for shard in leaf.addressable_shards:
            taken[shard.device.id] += shard.data.nbytes
    return max(taken.values())


def digest(tree: Any) -> str:
    """Digests the values of local arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _plural(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
