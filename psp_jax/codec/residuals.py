"""Codes what the patches leave of inverse depth, pixel by pixel, to bound the error of every pixel.

The difference from the patch is rounded to whole steps, so no pixel errs by more than half a step.
It is predicted from its raster neighbours in the same region by the median-edge detector
(Weinberger et al. 2000). The probabilities of the prediction's error depend on how much these
neighbours differ from one another and from 0.
"""

import numpy as np

from psp_jax.codec import arithmetic
from psp_jax.partition import compilation

_MAX_BITS = 51
_BITS_PER_LEVEL = 2 * _MAX_BITS
_LEVELS = 12  # Of the neighbours' activity.
_LIMIT = 250


def encode(labels: np.ndarray, steps: np.ndarray) -> tuple[bytes, float]:
    """Codes whole numbers of steps, `[H, W]` int64; returns the stream and its ideal length."""
    # A prediction is as large as the largest number, and a difference from it twice as large.
    bits = int(np.abs(steps).max()).bit_length() + 2
    coder = arithmetic.encoder(arithmetic.room_bytes(labels.size * (2 * bits + 2)))
    _code(coder, _levels(), labels, steps)
    return arithmetic.written(coder)


def decode(data: bytes, labels: np.ndarray) -> np.ndarray:
    """Decodes `[H, W]` int64 whole numbers of steps."""
    steps = np.zeros(labels.shape, np.int64)
    _code(arithmetic.decoder(data), _levels(), labels, steps)
    return steps


def _levels() -> arithmetic.AdaptiveBits:
    return arithmetic.adaptive_bits(_LEVELS * _BITS_PER_LEVEL, _LIMIT)


@compilation.compile_cached
def _code(coder, levels, labels, steps):
    """Codes all pixels of `steps`, or decodes them into it."""
    height, width = labels.shape
    for row in range(height):
        for column in range(width):
            label = labels[row, column]
            west = north = corner = east = np.int64(0)
            if column > 0 and labels[row, column - 1] == label:
                west = steps[row, column - 1]
            if row > 0:
                if labels[row - 1, column] == label:
                    north = steps[row - 1, column]
                if column > 0 and labels[row - 1, column - 1] == label:
                    corner = steps[row - 1, column - 1]
                if column + 1 < width and labels[row - 1, column + 1] == label:
                    east = steps[row - 1, column + 1]
            expected = min(max(west + north - corner, min(west, north)), max(west, north))
            activity = abs(west - corner) + abs(north - corner) + abs(north - east)
            activity = 2 * activity + abs(west) + abs(north) + abs(east)
            level = 0
            while activity > level + 1 and level < 4:
                level += 1
            while activity >> (level - 1) > 0 and level >= 4 and level < _LEVELS - 1:
                level += 1
            difference = steps[row, column] - expected
            steps[row, column] = expected + arithmetic.code_integer(
                coder, difference, levels, level * _BITS_PER_LEVEL, _MAX_BITS
            )
