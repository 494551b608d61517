"""Fills depth holes with the nearest reading (thesis, section 3.2.1)."""

import numpy as np

from psp_jax.partition import compilation

# Keys are squared distance * DEPTHS + depth: one integer orders readings by distance first and by
# depth second, so the tie rule costs nothing and needs no case of its own.
DEPTHS = 1 << 16


def fill_nearest(depth_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives every pixel without a reading the value of the nearest one that has a reading.

    Nearest is exact in Euclidean pixel distance. Of several equally near readings the one of the
    nearer surface (the smallest depth) is taken, independent of scanning order: the fill of
    a mirrored image is the mirrored fill. The method is the lower envelope of parabolas
    (Felzenszwalb and Huttenlocher 2012, section 2.1), in integers and within each run of holes.

    Args:
        depth_mm: `[H, W]` uint16 millimetres; 0 marks no reading.

    Returns:
        `[H, W]` uint16 millimetres without zeros, and `[H, W]` bool, True where it was filled.

    Raises:
        ValueError: if the array is not `[H, W]` uint16 or holds no reading at all.
    """
    if depth_mm.ndim != 2 or depth_mm.dtype != np.uint16:
        raise ValueError(f"expected depth as [H, W] uint16, got {depth_mm.shape} {depth_mm.dtype}")
    filled = depth_mm == 0
    if filled.all():
        raise ValueError("expected a depth image with readings, got no reading at all")
    filled_mm = np.array(depth_mm, order="C")
    if filled.any():
        _fill(filled_mm.copy(), filled_mm)
    return filled_mm, filled


@compilation.compile_cached
def _fill(depth_mm, filled_mm):
    """Writes the nearest reading into the holes of `filled_mm`, a copy of `depth_mm`."""
    height, width = depth_mm.shape
    none = height  # No reading in this direction: farther than any in the column.
    above_px = np.empty((height, width), np.int32)
    above_mm = np.empty((height, width), np.uint16)
    for row in range(height):
        for column in range(width):
            if depth_mm[row, column] > 0:
                above_px[row, column] = 0
                above_mm[row, column] = depth_mm[row, column]
            elif row == 0:
                above_px[row, column] = none
                above_mm[row, column] = 0
            else:
                above_px[row, column] = min(none, above_px[row - 1, column] + 1)
                above_mm[row, column] = above_mm[row - 1, column]
    below_px = np.full(width, none, np.int32)
    below_mm = np.zeros(width, np.uint16)
    key = np.empty(width, np.int64)
    envelope = np.empty(width, np.int64)
    start = np.empty(width, np.int64)
    for row in range(height - 1, -1, -1):
        for column in range(width):
            if depth_mm[row, column] > 0:
                below_px[column] = 0
                below_mm[column] = depth_mm[row, column]
            else:
                below_px[column] = min(none, below_px[column] + 1)
            up, down = np.int64(above_px[row, column]), np.int64(below_px[column])
            nearest = min(up, down)
            if nearest == none:
                key[column] = -1
                continue
            value = np.int64(DEPTHS)
            if up == nearest:
                value = np.int64(above_mm[row, column])
            if down == nearest:
                value = min(value, np.int64(below_mm[column]))
            key[column] = nearest * nearest * DEPTHS + value
        column = 0
        while column < width:
            if depth_mm[row, column] > 0:
                column += 1
                continue
            first = column
            while column < width and depth_mm[row, column] == 0:
                column += 1
            # Beyond the readings at both ends of the run, everything is farther than they are.
            _fill_run(
                key, envelope, start, max(first - 1, 0), min(column, width - 1), filled_mm[row]
            )


@compilation.compile_cached
def _fill_run(key, envelope, start, first, last, row_mm):
    """Writes the least of `DEPTHS * (x - column)^2 + key[column]` for x in first..last.

    Keys of -1 are absent. `envelope` and `start` are room for one entry per column.
    """
    top = -1
    for column in range(first, last + 1):
        if key[column] < 0:
            continue
        begin = np.int64(first)
        while top >= 0:
            other = envelope[top]
            # The smallest x where this column's parabola is strictly below the other's.
            rise = DEPTHS * (column * column - other * other) + key[column] - key[other]
            begin = max(first, rise // (2 * DEPTHS * (column - other)) + 1)
            if begin > start[top]:
                break
            top -= 1
            begin = np.int64(first)
        if begin <= last:
            top += 1
            envelope[top] = column
            start[top] = begin
    for x in range(last, first - 1, -1):
        while start[top] > x:
            top -= 1
        column = envelope[top]
        row_mm[x] = (DEPTHS * (x - column) * (x - column) + key[column]) % DEPTHS
