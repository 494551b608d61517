"""Depth figures: computed per image on device, averaged over the images on the host."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.batch import Array, Batch

GRAY_LEVELS = 255  # Level 255 stands for the far end of the range.
MIN_DEPTH_M = 1e-3  # Lower bound of predictions, as in the BTS and ZoeDepth evaluations.
MIN_READINGS = 10  # Images with fewer readings say nothing and are left out.
DEPTH_FIGURES = ("abs_rel", "rmse_m", "delta1", "mad_levels")


def depth_figures(predicted: jax.Array, batch: Batch, *, range_m: float) -> dict[str, jax.Array]:
    """Compares depth with the readings, image by image (Eigen et al. 2014, section 4.2).

    Args:
        predicted: `[B, H, W]` float32 metres; clipped to [`MIN_DEPTH_M`, `range_m`].
        batch: readings beyond `range_m` are left out.
        range_m: depth of gray level 255, metres.

    Returns:
        `[B]` arrays: `abs_rel` = mean |d - t| / t, `rmse_m` in metres, `delta1` = share with
        max(d / t, t / d) < 1.25, `mad_levels` = mean |d - t| in gray levels of the range, and
        `counted`, False for padding and images with fewer than `MIN_READINGS` readings.
    """
    truth = jnp.asarray(batch.depth)
    mask = (truth > 0) & (truth <= range_m)
    count = mask.sum((1, 2))
    # Where there is no reading both become 1, so that no division is by zero.
    depth = jnp.where(mask, jnp.clip(predicted, MIN_DEPTH_M, range_m), 1.0)
    truth = jnp.where(mask, truth, 1.0)
    difference = jnp.abs(depth - truth)

    def mean(values: jax.Array) -> jax.Array:
        return jnp.where(mask, values, 0.0).sum((1, 2)) / jnp.maximum(count, 1)

    return {
        "abs_rel": mean(difference / truth),
        "rmse_m": jnp.sqrt(mean(jnp.square(difference))),
        "delta1": mean(jnp.maximum(depth / truth, truth / depth) < 1.25),
        "mad_levels": mean(difference) * (GRAY_LEVELS / range_m),
        "counted": (count >= MIN_READINGS) & jnp.asarray(batch.valid),
    }


class Averages:
    """Gathers per-image figures and averages them over the counted images in float64."""

    def __init__(self):
        """Starts empty."""
        self._values: dict[str, list[np.ndarray]] = {}
        self.images = 0

    def add(self, figures: Mapping[str, Array]) -> None:
        """Adds what `depth_figures` returned for a batch."""
        arrays = {name: np.asarray(value) for name, value in figures.items()}
        counted = arrays.pop("counted")
        self.images += int(counted.sum())
        for name, value in arrays.items():
            self._values.setdefault(name, []).append(value[counted].astype(np.float64))

    def means(self) -> dict[str, float]:
        """Returns the mean of every figure over the counted images; NaN without any."""
        joined = {name: np.concatenate(values) for name, values in self._values.items()}
        return {name: float(v.mean()) if v.size else float("nan") for name, v in joined.items()}
