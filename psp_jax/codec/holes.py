"""Which pixels have no reading: a mask, coded without loss by the pixels around (as in JBIG)."""

import numpy as np

from psp_jax.codec import arithmetic
from psp_jax.partition import compilation

# Known neighbours that make the context: rows up and columns to the right.
TEMPLATE = np.array(
    [(0, -1), (0, -2), (0, -3), (1, -2), (1, -1), (1, 0), (1, 1), (1, 2), (2, -1), (2, 0), (2, 1)]
)
_LIMIT = 500


def encode(holes: np.ndarray) -> tuple[bytes, float]:
    """Codes `[H, W]` bool; returns the stream and its ideal length in bits."""
    data = arithmetic.buffer(holes.size)
    state, length = arithmetic.coder(arithmetic.ENCODE), np.zeros(1)
    _code(state, data, length, holes.astype(np.uint8))
    return arithmetic.written(state, data), float(length[0])


def decode(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decodes `[H, W]` bool."""
    state, length = arithmetic.coder(arithmetic.DECODE), np.zeros(1)
    holes = np.zeros(size, np.uint8)
    _code(state, arithmetic.readable(data), length, holes)
    return holes > 0


@compilation.compile_cached
def _code(state, data, length, holes):
    if state[0] == arithmetic.DECODE:
        arithmetic.start(state, data)
    height, width = holes.shape
    probabilities = np.full(1 << TEMPLATE.shape[0], arithmetic.HALF, np.int64)
    counts = np.zeros(1 << TEMPLATE.shape[0], np.int64)
    for row in range(height):
        for column in range(width):
            context = 0
            for place in range(TEMPLATE.shape[0]):
                r, c = row - TEMPLATE[place, 0], column + TEMPLATE[place, 1]
                if r >= 0 and 0 <= c < width:
                    context |= np.int64(holes[r, c]) << place
            holes[row, column] = arithmetic.code_adaptive_bit(
                state, data, length, np.int64(holes[row, column]), probabilities, counts, context,
                _LIMIT,
            )  # fmt: skip
