"""A small U-Net on depth (Ronneberger et al. 2015, arXiv 1505.04597), trained from scratch.

It is the second network of the thesis's two phases (its section 3.4.4.2): it maps filled depth to
frontier classes at full resolution.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax.batch import Array, Batch
from psp_jax.io import ranges
from psp_jax.models import parts, resampling
from psp_jax.models.layers import BatchNorm, Convolution, classifier

MIN_DEPTH_M = 0.1  # Keeps the logarithm of predicted depth finite.


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H, W, features]`."""
        for index in (1, 2):
            x = Convolution(self.features, name=f"conv{index}")(x)
            x = nn.relu(BatchNorm(name=f"norm{index}")(x, train=train))
        return x


class DepthUNet(nn.Module):
    """Halves the resolution `levels` times, doubling the channels, and enlarges it with skips.

    Attributes:
        channels: outputs per pixel.
        width: channels at full resolution.
        levels: how often the resolution is halved.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("encoder", "decoder", "classifier")
    INPUT_CHANNELS: ClassVar[int] = 1

    channels: int
    width: int
    levels: int

    def inputs(self, batch: Batch) -> Array:
        """Returns the network's input: the filled depth, `[B, H, W, 1]` metres."""
        return batch.filled_depth[..., None]

    @nn.compact
    def __call__(self, depth: jax.Array, *, train: Sequence[str] = ()) -> jax.Array:
        """Maps `[B, H, W, 1]` metres to `[B, H, W, channels]` unnormalised outputs."""
        # Equal ratios of depth become equal differences, and values lie around 0.
        x = jnp.log(jnp.maximum(depth, MIN_DEPTH_M)) - 1.0
        x, skips = Encoder(self.width, self.levels, name="encoder")(
            x, train=parts.covers(train, "encoder")
        )
        decoder = Decoder(self.width, self.levels, name="decoder")
        x = decoder(x, skips, train=parts.covers(train, "decoder"))
        return classifier(self.channels)(x)


class Encoder(nn.Module):
    """The contracting path."""

    width: int
    levels: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, list[jax.Array]]:
        """Returns the smallest map and the skips, the largest first."""
        skips = []
        for level in range(self.levels):
            x = Block(self.width * 2**level, name=f"block{level}")(x, train=train)
            skips.append(x)
            x = nn.max_pool(x, window_shape=(2, 2), strides=(2, 2), padding="SAME")
        return Block(self.width * 2**self.levels, name=f"block{self.levels}")(x, train=train), skips


class Decoder(nn.Module):
    """The expanding path."""

    width: int
    levels: int

    @nn.compact
    def __call__(self, x: jax.Array, skips: list[jax.Array], *, train: bool) -> jax.Array:
        """Maps the smallest map, with the skips, to `[B, H, W, width]`."""
        for level in reversed(range(self.levels)):
            skip = skips[level]
            x = Convolution(skip.shape[-1], size=1, name=f"project{level}")(x)
            x = resampling.enlarge(x, skip.shape[1:3])
            x = jnp.concatenate([x, skip], axis=-1)
            x = Block(self.width * 2**level, name=f"block{level}")(x, train=train)
        return x


@dataclasses.dataclass
class DepthCNN:
    """A `DepthUNet` as a field of a config.

    Attributes:
        width: channels at full resolution; they double with every level.
        levels: how often the resolution is halved.
    """

    width: int = ranges.number(16, least=1)
    levels: int = ranges.number(3, least=1)

    def make(self, channels: int) -> DepthUNet:
        """Builds the module with `channels` outputs per pixel.

        Raises:
            ValueError: if a field is not positive.
        """
        ranges.check(self, "model")
        return DepthUNet(channels, self.width, self.levels)
