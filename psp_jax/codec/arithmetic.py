"""A binary arithmetic coder with adaptive probabilities, in whole numbers throughout.

Every symbol here is a bit whose probability depends on all symbols before it, up to 600,000 a
frame, so the model has to run inside the coder's loop. `constriction`, the library of choice,
takes the probabilities of such a model one Python call at a time and can't be called from
compiled code; hence this coder, a carry-free one in the manner of Mahoney's lpaq (2007) with a
range of 48 bits, which keeps its length within 0.01 % of the model's.

One function, `code_bit`, encodes, decodes or only adds up the ideal length, by the coder's mode;
so a model is written once and its two directions can't disagree. Models use integers only: an
encoder and a decoder on different machines see the same probabilities.
"""

import math

import numpy as np

from psp_jax.partition import compilation

MEASURE, ENCODE, DECODE = 0, 1, 2
PROBABILITY_BITS = 22
ONE = 1 << PROBABILITY_BITS  # Probabilities are those of a set bit, in 1..ONE-1.
HALF = ONE // 2
# Logits are in steps of 1/256 and reach 15.2, where a probability is one step from 0.
LOGIT_SCALE = 256
MOST_LOGIT = 3900
STRETCH_SHIFT = 6  # Probabilities are looked up by their 16 leading bits.
_RANGE_BITS = 48
_LAST = (1 << _RANGE_BITS) - 1
_TOP = _RANGE_BITS - 8
# Where the coder keeps its state.
_MODE, _LOW, _HIGH, _VALUE, _POSITION, FIELDS = range(6)
# An adaptive bit moves by 1/(n + 1.5) of the way at its n-th symbol, until n reaches a limit.
RECIPROCALS = np.array([int(65536 / (n + 1.5)) for n in range(1024)], np.int64)


def squash_table() -> np.ndarray:
    """Tabulates the logistic function from -MOST_LOGIT to MOST_LOGIT.

    No value lies within 1e-5 of a rounding tie, so that every machine computes the same table.
    """
    return np.array([squashed(logit) for logit in range(-MOST_LOGIT, MOST_LOGIT + 1)], np.int64)


def squashed(logit: int) -> int:
    """Rounds the probability of a logit, both in the coder's units."""
    return min(max(round(ONE / (1.0 + math.exp(-logit / LOGIT_SCALE))), 1), ONE - 1)


SQUASH = squash_table()
# The logit of a probability: how many entries of the other table lie below it.
STRETCH = (
    np.searchsorted(SQUASH, (np.arange(ONE >> STRETCH_SHIFT) << STRETCH_SHIFT) + 32) - MOST_LOGIT
)


def coder(mode: int) -> np.ndarray:
    """Makes the state of a coder in one of the three modes."""
    state = np.zeros(FIELDS, np.int64)
    state[_MODE], state[_HIGH] = mode, _LAST
    return state


def buffer(symbols: int) -> np.ndarray:
    """Makes room for so many coded bits, however unlikely they are; pages are used as needed."""
    return np.empty(symbols * PROBABILITY_BITS // 8 + 16, np.uint8)


def readable(data: bytes) -> np.ndarray:
    """Makes coded bytes an array of the type that the compiled coder takes."""
    return np.frombuffer(data, np.uint8).copy()


def written(state: np.ndarray, data: np.ndarray) -> bytes:
    """Ends a stream with the fewest bytes that tell its last interval from others.

    A decoder reads zeros beyond the end.
    """
    tail = b""
    low, high = int(state[_LOW]), int(state[_HIGH])
    for size in range(7):
        kept = _RANGE_BITS - 8 * size
        value = -(-low >> kept)  # Rounded up.
        if value << kept <= high:
            tail = value.to_bytes(size, "big")
            break
    return data[: state[_POSITION]].tobytes() + tail


@compilation.compile_cached
def start(state, data):
    """Lets a decoder read its first bytes."""
    for _ in range(6):
        state[3] = (state[3] << 8) | _next(state, data)


@compilation.compile_cached
def code_bit(state, data, length, bit, probability):
    """Codes one bit.

    Args:
        state: of the coder.
        data: `[N]` uint8, written or read.
        length: `[1]` float64; the ideal length in bits is added to it, but in decoding.
        bit: what to code; anything in decoding.
        probability: that the bit is set, of `ONE`.

    Returns:
        The bit.
    """
    mode = state[0]
    if mode != DECODE:
        length[0] -= np.log2((probability if bit else ONE - probability) / ONE)
        if mode == MEASURE:
            return bit
    low, high = state[1], state[2]
    middle = low + ((high - low) >> PROBABILITY_BITS) * probability
    if mode == DECODE:
        bit = 1 if state[3] <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> _TOP == 0:
        if mode == ENCODE:
            data[state[4]] = low >> _TOP
            state[4] += 1
        else:
            state[3] = ((state[3] << 8) & _LAST) | _next(state, data)
        low = (low << 8) & _LAST
        high = ((high << 8) & _LAST) | 255
    state[1], state[2] = low, high
    return bit


@compilation.compile_cached
def _next(state, data):
    """Reads a byte, or zeros beyond the end."""
    position = state[4]
    state[4] = position + 1
    return np.int64(data[position]) if position < data.size else np.int64(0)


@compilation.compile_cached
def adapt(probabilities, counts, at, bit, limit):
    """Moves an adaptive probability towards the bit that was coded with it."""
    count = counts[at]
    goal = ONE - 1 if bit else 1
    step = ((goal - probabilities[at]) * RECIPROCALS[count]) >> 16
    probabilities[at] = min(max(probabilities[at] + step, 1), ONE - 1)
    if count < limit:
        counts[at] = count + 1


@compilation.compile_cached
def code_adaptive_bit(state, data, length, bit, probabilities, counts, at, limit):
    """Codes a bit with an adaptive probability, which learns from it; returns the bit."""
    bit = code_bit(state, data, length, bit, probabilities[at])
    adapt(probabilities, counts, at, bit, limit)
    return bit


@compilation.compile_cached
def code_natural(state, data, length, value, probabilities, counts, at, limit, most_bits):
    """Codes a whole number >= 0: the width of value + 1 in unary, then its bits.

    The unary bits and the bit after the leading one are adaptive.

    Args:
        state, data, length: as of `code_bit`.
        value: what to code; anything in decoding.
        probabilities, counts: adaptive bits, `2 * most_bits` of them from `at` on.
        at: the first of them.
        limit: of the counts.
        most_bits: no value + 1 has more bits.

    Returns:
        The value.
    """
    width = 1
    while (value + 1) >> width > 0:
        width += 1
    coded = 1
    while coded < most_bits and code_adaptive_bit(
        state, data, length, 1 if coded < width else 0, probabilities, counts, at + coded, limit
    ):
        coded += 1
    result = np.int64(1)
    for place in range(coded - 2, -1, -1):
        bit = ((value + 1) >> place) & 1
        if place == coded - 2:
            second = at + most_bits + coded - 1
            bit = code_adaptive_bit(state, data, length, bit, probabilities, counts, second, limit)
        else:
            bit = code_bit(state, data, length, bit, HALF)
        result = 2 * result + bit
    return result - 1


@compilation.compile_cached
def code_integer(state, data, length, value, probabilities, counts, at, limit, most_bits):
    """Codes a whole number: its magnitude as `code_natural`, then its sign as an even chance.

    Arguments and result are those of `code_natural`.
    """
    magnitude = code_natural(
        state, data, length, abs(value), probabilities, counts, at, limit, most_bits
    )
    if magnitude == 0:
        return magnitude
    negative = code_bit(state, data, length, 1 if value < 0 else 0, HALF)
    return -magnitude if negative else magnitude
