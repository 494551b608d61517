"""SLIC superpixels (Achanta et al. 2012): k-means of position and gray level in local windows.

The labels are those of OpenCV's `SuperpixelSLIC` for an image of one float32 channel, pixel by
pixel: the same seeds, float32 sums in the same order, the same rule for small pieces. The inner
loop is vectorised, which makes it about four times as fast.
"""

import cv2
import numpy as np

from psp_jax.partition import compilation, frontier_classes

LEAST_REGION_PX = 3  # A region of at most so many pixels always joins a neighbour.
# Columns of the eight neighbours, clockwise from the left; rows are those of two places before.
_AROUND = np.array([-1, -1, 0, 1, 1, 1, 0, -1])


def cluster(gray: np.ndarray, region_px: int, ruler: float, iterations: int) -> np.ndarray:
    """Assigns every pixel to the nearest of the cluster centres around it.

    Args:
        gray: `[H, W]` float32.
        region_px: side of the cells of the grid that the centres start from.
        ruler: weight of compactness, in gray levels per `region_px` of displacement.
        iterations: of k-means.

    Returns:
        `[H, W]` int32, the number of the centre; a region may be in several pieces.
    """
    # OpenCV adds up column by column, so here columns are contiguous.
    turned = np.ascontiguousarray(gray.T)
    labels = np.zeros(turned.shape, np.int32)
    with np.errstate(divide="ignore", over="ignore"):
        squared_px = np.square(np.float32(region_px) / np.float32(ruler))
    _iterate(turned, _centres(gray, region_px), labels, region_px, squared_px, iterations)
    return np.ascontiguousarray(labels.T)


def join_small(labels: np.ndarray, region_px: int, min_size_percent: int) -> np.ndarray:
    """Splits regions into connected pieces, and joins small ones to a region before them.

    Args:
        labels: `[H, W]` int32, as from `cluster`.
        region_px: side of the cells of the grid.
        min_size_percent: pieces up to about this share of a cell are small, 0 to 100.

    Returns:
        `[H, W]` int32, contiguous from 0 in the order of first pixels, every region 4-connected.
    """
    pieces = frontier_classes.split_connected(labels)
    if min_size_percent == 0:
        return pieces
    rows, columns = _cells(labels.shape, region_px)
    mean_px, share = labels.size // (rows * columns), int(100 / min_size_percent + 0.5)
    return _join_small(pieces, max(LEAST_REGION_PX, mean_px // share))


def _cells(shape: tuple[int, ...], region_px: int) -> list[int]:
    """Returns the number of rows and of columns of the grid."""
    counts = (np.float32(size) / np.float32(region_px) for size in shape)
    return [int(np.float32(0.5) + count) for count in counts]


def _centres(gray: np.ndarray, region_px: int) -> np.ndarray:
    """Places centres on a grid; each moves diagonally if the slope is least there.

    Returns:
        `[N, 3]` float32 columns, rows and gray levels, all 0 for cells whose middle is outside.
    """
    counts, grid = _cells(gray.shape, region_px), []
    for size, count in zip(gray.shape, counts, strict=True):
        step = region_px + int((size - region_px * count) / count)
        grid.append(range(region_px // 2, size, step)[:count])
    rows, columns = (axis.ravel() for axis in np.meshgrid(*grid, indexing="ij"))
    centres = np.zeros((counts[0] * counts[1], 3), np.float32)
    centres[: len(rows)] = np.stack([columns, rows, gray[rows, columns]], axis=-1)
    across, along = (cv2.Sobel(gray, cv2.CV_32F, dx, 1 - dx, ksize=1) for dx in (1, 0))
    _move_centres(centres, gray, across * across + along * along)
    return centres


@compilation.compile_cached
def _move_centres(centres, gray, slope):
    """Moves centres to the pixel with the least slope around them if that is a diagonal one."""
    height, width = gray.shape
    for n in range(len(centres)):
        column, row = int(centres[n, 0]), int(centres[n, 1])
        best_column, best_row = column, row
        for side in range(8):
            c, r = column + _AROUND[side], row + _AROUND[side - 2]
            if 0 <= c < width and 0 <= r < height and slope[r, c] < slope[best_row, best_column]:
                best_column, best_row = c, r
        if best_column != column and best_row != row:
            centres[n, 0], centres[n, 1] = best_column, best_row
            centres[n, 2] = gray[best_row, best_column]


@compilation.compile_cached
def _iterate(turned, centres, labels, reach_px, squared_px, iterations):
    """Assigns pixels and moves centres; images are `[W, H]`, labels and centres change."""
    width, height = turned.shape
    distance = np.empty((width, height), np.float32)
    for _ in range(iterations):
        distance[:] = np.inf
        for n in range(len(centres)):
            column, row = int(centres[n, 0]), int(centres[n, 1])
            top, bottom = max(row - reach_px, 0), min(row + reach_px, height)
            for c in range(max(column - reach_px, 0), min(column + reach_px, width)):
                part = turned[c, top:bottom], distance[c, top:bottom], labels[c, top:bottom]
                _assign(part, c, top, centres[n], squared_px, n)
        _average(turned, labels, centres)


@compilation.compile_cached
def _assign(part, column, top, centre, squared_px, number):
    """Gives the pixels of a part of a column to a centre where it is nearer than those before."""
    gray, distance, labels = part
    x, y, level = centre[0], centre[1], centre[2]
    across = np.float32(column) - x
    for i in range(gray.size):
        along, rise = np.float32(top + i) - y, gray[i] - level
        new = rise * rise + (across * across + along * along) / squared_px
        nearer = new < distance[i]
        distance[i] = new if nearer else distance[i]
        labels[i] = number if nearer else labels[i]


@compilation.compile_cached
def _average(turned, labels, centres):
    """Moves every centre to the mean of its pixels, and to 0 where it has none."""
    width, height = turned.shape
    centres[:] = 0
    counts = np.zeros(len(centres), np.float32)
    for column in range(width):
        for row in range(height):
            label = labels[column, row]
            centres[label, 0] += np.float32(column)
            centres[label, 1] += np.float32(row)
            centres[label, 2] += turned[column, row]
            counts[label] += np.float32(1)
    for n in range(len(centres)):
        for entry in range(3):
            centres[n, entry] /= max(counts[n], np.float32(1))


@compilation.compile_cached
def _join_small(pieces, least_px):
    """Joins pieces of at most `least_px` pixels to the region below, right, above or left.

    The first of these that already has a number counts, seen from a piece's first pixel, where
    pieces get their numbers in the order of first pixels.
    """
    height, width = pieces.shape
    sizes = np.zeros(pieces.max() + 1, np.int64)
    for piece in pieces.ravel():
        sizes[piece] += 1
    joined = np.empty_like(pieces)
    numbers = np.empty(len(sizes), np.int32)
    seen = used = neighbour = 0
    for row in range(height):
        for column in range(width):
            piece = pieces[row, column]
            if piece == seen:
                if row + 1 < height and pieces[row + 1, column] < piece:
                    neighbour = numbers[pieces[row + 1, column]]
                elif column + 1 < width and pieces[row, column + 1] < piece:
                    neighbour = numbers[pieces[row, column + 1]]
                elif row > 0:
                    neighbour = numbers[pieces[row - 1, column]]
                elif column > 0:
                    neighbour = numbers[pieces[row, column - 1]]
                if sizes[piece] <= least_px:
                    numbers[piece] = neighbour
                else:
                    numbers[piece] = used
                    used += 1
                seen += 1
            joined[row, column] = numbers[piece]
    return joined
