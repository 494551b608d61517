"""Convolution and batch norm as PyTorch and Caffe compute them."""

import functools
import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.models import precision, resampling

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")  # He et al. 2015
# From how many multiplications a tap on the gradient of a kernel is faster as one matrix product a
# tap on CPU: up to twice as fast for 512 channels at 30x40, half as fast for 64 at 60x80.
PRODUCTS_FROM = 100_000_000
EXACT = jax.lax.Precision.HIGHEST  # Keeps GPUs from rounding resizing weights to TF32.


class Convolution(nn.Module):
    """2-D convolution with explicit symmetric padding: kernel `[k, k, C_in, features]`.

    Padding is (k - 1) / 2 times the dilation on every side, never "SAME": with stride 2 and an
    even size "SAME" pads one side only and shifts the result.
    """

    features: int
    size: int = 3
    stride: int = 1
    dilation: int = 1
    bias: bool = False
    kernel_init: nn.initializers.Initializer = KERNEL_INIT

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C_in]` to `[B, ceil(H/stride), ceil(W/stride), features]`."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(x.dtype)
        x = precision.named(convolve(x, kernel, stride=self.stride, dilation=self.dilation))
        if self.bias:
            x = x + self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        return x


class PyramidConvolution(nn.Module):
    """3x3 convolution of a map and its pyramid: the kernel sees both, `[3, 3, C_in, features]`.

    The branches are not resized to the map first. Resizing is linear, and so is the convolution:
    the kernel's nine taps are applied to a branch's few cells, and what they make of them is
    spread over the map. At 30x40 that spares 49 % of the products, forward and backward.

    Attributes:
        features: output channels.
        align_corners: how the branches are spread over the map.
    """

    features: int
    align_corners: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, branches: Sequence[jax.Array]) -> jax.Array:
        """Maps `[B, H, W, C]` and branches of `[B, bins, bins, C']` to `[B, H, W, features]`."""
        widths = [x.shape[-1], *(branch.shape[-1] for branch in branches)]
        shape = (3, 3, sum(widths), self.features)
        kernel = self.param("kernel", KERNEL_INIT, shape).astype(x.dtype)
        own, *kernels = jnp.split(kernel, np.cumsum(widths[:-1]), axis=2)
        rows, columns = [], []
        for branch, part in zip(branches, kernels, strict=True):
            taps = _apply_taps(branch, part)  # [B, 3, 3, bins, bins, features]
            size, bins = x.shape[1:3], branch.shape[1]
            down, across = (self._spreading(bins, length) for length in size)
            rows.append(down.reshape(size[0], -1))  # [H, 3 * bins]
            spread = jnp.einsum("vxq,byxpqf->bypvf", across.astype(x.dtype), taps, precision=EXACT)
            columns.append(spread.reshape(-1, 3 * bins, size[1], self.features))
        matrix = np.concatenate(rows, axis=1).astype(x.dtype)
        pyramid = jnp.einsum("uk,bkvf->buvf", matrix, jnp.concatenate(columns, 1), precision=EXACT)
        return precision.named(convolve(x, own) + pyramid)

    def _spreading(self, bins: int, length: int) -> np.ndarray:
        """Returns the resizing matrix as each of three taps sees it: `[length, 3, bins]`."""
        matrix = resampling.matrix(bins, length, align_corners=self.align_corners)
        padded = np.pad(matrix, ((1, 1), (0, 0)))
        return np.stack([padded[tap : tap + length] for tap in range(3)], axis=1)


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1) -> jax.Array:
    """Convolves `[B, H, W, C_in]` with `[k, k, C_in, C_out]`, padding both sides alike.

    The fastest ways on CPU that we measured (benchmarks/pspnet.py), gradients included.
    """
    if kernel.shape[0] == 1:
        # As a product of two matrices: XLA's gradient of a 1x1 convolution is several times slower,
        # and that of a product with more axes up to a half.
        seen = x[:, ::stride, ::stride]
        return (seen.reshape(-1, seen.shape[-1]) @ kernel[0, 0]).reshape(*seen.shape[:-1], -1)
    if stride == 1 and x.size * kernel.shape[3] >= PRODUCTS_FROM:
        return _convolve_widely(x, kernel, dilation)
    return _convolve(x, kernel, stride, dilation)


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    padding = (kernel.shape[0] - 1) // 2 * dilation
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_widely(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    return _convolve(x, kernel, 1, dilation)


def _convolve_widely_forward(x, kernel, dilation):
    return _convolve(x, kernel, 1, dilation), (x, kernel)


def _convolve_widely_backward(dilation, residuals, gradient):
    def as_xla_does(x, kernel, gradient):
        _, back = jax.vjp(lambda x, kernel: _convolve(x, kernel, 1, dilation), x, kernel)
        return back(gradient)

    def as_products(x, kernel, gradient):
        return _gradients_by_tap(x, kernel, gradient, dilation)

    # Chosen when it is compiled: one of them alone is in the program.
    return jax.lax.platform_dependent(*residuals, gradient, cpu=as_products, default=as_xla_does)


_convolve_widely.defvjp(_convolve_widely_forward, _convolve_widely_backward)


def _gradients_by_tap(
    x: jax.Array, kernel: jax.Array, gradient: jax.Array, dilation: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of map and kernel, of two matrix products a tap."""
    size = kernel.shape[0]
    padding = (size - 1) // 2 * dilation
    padded = jnp.pad(gradient, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = x.shape[1:3]
    of_map, of_taps = jnp.zeros_like(x), []
    for row, column in itertools.product(range(size), repeat=2):
        top, left = (size - 1 - row) * dilation, (size - 1 - column) * dilation
        seen = padded[:, top : top + height, left : left + width]  # What this tap made of x.
        of_map += seen @ kernel[row, column].T
        of_taps.append(jnp.einsum("byxi,byxo->io", x, seen))
    return of_map, jnp.stack(of_taps).reshape(kernel.shape)


def _apply_taps(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies every cell of `[B, h, w, C]` with every tap: `[B, 3, 3, h, w, features]`."""
    cells = jnp.broadcast_to(x.reshape(-1, x.shape[-1]), (9, x.size // x.shape[-1], x.shape[-1]))
    # One product a tap; as a single one, the kernel would be laid out anew.
    taps = cells @ kernel.reshape(9, *kernel.shape[2:])
    taps = taps.reshape(3, 3, *x.shape[:3], kernel.shape[-1])
    return jnp.moveaxis(taps, 2, 0)


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) with PyTorch's running statistics.

    The running variance is the unbiased one; Flax's own layer keeps the biased one, which differs
    by 30 % at a 1x1 map with batch 2. In train mode a single value per channel is refused: it
    would normalise to zero whatever it is.

    Attributes:
        epsilon: added to the variance.
        momentum: share of the running statistics kept each step; 1 - PyTorch's momentum.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises `[B, H, W, C]` per channel, by its own statistics if `train`."""
        features = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), jnp.float32)
        variance = self.variable("batch_stats", "var", jnp.ones, (features,), jnp.float32)
        if not train:
            return self._normalise(x, mean.value, variance.value, scale, bias)
        count = x.size // features
        if count == 1:
            raise ValueError(
                f"batch norm {'/'.join(self.path)} sees one value per channel (batch 1 at a 1x1 "
                "map) and cannot train; use a batch of at least 2 or leave its part out of "
                "phase.train"
            )
        wide = precision.at_least_float32(x)
        batch_mean = wide.mean((0, 1, 2))
        batch_variance = jnp.square(wide - batch_mean).mean((0, 1, 2))
        if not self.is_initializing():
            unbiased = batch_variance * (count / (count - 1))
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            variance.value = self.momentum * variance.value + (1 - self.momentum) * unbiased
        return self._normalise(x, batch_mean, batch_variance, scale, bias)

    def _normalise(self, x, mean, variance, scale, bias):
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(x.dtype)
