"""Adaptive pooling and bilinear resizing as products with small constant matrices.

`jax.image.resize` has no align-corners mode, and pooling with a fixed window is wrong if the bins
overlap (80 columns in 3 bins are 27, 28 and 27 wide).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.cache
def adaptive_average_matrix(size: int, bins: int) -> np.ndarray:
    """Returns the `[bins, size]` float32 matrix of PyTorch's AdaptiveAvgPool.

    Bin b averages the positions from floor(b * size / bins) to ceil((b + 1) * size / bins).
    """
    matrix = np.zeros((bins, size), np.float32)
    for index in range(bins):
        start, end = index * size // bins, -(-(index + 1) * size // bins)
        matrix[index, start:end] = 1.0 / (end - start)
    return matrix


@functools.cache
def align_corners_matrix(size: int, new_size: int) -> np.ndarray:
    """Returns the `[new_size, size]` float32 matrix of linear resizing with aligned corners."""
    ratio = np.float32((size - 1) / (new_size - 1)) if new_size > 1 else np.float32(0)
    return _linear_matrix(np.arange(new_size, dtype=np.float32) * ratio, size)


@functools.cache
def half_pixel_matrix(size: int, new_size: int) -> np.ndarray:
    """Returns the `[new_size, size]` float32 matrix of linear resizing between pixel centres.

    PyTorch's and OpenCV's rule without aligned corners: no smoothing when shrinking.
    """
    return _linear_matrix(np.maximum((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0), size)


@functools.cache
def stride_matrix(size: int, new_size: int) -> np.ndarray:
    """Returns the `[new_size, size]` float32 matrix of linear resizing that undoes a stride.

    A convolution with odd kernel, symmetric padding and stride s centres its output i on the input
    s * i, and so does this matrix; `align_corners` would shift values by up to s - 1 pixels at the
    far end. Beyond the last centre the value is repeated.
    """
    stride = -(-new_size // size)
    return _linear_matrix(np.arange(new_size) / stride, size)


def _linear_matrix(positions: np.ndarray, size: int) -> np.ndarray:
    """Returns the `[len(positions), size]` float32 matrix of linear interpolation."""
    matrix = np.zeros((len(positions), size), np.float32)
    for row, position in zip(matrix, positions, strict=True):
        low = min(int(position), size - 1)
        fraction = position - positions.dtype.type(low)
        row[low] += 1 - fraction
        row[min(low + 1, size - 1)] += fraction
    return matrix


@functools.cache
def antialiased_matrix(size: int, new_size: int) -> np.ndarray:
    """Returns the `[new_size, size]` float32 matrix of MATLAB's bilinear imresize.

    When shrinking, the triangle of linear interpolation is as wide as an output pixel. The image is
    mirrored at its borders.
    """
    matrix = np.zeros((new_size, size), np.float64)
    narrowing = min(new_size / size, 1.0)
    reach = int(np.ceil(1 / narrowing)) + 1
    for index in range(new_size):
        centre = (index + 0.5) * size / new_size - 0.5
        positions = int(np.floor(centre)) + np.arange(-reach, reach + 1)
        weights = np.maximum(1 - narrowing * np.abs(centre - positions), 0)
        inside = positions % (2 * size)  # 0 to size - 1, then back.
        np.add.at(matrix[index], np.minimum(inside, 2 * size - 1 - inside), weights / weights.sum())
    return matrix.astype(np.float32)


def matrix(size: int, new_size: int, *, align_corners: bool) -> np.ndarray:
    """Returns the `[new_size, size]` float32 matrix of linear resizing by either rule."""
    rule = align_corners_matrix if align_corners else half_pixel_matrix
    return rule(size, new_size)


def adaptive_average_pool(x: jax.Array, bins: int) -> jax.Array:
    """Averages `[B, H, W, C]` over `bins` x `bins` cells that cover it: `[B, bins, bins, C]`."""
    rows = adaptive_average_matrix(x.shape[1], bins)
    columns = adaptive_average_matrix(x.shape[2], bins)
    return _apply(rows, columns, x)


def resize(x: jax.Array, size: tuple[int, ...], *, align_corners: bool = True) -> jax.Array:
    """Resizes `[B, h, w, C]` bilinearly to (height, width) = `size`."""
    if x.shape[1:3] == size:
        return x
    rows, columns = (
        matrix(old, new, align_corners=align_corners)
        for old, new in zip(x.shape[1:3], size, strict=True)
    )
    return _apply(rows, columns, x)


def resize_antialiased(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Resizes `[B, h, w, C]` to (height, width) = `size` as MATLAB's bilinear imresize does."""
    rows, columns = (antialiased_matrix(*pair) for pair in zip(x.shape[1:3], size, strict=True))
    return _apply(rows, columns, x)


def enlarge(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Enlarges `[B, h, w, C]` to (height, width) = `size`, its size before a stride."""
    return _apply(stride_matrix(x.shape[1], size[0]), stride_matrix(x.shape[2], size[1]), x)


def pixel_unshuffle(x: jax.Array, factor: int) -> jax.Array:
    """Makes the pixels of `factor` x `factor` cells channels; repeats the border of broken cells.

    Maps `[B, H, W, C]` to `[B, ceil(H/factor), ceil(W/factor), factor * factor * C]`.
    """
    missing = [(0, -length % factor) for length in x.shape[1:3]]
    if any(after for _, after in missing):
        x = jnp.pad(x, ((0, 0), *missing, (0, 0)), mode="edge")
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // factor, width // factor, -1)


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """Makes the channels of a cell its pixels (Shi et al. 2016), the inverse of `pixel_unshuffle`.

    Maps `[B, h, w, factor * factor * C]` to `[B, factor * h, factor * w, C]`.
    """
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height, width, factor, factor, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height * factor, width * factor, -1)


def _apply(rows: np.ndarray, columns: np.ndarray, x: jax.Array) -> jax.Array:
    # Columns first when that is the smaller intermediate; highest precision keeps GPUs from
    # rounding the weights to TF32.
    precision = jax.lax.Precision.HIGHEST
    x = jnp.einsum("vw,bhwc->bhvc", jnp.asarray(columns, x.dtype), x, precision=precision)
    return jnp.einsum("uh,bhvc->buvc", jnp.asarray(rows, x.dtype), x, precision=precision)
