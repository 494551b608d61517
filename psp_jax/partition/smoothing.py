"""Planar regions with smooth frontiers, which are cheap to code.

`planar` counts crack edges, so a ragged line is as long as a straight one along it. Here the length
of a frontier is measured over the eight neighbours of its pixels, regions that became superfluous
merge again, and regions may fall apart.
"""

import dataclasses

import numpy as np

from psp_jax.io.units import MM_PER_M
from psp_jax.partition import (
    compilation,
    merging,
    planar,
    refining,
    superpixels,
)

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
        labels = _settle(labels, inverse_depth_per_m, int(labels.max()) + 1, share * trade, SWEEPS)
    return planar.merge(labels, depth_mm, trade)


@compilation.compile_cached
def _settle(labels, values, regions, trade, sweeps):
    """Moves frontiers in sweeps of iterated conditional modes (Besag 1986), there and back.

    In every sweep the planes are fitted, then each pixel at a frontier joins the best region
    around it. Returns `[H, W]` int32; a region may be in several pieces then.
    """
    height, width = labels.shape
    labels, rimmed = labels.copy(), refining.with_rim(labels)
    at_frontier = np.zeros(width + 1, np.bool_)
    for sweep in range(sweeps):
        planes = merging.planes(merging.region_sums(labels, values, regions))
        rows, columns, step = (0, height), (0, width), 1
        if sweep % 2 == 1:
            rows, columns, step = (height - 1, -1), (width - 1, -1), -1
        moved = 0
        for row in range(rows[0], rows[1], step):
            refining.mark_frontiers(rimmed, row, at_frontier)
            for column in range(columns[0], columns[1], step):
                if at_frontier[column]:
                    best = _best_region(rimmed, planes, row, column, values[row, column], trade)
                    if best != labels[row, column]:
                        labels[row, column] = rimmed[row + 1, column + 1] = best
                        at_frontier[column + step] = True
                        moved += 1
        if moved == 0:
            break
    return labels


@compilation.compile_cached
def _best_region(rimmed, planes, row, column, value, trade):
    """Returns the region that costs a pixel least: its own, or one of its 4-neighbours'."""
    around = rimmed[row : row + 3, column : column + 3]
    best = evaluated = around[1, 1]
    least = np.inf
    edge, corner = trade * EDGE_LENGTH, trade * CORNER_LENGTH
    for region in (around[1, 1], around[2, 1], around[0, 1], around[1, 2], around[1, 0]):
        if region < 0 or (region == evaluated and least < np.inf):
            continue
        evaluated = region
        plane = planes[region]
        error = value - plane[0] * column - plane[1] * row - plane[2]
        cost = error * error
        for other in range(9):
            label = around[other // 3, other % 3]
            if other != 4 and label >= 0 and label != region:
                cost += edge if other % 2 == 1 else corner
        if cost < least:
            best, least = region, cost
    return best
