"""Codes the mask of pixels without a reading, without loss, by the pixels around (as in JBIG)."""

import numpy as np

from psp_jax.codec import arithmetic
from psp_jax.partition import compilation

# Coded neighbours that make the context: 3 before a pixel, 5 above it and 3 above those.
_CONTEXT_BITS = 11
_LIMIT = 500


def encode(holes: np.ndarray) -> tuple[bytes, float]:
    """Codes `[H, W]` bool; returns the stream and its ideal length in bits."""
    coder = arithmetic.encoder(arithmetic.room_bytes(holes.size))
    _code(coder, _contexts(), holes.astype(np.uint8))
    return arithmetic.written(coder)


def decode(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decodes `[H, W]` bool."""
    holes = np.zeros(size, np.uint8)
    _code(arithmetic.decoder(data), _contexts(), holes)
    return holes > 0


def _contexts() -> arithmetic.AdaptiveBits:
    return arithmetic.adaptive_bits(1 << _CONTEXT_BITS, _LIMIT)


@compilation.compile_cached
def _code(coder, contexts, holes):
    """Codes all pixels of `holes`, or decodes them into it."""
    height, width = holes.shape
    # Rows above, with two pixels before and after them that are no holes.
    above, higher = np.zeros((2, width + 4), np.int64)
    for row in range(height):
        before = np.int64(0)  # The bits of each row of neighbours, the latest one last.
        next_above = (above[2] << 1) | above[3]
        next_higher = higher[2]
        for column in range(width):
            next_above = (next_above << 1 | above[column + 4]) & 31
            next_higher = (next_higher << 1 | higher[column + 3]) & 7
            context = before << 8 | next_above << 3 | next_higher
            bit = np.int64(holes[row, column])
            bit = arithmetic.code_adaptive_bit(coder, bit, contexts, context)
            holes[row, column] = bit
            before = (before << 1 | bit) & 7
        higher[:] = above
        above[2:-2] = holes[row]
