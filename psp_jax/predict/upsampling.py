"""Resizes predictions from the network's grid to the image: regions with smooth boundaries.

Nearest-neighbour regions would have stairs as large as a pixel of the network, 25 pixels of a
12-megapixel photo.
"""

import math

import cv2
import numpy as np

from psp_jax.partition import frontier_classes, merging
from psp_jax.partition.frontier_classes import Side

# Standard deviation of the Gaussian that smooths a region, in pixels of the smaller grid.
SMOOTHING_PX = 1.5
CORRECTIONS = 8  # Rounds in which pixels that smoothing gave to another region are won back,
LEAD = 0.02  # by this much,
GAIN = 4.0  # with a step that the next smoothing spreads.
_MARGIN_PX = 7  # Beyond it a smoothed and interpolated region is 0.
# Pieces of less than this many pixels of the smaller grid split off by smoothing are not regions.
_LEAST_PIECE_PX = 4.0


def resize_depth(depth_m: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolates `[h, w]` float32 depth at (height, width)."""
    if depth_m.shape == size:
        return depth_m
    shrinks = depth_m.size > size[0] * size[1]
    # Of cubic interpolation the image shows no kinks; clipped, since it overshoots.
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(depth_m, size[::-1], interpolation=interpolation))
    return np.clip(resized, depth_m.min(), depth_m.max())


def resize_regions(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes regions to (height, width), with smooth boundaries where they are enlarged.

    A pixel belongs to the region whose smoothed and interpolated indicator is largest there.

    Args:
        labels: `[h, w]` int32, contiguous from 0.
        size: (height, width).

    Returns:
        `[H, W]` int32, contiguous from 0, every region 4-connected.
    """
    if labels.shape == size:
        return labels
    if size[0] <= labels.shape[0] or size[1] <= labels.shape[1]:
        rows, columns = (nearest(*pair) for pair in zip(labels.shape, size, strict=True))
        return frontier_classes.split_connected(labels[rows][:, columns])
    pieces = frontier_classes.split_connected(smoothed(labels, size))
    least = _LEAST_PIECE_PX * pieces.size / labels.size
    return _without_small(pieces, least, keep=int(labels.max()) + 1)


def smoothed(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarges regions with smooth boundaries; a region may fall apart.

    Args:
        labels: `[h, w]` int32, contiguous from 0.
        size: (height, width), at least that of the labels.

    Returns:
        `[H, W]` int32 with the numbers of `labels`.
    """
    steps = [old / new for old, new in zip(labels.shape, size, strict=True)]
    best, owner = np.full(size, -np.inf, np.float32), np.zeros(size, np.int32)
    for number, (box, field) in enumerate(_fields(labels)):
        # The pixels of the larger grid whose centres lie in the box.
        y, x = (math.ceil(part.start / step - 0.5) for part, step in zip(box, steps, strict=True))
        bottom, right = (
            math.ceil(part.stop / step - 0.5) for part, step in zip(box, steps, strict=True)
        )
        large = slice(max(y, 0), bottom), slice(max(x, 0), right)
        offsets = [
            (part.start + 0.5) * step - 0.5 - small.start
            for part, step, small in zip(large, steps, box, strict=True)
        ]
        mapping = np.array([[steps[1], 0, offsets[1]], [0, steps[0], offsets[0]]])
        share = cv2.warpAffine(
            field,
            mapping,
            (large[1].stop - large[1].start, large[0].stop - large[0].start),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        larger = share > best[large]
        np.copyto(best[large], share, where=larger)
        np.copyto(owner[large], np.int32(number), where=larger)
    return owner


def _fields(labels: np.ndarray) -> list[tuple[tuple[slice, slice], np.ndarray]]:
    """Returns a smooth field of every region, within a box; the largest decides on a pixel.

    Smoothing alone would take corners and thin regions away. So each pixel at which another region
    has the larger field gets the difference added before the next smoothing.
    """
    height, width = labels.shape
    boxes, sources = [], []
    for number, (top, bottom, left, right) in enumerate(_boxes(labels)):
        box = (
            slice(max(top - _MARGIN_PX, 0), min(bottom + _MARGIN_PX, height)),
            slice(max(left - _MARGIN_PX, 0), min(right + _MARGIN_PX, width)),
        )
        boxes.append(box)
        sources.append((labels[box] == number).astype(np.float32))
    for _ in range(CORRECTIONS):
        fields = [_smooth(source) for source in sources]
        own, other = np.zeros(labels.shape, np.float32), np.zeros(labels.shape, np.float32)
        for number, (box, field) in enumerate(zip(boxes, fields, strict=True)):
            inside = labels[box] == number
            np.copyto(own[box], field, where=inside)
            np.copyto(other[box], np.maximum(other[box], field), where=~inside)
        missing = np.maximum(other - own + LEAD, 0)
        if not missing.any():
            break
        for number, (box, source) in enumerate(zip(boxes, sources, strict=True)):
            source += np.where(labels[box] == number, GAIN * missing[box], 0)
    return list(zip(boxes, map(_smooth, sources), strict=True))


def _smooth(source: np.ndarray) -> np.ndarray:
    blurred = cv2.GaussianBlur(source, (0, 0), SMOOTHING_PX, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred)


def _boxes(labels: np.ndarray) -> np.ndarray:
    """Returns `[R, 4]` int64 boxes of regions: top, bottom, left, right; ends are exclusive."""
    count = int(labels.max()) + 1
    boxes = np.empty((count, 4), np.int64)
    for axis, (first, last) in enumerate(((0, 1), (2, 3))):
        places = np.broadcast_to(
            np.arange(labels.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1)), labels.shape
        )
        low, high = np.full(count, labels.shape[axis]), np.zeros(count, np.int64)
        np.minimum.at(low, labels, places)
        np.maximum.at(high, labels, places + 1)
        boxes[:, first], boxes[:, last] = low, high
    return boxes


def _without_small(labels: np.ndarray, least: float, *, keep: int) -> np.ndarray:
    """Merges pieces of less than `least` pixels into the neighbour with the longest boundary.

    Nothing is merged if there are at most `keep` pieces.
    """
    count = int(labels.max()) + 1
    areas = np.bincount(labels.ravel(), minlength=count)
    small = np.flatnonzero(areas < least)
    if count <= keep or not len(small):
        return labels
    pairs, lengths = merging.adjacency(labels, count)
    owner = np.arange(count)
    for piece in small[np.argsort(areas[small], kind="stable")]:
        touching = (pairs == piece).any(axis=1)
        if touching.any():
            longest = pairs[touching][lengths[touching].argmax()]
            other = int(longest.sum() - piece)
            owner[owner == piece] = owner[other]
    return frontier_classes.renumber(owner.astype(np.int32)[labels])


def resize_edges(edges: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes `[h, w, 2]` float32 edges to (height, width): the maximum of those in between."""
    if edges.shape[:2] == size:
        return edges
    rows, columns = (nearest(*pair) for pair in zip(edges.shape, size, strict=False))
    across = _between(edges[rows, :-1, 0], columns)
    along = _between(edges[:-1, columns, 1].T, rows).T
    return edge_channels(across, along)


def resize_classes(classes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes `[h, w]` uint8 frontier classes to (height, width): a bit is any in between."""
    if classes.shape == size:
        return classes
    rows, columns = (nearest(*pair) for pair in zip(classes.shape, size, strict=True))
    source, classes = classes, np.zeros(size, np.uint8)
    classes[:, :-1] |= _between(source[rows, :-1] & Side.RIGHT.mask, columns)
    classes[:, 1:] |= _between(source[rows, 1:] & Side.LEFT.mask, columns)
    classes[:-1] |= _between((source[:-1, columns] & Side.DOWN.mask).T, rows).T
    classes[1:] |= _between((source[1:, columns] & Side.UP.mask).T, rows).T
    return classes


def nearest(old: int, new: int) -> np.ndarray:
    """Returns `[new]` int64, the nearest of `old` pixels to each of `new` on the same side."""
    return np.floor((np.arange(new) + 0.5) * old / new).astype(np.int64)


def edge_channels(across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Stacks `[H, W-1]` and `[H-1, W]` edges as `[H, W, 2]` float32, 0 at the border."""
    edges = np.zeros((len(across), along.shape[1], 2), np.float32)
    edges[:, :-1, 0], edges[:-1, :, 1] = across, along
    return edges


def _between(values: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Takes the maximum over the edges between the source columns of neighbouring columns.

    Args:
        values: `[N, w-1]`, of the edges between the columns of the network.
        sources: `[W]`, the network's column of each column of the image, ascending.

    Returns:
        `[N, W-1]`; 0 where both neighbours come from the same column.
    """
    if len(sources) < 2:
        return np.zeros((len(values), 0), values.dtype)
    last = sources[-1]
    padded = np.zeros((len(values), values.shape[1] + 1), values.dtype)
    padded[:, :last] = values[:, :last]
    largest = np.maximum.reduceat(padded, sources[:-1], axis=1)
    return np.where(sources[1:] > sources[:-1], largest, 0).astype(values.dtype)
