"""Exact adaptive pooling and bilinear resizing, both as small constant matrices.

`jax.image.resize` has no align-corners mode and pooling with a fixed window is wrong where the
bins overlap (80 columns in 3 bins are 27, 28 and 27 wide), so both are written as products.
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
    matrix = np.zeros((new_size, size), np.float32)
    ratio = np.float32((size - 1) / (new_size - 1)) if new_size > 1 else np.float32(0)
    for index in range(new_size):
        position = np.float32(index) * ratio
        low = min(int(position), size - 1)
        high = min(low + 1, size - 1)
        fraction = position - np.float32(low)
        matrix[index, low] += 1 - fraction
        matrix[index, high] += fraction
    return matrix


@functools.cache
def half_pixel_matrix(size: int, new_size: int) -> np.ndarray:
    """Returns the `[new_size, size]` float32 matrix of linear resizing between pixel centres.

    PyTorch's and OpenCV's rule without aligned corners: no smoothing when shrinking.
    """
    matrix = np.zeros((new_size, size), np.float32)
    for index in range(new_size):
        position = max((index + 0.5) * size / new_size - 0.5, 0.0)
        low = min(int(position), size - 1)
        high = min(low + 1, size - 1)
        matrix[index, low] += 1 - (position - low)
        matrix[index, high] += position - low
    return matrix


@functools.cache
def antialiased_matrix(size: int, new_size: int) -> np.ndarray:
    """Returns the `[new_size, size]` float32 matrix of MATLAB's bilinear imresize.

    When shrinking, the triangle of linear interpolation grows as wide as an output pixel; beyond
    its borders the image is mirrored.
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


@functools.cache
def stride_matrix(size: int, new_size: int) -> np.ndarray:
    """Returns the `[new_size, size]` float32 matrix of linear resizing back over a stride.

    A convolution with odd kernel, symmetric padding and stride s centres its output i on the input
    s * i, and so lie the values here, which `align_corners` would move by up to s - 1 pixels at the
    far end; beyond the last centre its value is repeated.
    """
    stride = -(-new_size // size)
    matrix = np.zeros((new_size, size), np.float32)
    for index in range(new_size):
        low = min(index // stride, size - 1)
        high = min(low + 1, size - 1)
        fraction = index / stride - index // stride
        matrix[index, low] += 1 - fraction
        matrix[index, high] += fraction
    return matrix


def enlarge(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Enlarges `[B, h, w, C]` to the (height, width) = `size` that a stride has reduced it from."""
    return _apply(stride_matrix(x.shape[1], size[0]), stride_matrix(x.shape[2], size[1]), x)


def _apply(rows: np.ndarray, columns: np.ndarray, x: jax.Array) -> jax.Array:
    # Columns first when that is the smaller intermediate; highest precision keeps GPUs from
    # rounding the weights to TF32.
    precision = jax.lax.Precision.HIGHEST
    x = jnp.einsum("vw,bhwc->bhvc", jnp.asarray(columns, x.dtype), x, precision=precision)
    return jnp.einsum("uh,bhvc->buvc", jnp.asarray(rows, x.dtype), x, precision=precision)
