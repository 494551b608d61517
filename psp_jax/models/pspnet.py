"""Pyramid Scene Parsing Network (Zhao et al. 2017, arXiv 1612.01105)."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax.batch import Array, Batch
from psp_jax.models import parts, resampling
from psp_jax.models.architecture import Geometry, Sight, normalise
from psp_jax.models.layers import BatchNorm, Convolution, PyramidConvolution
from psp_jax.models.precision import Precision, Remat, at_least_float32
from psp_jax.models.resnet import STAGES, ResNet

# Outputs near 0 at first: with He's rule a single output channel would start far off.
CLASSIFIER_INIT = nn.initializers.normal(0.01)


class Pyramid(nn.Module):
    """Pyramid pooling: averages over 1, 4, 9 and 36 cells, with fewer channels."""

    geometry: Geometry = Geometry()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> list[jax.Array]:
        """Maps `[B, h, w, C]` to a `[B, bins, bins, C/4]` for each branch, in order."""
        geometry, branches = self.geometry, []
        for bins in geometry.bins:
            y = resampling.adaptive_average_pool(x, bins)  # [B, bins, bins, C]
            y = Convolution(x.shape[-1] // len(geometry.bins), size=1, name=f"conv{bins}")(y)
            y = BatchNorm(epsilon=geometry.epsilon, kept=geometry.kept, name=f"norm{bins}")(
                y, train=train
            )
            branches.append(nn.relu(y))
        return branches


def beside(x: jax.Array, branches: Sequence[jax.Array], geometry: Geometry) -> jax.Array:
    """Resizes pyramid branches to the map `[B, h, w, C]` and appends them: `[B, h, w, 2 * C]`."""
    size, align_corners = x.shape[1:3], geometry.align_corners
    resized = [resampling.resize(y, size, align_corners=align_corners) for y in branches]
    return jnp.concatenate([x, *resized], axis=-1)


class Head(nn.Module):
    """3x3 convolution of the map beside its pyramid, batch norm, ReLU and dropout."""

    features: int
    dropout: float
    geometry: Geometry = Geometry()

    @nn.compact
    def __call__(self, x: jax.Array, branches: Sequence[jax.Array], *, train: bool) -> jax.Array:
        """Maps `[B, h, w, C]` and its branches to `[B, h, w, features]`."""
        align_corners = self.geometry.align_corners
        x = PyramidConvolution(self.features, align_corners, name="conv")(x, branches)
        return _finish(x, self.dropout, self.geometry, train)


def call_head(
    head: nn.Module, x: jax.Array, branches: Sequence[jax.Array], *, train: bool
) -> jax.Array:
    """Calls a `Head`."""
    layer: Any = head
    return layer(x, branches, train=train)


class AuxiliaryHead(nn.Module):
    """A head and a classifier of its own on an earlier stage, for training alone."""

    channels: int
    features: int
    dropout: float
    geometry: Geometry = Geometry()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, h, w, C]` to `[B, h, w, channels]`."""
        x = Convolution(self.features, name="conv")(x)
        x = _finish(x, self.dropout, self.geometry, train)
        return _classifier(self.channels)(at_least_float32(x))


class PSPNet(nn.Module):
    """ResNet trunk, pyramid pooling, head and 1x1 classifier, all at 1/8 of the image's size.

    What can be trained, frozen or looked at by itself has a name, listed by `PARTS`: `trunk`
    (with `trunk/stem`, `trunk/stage1` ...), `pyramid`, `head`, `classifier`, and, where there is
    one, `softmax` and `auxiliary`.

    Attributes:
        channels: outputs per pixel.
        depth: layers of the trunk, one of `resnet.DEPTHS`.
        width: 64 as published; everything scales with it.
        dropout: rate of channels dropped before the classifier.
        geometry: the choices that weights do not show.
        auxiliary: whether there is an auxiliary head on stage 3. Where the collection "auxiliary"
            is mutable and the part `auxiliary` is trained, its outputs `[B, h, w, channels]` are
            stored there, for a share in the loss; elsewhere it costs nothing.
        sight: what the network sees; images are RGB unless it says otherwise.
        softmax: whether a dense layer maps the classifier's scores to new ones, the thesis's
            softmax classifier (its sections 3.4.1 and 3.4.2), which starts as the identity.
        precision: in what trunk, pyramid and head compute; the scores are float32.
        remat: what is kept for the gradient.
    """

    channels: int
    depth: int = 50
    width: int = 64
    dropout: float = 0.1
    geometry: Geometry = Geometry()
    auxiliary: bool = False
    softmax: bool = False
    sight: Sight = Sight.RGB
    precision: Precision = Precision.FLOAT32
    remat: Remat = Remat.NONE

    @property
    def INPUT_CHANNELS(self) -> int:
        """Channels that `inputs` gives."""
        return self.sight.channels

    def inputs(self, batch: Batch) -> Array:
        """Returns what of a batch the network sees, `[B, H, W, INPUT_CHANNELS]`."""
        if self.sight == Sight.RGB:
            return normalise(batch.image)
        depth = batch.filled_depth[..., None]
        if self.sight == Sight.DEPTH:
            return depth
        return jnp.concatenate([normalise(batch.image), depth], -1)

    @property
    def PARTS(self) -> tuple[str, ...]:
        """The names of the parts; each of them has one switch for its batch norms."""
        trunk = ("trunk", *(f"trunk/{name}" for name in ("stem", *STAGES)))
        names = [*trunk, "pyramid", "head", "classifier"]
        names += ["softmax"] * self.softmax + ["auxiliary"] * self.auxiliary
        return tuple(names)

    @nn.compact
    def features(
        self,
        image: jax.Array | None,
        *,
        train: Sequence[str] = (),
        known: Mapping[str, jax.Array] | None = None,
    ) -> dict[str, jax.Array]:
        """Maps an image to what each part makes of it, by the names of the parts.

            features = model.apply(variables, image, method="features")["trunk/stage3"]

        Args:
            image: `[B, H, W, 3]` float32, ImageNet-normalised RGB, any size.
            train: parts in train mode; with heads among them a `dropout` rng is needed.
            known: what this method returned of `trunk` or of `head`, to go on from there; no image
                is needed then, and what comes before has no gradient.

        Returns:
            `trunk/stem` `[B, H/2, W/2, C]` before its pooling, `trunk/stage1` `[B, H/4, W/4, C]`,
            and the others, rounded up, `[B, H/8, W/8, C]`.
        """
        known = known or {}
        features = {name: self.precision.cast(at_least_float32(x)) for name, x in known.items()}
        if image is not None:
            trunk = ResNet(self.depth, self.width, self.geometry, self.remat, name="trunk")
            stages = trunk(self.precision.cast(image), train=parts.inside(train, "trunk"))
            features |= {f"trunk/{name}": x for name, x in stages.items()}
            features["trunk"] = stages["stage4"]
        if "head" not in features:
            x = features["trunk"]
            pyramid = Pyramid(self.geometry, name="pyramid")
            branches = pyramid(x, train=parts.covers(train, "pyramid"))
            features["pyramid"] = beside(x, branches, self.geometry)
            head = Head(8 * self.width, self.dropout, self.geometry, name="head")
            in_head = functools.partial(call_head, train=parts.covers(train, "head"))
            features["head"] = self.remat.apply(in_head, head, x, branches)
        x = features["head"]
        x = features["classifier"] = _classifier(self.channels)(at_least_float32(x))
        if self.softmax:
            layer = Convolution(
                self.channels, size=1, bias=True, kernel_init=identity_kernel, name="softmax"
            )
            features["softmax"] = layer(x)
        if self.auxiliary and "trunk/stage3" in features:
            self._store_auxiliary(features["trunk/stage3"], train=parts.covers(train, "auxiliary"))
        return features

    def __call__(self, image: jax.Array, *, train: Sequence[str] = ()) -> jax.Array:
        """Maps an image to unnormalised outputs.

        Args:
            image: `[B, H, W, 3]` float32, ImageNet-normalised RGB, any size.
            train: parts in train mode; with heads among them a `dropout` rng is needed.

        Returns:
            `[B, ceil(H/8), ceil(W/8), channels]`, float32 or wider.
        """
        return self.features(image, train=train)[self.last]

    @property
    def last(self) -> str:
        """The part whose features are the outputs."""
        return "softmax" if self.softmax else "classifier"

    def _store_auxiliary(self, x: jax.Array, *, train: bool) -> None:
        wanted = train and self.is_mutable_collection("auxiliary")
        if not (wanted or self.is_initializing()):
            return
        head = AuxiliaryHead(
            self.channels, 4 * self.width, self.dropout, self.geometry, name="auxiliary"
        )
        output = head(x, train=train)
        if wanted and not self.is_initializing():
            self.sow("auxiliary", "output", output)


def _finish(x: jax.Array, dropout: float, geometry: Geometry, train: bool) -> jax.Array:
    """Batch norm, ReLU and dropout of a head."""
    x = nn.relu(
        BatchNorm(epsilon=geometry.epsilon, kept=geometry.kept, name="norm")(x, train=train)
    )
    shared = (1, 2) if geometry.dropout_of_channels else ()
    return nn.Dropout(dropout, broadcast_dims=shared, deterministic=not train)(x)


def _classifier(channels: int) -> Convolution:
    return Convolution(channels, size=1, bias=True, kernel_init=CLASSIFIER_INIT, name="classifier")


def identity_kernel(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Initialises a 1x1 kernel that passes its input on."""
    return jnp.eye(*shape[2:], dtype=dtype).reshape(shape)
