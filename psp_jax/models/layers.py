"""Convolution and batch norm as PyTorch and Caffe compute them."""

import enum
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.models import dilated, precision, resampling
from psp_jax.models.architecture import Architecture

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")  # He et al. 2015
# Outputs near 0 at first: with He's rule a single output channel would start far from it.
CLASSIFIER_INIT = nn.initializers.normal(0.01)
EXACT = jax.lax.Precision.HIGHEST  # Keeps GPUs from rounding resizing weights to TF32.


class Padding(enum.Enum):
    """Zeros around the input of a convolution; each gives ceil(size / stride) outputs.

    `SYMMETRIC` is PyTorch's and Caffe's: (k - 1) / 2 times the dilation on every side. `SAME` is
    TensorFlow's: with stride 2 and an even size it pads one side less and shifts the result.
    """

    SYMMETRIC = "symmetric"
    SAME = "same"

    def sides(self, length: int, size: int, stride: int, dilation: int) -> tuple[int, int]:
        """Returns the zeros before and after `length` rows or columns."""
        reach = (size - 1) * dilation
        if self == Padding.SYMMETRIC:
            return reach // 2, reach // 2
        total = max((-(-length // stride) - 1) * stride + reach + 1 - length, 0)
        return total // 2, total - total // 2


class Convolution(nn.Module):
    """2-D convolution: kernel `[k, k, C_in, features]`."""

    features: int
    size: int = 3
    stride: int = 1
    dilation: int = 1
    bias: bool = False
    kernel_init: nn.initializers.Initializer = KERNEL_INIT
    padding: Padding = Padding.SYMMETRIC

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C_in]` to `[B, ceil(H/stride), ceil(W/stride), features]`."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(x.dtype)
        x = convolve(x, kernel, stride=self.stride, dilation=self.dilation, padding=self.padding)
        x = precision.name_for_remat(x)
        if self.bias:
            x = x + self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        return x


def classifier(
    channels: int, name: str = "classifier", kernel_init: nn.initializers.Initializer | None = None
) -> Convolution:
    """Makes a 1x1 convolution with bias, the last layer of a network."""
    init = kernel_init or CLASSIFIER_INIT
    return Convolution(channels, size=1, bias=True, kernel_init=init, name=name)


def convolution_settings(
    network: nn.Module, image: jax.ShapeDtypeStruct
) -> dict[str, tuple[int, int, int]]:
    """Returns size, stride and dilation of every `Convolution` of a network by its path."""
    settings = {}

    def record(call, args, kwargs, context):
        module = context.module
        if isinstance(module, Convolution) and context.method_name == "__call__":
            settings["/".join(module.path)] = (module.size, module.stride, module.dilation)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(network.init, jax.random.key(0), image)
    return settings


class PyramidConvolution(nn.Module):
    """3x3 convolution of a map concatenated with its pyramid: kernel `[3, 3, C_in, features]`.

    The pyramid is not resized to the map first. Resizing and convolution are linear, so the nine
    taps of the kernel are applied to the few cells of a branch, and the products are resized and
    added. At 30x40 this saves 49 % of the multiplications, forward and backward.

    Attributes:
        features: output channels.
        align_corners: whether the branches are resized to the map with aligned corners.
    """

    features: int
    align_corners: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, branches: Sequence[jax.Array]) -> jax.Array:
        """Maps `[B, H, W, C]` and branches of `[B, bins, bins, C']` to `[B, H, W, features]`."""
        widths = [x.shape[-1], *(branch.shape[-1] for branch in branches)]
        shape = (3, 3, sum(widths), self.features)
        kernel = self.param("kernel", KERNEL_INIT, shape).astype(x.dtype)
        map_kernel, *branch_kernels = jnp.split(kernel, np.cumsum(widths[:-1]), axis=2)
        height, width = x.shape[1:3]
        rows, columns = [], []
        for branch, branch_kernel in zip(branches, branch_kernels, strict=True):
            taps = _apply_taps(branch, branch_kernel)  # [B, 3, 3, bins, bins, features]
            bins = branch.shape[1]
            rows.append(self._resizing_by_tap(bins, height).reshape(height, -1))  # [H, 3 * bins]
            across = self._resizing_by_tap(bins, width).astype(x.dtype)
            wide = jnp.einsum("vxq,byxpqf->bypvf", across, taps, precision=EXACT)
            columns.append(wide.reshape(-1, 3 * bins, width, self.features))
        matrix = np.concatenate(rows, axis=1).astype(x.dtype)
        pyramid = jnp.einsum("uk,bkvf->buvf", matrix, jnp.concatenate(columns, 1), precision=EXACT)
        return precision.name_for_remat(convolve(x, map_kernel) + pyramid)

    def _resizing_by_tap(self, bins: int, length: int) -> np.ndarray:
        """Returns the resizing matrix shifted for each of the three taps: `[length, 3, bins]`."""
        matrix = resampling.matrix(bins, length, align_corners=self.align_corners)
        padded = np.pad(matrix, ((1, 1), (0, 0)))
        return np.stack([padded[tap : tap + length] for tap in range(3)], axis=1)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: Padding = Padding.SYMMETRIC,
) -> jax.Array:
    """Convolves `[B, H, W, C_in]` with `[k, k, C_in, C_out]`."""
    if kernel.shape[0] == 1:
        # A product of two matrices: XLA's gradient of a 1x1 convolution takes several times as
        # long, and that of a product with more axes up to 1.5 times.
        strided = x[:, ::stride, ::stride]
        if stride > 1:  # XLA aborts where it fuses this into the product (openxla/xla#47381).
            strided = jax.lax.optimization_barrier(strided)
        flat = strided.reshape(-1, strided.shape[-1])
        return (flat @ kernel[0, 0]).reshape(*strided.shape[:-1], -1)
    if dilation > 1 and stride == 1:  # Then the paddings are equal.
        return dilated.convolve(x, kernel, dilation)
    size = kernel.shape[0]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[padding.sides(length, size, stride, dilation) for length in x.shape[1:3]],
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _apply_taps(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies every cell of `[B, h, w, C]` with every tap: `[B, 3, 3, h, w, features]`."""
    cells = jnp.broadcast_to(x.reshape(-1, x.shape[-1]), (9, x.size // x.shape[-1], x.shape[-1]))
    # One product per tap; a single product of all taps would first transpose the kernel.
    taps = cells @ kernel.reshape(9, *kernel.shape[2:])
    taps = taps.reshape(3, 3, *x.shape[:3], kernel.shape[-1])
    return jnp.moveaxis(taps, 2, 0)


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) with PyTorch's running statistics.

    The running variance is the unbiased one. Flax's own layer keeps the biased one, which differs
    by 30 % at a 1x1 map with batch 2. In train mode a single value per channel is refused, because
    it would always be normalised to zero.

    Attributes:
        epsilon: added to the variance.
        momentum: share of the running statistics that a step keeps; 1 - PyTorch's momentum.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises `[B, H, W, C]` per channel, with the statistics of `x` if `train`."""
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
                f"batch norm {'/'.join(self.path)} got one value per channel (batch 1 at a 1x1 "
                "map) and can't train; use a batch of at least 2, or remove its part from the "
                "train of the phase"
            )
        # Both moments in one pass over `x`, about one of its pixels: about 0 they would lose the
        # digits of a variance that is small beside the mean.
        wide = precision.at_least_float32(x)
        pixel = jax.lax.stop_gradient(wide[0, x.shape[1] // 2, x.shape[2] // 2])
        shifted = wide - pixel
        first, second = shifted.mean((0, 1, 2)), jnp.square(shifted).mean((0, 1, 2))
        batch_mean = pixel + first
        batch_variance = jnp.maximum(second - jnp.square(first), 0)
        if not self.is_initializing():
            unbiased = batch_variance * (count / (count - 1))
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            variance.value = self.momentum * variance.value + (1 - self.momentum) * unbiased
        return self._normalise(x, batch_mean, batch_variance, scale, bias)

    def _normalise(self, x, mean, variance, scale, bias):
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(x.dtype)


def batch_norm(architecture: Architecture, name: str) -> BatchNorm:
    """Makes the batch norm of an architecture variant."""
    return BatchNorm(epsilon=architecture.epsilon, momentum=architecture.momentum, name=name)
