"""Losses of frontier classes and of the inter-pixel edges that the classes encode.

Only 2 % of the edges are cut. Each loss therefore has a `prior`: the fraction that outputs of 0
stand for. A network that starts at the true fraction does not spend its first steps on making all
outputs small (Lin et al. 2017, arXiv:1708.02002, section 4.1).
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from psp_jax.batch import Batch, Prediction
from psp_jax.io import ranges
from psp_jax.models import resampling
from psp_jax.objectives import edges, losses, strips
from psp_jax.objectives.losses import Mean, masked_mean


@dataclasses.dataclass
class FrontierSoftmax:
    """Cross-entropy over the 16 frontier classes (thesis, sections 3.4.1 to 3.4.3).

    Attributes:
        interior_weight: weight of a pixel of class 0, where all others have 1. The mean is taken
            over weights, so that only their ratio matters; 0 ignores interior pixels.
        prior: prior probability of a frontier pixel, which outputs of 0 encode; 15/16 adds no bias.
    """

    interior_weight: float = ranges.number(1.0, least=0)
    prior: float = ranges.number(15 / 16, above=0, below=1)

    @property
    def channels(self) -> int:
        """Sixteen: the logits of the classes."""
        return edges.CLASSES

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 16]` logits to the likeliest classes and the edges that they imply."""

        def decode(output: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = self._logits(output)
            return edges.bit_logits(logits), jnp.argmax(logits, axis=-1).astype(jnp.uint8)

        bits, classes = _per_pixel(decode, output, size)
        return Prediction(edges=edges.paired_logits(bits).mean(0), classes=classes)

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the weighted cross-entropy in nats over the pixels with a reading."""

        def cross_entropy(output: jax.Array, classes: jax.Array) -> jax.Array:
            return losses.cross_entropy(self._logits(output), classes)

        classes = jnp.asarray(batch.frontier).astype(jnp.int32)
        values = _per_pixel(cross_entropy, output, classes.shape[1:], classes)
        weights = jnp.where(classes == 0, self.interior_weight, 1.0) * batch.has_class()
        return Mean(jnp.sum(weights * values), jnp.sum(weights))

    def _logits(self, output: jax.Array) -> jax.Array:
        interior = math.log(edges.CLASSES - 1) - _log_odds(self.prior)
        return output + interior * (jnp.arange(edges.CLASSES) == 0)


@dataclasses.dataclass
class FrontierSigmoid:
    """Cross-entropy of the four bits of a frontier class, each by itself.

    Two outputs predict the same edge, one of each of its pixels; their mean logit is the edge's.

    Attributes:
        prior: prior probability of a cut edge, which outputs of 0 encode.
    """

    prior: float = ranges.number(0.5, above=0, below=1)

    @property
    def channels(self) -> int:
        """Four: the logits of the bits left, up, right and down."""
        return 4

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 4]` logits to edges and to the classes that the edges encode."""
        return _of_edges(edges.paired_logits(_resized(output, size, self.prior)).mean(0))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the cross-entropy in nats over the bits of labelled edges."""
        bits = _resized(output, batch.frontier.shape[1:], self.prior)
        return _cross_entropy(edges.paired_logits(bits), batch)


@dataclasses.dataclass
class FrontierEdges:
    """Cross-entropy of the inter-pixel edges, one output each.

    Attributes:
        prior: prior probability of a cut edge, which outputs of 0 encode.
    """

    prior: float = ranges.number(0.5, above=0, below=1)

    @property
    def channels(self) -> int:
        """Two: the logits of the edges to the right and below."""
        return 2

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 2]` logits to edges and to the classes that the edges encode."""
        return _of_edges(_resized(output, size, self.prior))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the cross-entropy in nats over the labelled edges."""
        return _cross_entropy(_resized(output, batch.frontier.shape[1:], self.prior), batch)


def _of_edges(logits: jax.Array) -> Prediction:
    return Prediction(edges=logits, classes=edges.classes_of(logits))


def _cross_entropy(logits: jax.Array, batch: Batch) -> Mean:
    """Returns the mean cross-entropy of `[..., B, H, W, 2]` logits of the batch's edges."""
    values = losses.sigmoid_cross_entropy(logits, edges.targets(batch.frontier))
    return masked_mean(values, jnp.broadcast_to(edges.labelled(batch), values.shape))


def _resized(output: jax.Array, size: tuple[int, ...], prior: float) -> jax.Array:
    return resampling.resize(output, size) + _log_odds(prior)


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _per_pixel(
    function: strips.PixelFunction, output: jax.Array, size: tuple[int, ...], *images: jax.Array
) -> Any:
    """Computes a function of resized outputs, in strips unless they have the size already."""
    if output.shape[1:3] == tuple(size):
        return function(output, *images)
    return strips.map_pixels(function, output, size, *images)
