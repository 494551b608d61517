"""Depthwise convolution: every channel by itself."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax.models import precision
from psp_jax.models.layers import Padding

# He's rule with the inputs of a channel, since a depthwise kernel has one input channel.
DEPTHWISE_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


class DepthwiseConvolution(nn.Module):
    """2-D convolution of every channel by itself, padded as TensorFlow: kernel `[k, k, 1, C]`."""

    size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, ceil(H/stride), ceil(W/stride), C]`."""
        shape = (self.size, self.size, 1, x.shape[-1])
        kernel = self.param("kernel", DEPTHWISE_INIT, shape).astype(x.dtype)
        return precision.name_for_remat(convolve_channels(x, kernel, stride=self.stride))


def convolve_channels(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolves each channel of `[B, H, W, C]` with its own kernel, `[k, k, 1, C]`.

    A sum of shifted products, which XLA fuses: on CPU, its grouped convolutions are slow, most of
    all their gradients.
    """
    return _convolve_channels(x, kernel, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_channels(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return _sum_of_taps(_pad_same(x, len(kernel), stride), kernel, stride)


def _convolve_channels_forward(x, kernel, stride):
    return _convolve_channels(x, kernel, stride), (x, kernel)


def _convolve_channels_backward(stride, residuals, gradient):
    x, kernel = residuals
    size = len(kernel)
    # The map's gradient is a convolution, with the kernel turned, of the gradient with zeros
    # between its values.
    around = [(0, 0, 0)]
    for length, outputs in zip(x.shape[1:3], gradient.shape[1:3], strict=True):
        before, _ = Padding.SAME.sides(length, size, stride, 1)
        after = length + before - (stride * (outputs - 1) + 1)
        around.append((size - 1 - before, after, stride - 1))
    spread = jax.lax.pad(gradient, jnp.zeros((), gradient.dtype), [*around, (0, 0, 0)])
    map_gradient = _sum_of_taps(spread, kernel[::-1, ::-1], 1)
    padded = _pad_same(x, size, stride)
    return map_gradient, _gradient_of_taps(padded, gradient, size, stride)


_convolve_channels.defvjp(_convolve_channels_forward, _convolve_channels_backward)


def _pad_same(x: jax.Array, size: int, stride: int) -> jax.Array:
    sides = [Padding.SAME.sides(length, size, stride, 1) for length in x.shape[1:3]]
    return jnp.pad(x, ((0, 0), *sides, (0, 0)))


def _sum_of_taps(padded: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolves each channel of a padded map with its own kernel."""
    size = len(kernel)
    output = jnp.zeros((), jnp.float32)
    for row, column in itertools.product(range(size), repeat=2):
        bottom, right = padded.shape[1] - size + 1 + row, padded.shape[2] - size + 1 + column
        window = padded[:, row:bottom:stride, column:right:stride]
        output += precision.at_least_float32(window) * kernel[row, column, 0]
    return output.astype(padded.dtype)


def _gradient_of_taps(padded: jax.Array, gradient: jax.Array, size: int, stride: int) -> jax.Array:
    """Computes the gradient `[k, k, 1, C]` of the kernel of `_sum_of_taps`."""
    batch, height, width, channels = gradient.shape
    # Values that lie a stride apart become neighbours, so that a window is a block.
    extra = [(0, -length % stride) for length in padded.shape[1:3]]
    blocks = jnp.pad(padded, ((0, 0), *extra, (0, 0)))
    rows, columns = (length // stride for length in blocks.shape[1:3])
    blocks = blocks.reshape(batch, rows, stride, columns, stride, channels)
    blocks = blocks.transpose(2, 4, 0, 1, 3, 5)  # [stride, stride, B, rows, columns, C]

    def of_tap(index: jax.Array) -> jax.Array:
        row, column = index // size, index % size
        start = (row % stride, column % stride, 0, row // stride, column // stride, 0)
        window = jax.lax.dynamic_slice(blocks, start, (1, 1, *gradient.shape))[0, 0]
        return (precision.at_least_float32(window) * gradient).sum((0, 1, 2))

    # A loop: XLA for CPUs computes and compiles unrolled sums more slowly.
    gradients = jax.lax.map(of_tap, jnp.arange(size * size))
    return gradients.reshape(size, size, 1, channels).astype(padded.dtype)
