"""Depth as classes: gray levels, and bins of equal width in log depth."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.batch import Array

GRAY_LEVELS = 255  # The thesis's gray images: level 255 is the far end of the range.


def gray_level(depth: Array, *, max_depth_m: float) -> jax.Array:
    """Rounds depth in metres to int32 gray levels 0 to 255 of [0, `max_depth_m`]."""
    level = jnp.round(jnp.clip(depth, 0.0, max_depth_m) * (GRAY_LEVELS / max_depth_m))
    return level.astype(jnp.int32)


def gray_level_depths(*, max_depth_m: float) -> np.ndarray:
    """Returns the `[256]` float32 depths of the gray levels in metres."""
    return np.linspace(0, max_depth_m, GRAY_LEVELS + 1, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class LogBins:
    """Bins of equal width in log depth.

    Spacing-increasing discretization (Fu et al. 2018, arXiv:1806.02446, equation 1).
    Deviation: no shift, since `near_m` is above 0.

    Attributes:
        near_m: near edge of the first bin in metres, above 0.
        far_m: far edge of the last bin in metres.
        count: number of bins.
    """

    near_m: float
    far_m: float
    count: int

    def edges(self) -> np.ndarray:
        """Returns the `[count + 1]` float64 edges in metres."""
        return np.geomspace(self.near_m, self.far_m, self.count + 1)

    def log_centers(self) -> np.ndarray:
        """Returns the `[count]` float32 natural logs of the geometric centres in metres."""
        edges = np.log(self.edges())
        return ((edges[1:] + edges[:-1]) / 2).astype(np.float32)

    def position(self, depth: Array) -> jax.Array:
        """Locates depth in metres between the centres, without a gradient where it is 0.

        The first centre is 0, the last `count` - 1; depths beyond them are clipped to these.
        """
        width = math.log(self.far_m / self.near_m) / self.count
        inside = jnp.clip(depth, self.near_m, self.far_m)  # Before the log, for a finite gradient.
        return jnp.clip(jnp.log(inside / self.near_m) / width - 0.5, 0.0, self.count - 1.0)


def soft_labels(position: jax.Array, count: int, *, sharpness: float) -> jax.Array:
    """Spreads positions over the bins: q_k proportional to exp(-sharpness (position - k)^2).

    Cao et al. 2018 (arXiv:1605.02305, equation 3).
    Deviation: the position is not rounded to a bin first, which would lose precision.

    Args:
        position: `[...]` positions from `LogBins.position`.
        count: number of bins.
        sharpness: the larger, the narrower is the distribution.

    Returns:
        `[..., count]` float32 probabilities.
    """
    offset = position[..., None] - jnp.arange(count)
    return jax.nn.softmax(-sharpness * jnp.square(offset), -1)


def expected_value(logits: jax.Array, values: np.ndarray) -> jax.Array:
    """Returns the `[...]` means of the `[K]` values under a softmax of `[..., K]` logits."""
    return jnp.sum(jax.nn.softmax(logits, -1) * values, -1)
