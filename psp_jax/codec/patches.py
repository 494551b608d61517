"""Codes depth as one smooth patch of inverse depth per region: constant, planar or quadratic.

A patch is a sum of up to six functions of the offset (x, y) from the region's middle: 1, x, y,
x^2 - its mean, x y - its mean, y^2 - its mean. Their coefficients are integer multiples of steps
chosen such that half a step costs about the same squared error for every coefficient: the common
step divided by the root of the function's sum of squares over the region. The decoder knows the
partition, so it knows the steps. They are powers of 2 and inverse depth is an integer in units of
2^-40 per metre, so every machine decodes the same depth.

The number of coefficients is chosen per region by rate and distortion. They are coded as
differences from a prediction by the neighbour with the longest common frontier that is coded
already: either its patch is continued, or only its value at the frontier.
"""

import math

import numpy as np

from psp_jax.codec import arithmetic
from psp_jax.codec.region_shapes import FRACTION_BITS, FUNCTIONS, Regions, evaluate
from psp_jax.io.units import MM_PER_M
from psp_jax.partition import compilation

UNITS_PER_M = 1 << FRACTION_BITS  # Units of inverse depth in 1/m.
NEAREST = int(MM_PER_M) * UNITS_PER_M  # Inverse depth at 1 mm, in units.
# Coefficients of a constant, a plane and a quadratic patch: its order is 0, 1 or 2.
SIZES = np.array([1, 3, 6])
# Squared error that a bit is worth, in squared steps: -dD/dR of a fine uniform quantiser.
TRADE_PER_SQUARED_STEP = math.log(2) / 6
_MOST = 2.0**60  # No term of a patch is larger, so that sums stay within 64 bits.
_MAX_BITS = 50
_BITS_PER_KIND = 2 * _MAX_BITS  # Adaptive bits of one kind of coefficient.
_ORDERS = 3 * _BITS_PER_KIND  # Where those of orders and predictions begin.
_NO_ORDER = 3  # The context of a region without a coded neighbour.
_LIMIT = 60


def inverse_depth(depth_mm: np.ndarray) -> np.ndarray:
    """Converts `[H, W]` uint16 millimetres, none of them 0, to int64 inverse depth in units."""
    depth = depth_mm.astype(np.int64)
    return (NEAREST + depth // 2) // depth


def depth_mm(inverse: np.ndarray) -> np.ndarray:
    """Converts inverse depth in units to `[H, W]` uint16 millimetres, at least 1."""
    depth = (NEAREST + inverse // 2) // np.maximum(inverse, 1)
    return np.clip(depth, 1, 65535).astype(np.uint16)


def fit(
    regions: Regions, inverse: np.ndarray, known: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fits the patches of all regions.

    Args:
        regions: as from `region_shapes.describe`.
        inverse: `[H, W]` int64 inverse depth in units.
        known: `[H, W]` bool, the pixels that count; in a region without any, all do.
        step: see `region_shapes.describe`.

    Returns:
        `[R]` int64 orders, 0 to 2, and `[R, 6]` int64 coefficients.
    """
    trade = TRADE_PER_SQUARED_STEP * 2.0**step
    return _fit(regions, inverse.reshape(-1), known.reshape(-1), trade)


def encode(
    regions: Regions, orders: np.ndarray, coefficients: np.ndarray, start: int
) -> tuple[bytes, float]:
    """Codes patches; returns the stream and its ideal length in bits.

    Args:
        regions: as from `region_shapes.describe`.
        orders, coefficients: as from `fit`.
        start: inverse depth, in units, that the first region is predicted to have.
    """
    # Measured first, since nothing else bounds the room that it takes.
    coder = arithmetic.measurer()
    _code(coder, _adaptive_bits(), regions, orders, coefficients, start)
    coder = arithmetic.encoder(int(coder.length[0] / 8 * 1.01) + 64)
    _code(coder, _adaptive_bits(), regions, orders, coefficients, start)
    return arithmetic.written(coder)


def decode(data: bytes, regions: Regions, start: int) -> np.ndarray:
    """Decodes the coefficients of patches, `[R, 6]` int64; arguments: see `encode`.

    Raises:
        ValueError: if a coefficient is beyond all depths.
    """
    coder = arithmetic.decoder(data)
    orders = np.zeros(len(regions.x), np.int64)
    coefficients = np.zeros((len(regions.x), FUNCTIONS), np.int64)
    if not _code(coder, _adaptive_bits(), regions, orders, coefficients, start):
        raise ValueError("a patch that reaches beyond all depths: the stream is damaged")
    return coefficients


def _adaptive_bits() -> arithmetic.AdaptiveBits:
    return arithmetic.adaptive_bits(_ORDERS + 16, _LIMIT)


def render(
    regions: Regions, coefficients: np.ndarray, limits: tuple[int, int], shape: tuple[int, ...]
) -> np.ndarray:
    """Evaluates the patches at every pixel.

    Args:
        regions, coefficients: see `encode`.
        limits: the least and the largest inverse depth of the result, in units.
        shape: height and width.

    Returns:
        `[H, W]` int64 inverse depth in units.
    """
    inverse = np.empty(regions.pixels.size, np.int64)
    _render(inverse, regions, coefficients << regions.shifts, *limits)
    return inverse.reshape(shape)


@compilation.compile_cached
def _fit(regions, inverse, known, trade):
    number = regions.x.size
    orders = np.zeros(number, np.int64)
    chosen = np.zeros((number, FUNCTIONS), np.int64)
    for region in range(number):
        shifts, first = regions.shifts[region], regions.first[region]
        # A multiple of the constant's step, so that it can be added again without rounding.
        base = (inverse[regions.pixels[first]] >> shifts[0]) << shifts[0]
        normal, right, energy = _normal_equations(regions, region, inverse, known, base)
        best = np.inf
        for order in range(SIZES.size):
            used = SIZES[order]
            if used > regions.first[region + 1] - first:
                break
            coefficients, fits = _quantised(normal, right, used, shifts, regions.extents[region])
            if not fits:
                continue
            # The error of these multiples of the steps, from the sums alone.
            error, bits = energy, 0.0
            for i in range(used):
                step_i = 2.0 ** (shifts[i] - FRACTION_BITS)
                error -= 2 * coefficients[i] * step_i * right[i]
                for j in range(used):
                    step_j = 2.0 ** (shifts[j] - FRACTION_BITS)
                    error += coefficients[i] * step_i * normal[i, j] * coefficients[j] * step_j
                bits += 1.5 + 1.5 * np.log2(1.0 + abs(np.float64(coefficients[i])))
            if error + trade * bits < best:
                best = error + trade * bits
                orders[region] = order
                for i in range(FUNCTIONS):
                    chosen[region, i] = coefficients[i]
        chosen[region, 0] += base >> shifts[0]
    return orders, chosen


@compilation.compile_cached
def _normal_equations(regions, region, inverse, known, base):
    """Adds up the products of functions and inverse depth over a region's known pixels.

    Returns the matrix and the right-hand side of least squares, and the sum of squares of inverse
    depth, all of it relative to `base` and in 1/m.
    """
    pixels = regions.pixels[regions.first[region] : regions.first[region + 1]]
    normal, right, energy = np.zeros((FUNCTIONS, FUNCTIONS)), np.zeros(FUNCTIONS), 0.0
    values, scale = np.empty(FUNCTIONS, np.int64), 1.0 / UNITS_PER_M
    counted = 0
    for pixel in pixels:
        counted += known[pixel]
    for pixel in pixels:
        if counted > 0 and not known[pixel]:
            continue
        evaluate(regions, region, pixel % regions.width, pixel // regions.width, values)
        q = (inverse[pixel] - base) * scale
        energy += q * q
        for i in range(FUNCTIONS):
            right[i] += values[i] * q
            for j in range(i + 1):
                normal[i, j] += np.float64(values[i]) * values[j]
    for i in range(FUNCTIONS):
        for j in range(i):
            normal[j, i] = normal[i, j]
    return normal, right, energy


@compilation.compile_cached
def _quantised(normal, right, used, shifts, extents):
    """Solves for coefficients from the last to the first, each rounded before the others follow.

    Gaussian elimination leaves one unknown in the last equation; the matrix is positive definite,
    so pivoting is not needed. Returns them with False where one would leave 64 bits.
    """
    coefficients = np.zeros(FUNCTIONS, np.int64)
    left = right[:used].copy()
    for last in range(used - 1, -1, -1):
        if normal[last, last] <= 0:
            continue
        size = last + 1
        matrix = normal[:size, :size].copy()
        for i in range(size):
            matrix[i, i] += 1e-9 * matrix[i, i] + 1e-30
        reduced = left[:size].copy()
        for i in range(last):
            for j in range(i + 1, size):
                share = matrix[j, i] / matrix[i, i]
                reduced[j] -= share * reduced[i]
                for k in range(i, size):
                    matrix[j, k] -= share * matrix[i, k]
        step = 2.0 ** (shifts[last] - FRACTION_BITS)
        rounded = np.rint(reduced[last] / matrix[last, last] / step)
        if not abs(rounded) * 2.0 ** shifts[last] * max(extents[last], 1.0) < _MOST / 16:
            return coefficients, False
        coefficients[last] = np.int64(rounded)
        for i in range(size):
            left[i] -= normal[i, last] * rounded * step
    return coefficients, True


@compilation.compile_cached
def _code(coder, bits, regions, orders, coefficients, start):
    """Codes all patches, or decodes them into `orders` and `coefficients`.

    Returns False where a decoded coefficient would leave 64 bits.
    """
    predicted = np.zeros((2, FUNCTIONS), np.int64)
    for region in range(regions.x.size):
        other = regions.neighbour[region]
        _predict(predicted, regions, region, coefficients, start)
        context = _ORDERS + (orders[other] if other >= 0 else _NO_ORDER)
        order = arithmetic.code_adaptive_bit(coder, 1 if orders[region] > 0 else 0, bits, context)
        if order:
            larger = 1 if orders[region] > 1 else 0
            order += arithmetic.code_adaptive_bit(coder, larger, bits, context + 4)
        orders[region] = order
        way = 0
        if other >= 0:
            costs = np.zeros(2)
            for i in range(SIZES[order]):
                for j in range(2):
                    costs[j] += np.log2(1.0 + abs(coefficients[region, i] - predicted[j, i]))
            cheaper = 1 if costs[1] < costs[0] else 0
            way = arithmetic.code_adaptive_bit(coder, cheaper, bits, _ORDERS + 8 + order)
        for function in range(SIZES[order]):
            if regions.extents[region, function] == 0:
                coefficients[region, function] = 0
                continue
            kind = 0 if function == 0 else (1 if function < 3 else 2)
            expected = predicted[way, function]
            value = expected + arithmetic.code_integer(
                coder,
                coefficients[region, function] - expected,
                bits,
                kind * _BITS_PER_KIND,
                _MAX_BITS,
            )
            size = abs(np.float64(value)) * 2.0 ** regions.shifts[region, function]
            if not size * max(regions.extents[region, function], 1.0) < _MOST / 8:
                return False
            coefficients[region, function] = value
    return True


@compilation.compile_cached
def _predict(predicted, regions, region, coefficients, start):
    """Predicts the coefficients of a region in two ways, into `[2, 6]`.

    The first way continues the neighbour's value at the frontier, the second its whole patch.
    """
    predicted[:] = 0
    predicted[:, 0] = start
    other = regions.neighbour[region]
    if other >= 0:
        values = np.empty(FUNCTIONS, np.int64)
        patch = coefficients[other] << regions.shifts[other]
        evaluate(regions, other, regions.contact_x[region], regions.contact_y[region], values)
        predicted[0, 0] = _sum(patch, values, FUNCTIONS)
        evaluate(regions, other, regions.x[region], regions.y[region], values)
        predicted[1, 0] = _sum(patch, values, 3)
        predicted[1, 1], predicted[1, 2] = patch[1], patch[2]
    for way in range(2):
        for function in range(FUNCTIONS):
            shift = regions.shifts[region, function]
            predicted[way, function] = (predicted[way, function] + ((1 << shift) >> 1)) >> shift


@compilation.compile_cached
def _sum(patch, values, functions):
    """Adds up the terms of a patch; where that is no inverse depth, returns its constant alone."""
    total = np.int64(0)
    for function in range(functions):
        if abs(np.float64(patch[function]) * np.float64(values[function])) > _MOST:
            total = np.int64(-1)
            break
        total += patch[function] * values[function]
    if not 0 <= total <= NEAREST:
        total = min(max(patch[0], np.int64(0)), np.int64(NEAREST))
    return total


@compilation.compile_cached
def _render(inverse, regions, patches, least, most):
    values = np.empty(FUNCTIONS, np.int64)
    for region in range(regions.x.size):
        for pixel in regions.pixels[regions.first[region] : regions.first[region + 1]]:
            evaluate(regions, region, pixel % regions.width, pixel // regions.width, values)
            value = np.int64(0)
            for function in range(FUNCTIONS):
                value += patches[region, function] * values[function]
            inverse[pixel] = min(max(value, least), most)
