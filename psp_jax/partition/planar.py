"""Planar regions: a partition with frontiers at depth discontinuities and creases of the scene."""

import dataclasses

import numpy as np

from psp_jax.io.units import MM_PER_M
from psp_jax.partition import frontier_classes, merging, refining, superpixels

# Recalls 95 % of real depth discontinuities within 2 px and leaves about 1,560 regions at 480x640.
FINE = superpixels.Slic(region_px=14, ruler=20.0, iterations=5)
EARLY = 0.1  # Share of the trade at which frontiers are moved for the first time.
SWEEPS = 10  # 30 lower the functional by another percent, in a third more time.


@dataclasses.dataclass(frozen=True)
class Planar:
    """Regions that grow by merging while a single plane still fits.

    A plane seen by a pinhole camera is linear in inverse depth, 1/z = a x + b y + c, and the noise
    of structured light and stereo is nearly constant there, so one tolerance holds at every range.
    (x, y) may be pixels or normalised image coordinates: one is affine in the other, so the
    best-fitting planes, their errors and the partition are the same for every camera, and no
    intrinsics are asked for.

    Starting from a fine partition, the two touching regions whose union adds the least squared
    error per crack edge that it removes are merged, until that exceeds `trade`; then frontier
    pixels move to the neighbour whose plane they fit: a greedy descent of (squared error) +
    `trade` * (length of all frontiers), the functional of Mumford and Shah (1989) with planes for
    pieces. Frontiers are moved once at a tenth of `trade` too, while the regions are small, since
    what has merged does not part again.

    Attributes:
        base: makes the fine partition; a frontier that it misses stays missing.
        trade: increase of squared error of inverse depth, in 1/m^2, accepted per crack
            edge saved. A captured
            480x640 frame keeps 365 regions at 1e-4, 107 at 1e-3 and 29 at 1e-2, on the mean of
            17 (`benchmarks/labels.py`).
    """

    base: superpixels.Superpixels = FINE
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
        labels = frontier_classes.split_connected(self.base(depth_mm))
        inverse_depth_per_m = _inverse_depth(depth_mm)
        for trade in (self.trade * EARLY, self.trade):
            labels = _merge(labels, inverse_depth_per_m, trade)
            labels = _refine(labels, inverse_depth_per_m, self.trade)
        return labels


def merge(labels: np.ndarray, depth_mm: np.ndarray, trade: float) -> np.ndarray:
    """Merges the regions of a partition as `Planar` does.

    Args:
        labels: `[H, W]` integers, one number per region; its 4-connected pieces become
            regions.
        depth_mm: `[H, W]` uint16 millimetres without holes.
        trade: increase of squared error of inverse depth, in 1/m^2, accepted per crack
            edge saved.

    Returns:
        `[H, W]` int32, contiguous from 0, every region 4-connected.

    Raises:
        ValueError: if the depth image has holes.
    """
    labels = frontier_classes.split_connected(labels)
    return _merge(labels, _inverse_depth(depth_mm), trade)


def _merge(labels: np.ndarray, inverse_depth_per_m: np.ndarray, trade: float) -> np.ndarray:
    regions = int(labels.max()) + 1
    sums = merging.region_sums(labels, inverse_depth_per_m, regions)
    pairs, cracks = merging.adjacency(labels, regions)
    owner = merging.merge_greedily(sums, pairs, cracks, float(trade))
    # Merged regions touched, so they stay 4-connected; only their numbers need closing up. Labels
    # are in the order of first pixels, so renumbering the few regions renumbers the pixels.
    return frontier_classes.renumber(owner)[labels]


def refine(labels: np.ndarray, depth_mm: np.ndarray, trade: float) -> np.ndarray:
    """Moves the frontiers of a partition as `Planar` does.

    Args:
        labels: `[H, W]` int32, contiguous from 0, every region 4-connected.
        depth_mm: `[H, W]` uint16 millimetres without holes.
        trade: increase of squared error of inverse depth, in 1/m^2, accepted per crack
            edge saved.

    Returns:
        `[H, W]` int32, contiguous from 0, as many regions, every one 4-connected.

    Raises:
        ValueError: if the depth image has holes.
    """
    return _refine(labels, _inverse_depth(depth_mm), trade)


def _refine(labels: np.ndarray, inverse_depth_per_m: np.ndarray, trade: float) -> np.ndarray:
    regions = int(labels.max()) + 1
    moved = refining.refine(labels, inverse_depth_per_m, regions, float(trade), SWEEPS)
    return frontier_classes.renumber(moved)


def render_planes(labels: np.ndarray, depth_mm: np.ndarray) -> np.ndarray:
    """Replaces every region by the plane that fits its inverse depth best.

    Args:
        labels: `[H, W]` int32, contiguous from 0.
        depth_mm: `[H, W]` uint16 millimetres without holes.

    Returns:
        `[H, W]` float64 metres. A plane stays within the range of its region's readings, so that
        one seen nearly edge-on doesn't run through the camera.

    Raises:
        ValueError: if the depth image has holes.
    """
    inverse_depth_per_m = _inverse_depth(depth_mm)
    regions = int(labels.max()) + 1
    sums = merging.region_sums(labels, inverse_depth_per_m, regions)
    fits = np.array([merging.plane(region)[:3] for region in sums])
    rows, columns = np.indices(labels.shape)
    slope_x, slope_y, offset = fits[labels].transpose(2, 0, 1)
    farthest, nearest = np.full(regions, np.inf), np.zeros(regions)
    np.minimum.at(farthest, labels, inverse_depth_per_m)
    np.maximum.at(nearest, labels, inverse_depth_per_m)
    fitted_per_m = slope_x * columns + slope_y * rows + offset
    return 1.0 / np.clip(fitted_per_m, farthest[labels], nearest[labels])


def _inverse_depth(depth_mm: np.ndarray) -> np.ndarray:
    if not depth_mm.all():
        raise ValueError("expected depth without holes; fill them first (partition.fill)")
    return MM_PER_M / depth_mm.astype(np.float64)
