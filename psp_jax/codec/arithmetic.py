"""A binary arithmetic coder with adaptive probabilities, in integers throughout.

Every symbol is a bit whose probability depends on all symbols before it, up to 600,000 per frame,
so the model runs inside the coder's compiled loop. `constriction` takes probabilities one Python
call at a time and can't be called from there. This coder is carry-free, after Mahoney's lpaq
(2007), with a range of 48 bits, which keeps its length within 0.01 % of the model's.

One function, `code_bit`, encodes, decodes or only measures, by the coder's mode, so a model is
written once and its two directions can't disagree. Models use integers only: encoders and decoders
on different machines compute the same probabilities.
"""

import math
from typing import NamedTuple

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
_RANGE_BYTES = _RANGE_BITS // 8
_LAST = (1 << _RANGE_BITS) - 1
_TOP = _RANGE_BITS - 8
_LOW, _HIGH, _VALUE, _POSITION, _REGISTERS = range(5)
# An adaptive bit moves by 1/(n + 1.5) of the way at its n-th symbol, until n reaches a limit.
RECIPROCALS = np.array([int(65536 / (n + 1.5)) for n in range(1024)], np.int64)


def squashed(logit: int) -> int:
    """Rounds the probability of a logit, both in the coder's units."""
    return min(max(round(ONE / (1.0 + math.exp(-logit / LOGIT_SCALE))), 1), ONE - 1)


# The logistic function from -MOST_LOGIT to MOST_LOGIT. No value lies within 1e-5 of a rounding tie,
# so every machine computes the same table.
SQUASH = np.array([squashed(logit) for logit in range(-MOST_LOGIT, MOST_LOGIT + 1)], np.int32)
# The logit of a probability: how many entries of the other table lie below it.
_MIDDLES = (np.arange(ONE >> STRETCH_SHIFT, dtype=np.int32) << STRETCH_SHIFT) + 32
STRETCH = (np.searchsorted(SQUASH, _MIDDLES) - MOST_LOGIT).astype(np.int16)


class Coder(NamedTuple):
    """The state of a coder; compiled functions change its arrays in place.

    mode: `MEASURE`, `ENCODE` or `DECODE`.
    registers: `[4]` int64: both ends of the interval, the bits being decoded, the byte position.
    data: `[N]` uint8, written or read.
    length: `[1]` float64, the ideal length in bits of what was measured or encoded.
    """

    mode: int
    registers: np.ndarray
    data: np.ndarray
    length: np.ndarray


def measurer() -> Coder:
    """Returns a coder that only adds up the ideal length."""
    return _coder(MEASURE, np.empty(0, np.uint8))


def encoder(room_bytes: int) -> Coder:
    """Returns a coder that encodes up to so many bytes; memory pages are used as needed."""
    return _coder(ENCODE, np.empty(room_bytes, np.uint8))


def decoder(data: bytes) -> Coder:
    """Returns a coder that decodes what `written` returned."""
    coder = _coder(DECODE, np.frombuffer(data, np.uint8).copy())
    first = data[:_RANGE_BYTES].ljust(_RANGE_BYTES, b"\0")
    coder.registers[_VALUE], coder.registers[_POSITION] = int.from_bytes(first, "big"), _RANGE_BYTES
    return coder


def _coder(mode: int, data: np.ndarray) -> Coder:
    registers = np.zeros(_REGISTERS, np.int64)
    registers[_HIGH] = _LAST
    return Coder(mode, registers, data, np.zeros(1))


def room_bytes(symbols: int) -> int:
    """Returns the most bytes that so many bits can take, however unlikely they are."""
    return symbols * PROBABILITY_BITS // 8 + 16


def written(coder: Coder) -> tuple[bytes, float]:
    """Ends a stream with the fewest bytes that identify its last interval.

    A decoder reads zeros beyond the end.

    Returns:
        The stream and its ideal length in bits.
    """
    tail = b""
    low, high = int(coder.registers[_LOW]), int(coder.registers[_HIGH])
    for size in range(_RANGE_BYTES + 1):
        dropped_bits = _RANGE_BITS - 8 * size
        value = -(-low >> dropped_bits)  # Rounded up.
        if value << dropped_bits <= high:
            tail = value.to_bytes(size, "big")
            break
    return coder.data[: coder.registers[_POSITION]].tobytes() + tail, float(coder.length[0])


@compilation.compile_cached
def code_bit(coder, bit, probability):
    """Codes one bit.

    Args:
        coder: the coder.
        bit: the bit to code; ignored in decoding.
        probability: that the bit is set, in units of 1 / `ONE`.

    Returns:
        The bit.
    """
    mode, registers, data = coder.mode, coder.registers, coder.data
    if mode != DECODE:
        coder.length[0] -= np.log2((probability if bit else ONE - probability) / ONE)
        if mode == MEASURE:
            return bit
    low, high = registers[_LOW], registers[_HIGH]
    middle = low + ((high - low) >> PROBABILITY_BITS) * probability
    if mode == DECODE:
        bit = 1 if registers[_VALUE] <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> _TOP == 0:
        position = registers[_POSITION]
        registers[_POSITION] = position + 1
        if mode == ENCODE:
            data[position] = low >> _TOP
        else:
            following = np.int64(data[position]) if position < data.size else np.int64(0)
            registers[_VALUE] = ((registers[_VALUE] << 8) & _LAST) | following
        low = (low << 8) & _LAST
        high = ((high << 8) & _LAST) | 255
    registers[_LOW], registers[_HIGH] = low, high
    return bit


class AdaptiveBits(NamedTuple):
    """Probabilities that adapt to the bits coded with them, in place.

    probabilities: `[N]` integers, that a bit is set, in units of 1 / `ONE`.
    counts: `[N]` integers, how many bits each probability stands for.
    limit: the most that a count reaches: larger limits adapt more slowly.
    """

    probabilities: np.ndarray
    counts: np.ndarray
    limit: int


def adaptive_bits(number: int, limit: int) -> AdaptiveBits:
    """Returns so many adaptive bits, set with a probability of one half at first."""
    return AdaptiveBits(np.full(number, HALF, np.int64), np.zeros(number, np.int64), limit)


@compilation.inlined
def adapt(bits, at, bit):
    """Moves the adaptive probability at an index towards the bit that was coded with it."""
    probabilities, counts = bits.probabilities, bits.counts
    count = counts[at]
    goal = ONE - 1 if bit else 1
    step = ((goal - probabilities[at]) * RECIPROCALS[count]) >> 16
    probabilities[at] = min(max(probabilities[at] + step, 1), ONE - 1)
    if count < bits.limit:
        counts[at] = count + 1


@compilation.compile_cached
def code_adaptive_bit(coder, bit, bits, at):
    """Codes a bit with the adaptive probability at an index, which adapts; returns the bit."""
    bit = code_bit(coder, bit, bits.probabilities[at])
    adapt(bits, at, bit)
    return bit


@compilation.compile_cached
def code_natural(coder, value, bits, at, max_bits):
    """Codes an integer >= 0: the width of value + 1 in unary, then its bits.

    The unary bits and the bit after the leading one are adaptive.

    Args:
        coder: the coder.
        value: the integer to code; ignored in decoding.
        bits: adaptive bits, `2 * max_bits` of which are used.
        at: the first of them.
        max_bits: the most bits that value + 1 has.

    Returns:
        The integer.
    """
    width = 1
    while (value + 1) >> width > 0:
        width += 1
    coded = 1
    while coded < max_bits and code_adaptive_bit(
        coder, 1 if coded < width else 0, bits, at + coded
    ):
        coded += 1
    result = np.int64(1)
    for place in range(coded - 2, -1, -1):
        bit = ((value + 1) >> place) & 1
        if place == coded - 2:
            bit = code_adaptive_bit(coder, bit, bits, at + max_bits + coded - 1)
        else:
            bit = code_bit(coder, bit, HALF)
        result = 2 * result + bit
    return result - 1


@compilation.compile_cached
def code_integer(coder, value, bits, at, max_bits):
    """Codes an integer: its magnitude as `code_natural` does, then its sign as an even chance.

    Arguments and result are those of `code_natural`.
    """
    magnitude = code_natural(coder, abs(value), bits, at, max_bits)
    if magnitude == 0:
        return magnitude
    negative = code_bit(coder, 1 if value < 0 else 0, HALF)
    return -magnitude if negative else magnitude
