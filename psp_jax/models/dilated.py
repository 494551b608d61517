"""Dilated convolution (Yu & Koltun 2016) with the kernel's gradient in phases.

XLA for GPUs takes the gradient of a dilated kernel for a convolution with a kernel of the size of
the map: 20 times as long as the forward convolution (`python -m benchmarks.gpu`, H200, jax 0.11).
"""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Convolves `[B, H, W, C_in]` with `[k, k, C_in, C_out]`, k odd, to `[B, H, W, C_out]`."""
    return _convolve(x, kernel, dilation)


def _convolve(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    side = kernel.shape[0] // 2 * dilation
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=[(side, side), (side, side)],
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _forward(
    x: jax.Array, kernel: jax.Array, dilation: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, dilation), (x, kernel)


def _backward(
    dilation: int, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    of_x = jax.linear_transpose(lambda x: _convolve(x, kernel, dilation), x)
    in_phases = phases(x, dilation)
    of_kernel = jax.linear_transpose(lambda kernel: _convolve(in_phases, kernel, 1), kernel)
    return *of_x(gradient), *of_kernel(phases(gradient, dilation))


convolve.defvjp(_forward, _backward)


def phases(x: jax.Array, dilation: int) -> jax.Array:
    """Takes every `dilation`-th row and column, once from each start, as images of their own.

    A convolution dilated by as much is a plain one of each of them. Zeros complete the last ones.
    Maps `[B, H, W, C]` to `[dilation^2 * B, ceil(H/dilation), ceil(W/dilation), C]`.
    """
    batch, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, -height % dilation), (0, -width % dilation), (0, 0)))
    x = x.reshape(batch, -1, dilation, x.shape[2] // dilation, dilation, channels)
    x = x.transpose(2, 4, 0, 1, 3, 5)
    return x.reshape(dilation * dilation * batch, *x.shape[3:])
