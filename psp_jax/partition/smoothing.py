"""Planar regions with smooth frontiers, which are cheap to code.

`planar` counts crack edges, so a ragged line is as long as a straight one along it. Here the length
of a frontier is measured over the eight neighbours of its pixels, regions that became superfluous
merge again, and regions may fall apart.
"""

import dataclasses

import numpy as np

from psp_jax.io.units import MM_PER_M
from psp_jax.partition import compilation, merging, planar, superpixels

# Shares of the trade at which frontiers move after a merge: planes part before they settle.
ROUNDS = (0.1, 1.0, 1.0)
SWEEPS = 6  # Over all pixels between two merges; later ones move next to nothing.
# Length of a frontier that a pixel's eight neighbours see: of an edge and of a corner, in cracks.
# Together they make length nearly independent of direction, and penalise single protruding pixels.
EDGE_LENGTH, CORNER_LENGTH = 1.4, 0.42


@dataclasses.dataclass(frozen=True)
class Smoothed:
    """Regions merged as by `Planar` and frontiers moved and smoothed, alternately.

    Meant for coding: it takes fewer bits than `Planar` at the same error (`benchmarks/coding.py`).

    Attributes:
        base: makes the fine partition.
        trade: increase of squared error of inverse depth, in 1/m^2, accepted per crack edge saved.
    """

    base: superpixels.Superpixels = planar.FINE
    trade: float = 1e-3

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of its range."""
        if not self.trade >= 0:
            raise ValueError(f"expected a trade of 0 or more, got {self.trade}")

    def __call__(self, depth_mm: np.ndarray) -> np.ndarray:
        """Segments a depth image into planar regions.

        Args:
            depth_mm: `[H, W]` uint16 millimetres without holes.

        Returns:
            `[H, W]` int32, contiguous from 0, every region 4-connected.

        Raises:
            ValueError: as `base` does, or if the depth image has holes.
        """
        return smooth(self.base(depth_mm), depth_mm, trade=self.trade)


def smooth(labels: np.ndarray, depth_mm: np.ndarray, *, trade: float) -> np.ndarray:
    """Merges regions and moves frontiers as `Smoothed` does; arguments: see `planar.merge`."""
    inverse_depth_per_m = MM_PER_M / depth_mm.astype(np.float64)
    for share in ROUNDS:
        labels = planar.merge(labels, depth_mm, share * trade)
        regions = int(labels.max()) + 1
        for sweep in range(SWEEPS):
            sums = merging.region_sums(labels, inverse_depth_per_m, regions)
            if not _move(labels, inverse_depth_per_m, sums, share * trade, sweep % 2 == 1):
                break
    return planar.merge(labels, depth_mm, trade)


@compilation.compile_cached
def _move(labels, values, sums, trade, backwards):
    """Does one sweep of iterated conditional modes (Besag 1986).

    Gives every pixel at a frontier the best region around it; returns how many changed."""
    height, width = labels.shape
    planes = merging.planes(sums)
    moved = 0
    for index in range(labels.size):
        pixel = labels.size - 1 - index if backwards else index
        row, column = pixel // width, pixel % width
        own = labels[row, column]
        if not (
            (row > 0 and labels[row - 1, column] != own)
            or (row + 1 < height and labels[row + 1, column] != own)
            or (column > 0 and labels[row, column - 1] != own)
            or (column + 1 < width and labels[row, column + 1] != own)
        ):
            continue
        best, least = own, np.inf
        for side in range(5):  # Itself first, which wins ties.
            r = row + (side == 1) - (side == 2)
            c = column + (side == 3) - (side == 4)
            if not (0 <= r < height and 0 <= c < width):
                continue
            region = labels[r, c]
            if side > 0 and region == own:
                continue
            plane = planes[region]
            error = values[row, column] - plane[0] * column - plane[1] * row - plane[2]
            cost = error * error
            for other in range(9):
                r, c = row + other // 3 - 1, column + other % 3 - 1
                if other != 4 and 0 <= r < height and 0 <= c < width and labels[r, c] != region:
                    cost += trade * (EDGE_LENGTH if other % 2 == 1 else CORNER_LENGTH)
            if cost < least:
                least, best = cost, region
        if best != own:
            labels[row, column] = best
            moved += 1
    return moved
