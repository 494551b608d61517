"""Max pooling whose gradient is computed by slices, since XLA's scatters it pixel by pixel."""

import jax
import jax.numpy as jnp
from flax import linen as nn

OFFSETS = range(3)  # Rows and columns of a window.


def max_pool(x: jax.Array, *, ceil: bool) -> jax.Array:
    """Takes the maximum of 3x3 windows, stride 2, with one pixel of padding (-inf).

    Args:
        x: `[B, H, W, C]` maps.
        ceil: whether the number of windows is rounded up, which adds a row or column where H or W
            is even.

    Returns:
        `[B, H', W', C]` maps, H' = ceil(H / 2), or floor(H / 2) + 1 with `ceil`; so for W'.
    """
    counts = [size // 2 + 1 if ceil else (size + 1) // 2 for size in x.shape[1:3]]
    rows, columns = ((1, 2 * n - size) for n, size in zip(counts, x.shape[1:3], strict=True))
    return _pool(jnp.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=-jnp.inf))


@jax.custom_vjp
def _pool(x: jax.Array) -> jax.Array:
    """Pools `[B, 2H + 1, 2W + 1, C]` maps."""
    return nn.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding="VALID")


def _forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = _pool(x)
    return y, (x, y)


def _backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array]:
    """Passes the gradient of a window to the first of its pixels that has the maximum."""
    x, y = saved
    height, width = y.shape[1:3]
    taken = jnp.zeros(y.shape, bool)
    rows = []
    for i in OFFSETS:
        columns = []
        for j in OFFSETS:
            pixel = x[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2]
            here = (pixel == y) & ~taken
            taken |= here
            columns.append(jnp.where(here, gradient, 0))
        rows.append(_overlap_add(columns, axis=2))
    return (_overlap_add(rows, axis=1),)


def _overlap_add(parts: list[jax.Array], axis: int) -> jax.Array:
    """Sums what windows of three, stride 2, give to 2 N + 1 places, where neighbours share one.

    Args:
        parts: N values for the first, second and third place of every window, along an axis.
        axis: the axis.
    """
    before, after = ([(0, 0)] * parts[0].ndim for _ in range(2))
    before[axis], after[axis] = (1, 0), (0, 1)
    shared = jnp.pad(parts[0], after) + jnp.pad(parts[2], before)
    count, shape = parts[1].shape[axis], list(parts[1].shape)
    shape[axis] *= 2
    first, last = jnp.split(shared, [count], axis)
    interleaved = jnp.stack([first, parts[1]], axis + 1).reshape(shape)
    return jnp.concatenate([interleaved, last], axis)


_pool.defvjp(_forward, _backward)
