"""Depth holes filled with the nearest reading (thesis, section 3.2.1)."""

import numpy as np
from scipy import ndimage


def fill_nearest(depth_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives every pixel without a reading the value of the nearest one that has a reading.

    Nearest is exact in Euclidean pixel distance. Which of several equally near readings is taken
    is deterministic but otherwise unspecified.

    Args:
        depth_mm: `[H, W]` uint16 millimetres; 0 marks no reading.

    Returns:
        `[H, W]` uint16 millimetres without zeros, and `[H, W]` bool, True where it was filled.

    Raises:
        ValueError: if the array is not `[H, W]` uint16 or holds no reading at all.
    """
    if depth_mm.ndim != 2 or depth_mm.dtype != np.uint16:
        raise ValueError(f"[H, W] uint16 was expected, not {depth_mm.shape} {depth_mm.dtype}")
    filled = depth_mm == 0
    if filled.all():
        raise ValueError("the depth image holds no reading at all, so nothing can fill it")
    if not filled.any():
        return depth_mm.copy(), filled
    nearest = np.empty((2, *depth_mm.shape), np.int32)
    ndimage.distance_transform_edt(
        filled, return_distances=False, return_indices=True, indices=nearest
    )
    return depth_mm[nearest[0], nearest[1]], filled
