"""What a predicted partition has to beat: partitions of as many regions that know less, or more."""

from collections.abc import Callable, Iterable

import cv2
import numpy as np

from psp_jax.partition import frontier_classes, superpixels

ITERATIONS = 10
RULER = 10.0  # SLIC's weight of compactness, in units of Lab with 8 bits a channel.
# What a wish for a number of regions is multiplied by; the answer nearest to the wish is taken.
WISHES = (0.7, 0.85, 1.0, 1.2, 1.5)


def grid(shape: tuple[int, int], regions: int) -> np.ndarray:
    """Cuts an image into rectangles, as near to square as their number allows.

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
    """Cuts colours with SEEDS (Van den Bergh et al. 2012), in Lab with 5 bins a channel.

    Args:
        rgb: `[H, W, 3]` uint8.
        regions: number wanted; OpenCV makes of it what its blocks allow.

    Returns:
        `[H, W]` int32, contiguous from 0, every region 4-connected.
    """
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    height, width = lab.shape[:2]

    def cut(wanted: int) -> np.ndarray:
        levels = 4 if min(height, width) > 200 else 3
        seeds = cv2.ximgproc.createSuperpixelSEEDS(width, height, 3, max(wanted, 10), levels, 2, 5)
        seeds.iterate(lab, ITERATIONS)
        return frontier_classes.split_connected(seeds.getLabels())

    return _nearest(cut, (max(round(wish * regions), 10) for wish in WISHES), regions)


def slic_on_rgb(rgb: np.ndarray, regions: int) -> np.ndarray:
    """Cuts colours with SLIC (Achanta et al. 2012), in Lab; arguments and result as above."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)

    def cut(region_px: int) -> np.ndarray:
        slic = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, region_px, RULER)
        slic.iterate(ITERATIONS)
        slic.enforceLabelConnectivity(25)
        return frontier_classes.split_connected(slic.getLabels())

    return _nearest(cut, _sides(lab.shape[:2], regions), regions)


def slic_on_depth(depth_mm: np.ndarray, regions: int) -> np.ndarray:
    """Cuts the true depth with SLIC, which sees what the others have to guess.

    Args:
        depth_mm: `[H, W]` uint16 millimetres without holes.
        regions: number wanted.

    Returns:
        `[H, W]` int32, contiguous from 0, every region 4-connected.
    """

    def cut(region_px: int) -> np.ndarray:
        return superpixels.Slic(region_px=region_px)(depth_mm)

    return _nearest(cut, _sides(depth_mm.shape, regions), regions)


def _sides(shape: tuple[int, ...], regions: int) -> list[int]:
    """Sides of cells of which about as many fit as regions are wanted, in pixels."""
    side = np.sqrt(shape[0] * shape[1] / max(regions, 1))
    sides = {int(np.clip(round(side / np.sqrt(wish)), 2, min(shape))) for wish in WISHES}
    return sorted(sides)


def _nearest(cut: Callable[[int], np.ndarray], wishes: Iterable[int], regions: int) -> np.ndarray:
    """Takes the partition whose number of regions is nearest to the one wanted."""
    found = [cut(wish) for wish in wishes]
    return min(found, key=lambda labels: abs(int(labels.max()) + 1 - regions))
