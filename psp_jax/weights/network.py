"""What the arrays of a file make: the sizes and the architecture of a network."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from psp_jax.models import pspnet, segmenter
from psp_jax.models.architecture import Architecture

MAX_SIZE = 1 << 16  # Channels and classes; no published network is near it.
MAX_SMALL = 64  # Cells of the pyramid, and sizes in the stem.


@dataclasses.dataclass(frozen=True)
class Network:
    """What the arrays of a file make.

    Attributes:
        depth: layers of the trunk.
        width: channels of its first stage.
        inputs: channels of the image.
        channels: outputs per pixel; 0 if there is only a trunk.
        auxiliary: whether there is an auxiliary head.
        architecture: how the arrays are applied.
    """

    depth: int
    width: int
    inputs: int
    channels: int
    auxiliary: bool
    architecture: Architecture

    def __post_init__(self):
        """Refuses sizes that would take long or much memory before anything is compared."""
        sizes = [self.width, self.inputs, max(self.channels, 1)]
        cells, stem = self.architecture.bins, self.architecture.stem
        small = [len(cells), len(stem), *cells, *(n for s in stem for n in (s.size, s.stride))]
        if not all(1 <= size <= MAX_SIZE for size in sizes):
            raise ValueError(f"a network of {self.describe()}: 1 to {MAX_SIZE} was expected")
        if not all(1 <= size <= MAX_SMALL for size in small):
            raise ValueError(
                f"an architecture of {self.architecture}: sizes up to {MAX_SMALL} were expected"
            )
        if not all(0 < s.widths <= MAX_SMALL for s in stem):
            raise ValueError(f"a stem of {stem}: widths up to {MAX_SMALL} were expected")

    def make(self) -> pspnet.PSPNet:
        """Builds the module; of a trunk alone its classifier has one output."""
        model = segmenter.Segmenter(
            self.depth, self.width, architecture=self.architecture, auxiliary=self.auxiliary
        )
        return model.make(max(self.channels, 1))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every array by its path."""
        return _shapes(self)

    def describe(self) -> str:
        """Says it in a line."""
        what = f"PSPNet with {self.channels} outputs" if self.channels else "trunk alone"
        what += " and an auxiliary head" if self.auxiliary else ""
        return f"ResNet-{self.depth}, width {self.width}, {self.inputs} inputs, {what}"


@functools.lru_cache  # Tracing a hundred layers takes a second.
def _shapes(network: Network) -> dict[str, tuple[int, ...]]:
    image = jax.ShapeDtypeStruct((1, 64, 64, network.inputs), jnp.float32)
    drawn = jax.eval_shape(network.make().init, jax.random.key(0), image)
    return {
        path: leaf.shape
        for path, leaf in flatten(drawn).items()
        if network.channels or path.split("/")[1] == "trunk"
    }


def flatten(tree: Any) -> dict[str, Any]:
    """Returns the leaves of nested dicts by their paths."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def unflatten(leaves: dict[str, Any]) -> dict[str, Any]:
    """Undoes `flatten`."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *above, last = path.split("/")
        inside = tree
        for name in above:
            inside = inside.setdefault(name, {})
        inside[last] = leaf
    return tree
