"""ResNet (He et al. 2016, arXiv 1512.03385) with output stride 8, as PSPNet uses it.

Stages 3 and 4 keep their resolution and dilate by 2 and 4 instead (Yu & Koltun 2016).
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax

from psp_jax.io import ranges
from psp_jax.models import max_pooling, parts
from psp_jax.models.architecture import Architecture
from psp_jax.models.layers import Convolution, batch_norm
from psp_jax.models.precision import Remat
from psp_jax.models.trunk import adapt

# Blocks per stage and whether they are bottlenecks (He et al. 2016, table 1). 10 is the common name
# of 18 with one block per stage; it compiles quickly.
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
            x = nn.relu(batch_norm(self.architecture, f"norm{index}")(x, train=train))
        return x  # [B, H/2, W/2, C]


class Block(nn.Module):
    """Convolutions and a shortcut: two of 3x3, or 1x1, 3x3 and 1x1 (from ResNet-50 on)."""

    features: int
    stride: int
    dilation: int
    bottleneck: bool
    architecture: Architecture

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, features]`."""
        features, stride, dilation = self.features, self.stride, self.dilation
        if self.bottleneck:
            inner = features // 4
            first, second = (stride, 1) if self.architecture.stride_on_reduce else (1, stride)
            plan = ((inner, 1, first, 1), (inner, 3, second, dilation), (features, 1, 1, 1))
        else:
            plan = ((features, 3, stride, dilation), (features, 3, 1, dilation))
        y = x
        for index, convolution in enumerate(plan, start=1):
            y = nn.relu(y) if index > 1 else y
            y = Convolution(*convolution, name=f"conv{index}")(y)
            y = batch_norm(self.architecture, f"norm{index}")(y, train=train)
        if x.shape[-1] != features or stride != 1:
            x = Convolution(features, size=1, stride=stride, name="shortcut_conv")(x)
            x = batch_norm(self.architecture, "shortcut_norm")(x, train=train)
        return nn.relu(y + x)


class Stage(nn.Module):
    """Blocks of one resolution; the first changes the resolution and the number of channels."""

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
        for index in range(self.blocks):
            stride, dilation = (self.stride, self.dilation) if index == 0 else (1, self.dilation)
            if index == 0 and self.architecture.contracted_dilation:
                dilation = max(self.dilation // 2, 1)
            block = Block(
                self.features,
                stride,
                dilation,
                self.bottleneck,
                self.architecture,
                name=f"block{index + 1}",
            )
            x = self.remat.apply(block, x, train=train)
        return x


class ResNetTrunk(nn.Module):
    """ResNet of 10 to 152 layers; see `trunk.TrunkModule`.

    Attributes:
        layers: one of `DEPTHS`.
        width: channels of the first stage's 3x3 convolutions; 64 in the paper.
        architecture: the architecture variant.
        remat: what the stem and the blocks keep for the gradient.
    """

    STRIDES: ClassVar[dict[str, int]] = {
        "stem": 2,
        "stage1": 4,
        "stage2": 8,
        "stage3": 8,
        "stage4": 8,
    }

    layers: int
    width: int = ranges.number(64, least=1)
    architecture: Architecture = Architecture()
    remat: Remat = Remat.NONE

    @property
    def head_features(self) -> int:
        """Channels of the head of a PSPNet: 512 at the published width."""
        return 8 * self.width

    @nn.compact
    def __call__(self, image: jax.Array, *, train: Sequence[str] = ()) -> dict[str, jax.Array]:
        """Computes the outputs of the stem, before its pooling, and of every stage.

        Args:
            image: `[B, H, W, 3]` float32, ImageNet-normalised RGB.
            train: parts in train mode: `stem`, `stage1` to `stage4`, or "" for all.

        Returns:
            `stem` `[B, H/2, W/2, C]`, `stage1` `[B, H/4, W/4, C]`, `stage2` to `stage4`
            `[B, H/8, W/8, C]`; C is 8 * width in the last, or 32 * width from 50 layers on.
        """
        blocks, bottleneck = DEPTHS[self.layers]
        trained = [bool(parts.inside(train, name)) for name in ("stem", *STAGES)]
        stem = Stem(self.width, self.architecture, name="stem")
        image = adapt(image, self.architecture)
        x = self.remat.apply(stem, image, train=trained[0])
        features = {"stem": x}
        x = max_pooling.max_pool(x, ceil=self.architecture.ceil_pool)  # [B, H/4, W/4, C]
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
            x = stage(x, train=trained[index + 1])  # H/4 in stage 1, H/8 from stage 2
            features[name] = x
        return features


@dataclasses.dataclass
class ResNet:
    """A ResNet with output stride 8, as a field of a config.

    Attributes:
        layers: 10, 18, 34, 50, 101 or 152.
        width: channels of the first stage, 64 as published; all others scale with it.
    """

    layers: int = 50
    width: int = ranges.number(64, least=1)

    def make(self, architecture: Architecture, remat: Remat) -> ResNetTrunk:
        """Builds the module.

        Raises:
            ValueError: if a field has a value that no network can have.
        """
        if self.layers not in DEPTHS:
            known = ", ".join(map(str, DEPTHS))
            raise ValueError(f"model.trunk.layers={self.layers}: expected one of {known}")
        return ResNetTrunk(self.layers, self.width, architecture, remat)
