"""Logits of a frontier at the edges between pixels: outputs of networks, inputs of decoders.

A network with classes or four bits per pixel votes on every edge twice, from either side; one with
a channel per edge has one logit for it. `Votes` keeps both votes, joined they are `EdgeLogits`. On
device: `objectives.edges`.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from psp_jax.partition import frontier_classes
from psp_jax.partition.frontier_classes import Side

# A class without probabilities counts as 98 % sure: decoders need logits that are finite.
CERTAIN = 4.0
BITS = np.array([side.mask for side in Side])


@dataclasses.dataclass(frozen=True)
class EdgeLogits:
    """Logits of a frontier between two pixels, one per inter-pixel edge.

    Attributes:
        across: `[H, W-1]` float32 logits of a frontier between a pixel and its right neighbour.
        along: `[H-1, W]` float32, the same between a pixel and the one below it.
    """

    across: np.ndarray
    along: np.ndarray

    def __post_init__(self) -> None:
        """Raises ValueError for shapes that don't match or logits that aren't finite."""
        _check(self.across, self.along, 2)

    @property
    def shape(self) -> tuple[int, int]:
        """H and W of the image."""
        return self.across.shape[0], self.along.shape[1]

    @property
    def probabilities(self) -> tuple[np.ndarray, np.ndarray]:
        """`[H, W-1]` and `[H-1, W]` float32 probabilities of a frontier."""
        across, along = (0.5 + 0.5 * np.tanh(0.5 * side) for side in (self.across, self.along))
        return across, along


@dataclasses.dataclass(frozen=True)
class Votes:
    """Two logits per inter-pixel edge, one from the pixel on either side.

    Attributes:
        across: `[2, H, W-1]` float32 logits of a frontier between a pixel and its right
            neighbour; 0 is the left pixel's vote, 1 the right one's.
        along: `[2, H-1, W]` float32, the same between a pixel and the one below it; 0 is the
            upper pixel's vote.
    """

    across: np.ndarray
    along: np.ndarray

    def __post_init__(self) -> None:
        """Raises ValueError for shapes that don't match or logits that aren't finite."""
        _check(self.across, self.along, 3)
        if len(self.across) != 2 or len(self.along) != 2:
            raise ValueError(
                f"expected two votes per edge, got {len(self.across)} and {len(self.along)}"
            )

    def mean(self) -> EdgeLogits:
        """Joins two votes by their mean; for decoders that weigh evidence."""
        return EdgeLogits(*((side[0] + side[1]) * np.float32(0.5) for side in self._sides))

    def either(self) -> EdgeLogits:
        """Joins two votes by the larger: an edge is cut if either side votes for it."""
        return EdgeLogits(*(np.maximum(side[0], side[1]) for side in self._sides))

    def both(self) -> EdgeLogits:
        """Joins two votes by the smaller: an edge is cut if both sides vote for it."""
        return EdgeLogits(*(np.minimum(side[0], side[1]) for side in self._sides))

    @property
    def _sides(self) -> tuple[np.ndarray, np.ndarray]:
        return self.across, self.along


def from_bit_logits(logits: np.ndarray) -> Votes:
    """Collects the votes of a network with four bits per pixel.

    Args:
        logits: `[H, W, 4]` floats, the logits of the bits `LEFT`, `UP`, `RIGHT` and `DOWN`.
    """
    _check_channels(logits, 4)
    left, up, right, down = np.moveaxis(logits.astype(np.float32), -1, 0)
    return Votes(across=np.stack([right[:, :-1], left[:, 1:]]), along=np.stack([down[:-1], up[1:]]))


def from_classes(classes: np.ndarray) -> Votes:
    """Collects the votes of frontier classes without probabilities, each 98 % sure.

    Args:
        classes: `[H, W]` uint8 in 0..15.
    """
    if (
        classes.ndim != 2
        or classes.dtype != np.uint8
        or (classes >= frontier_classes.CLASSES).any()
    ):
        raise ValueError(
            f"expected classes as [H, W] uint8 in 0..15, got {classes.shape} {classes.dtype} up to "
            f"{classes.max(initial=0)}"
        )
    return from_bit_logits(np.where(classes[..., None] & BITS, CERTAIN, -CERTAIN))


def from_edge_head(logits: np.ndarray) -> EdgeLogits:
    """Takes the output of a network with a channel per edge.

    Args:
        logits: `[H, W, 2]` floats: channel 0 at a pixel is the edge to its right neighbour,
            channel 1 the one to the pixel below. The last column of channel 0 and the last row of
            channel 1 point out of the image and are not read.
    """
    _check_channels(logits, 2)
    logits = logits.astype(np.float32)
    return EdgeLogits(across=logits[:, :-1, 0], along=logits[:-1, :, 1])


def from_labels(labels: np.ndarray) -> EdgeLogits:
    """Returns the logits of a confident and perfect prediction of a partition.

    Args:
        labels: `[H, W]` integers, one number per region.
    """
    return from_classes(frontier_classes.encode(labels)).mean()


def transform(edges: EdgeLogits, change: Callable[[np.ndarray], np.ndarray]) -> EdgeLogits:
    """Applies a function of float32 arrays to all logits."""
    return EdgeLogits(across=change(edges.across), along=change(edges.along))


def _check_channels(logits: np.ndarray, channels: int) -> None:
    if logits.ndim != 3 or logits.shape[-1] != channels or 0 in logits.shape:
        raise ValueError(f"expected logits of [H, W, {channels}], got {logits.shape}")


def _check(across: np.ndarray, along: np.ndarray, dimensions: int) -> None:
    if (
        across.ndim != dimensions
        or along.ndim != dimensions
        or across.shape[-2] != along.shape[-2] + 1
        or along.shape[-1] != across.shape[-1] + 1
    ):
        raise ValueError(
            f"expected logits of [H, W-1] and [H-1, W] edges, got {across.shape} and {along.shape}"
        )
    for side in (across, along):
        if side.dtype != np.float32:
            raise ValueError(f"expected float32 logits, got {side.dtype}; convert them")
        if not np.isfinite(side).all():
            count = np.count_nonzero(~np.isfinite(side))
            raise ValueError(
                f"{count} of {side.size} logits are infinite or NaN, expected none; the network "
                "has diverged, or its probabilities are 0"
            )
