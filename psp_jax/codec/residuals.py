"""What is left of inverse depth after the patches, pixel by pixel, for those who need more.

The difference from the patch is rounded to whole steps, so no pixel errs by more than half a step.
Its raster neighbours in the same region say what to expect: their median-edge prediction
(Weinberger et al. 2000) and, by how much they differ from it and from 0, how far off that may be.
"""

import numpy as np

from psp_jax.codec import arithmetic
from psp_jax.partition import compilation

_MOST_BITS = 51
_MODELS = 2 * _MOST_BITS
_LEVELS = 12  # Of the neighbours' activity.
_LIMIT = 250


def encode(labels: np.ndarray, steps: np.ndarray) -> tuple[bytes, float]:
    """Codes whole numbers of steps, `[H, W]` int64; returns the stream and its ideal length."""
    # A prediction is as large as the largest number, and a difference from it twice as large.
    bits = int(np.abs(steps).max()).bit_length() + 2
    data = arithmetic.buffer(labels.size * (2 * bits + 2))
    state, length = arithmetic.coder(arithmetic.ENCODE), np.zeros(1)
    _code(state, data, length, labels, steps)
    return arithmetic.written(state, data), float(length[0])


def decode(data: bytes, labels: np.ndarray) -> np.ndarray:
    """Decodes `[H, W]` int64 whole numbers of steps."""
    state, length = arithmetic.coder(arithmetic.DECODE), np.zeros(1)
    steps = np.zeros(labels.shape, np.int64)
    _code(state, arithmetic.readable(data), length, labels, steps)
    return steps


@compilation.compile_cached
def _code(state, data, length, labels, steps):
    if state[0] == arithmetic.DECODE:
        arithmetic.start(state, data)
    height, width = labels.shape
    probabilities = np.full(_LEVELS * _MODELS, arithmetic.HALF, np.int64)
    counts = np.zeros(_LEVELS * _MODELS, np.int64)
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
            steps[row, column] = expected + arithmetic.code_integer(
                state, data, length, steps[row, column] - expected,
                probabilities, counts, level * _MODELS, _LIMIT, _MOST_BITS,
            )  # fmt: skip
