"""Codes the mask of pixels without a reading, without loss, by the pixels around (as in JBIG)."""

import numpy as np

from psp_jax.codec import arithmetic
from psp_jax.partition import compilation

# Coded neighbours that make the context: rows up and columns to the right.
TEMPLATE = np.array(
    [(0, -1), (0, -2), (0, -3), (1, -2), (1, -1), (1, 0), (1, 1), (1, 2), (2, -1), (2, 0), (2, 1)]
)
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
    return arithmetic.adaptive_bits(1 << len(TEMPLATE), _LIMIT)


@compilation.compile_cached
def _code(coder, contexts, holes):
    """Codes all pixels of `holes`, or decodes them into it."""
    height, width = holes.shape
    for row in range(height):
        for column in range(width):
            context = 0
            for place in range(TEMPLATE.shape[0]):
                r, c = row - TEMPLATE[place, 0], column + TEMPLATE[place, 1]
                if r >= 0 and 0 <= c < width:
                    context |= np.int64(holes[r, c]) << place
            bit = np.int64(holes[row, column])
            holes[row, column] = arithmetic.code_adaptive_bit(coder, bit, contexts, context)
