"""Pyramid Scene Parsing Network (Zhao et al. 2017, arXiv 1612.01105)."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax.batch import Array, Batch
from psp_jax.models import parts, resampling
from psp_jax.models.architecture import Architecture, Modality, normalise
from psp_jax.models.layers import BatchNorm, Convolution, PyramidConvolution
from psp_jax.models.precision import Precision, Remat, at_least_float32
from psp_jax.models.resnet import STAGES, ResNet

# Outputs near 0 at first: with He's rule a single output channel would start far off.
CLASSIFIER_INIT = nn.initializers.normal(0.01)


class Pyramid(nn.Module):
    """Pyramid pooling: averages over 1, 4, 9 and 36 cells, with fewer channels."""

    architecture: Architecture = Architecture()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> list[jax.Array]:
        """Maps `[B, h, w, C]` to a `[B, bins, bins, C/4]` for each branch, in order."""
        architecture, branches = self.architecture, []
        for bins in architecture.bins:
            y = resampling.adaptive_average_pool(x, bins)  # [B, bins, bins, C]
            y = Convolution(x.shape[-1] // len(architecture.bins), size=1, name=f"conv{bins}")(y)
            y = BatchNorm(
                epsilon=architecture.epsilon, momentum=architecture.momentum, name=f"norm{bins}"
            )(y, train=train)
            branches.append(nn.relu(y))
        return branches


def beside(x: jax.Array, branches: Sequence[jax.Array], architecture: Architecture) -> jax.Array:
    """Resizes pyramid branches to the map `[B, h, w, C]` and appends them: `[B, h, w, 2 * C]`."""
    size, align_corners = x.shape[1:3], architecture.align_corners
    resized = [resampling.resize(y, size, align_corners=align_corners) for y in branches]
    return jnp.concatenate([x, *resized], axis=-1)


class Head(nn.Module):
    """3x3 convolution of the map beside its pyramid, batch norm, ReLU and dropout."""

    features: int
    dropout: float
    architecture: Architecture = Architecture()

    @nn.compact
    def __call__(self, x: jax.Array, branches: Sequence[jax.Array], *, train: bool) -> jax.Array:
        """Maps `[B, h, w, C]` and its branches to `[B, h, w, features]`."""
        align_corners = self.architecture.align_corners
        x = PyramidConvolution(self.features, align_corners, name="conv")(x, branches)
        return _finish(x, self.dropout, self.architecture, train)


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
    architecture: Architecture = Architecture()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, h, w, C]` to `[B, h, w, channels]`."""
        x = Convolution(self.features, name="conv")(x)
        x = _finish(x, self.dropout, self.architecture, train)
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
        architecture: the choices that weights do not show.
        auxiliary: whether there is an auxiliary head on stage 3. Where the collection "auxiliary"
            is mutable and the part `auxiliary` is trained, its outputs `[B, h, w, channels]` are
            stored there, for a share in the loss; elsewhere it costs nothing.
        modality: what the network sees; images are RGB unless it says otherwise.
        softmax: whether a dense layer maps the classifier's scores to new ones, the thesis's
            softmax classifier (its sections 3.4.1 and 3.4.2), which starts as the identity.
        precision: in what trunk, pyramid and head compute; the scores are float32.
        remat: what is kept for the gradient.
    """

    channels: int
    depth: int = 50
    width: int = 64
    dropout: float = 0.1
    architecture: Architecture = Architecture()
    auxiliary: bool = False
    softmax: bool = False
    modality: Modality = Modality.RGB
    precision: Precision = Precision.FLOAT32
    remat: Remat = Remat.NONE

    @property
    def INPUT_CHANNELS(self) -> int:
        """Channels that `inputs` gives."""
        return self.modality.channels

    def inputs(self, batch: Batch) -> Array:
        """Returns what of a batch the network sees, `[B, H, W, INPUT_CHANNELS]`."""
        if self.modality == Modality.RGB:
            return normalise(batch.image)
        depth = batch.filled_depth[..., None]
        if self.modality == Modality.DEPTH:
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
    def features(self, image: jax.Array, *, train: Sequence[str] = ()) -> dict[str, jax.Array]:
        """Maps an image to what each part makes of it, by the names of the parts.

            features = model.apply(variables, image, method="features")["trunk/stage3"]

        Args:
            image: `[B, H, W, 3]` float32, ImageNet-normalised RGB, any size.
            train: parts in train mode; with heads among them a `dropout` rng is needed.

        Returns:
            `trunk/stem` `[B, H/2, W/2, C]` before its pooling, `trunk/stage1` `[B, H/4, W/4, C]`,
            and the others, rounded up, `[B, H/8, W/8, C]`.
        """
        trunk = ResNet(self.depth, self.width, self.architecture, self.remat, name="trunk")
        stages = trunk(self.precision.cast(image), train=parts.inside(train, "trunk"))
        features = {f"trunk/{name}": x for name, x in stages.items()}
        x = features["trunk"] = stages["stage4"]
        pyramid = Pyramid(self.architecture, name="pyramid")
        branches = pyramid(x, train=parts.covers(train, "pyramid"))
        features["pyramid"] = beside(x, branches, self.architecture)
        head = Head(8 * self.width, self.dropout, self.architecture, name="head")
        in_head = functools.partial(call_head, train=parts.covers(train, "head"))
        x = features["head"] = self.remat.apply(in_head, head, x, branches)
        x = features["classifier"] = _classifier(self.channels)(at_least_float32(x))
        if self.softmax:
            layer = Convolution(
                self.channels, size=1, bias=True, kernel_init=identity_kernel, name="softmax"
            )
            features["softmax"] = layer(x)
        if self.auxiliary:
            self._store_auxiliary(stages["stage3"], train=parts.covers(train, "auxiliary"))
        return features

    def __call__(self, image: jax.Array, *, train: Sequence[str] = ()) -> jax.Array:
        """Maps an image to unnormalised outputs.

        Args:
            image: `[B, H, W, 3]` float32, ImageNet-normalised RGB, any size.
            train: parts in train mode; with heads among them a `dropout` rng is needed.

        Returns:
            `[B, ceil(H/8), ceil(W/8), channels]`, float32 or wider.
        """
        features = self.features(image, train=train)
        return features["softmax" if self.softmax else "classifier"]

    def _store_auxiliary(self, x: jax.Array, *, train: bool) -> None:
        wanted = train and self.is_mutable_collection("auxiliary")
        if not (wanted or self.is_initializing()):
            return
        head = AuxiliaryHead(
            self.channels, 4 * self.width, self.dropout, self.architecture, name="auxiliary"
        )
        output = head(x, train=train)
        if wanted and not self.is_initializing():
            self.sow("auxiliary", "output", output)


def _finish(x: jax.Array, dropout: float, architecture: Architecture, train: bool) -> jax.Array:
    """Batch norm, ReLU and dropout of a head."""
    x = nn.relu(
        BatchNorm(epsilon=architecture.epsilon, momentum=architecture.momentum, name="norm")(
            x, train=train
        )
    )
    shared = (1, 2) if architecture.dropout_of_channels else ()
    return nn.Dropout(dropout, broadcast_dims=shared, deterministic=not train)(x)


def _classifier(channels: int) -> Convolution:
    return Convolution(channels, size=1, bias=True, kernel_init=CLASSIFIER_INIT, name="classifier")


def identity_kernel(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Initialises a 1x1 kernel that passes its input on."""
    return jnp.eye(*shape[2:], dtype=dtype).reshape(shape)
