"""Frontier classes: a partition as one of 16 classes per pixel (thesis, section 3.2.3).

A class has one bit per 4-neighbour, set where that neighbour is in another region. Outside the
image counts as the same region, so a pixel inside its region is class 0 everywhere.
"""

import cc3d
import numpy as np

LEFT, UP, RIGHT, DOWN = 1, 2, 4, 8
CLASSES = 16
IGNORE = 255  # Label of pixels that carry no truth.


def split_connected(labels: np.ndarray) -> np.ndarray:
    """Renumbers a label map so that every region is 4-connected.

    Args:
        labels: `[H, W]` integers; equal numbers may form several pieces.

    Returns:
        `[H, W]` int32, contiguous from 0, one number per 4-connected piece.
    """
    # cc3d takes 0 for background, hence the shift.
    shifted = np.ascontiguousarray(labels - labels.min() + 1, dtype=np.uint32)
    return (cc3d.connected_components(shifted, connectivity=4).astype(np.int32) - 1).reshape(
        labels.shape
    )


def encode(labels: np.ndarray) -> np.ndarray:
    """Computes the frontier class of every pixel.

    Args:
        labels: `[H, W]` integers, one number per region.

    Returns:
        `[H, W]` uint8 in 0..15: the sum of the bits `LEFT`, `UP`, `RIGHT` and `DOWN`.
    """
    across = labels[:, 1:] != labels[:, :-1]
    along = labels[1:] != labels[:-1]
    classes = np.zeros(labels.shape, np.uint8)
    classes[:, 1:] |= np.where(across, LEFT, 0).astype(np.uint8)
    classes[:, :-1] |= np.where(across, RIGHT, 0).astype(np.uint8)
    classes[1:] |= np.where(along, UP, 0).astype(np.uint8)
    classes[:-1] |= np.where(along, DOWN, 0).astype(np.uint8)
    return classes


def mirror(classes: np.ndarray) -> np.ndarray:
    """Flips a class map left to right, swapping the bits `LEFT` and `RIGHT` with it.

    Args:
        classes: `[..., H, W]` uint8 frontier classes; `IGNORE` stays as it is.

    Returns:
        `[..., H, W]` uint8, the classes of the mirrored partition.
    """
    return _MIRRORED[classes[..., ::-1]]


def _mirror_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint8)
    for value in range(CLASSES):
        kept = value & (UP | DOWN)
        left, right = value & LEFT, value & RIGHT
        table[value] = kept | (RIGHT if left else 0) | (LEFT if right else 0)
    return table


_MIRRORED = _mirror_table()
