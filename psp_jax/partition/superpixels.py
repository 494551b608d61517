"""Superpixels of a depth image. An algorithm is an object with one call: depth -> labels.

All of them get uint16 millimetres without holes and stretch them to gray levels of 0 to 255 over
the range of the frame, since OpenCV would take raw millimetres for a fraction of the range of their
type. The requested number of regions is only approximate. Labels are int32, contiguous from 0 in
the order of the regions' first pixels, and every region is 4-connected, unlike some of OpenCV's.
"""

import dataclasses
import math
from typing import Protocol

import cv2
import numpy as np

from psp_jax.partition import flooding, frontier_classes, slic

MIN_SIDE_PX = 16  # OpenCV's algorithms hang or crash on images of 5 to 10 pixels.
GRAY_LEVELS = 255.0  # The stretched depth goes from 0 to this.
PERCENTILES = (0.5, 99.5)  # Of depth, stretched over all gray levels; readings beyond saturate.
GRADIENT_STEPS = 8.0  # Heights of the watershed's relief per gray level of slope.


class Superpixels(Protocol):
    """Segments a depth image into regions."""

    def __call__(self, depth_mm: np.ndarray) -> np.ndarray:
        """Maps `[H, W]` uint16 millimetres without holes to `[H, W]` int32 labels."""
        ...


@dataclasses.dataclass(frozen=True)
class Seeds:
    """SEEDS (Van den Bergh et al. 2012, arXiv 1309.3848) as in OpenCV, the thesis's choice.

    Depth is stretched between the frame's smallest and largest value and rounded to 8 bits. The
    default number of bins puts the mean share of interior pixels of real 480x640 captures within
    half a point of the thesis's 85.72 % (`benchmarks/labels.py` prints it).

    Attributes:
        superpixels: number asked for, a hint of at least 10; 200 gives about 192 at 480x640.
        levels: block levels, at least 2; OpenCV takes fewer where blocks would be under a pixel.
        prior: smoothing of the shapes, 0 to 5.
        histogram_bins: bins of the 8-bit depth, at most 256.
        iterations: pixel-level passes.
    """

    superpixels: int = 200
    levels: int = 4
    prior: int = 2
    histogram_bins: int = 128
    iterations: int = 10

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of its range."""
        _require("superpixels", self.superpixels, 10, math.inf)
        _require("levels", self.levels, 2, 16)
        _require("prior", self.prior, 0, 5)
        _require("histogram_bins", self.histogram_bins, 1, 256)
        _require("iterations", self.iterations, 0, math.inf)

    def __call__(self, depth_mm: np.ndarray) -> np.ndarray:
        """Segments a depth image into superpixels.

        Args:
            depth_mm: `[H, W]` uint16 millimetres without holes.

        Returns:
            `[H, W]` int32, contiguous from 0, every region 4-connected.

        Raises:
            ValueError: if the image has another type, holes, sides under 16 pixels, or too few
                pixels for the superpixels asked for.
        """
        _check(depth_mm)
        height, width = depth_mm.shape
        self._check_blocks(height, width)
        gray = _stretched(depth_mm, int(depth_mm.min()), int(depth_mm.max()))
        seeds = cv2.ximgproc.createSuperpixelSEEDS(
            width, height, 1, self.superpixels, self.levels, self.prior, self.histogram_bins
        )
        seeds.iterate(np.round(gray).astype(np.uint8), self.iterations)
        return frontier_classes.split_connected(seeds.getLabels())

    def _check_blocks(self, height: int, width: int) -> None:
        """Raises where OpenCV's grid of blocks would be empty, which crashes or hangs it.

        The arithmetic is that of `seeds.cpp`: blocks of the finest level are rounded up to whole
        pixels, as many as fit are laid, and every level above halves their number, rounding down.
        """
        rows = int(math.sqrt(self.superpixels * height / width))
        columns = rows * width // height
        if min(rows, columns) >= 1:
            finest_px = min(height / rows, width / columns)
            halvings = min(self.levels - 1, int(math.log2(finest_px)))
            laid = (
                size // math.ceil(size / count / 2**halvings)
                for size, count in ((height, rows), (width, columns))
            )
            if halvings >= 1 and min(laid) >> halvings >= 1:
                return
        raise ValueError(
            f"{self} does not fit a {height}x{width} image: each side needs a block, and a block "
            "2x2 pixels or more; change superpixels or levels"
        )


@dataclasses.dataclass(frozen=True)
class Slic:
    """SLIC (Achanta et al. 2012) as in OpenCV, on gray levels between two percentiles of depth.

    Attributes:
        region_px: side of the cells that the regions start from.
        ruler: weight of compactness, in gray levels of 255 per `region_px` of displacement:
            small values follow depth, large ones make squares.
        iterations: of k-means.
        min_size_percent: pieces below this share of the mean region join a neighbour, 0 to 100.
    """

    region_px: int = 28
    ruler: float = 10.0
    iterations: int = 10
    min_size_percent: int = 25

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of its range."""
        _require("region_px", self.region_px, 2, math.inf)
        _require("ruler", self.ruler, 0.0, math.inf)
        _require("iterations", self.iterations, 1, math.inf)
        _require("min_size_percent", self.min_size_percent, 0, 100)

    def __call__(self, depth_mm: np.ndarray) -> np.ndarray:
        """Segments a depth image into superpixels; arguments, result and errors: see `Seeds`."""
        _check(depth_mm, self.region_px)
        gray = _stretched(depth_mm, *_percentiles(depth_mm))
        labels = slic.cluster(gray, self.region_px, self.ruler, self.iterations)
        return slic.join_small(labels, self.region_px, self.min_size_percent)


@dataclasses.dataclass(frozen=True)
class Lsc:
    """LSC (Li and Chen 2015) as in OpenCV, on gray levels between two percentiles of depth.

    OpenCV's LSC writes to shared memory without locks, so its result changes from run to run on
    several threads. It is run on one: during the call OpenCV's thread count, which is the whole
    process's, is 1.

    Attributes:
        region_px: side of the cells that the regions start from.
        ratio: weight of compactness, without unit.
        iterations: of k-means.
        min_size_percent: pieces below this share of the mean region join a neighbour, 0 to 100.
    """

    region_px: int = 28
    ratio: float = 0.075
    iterations: int = 10
    min_size_percent: int = 25

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of its range."""
        _require("region_px", self.region_px, 2, math.inf)
        _require("ratio", self.ratio, 1e-6, math.inf)
        _require("iterations", self.iterations, 1, math.inf)
        _require("min_size_percent", self.min_size_percent, 0, 100)

    def __call__(self, depth_mm: np.ndarray) -> np.ndarray:
        """Segments a depth image into superpixels; arguments, result and errors: see `Seeds`."""
        # With fewer than two cells to a side OpenCV divides by zero and ends the process.
        _check(depth_mm, 2 * self.region_px)
        # OpenCV divides by the largest value, which a frame of one depth would make 0.
        gray = _stretched(depth_mm, *_percentiles(depth_mm)) + np.float32(1.0)
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            lsc = cv2.ximgproc.createSuperpixelLSC(gray, self.region_px, self.ratio)
            lsc.iterate(self.iterations)
            lsc.enforceLabelConnectivity(self.min_size_percent)
        finally:
            cv2.setNumThreads(threads)
        return frontier_classes.split_connected(lsc.getLabels())


@dataclasses.dataclass(frozen=True)
class Watershed:
    """Watershed of the depth gradient from one marker per grid cell, the thesis's first attempt.

    The relief is the magnitude of the 3x3 Sobel gradient of the gray levels, in steps of 1/8 gray
    level per pixel; slopes of 32 gray levels per pixel and more are one height.

    Attributes:
        region_px: side of the grid cells; there are as many regions as cells.
    """

    region_px: int = 28

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of its range."""
        _require("region_px", self.region_px, 2, math.inf)

    def __call__(self, depth_mm: np.ndarray) -> np.ndarray:
        """Segments a depth image into superpixels; arguments, result and errors: see `Seeds`."""
        _check(depth_mm, self.region_px)
        height = relief(depth_mm)
        return frontier_classes.split_connected(
            flooding.flood(height, flooding.place_seeds(height, self.region_px))
        )


def relief(depth_mm: np.ndarray) -> np.ndarray:
    """Computes the relief that `Watershed` floods.

    Args:
        depth_mm: `[H, W]` uint16 millimetres without holes.

    Returns:
        `[H, W]` uint8, the slope of the gray levels in 1/8 gray level per pixel, at most 255.
    """
    gray = _stretched(depth_mm, *_percentiles(depth_mm))
    # The Sobel kernel sums to 8 times the slope.
    across, along = (
        cv2.Sobel(gray, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=GRADIENT_STEPS / 8) for dx in (1, 0)
    )
    return np.minimum(cv2.magnitude(across, along), 255).astype(np.uint8)


def _require(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"expected {name} between {least} and {most}, got {value}")


def _check(depth_mm: np.ndarray, region_px: int = 1) -> None:
    if depth_mm.ndim != 2 or depth_mm.dtype != np.uint16:
        raise ValueError(f"expected depth as [H, W] uint16, got {depth_mm.shape} {depth_mm.dtype}")
    height, width = depth_mm.shape
    least = max(MIN_SIDE_PX, region_px)
    if min(height, width) < least:
        raise ValueError(f"expected sides of {least} pixels or more, got a {height}x{width} image")
    if not depth_mm.all():
        raise ValueError("expected depth without holes; fill them first (partition.fill)")


def _percentiles(depth_mm: np.ndarray) -> tuple[int, int]:
    """Returns two depths, in millimetres, between which the frame is stretched."""
    below = np.cumsum(np.bincount(depth_mm.ravel()))
    low, high = np.searchsorted(below, np.array(PERCENTILES) / 100 * depth_mm.size)
    return int(low), int(high)


def _stretched(depth_mm: np.ndarray, low_mm: int, high_mm: int) -> np.ndarray:
    """Maps low..high to 0..255, `[H, W]` float32; what lies beyond is clipped."""
    scale = GRAY_LEVELS / max(high_mm - low_mm, 1)
    gray = (depth_mm.astype(np.float32) - np.float32(low_mm)) * np.float32(scale)
    return np.clip(gray, 0.0, GRAY_LEVELS, out=gray)
