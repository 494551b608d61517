"""The inter-pixel edges of an image as the contour coder lays them out, and its small network.

The network estimates in integers how likely an edge is cut from the edges coded before it, six
rows up and seven columns to either side. It ships with the package and was trained on drawn
rooms (`benchmarks/train_contours.py`). A second network of the same kind also gets predicted logits
around the edge as side information, including those of edges that are coded later
(`benchmarks/train_side.py`).
"""

import functools
import pathlib
from typing import NamedTuple

import numpy as np

from psp_jax.codec import arithmetic
from psp_jax.codec.arithmetic import MOST_LOGIT
from psp_jax.partition import compilation

LEFT, ABOVE = 0, 1  # The two edges of a pixel.
ROWS_UP, COLUMNS_ASIDE = 6, 7  # The window.
PLACES = 2 * (2 * COLUMNS_ASIDE + 1)  # Edges in a row of it.
PAD = COLUMNS_ASIDE + 1
BORDER_INPUTS = 2 * COLUMNS_ASIDE + 2 * ROWS_UP  # The distances to the four borders, if small.
# Weights are in steps of 1/1024 and below 4, activations, biases and logits in steps of 1/256 and
# up to 32: sums of 32 products stay within 32 bits.
WEIGHT_BITS, ACTIVE_BITS = 10, 8
MOST_WEIGHT, MOST_ACTIVE = (4 << WEIGHT_BITS) - 1, (32 << ACTIVE_BITS) - 1
# Predicted logits that the network gets: those of all edges up to so many rows and columns away, in
# steps of 1/16. Where no edge in the window is cut, it runs only if the edge is not unlikely.
SIDE_REACH, SIDE_SHIFT, MOST_SIDE = 3, 4, 127
SIDE_INPUTS = 2 * (2 * SIDE_REACH + 1) ** 2
LIKELY = -64
_SIDE_WEIGHT_SHIFT = 6  # From steps of 1/16 times those of a weight to those of an activation.
FILE = pathlib.Path(__file__).parent / "contours.npz"
UNITS, LAST_UNITS = 32, 16  # Of the hidden layers.
WORD_BITS = 32  # Of a word of packed edges, so that two of them can be joined in 64 bits.
# The exponent of a power of 2 by its remainder: 2 generates all remainders of the prime 37.
_EXPONENTS = np.zeros(37, np.int64)
_EXPONENTS[[2**exponent % 37 for exponent in range(PLACES)]] = np.arange(PLACES)
EdgeLogits = tuple[np.ndarray, np.ndarray]


class Network(NamedTuple):
    """The integers of a network of two hidden layers; the first axis is the edge it is for.

    hidden: `[2, inputs, U]` int32 weights of the window's edges and of the borders; hidden_bias:
        `[2, U]`.
    second: `[2, U, V]`; second_bias: `[2, V]`.
    last: `[2, V]`; last_bias: `[2]`.
    quiet: `[3]` probabilities of a cut edge where no edge in the window is cut: of an edge to the
        left, of one in the first row, and of one above.
    side_hidden: `[2, SIDE_INPUTS, U]` weights of predicted logits; `[2, 0, U]` without.
    by_place: `[2, ROWS_UP + 1, PLACES, U]`, the weights of the window's edges by rows up and place.
    turned: `[2, V, U]` int16, `second` by its outputs.
    """

    hidden: np.ndarray
    hidden_bias: np.ndarray
    second: np.ndarray
    second_bias: np.ndarray
    last: np.ndarray
    last_bias: np.ndarray
    quiet: np.ndarray
    side_hidden: np.ndarray
    by_place: np.ndarray
    turned: np.ndarray


@functools.cache
def load(given_side: bool) -> Network:
    """Loads the network that ships with the package, without or with side information."""
    names, prefix = Network._fields[:7], "given_" if given_side else ""
    with np.load(FILE) as stored:
        layers = [stored[prefix + name].astype(np.int32) for name in names]
        side = stored["given_side"].astype(np.int32) if given_side else layers[0][:, :0]
    by_place = np.zeros((2, ROWS_UP + 1, PLACES, UNITS), np.int32)
    for edge in (LEFT, ABOVE):
        up, aside, other = window(edge).T
        place = 2 * (aside + COLUMNS_ASIDE) + other
        by_place[edge, up, place] = layers[0][edge, : len(place)]
    turned = np.ascontiguousarray(layers[2].transpose(0, 2, 1), np.int16)
    return Network._make([*layers, np.ascontiguousarray(side), by_place, turned])


class Edges(NamedTuple):
    """The edges of an image, coded or not, and what is predicted of them.

    cut: `[(H + PAD) * (W + 2 * PAD) * 2]` uint8, flat: the edge to the left of each pixel and the
        one above it.
    height, width: of the image.
    windows: `[2, N]` int64 offsets in `cut` of the window's edges, the nearest first.
    sizes: `[2]` int64, how many of the N there are for each edge.
    side: `[H, W, 2]` int64 predicted logits in the coder's units; `[0, 0, 2]` without.
    coarse_side: `[H + 2 * SIDE_REACH, W + 2 * SIDE_REACH, 2]` int8, the same for the network.
    coded: `[H + PAD, N]` int64 words of `WORD_BITS` bits: the edges of `cut` that are coded so far.
    """

    cut: np.ndarray
    height: int
    width: int
    windows: np.ndarray
    sizes: np.ndarray
    side: np.ndarray
    coarse_side: np.ndarray
    coded: np.ndarray


def edges(cut: np.ndarray, size: tuple[int, int], edge_logits: EdgeLogits | None) -> Edges:
    """Lays out the edges of an image.

    Args:
        cut: `[H + PAD, W + 2 * PAD, 2]` uint8; see `padded`.
        size: height and width.
        edge_logits: side information; see `contours.code_length_bits`.
    """
    windows = [window(edge) for edge in (LEFT, ABOVE)]
    sizes = np.array([len(places) for places in windows])
    offsets = np.zeros((2, sizes.max()), np.int64)
    for edge, places in enumerate(windows):
        across = places[:, 1] - places[:, 0] * cut.shape[1]
        offsets[edge, : len(places)] = 2 * across + places[:, 2]
    side = _in_coder_units(edge_logits, size)
    words = 2 * cut.shape[1] // WORD_BITS + 2
    coded = np.zeros((cut.shape[0], words), np.int64)
    return Edges(cut.reshape(-1), *size, offsets, sizes, side, _coarse(side), coded)


def window(edge: int) -> np.ndarray:
    """Lists the edges around an edge that are coded before it, the nearest first.

    Args:
        edge: `LEFT` or `ABOVE`.

    Returns:
        `[N, 3]` int64: rows up, columns to the right, and which edge of that pixel.
    """
    middle = (0.5, 0.0) if edge == LEFT else (0.0, 0.5)
    entries = []
    for up in range(ROWS_UP + 1):
        for aside in range(-COLUMNS_ASIDE, COLUMNS_ASIDE + 1):
            for other in (LEFT, ABOVE):
                if up > 0 or aside < 0 or (aside == 0 and other < edge):
                    y, x = (-up + 0.5, aside) if other == LEFT else (-up, aside + 0.5)
                    distance = (y - middle[0]) ** 2 + (x - middle[1]) ** 2
                    entries.append((distance, up, aside, other))
    return np.array([entry[1:] for entry in sorted(entries)], np.int64)


def padded(labels: np.ndarray) -> np.ndarray:
    """Lays the edges out as `[H + PAD, W + 2 * PAD, 2]` uint8 with nothing cut outside."""
    height, width = labels.shape
    cut = np.zeros((height + PAD, width + 2 * PAD, 2), np.uint8)
    cut[PAD:, PAD + 1 : PAD + width, LEFT] = labels[:, 1:] != labels[:, :-1]
    cut[PAD + 1 :, PAD : PAD + width, ABOVE] = labels[1:] != labels[:-1]
    return cut


def _in_coder_units(logits: EdgeLogits | None, size: tuple[int, int]) -> np.ndarray:
    """Lays the side information out as `[H, W, 2]` int64; `[0, 0, 2]` without."""
    if logits is None:
        return np.zeros((0, 0, 2), np.int64)
    height, width = size
    across, along = (np.asarray(part, np.float64) for part in logits)
    if across.shape != (height, width - 1) or along.shape != (height - 1, width):
        raise ValueError(
            f"expected edge logits of ({height}, {width - 1}) and ({height - 1}, {width}) for a "
            f"{height}x{width} partition, got {across.shape} and {along.shape}"
        )
    if not (np.isfinite(across).all() and np.isfinite(along).all()):
        raise ValueError("expected finite edge logits, got some that are infinite or NaN")
    side = np.zeros((height, width, 2), np.int64)
    most = MOST_LOGIT / arithmetic.LOGIT_SCALE
    side[:, 1:, LEFT] = np.round(np.clip(across, -most, most) * arithmetic.LOGIT_SCALE)
    side[1:, :, ABOVE] = np.round(np.clip(along, -most, most) * arithmetic.LOGIT_SCALE)
    return side


def _coarse(side: np.ndarray) -> np.ndarray:
    """Rounds the side information and pads it for the network.

    Outside, and at the image's left and upper border, no edge is likely to be cut.
    """
    if not side.size:
        return np.zeros((0, 0, 2), np.int8)
    height, width = side.shape[:2]
    inside = slice(SIDE_REACH, SIDE_REACH + height), slice(SIDE_REACH, SIDE_REACH + width)
    coarse = np.full((height + 2 * SIDE_REACH, width + 2 * SIDE_REACH, 2), -MOST_SIDE, np.int8)
    steps = (side + (1 << (SIDE_SHIFT - 1))) >> SIDE_SHIFT
    coarse[inside] = np.clip(steps, -MOST_SIDE, MOST_SIDE)
    coarse[:, SIDE_REACH, LEFT] = coarse[SIDE_REACH, :, ABOVE] = -MOST_SIDE
    return coarse


@compilation.compile_cached
def place_of(edges, row, column):
    """Returns the index in `cut` of the edge to the left of a pixel; the one above it follows."""
    return ((row + PAD) * (edges.width + 2 * PAD) + column + PAD) * 2


@compilation.compile_cached
def is_likely(coarse_side, row, column, edge):
    """Tells whether the network runs where no edge in the window is cut."""
    return (
        coarse_side.size > 0 and coarse_side[row + SIDE_REACH, column + SIDE_REACH, edge] >= LIKELY
    )


@compilation.inlined
def mark_coded(words, row, column, edge, bit):
    """Adds an edge to the coded ones of a row, counted from the first one of `Edges.coded`."""
    place = 2 * (column + PAD) + edge
    words[row, place // WORD_BITS] |= bit << (place % WORD_BITS)


@compilation.inlined
def near(words, row, column):
    """Returns the coded edges of a row that are in the window around a column, a bit each."""
    place = 2 * (column + PAD - COLUMNS_ASIDE)
    word, shift = place // WORD_BITS, place % WORD_BITS
    both = words[row, word] | (words[row, word + 1] << WORD_BITS)
    return (both >> shift) & ((1 << PLACES) - 1)


@compilation.inlined
def estimate(edges, network, units, row, column, edge):
    """Returns the network's logit of an edge, in the coder's units.

    Its inputs are bits, most of them 0, and predicted logits. `units` is room for both hidden
    layers.
    """
    first, active = units
    # Arrays are read from the tuples once: each reading counts references.
    hidden, by_place, hidden_bias = network.hidden, network.by_place, network.hidden_bias
    second, second_bias, last = network.turned, network.second_bias, network.last
    side_hidden, coarse_side, coded = network.side_hidden, edges.coarse_side, edges.coded
    for unit in range(first.size):
        first[unit] = 0
    for place in range(side_hidden.shape[1]):
        line, across = divmod(place // 2, 2 * SIDE_REACH + 1)
        value = np.int32(coarse_side[row + line, column + across, place % 2])
        for unit in range(first.size):
            first[unit] += value * side_hidden[edge, place, unit]
    for unit in range(first.size):
        first[unit] = (first[unit] >> _SIDE_WEIGHT_SHIFT) + hidden_bias[edge, unit]
    for up in range(ROWS_UP + 1):
        bits = near(coded, row + PAD - up, column)
        while bits:
            lowest = bits & -bits
            place = _EXPONENTS[lowest % 37]
            for unit in range(first.size):
                first[unit] += by_place[edge, up, place, unit]
            bits -= lowest
    borders = (column, edges.width - 1 - column, row, edges.height - 1 - row)
    place = edges.sizes[edge]
    for border in range(4):
        reach = COLUMNS_ASIDE if border < 2 else ROWS_UP
        if borders[border] < reach:
            for unit in range(first.size):
                first[unit] += hidden[edge, place + borders[border], unit]
        place += reach
    for unit in range(first.size):
        active[unit] = min(max(first[unit], 0), MOST_ACTIVE)
    logit = np.int64(network.last_bias[edge]) << WEIGHT_BITS
    for other in range(LAST_UNITS):
        total = np.int32(second_bias[edge, other] << WEIGHT_BITS)
        for unit in range(active.size):
            total = np.int32(total + active[unit] * second[edge, other, unit])
        logit += min(max(total >> WEIGHT_BITS, 0), MOST_ACTIVE) * last[edge, other]
    logit >>= WEIGHT_BITS
    return min(max(logit, -MOST_LOGIT), MOST_LOGIT)
