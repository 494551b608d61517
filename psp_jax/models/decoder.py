"""Decoders that bring the outputs of a PSPNet to the resolution of the image.

Outputs at 1/8 resolution, resized, cannot express frontiers one pixel wide: the best recover a
tenth of the frontier pixels. `Skips` refines them as U-Net does (Ronneberger et al. 2015, arXiv
1505.04597); `SubPixel` is sub-pixel convolution (Shi et al. 2016, arXiv 1609.05158).
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax.models import resampling
from psp_jax.models.architecture import Architecture, Modality
from psp_jax.models.layers import Convolution, batch_norm, classifier
from psp_jax.models.pspnet import PSPNet
from psp_jax.models.segmenter import Segmenter


class Skips(nn.Module):
    """Enlarges the map of the head in three steps: the way up of a U-Net.

    Each step concatenates a finer map (stage 1, the stem, the image) and applies two convolutions.
    Frontiers one pixel wide need convolutions at full resolution, before and after the last step.
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
        return classifier(self.channels)(x)

    def _convolved(self, name: str, x: jax.Array, width: int, train: bool) -> jax.Array:
        x = Convolution(width, name=name)(x)
        return nn.relu(batch_norm(self.architecture, f"norm_{name}")(x, train=train))


class SubPixel(nn.Module):
    """Computes the outputs of `factor` x `factor` pixels as channels of each cell of the head."""

    channels: int
    factor: int = 8

    @nn.compact
    def __call__(
        self, x: jax.Array, stages: dict[str, jax.Array], image: jax.Array, *, train: bool
    ) -> jax.Array:
        """Maps the head's `[B, H/8, W/8, C]` to `[B, H, W, channels]`."""
        batch, height, width, _ = x.shape
        x = classifier(self.channels * self.factor**2)(x)
        x = x.reshape(batch, height, width, self.factor, self.factor, self.channels)
        x = x.transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, height * self.factor, width * self.factor, self.channels)
        return x[:, : image.shape[1], : image.shape[2]]


@dataclasses.dataclass
class FullResolution:
    """A PSPNet with a decoder in place of its classifier, as a field of a config.

    Attributes:
        segmenter: the PSPNet.
        decoder_width: channels of the decoder with skips; 0 selects sub-pixel convolution.
    """

    segmenter: Segmenter = dataclasses.field(default_factory=Segmenter)
    decoder_width: int = 32

    def make(self, channels: int) -> PSPNet:
        """Builds the module with `channels` outputs per pixel.

        Raises:
            ValueError: if a field has a value that no network can have.
        """
        coarse = self.segmenter.make(channels)
        if self.decoder_width < 0:
            raise ValueError(f"model.decoder_width={self.decoder_width}: expected 0 or more")
        for field in ("auxiliary", "softmax"):
            if getattr(coarse, field):
                raise ValueError(
                    f"model.segmenter.{field}=True: only a network with coarse outputs has it; "
                    "set it to False"
                )
        if coarse.modality != Modality.RGB:
            raise ValueError(f"model.segmenter.modality={coarse.modality}: expected {Modality.RGB}")
        if self.decoder_width:
            decoder = Skips(channels, self.decoder_width, coarse.architecture)
        else:
            decoder = SubPixel(channels)
        return dataclasses.replace(coarse, decoder=decoder)
