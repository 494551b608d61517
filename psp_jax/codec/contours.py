"""Codes a partition without loss by its inter-pixel edges: cut or not, in raster order.

Every pixel adds the edge to its left and then the edge above it. No frontier ends inside a region,
so of the four edges at a vertex never exactly one is cut: where the three coded edges of the vertex
at a pixel's upper left corner already determine the edge above, it costs nothing.

The probability of an edge is estimated twice. A small network (`contour_network`), trained on drawn
rooms, knows lines, slopes and corners. Tables of adaptive probabilities, indexed by the nearest
edges, learn the frame at hand; an entry starts from the network's estimate when it is first used.
Their logits are mixed with adaptive weights (Mahoney 2005). Where no edge in the window is cut, one
adaptive probability is used alone.

Predicted edge logits, such as a network's from the colour image, may be given as side information.
Then the mixture gets a second estimate, by a small network that also sees the predicted logits
around the edge; the first one keeps the code short where the prediction is wrong. The logit of the
edge itself is one more input and extends the contexts; where a frontier arrives at a vertex and
must continue, it is that of the edge given that one of the two is cut. The second network, and what
the mixture starts from, were trained on rooms (`benchmarks/train_side.py`). The decoder needs the
very same logits.
"""

import functools
from typing import NamedTuple

import numpy as np

from psp_jax.codec import arithmetic, contour_network
from psp_jax.codec.arithmetic import MOST_LOGIT, PROBABILITY_BITS, SQUASH, STRETCH, STRETCH_SHIFT
from psp_jax.codec.contour_network import ABOVE, LEFT, PAD, ROWS_UP, EdgeLogits
from psp_jax.partition import compilation, frontier_classes
from psp_jax.partition.frontier_classes import Side

# Numbers of nearest edges that index the tables; the third one is for the side information.
_NEAR, _WIDE, _SIDE_NEAR = 11, 16, 6
# What is coded around an edge: nothing is cut; something is; a frontier arrives at its upper
# vertex, so it or the edge to the right is cut; a frontier passes there already.
_SITUATIONS = 4
_QUIET, _BUSY, _CONTINUES, _PASSES = range(_SITUATIONS)
_SIDE_LEVELS = 16  # Of the side information, as a part of an index.
_TABLES = 3
_TABLE_SIZE = 1 << (_WIDE + 1)
_SIDE_TABLE = 2 * _TABLE_SIZE  # Where the table of the side information begins.
_LIMIT = 250
_FIRST_COUNT = 6  # The initial value of an entry counts as so many symbols.
_QUIET_COUNT, _QUIET_LIMIT = 900, 1023
# The mixture: network, two tables; side information, its table and the network that sees it.
_INPUTS = 6
_NETWORK, _SIDE, _GIVEN = 0, 3, 5
_MIX_BITS = 16
_MIX_RATE, _SIDE_MIX_RATE = 4, 16  # Side information is worth learning fast.
_WEIGHTS = (np.array([0.6, 0.2, 0.2, 0.0, 0.0, 0.0]) * (1 << _MIX_BITS)).astype(np.int64)
_SIDE_WEIGHTS = (np.array([0.1, 0.05, 0.05, 0.35, 0.25, 0.4]) * (1 << _MIX_BITS)).astype(np.int64)


class SideStart(NamedTuple):
    """What the mixture starts from where there is side information; coding changes it in place.

    weights: `[2 * situations * levels, 6]` int64.
    table: `[2 ** 6 * levels * 2]` int32 probabilities by the nearest edges and the level.
    counts: like `table`, uint8, how many symbols an entry stands for; 0 marks one never used.
    """

    weights: np.ndarray
    table: np.ndarray
    counts: np.ndarray

    @classmethod
    def blank(cls) -> "SideStart":
        """Returns equal weights for all and an empty table."""
        weights = np.tile(_SIDE_WEIGHTS, (2 * _SITUATIONS * _SIDE_LEVELS, 1))
        entries = _SIDE_LEVELS << (_SIDE_NEAR + 1)
        return cls(weights, np.zeros(entries, np.int32), np.zeros(entries, np.uint8))


@functools.cache
def side_start() -> SideStart:
    """Loads the start that ships with the package."""
    with np.load(contour_network.FILE) as stored:
        return SideStart(
            stored["side_weights"].astype(np.int64),
            stored["side_table"].astype(np.int32),
            stored["side_counts"].astype(np.uint8),
        )


class _Model(NamedTuple):
    """The state of the model, and room for what it computes at an edge.

    network: its integers.
    given: those of the network that sees the side information.
    quiet: `[3]` adaptive bits where no edge in the window is cut, as `Network.quiet`.
    tables: `[3 * 2 ** 17]` adaptive bits by the nearest edges.
    weights: `[2 * contexts, 6]` int64 of the mixture.
    logits: `[6]` int64 inputs of the mixture.
    entries: `[3]` int64, the entries of `tables` used at an edge.
    units: room for the network's hidden layers.
    """

    network: contour_network.Network
    given: contour_network.Network
    quiet: arithmetic.AdaptiveBits
    tables: arithmetic.AdaptiveBits
    weights: np.ndarray
    logits: np.ndarray
    entries: np.ndarray
    units: tuple[np.ndarray, np.ndarray]


def code_length_bits(labels: np.ndarray, edge_logits: EdgeLogits | None = None) -> float:
    """Computes the ideal length of a coded partition in bits; no stream is made.

    Args:
        labels: `[H, W]` integers; what is coded is the partition into their 4-connected pieces.
        edge_logits: side information: `[H, W-1]` and `[H-1, W]` floats, the logit of a frontier
            between a pixel and the one to its right, and the one below it. With it the length is
            conditional on the prediction.

    Raises:
        ValueError: if the side information has another size or isn't finite.
    """
    coder = arithmetic.measurer()
    _run(coder, contour_network.padded(labels), edge_logits)
    return float(coder.length[0])


def learn(labels: np.ndarray, edge_logits: EdgeLogits, start: SideStart) -> float:
    """Measures as `code_length_bits` does from `start`, and leaves there what was learned."""
    coder = arithmetic.measurer()
    _run(coder, contour_network.padded(labels), edge_logits, start)
    return float(coder.length[0])


def encode(labels: np.ndarray, edge_logits: EdgeLogits | None = None) -> tuple[bytes, float]:
    """Codes a partition; arguments and errors: see `code_length_bits`.

    Returns:
        The stream, and its ideal length in bits.
    """
    coder = arithmetic.encoder(arithmetic.room_bytes(2 * labels.size))
    _run(coder, contour_network.padded(labels), edge_logits)
    return arithmetic.written(coder)


def decode(data: bytes, size: tuple[int, int], edge_logits: EdgeLogits | None = None) -> np.ndarray:
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
    cut = np.zeros((height + PAD, width + 2 * PAD, 2), np.uint8)
    _run(arithmetic.decoder(data), cut, edge_logits)
    left, above = np.moveaxis(cut[PAD:, PAD : PAD + width], -1, 0)
    classes = left * Side.LEFT.mask | above * Side.UP.mask
    classes[:, :-1] |= left[:, 1:] * Side.RIGHT.mask
    classes[:-1] |= above[1:] * Side.DOWN.mask
    return frontier_classes.decode_exact(classes)


def _run(
    coder: arithmetic.Coder,
    cut: np.ndarray,
    edge_logits: EdgeLogits | None,
    start: SideStart | None = None,
) -> None:
    """Codes all edges of `cut`, or decodes them into it; learns into `start` if it is given."""
    size = cut.shape[0] - PAD, cut.shape[1] - 2 * PAD
    edges = contour_network.edges(cut, size, edge_logits)
    network, given = contour_network.load(False), contour_network.load(True)
    quiet = network.quiet.astype(np.int64)
    table = np.zeros(_TABLES * _TABLE_SIZE, np.int32)
    counts = np.zeros(_TABLES * _TABLE_SIZE, np.uint8)
    weights = np.tile(_WEIGHTS, (2, 1))
    if edge_logits is not None:
        start = SideStart(*(part.copy() for part in side_start())) if start is None else start
        own = slice(_SIDE_TABLE, _SIDE_TABLE + len(start.table))
        weights, table[own], counts[own] = start
    model = _Model(
        network,
        given,
        arithmetic.AdaptiveBits(quiet, np.full(len(quiet), _QUIET_COUNT), _QUIET_LIMIT),
        arithmetic.AdaptiveBits(table, counts, _LIMIT),
        weights,
        logits=np.zeros(_INPUTS, np.int64),
        entries=np.zeros(_TABLES, np.int64),
        units=(np.empty(contour_network.UNITS, "i4"), np.empty(contour_network.UNITS, "i2")),
    )
    _code(coder, edges, model, np.empty((1, edges.coded.shape[1]), np.int64))
    if start is not None:
        own = slice(_SIDE_TABLE, _SIDE_TABLE + len(start.table))
        start.table[:], start.counts[:] = table[own], counts[own]


@compilation.compile_uncounted
def _code(coder, edges, model, cut_in_rows):
    """Codes the edges in `edges.cut`, or decodes them into it.

    `cut_in_rows` is room for a row of `edges.coded`: the coded edges of all rows of the window.
    """
    cut, width, quiet, has_side = edges.cut, edges.width, model.quiet, edges.side.size > 0
    row_step, coded = width + 2 * PAD, edges.coded
    for row in range(edges.height):
        for word in range(coded.shape[1]):
            cut_in_rows[0, word] = 0
            for up in range(1, ROWS_UP + 1):
                cut_in_rows[0, word] |= coded[row + PAD - up, word]
        for column in range(width):
            at = ((row + PAD) * row_step + column + PAD) * 2
            for edge in range(2):
                if (column if edge == LEFT else row) == 0:
                    continue
                bit = np.int64(cut[at + edge])
                at_vertex = np.int64(2)
                if edge == ABOVE and column > 0:
                    at_vertex = np.int64(cut[at]) + cut[at - 1] + cut[at - 2 * row_step]
                if at_vertex < 2:
                    bit = at_vertex
                else:
                    around = contour_network.near(cut_in_rows, 0, column)
                    if around == 0 and not has_side:
                        which = _quiet_index(row, edge)
                        bit = arithmetic.code_adaptive_bit(coder, bit, quiet, which)
                    else:
                        bit = _code_mixed(coder, edges, model, row, column, edge, around)
                if bit:
                    cut[at + edge] = bit
                    contour_network.mark_coded(coded, row + PAD, column, edge, bit)
                    contour_network.mark_coded(cut_in_rows, 0, column, edge, bit)


@compilation.compile_cached
def _quiet_index(row, edge):
    """Returns which of the `quiet` bits an edge has, see `Network`."""
    return 2 if edge == ABOVE else (1 if row == 0 else 0)


@compilation.inlined
def _code_mixed(coder, edges, model, row, column, edge, around):
    """Codes one edge with the mixture; `around` are the cut ones in its window. Returns the bit."""
    cut, window, at = edges.cut, edges.windows[edge], contour_network.place_of(edges, row, column)
    has_side, quiet = edges.side.size > 0, _quiet_index(row, edge)
    logit = np.int64(STRETCH[model.quiet.probabilities[quiet] >> STRETCH_SHIFT])
    if around != 0:
        logit = contour_network.estimate(edges, model.network, model.units, row, column, edge)
    model.logits[_NETWORK] = logit
    chosen = level = np.int64(0)
    if has_side:
        if around != 0 or contour_network.is_likely(edges.coarse_side, row, column, edge):
            logit = contour_network.estimate(edges, model.given, model.units, row, column, edge)
        model.logits[_GIVEN] = logit
        situation, logit = _look_at_side(edges, row, column, edge, around)
        model.logits[_SIDE] = logit
        level = (logit + MOST_LOGIT) * _SIDE_LEVELS // (2 * MOST_LOGIT + 1)
        chosen = situation * _SIDE_LEVELS + level
    context = np.int64(0)
    for place in range(_WIDE):
        context |= np.int64(cut[at + window[place]]) << place
    near, side_near = context & ((1 << _NEAR) - 1), context & ((1 << _SIDE_NEAR) - 1)
    model.entries[0] = near * 2 + edge
    model.entries[1] = _TABLE_SIZE + context * 2 + edge
    model.entries[2] = _SIDE_TABLE + (side_near * _SIDE_LEVELS + level) * 2 + edge
    bit = _mix(coder, np.int64(cut[at + edge]), model, model.weights[chosen * 2 + edge], has_side)
    if around == 0:
        arithmetic.adapt(model.quiet, quiet, bit)
    return bit


@compilation.inlined
def _look_at_side(edges, row, column, edge, around):
    """Returns the situation of an edge and its predicted logit, given the coded edges."""
    logit = edges.side[row, column, edge]
    situation = _BUSY if around else _QUIET
    if edge == LEFT and row > 0:
        cut, at = edges.cut, contour_network.place_of(edges, row, column)
        arriving = np.int64(cut[at - 1]) + cut[at - 2 * (edges.width + 2 * PAD)]
        if arriving == 1:
            return _CONTINUES, _given_either(logit, edges.side[row, column, ABOVE])
        if arriving == 2:
            situation = _PASSES
    return situation, logit


@compilation.compile_cached
def _given_either(logit, other):
    """Returns the logit of an edge, given that it or another one is cut."""
    probability = np.int64(SQUASH[logit + MOST_LOGIT])
    of_other = np.int64(SQUASH[other + MOST_LOGIT])
    either = probability + of_other - ((probability * of_other) >> PROBABILITY_BITS)
    share = min((probability << PROBABILITY_BITS) // either, (1 << PROBABILITY_BITS) - 1)
    return np.int64(STRETCH[share >> STRETCH_SHIFT])


@compilation.inlined
def _mix(coder, bit, model, weights, has_side):
    """Codes a bit with the mixture of all logits, which learns from it; returns the bit."""
    logits, entries, tables = model.logits, model.entries, model.tables
    probabilities, counts = tables.probabilities, tables.counts
    used = _TABLES if has_side else _TABLES - 1
    start = logits[_GIVEN] if has_side else logits[_NETWORK]
    for table in range(used):
        if table == 2:
            start = (logits[_GIVEN] + logits[_SIDE]) >> 1
        entry = entries[table]
        if counts[entry] == 0:
            probabilities[entry] = SQUASH[start + MOST_LOGIT]
            counts[entry] = _FIRST_COUNT
        place = table + 1 if table < 2 else 4
        logits[place] = STRETCH[probabilities[entry] >> STRETCH_SHIFT]
    total = np.int64(0)
    for place in range(_INPUTS):
        total += logits[place] * weights[place]
    logit = min(max(total >> _MIX_BITS, -MOST_LOGIT), MOST_LOGIT)
    probability = np.int64(SQUASH[logit + MOST_LOGIT])
    bit = arithmetic.code_bit(coder, bit, probability)
    error = (bit << PROBABILITY_BITS) - probability
    rate = _SIDE_MIX_RATE if has_side else _MIX_RATE
    for place in range(_INPUTS):
        weights[place] += (logits[place] * error * rate) >> 26
    for table in range(used):
        arithmetic.adapt(tables, entries[table], bit)
    return bit
