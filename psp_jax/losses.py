"""Losses as pure functions of arrays: per pixel first, one `masked_mean` for all."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Mean(NamedTuple):
    """A sum of per-pixel values and the number of pixels, so that means can be joined."""

    total: jax.Array
    count: jax.Array

    def value(self) -> jax.Array:
        """Returns the mean; 0 where there was no pixel."""
        return self.total / jnp.maximum(self.count, 1)


def masked_mean(values: jax.Array, mask: jax.Array) -> Mean:
    """Sums `values` where `mask` holds; what lies outside the mask may be NaN."""
    total = jnp.sum(jnp.where(mask, values, 0.0))
    return Mean(total, jnp.sum(mask).astype(jnp.float32))
