"""A partition as its inter-pixel edges: which are cut, in raster order, coded without loss.

Every pixel adds the edge to its left and then the edge above it. No frontier ends inside a region,
so of the four edges at a vertex never exactly one is cut: where the three known edges of the vertex
at a pixel's upper left corner say so, the edge above costs nothing.

The probability of an edge is learned twice. A small network in whole numbers, which ships with the
package, sees the known edges around it, six rows up and seven columns to either side; it was
trained on the drawn rooms (`benchmarks/train_contours.py`) and knows lines, slopes and corners.
Tables of adaptive probabilities, indexed by the nearest edges, learn the frame at hand; an entry
starts as what the network said when it was first met. Their logits are mixed with adaptive weights
(Mahoney 2005). Where nothing around is cut, one adaptive probability is all there is.

What a network predicted of the edges from elsewhere, such as the colour image, may come in as side
information. Then another small network judges, which also sees the predicted logits around the
edge, those still to come included: where a frontier that ran beside the prediction will turn. The
logit of the edge itself is one more input of the mixture and extends the contexts; where a frontier
arrives at a vertex and must go on, it is that of the edge given that one of the two is cut. This
network, and what the mixture starts from, were taught on rooms (`benchmarks/train_side.py`). The
decoder needs the very same logits.
"""

import functools
import pathlib
from typing import NamedTuple

import numpy as np

from psp_jax.codec import arithmetic
from psp_jax.codec.arithmetic import MOST_LOGIT, PROBABILITY_BITS, SQUASH, STRETCH, STRETCH_SHIFT
from psp_jax.partition import compilation, frontier_classes
from psp_jax.partition.frontier_classes import Side

LEFT, ABOVE = 0, 1  # The two edges of a pixel.
ROWS_UP, COLUMNS_ASIDE = 6, 7  # What the network sees.
PAD = COLUMNS_ASIDE + 1
BORDER_INPUTS = 2 * COLUMNS_ASIDE + 2 * ROWS_UP  # The distances to the four borders, if small.
# Weights of the network are in steps of 1/1024 and below 4, activations, biases and logits in steps
# of 1/256 and up to 32: sums of 32 products stay within 32 bits.
WEIGHT_BITS, ACTIVE_BITS = 10, 8
MOST_WEIGHT, MOST_ACTIVE = (4 << WEIGHT_BITS) - 1, (32 << ACTIVE_BITS) - 1
# Numbers of nearest edges that index the tables; the third one is for the side information.
NEAR, WIDE, _SIDE_NEAR = 11, 16, 6
# What is known at an edge: nothing is cut around it; something is; a frontier arrives at its upper
# vertex, so that it or the edge to the right is cut; one passes there already.
_SITUATIONS = 4
_QUIET_AROUND, _BUSY, _GOES_ON, _PASSES = range(_SITUATIONS)
# Predicted logits that the network sees: those of all edges up to so many rows and columns away, in
# steps of 1/16. Where nothing is cut around, it is asked only of edges that are not unlikely.
SIDE_REACH, SIDE_SHIFT, MOST_SIDE = 3, 4, 127
SIDE_INPUTS = 2 * (2 * SIDE_REACH + 1) ** 2
LIKELY = -64
_SIDE_WEIGHT_SHIFT = 6  # From steps of 1/16 times those of a weight to those of an activation.
SIDE_LEVELS = 16  # Of the side information, as a part of an index.
_TABLES = 3
_LIMIT = 250
_FIRST_COUNT = 6  # What an entry starts as counts as so many symbols.
_QUIET = 3  # Adaptive bits where nothing is cut around: at a left edge, one at the top, one above.
_QUIET_COUNT, _QUIET_LIMIT = 900, 1023
# The mixture: network, two tables, side information and its table.
_INPUTS = 5
_MIX_BITS = 16
_MIX_RATE, _SIDE_MIX_RATE = 4, 16  # Side information is worth learning fast.
_WEIGHTS = np.array([0.6, 0.2, 0.2, 0.0, 0.0]) * (1 << _MIX_BITS)
_SIDE_WEIGHTS = np.array([0.5, 0.05, 0.05, 0.35, 0.25]) * (1 << _MIX_BITS)
_WEIGHTS, _SIDE_WEIGHTS = _WEIGHTS.astype(np.int64), _SIDE_WEIGHTS.astype(np.int64)


def window(edge: int) -> np.ndarray:
    """Lists the known edges around an edge, the nearest first.

    Args:
        edge: `LEFT` or `ABOVE`.

    Returns:
        `[N, 3]` int64: rows up, columns to the right, and which edge of that pixel.
    """
    middle = (0.5, 0.0) if edge == LEFT else (0.0, 0.5)
    found = []
    for up in range(ROWS_UP + 1):
        for aside in range(-COLUMNS_ASIDE, COLUMNS_ASIDE + 1):
            for other in (LEFT, ABOVE):
                if up > 0 or aside < 0 or (aside == 0 and other < edge):
                    y, x = (-up + 0.5, aside) if other == LEFT else (-up, aside + 0.5)
                    distance = (y - middle[0]) ** 2 + (x - middle[1]) ** 2
                    found.append((distance, up, aside, other))
    return np.array([entry[1:] for entry in sorted(found)], np.int64)


LAYERS = ("hidden", "hidden_bias", "second", "second_bias", "last", "last_bias", "quiet")


@functools.cache
def network(given_side: bool) -> tuple[np.ndarray, ...]:
    """Loads a network's whole numbers, one array a layer, of both edges in turn.

    The last array holds the weights of predicted logits, `[2, 0, units]` of the network that sees
    none.
    """
    with np.load(pathlib.Path(__file__).parent / "contours.npz") as stored:
        prefix = "given_" if given_side else ""
        arrays = [stored[prefix + name].astype(np.int32) for name in LAYERS]
        if given_side:
            return *arrays, stored["given_side"].astype(np.int32)
        return *arrays, np.zeros((2, 0, arrays[0].shape[2]), np.int32)


class SideStart(NamedTuple):
    """What the mixture starts from where there is side information; learning changes it in place.

    weights: `[2 * situations * SIDE_LEVELS, 5]` int64.
    table: `[2 ** 6 * SIDE_LEVELS * 2]` int32 probabilities by the nearest edges and the level.
    counts: like `table`, uint8, how many symbols an entry stands for; 0 marks one never met.
    """

    weights: np.ndarray
    table: np.ndarray
    counts: np.ndarray

    @classmethod
    def blank(cls) -> "SideStart":
        """Returns equal weights for all and an empty table."""
        weights = np.tile(_SIDE_WEIGHTS, (2 * _SITUATIONS * SIDE_LEVELS, 1))
        entries = SIDE_LEVELS << (_SIDE_NEAR + 1)
        return cls(weights, np.zeros(entries, np.int32), np.zeros(entries, np.uint8))

    def copy(self) -> "SideStart":
        """Returns one that may be changed."""
        return SideStart(*(part.copy() for part in self))


@functools.cache
def side_start() -> SideStart:
    """Loads the start that ships with the package."""
    with np.load(pathlib.Path(__file__).parent / "contours.npz") as stored:
        return SideStart(
            stored["side_weights"].astype(np.int64),
            stored["side_table"].astype(np.int32),
            stored["side_counts"].astype(np.uint8),
        )


def padded(labels: np.ndarray) -> np.ndarray:
    """Lays the edges out as `[H + PAD, W + 2 PAD, 2]` uint8 with nothing cut outside."""
    height, width = labels.shape
    cut = np.zeros((height + PAD, width + 2 * PAD, 2), np.uint8)
    cut[PAD:, PAD + 1 : PAD + width, LEFT] = labels[:, 1:] != labels[:, :-1]
    cut[PAD + 1 :, PAD : PAD + width, ABOVE] = labels[1:] != labels[:-1]
    return cut


def in_units(logits: tuple[np.ndarray, np.ndarray] | None, shape: tuple[int, int]) -> np.ndarray:
    """Lays the side information out as `[H, W, 2]` in the coder's units; `[0, 0, 2]` without."""
    if logits is None:
        return np.zeros((0, 0, 2), np.int64)
    height, width = shape
    across, along = (np.asarray(part, np.float64) for part in logits)
    if across.shape != (height, width - 1) or along.shape != (height - 1, width):
        raise ValueError(
            f"edge logits of {across.shape} and {along.shape} for a {height}x{width} partition; "
            f"({height}, {width - 1}) and ({height - 1}, {width}) were expected"
        )
    if not (np.isfinite(across).all() and np.isfinite(along).all()):
        raise ValueError("edge logits must be finite")
    side = np.zeros((height, width, 2), np.int64)
    most = MOST_LOGIT / arithmetic.LOGIT_SCALE
    for edge, part, inside in (
        (LEFT, across, (slice(None), slice(1, None))),
        (ABOVE, along, (slice(1, None), slice(None))),
    ):
        scaled = np.round(np.clip(part, -most, most) * arithmetic.LOGIT_SCALE)
        side[(*inside, edge)] = scaled.astype(np.int64)
    return side


def surroundings(side: np.ndarray) -> np.ndarray:
    """Lays the side information out as the network sees it, `[H + 6, W + 6, 2]` int8.

    Outside, and at the image's left and upper border, nothing is likely to be cut.
    """
    if not side.size:
        return np.zeros((0, 0, 2), np.int8)
    height, width = side.shape[:2]
    inside = slice(SIDE_REACH, SIDE_REACH + height), slice(SIDE_REACH, SIDE_REACH + width)
    laid = np.full((height + 2 * SIDE_REACH, width + 2 * SIDE_REACH, 2), -MOST_SIDE, np.int8)
    steps = (side + (1 << (SIDE_SHIFT - 1))) >> SIDE_SHIFT
    laid[inside] = np.clip(steps, -MOST_SIDE, MOST_SIDE)
    laid[:, SIDE_REACH, LEFT] = laid[SIDE_REACH, :, ABOVE] = -MOST_SIDE
    return laid


def _run(
    mode: int,
    cut: np.ndarray,
    size: tuple[int, int],
    side: np.ndarray,
    data: np.ndarray,
    start: SideStart | None = None,
) -> tuple[np.ndarray, float]:
    """Runs the coder over all edges; returns its state and the ideal length in bits."""
    start = side_start().copy() if start is None else start
    height, width = size
    row_step = width + 2 * PAD
    windows = [window(edge) for edge in (LEFT, ABOVE)]
    near = np.zeros((2, max(map(len, windows))), np.int64)
    for edge, known in enumerate(windows):
        near[edge, : len(known)] = (-known[:, 0] * row_step + known[:, 1]) * 2 + known[:, 2]
    state, length = arithmetic.coder(mode), np.zeros(1)
    _code(
        state, data, length, cut.reshape(-1), height, width, near,
        np.array([len(known) for known in windows]), side, surroundings(side),
        *network(side.size > 0), *start,
    )  # fmt: skip
    return state, float(length[0])


def partition_bits(
    labels: np.ndarray, edge_logits: tuple[np.ndarray, np.ndarray] | None = None
) -> float:
    """Computes the ideal length of a coded partition in bits; no stream is made.

    Args:
        labels: `[H, W]` integers; what is coded is the partition into their 4-connected pieces.
        edge_logits: side information: `[H, W-1]` and `[H-1, W]` float32, the logit of "there is a
            frontier" between a pixel and the one to its right, and the one below it.

    Raises:
        ValueError: if the side information has another size or isn't finite.
    """
    side = in_units(edge_logits, labels.shape)
    size = labels.shape[0], labels.shape[1]
    return _run(arithmetic.MEASURE, padded(labels), size, side, np.empty(0, np.uint8))[1]


def learn(
    labels: np.ndarray, edge_logits: tuple[np.ndarray, np.ndarray], start: SideStart
) -> float:
    """Codes a partition as `partition_bits` does, beginning with `start` and leaving in it what the
    mixture has learned; returns the bits."""
    side = in_units(edge_logits, labels.shape)
    size = labels.shape[0], labels.shape[1]
    none = np.empty(0, np.uint8)
    return _run(arithmetic.MEASURE, padded(labels), size, side, none, start)[1]


def encode(
    labels: np.ndarray, edge_logits: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[bytes, float]:
    """Codes a partition; arguments and errors as of `partition_bits`.

    Returns:
        The stream, and its ideal length in bits.
    """
    side = in_units(edge_logits, labels.shape)
    data = arithmetic.buffer(2 * labels.size)
    size = labels.shape[0], labels.shape[1]
    state, bits = _run(arithmetic.ENCODE, padded(labels), size, side, data)
    return arithmetic.written(state, data), bits


def decode(
    data: bytes,
    size: tuple[int, int],
    edge_logits: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Decodes a partition.

    Args:
        data: what `encode` returned.
        size: height and width.
        edge_logits: the side information that it was encoded with.

    Returns:
        `[H, W]` int32, contiguous from 0 in the order of first pixels, every region 4-connected.

    Raises:
        ValueError: if these are not the edges of a partition.
    """
    height, width = size
    side = in_units(edge_logits, size)
    cut = np.zeros((height + PAD, width + 2 * PAD, 2), np.uint8)
    _run(arithmetic.DECODE, cut, size, side, arithmetic.readable(data))
    left = cut[PAD:, PAD : PAD + width, LEFT]
    above = cut[PAD:, PAD : PAD + width, ABOVE]
    classes = left * Side.LEFT.mask | above * Side.UP.mask
    classes[:, :-1] |= left[:, 1:] * Side.RIGHT.mask
    classes[:-1] |= above[1:] * Side.DOWN.mask
    return frontier_classes.decode_exact(classes)


@compilation.compile_cached
def _code(
    state, data, length, cut, height, width, near, known, side, beside,
    hidden, hidden_bias, second, second_bias, last, last_bias, quiet, side_hidden,
    side_weights, side_table, side_counts,
):  # fmt: skip
    """Codes the edges in `cut`, or decodes them into it.

    It is one loop because everything in it is state of one model: tables, weights and the sums
    that tell where the window is empty.
    """
    if state[0] == arithmetic.DECODE:
        arithmetic.start(state, data)
    row_step = width + 2 * PAD
    has_side = side.size > 0
    quiet_p = quiet.astype(np.int64)
    quiet_n = np.full(_QUIET, _QUIET_COUNT, np.int64)
    tables = np.zeros(_TABLES << (WIDE + 1), np.int32)
    counts = np.zeros(_TABLES << (WIDE + 1), np.uint8)
    side_place = 2 << (WIDE + 1)  # Where the table of the side information begins.
    tables[side_place : side_place + side_table.size] = side_table
    counts[side_place : side_place + side_table.size] = side_counts
    weights = side_weights
    if not has_side:
        weights = np.empty((2, _INPUTS), np.int64)
        weights[:] = _WEIGHTS
    inputs = np.zeros(_INPUTS, np.int64)
    entries = np.zeros(_TABLES, np.int64)
    first = np.empty(hidden.shape[2], np.int32)
    then = np.empty(second.shape[2], np.int32)
    # Cut edges in the window's rows, by column.
    columns = np.zeros(row_step, np.int64)
    for row in range(height):
        if row > ROWS_UP:
            gone = (row - ROWS_UP - 1 + PAD) * row_step * 2
            for column in range(row_step):
                columns[column] -= cut[gone + 2 * column] + cut[gone + 2 * column + 1]
        around = np.int64(0)  # Cut edges in the window.
        for column in range(2 * COLUMNS_ASIDE + 1):
            around += columns[column]
        for column in range(width):
            around += columns[column + PAD + COLUMNS_ASIDE]
            around -= columns[column + PAD - COLUMNS_ASIDE - 1]
            at = ((row + PAD) * row_step + column + PAD) * 2
            for edge in range(2):
                if (column if edge == LEFT else row) == 0:
                    continue
                bit = np.int64(cut[at + edge])
                three = np.int64(2)
                if edge == ABOVE and column > 0:
                    three = np.int64(cut[at]) + cut[at - 1] + cut[at - 2 * row_step]
                if three < 2:
                    bit = three
                elif around == 0 and not has_side:
                    which = 2 if edge == ABOVE else (1 if row == 0 else 0)
                    bit = arithmetic.code_adaptive_bit(
                        state, data, length, bit, quiet_p, quiet_n, which, _QUIET_LIMIT
                    )
                else:
                    which = 2 if edge == ABOVE else (1 if row == 0 else 0)
                    if around == 0 and not is_likely(beside, row, column, edge):
                        inputs[0] = STRETCH[quiet_p[which] >> STRETCH_SHIFT]
                    else:
                        borders = (column, width - 1 - column, row, height - 1 - row)
                        inputs[0] = _judge(
                            cut, at, near[edge], known[edge], borders, beside, first, then,
                            side_hidden[edge], hidden[edge], hidden_bias[edge],
                            second[edge], second_bias[edge], last[edge], last_bias[edge],
                        )  # fmt: skip
                    chosen = level = np.int64(0)
                    if has_side:
                        inputs[3] = side[row, column, edge]
                        situation = _BUSY if around else _QUIET_AROUND
                        if edge == LEFT and row > 0:
                            arriving = np.int64(cut[at - 1]) + cut[at - 2 * row_step]
                            if arriving == 1:
                                situation = _GOES_ON
                                inputs[3] = _given_either(inputs[3], side[row, column, ABOVE])
                            elif arriving == 2:
                                situation = _PASSES
                        level = (inputs[3] + MOST_LOGIT) * SIDE_LEVELS // (2 * MOST_LOGIT + 1)
                        chosen = situation * SIDE_LEVELS + level
                    context = np.int64(0)
                    for place in range(WIDE):
                        context |= np.int64(cut[at + near[edge, place]]) << place
                    entries[0] = (context & ((1 << NEAR) - 1)) * 2 + edge
                    entries[1] = (1 << (WIDE + 1)) + context * 2 + edge
                    entries[2] = (
                        side_place
                        + ((context & ((1 << _SIDE_NEAR) - 1)) * SIDE_LEVELS + level) * 2
                        + edge
                    )
                    bit = _mix(
                        state, data, length, bit, inputs, entries, tables, counts,
                        weights[chosen * 2 + edge], has_side,
                    )  # fmt: skip
                    if around == 0:
                        arithmetic.adapt(quiet_p, quiet_n, which, bit, _QUIET_LIMIT)
                cut[at + edge] = bit
                columns[column + PAD] += bit
                around += bit
    side_table[:] = tables[side_place : side_place + side_table.size]
    side_counts[:] = counts[side_place : side_place + side_table.size]


@compilation.compile_cached
def _given_either(logit, other):
    """Returns the logit of an edge, given that it or another one is cut."""
    probability, beside = SQUASH[logit + MOST_LOGIT], SQUASH[other + MOST_LOGIT]
    either = probability + beside - ((probability * beside) >> PROBABILITY_BITS)
    share = min((probability << PROBABILITY_BITS) // either, (1 << PROBABILITY_BITS) - 1)
    return STRETCH[share >> STRETCH_SHIFT]


@compilation.compile_cached
def is_likely(beside, row, column, edge):
    """Tells whether the network has an opinion where nothing around is cut yet."""
    return beside.size > 0 and beside[row + SIDE_REACH, column + SIDE_REACH, edge] >= LIKELY


@compilation.compile_cached
def _judge(
    cut, at, near, known, borders, beside, first, then,
    side_hidden, hidden, hidden_bias, second, second_bias, last, last_bias,
):  # fmt: skip
    """Returns the network's logit of an edge. Its inputs are bits, most of them 0, and logits."""
    first[:] = 0
    column, row = borders[0], borders[2]
    for place in range(side_hidden.shape[0]):
        line, across = divmod(place // 2, 2 * SIDE_REACH + 1)
        value = np.int32(beside[row + line, column + across, place % 2])
        for unit in range(first.size):
            first[unit] += value * side_hidden[place, unit]
    for unit in range(first.size):
        first[unit] = (first[unit] >> _SIDE_WEIGHT_SHIFT) + hidden_bias[unit]
    for place in range(known):
        if cut[at + near[place]]:
            for unit in range(first.size):
                first[unit] += hidden[place, unit]
    place = known
    for side in range(4):
        reach = COLUMNS_ASIDE if side < 2 else ROWS_UP
        if borders[side] < reach:
            for unit in range(first.size):
                first[unit] += hidden[place + borders[side], unit]
        place += reach
    for other in range(then.size):
        then[other] = second_bias[other] << WEIGHT_BITS
    for unit in range(first.size):
        if first[unit] > 0:
            active = np.int32(min(first[unit], MOST_ACTIVE))
            for other in range(then.size):
                then[other] += active * second[unit, other]
    logit = last_bias << WEIGHT_BITS
    for other in range(then.size):
        if then[other] > 0:
            logit += min(then[other] >> WEIGHT_BITS, MOST_ACTIVE) * last[other]
    logit >>= WEIGHT_BITS
    return min(max(logit, -MOST_LOGIT), MOST_LOGIT)


@compilation.compile_cached
def _mix(state, data, length, bit, inputs, entries, tables, counts, weights, has_side):
    """Codes a bit with the mixture of all opinions, which learn from it; returns the bit."""
    used = _TABLES if has_side else _TABLES - 1
    start = inputs[0]
    for table in range(used):
        if table == 2:
            start = (inputs[0] + inputs[3]) >> 1
        entry = entries[table]
        if counts[entry] == 0:
            tables[entry] = SQUASH[start + MOST_LOGIT]
            counts[entry] = _FIRST_COUNT
        place = table + 1 if table < 2 else 4
        inputs[place] = STRETCH[tables[entry] >> STRETCH_SHIFT]
    total = np.int64(0)
    for place in range(_INPUTS):
        total += inputs[place] * weights[place]
    logit = min(max(total >> _MIX_BITS, -MOST_LOGIT), MOST_LOGIT)
    probability = SQUASH[logit + MOST_LOGIT]
    bit = arithmetic.code_bit(state, data, length, bit, probability)
    error = (bit << PROBABILITY_BITS) - probability
    rate = _SIDE_MIX_RATE if has_side else _MIX_RATE
    for place in range(_INPUTS):
        weights[place] += (inputs[place] * error * rate) >> 26
    for table in range(used):
        arithmetic.adapt(tables, counts, entries[table], bit, _LIMIT)
    return bit
