"""Describes the regions of a partition as the coder of patches needs them."""

import math
from typing import NamedTuple

import numpy as np

from psp_jax.partition import compilation

FRACTION_BITS = 40  # Inverse depth is an integer in units of 2^-40 per metre.
FUNCTIONS = 6  # Of a patch, see `patches`.


class Regions(NamedTuple):
    """The regions of a partition, R of them, as encoder and decoder know them.

    width: of the image.
    pixels: `[H * W]` int64 flat indices, region after region.
    first: `[R + 1]` int64, where the pixels of a region begin, and the end.
    x, y: `[R]` int64 column and row of the middle.
    xx, xy, yy: `[R]` int64 means of x^2, x y and y^2 over the offsets from the middle.
    neighbour: `[R]` int64, the region of a smaller number with the longest common frontier, or -1.
    contact_x, contact_y: `[R]` int64, the middle of that neighbour's pixels at the frontier.
    shifts: `[R, 6]` int64, the logarithm to base 2 of every coefficient's step, in units.
    extents: `[R, 6]` float64, the largest absolute value of every function.
    """

    width: int
    pixels: np.ndarray
    first: np.ndarray
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    neighbour: np.ndarray
    contact_x: np.ndarray
    contact_y: np.ndarray
    shifts: np.ndarray
    extents: np.ndarray


def describe(labels: np.ndarray, step: int) -> Regions:
    """Computes what the coder of patches needs of a partition.

    Args:
        labels: `[H, W]` int32, contiguous from 0 in the order of first pixels.
        step: logarithm to base 2 of the squared common step, in (1/m)^2.
    """
    labels = np.ascontiguousarray(labels, np.int32)
    number, width = int(labels.max()) + 1, labels.shape[1]
    pixels, first = _list_pixels(labels.reshape(-1), number)
    middles = [np.zeros(number, np.int64) for _ in range(5)]
    contacts = [np.full(number, -1), np.zeros(number, np.int64), np.zeros(number, np.int64)]
    shifts, extents = np.zeros((number, FUNCTIONS), np.int64), np.zeros((number, FUNCTIONS))
    regions = Regions._make([width, pixels, first, *middles, *contacts, shifts, extents])
    _measure(regions, step)
    _find_neighbours(regions, labels)
    return regions


@compilation.compile_cached
def _list_pixels(labels, number):
    """Sorts the pixels by region; returns them and where every region begins."""
    first = np.zeros(number + 1, np.int64)
    for label in labels:
        first[label + 1] += 1
    for region in range(number):
        first[region + 1] += first[region]
    pixels, filled = np.empty(labels.size, np.int64), first.copy()
    for pixel in range(labels.size):
        pixels[filled[labels[pixel]]] = pixel
        filled[labels[pixel]] += 1
    return pixels, first


@compilation.compile_cached
def _measure(regions, step):
    """Computes the middles and means, and the steps and extents of the coefficients."""
    values, squares = np.empty(FUNCTIONS, np.int64), np.empty(FUNCTIONS)
    for region in range(regions.x.size):
        pixels = regions.pixels[regions.first[region] : regions.first[region + 1]]
        sum_x = sum_y = sum_xx = sum_xy = sum_yy = np.int64(0)
        for pixel in pixels:
            sum_x += pixel % regions.width
            sum_y += pixel // regions.width
        middle_x = (sum_x + pixels.size // 2) // pixels.size
        middle_y = (sum_y + pixels.size // 2) // pixels.size
        for pixel in pixels:
            x, y = pixel % regions.width - middle_x, pixel // regions.width - middle_y
            sum_xx += x * x
            sum_xy += x * y
            sum_yy += y * y
        regions.x[region], regions.y[region] = middle_x, middle_y
        regions.xx[region] = sum_xx // pixels.size
        regions.xy[region] = sum_xy // pixels.size
        regions.yy[region] = sum_yy // pixels.size
        squares[:] = 0
        for pixel in pixels:
            evaluate(regions, region, pixel % regions.width, pixel // regions.width, values)
            for function in range(FUNCTIONS):
                value = np.float64(values[function])
                squares[function] += value * value
                regions.extents[region, function] = max(
                    regions.extents[region, function], abs(value)
                )
        for function in range(FUNCTIONS):
            if squares[function] > 0:
                exponent = math.frexp(squares[function])[1] - 1
                regions.shifts[region, function] = max(
                    (step + 2 * FRACTION_BITS - exponent) >> 1, 0
                )


@compilation.compile_cached
def _find_neighbours(regions, labels):
    """Finds the neighbour of every region and the middle of their contact."""
    height, width = labels.shape
    contacts = np.zeros((regions.x.size, 3), np.int64)  # Edges to a region, and sums of its x, y.
    for region in range(regions.x.size):
        pixels = regions.pixels[regions.first[region] : regions.first[region + 1]]
        most = 0
        # First all contacts are counted, then the longest is taken and they are cleared.
        for counting in (True, False):
            for pixel in pixels:
                for side in range(4):
                    r = pixel // width + (side == 0) - (side == 1)
                    c = pixel % width + (side == 2) - (side == 3)
                    if not (0 <= r < height and 0 <= c < width and labels[r, c] < region):
                        continue
                    other = labels[r, c]
                    contact = contacts[other]
                    if counting:
                        contact[0] += 1
                        contact[1] += c
                        contact[2] += r
                    elif contact[0] > most:
                        most = contact[0]
                        regions.neighbour[region] = other
                        regions.contact_x[region] = contact[1] // most
                        regions.contact_y[region] = contact[2] // most
                    if not counting:
                        contact[:] = 0


@compilation.compile_cached
def evaluate(regions, region, column, row, values):
    """Evaluates the six functions of a region at a pixel."""
    x, y = column - regions.x[region], row - regions.y[region]
    values[0] = 1
    values[1] = x
    values[2] = y
    values[3] = x * x - regions.xx[region]
    values[4] = x * y - regions.xy[region]
    values[5] = y * y - regions.yy[region]
