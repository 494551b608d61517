"""Depth as one smooth patch of inverse depth per region: constant, planar or quadratic.

A patch is a sum of up to six functions of the offset (x, y) from the region's middle: 1, x, y,
x^2 - its mean, x y - its mean, y^2 - its mean. Their coefficients are whole multiples of steps
that make an error of half a step cost about the same whichever coefficient has it: the common step
divided by the root of the function's sum of squares over the region. The decoder knows the
partition, so it knows the steps. They are powers of 2 and inverse depth is a whole number of
2^-40 per metre, so that every machine decodes the same depth.

The number of coefficients is chosen per region by rate and distortion. They are coded as
differences from what the best known neighbour (the longest common frontier) says: either its
whole patch goes on, or its value at the frontier does.
"""

import math

import numpy as np

from psp_jax.codec import arithmetic
from psp_jax.partition import compilation

FRACTION_BITS = 40
ONE_PER_M = 1 << FRACTION_BITS
MM_PER_M = 1000
FUNCTIONS = 6
# Coefficients of a constant, a plane and a quadratic patch.
SIZES = np.array([1, 3, 6])
# Of squared error that a bit is worth, in squared steps: -dD/dR of a fine uniform quantiser.
TRADE_PER_SQUARED_STEP = math.log(2) / 6
_MOST = 2.0**60  # No term of a patch is larger, so that sums stay within 64 bits.
_MOST_BITS = 50
_MODELS = 2 * _MOST_BITS  # Adaptive bits of one kind of coefficient.
_ORDERS = 3 * _MODELS  # Where those of orders and neighbours begin.
_LIMIT = 60
# Columns of a region's shape.
_FIRST, _PIXELS, _X, _Y, _XX, _XY, _YY, _NEIGHBOUR, _AT_X, _AT_Y, _FIELDS = range(11)


def inverse_depth(depth_mm: np.ndarray) -> np.ndarray:
    """Converts `[H, W]` uint16 millimetres, none of them 0, to whole 2^-40 per metre, int64."""
    depth = depth_mm.astype(np.int64)
    return (MM_PER_M * ONE_PER_M + depth // 2) // depth


def depth_mm(inverse: np.ndarray) -> np.ndarray:
    """Converts whole 2^-40 per metre to `[H, W]` uint16 millimetres, at least 1."""
    depth = (MM_PER_M * ONE_PER_M + inverse // 2) // np.maximum(inverse, 1)
    return np.clip(depth, 1, 65535).astype(np.uint16)


def fit(
    labels: np.ndarray, inverse: np.ndarray, known: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fits the patches of all regions.

    Args:
        labels: `[H, W]` int32, contiguous from 0 in the order of first pixels.
        inverse: `[H, W]` int64 in 2^-40 per metre.
        known: `[H, W]` bool, the pixels that count; in a region without any, all do.
        step: logarithm to base 2 of the squared common step, in (1/m)^2.

    Returns:
        `[R]` int64 orders, 0 to 2, and `[R, 6]` int64 coefficients.
    """
    pixels, shapes = _shapes(labels)
    shifts, extents = _steps(labels.shape[1], pixels, shapes, step)
    return _fit(
        pixels, shapes, shifts, extents, inverse.reshape(-1), known.reshape(-1), labels.shape[1],
        TRADE_PER_SQUARED_STEP * 2.0**step,
    )  # fmt: skip


def encode(
    labels: np.ndarray, orders: np.ndarray, coefficients: np.ndarray, step: int, start: int
) -> tuple[bytes, float]:
    """Codes patches; returns the stream and its ideal length in bits.

    Args:
        labels, step: as of `fit`.
        orders, coefficients: what it returned.
        start: inverse depth, in 2^-40 per metre, that the first region is compared with.
    """
    pixels, shapes = _shapes(labels)
    shifts, extents = _steps(labels.shape[1], pixels, shapes, step)
    # Measured first, since nothing else bounds the room that it takes.
    data, length = np.empty(0, np.uint8), np.zeros(1)
    for mode in (arithmetic.MEASURE, arithmetic.ENCODE):
        state, length = arithmetic.coder(mode), np.zeros(1)
        _code(state, data, length, shapes, shifts, extents, orders, coefficients, start)
        if mode == arithmetic.MEASURE:
            data = np.empty(int(length[0] / 8 * 1.01) + 64, np.uint8)
    return arithmetic.written(state, data), float(length[0])


def decode(data: bytes, labels: np.ndarray, step: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Decodes patches; arguments and result as of `encode` and `fit`.

    Raises:
        ValueError: if a coefficient is absurd.
    """
    state, length = arithmetic.coder(arithmetic.DECODE), np.zeros(1)
    pixels, shapes = _shapes(labels)
    shifts, extents = _steps(labels.shape[1], pixels, shapes, step)
    orders = np.zeros(len(shapes), np.int64)
    coefficients = np.zeros((len(shapes), FUNCTIONS), np.int64)
    readable = arithmetic.readable(data)
    if not _code(state, readable, length, shapes, shifts, extents, orders, coefficients, start):
        raise ValueError("a patch that reaches beyond all depths: the stream is damaged")
    return orders, coefficients


def render(
    labels: np.ndarray, coefficients: np.ndarray, step: int, least: int, most: int
) -> np.ndarray:
    """Evaluates the patches at every pixel.

    Args:
        labels, coefficients, step: as of `encode`.
        least, most: inverse depth is kept between them, in 2^-40 per metre.

    Returns:
        `[H, W]` int64 in 2^-40 per metre.
    """
    pixels, shapes = _shapes(labels)
    shifts, _ = _steps(labels.shape[1], pixels, shapes, step)
    inverse = np.empty(labels.size, np.int64)
    _render(inverse, pixels, shapes, coefficients << shifts, labels.shape[1], least, most)
    return inverse.reshape(labels.shape)


def _shapes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lists the pixels of region after region, and what the decoder knows of every region."""
    return _describe(np.ascontiguousarray(labels, np.int32), int(labels.max()) + 1)


@compilation.compile_cached
def _describe(labels, regions):
    height, width = labels.shape
    shapes = np.zeros((regions, _FIELDS), np.int64)
    for row in range(height):
        for column in range(width):
            shapes[labels[row, column], _PIXELS] += 1
    total = 0
    for region in range(regions):
        shapes[region, _FIRST] = total
        total += shapes[region, _PIXELS]
    pixels = np.empty(labels.size, np.int64)
    filled = shapes[:, _FIRST].copy()
    for row in range(height):
        for column in range(width):
            region = labels[row, column]
            pixels[filled[region]] = row * width + column
            filled[region] += 1
            shapes[region, _X] += column
            shapes[region, _Y] += row
    hits = np.zeros(regions, np.int64)
    at_x, at_y = np.zeros(regions, np.int64), np.zeros(regions, np.int64)
    for region in range(regions):
        shape = shapes[region]
        count = shape[_PIXELS]
        shape[_X] = (shape[_X] + count // 2) // count
        shape[_Y] = (shape[_Y] + count // 2) // count
        shape[_NEIGHBOUR] = -1
        most = 0
        for place in range(shape[_FIRST], shape[_FIRST] + count):
            row, column = pixels[place] // width, pixels[place] % width
            x, y = column - shape[_X], row - shape[_Y]
            shape[_XX] += x * x
            shape[_XY] += x * y
            shape[_YY] += y * y
            for side in range(4):
                r = row + (side == 0) - (side == 1)
                c = column + (side == 2) - (side == 3)
                if 0 <= r < height and 0 <= c < width and labels[r, c] < region:
                    hits[labels[r, c]] += 1
                    at_x[labels[r, c]] += c
                    at_y[labels[r, c]] += r
        for place in range(shape[_FIRST], shape[_FIRST] + count):
            row, column = pixels[place] // width, pixels[place] % width
            for side in range(4):
                r = row + (side == 0) - (side == 1)
                c = column + (side == 2) - (side == 3)
                if 0 <= r < height and 0 <= c < width and hits[labels[r, c]] > 0:
                    other = labels[r, c]
                    if hits[other] > most:
                        most = hits[other]
                        shape[_NEIGHBOUR] = other
                        shape[_AT_X] = at_x[other] // most
                        shape[_AT_Y] = at_y[other] // most
                    hits[other], at_x[other], at_y[other] = 0, 0, 0
        shape[_XX] //= count
        shape[_XY] //= count
        shape[_YY] //= count
    return pixels, shapes


@compilation.compile_cached
def _functions(x, y, shape, values):
    """Evaluates the six functions at an offset from a region's middle."""
    values[0] = 1
    values[1] = x
    values[2] = y
    values[3] = x * x - shape[_XX]
    values[4] = x * y - shape[_XY]
    values[5] = y * y - shape[_YY]


@compilation.compile_cached
def _steps(width, pixels, shapes, step):
    """Finds every coefficient's step as a shift, -1 where a function is 0, and its extent."""
    regions = shapes.shape[0]
    shifts = np.zeros((regions, FUNCTIONS), np.int64)
    extents = np.zeros((regions, FUNCTIONS))
    squares, values = np.empty(FUNCTIONS), np.empty(FUNCTIONS, np.int64)
    for region in range(regions):
        shape = shapes[region]
        squares[:] = 0
        for place in range(shape[_FIRST], shape[_FIRST] + shape[_PIXELS]):
            x, y = pixels[place] % width - shape[_X], pixels[place] // width - shape[_Y]
            _functions(x, y, shape, values)
            for function in range(FUNCTIONS):
                value = np.float64(values[function])
                squares[function] += value * value
                extents[region, function] = max(extents[region, function], abs(value))
        for function in range(FUNCTIONS):
            if squares[function] > 0:
                exponent = math.frexp(squares[function])[1] - 1
                shifts[region, function] = max((step + 2 * FRACTION_BITS - exponent) >> 1, 0)
    return shifts, extents


@compilation.compile_cached
def _fit(pixels, shapes, shifts, extents, inverse, known, width, trade):
    regions = shapes.shape[0]
    orders = np.zeros(regions, np.int64)
    chosen = np.zeros((regions, FUNCTIONS), np.int64)
    values = np.empty(FUNCTIONS, np.int64)
    scale = 1.0 / ONE_PER_M
    for region in range(regions):
        shape = shapes[region]
        normal = np.zeros((FUNCTIONS, FUNCTIONS))
        right = np.zeros(FUNCTIONS)
        # A multiple of the constant's step, so that it can be added again without rounding.
        base = (inverse[pixels[shape[_FIRST]]] >> shifts[region, 0]) << shifts[region, 0]
        energy = 0.0
        counted = 0
        for place in range(shape[_FIRST], shape[_FIRST] + shape[_PIXELS]):
            counted += known[pixels[place]]
        for place in range(shape[_FIRST], shape[_FIRST] + shape[_PIXELS]):
            pixel = pixels[place]
            if counted > 0 and not known[pixel]:
                continue
            x, y = pixel % width - shape[_X], pixel // width - shape[_Y]
            _functions(x, y, shape, values)
            q = (inverse[pixel] - base) * scale
            energy += q * q
            for i in range(FUNCTIONS):
                right[i] += values[i] * q
                for j in range(i + 1):
                    normal[i, j] += np.float64(values[i]) * values[j]
        for i in range(FUNCTIONS):
            for j in range(i):
                normal[j, i] = normal[i, j]
        best = np.inf
        for order in range(SIZES.size):
            used = SIZES[order]
            if used > shape[_PIXELS]:
                break
            coefficients, fits = _quantised(normal, right, used, shifts[region], extents[region])
            if not fits:
                continue
            # The error of these multiples of the steps, from the sums alone.
            error, bits = energy, 0.0
            for i in range(used):
                step_i = 2.0 ** (shifts[region, i] - FRACTION_BITS)
                error -= 2 * coefficients[i] * step_i * right[i]
                for j in range(used):
                    step_j = 2.0 ** (shifts[region, j] - FRACTION_BITS)
                    error += coefficients[i] * step_i * normal[i, j] * coefficients[j] * step_j
                bits += 1.5 + 1.5 * np.log2(1.0 + abs(np.float64(coefficients[i])))
            if error + trade * bits < best:
                best = error + trade * bits
                orders[region] = order
                chosen[region] = coefficients
        chosen[region, 0] += base >> shifts[region, 0]
    return orders, chosen


@compilation.compile_cached
def _quantised(normal, right, used, shifts, extents):
    """Solves for coefficients from the last to the first, each rounded before the others follow.

    Returns them with False where one would leave 64 bits.
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
        solution = np.linalg.solve(matrix, left[:size])
        step = 2.0 ** (shifts[last] - FRACTION_BITS)
        rounded = np.rint(solution[last] / step)
        if not abs(rounded) * 2.0 ** shifts[last] * max(extents[last], 1.0) < _MOST / 16:
            return coefficients, False
        coefficients[last] = np.int64(rounded)
        for i in range(size):
            left[i] -= normal[i, last] * rounded * step
    return coefficients, True


@compilation.compile_cached
def _code(state, data, length, shapes, shifts, extents, orders, coefficients, start):
    """Codes all patches, or decodes them into `orders` and `coefficients`.

    Returns False where a decoded coefficient would leave 64 bits.
    """
    decoding = state[0] == arithmetic.DECODE
    if decoding:
        arithmetic.start(state, data)
    probabilities = np.full(_ORDERS + 16, arithmetic.HALF, np.int64)
    counts = np.zeros(_ORDERS + 16, np.int64)
    guess = np.zeros((2, FUNCTIONS), np.int64)
    values = np.zeros(FUNCTIONS, np.int64)
    for region in range(shapes.shape[0]):
        shape = shapes[region]
        other = shape[_NEIGHBOUR]
        guess[:] = 0
        guess[:, 0] = start
        if other >= 0:
            _continue(guess, shape, shapes[other], coefficients[other] << shifts[other], values)
        for way in range(2):
            for function in range(FUNCTIONS):
                shift = shifts[region, function]
                guess[way, function] = (guess[way, function] + ((1 << shift) >> 1)) >> shift
        order = orders[region]
        known = orders[other] if other >= 0 else 3
        larger = arithmetic.code_adaptive_bit(
            state, data, length, 1 if order > 0 else 0, probabilities, counts,
            _ORDERS + known, _LIMIT,
        )  # fmt: skip
        if larger:
            larger += arithmetic.code_adaptive_bit(
                state, data, length, 1 if order > 1 else 0, probabilities, counts,
                _ORDERS + 4 + known, _LIMIT,
            )  # fmt: skip
        order = larger
        orders[region] = order
        way = 0
        if other >= 0:
            costs = np.zeros(2)
            for i in range(SIZES[order]):
                for j in range(2):
                    costs[j] += np.log2(1.0 + abs(coefficients[region, i] - guess[j, i]))
            way = arithmetic.code_adaptive_bit(
                state, data, length, 1 if costs[1] < costs[0] else 0, probabilities, counts,
                _ORDERS + 8 + order, _LIMIT,
            )  # fmt: skip
        for function in range(SIZES[order]):
            if extents[region, function] == 0:
                coefficients[region, function] = 0
                continue
            kind = 0 if function == 0 else (1 if function < 3 else 2)
            value = guess[way, function] + arithmetic.code_integer(
                state, data, length, coefficients[region, function] - guess[way, function],
                probabilities, counts, kind * _MODELS, _LIMIT, _MOST_BITS,
            )  # fmt: skip
            size = abs(np.float64(value)) * 2.0 ** shifts[region, function]
            if not size * max(extents[region, function], 1.0) < _MOST / 8:
                return False
            coefficients[region, function] = value
    return True


@compilation.compile_cached
def _continue(guess, shape, known, patch, values):
    """Guesses a patch from a neighbour's: its value at the frontier, or all of it going on."""
    x, y = shape[_AT_X] - known[_X], shape[_AT_Y] - known[_Y]
    _functions(x, y, known, values)
    guess[0, 0] = _sum(patch, values, FUNCTIONS)
    _functions(shape[_X] - known[_X], shape[_Y] - known[_Y], known, values)
    guess[1, 0] = _sum(patch, values, 3)
    guess[1, 1], guess[1, 2] = patch[1], patch[2]


@compilation.compile_cached
def _sum(patch, values, functions):
    """Adds up the terms of a patch; where that is no inverse depth, its constant alone."""
    total = np.int64(0)
    for function in range(functions):
        if abs(np.float64(patch[function]) * np.float64(values[function])) > _MOST:
            total = np.int64(-1)
            break
        total += patch[function] * values[function]
    if not 0 <= total <= MM_PER_M * ONE_PER_M:
        total = min(max(patch[0], np.int64(0)), np.int64(MM_PER_M * ONE_PER_M))
    return total


@compilation.compile_cached
def _render(inverse, pixels, shapes, patches, width, least, most):
    for region in range(shapes.shape[0]):
        shape, patch = shapes[region], patches[region]
        for place in range(shape[_FIRST], shape[_FIRST] + shape[_PIXELS]):
            pixel = pixels[place]
            x, y = pixel % width - shape[_X], pixel // width - shape[_Y]
            value = patch[0] + patch[1] * x + patch[2] * y
            value += patch[3] * (x * x - shape[_XX])
            value += patch[4] * (x * y - shape[_XY])
            value += patch[5] * (y * y - shape[_YY])
            inverse[pixel] = min(max(value, least), most)
