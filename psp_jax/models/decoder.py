"""PSPNet with outputs at the image's full size.

Outputs at 1/8 of the size, resized, can't express frontiers of one pixel, whatever they are taught
(the best of them find a tenth of the frontier pixels). Here the head's map is refined by a light
decoder with skips, as in U-Net (Ronneberger et al. 2015, arXiv 1505.04597), or spread by sub-pixel
convolution (Shi et al. 2016, arXiv 1609.05158).
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax.batch import Array, Batch
from psp_jax.models import parts, resampling
from psp_jax.models.architecture import Architecture, Modality, normalise
from psp_jax.models.layers import BatchNorm, Convolution
from psp_jax.models.precision import Precision, Remat, at_least_float32
from psp_jax.models.pspnet import CLASSIFIER_INIT, Head, Pyramid, call_head
from psp_jax.models.resnet import STAGES, ResNet
from psp_jax.models.segmenter import Segmenter


class Skips(nn.Module):
    """Refines the head's map with what the first stage, the stem and the image still know.

    It is the way up of a U-Net: frontiers of one pixel need convolutions at full size, on both
    sides of the last enlargement.
    """

    channels: int
    width: int
    architecture: Architecture

    @nn.compact
    def __call__(
        self, x: jax.Array, stages: dict[str, jax.Array], image: jax.Array, *, train: bool
    ) -> jax.Array:
        """Maps the head's `[B, H/8, W/8, C]` to `[B, H, W, channels]`."""
        fine = self._convolved("see_image", image, self.width, train)
        skips = (
            ("stage1", stages["stage1"], 4 * self.width),  # [B, H/4, W/4, C]
            ("stem", stages["stem"], 2 * self.width),  # [B, H/2, W/2, C]
            ("image", fine, self.width),  # [B, H, W, width]
        )
        for name, skip, width in skips:
            x = Convolution(width, size=1, name=f"project_{name}")(x)
            x = jnp.concatenate([resampling.enlarge(x, skip.shape[1:3]), skip], axis=-1)
            for index in (1, 2):
                x = self._convolved(f"refine_{name}{index}", x, width, train)
        return _classifier(self.channels)(x)

    def _convolved(self, name: str, x: jax.Array, width: int, train: bool) -> jax.Array:
        x = Convolution(width, name=name)(x)
        norm = BatchNorm(self.architecture.epsilon, self.architecture.momentum, name=f"norm_{name}")
        return nn.relu(norm(x, train=train))


class SubPixel(nn.Module):
    """Spreads the channels of the head's map over the pixels that each of its cells stands for."""

    channels: int
    factor: int = 8

    @nn.compact
    def __call__(self, x: jax.Array, size: tuple[int, ...]) -> jax.Array:
        """Maps the head's `[B, H/8, W/8, C]` to `[B, H, W, channels]`, (H, W) = `size`."""
        batch, height, width, _ = x.shape
        x = Convolution(
            self.channels * self.factor**2,
            size=1,
            bias=True,
            kernel_init=CLASSIFIER_INIT,
            name="classifier",
        )(x)
        x = x.reshape(batch, height, width, self.factor, self.factor, self.channels)
        x = x.transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, height * self.factor, width * self.factor, self.channels)
        return x[:, : size[0], : size[1]]


class FullResolutionPSPNet(nn.Module):
    """ResNet trunk, pyramid pooling and head of PSPNet, then a decoder to the image's size.

    Its parts are those of `PSPNet`, so that its weights fit, with `decoder` for `classifier`.

    Attributes:
        channels: outputs per pixel.
        depth: layers of the trunk, one of `resnet.DEPTHS`.
        width: of the trunk; 64 as published.
        dropout: rate of channels dropped after the head.
        architecture: the choices that weights do not show.
        decoder_width: channels of the decoder with skips; 0 spreads sub-pixels instead.
        precision: in what everything before the last convolution computes.
        remat: what is kept for the gradient.
    """

    PARTS: ClassVar[tuple[str, ...]] = (
        "trunk",
        *(f"trunk/{name}" for name in ("stem", *STAGES)),
        "pyramid",
        "head",
        "decoder",
    )
    INPUT_CHANNELS: ClassVar[int] = 3
    auxiliary: ClassVar[bool] = False

    channels: int
    depth: int
    width: int
    dropout: float
    architecture: Architecture
    decoder_width: int
    precision: Precision = Precision.FLOAT32
    remat: Remat = Remat.NONE

    def inputs(self, batch: Batch) -> Array:
        """Returns what of a batch the network sees."""
        return normalise(batch.image)

    @nn.compact
    def __call__(self, image: jax.Array, *, train: Sequence[str] = ()) -> jax.Array:
        """Maps an image to unnormalised outputs.

        Args:
            image: `[B, H, W, 3]` float32, ImageNet-normalised RGB, any size.
            train: parts in train mode; with `head` among them a `dropout` rng is needed.

        Returns:
            `[B, H, W, channels]`, float32 or wider.
        """
        image = self.precision.cast(image)
        trunk = ResNet(self.depth, self.width, self.architecture, self.remat, name="trunk")
        stages = trunk(image, train=parts.inside(train, "trunk"))
        x = stages["stage4"]
        branches = Pyramid(self.architecture, name="pyramid")(
            x, train=parts.covers(train, "pyramid")
        )
        head = Head(8 * self.width, self.dropout, self.architecture, name="head")
        in_head = functools.partial(call_head, train=parts.covers(train, "head"))
        x = self.remat.apply(in_head, head, x, branches)
        if self.decoder_width:
            skips = Skips(self.channels, self.decoder_width, self.architecture, name="decoder")
            in_decoder = functools.partial(_decode, train=parts.covers(train, "decoder"))
            x = self.remat.apply(in_decoder, skips, x, stages, image)
        else:
            x = SubPixel(self.channels, name="decoder")(x, image.shape[1:3])
        return at_least_float32(x)


@dataclasses.dataclass
class FullResolution:
    """A PSPNet whose outputs are as large as the image, as a field of a config.

    Attributes:
        segmenter: the PSPNet in it.
        decoder_width: channels of the decoder with skips; 0 spreads sub-pixels instead.
    """

    segmenter: Segmenter = dataclasses.field(default_factory=Segmenter)
    decoder_width: int = 32

    def make(self, channels: int) -> FullResolutionPSPNet:
        """Builds the module for `channels` outputs per pixel.

        Raises:
            ValueError: if a field has a value that no network can be built with.
        """
        inner = self.segmenter.make(channels)
        if self.decoder_width < 0:
            raise ValueError(f"model.decoder_width={self.decoder_width}: 0 or more was expected")
        if inner.auxiliary or inner.softmax:
            raise ValueError("model.segmenter: auxiliary and softmax belong to the coarse outputs")
        if inner.modality != Modality.RGB:
            raise ValueError(
                f"model.segmenter.modality={inner.modality}: {Modality.RGB} was expected"
            )
        return FullResolutionPSPNet(
            channels=channels,
            depth=inner.depth,
            width=inner.width,
            dropout=inner.dropout,
            architecture=inner.architecture,
            decoder_width=self.decoder_width,
            precision=inner.precision,
            remat=inner.remat,
        )


def _decode(
    skips: nn.Module, x: jax.Array, stages: dict[str, jax.Array], image: jax.Array, *, train: bool
) -> jax.Array:
    layer: Any = skips
    return layer(x, stages, image, train=train)


def _classifier(channels: int) -> Convolution:
    return Convolution(channels, size=1, bias=True, kernel_init=CLASSIFIER_INIT, name="classifier")
