"""Superpixels of a depth image. An algorithm is an object with one call: depth -> labels."""

import dataclasses
from typing import Protocol

import cv2
import numpy as np

from psp_jax.partition import frontier

MIN_SIDE_PX = 16  # OpenCV's SEEDS hangs or crashes on images of 5 to 10 pixels.


class Superpixels(Protocol):
    """What cuts a depth image into regions."""

    def __call__(self, depth_mm: np.ndarray) -> np.ndarray:
        """Maps `[H, W]` uint16 millimetres without holes to `[H, W]` int32 labels."""
        ...


@dataclasses.dataclass(frozen=True)
class Seeds:
    """SEEDS (Van den Bergh et al. 2012, arXiv 1309.3848) as in OpenCV, the thesis's choice.

    Depth is stretched to 8 bits between the frame's smallest and largest value: OpenCV's histogram
    bins assume the full range of the type, and raw millimetres would all fall into its first bin.

    Attributes:
        superpixels: number asked for, a hint; 200 gives 192 at 480x640.
        levels: block levels.
        prior: smoothing of the shapes, 0 to 5.
        histogram_bins: bins of the 8-bit depth.
        iterations: pixel-level passes.
    """

    superpixels: int = 200
    levels: int = 4
    prior: int = 2
    histogram_bins: int = 64
    iterations: int = 10

    def __call__(self, depth_mm: np.ndarray) -> np.ndarray:
        """Cuts a depth image into superpixels.

        Args:
            depth_mm: `[H, W]` uint16 millimetres without holes.

        Returns:
            `[H, W]` int32, contiguous from 0, every region 4-connected.

        Raises:
            ValueError: if the image has another type or is smaller than 16 pixels.
        """
        if depth_mm.ndim != 2 or depth_mm.dtype != np.uint16:
            raise ValueError(f"[H, W] uint16 was expected, not {depth_mm.shape} {depth_mm.dtype}")
        height, width = depth_mm.shape
        if min(height, width) < MIN_SIDE_PX:
            raise ValueError(f"a {height}x{width} image; SEEDS needs sides of {MIN_SIDE_PX} pixels")
        nearest, farthest = int(depth_mm.min()), int(depth_mm.max())
        scale = 255.0 / max(farthest - nearest, 1)
        gray = np.round((depth_mm - np.float32(nearest)) * scale).astype(np.uint8)
        seeds = cv2.ximgproc.createSuperpixelSEEDS(
            width, height, 1, self.superpixels, self.levels, self.prior, self.histogram_bins
        )
        seeds.iterate(gray, self.iterations)
        return frontier.split_connected(seeds.getLabels())
