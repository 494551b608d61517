"""Losses as pure functions of arrays: per pixel first, one `masked_mean` for all.

Logits come as `[..., K]` float32. Pixels without a label may hold any label in range or not: what a
loss returns for them is finite, has a finite gradient, and is left out by `masked_mean`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from psp_jax.batch import Array

TINY = 1e-6  # Below every error that matters; keeps roots and powers differentiable at 0.


class Mean(NamedTuple):
    """A sum of values and their number or weight, so that means can be joined.

    `terms` holds the means of the terms that the values are a weighted sum of, by name, where there
    are several.
    """

    total: jax.Array
    count: jax.Array
    terms: Mapping[str, jax.Array] = {}  # Nobody writes into it.

    def value(self) -> jax.Array:
        """Returns the mean; 0 where there was nothing."""
        return self.total / jnp.where(self.count > 0, self.count, 1)


def masked_mean(values: Array, mask: Array, weights: Array | None = None) -> Mean:
    """Sums `values` where `mask` holds; what lies outside the mask may be NaN.

    With `weights`, each value counts as much as its weight says.
    """
    if weights is None:
        total = jnp.sum(jnp.where(mask, values, 0.0))
        return Mean(total, jnp.sum(mask).astype(jnp.float32))
    weights = jnp.where(mask, weights, 0.0)
    return Mean(jnp.sum(weights * jnp.where(mask, values, 0.0)), jnp.sum(weights))


# Regression.


def squared_log_error(log_predicted: Array, target: Array) -> jax.Array:
    """Computes (ln(1 + d) - ln(1 + t))^2, as Keras does, for the prediction d given as its log."""
    return jnp.square(jax.nn.softplus(log_predicted) - jnp.log1p(target))


def berhu(residual: Array, threshold: Array) -> jax.Array:
    """Computes the reverse Huber loss (Laina et al. 2016, arXiv:1606.00373, equation 1).

    |r| up to the threshold c, (r^2 + c^2) / 2c beyond: value and slope are continuous.
    """
    size = jnp.abs(residual)
    c = jnp.maximum(threshold, TINY)
    return jnp.where(size <= c, size, (jnp.square(residual) + jnp.square(c)) / (2 * c))


def berhu_threshold(residual: Array, mask: Array) -> jax.Array:
    """Returns c = max |r| / 5 over the batch, a constant to the gradient (ibid., section 3.2)."""
    largest = jnp.max(jnp.where(mask, jnp.abs(residual), 0.0))
    return jax.lax.stop_gradient(largest / 5)


def scale_invariant_log(
    difference: Array, mask: Array, *, variance_focus: float, scale: float
) -> jax.Array:
    """Computes scale * sqrt(mean e^2 - variance_focus * (mean e)^2) of every image.

    Eigen et al. 2014 (arXiv:1406.2283, equation 4) without the root and with a focus of 0.5; the
    root, 0.85 and a scale of 10 are those of BTS (Lee et al. 2019, arXiv:1907.10326, equation 4).
    Deviation: e is averaged over each image, where BTS averages over the batch.

    Args:
        difference: `[B, H, W]` e = ln d - ln t; anything outside the mask.
        mask: `[B, H, W]` bool.
        variance_focus: 0 punishes a wrong scale as any other error, 1 not at all.
        scale: factor of the loss.

    Returns:
        `[B]` losses; images without a pixel have `scale * sqrt(TINY)` and no gradient.
    """
    count = jnp.maximum(mask.sum((1, 2)), 1)
    e = jnp.where(mask, difference, 0.0)
    mean = e.sum((1, 2)) / count
    # mean e^2 - f (mean e)^2 = variance + (1 - f) (mean e)^2, which can't cancel below 0.
    deviation = jnp.where(mask, e - mean[:, None, None], 0.0)
    variance = jnp.square(deviation).sum((1, 2)) / count
    return scale * jnp.sqrt(variance + (1 - variance_focus) * jnp.square(mean) + TINY)


def gradient_matching(difference: Array, mask: Array, *, scales: int) -> jax.Array:
    """Computes the multi-scale gradient loss (Li and Snavely 2018, arXiv:1804.00607, equation 5).

    The sum over strides 1, 2, 4, ... of the mean |dx e| + |dy e| between neighbours that both lie
    in the mask. Deviation: each direction is divided by its number of pairs, not of pixels, so that
    holes make no difference.

    Args:
        difference: `[B, H, W]` e = ln d - ln t; anything outside the mask.
        mask: `[B, H, W]` bool.
        scales: number of strides.
    """
    e = jnp.where(mask, difference, 0.0)
    total = jnp.zeros(())
    for scale in range(scales):
        step = 2**scale
        coarse, known = e[:, ::step, ::step], mask[:, ::step, ::step]
        across = masked_mean(
            jnp.abs(coarse[:, :, 1:] - coarse[:, :, :-1]), known[:, :, 1:] & known[:, :, :-1]
        )
        along = masked_mean(jnp.abs(coarse[:, 1:] - coarse[:, :-1]), known[:, 1:] & known[:, :-1])
        total += across.value() + along.value()
    return total


# Classes.


def cross_entropy(logits: Array, labels: Array) -> jax.Array:
    """Computes -ln p of the labels: `[...]` integers for `[..., K]` logits."""
    return jax.nn.logsumexp(logits, -1) - _logit_of(logits, labels)


def soft_cross_entropy(logits: Array, targets: Array) -> jax.Array:
    """Computes -sum q ln p for distributions q given as `targets`, `[..., K]` as the logits."""
    return jax.nn.logsumexp(logits, -1) - jnp.sum(targets * logits, -1)


def focal(logits: Array, labels: Array, *, gamma: float) -> jax.Array:
    """Computes -(1 - p)^gamma ln p of the labels (Lin et al. 2017, arXiv:1708.02002)."""
    surprise = cross_entropy(logits, labels)
    wrong = jnp.maximum(-jnp.expm1(-surprise), TINY)
    return wrong**gamma * surprise


def class_weights(labels: Array, weights: Sequence[float]) -> jax.Array:
    """Looks the weight of every label up; a label out of range has weight 0."""
    table = jnp.asarray((*weights, 0.0), jnp.float32)
    return table[jnp.clip(jnp.asarray(labels).astype(jnp.int32), 0, len(weights))]


def _logit_of(logits: Array, labels: Array) -> jax.Array:
    # A comparison fuses with the sum; a gather would scatter in the backward pass.
    chosen = jnp.arange(logits.shape[-1]) == jnp.asarray(labels)[..., None]
    return jnp.sum(jnp.where(chosen, logits, 0.0), -1)


# Yes or no.


def sigmoid_cross_entropy(logits: Array, labels: Array) -> jax.Array:
    """Computes -ln p of the labels, 0 to 1, for logits of the same shape."""
    return jax.nn.softplus(logits) - labels * logits


def sigmoid_focal(logits: Array, labels: Array, *, gamma: float) -> jax.Array:
    """Computes -(1 - p)^gamma ln p of the labels, 0 or 1 (Lin et al. 2017)."""
    margin = jnp.where(labels > 0, logits, -logits)
    # 1 - p is the sigmoid of -margin; its power is taken in log, where it can't vanish.
    return jnp.exp(gamma * jax.nn.log_sigmoid(-margin)) * jax.nn.softplus(-margin)


def dice(probabilities: Array, labels: Array, mask: Array) -> jax.Array:
    """Computes 1 - 2 sum(p y) / (sum p^2 + sum y^2) (Milletari et al. 2016, arXiv:1606.04797).

    Args:
        probabilities: `[B, ...]` float32.
        labels: `[B, ...]` 0 or 1.
        mask: `[B, ...]` bool.

    Returns:
        `[B]` losses; 0 where neither labels nor probabilities have anything in the mask.
    """
    axes = tuple(range(1, probabilities.ndim))
    p = jnp.where(mask, probabilities, 0.0)
    y = jnp.where(mask, labels, 0).astype(jnp.float32)
    whole = jnp.square(p).sum(axes) + jnp.square(y).sum(axes)
    return 1 - (2 * (p * y).sum(axes) + TINY) / (whole + TINY)


def ordinal(logits: Array, rank: Array) -> jax.Array:
    """Computes the ordinal loss (Fu et al. 2018, arXiv:1806.02446, equation 2).

    -sum over k < rank of ln P_k, - sum over k >= rank of ln(1 - P_k). Deviation: one sigmoid
    per threshold instead of a softmax over two outputs, which is the same function with half the
    outputs.

    Args:
        logits: `[..., K]`, of P_k = the probability that more than k thresholds are exceeded.
        rank: `[...]` integers 0 to K: how many thresholds are exceeded.
    """
    exceeded = jnp.arange(logits.shape[-1]) < jnp.asarray(rank)[..., None]
    return jnp.sum(jax.nn.softplus(logits) - jnp.where(exceeded, logits, 0.0), -1)
