"""Moves the frontiers of a partition to where the planes of its regions meet, pixel by pixel."""

import numpy as np

from psp_jax.partition import compilation, merging

# Rows and columns of the eight neighbours, around the pixel; the even ones are its 4-neighbours.
_ROWS = np.array([-1, -1, 0, 1, 1, 1, 0, -1])
_COLUMNS = np.array([0, 1, 1, 1, 0, -1, -1, -1])


@compilation.compile_cached
def refine(labels, values, regions, trade, sweeps):
    """Moves frontier pixels to the neighbouring region whose plane and frontiers cost them less.

    Iterated conditional modes (Besag 1986) of (squared error) + `trade` * (crack edges): in every
    sweep the planes are fitted, then each pixel joins the touching region with the least cost,
    one after the other. A pixel stays where its region would fall apart without it or end.

    Args:
        labels: `[H, W]` int32 in 0..regions-1, every region 4-connected.
        values: `[H, W]` float64, what is modelled.
        regions: number of regions.
        trade: squared error that one crack edge may save.
        sweeps: passes over the image at most; it ends when one moves nothing.

    Returns:
        `[H, W]` int32, as many regions, every one 4-connected.
    """
    labels, rimmed = labels.copy(), with_rim(labels)
    height, width = labels.shape
    at_frontier = np.zeros(width + 1, np.bool_)
    for _ in range(sweeps):
        planes = merging.planes(merging.region_sums(labels, values, regions))
        moved = 0
        for row in range(height):
            mark_frontiers(rimmed, row, at_frontier)
            for column in range(width):
                if not at_frontier[column]:
                    continue
                own, value = labels[row, column], values[row, column]
                best, least = own, _cost(rimmed, planes, row, column, value, own, trade)
                for side in range(0, 8, 2):
                    other = rimmed[row + 1 + _ROWS[side], column + 1 + _COLUMNS[side]]
                    if other < 0 or other == own or other == best:
                        continue
                    cost = _cost(rimmed, planes, row, column, value, other, trade)
                    if cost < least:
                        best, least = other, cost
                if best != own and _can_leave(rimmed, row + 1, column + 1, own):
                    labels[row, column] = rimmed[row + 1, column + 1] = best
                    at_frontier[column + 1] = True
                    moved += 1
        if moved == 0:
            break
    return labels


@compilation.compile_cached
def with_rim(labels):
    """Surrounds `[H, W]` labels by pixels of -1, so that the border needs no special case."""
    height, width = labels.shape
    rimmed = np.full((height + 2, width + 2), -1, np.int32)
    for row in range(height):  # numba compiles the assignment of a whole array for 3 seconds.
        for column in range(width):
            rimmed[row + 1, column + 1] = labels[row, column]
    return rimmed


@compilation.compile_cached
def mark_frontiers(rimmed, row, at_frontier):
    """Marks the pixels of a row that have a 4-neighbour of another region, or the rim.

    Args:
        rimmed: `[H + 2, W + 2]` int32, as from `with_rim`.
        row: of the image.
        at_frontier: `[W + 1]` bool, changed in place; the last one is not used.
    """
    above, own, below = rimmed[row], rimmed[row + 1], rimmed[row + 2]
    for column in range(own.size - 2):
        label = own[column + 1]
        at_frontier[column] = (
            (above[column + 1] != label)
            | (below[column + 1] != label)
            | (own[column] != label)
            | (own[column + 2] != label)
        )


@compilation.compile_cached
def _cost(rimmed, planes, row, column, value, region, trade):
    """Squared error and frontiers of one pixel if it were in a region."""
    error = value - (planes[region, 0] * column + planes[region, 1] * row + planes[region, 2])
    cracks = 0
    for side in range(0, 8, 2):
        other = rimmed[row + 1 + _ROWS[side], column + 1 + _COLUMNS[side]]
        cracks += (other != region) & (other >= 0)
    return error * error + trade * cracks


@compilation.compile_cached
def _can_leave(rimmed, row, column, own):
    """Tells whether the pixel's 4-neighbours of its region touch each other around it.

    Walking around the pixel, they must form one run of its region: then every way through the
    pixel can go around it.
    """
    runs = 0
    for side in range(0, 8, 2):
        if rimmed[row + _ROWS[side], column + _COLUMNS[side]] != own:
            continue
        corner, following = side + 1, (side + 2) % 8
        runs += not (
            rimmed[row + _ROWS[corner], column + _COLUMNS[corner]] == own
            and rimmed[row + _ROWS[following], column + _COLUMNS[following]] == own
        )
    return runs == 1
