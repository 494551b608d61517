"""Pyramid Scene Parsing Network (Zhao et al. 2017, arXiv 1612.01105)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax.batch import Array, Batch
from psp_jax.models import parts, resampling
from psp_jax.models.architecture import Architecture, Modality, normalise
from psp_jax.models.layers import Convolution, PyramidConvolution, batch_norm, classifier
from psp_jax.models.precision import Precision, Remat, at_least_float32


class Pyramid(nn.Module):
    """Pyramid pooling: averages over grids of `architecture.bins` cells, with fewer channels."""

    architecture: Architecture = Architecture()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> list[jax.Array]:
        """Maps `[B, h, w, C]` to a `[B, bins, bins, C/4]` for each branch, in order."""
        branches = []
        for bins in self.architecture.bins:
            y = resampling.adaptive_average_pool(x, bins)  # [B, bins, bins, C]
            features = x.shape[-1] // len(self.architecture.bins)
            y = Convolution(features, size=1, name=f"conv{bins}")(y)
            y = batch_norm(self.architecture, f"norm{bins}")(y, train=train)
            branches.append(nn.relu(y))
        return branches


def concatenate(
    x: jax.Array, branches: Sequence[jax.Array], architecture: Architecture
) -> jax.Array:
    """Resizes pyramid branches to the map `[B, h, w, C]` and appends them: `[B, h, w, 2 * C]`."""
    size, align_corners = x.shape[1:3], architecture.align_corners
    resized = [resampling.resize(y, size, align_corners=align_corners) for y in branches]
    return jnp.concatenate([x, *resized], axis=-1)


class Head(nn.Module):
    """3x3 convolution of a map and its pyramid, batch norm, ReLU and dropout."""

    features: int
    dropout: float
    architecture: Architecture = Architecture()

    @nn.compact
    def __call__(self, x: jax.Array, branches: Sequence[jax.Array], *, train: bool) -> jax.Array:
        """Maps `[B, h, w, C]` and its branches to `[B, h, w, features]`."""
        align_corners = self.architecture.align_corners
        x = PyramidConvolution(self.features, align_corners, name="conv")(x, branches)
        return _finish_head(x, self.dropout, self.architecture, train)


class AuxiliaryHead(nn.Module):
    """Head and classifier on an earlier stage, computed only in training."""

    channels: int
    features: int
    dropout: float
    architecture: Architecture = Architecture()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, h, w, C]` to `[B, h, w, channels]`."""
        x = Convolution(self.features, name="conv")(x)
        x = _finish_head(x, self.dropout, self.architecture, train)
        return classifier(self.channels)(at_least_float32(x))


def _finish_head(
    x: jax.Array, dropout: float, architecture: Architecture, train: bool
) -> jax.Array:
    """Applies batch norm, ReLU and dropout."""
    x = nn.relu(batch_norm(architecture, "norm")(x, train=train))
    shared = (1, 2) if architecture.dropout_of_channels else ()
    return nn.Dropout(dropout, broadcast_dims=shared, deterministic=not train)(x)


class PSPNet(nn.Module):
    """Trunk, pyramid pooling, head and 1x1 classifier, at the resolution of the last stage.

    That is 1/8 of the image's for a ResNet, 1/32 for an EfficientNet-Lite.

    `PARTS` lists the parts that can be trained, frozen or inspected separately: `trunk` (with
    `trunk/stem`, `trunk/stage1` ...), `pyramid`, `head`, `classifier` or `decoder`, and, where
    they exist, `softmax` and `auxiliary`.

    Attributes:
        channels: outputs per pixel.
        trunk: module that computes the stages, a `trunk.TrunkModule`.
        auxiliary: whether there is an auxiliary head on the last stage but one. It is computed only
            if the part `auxiliary` is trained and the collection "auxiliary" is mutable, which then
            holds its outputs `[B, h, w, channels]`.
        softmax: whether a dense layer follows the classifier: the thesis's softmax classifier (its
            sections 3.4.1 and 3.4.2). It starts as the identity.
        decoder: module in place of the classifier; it maps the output of the head, the stages and
            the image to `[B, H, W, channels]`, or less for `decoder.FeaturePyramid`.
        others: as in `segmenter.Segmenter`.
    """

    channels: int
    trunk: Any
    dropout: float = 0.1
    architecture: Architecture = Architecture()
    auxiliary: bool = False
    softmax: bool = False
    modality: Modality = Modality.RGB
    precision: Precision = Precision.FLOAT32
    remat: Remat = Remat.NONE
    decoder: nn.Module | None = None

    @property
    def INPUT_CHANNELS(self) -> int:
        """Number of channels that `inputs` returns."""
        return self.modality.channels

    def inputs(self, batch: Batch) -> Array:
        """Returns the network's input, `[B, H, W, INPUT_CHANNELS]`."""
        if self.modality == Modality.RGB:
            return normalise(batch.image)
        depth = batch.filled_depth[..., None]
        if self.modality == Modality.DEPTH:
            return depth
        return jnp.concatenate([normalise(batch.image), depth], -1)

    @property
    def PARTS(self) -> tuple[str, ...]:
        """The names of the parts; all batch norms of a part are in the same mode."""
        trunk = ("trunk", *(f"trunk/{name}" for name in self.trunk.STRIDES))
        names = [*trunk, "pyramid", "head", "decoder" if self.decoder else "classifier"]
        names += ["softmax"] * self.softmax + ["auxiliary"] * self.auxiliary
        return tuple(names)

    @nn.compact
    def features(self, image: jax.Array, *, train: Sequence[str] = ()) -> dict[str, jax.Array]:
        """Computes the output of every part, by the name of the part.

            features = model.apply(variables, image, method="features")["trunk/stage3"]

        Args:
            image: `[B, H, W, INPUT_CHANNELS]` float32, any size; RGB is ImageNet-normalised.
            train: parts in train mode; with heads among them a `dropout` rng is needed.

        Returns:
            The stages, such as `trunk/stage1`, at their strides; the stem of a ResNet is that
            before its pooling. `decoder` is `[B, H, W, channels]`, at its output stride. The
            others, rounded up, are `[B, H/s, W/s, C]` with the stride s of the last stage.
        """
        image = self.precision.cast(image)
        stages = self.trunk(image, train=parts.inside(train, "trunk"))
        features = {f"trunk/{name}": x for name, x in stages.items()}
        *_, before_last, last = self.trunk.STRIDES
        x = features["trunk"] = stages[last]
        pyramid = Pyramid(self.architecture, name="pyramid")
        branches = pyramid(x, train=parts.covers(train, "pyramid"))
        features["pyramid"] = concatenate(x, branches, self.architecture)
        head = Head(self.trunk.head_features, self.dropout, self.architecture, name="head")
        in_head, in_decoder = parts.covers(train, "head"), parts.covers(train, "decoder")
        x = features["head"] = self.remat.apply(head, x, branches, train=in_head)
        if self.decoder is not None:
            x = self.remat.apply(self.decoder, x, stages, image, train=in_decoder)
            features["decoder"] = at_least_float32(x)
            return features
        x = features["classifier"] = classifier(self.channels)(at_least_float32(x))
        if self.softmax:
            features["softmax"] = classifier(self.channels, "softmax", identity_kernel)(x)
        if self.auxiliary:
            self._store_auxiliary(stages[before_last], train=parts.covers(train, "auxiliary"))
        return features

    def __call__(self, image: jax.Array, *, train: Sequence[str] = ()) -> jax.Array:
        """Maps an image to unnormalised outputs.

        Args:
            image: `[B, H, W, INPUT_CHANNELS]` float32, any size; RGB is ImageNet-normalised.
            train: parts in train mode; with heads among them a `dropout` rng is needed.

        Returns:
            `[B, ceil(H/s), ceil(W/s), channels]` with the stride s of the last stage, or of the
            decoder; float32 or wider.
        """
        features = self.features(image, train=train)
        *_, last = (name for name in ("classifier", "softmax", "decoder") if name in features)
        return features[last]

    def _store_auxiliary(self, x: jax.Array, *, train: bool) -> None:
        stored = train and self.is_mutable_collection("auxiliary")
        if not (stored or self.is_initializing()):
            return
        features = self.trunk.head_features // 2
        head = AuxiliaryHead(
            self.channels, features, self.dropout, self.architecture, name="auxiliary"
        )
        output = head(x, train=train)
        if stored and not self.is_initializing():
            self.sow("auxiliary", "output", output)


def identity_kernel(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Initialises a 1x1 kernel that returns its input."""
    return jnp.eye(*shape[2:], dtype=dtype).reshape(shape)
