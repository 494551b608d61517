"""Losses as pure functions of arrays: one value per pixel, then `masked_mean`.

Logits are `[..., K]` float32. Pixels without a label may hold any number as label: their loss and
its gradient are finite, and `masked_mean` ignores them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from psp_jax.batch import Array

TINY = 1e-6  # Below every error that matters; keeps roots and powers differentiable at 0.


class Mean(NamedTuple):
    """A mean as a sum and a count, so that the means of batches can be combined.

    Attributes:
        total: `[]` float32 sum of the weighted values.
        count: `[]` float32 sum of their weights.
        terms: `[]` float32 mean of each term by name, if the loss is a weighted sum of terms.
    """

    total: jax.Array
    count: jax.Array
    terms: Mapping[str, jax.Array] = {}  # Never written to.

    def value(self) -> jax.Array:
        """Returns the `[]` mean; 0 if there are no values."""
        return self.total / jnp.where(self.count > 0, self.count, 1)


def masked_mean(values: Array, mask: Array) -> Mean:
    """Averages `values` where `mask`, of the same shape, is True; the others may be NaN."""
    return Mean(jnp.sum(jnp.where(mask, values, 0.0)), jnp.sum(mask).astype(jnp.float32))


# Regression.


def squared_log_error(log_predicted: Array, target: Array) -> jax.Array:
    """Computes (ln(1 + d) - ln(1 + t))^2, as Keras does, from ln d and the target t."""
    return jnp.square(jax.nn.softplus(log_predicted) - jnp.log1p(target))


def berhu(residual: Array, threshold: Array) -> jax.Array:
    """Computes the reverse Huber loss (Laina et al. 2016, arXiv:1606.00373, equation 1).

    It is |r| up to the threshold c and (r^2 + c^2) / 2c beyond, with a continuous slope.
    """
    size = jnp.abs(residual)
    c = jnp.maximum(threshold, TINY)
    return jnp.where(size <= c, size, (jnp.square(residual) + jnp.square(c)) / (2 * c))


def berhu_threshold(residual: Array, mask: Array) -> jax.Array:
    """Returns c = max |r| / 5 over the batch, without a gradient (ibid., section 3.2)."""
    largest = jnp.max(jnp.where(mask, jnp.abs(residual), 0.0))
    return jax.lax.stop_gradient(largest / 5)


def scale_invariant_log(
    difference: Array, mask: Array, *, variance_focus: float, scale: float
) -> jax.Array:
    """Computes scale * sqrt(mean e^2 - variance_focus * (mean e)^2) of every image.

    Eigen et al. 2014 (arXiv:1406.2283, equation 4) has no root and a focus of 0.5; BTS (Lee et al.
    2019, arXiv:1907.10326, equation 4) has the root, a focus of 0.85 and a scale of 10.
    Deviation: e is averaged over each image, where BTS averages over the batch.

    Args:
        difference: `[B, H, W]` float32 e = ln d - ln t; any number outside the mask.
        mask: `[B, H, W]` bool.
        variance_focus: 0 counts an error of the image's scale like any other, 1 ignores it.
        scale: factor of the loss.

    Returns:
        `[B]` float32; images with an empty mask have `scale * sqrt(TINY)` and no gradient.
    """
    count = jnp.maximum(mask.sum((1, 2)), 1)
    e = jnp.where(mask, difference, 0.0)
    mean = e.sum((1, 2)) / count
    # mean e^2 - f (mean e)^2 = variance + (1 - f) (mean e)^2, which rounding cannot make negative.
    deviation = jnp.where(mask, e - mean[:, None, None], 0.0)
    variance = jnp.square(deviation).sum((1, 2)) / count
    return scale * jnp.sqrt(variance + (1 - variance_focus) * jnp.square(mean) + TINY)


def gradient_matching(difference: Array, mask: Array, *, scales: int) -> jax.Array:
    """Computes the multi-scale gradient loss (Li and Snavely 2018, arXiv:1804.00607, equation 5).

    This is the sum over strides 1, 2, 4, ... of the mean |dx e| + |dy e| between neighbours that
    are both in the mask.
    Deviation: each direction is divided by its number of pairs instead of pixels, so that holes do
    not lower the loss.

    Args:
        difference: `[B, H, W]` float32 e = ln d - ln t; any number outside the mask.
        mask: `[B, H, W]` bool.
        scales: number of strides.

    Returns:
        `[]` float32.
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
    """Computes -ln p of `[...]` integer labels under a softmax of `[..., K]` logits."""
    # A comparison fuses with the sum; a gather would need a scatter in the backward pass.
    chosen = jnp.arange(logits.shape[-1]) == jnp.asarray(labels)[..., None]
    return jax.nn.logsumexp(logits, -1) - jnp.sum(jnp.where(chosen, logits, 0.0), -1)


def soft_cross_entropy(logits: Array, targets: Array) -> jax.Array:
    """Computes -sum_k q_k ln p_k of `[..., K]` distributions q under a softmax of the logits."""
    return jax.nn.logsumexp(logits, -1) - jnp.sum(targets * logits, -1)


# Binary labels.


def sigmoid_cross_entropy(logits: Array, labels: Array) -> jax.Array:
    """Computes -ln p of bool labels, elementwise, from the logits of True."""
    return jax.nn.softplus(jnp.where(labels, -logits, logits))


def ordinal(logits: Array, rank: Array) -> jax.Array:
    """Computes the ordinal loss (Fu et al. 2018, arXiv:1806.02446, equation 2).

    It is -sum_{k < rank} ln P_k - sum_{k >= rank} ln(1 - P_k), where P_k is the probability that
    more than k thresholds are exceeded.
    Deviation: P_k is the sigmoid of one output instead of a softmax over two.

    Args:
        logits: `[..., K]` logits of P_k.
        rank: `[...]` integers 0 to K, the number of thresholds that are exceeded.

    Returns:
        `[...]` float32, in nats.
    """
    exceeded = jnp.arange(logits.shape[-1]) < jnp.asarray(rank)[..., None]
    return jnp.sum(jax.nn.softplus(logits) - jnp.where(exceeded, logits, 0.0), -1)
