"""Baselines for predicted partitions: as many regions of the image, its grid, or the true depth."""

from collections.abc import Callable, Iterable

import cv2
import numpy as np

from psp_jax.partition import frontier_classes, superpixels

ITERATIONS = 10
RULER = 10.0  # SLIC's weight of compactness, in units of Lab with 8 bits a channel.
# Multiples of the number of regions that are tried; the result with the nearest number is taken.
TRIED = (0.7, 0.85, 1.0, 1.2, 1.5)


def grid(shape: tuple[int, int], regions: int) -> np.ndarray:
    """Divides an image into rectangles, as near to square as their number allows.

    Args:
        shape: height and width.
        regions: number wanted; rows times columns come as near as they can.

    Returns:
        `[H, W]` int32, contiguous from 0.
    """
    height, width = shape
    down = min(max(round(np.sqrt(regions * height / width)), 1), height)
    across = min(max(round(regions / down), 1), width)
    rows = np.arange(height) * down // height
    columns = np.arange(width) * across // width
    return (rows[:, None] * across + columns).astype(np.int32)


def seeds_on_rgb(rgb: np.ndarray, regions: int) -> np.ndarray:
    """Segments an RGB image with SEEDS (Van den Bergh et al. 2012), in Lab with 5 bins a channel.

    Args:
        rgb: `[H, W, 3]` uint8.
        regions: number wanted; OpenCV makes of it what its blocks allow.

    Returns:
        `[H, W]` int32, contiguous from 0, every region 4-connected.
    """
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    height, width = lab.shape[:2]

    def segment(wanted: int) -> np.ndarray:
        levels = 4 if min(height, width) > 200 else 3
        seeds = cv2.ximgproc.createSuperpixelSEEDS(width, height, 3, max(wanted, 10), levels, 2, 5)
        seeds.iterate(lab, ITERATIONS)
        return frontier_classes.split_connected(seeds.getLabels())

    return _nearest(segment, (max(round(share * regions), 10) for share in TRIED), regions)


def slic_on_rgb(rgb: np.ndarray, regions: int) -> np.ndarray:
    """Segments an RGB image with SLIC (Achanta et al. 2012), in Lab, as `seeds_on_rgb` does."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)

    def segment(region_px: int) -> np.ndarray:
        slic = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, region_px, RULER)
        slic.iterate(ITERATIONS)
        slic.enforceLabelConnectivity(25)
        return frontier_classes.split_connected(slic.getLabels())

    return _nearest(segment, _sides(lab.shape[:2], regions), regions)


def slic_on_depth(depth_mm: np.ndarray, regions: int) -> np.ndarray:
    """Segments the true depth with SLIC, an upper baseline that the others can't see.

    Args:
        depth_mm: `[H, W]` uint16 millimetres without holes.
        regions: number wanted.

    Returns:
        `[H, W]` int32, contiguous from 0, every region 4-connected.
    """

    def segment(region_px: int) -> np.ndarray:
        return superpixels.Slic(region_px=region_px)(depth_mm)

    return _nearest(segment, _sides(depth_mm.shape, regions), regions)


def _sides(shape: tuple[int, ...], regions: int) -> list[int]:
    """Sides of cells of which about as many fit as regions are wanted, in pixels."""
    side = np.sqrt(shape[0] * shape[1] / max(regions, 1))
    sides = {int(np.clip(round(side / np.sqrt(share)), 2, min(shape))) for share in TRIED}
    return sorted(sides)


def _nearest(
    segment: Callable[[int], np.ndarray], settings: Iterable[int], regions: int
) -> np.ndarray:
    """Takes the partition whose number of regions is nearest to the one wanted."""
    partitions = [segment(setting) for setting in settings]
    return min(partitions, key=lambda labels: abs(int(labels.max()) + 1 - regions))
