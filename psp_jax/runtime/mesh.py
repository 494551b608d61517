"""Placement of arrays on all devices of all processes.

A batch is one array over all devices, so that under plain `jit` losses, gradients and batch norm
statistics cover the whole batch, whatever the number of devices.
"""

import collections
import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from psp_jax.experiment import ConfigError

AXIS = "data"  # Of the mesh: batches are split along it, and sharded parameters.
SMALL = 2**12  # Arrays of fewer elements are not worth gathering.


def check(batch_size: int) -> None:
    """Raises ConfigError unless batches can be split among all devices."""
    count = jax.device_count()
    if batch_size % count:
        processes = jax.process_count()
        raise ConfigError(
            f"config.data.batch_size={batch_size} is not a multiple of the {count} devices of "
            f"{processes} {'process' if processes == 1 else 'processes'}; choose one that is, such "
            f"as {count * math.ceil(batch_size / count)}, or make fewer devices visible, for "
            "example with CUDA_VISIBLE_DEVICES"
        )


class Mesh:
    """All devices of a run, and where its arrays lie on them.

    Attributes:
        count: number of devices.
    """

    def __init__(self, *, shard_parameters: bool = False):
        """Takes every device there is.

        Args:
            shard_parameters: whether large arrays of the state are split among the devices and
                gathered for a step. Otherwise every device holds all of them.
        """
        self.count = jax.device_count()
        self._shard_parameters = shard_parameters
        self._mesh = jax.make_mesh((self.count,), (AXIS,), axis_types=(AxisType.Auto,))
        self._replicated = NamedSharding(self._mesh, PartitionSpec())

    def rows(self, batch_size: int) -> list[int]:
        """Returns which rows of every batch this process reads."""
        parts = self._split(0).addressable_devices_indices_map((batch_size,)).values()
        return sorted(row for (part,) in filter(None, parts) for row in range(batch_size)[part])

    def batch(self, rows: Any, *, axis: int = 0) -> Any:
        """Makes global arrays, split along `axis`, of the rows that this process has read."""
        split = self._split(axis)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(split, x), rows)

    def shardings(self, tree: Any) -> Any:
        """Returns the sharding of every array, or shape, of a state.

        It follows from the shape alone: where parameters are sharded, large arrays are split along
        their longest axis that the number of devices divides.
        """
        return jax.tree.map(lambda leaf: NamedSharding(self._mesh, self._spec(leaf.shape)), tree)

    def place(self, tree: Any) -> Any:
        """Puts arrays that all processes hold alike on the devices."""

        def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
            host = np.asarray(leaf)
            return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

        return jax.tree.map(put, tree, self.shardings(tree))

    def create(self, make: Callable[[Any], Any], variables: Any) -> Any:
        """Computes a state from placed variables, placed itself."""
        shapes = jax.eval_shape(make, variables)
        return jax.jit(make, out_shardings=self.shardings(shapes))(variables)

    def local(self, tree: Any) -> Any:
        """Returns a placed tree on this process's first device; all processes have to call it."""
        if self.count == 1:
            return tree
        whole = jax.jit(lambda tree: tree, out_shardings=self._replicated)(tree)
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), whole)

    def jit_step(self, step: Callable, state: Any) -> Any:
        """Compiles a training step, which donates its state, for states placed as this one."""

        def gathering(state: Any, batch: Any) -> Any:
            return step(dataclasses.replace(state, params=self._gathered(state.params)), batch)

        outputs = (self.shardings(state), self._replicated)
        return jax.jit(gathering, donate_argnums=0, out_shardings=outputs)

    def jit_evaluation(self, step: Callable) -> Any:
        """Compiles a function of variables and batch; every process gets its whole results."""

        def gathering(variables: Any, batch: Any) -> Any:
            return step(self._gathered(variables), batch)

        return jax.jit(gathering, out_shardings=self._replicated)

    def _split(self, axis: int) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec(*[None] * axis, AXIS))

    def _spec(self, shape: tuple[int, ...]) -> PartitionSpec:
        divisible = [axis for axis, size in enumerate(shape) if size % self.count == 0]
        if not self._shard_parameters or not divisible or math.prod(shape) < SMALL:
            return PartitionSpec()
        longest = max(divisible, key=lambda axis: shape[axis])
        return PartitionSpec(*[None] * longest, AXIS)

    def _gathered(self, tree: Any) -> Any:
        if not self._shard_parameters:
            return tree
        return jax.lax.with_sharding_constraint(tree, self._replicated)


def bytes_per_device(tree: Any) -> int:
    """Returns the bytes of a tree's arrays on the device that holds most of them."""
    held: collections.Counter[int] = collections.Counter()
    for leaf in jax.tree.leaves(tree):
        for shard in leaf.addressable_shards:
            held[shard.device.id] += shard.data.nbytes
    return max(held.values())


def digest(tree: Any) -> str:
    """Returns the SHA-256 of the values of local arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
