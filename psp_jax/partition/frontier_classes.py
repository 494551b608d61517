"""Frontier classes: a partition as one of 16 classes per pixel (thesis, section 3.2.3).

A class has one bit per 4-neighbour, set where that neighbour is in another region. Outside the
image counts as the same region, so a pixel inside its region is class 0 everywhere.
"""

import enum

import cc3d
import numpy as np

from psp_jax.partition import compilation

CLASSES = 16


class Side(enum.IntEnum):
    """The 4-neighbours of a pixel; the values are the positions of their bits in a class."""

    LEFT = 0
    UP = 1
    RIGHT = 2
    DOWN = 3

    @property
    def mask(self) -> np.uint8:
        """The class in which this bit alone is set."""
        return np.uint8(1 << self)


# Features of prepared records that hold frontier classes are named by this and the label set.
FEATURE_PREFIX = "frontier_"


def split_connected(labels: np.ndarray) -> np.ndarray:
    """Renumbers a label map so that every region is 4-connected.

    Args:
        labels: `[H, W]` integers; equal numbers may form several pieces.

    Returns:
        `[H, W]` int32, contiguous from 0 in the order of first pixels, one number per 4-connected
        piece.
    """
    # cc3d takes 0 for background, hence the shift.
    shifted = np.ascontiguousarray(labels - labels.min() + 1, dtype=np.uint32)
    pieces = cc3d.connected_components(shifted, connectivity=4).astype(np.int32) - 1
    return renumber(pieces.reshape(labels.shape))


def renumber(labels: np.ndarray) -> np.ndarray:
    """Renumbers the regions of a partition in the order in which they first appear.

    Args:
        labels: integers from 0 of any shape, one number per region.

    Returns:
        int32 of the same shape, contiguous from 0, the same partition.
    """
    return _renumber(labels.ravel(), int(labels.max()) + 1).reshape(labels.shape)


@compilation.compile_cached
def _renumber(labels, numbers):
    new = np.full(numbers, -1, np.int32)
    renumbered = np.empty(labels.size, np.int32)
    used = 0
    for pixel in range(labels.size):
        label = labels[pixel]
        if new[label] < 0:
            new[label] = used
            used += 1
        renumbered[pixel] = new[label]
    return renumbered


def encode(labels: np.ndarray) -> np.ndarray:
    """Computes the frontier class of every pixel.

    Args:
        labels: `[H, W]` integers, one number per region.

    Returns:
        `[H, W]` uint8 in 0..15: the sum of the masks of `Side`.
    """
    across = labels[:, 1:] != labels[:, :-1]
    along = labels[1:] != labels[:-1]
    classes = np.zeros(labels.shape, np.uint8)
    classes[:, 1:] |= np.where(across, Side.LEFT.mask, 0).astype(np.uint8)
    classes[:, :-1] |= np.where(across, Side.RIGHT.mask, 0).astype(np.uint8)
    classes[1:] |= np.where(along, Side.UP.mask, 0).astype(np.uint8)
    classes[:-1] |= np.where(along, Side.DOWN.mask, 0).astype(np.uint8)
    return classes


def decode_exact(classes: np.ndarray) -> np.ndarray:
    """Finds the regions of exact frontier classes; the inverse of `encode`.

    For labels as `split_connected` makes them, `decode_exact(encode(labels))` is `labels`, number
    by number. Predicted classes contradict one another and need a decoder of `decode`.

    Args:
        classes: `[H, W]` uint8 in 0..15.

    Returns:
        `[H, W]` int32, contiguous from 0 in the order of first pixels, every region 4-connected.

    Raises:
        ValueError: if these are not the classes of any partition: the two pixels at an edge
            disagree, a frontier ends inside a region, or a bit points out of the image.
    """
    # cc3d's bits mean "connected" and stand for down 1, up 2, right 4, left 8.
    labels = cc3d.color_connectivity_graph(_CONNECTED[classes], connectivity=4).astype(np.int32)
    labels = renumber(labels.reshape(classes.shape) - 1)
    wrong = encode(labels) != classes
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"expected the classes of a partition, got {wrong.sum()} pixels that contradict their "
            f"surroundings, the first at row {row} and column {column}; decode predicted classes "
            "with psp_jax.partition.decode"
        )
    return labels


def mirror(classes: np.ndarray) -> np.ndarray:
    """Flips a class map left to right, swapping the bits of `Side.LEFT` and `Side.RIGHT` with it.

    Args:
        classes: `[..., H, W]` uint8 frontier classes.

    Returns:
        `[..., H, W]` uint8, the classes of the mirrored partition.
    """
    return _MIRRORED[classes[..., ::-1]]


def _mirror_table() -> np.ndarray:
    table = np.zeros(CLASSES, np.uint8)
    for value in range(CLASSES):
        kept = value & (Side.UP.mask | Side.DOWN.mask)
        left, right = value & Side.LEFT.mask, value & Side.RIGHT.mask
        table[value] = kept | (Side.RIGHT.mask if left else 0) | (Side.LEFT.mask if right else 0)
    return table


_MIRRORED = _mirror_table()


def _connected_table() -> np.ndarray:
    table = np.zeros(256, np.uint8)
    for value in range(CLASSES):
        for side, connected in ((Side.DOWN, 1), (Side.UP, 2), (Side.RIGHT, 4), (Side.LEFT, 8)):
            table[value] |= 0 if value & side.mask else connected
    return table


_CONNECTED = _connected_table()
