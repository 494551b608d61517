"""ResNet (He et al. 2016, arXiv 1512.03385) with output stride 8, as PSPNet uses it.

Stages 3 and 4 keep their resolution and dilate by 2 and 4 instead (Yu & Koltun 2016).
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.models import parts
from psp_jax.models.architecture import IMAGENET_MEAN, IMAGENET_STD, Architecture, ChannelOrder
from psp_jax.models.layers import BatchNorm, Convolution
from psp_jax.models.precision import Remat

# Blocks per stage and whether they are bottlenecks (He et al. 2016, table 1; 10 is the common
# name of 18 with one block a stage, quick to compile and to try things on).
DEPTHS = {
    10: ((1, 1, 1, 1), False),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 2, 4)
STAGES = ("stage1", "stage2", "stage3", "stage4")


class Stem(nn.Module):
    """The first convolutions."""

    width: int
    architecture: Architecture

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, 3]` to `[B, H/2, W/2, C]`."""
        for index, plan in enumerate(self.architecture.stem, start=1):
            features = round(plan.widths * self.width)
            x = Convolution(features, size=plan.size, stride=plan.stride, name=f"conv{index}")(x)
            x = nn.relu(
                _norm(self.architecture, f"norm{index}")(x, train=train)
            )  # [B, H/2, W/2, C]
        return x


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (up to ResNet-34)."""

    features: int
    stride: int
    dilation: int
    architecture: Architecture

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, features]`."""
        y = Convolution(self.features, stride=self.stride, dilation=self.dilation, name="conv1")(x)
        y = nn.relu(_norm(self.architecture, "norm1")(y, train=train))
        y = Convolution(self.features, dilation=self.dilation, name="conv2")(y)
        y = _norm(self.architecture, "norm2")(y, train=train)
        return nn.relu(y + _shortcut(x, self.features, self.stride, self.architecture, train))


class BottleneckBlock(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut (ResNet-50 and deeper)."""

    features: int
    stride: int
    dilation: int
    architecture: Architecture

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, features]`."""
        inner = self.features // 4
        first, second = (self.stride, 1) if self.architecture.stride_on_reduce else (1, self.stride)
        y = Convolution(inner, size=1, stride=first, name="conv1")(x)
        y = nn.relu(_norm(self.architecture, "norm1")(y, train=train))
        y = Convolution(inner, stride=second, dilation=self.dilation, name="conv2")(y)
        y = nn.relu(_norm(self.architecture, "norm2")(y, train=train))
        y = Convolution(self.features, size=1, name="conv3")(y)
        y = _norm(self.architecture, "norm3")(y, train=train)
        return nn.relu(y + _shortcut(x, self.features, self.stride, self.architecture, train))


class Stage(nn.Module):
    """Blocks of one resolution; the first changes the stride and the number of channels."""

    blocks: int
    features: int
    stride: int
    dilation: int
    bottleneck: bool
    architecture: Architecture
    remat: Remat

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, features]`."""
        block = BottleneckBlock if self.bottleneck else BasicBlock
        for index in range(self.blocks):
            stride, dilation = (self.stride, self.dilation) if index == 0 else (1, self.dilation)
            if index == 0 and self.architecture.contracted_dilation:
                dilation = max(self.dilation // 2, 1)
            layer = block(
                self.features, stride, dilation, self.architecture, name=f"block{index + 1}"
            )
            x = self.remat.apply(functools.partial(_call, train=train), layer, x)
        return x


class ResNet(nn.Module):
    """Trunk of 10 to 152 layers.

    Attributes:
        depth: one of `DEPTHS`.
        width: channels of the first stage's 3x3 convolutions; 64 in the paper.
        architecture: the choices that weights do not show.
        remat: what the stem and the blocks keep for the gradient.
    """

    depth: int
    width: int = 64
    architecture: Architecture = Architecture()
    remat: Remat = Remat.NONE

    @nn.compact
    def __call__(self, image: jax.Array, *, train: Sequence[str] = ()) -> dict[str, jax.Array]:
        """Maps an image to what the stem, before its pooling, and every stage make of it.

        Args:
            image: `[B, H, W, 3]` float32, ImageNet-normalised RGB.
            train: parts in train mode: `stem`, `stage1` to `stage4`, or "" for all.

        Returns:
            `stem` `[B, H/2, W/2, C]`, `stage1` `[B, H/4, W/4, C]`, `stage2` to `stage4`
            `[B, H/8, W/8, C]`; C is 8 * width in the last, or 32 * width from 50 layers on.
        """
        blocks, bottleneck = DEPTHS[self.depth]
        on = [bool(parts.inside(train, name)) for name in ("stem", *STAGES)]
        stem = Stem(self.width, self.architecture, name="stem")
        image = adapt(image, self.architecture)
        x = self.remat.apply(functools.partial(_call, train=on[0]), stem, image)
        features = {"stem": x}
        x = max_pool(x, ceil=self.architecture.ceil_pool)  # [B, H/4, W/4, C]
        for index, name in enumerate(STAGES):
            stage = Stage(
                blocks=blocks[index],
                features=self.width * 2**index * (4 if bottleneck else 1),
                stride=STRIDES[index],
                dilation=DILATIONS[index],
                bottleneck=bottleneck,
                architecture=self.architecture,
                remat=self.remat,
                name=name,
            )
            x = stage(x, train=on[index + 1])  # H/4 in stage 1, H/8 from stage 2 on
            features[name] = x
        return features


def adapt(image: jax.Array, architecture: Architecture) -> jax.Array:
    """Turns ImageNet-normalised RGB into the colours that the architecture's weights were made for.

    Channels after the third, such as depth, pass as they are; so does everything where the weights
    want ImageNet-normalised RGB, or where there are fewer channels than colours.
    """
    wanted = (architecture.channel_order, architecture.mean, architecture.std)
    if wanted == (ChannelOrder.RGB, IMAGENET_MEAN, IMAGENET_STD) or image.shape[-1] < 3:
        return image
    factor = np.array(IMAGENET_STD) / architecture.std
    offset = (np.array(IMAGENET_MEAN) - architecture.mean) / architecture.std
    colours = image[..., :3] * factor.astype(image.dtype) + offset.astype(image.dtype)
    if architecture.channel_order == ChannelOrder.BGR:
        colours = colours[..., ::-1]
    return jnp.concatenate([colours, image[..., 3:]], axis=-1)


def _call(block: nn.Module, x: jax.Array, *, train: bool) -> jax.Array:
    layer: Any = block
    return layer(x, train=train)


def _norm(architecture: Architecture, name: str) -> BatchNorm:
    return BatchNorm(epsilon=architecture.epsilon, momentum=architecture.momentum, name=name)


def _shortcut(
    x: jax.Array, features: int, stride: int, architecture: Architecture, train: bool
) -> jax.Array:
    if x.shape[-1] == features and stride == 1:
        return x
    x = Convolution(features, size=1, stride=stride, name="shortcut_conv")(x)
    return _norm(architecture, "shortcut_norm")(x, train=train)


def max_pool(x: jax.Array, *, ceil: bool) -> jax.Array:
    """Takes the maximum of 3x3 windows, stride 2, padded by one invisible pixel (-inf)."""
    # Rounding up adds a row or column where the last window would start inside the image.
    far = [2 if ceil and size % 2 == 0 else 1 for size in x.shape[1:3]]
    return jax.lax.reduce_window(
        x,
        -jnp.inf,
        jax.lax.max,
        window_dimensions=(1, 3, 3, 1),
        window_strides=(1, 2, 2, 1),
        padding=((0, 0), (1, far[0]), (1, far[1]), (0, 0)),
    )
