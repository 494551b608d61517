"""Losses of frontier classes and of the inter-pixel edges that they stand for.

Few edges are cut. Each loss has a `prior`, the share that outputs of 0 stand for: a network that
begins with it does not spend its first steps on making all outputs small, which costs the features
more than those steps (Lin et al. 2017, arXiv 1708.02002, section 4.1).
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from psp_jax.batch import Batch, Prediction
from psp_jax.models import resampling
from psp_jax.objectives import edges, losses, strips
from psp_jax.objectives.losses import Mean, masked_mean


def _require(name: str, value: float) -> None:
    if not value >= 0:
        raise ValueError(f"config.objective.{name}={value}: 0 or more was expected")


def _require_share(value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"config.objective.prior={value}: a share between 0 and 1 was expected")


def _log_odds(share: float) -> float:
    return math.log(share / (1 - share))


def _join(first: Mean, weight: float, second: Mean, name: str) -> Mean:
    """Adds `weight` times the mean of other things, as if it were of the same pixels."""
    terms = first.terms or {"cross_entropy": first.value()}
    terms = {**terms, name: second.value()}
    return Mean(first.total + weight * second.value() * first.count, first.count, terms)


def _per_pixel(
    function: strips.PixelFunction, output: jax.Array, size: tuple[int, ...], *images: jax.Array
) -> Any:
    """Computes a function of outputs in strips, unless they are there whole already."""
    if output.shape[1:3] == tuple(size):
        return function(output, *images)
    return strips.map_pixels(function, output, size, *images)


def _resized(output: jax.Array, size: tuple[int, ...], prior: float) -> jax.Array:
    """Log odds, at `size`, of edges of which a share of `prior` is cut where outputs are 0."""
    return resampling.resize(output, size) + _log_odds(prior)


def _cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """-log of the probability that logistic `logits` give to a bool `target`."""
    return jax.nn.softplus(jnp.where(target, -logits, logits))


def _consistency(
    votes: jax.Array, batch: Batch, vote_agreement: float, closure: float
) -> list[tuple[str, float, Mean]]:
    """The optional terms that no truth is needed for, those with a weight."""
    terms, known = [], edges.exist(batch)
    joined = votes.mean(0)
    if vote_agreement:
        # The symmetric Kullback-Leibler divergence of two Bernoulli variables in closed form.
        probabilities = jax.nn.sigmoid(votes)
        divergence = (probabilities[0] - probabilities[1]) * (votes[0] - votes[1])
        terms.append(("vote_agreement", vote_agreement, masked_mean(divergence, known)))
    if closure:
        terms.append(("closure", closure, _closure(joined, batch)))
    return terms


def _closure(edge_logits: jax.Array, batch: Batch) -> Mean:
    """Mean probability that a frontier ends at a vertex."""
    ends = edges.dangling(edge_logits)
    valid = jnp.broadcast_to(jnp.asarray(batch.valid)[:, None, None], ends.shape)
    return masked_mean(ends, valid)


@dataclasses.dataclass
class FrontierSoftmax:
    """Cross-entropy over the 16 frontier classes (thesis, sections 3.4.1 to 3.4.3).

    Attributes:
        interior_weight: weight of a pixel of class 0 beside the 1 of every other one. The mean is
            taken over weights, so that only their ratio matters; 0 leaves interior pixels out.
        prior: share of frontier pixels that outputs of 0 stand for; 15 of 16 classes by themselves.
    """

    interior_weight: float = 1.0
    prior: float = 15 / 16

    @property
    def channels(self) -> int:
        """Sixteen: the logits of the classes."""
        return edges.CLASSES

    def check(self) -> None:
        """Raises ValueError for a negative weight, or a prior that is no share."""
        _require("interior_weight", self.interior_weight)
        _require_share(self.prior)

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 16]` logits to the likeliest classes and the edges they imply."""

        def read(output: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = self._logits(output)
            return edges.bit_logits(logits), jnp.argmax(logits, axis=-1).astype(jnp.uint8)

        bits, classes = _per_pixel(read, output, size)
        return Prediction(edges=edges.votes(bits).mean(0), classes=classes)

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the weighted cross-entropy in nats over the pixels with a reading."""

        def surprise_of(output: jax.Array, classes: jax.Array) -> jax.Array:
            return losses.cross_entropy(self._logits(output), classes)

        classes = jnp.asarray(batch.frontier).astype(jnp.int32)
        surprise = _per_pixel(surprise_of, output, classes.shape[1:], classes)
        known = ~jnp.asarray(batch.filled) & jnp.asarray(batch.valid)[:, None, None]
        weight = jnp.where(classes == 0, self.interior_weight, 1.0) * known
        return Mean(jnp.sum(weight * surprise), jnp.sum(weight))

    def _logits(self, output: jax.Array) -> jax.Array:
        interior = math.log(edges.CLASSES - 1) - _log_odds(self.prior)
        return output + interior * (jnp.arange(edges.CLASSES) == 0)


@dataclasses.dataclass
class FrontierSigmoid:
    """Cross-entropy of the four bits of a class, each by itself.

    Attributes:
        positive_weight: weight of a bit that is set beside the 1 of one that is not. Other values
            than 1 find more frontiers, with probabilities that are too high.
        vote_agreement: weight of the symmetric Kullback-Leibler divergence, in nats, of what the
            two pixels of an edge say.
        closure: weight of the probability that exactly one edge at a vertex is cut.
        prior: share of cut edges that outputs of 0 stand for.
    """

    positive_weight: float = 1.0
    vote_agreement: float = 0.0
    closure: float = 0.0
    prior: float = 0.5

    @property
    def channels(self) -> int:
        """Four: the logits of left, up, right and down."""
        return 4

    def check(self) -> None:
        """Raises ValueError for a negative weight, or a prior that is no share."""
        for name in ("positive_weight", "vote_agreement", "closure"):
            _require(name, getattr(self, name))
        _require_share(self.prior)

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 4]` logits to edges, the means of their two votes, and classes."""
        joined = edges.votes(_resized(output, size, self.prior)).mean(0)
        return Prediction(edges=joined, classes=edges.classes_of(joined))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the cross-entropy in nats over the bits of edges that carry truth."""
        votes = edges.votes(_resized(output, batch.frontier.shape[1:], self.prior))
        target = edges.targets(batch.frontier)
        weight = jnp.where(target, self.positive_weight, 1.0)
        known = jnp.broadcast_to(edges.exist(batch), votes.shape)
        mean = masked_mean(weight * _cross_entropy(votes, target), known)
        for name, share, term in _consistency(votes, batch, self.vote_agreement, self.closure):
            mean = _join(mean, share, term, name)
        return mean


@dataclasses.dataclass
class FrontierEdges:
    """Cross-entropy of the inter-pixel edges, one output each: consistent by construction.

    Attributes:
        positive_weight: weight of a cut edge beside the 1 of a whole one. 1 keeps probabilities
            calibrated, which coding and decoding want.
        focusing: gamma of the focal loss (Lin et al. 2017, arXiv 1708.02002, equation 4); 0 is the
            plain cross-entropy.
        dice: weight of 1 minus the Dice coefficient of each image (Deng et al. 2018,
            arXiv 1807.10097, equation 3), which makes frontiers thin.
        closure: weight of the probability that exactly one edge at a vertex is cut.
        prior: share of cut edges that outputs of 0 stand for.
    """

    positive_weight: float = 1.0
    focusing: float = 0.0
    dice: float = 0.0
    closure: float = 0.0
    prior: float = 0.5

    @property
    def channels(self) -> int:
        """Two: the logits of the edges to the right and below."""
        return 2

    def check(self) -> None:
        """Raises ValueError for a negative weight, or a prior that is no share."""
        for name in ("positive_weight", "focusing", "dice", "closure"):
            _require(name, getattr(self, name))
        _require_share(self.prior)

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 2]` logits to edges and to the classes that they spell."""
        logits = _resized(output, size, self.prior)
        return Prediction(edges=logits, classes=edges.classes_of(logits))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the loss, in nats where no term is added, over the edges that carry truth."""
        logits = _resized(output, batch.frontier.shape[1:], self.prior)
        target, known = edges.targets(batch.frontier), edges.exist(batch)
        surprise = _cross_entropy(logits, target)
        if self.focusing:
            wrong = jax.nn.sigmoid(jnp.where(target, -logits, logits))
            surprise = wrong**self.focusing * surprise
        mean = masked_mean(jnp.where(target, self.positive_weight, 1.0) * surprise, known)
        if self.dice:
            mean = _join(mean, self.dice, _dice(logits, target, known, batch), "dice")
        if self.closure:
            mean = _join(mean, self.closure, _closure(logits, batch), "closure")
        return mean


def _dice(logits: jax.Array, target: jax.Array, known: jax.Array, batch: Batch) -> Mean:
    """1 - 2 sum(p t) / (sum(p^2) + sum(t^2)) of every image, smoothed by one edge."""
    probability = jnp.where(known, jax.nn.sigmoid(logits), 0.0)
    truth = (target & known).astype(probability.dtype)
    axes = (1, 2, 3)
    both = (probability * truth).sum(axes)
    either = jnp.square(probability).sum(axes) + truth.sum(axes)
    return masked_mean(1 - (2 * both + 1) / (either + 1), jnp.asarray(batch.valid))
