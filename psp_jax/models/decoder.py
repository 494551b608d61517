"""Decoders that bring the outputs of a PSPNet to the resolution of the image, or near it.

Outputs at 1/8 resolution, resized, cannot express frontiers one pixel wide: the best recover a
tenth of the frontier pixels. `SubPixel` is sub-pixel convolution (Shi et al. 2016, arXiv
1609.05158); `Skips` first refines the map as U-Net does (Ronneberger et al. 2015, arXiv
1505.04597); `FeaturePyramid` is a feature pyramid (Lin et al. 2017, arXiv 1612.03144) on a
pyramid-pooled map, as in UPerNet (Xiao et al. 2018, arXiv 1807.10221).
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax.io import ranges
from psp_jax.models import resampling
from psp_jax.models.architecture import Architecture, Modality
from psp_jax.models.layers import Convolution, batch_norm, classifier
from psp_jax.models.pspnet import PSPNet
from psp_jax.models.segmenter import Segmenter
from psp_jax.models.trunk import stages_by_stride


class Skips(nn.Module):
    """Enlarges the map of the head in two steps: the way up of a U-Net, and sub-pixel outputs.

    Each step concatenates a finer map and applies two convolutions: the last stages of strides 4
    and 2 (stage 1 and the stem of a ResNet), and with the latter the image, whose 2x2 pixels are
    channels of a cell. So are the outputs of 2x2 pixels: frontiers one pixel wide need no
    convolutions at full resolution, which took half of a training step on CPUs.
    """

    channels: int
    width: int
    architecture: Architecture
    strides: tuple[tuple[str, int], ...]

    @nn.compact
    def __call__(
        self, x: jax.Array, stages: dict[str, jax.Array], image: jax.Array, *, train: bool
    ) -> jax.Array:
        """Maps the head's `[B, h, w, C]` to `[B, H, W, channels]`."""
        names = stages_by_stride(dict(self.strides))
        coarse, fine = stages[names[4]], stages[names[2]]  # [B, H/4, W/4, C], [B, H/2, W/2, C]
        fine = jnp.concatenate([fine, resampling.pixel_unshuffle(image, 2)], axis=-1)
        skips = (names[4], coarse, 4 * self.width), (names[2], fine, 2 * self.width)
        for name, skip, width in skips:
            x = Convolution(width, size=1, name=f"project_{name}")(x)
            x = jnp.concatenate([resampling.enlarge(x, skip.shape[1:3]), skip], axis=-1)
            for index in (1, 2):
                x = self._convolved(f"refine_{name}{index}", x, width, train)
        x = resampling.pixel_shuffle(classifier(4 * self.channels)(x), 2)
        return x[:, : image.shape[1], : image.shape[2]]

    def _convolved(self, name: str, x: jax.Array, width: int, train: bool) -> jax.Array:
        return _convolve_and_norm(name, x, width, self.architecture, train)


class FeaturePyramid(nn.Module):
    """Adds ever finer maps of the trunk to the map of the head: the way down of an FPN.

    Every level resizes the map of the level before, adds a 1x1 convolution of its stage, and
    applies a 3x3 convolution, which UPerNet does only before its outputs. The last level also adds
    a 3x3 convolution of the image, resized to the outputs.

    Attributes:
        channels: outputs per cell.
        width: channels of every level.
        output_stride: rows and columns of the image per output; stages of smaller strides are not
            used.
        architecture: the architecture variant, for its batch norms.
        strides: name and stride of every stage of the trunk.
    """

    channels: int
    width: int
    output_stride: int
    architecture: Architecture
    strides: tuple[tuple[str, int], ...]

    @nn.compact
    def __call__(
        self, x: jax.Array, stages: dict[str, jax.Array], image: jax.Array, *, train: bool
    ) -> jax.Array:
        """Maps the head's `[B, h, w, C]` to `[B, ceil(H/s), ceil(W/s), channels]`, s the stride."""
        by_stride = stages_by_stride(dict(self.strides))
        *finer, coarsest = sorted(by_stride)
        x = Convolution(self.width, size=1, name=f"lateral_{by_stride[coarsest]}")(x)
        for stride in reversed([s for s in finer if s > self.output_stride]):
            name = by_stride[stride]
            x = self._add_stage(x, name, stages[name])
            x = self._convolved(f"refine_{name}", x, train)
        size = tuple(-(-length // self.output_stride) for length in image.shape[1:3])
        x = resampling.resize(x, size, align_corners=False)
        if self.output_stride in finer:
            name = by_stride[self.output_stride]
            x = self._add_stage(x, name, stages[name])
        small = resampling.resize_antialiased(image, size)
        x = x + self._convolved("see_image", small, train)
        return classifier(self.channels)(self._convolved("refine_image", x, train))

    def _add_stage(self, x: jax.Array, name: str, stage: jax.Array) -> jax.Array:
        lateral = Convolution(self.width, size=1, name=f"lateral_{name}")(stage)
        return resampling.resize(x, stage.shape[1:3], align_corners=False) + lateral

    def _convolved(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        return _convolve_and_norm(name, x, self.width, self.architecture, train)


def _convolve_and_norm(
    name: str, x: jax.Array, features: int, architecture: Architecture, train: bool
) -> jax.Array:
    """Applies a 3x3 convolution, batch norm and ReLU; the caller's layers get the names."""
    x = Convolution(features, name=name)(x)
    return nn.relu(batch_norm(architecture, f"norm_{name}")(x, train=train))


class SubPixel(nn.Module):
    """Computes the outputs of `factor` x `factor` pixels as channels of each cell of the head."""

    channels: int
    factor: int

    @nn.compact
    def __call__(
        self, x: jax.Array, stages: dict[str, jax.Array], image: jax.Array, *, train: bool
    ) -> jax.Array:
        """Maps the head's `[B, H/factor, W/factor, C]` to `[B, H, W, channels]`."""
        x = resampling.pixel_shuffle(classifier(self.channels * self.factor**2)(x), self.factor)
        return x[:, : image.shape[1], : image.shape[2]]


@dataclasses.dataclass
class FullResolution:
    """A PSPNet with a decoder in place of its classifier, as a field of a config.

    Attributes:
        segmenter: the PSPNet.
        decoder_width: channels per pixel of the decoder with skips; 0 selects outputs from the
            map of the head alone, by sub-pixel convolution.
    """

    segmenter: Segmenter = dataclasses.field(default_factory=Segmenter)
    decoder_width: int = ranges.number(32, least=0)

    def make(self, channels: int) -> PSPNet:
        """Builds the module with `channels` outputs per pixel.

        Raises:
            ValueError: if a field has a value that no network can have.
        """
        ranges.check(self, "model")
        coarse = _make_coarse(self.segmenter, channels)
        strides = tuple(coarse.trunk.STRIDES.items())
        if self.decoder_width:
            decoder = Skips(channels, self.decoder_width, coarse.architecture, strides)
        else:
            decoder = SubPixel(channels, factor=max(dict(strides).values()))
        return dataclasses.replace(coarse, decoder=decoder)


@dataclasses.dataclass
class TopDown:
    """A PSPNet with a `FeaturePyramid` in place of its classifier, as a field of a config.

    Attributes:
        segmenter: the PSPNet.
        width: channels of every level of the feature pyramid.
        output_stride: rows and columns of the image per output: 1, 2 or 4.
    """

    segmenter: Segmenter = dataclasses.field(default_factory=Segmenter)
    width: int = ranges.number(48, least=1)
    output_stride: int = 1

    def make(self, channels: int) -> PSPNet:
        """Builds the module with `channels` outputs per cell.

        Raises:
            ValueError: if a field has a value that no network can have.
        """
        ranges.check(self, "model")
        coarse = _make_coarse(self.segmenter, channels)
        if self.output_stride not in (1, 2, 4):
            raise ValueError(f"model.output_stride={self.output_stride}: expected 1, 2 or 4")
        strides = tuple(coarse.trunk.STRIDES.items())
        decoder = FeaturePyramid(
            channels, self.width, self.output_stride, coarse.architecture, strides
        )
        return dataclasses.replace(coarse, decoder=decoder)


def _make_coarse(segmenter: Segmenter, channels: int) -> PSPNet:
    """Builds the PSPNet that gets a decoder.

    Raises:
        ValueError: if it has layers that need coarse outputs, or other inputs than colour.
    """
    coarse = segmenter.make(channels)
    for field in ("auxiliary", "softmax"):
        if getattr(coarse, field):
            raise ValueError(
                f"model.segmenter.{field}=True: only a network with coarse outputs has it; "
                "set it to False"
            )
    if coarse.modality != Modality.RGB:
        raise ValueError(f"model.segmenter.modality={coarse.modality}: expected {Modality.RGB}")
    return coarse
