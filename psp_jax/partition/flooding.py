"""Watershed by flooding from markers, without lines between the basins (Meyer 1991)."""

import numpy as np

from psp_jax.partition import compilation

LEVELS = 256  # Heights are uint8, so a first-in-first-out queue per height replaces the heap.


@compilation.compile_cached
def flood(height, seeds):
    """Grows every seed over the pixels that water from it reaches first.

    Every pixel joins a 4-neighbour, so every basin is 4-connected; on a plateau basins meet half
    way. The label of a pixel is that of a seed with the lowest pass to it.

    Args:
        height: `[H, W]` uint8 relief.
        seeds: `[N]` int64 flat indices of different pixels, N >= 1.

    Returns:
        `[H, W]` int32, the position in `seeds` of the basin's seed.
    """
    rows, columns = height.shape
    labels = np.full(rows * columns, -1, np.int32)
    level = height.ravel().astype(np.int32)
    following = np.empty(rows * columns, np.int32)
    head = np.full(LEVELS, -1, np.int32)
    tail = np.full(LEVELS, -1, np.int32)
    for number, pixel in enumerate(seeds):
        labels[pixel] = number
        _append(following, head, tail, level[pixel], pixel)
    water = 0
    while water < LEVELS:
        pixel = head[water]
        if pixel < 0:
            water += 1
            continue
        head[water] = following[pixel]
        row, column = pixel // columns, pixel % columns
        for side in range(4):
            if side == 0 and column > 0:
                other = pixel - 1
            elif side == 1 and row > 0:
                other = pixel - columns
            elif side == 2 and column < columns - 1:
                other = pixel + 1
            elif side == 3 and row < rows - 1:
                other = pixel + columns
            else:
                continue
            if labels[other] < 0:
                labels[other] = labels[pixel]
                _append(following, head, tail, max(level[other], water), other)
    return labels.reshape(rows, columns)


@compilation.compile_cached
def _append(following, head, tail, level, pixel):
    """Puts a pixel at the end of the queue of its level."""
    following[pixel] = -1
    if head[level] < 0:
        head[level] = pixel
    else:
        following[tail[level]] = pixel
    tail[level] = pixel


@compilation.compile_cached
def place_seeds(height, spacing_px):
    """Picks one seed per cell of a square grid: the lowest pixel of the cell's middle.

    The middle is the half of the cell around its centre, which keeps seeds apart; of equally low
    pixels the one nearest to the centre is taken.

    Args:
        height: `[H, W]` uint8 relief.
        spacing_px: side of a cell, at least 1; cells are stretched to fill the image.

    Returns:
        `[N]` int64 flat indices of different pixels.
    """
    rows, columns = height.shape
    down = max(1, int(np.round(rows / spacing_px)))
    across = max(1, int(np.round(columns / spacing_px)))
    seeds = np.empty(down * across, np.int64)
    for i in range(down):
        for j in range(across):
            top, bottom = i * rows // down, (i + 1) * rows // down
            left, right = j * columns // across, (j + 1) * columns // across
            center_row, center_column = (top + bottom) // 2, (left + right) // 2
            lowest = np.int64(-1)
            for row in range(top + (bottom - top) // 4, bottom - (bottom - top) // 4):
                for column in range(left + (right - left) // 4, right - (right - left) // 4):
                    away = (row - center_row) ** 2 + (column - center_column) ** 2
                    key = height[row, column] * np.int64(rows * rows + columns * columns) + away
                    if lowest < 0 or key < lowest:
                        lowest = key
                        seeds[i * across + j] = row * columns + column
    return seeds
