"""Convolution and batch norm as PyTorch and Caffe compute them."""

import flax.linen as nn
import jax
import jax.numpy as jnp

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")  # He et al. 2015


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
        if self.size == 1:
            # As a matrix product: XLA's gradient of a 1x1 convolution is several times slower.
            x = x[:, :: self.stride, :: self.stride] @ kernel[0, 0]
        else:
            padding = (self.size - 1) // 2 * self.dilation
            x = jax.lax.conv_general_dilated(
                x,
                kernel,
                window_strides=(self.stride, self.stride),
                padding=((padding, padding), (padding, padding)),
                rhs_dilation=(self.dilation, self.dilation),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        if self.bias:
            x = x + self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        return x


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) with PyTorch's running statistics.

    The running variance is the unbiased one; Flax's own layer keeps the biased one, which differs
    by 30 % at a 1x1 map with batch 2. In train mode a single value per channel is refused: it
    would normalise to zero whatever it is.

    Attributes:
        epsilon: added to the variance.
        kept: share of the running statistics kept each step; 1 - PyTorch's momentum.
    """

    epsilon: float = 1e-5
    kept: float = 0.9

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
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))  # At least float32.
        batch_mean = wide.mean((0, 1, 2))
        batch_variance = jnp.square(wide - batch_mean).mean((0, 1, 2))
        if not self.is_initializing():
            unbiased = batch_variance * (count / (count - 1))
            mean.value = self.kept * mean.value + (1 - self.kept) * batch_mean
            variance.value = self.kept * variance.value + (1 - self.kept) * unbiased
        return self._normalise(x, batch_mean, batch_variance, scale, bias)

    def _normalise(self, x, mean, variance, scale, bias):
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(x.dtype)
