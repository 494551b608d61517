"""Pyramid Scene Parsing Network (Zhao et al. 2017, arXiv 1612.01105)."""

from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax import parts, resampling
from psp_jax.models.geometry import Geometry
from psp_jax.models.layers import BatchNorm, Convolution
from psp_jax.models.resnet import STAGES, ResNet

# Outputs near 0 at first: with He's rule a single output channel would start far off.
CLASSIFIER_INIT = nn.initializers.normal(0.01)


class Pyramid(nn.Module):
    """Pyramid pooling: the map beside its averages over 1, 4, 9 and 36 cells."""

    geometry: Geometry = Geometry()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, h, w, C]` to `[B, h, w, 2 * C]`: the input, then the branches in order."""
        geometry, branches = self.geometry, [x]
        for bins in geometry.bins:
            y = resampling.adaptive_average_pool(x, bins)  # [B, bins, bins, C]
            y = Convolution(x.shape[-1] // len(geometry.bins), size=1, name=f"conv{bins}")(y)
            y = BatchNorm(epsilon=geometry.epsilon, kept=geometry.kept, name=f"norm{bins}")(
                y, train=train
            )
            y = resampling.resize(nn.relu(y), x.shape[1:3], align_corners=geometry.align_corners)
            branches.append(y)  # [B, h, w, C/4]
        return jnp.concatenate(branches, axis=-1)


class Head(nn.Module):
    """3x3 convolution, batch norm, ReLU and dropout."""

    features: int
    dropout: float
    geometry: Geometry = Geometry()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, h, w, C]` to `[B, h, w, features]`."""
        x = Convolution(self.features, name="conv")(x)
        norm = BatchNorm(epsilon=self.geometry.epsilon, kept=self.geometry.kept, name="norm")
        x = nn.relu(norm(x, train=train))
        shared = (1, 2) if self.geometry.dropout_of_channels else ()
        return nn.Dropout(self.dropout, broadcast_dims=shared, deterministic=not train)(x)


class PSPNet(nn.Module):
    """ResNet trunk, pyramid pooling, head and 1x1 classifier, all at 1/8 of the image's size.

    Its parts, as `train` names them, are `trunk` (with `trunk/stem`, `trunk/stage1` ...),
    `pyramid`, `head` and `classifier`.

    Attributes:
        channels: outputs per pixel.
        depth: layers of the trunk, one of `resnet.DEPTHS`.
        width: 64 as published; everything scales with it.
        dropout: rate of channels dropped before the classifier.
        geometry: the choices that weights do not show.
    """

    # What can be trained by itself: each of these has one switch for its batch norms.
    PARTS: ClassVar[tuple[str, ...]] = (
        "trunk",
        *(f"trunk/{name}" for name in ("stem", *STAGES)),
        "pyramid",
        "head",
        "classifier",
    )

    channels: int
    depth: int = 50
    width: int = 64
    dropout: float = 0.1
    geometry: Geometry = Geometry()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: Sequence[str] = ()) -> jax.Array:
        """Maps an image to unnormalised outputs.

        Args:
            image: `[B, H, W, 3]` float32, ImageNet-normalised RGB, any size.
            train: parts in train mode; with `head` among them a `dropout` rng is needed.

        Returns:
            `[B, ceil(H/8), ceil(W/8), channels]`, float32 or wider.
        """
        trunk = ResNet(self.depth, self.width, self.geometry, name="trunk")
        head = Head(8 * self.width, self.dropout, self.geometry, name="head")
        x = trunk(image, train=parts.inside(train, "trunk"))
        x = Pyramid(self.geometry, name="pyramid")(x, train=parts.covers(train, "pyramid"))
        x = head(x, train=parts.covers(train, "head"))
        x = Convolution(
            self.channels, size=1, bias=True, kernel_init=CLASSIFIER_INIT, name="classifier"
        )(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))
