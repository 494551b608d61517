"""Over-segments an image along uncertain frontiers; gaps are closed, and `decode` merges again.

All of it happens on the inter-pixel (Khalimsky) grid of `[2H-1, 2W-1]` cells. A cell of even row
and column is a pixel, one of odd row and column is a vertex between four, the others are edges.
Thin regions survive there, and frontiers have a place of their own.
"""

import cv2
import numpy as np

from psp_jax.partition import compilation, edge_logits, flooding, frontier_classes, merging

# Of the distance, in cells: smooths away the maxima that the steps of a frontier make.
BLUR_CELLS = 1.0
# Heights per cell of distance: distances of 64 cells, 32 pixels, and more are one height. Finer
# heights don't decode better.
STEPS = 4
# Fragments also end where an edge is nearly cut, this far below 0: then a missed edge between
# two basins that touch does not join them. Falsely cut pieces are merged later.
DOUBT = 1.0


def segment(edges: edge_logits.EdgeLogits, spacing_cells: int) -> np.ndarray:
    """Segments an image along its likely frontiers and their continuations through gaps.

    A watershed of the distance to the nearest cut edge: a gap narrower than the regions on both
    sides of it is a pass between two basins.

    Args:
        edges: logits; an edge is cut where its logit is above 0.
        spacing_cells: seeds are the largest distances within this many cells; 2 to a pixel.

    Returns:
        `[H, W]` int32, contiguous from 0 in the order of first pixels, every fragment
        4-connected. No fragment lies on both sides of a closed frontier.
    """
    cells = grid(edges)
    distance = distance_to_frontiers(cells)
    basins = flood(distance, place_seeds(distance, cells, spacing_cells))
    return connect(basins, edge_logits.transform(edges, lambda x: x + np.float32(DOUBT)))


def grid(edges: edge_logits.EdgeLogits) -> np.ndarray:
    """Marks the cut edges and the vertices at their ends, `[2H-1, 2W-1]` bool."""
    height, width = edges.shape
    cells = np.zeros((2 * height - 1, 2 * width - 1), bool)
    cells[::2, 1::2] = edges.across > 0
    cells[1::2, ::2] = edges.along > 0
    cells[1::2, 1::2] = (
        cells[:-1:2, 1::2] | cells[2::2, 1::2] | cells[1::2, :-1:2] | cells[1::2, 2::2]
    )
    return cells


def distance_to_frontiers(cells: np.ndarray) -> np.ndarray:
    """Computes the blurred distance to the nearest marked cell.

    Args:
        cells: `[M, N]` bool, the marked ones.

    Returns:
        `[M, N]` float32 in cells, a constant where none is marked.
    """
    if not cells.any():
        return np.ones(cells.shape, np.float32)
    distance = cv2.distanceTransform((~cells).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return cv2.GaussianBlur(distance, (0, 0), BLUR_CELLS)


def place_seeds(distance: np.ndarray, cells: np.ndarray, spacing_cells: int) -> np.ndarray:
    """Finds the local maxima of the distance.

    Args:
        distance: `[M, N]` float32.
        cells: `[M, N]` bool, where no seed may be unless everywhere is marked.
        spacing_cells: a seed is the largest in the square that reaches this far.

    Returns:
        `[S]` int64 flat indices, S >= 1, one for every 8-connected plateau.
    """
    window = np.ones((2 * spacing_cells + 1,) * 2, np.uint8)
    highest = (distance >= cv2.dilate(distance, window)) & ~cells
    _, plateaus = cv2.connectedComponents(highest.astype(np.uint8), connectivity=8)
    inside = np.flatnonzero(plateaus)
    _, first = np.unique(plateaus.ravel()[inside], return_index=True)
    seeds = inside[first].astype(np.int64)
    return seeds if len(seeds) else np.zeros(1, np.int64)


def flood(distance: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Floods the distance from its maxima down.

    Returns:
        `[H, W]` int32 number of the seed whose basin a pixel is in. Basins may meet at a vertex
        only, so not all are 4-connected.
    """
    height = (255 - np.minimum(distance * STEPS, 255)).astype(np.uint8)
    return flooding.flood(height, seeds)[::2, ::2]


def connect(labels: np.ndarray, edges: edge_logits.EdgeLogits) -> np.ndarray:
    """Finds the pieces of a label map that uncut edges hold together.

    Args:
        labels: `[H, W]` int32; pixels of different numbers are never held together.
        edges: logits; an edge is cut where its logit is above 0.

    Returns:
        `[H, W]` int32, contiguous from 0 in the order of first pixels, every piece 4-connected.
    """
    return frontier_classes.renumber(_connect(labels, edges.across, edges.along))


@compilation.compile_cached
def _connect(labels, across, along):
    rows, columns = labels.shape
    owner = np.arange(rows * columns)
    for row in range(rows):
        for column in range(columns):
            pixel = row * columns + column
            if column + 1 < columns and not across[row, column] > 0:
                if labels[row, column] == labels[row, column + 1]:
                    join(owner, pixel, pixel + 1)
            if row + 1 < rows and not along[row, column] > 0:
                if labels[row, column] == labels[row + 1, column]:
                    join(owner, pixel, pixel + columns)
    for pixel in range(rows * columns):
        owner[pixel] = merging.find(owner, pixel)
    return owner.reshape(rows, columns)


@compilation.compile_cached
def join(owner, first, second):
    """Puts two regions into one, named by the smaller number.

    Args:
        owner: `[R]` int64, of every region the one it is in or leads to; changed in place.
        first, second: regions.
    """
    first, second = merging.find(owner, first), merging.find(owner, second)
    owner[max(first, second)] = min(first, second)
