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
    values = np.empty(FUNCTIONS, np.int64)
    squares, extents = np.empty(FUNCTIONS), np.empty(FUNCTIONS)
    columns, rows = np.empty((2, regions.pixels.size), np.int32)
    for region in range(regions.x.size):
        pixels = regions.pixels[regions.first[region] : regions.first[region + 1]]
        number = pixels.size
        _split(pixels, regions.width, columns, rows)
        sum_x = sum_y = sum_xx = sum_xy = sum_yy = np.int64(0)
        for index in range(number):
            sum_x += columns[index]
            sum_y += rows[index]
        middle_x, middle_y = (sum_x + number // 2) // number, (sum_y + number // 2) // number
        for index in range(number):
            x, y = columns[index] - middle_x, rows[index] - middle_y
            sum_xx += x * x
            sum_xy += x * y
            sum_yy += y * y
        regions.x[region], regions.y[region] = middle_x, middle_y
        regions.xx[region] = sum_xx // number
        regions.xy[region] = sum_xy // number
        regions.yy[region] = sum_yy // number
        squares[:], extents[:] = 0, 0
        for index in range(number):
            evaluate(regions, region, columns[index], rows[index], values)
            for function in range(FUNCTIONS):
                value = np.float64(values[function])
                squares[function] += value * value
                extents[function] = max(extents[function], abs(value))
        for function in range(FUNCTIONS):
            regions.extents[region, function] = extents[function]
            if squares[function] > 0:
                exponent = math.frexp(squares[function])[1] - 1
                regions.shifts[region, function] = max(
                    (step + 2 * FRACTION_BITS - exponent) >> 1, 0
                )


@compilation.compile_cached
def _split(pixels, width, columns, rows):
    """Writes the columns and rows of ascending flat indices, without a division for each."""
    row = pixels[0] // width
    for index in range(pixels.size):
        while pixels[index] >= (row + 1) * width:
            row += 1
        columns[index], rows[index] = pixels[index] - row * width, row


@compilation.compile_cached
def _find_neighbours(regions, labels):
    """Finds the neighbour of every region and the middle of their contact."""
    height, width = labels.shape
    touching = _touching(labels)
    contacts = np.zeros((regions.x.size, 3), np.int64)  # Edges to a region, and sums of its x, y.
    for region in range(regions.x.size):
        pixels = regions.pixels[regions.first[region] : regions.first[region + 1]]
        most = 0
        # First all contacts are counted, then the longest is taken and they are cleared.
        for counting in (True, False):
            for pixel in pixels:
                if not touching[pixel]:
                    continue
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
def _touching(labels):
    """Marks the pixels that touch a region of a smaller number, `[H * W]` bool."""
    height, width = labels.shape
    touching = np.empty((height, width), np.bool_)
    for row in range(height):
        above, own = labels[max(row - 1, 0)], labels[row]
        below = labels[min(row + 1, height - 1)]
        for column in range(width):
            label = own[column]
            touching[row, column] = (
                (above[column] < label)
                | (below[column] < label)
                | (own[max(column - 1, 0)] < label)
                | (own[min(column + 1, width - 1)] < label)
            )
    return touching.reshape(-1)


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
