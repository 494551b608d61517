"""EfficientNet-Lite (Tan & Le 2019, arXiv 1905.11946, and TensorFlow's "lite" variants).

Deviations of the lite variants from the paper: no squeeze-and-excitation, ReLU6 instead of swish,
and neither the stem nor the numbers of blocks of the first and the last stage are scaled. There is
no stochastic depth here. Convolutions are padded as TensorFlow's "SAME", as the published weights
need.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax

from psp_jax.io import ranges
from psp_jax.models import parts
from psp_jax.models.architecture import EFFICIENTNET_LITE, Architecture
from psp_jax.models.depthwise import DepthwiseConvolution
from psp_jax.models.layers import Convolution, Padding, batch_norm
from psp_jax.models.precision import Remat
from psp_jax.models.trunk import adapt

STEM_FEATURES = 32
EXPANSION = 6  # Inner channels of a block per input channel; 1 in the first stage.
SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))  # Of channels and of blocks, by variant.
DIVISOR = 8  # Channels are rounded to a multiple of it.


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """A row of the paper's table 1.

    Attributes:
        blocks: number of blocks before scaling.
        size: rows and columns of the depthwise kernels.
        stride: pixels of the input per output.
        features: output channels before scaling.
    """

    blocks: int
    size: int
    stride: int
    features: int


STAGES = {
    "stage1": StagePlan(1, 3, 1, 16),
    "stage2": StagePlan(2, 3, 2, 24),
    "stage3": StagePlan(2, 5, 2, 40),
    "stage4": StagePlan(3, 3, 2, 80),
    "stage5": StagePlan(3, 5, 1, 112),
    "stage6": StagePlan(4, 5, 2, 192),
    "stage7": StagePlan(1, 3, 1, 320),
}


def scaled_features(features: int, variant: int) -> int:
    """Returns the channels of a stage of a variant, rounded by at most a tenth downwards."""
    scaled = features * SCALES[variant][0]
    rounded = max(DIVISOR, int(scaled + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * scaled else rounded


def scaled_blocks(name: str, variant: int) -> int:
    """Returns the number of blocks of a stage of a variant."""
    blocks = STAGES[name].blocks
    return blocks if name in ("stage1", "stage7") else math.ceil(blocks * SCALES[variant][1])


class Stem(nn.Module):
    """The first convolution."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, 3]` to `[B, H/2, W/2, 32]`."""
        x = Convolution(STEM_FEATURES, stride=2, padding=Padding.SAME, name="conv1")(x)
        return nn.relu6(batch_norm(EFFICIENTNET_LITE, "norm1")(x, train=train))


class Block(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise convolution, 1x1 projection, and a shortcut."""

    features: int
    size: int
    stride: int
    expansion: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, features]`."""
        y = x
        if self.expansion > 1:
            y = Convolution(self.expansion * x.shape[-1], size=1, name="expand")(y)
            y = nn.relu6(batch_norm(EFFICIENTNET_LITE, "norm_expand")(y, train=train))
        y = DepthwiseConvolution(self.size, self.stride, name="depthwise")(y)
        y = nn.relu6(batch_norm(EFFICIENTNET_LITE, "norm_depthwise")(y, train=train))
        y = Convolution(self.features, size=1, name="project")(y)
        y = batch_norm(EFFICIENTNET_LITE, "norm_project")(y, train=train)
        return x + y if x.shape == y.shape else y


class Stage(nn.Module):
    """Blocks of one resolution; the first changes the resolution and the number of channels."""

    blocks: int
    features: int
    size: int
    stride: int
    expansion: int
    remat: Remat

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, features]`."""
        for index in range(self.blocks):
            stride = self.stride if index == 0 else 1
            name = f"block{index + 1}"
            block = Block(self.features, self.size, stride, self.expansion, name=name)
            x = self.remat.apply(block, x, train=train)
        return x


class EfficientNetLiteTrunk(nn.Module):
    """EfficientNet-Lite without its classifier; see `trunk.TrunkModule`.

    Its stages 6 and 7 have stride 32: they are not dilated.

    Attributes:
        variant: 0, 1 or 2.
        remat: what the stem and the blocks keep for the gradient.
    """

    STRIDES: ClassVar[dict[str, int]] = {
        "stem": 2,
        "stage1": 2,
        "stage2": 4,
        "stage3": 8,
        "stage4": 16,
        "stage5": 16,
        "stage6": 32,
        "stage7": 32,
    }

    variant: int = ranges.number(0, least=0, most=len(SCALES) - 1)
    remat: Remat = Remat.NONE

    @property
    def head_features(self) -> int:
        """Channels of the head of a PSPNet."""
        return 256

    @nn.compact
    def __call__(self, image: jax.Array, *, train: Sequence[str] = ()) -> dict[str, jax.Array]:
        """Computes the outputs of the stem and of every stage.

        Args:
            image: `[B, H, W, 3]` float32, ImageNet-normalised RGB.
            train: parts in train mode: `stem`, `stage1` to `stage7`, or "" for all.

        Returns:
            `stem` and `stage1` `[B, H/2, W/2, C]`, `stage2` `[B, H/4, W/4, C]`, `stage3`
            `[B, H/8, W/8, C]`, `stage4` and `stage5` `[B, H/16, W/16, C]`, `stage6` and `stage7`
            `[B, H/32, W/32, C]`.
        """
        image = adapt(image, EFFICIENTNET_LITE)
        in_stem = bool(parts.inside(train, "stem"))
        x = self.remat.apply(Stem(name="stem"), image, train=in_stem)
        features = {"stem": x}
        for name, plan in STAGES.items():
            stage = Stage(
                blocks=scaled_blocks(name, self.variant),
                features=scaled_features(plan.features, self.variant),
                size=plan.size,
                stride=plan.stride,
                expansion=1 if name == "stage1" else EXPANSION,
                remat=self.remat,
                name=name,
            )
            x = features[name] = stage(x, train=bool(parts.inside(train, name)))
        return features


@dataclasses.dataclass
class EfficientNetLite:
    """An EfficientNet-Lite as a field of a config.

    Attributes:
        variant: 0, 1 or 2; larger ones have more blocks, and 2 has more channels.
    """

    variant: int = ranges.number(0, least=0, most=len(SCALES) - 1)

    def make(self, architecture: Architecture, remat: Remat) -> EfficientNetLiteTrunk:
        """Builds the module; the architecture variant changes only the layers after it."""
        del architecture
        return EfficientNetLiteTrunk(self.variant, remat)
