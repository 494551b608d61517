"""Logits of "cut here" at the edges between pixels: what networks say and what decoders take.

A network with 16 classes or four bits per pixel votes on every edge twice, from either side; one
with a channel per edge says it once. `Votes` keeps both, and joining them makes `EdgeLogits`.
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
    """How sure it is that a frontier runs between two pixels, one logit per inter-pixel edge.

    Attributes:
        across: `[H, W-1]` float32 logits of a frontier between a pixel and its right neighbour.
        along: `[H-1, W]` float32, the same between a pixel and the one below it.
    """

    across: np.ndarray
    along: np.ndarray

    def __post_init__(self) -> None:
        """Raises ValueError for arrays that don't fit together or logits that aren't finite."""
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
            neighbour; 0 is what the left pixel says, 1 what the right one says.
        along: `[2, H-1, W]` float32, the same between a pixel and the one below it; 0 is what the
            upper pixel says.
    """

    across: np.ndarray
    along: np.ndarray

    def __post_init__(self) -> None:
        """Raises ValueError for arrays that don't fit together or logits that aren't finite."""
        _check(self.across, self.along, 3)
        if len(self.across) != 2 or len(self.along) != 2:
            raise ValueError(
                f"two votes per edge were expected, not {len(self.across)} and {len(self.along)}"
            )

    def mean(self) -> EdgeLogits:
        """Joins two votes by their mean; what a decoder that weighs evidence should get."""
        return EdgeLogits(*((side[0] + side[1]) * np.float32(0.5) for side in self._sides))

    def either(self) -> EdgeLogits:
        """Joins two votes by the larger: an edge is cut if either side says so."""
        return EdgeLogits(*(np.maximum(side[0], side[1]) for side in self._sides))

    def both(self) -> EdgeLogits:
        """Joins two votes by the smaller: an edge is cut if both sides say so."""
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


def from_class_logits(logits: np.ndarray) -> Votes:
    """Collects the votes of a network with 16 classes per pixel.

    P(bit) is the sum of the probabilities of the 8 classes that have it.

    Args:
        logits: `[H, W, 16]` floats; the logarithms of probabilities above 0 are logits too.

    Returns:
        The logits of the bits, within -87 and 87, where float32 ends.
    """
    _check_channels(logits, frontier_classes.CLASSES)
    logits = logits.astype(np.float32)
    scaled = np.exp(logits - logits.max(axis=-1, keepdims=True))
    has_bit = ((np.arange(frontier_classes.CLASSES)[:, None] & BITS) > 0).astype(np.float32)
    least = np.finfo(np.float32).tiny
    cut = np.log(np.maximum(scaled @ has_bit, least))
    return from_bit_logits(cut - np.log(np.maximum(scaled @ (1 - has_bit), least)))


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
            f"[H, W] uint8 in 0..15 was expected, not {classes.shape} {classes.dtype} up to "
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
    """Makes the logits that a sure and faultless network would give for a partition.

    Args:
        labels: `[H, W]` integers, one number per region.
    """
    return from_classes(frontier_classes.encode(labels)).mean()


def transform(edges: EdgeLogits, change: Callable[[np.ndarray], np.ndarray]) -> EdgeLogits:
    """Applies a function of float32 arrays to all logits."""
    return EdgeLogits(across=change(edges.across), along=change(edges.along))


def _check_channels(logits: np.ndarray, channels: int) -> None:
    if logits.ndim != 3 or logits.shape[-1] != channels or 0 in logits.shape:
        raise ValueError(f"[H, W, {channels}] logits were expected, not {logits.shape}")


def _check(across: np.ndarray, along: np.ndarray, dimensions: int) -> None:
    if (
        across.ndim != dimensions
        or along.ndim != dimensions
        or across.shape[-2] != along.shape[-2] + 1
        or along.shape[-1] != across.shape[-1] + 1
    ):
        raise ValueError(
            f"logits of [H, W-1] and [H-1, W] edges were expected, not {across.shape} and "
            f"{along.shape}"
        )
    for side in (across, along):
        if side.dtype != np.float32:
            raise ValueError(f"logits must be float32, not {side.dtype}; convert them")
        if not np.isfinite(side).all():
            raise ValueError(
                f"{np.count_nonzero(~np.isfinite(side))} of {side.size} logits are infinite or "
                "not a number; the network has diverged, or probabilities of 0 were given"
            )
