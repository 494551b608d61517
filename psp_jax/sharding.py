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
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax._src import distributed  # Its client waits without a device, as orbax's barriers do.
from jax.sharding import AxisType, NamedSharding, PartitionSpec

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
        """Raises ValueError if facts, which JSON can hold, differ from the first process's."""
        said = self.first_says(lambda: facts)
        differ = [name for name in facts if json.loads(json.dumps(facts[name])) != said[name]]
        if differ:
            raise ValueError(
                f"process {jax.process_index()} has another {' and '.join(differ)} than process 0; "
                "all have to be started with the same command, code and files"
            )

    @contextlib.contextmanager
    def own_folder(self, workdir: pathlib.Path, *names: str) -> Iterator[pathlib.Path]:
        """Gives the workdir to the first process, and to others a copy of some files to drop."""
        if self.first:
            yield workdir
            return
        with tempfile.TemporaryDirectory(prefix="psp_jax_") as folder:
            for name in names:
                if (workdir / name).exists():
                    shutil.copy(workdir / name, folder)
            yield pathlib.Path(folder)

    def largest(self) -> Callable[[int], int]:
        """Returns a function that all processes call at every step with a number of their own.

        It returns the largest that any has given, with several processes `LAG` calls ago: all hear
        of it at the same step, and none waits for it.
        """
        if self.processes == 1:
            return lambda number: number
        pending: collections.deque[jax.Array] = collections.deque()
        reduce = jax.jit(lambda numbers: numbers.max(), out_shardings=self._everywhere)

        def call(number: int) -> int:
            mine = np.full(jax.local_device_count(), number, np.int32)
            pending.append(reduce(self.batch(mine)))
            return int(pending.popleft()) if len(pending) > LAG else 0

        return call

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
