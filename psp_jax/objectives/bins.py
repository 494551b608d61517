"""Depth as classes: where bins lie, which one a depth falls into, what a distribution means."""

import dataclasses
import math
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.batch import Array

GRAY_LEVELS = 255  # Level 255 stands for the far end of the range.


def gray_level(depth: Array, *, max_depth_m: float) -> jax.Array:
    """Rounds depth in metres to int32 gray levels 0 to 255 of [0, `max_depth_m`]."""
    level = jnp.round(jnp.clip(depth, 0.0, max_depth_m) * (GRAY_LEVELS / max_depth_m))
    return level.astype(jnp.int32)


def gray_level_depths(*, max_depth_m: float) -> np.ndarray:
    """Returns the `[256]` float32 depths of the gray levels in metres."""
    return np.linspace(0, max_depth_m, GRAY_LEVELS + 1, dtype=np.float32)


def log_edges(near_m: float, far_m: float, count: int) -> np.ndarray:
    """Returns the `[count + 1]` float64 edges of bins of equal width in log, in metres.

    Spacing-increasing discretization of DORN (Fu et al. 2018, equation 1) without its shift:
    both ends are depths, not exponents.
    """
    return np.geomspace(near_m, far_m, count + 1)


def log_centers(near_m: float, far_m: float, count: int) -> np.ndarray:
    """Returns the `[count]` float32 natural logs of the geometric centres of those bins."""
    edges = np.log(log_edges(near_m, far_m, count))
    return ((edges[1:] + edges[:-1]) / 2).astype(np.float32)


def log_position(depth: Array, near_m: float, far_m: float, count: int) -> jax.Array:
    """Locates depth between the centres: 0 at the first, `count` - 1 at the last and beyond.

    Args:
        depth: metres; 0, no reading, gives 0 with no gradient.
        near_m, far_m, count: as for `log_edges`.
    """
    width = math.log(far_m / near_m) / count
    inside = jnp.clip(depth, near_m, far_m)  # Before the log, so that it sees no 0.
    return jnp.clip(jnp.log(inside / near_m) / width - 0.5, 0.0, count - 1.0)


def soft_labels(position: jax.Array, count: int, *, sharpness: float) -> jax.Array:
    """Spreads positions over the bins: q_k proportional to exp(-sharpness (position - k)^2).

    Cao et al. 2018 (arXiv:1605.02305, equation 3). Deviation: the position is not rounded to a
    bin first, so that nothing of the depth is lost.
    """
    offset = position[..., None] - jnp.arange(count)
    return jax.nn.softmax(-sharpness * jnp.square(offset), -1)


class Decoder(Protocol):
    """Turns a distribution over bins into one number."""

    def __call__(self, logits: jax.Array, values: np.ndarray) -> jax.Array:
        """Maps `[..., K]` logits to `[...]` numbers, given those of the `[K]` bins."""
        ...


@dataclasses.dataclass(frozen=True)
class Argmax:
    """The value of the likeliest bin."""

    def __call__(self, logits: jax.Array, values: np.ndarray) -> jax.Array:
        """See `Decoder`."""
        return jnp.asarray(values)[jnp.argmax(logits, -1)]


@dataclasses.dataclass(frozen=True)
class Expected:
    """The mean of the values, weighted by probability."""

    def __call__(self, logits: jax.Array, values: np.ndarray) -> jax.Array:
        """See `Decoder`."""
        return jnp.sum(jax.nn.softmax(logits, -1) * values, -1)


@dataclasses.dataclass(frozen=True)
class Median:
    """The value of the first bin at which half of the probability is reached."""

    def __call__(self, logits: jax.Array, values: np.ndarray) -> jax.Array:
        """See `Decoder`."""
        reached = jnp.cumsum(jax.nn.softmax(logits, -1), -1) >= 0.5 - 1e-6  # Rounding of halves.
        return jnp.asarray(values)[jnp.argmax(reached, -1)]
