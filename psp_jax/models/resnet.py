"""ResNet (He et al. 2016, arXiv 1512.03385) with output stride 8, as PSPNet uses it.

Stages 3 and 4 keep their resolution and dilate by 2 and 4 instead (Yu & Koltun 2016), in every
block; the stem is three 3x3 convolutions; stride sits on the 3x3 of a bottleneck. These are the
choices of hszhao/semseg and of the Caffe PSPNet-101.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax import parts
from psp_jax.models.layers import BatchNorm, Convolution

# Blocks per stage and whether they are bottlenecks (He et al. 2016, table 1; 10 is the common
# name of 18 with one block a stage, quick to compile and to try things on).
DEPTHS = {
    10: ((1, 1, 1, 1), False),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
}
STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 2, 4)


class Stem(nn.Module):
    """Three 3x3 convolutions and a max pool."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, 3]` to `[B, H/4, W/4, 2 * width]`."""
        plan = ((self.width, 2), (self.width, 1), (2 * self.width, 1))
        for index, (features, stride) in enumerate(plan, start=1):
            x = Convolution(features, stride=stride, name=f"conv{index}")(x)
            x = nn.relu(BatchNorm(name=f"norm{index}")(x, train=train))  # [B, H/2, W/2, ...]
        # The initial value -inf makes the padding invisible, as in PyTorch.
        return jax.lax.reduce_window(
            x,
            -jnp.inf,
            jax.lax.max,
            window_dimensions=(1, 3, 3, 1),
            window_strides=(1, 2, 2, 1),
            padding=((0, 0), (1, 1), (1, 1), (0, 0)),
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (up to ResNet-34)."""

    features: int
    stride: int
    dilation: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, features]`."""
        y = Convolution(self.features, stride=self.stride, dilation=self.dilation, name="conv1")(x)
        y = nn.relu(BatchNorm(name="norm1")(y, train=train))
        y = Convolution(self.features, dilation=self.dilation, name="conv2")(y)
        y = BatchNorm(name="norm2")(y, train=train)
        return nn.relu(y + _shortcut(x, self.features, self.stride, train))


class BottleneckBlock(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut (ResNet-50 and deeper)."""

    features: int
    stride: int
    dilation: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, features]`."""
        inner = self.features // 4
        y = Convolution(inner, size=1, name="conv1")(x)
        y = nn.relu(BatchNorm(name="norm1")(y, train=train))
        y = Convolution(inner, stride=self.stride, dilation=self.dilation, name="conv2")(y)
        y = nn.relu(BatchNorm(name="norm2")(y, train=train))
        y = Convolution(self.features, size=1, name="conv3")(y)
        y = BatchNorm(name="norm3")(y, train=train)
        return nn.relu(y + _shortcut(x, self.features, self.stride, train))


class Stage(nn.Module):
    """Blocks of one resolution; the first changes the stride and the number of channels."""

    blocks: int
    features: int
    stride: int
    dilation: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, features]`."""
        block = BottleneckBlock if self.bottleneck else BasicBlock
        for index in range(self.blocks):
            stride = self.stride if index == 0 else 1
            x = block(self.features, stride, self.dilation, name=f"block{index + 1}")(
                x, train=train
            )
        return x


class ResNet(nn.Module):
    """Trunk of 10, 18, 34, 50 or 101 layers.

    Attributes:
        depth: one of `DEPTHS`.
        width: channels of the first stage's 3x3 convolutions; 64 in the paper.
    """

    depth: int
    width: int = 64

    @nn.compact
    def __call__(self, image: jax.Array, *, train: Sequence[str] = ()) -> jax.Array:
        """Maps `[B, H, W, 3]` to `[B, H/8, W/8, C]`; C = 8 * width, or 32 * width from 50 on.

        `train` names the parts in train mode: `stem`, `stage1` to `stage4`, or "" for all.
        """
        blocks, bottleneck = DEPTHS[self.depth]
        on = [bool(parts.inside(train, name)) for name in ("stem", *_STAGES)]
        x = Stem(self.width, name="stem")(image, train=on[0])  # [B, H/4, W/4, 2 * width]
        for index, name in enumerate(_STAGES):
            features = self.width * 2**index * (4 if bottleneck else 1)
            stage = Stage(
                blocks[index], features, STRIDES[index], DILATIONS[index], bottleneck, name=name
            )
            x = stage(x, train=on[index + 1])  # H/4 in stage 1, H/8 from stage 2 on
        return x


_STAGES = ("stage1", "stage2", "stage3", "stage4")


def _shortcut(x: jax.Array, features: int, stride: int, train: bool) -> jax.Array:
    if x.shape[-1] == features and stride == 1:
        return x
    x = Convolution(features, size=1, stride=stride, name="shortcut_conv")(x)
    return BatchNorm(name="shortcut_norm")(x, train=train)
