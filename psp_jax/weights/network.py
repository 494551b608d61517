"""Sizes and architecture variant of a network, as weight files determine them."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from psp_jax.models import pspnet, resnet, segmenter
from psp_jax.models.architecture import Architecture

MAX_SIZE = 1 << 16  # Channels and classes; published networks have far fewer.
MAX_SMALL = 64  # Cells of the pyramid, and sizes in the stem.


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """A PSPNet or its trunk, as weights determine it.

    Attributes:
        depth: layers of the trunk.
        width: channels of its first stage.
        inputs: channels of the image.
        channels: outputs per pixel; 0 if there is only a trunk.
        auxiliary: whether there is an auxiliary head.
        architecture: the architecture variant.
    """

    depth: int
    width: int
    inputs: int
    channels: int
    auxiliary: bool
    architecture: Architecture

    def __post_init__(self):
        """Refuses sizes that would cost much time or memory before arrays are compared."""
        stem = self.architecture.stem
        sizes = [self.width, self.inputs, max(self.channels, 1)]
        cells = self.architecture.bins
        small = [len(cells), len(stem), *cells, *(n for s in stem for n in (s.size, s.stride))]
        if not all(1 <= size <= MAX_SIZE for size in sizes):
            raise ValueError(f"{self.describe()}: expected sizes from 1 to {MAX_SIZE}")
        if not all(1 <= size <= MAX_SMALL for size in small):
            raise ValueError(f"{self.architecture}: expected sizes from 1 to {MAX_SMALL}")
        if not all(0 < s.widths <= MAX_SMALL for s in stem):
            raise ValueError(f"stem {stem}: expected widths above 0, up to {MAX_SMALL}")

    def make(self) -> pspnet.PSPNet:
        """Builds the module; that of a trunk gets a classifier with one output."""
        model = segmenter.Segmenter(
            resnet.ResNet(self.depth, self.width),
            architecture=self.architecture,
            auxiliary=self.auxiliary,
        )
        return model.make(max(self.channels, 1))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every array by its path."""
        return _shapes(self)

    def describe(self) -> str:
        """Returns a description in one line."""
        whole = f"PSPNet with {self.channels} outputs" if self.channels else "only a trunk"
        whole += " and an auxiliary head" if self.auxiliary else ""
        return f"ResNet-{self.depth}, width {self.width}, {self.inputs} inputs, {whole}"


@functools.lru_cache  # Tracing a hundred layers takes a second.
def _shapes(network: NetworkSpec) -> dict[str, tuple[int, ...]]:
    image = jax.ShapeDtypeStruct((1, 64, 64, network.inputs), jnp.float32)
    variables = jax.eval_shape(network.make().init, jax.random.key(0), image)
    return {
        path: leaf.shape
        for path, leaf in flatten(variables).items()
        if network.channels or path.split("/")[1] == "trunk"
    }


def flatten(tree: Any) -> dict[str, Any]:
    """Returns the leaves of nested dicts by their paths, joined by slashes."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def unflatten(leaves: dict[str, Any]) -> dict[str, Any]:
    """Returns nested dicts of leaves by their paths; it undoes `flatten`."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = leaf
    return tree
