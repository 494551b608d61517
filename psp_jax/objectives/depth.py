"""Depth regression: one output per pixel, which stands for depth or for its log.

A loss is a dataclass on `AffineDepth` or `LogDepth` that implements `mean_error`.
"""

import abc
import dataclasses
import math

import jax
import jax.numpy as jnp

from psp_jax.batch import Batch, Prediction
from psp_jax.io import ranges
from psp_jax.models import resampling
from psp_jax.objectives import bins, losses
from psp_jax.objectives.losses import Mean, masked_mean

GRADIENT_SCALES = 3  # Strides 1, 2 and 4.


@dataclasses.dataclass
class Regression(abc.ABC):
    """An objective with one output per pixel, resized to the image.

    Attributes:
        center_m: depth in metres where the output is 0.
    """

    # The median depth of indoor frames is between 2 and 3 m.
    center_m: float = ranges.number(2.5, above=0)

    @property
    def channels(self) -> int:
        """One: depth or its log."""
        return 1

    @abc.abstractmethod
    def to_depth(self, output: jax.Array) -> jax.Array:
        """Maps outputs to depth in metres, elementwise."""

    @abc.abstractmethod
    def mean_error(self, output: jax.Array, depth: jax.Array, known: jax.Array) -> Mean:
        """Returns the loss of a batch.

        Args:
            output: `[B, H, W]` float32 outputs.
            depth: `[B, H, W]` float32 metres; 0 marks no reading.
            known: `[B, H, W]` bool, True for the pixels that count.
        """

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 1]` outputs to depth `[B, H, W]` in metres."""
        return Prediction(depth=self.to_depth(resampling.resize(output, size)[..., 0]))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the loss of `[B, h, w, 1]` outputs over the pixels with a reading."""
        depth = jnp.asarray(batch.depth)
        resized = resampling.resize(output, depth.shape[1:])[..., 0]
        return self.mean_error(resized, depth, readings(batch))


@dataclasses.dataclass
class AffineDepth(Regression):
    """Depth as `center_m + scale_m * output`.

    Attributes:
        scale_m: metres in one unit of the output.
    """

    scale_m: float = ranges.number(1.0, above=0)

    def to_depth(self, output: jax.Array) -> jax.Array:
        """Maps outputs to depth in metres, elementwise."""
        return self.center_m + self.scale_m * output


@dataclasses.dataclass
class LogDepth(Regression):
    """Depth as `center_m * exp(output)`, which is never negative."""

    def log_depth(self, output: jax.Array) -> jax.Array:
        """Maps outputs to the natural log of depth, elementwise."""
        return math.log(self.center_m) + output

    def to_depth(self, output: jax.Array) -> jax.Array:
        """Maps outputs to depth in metres, elementwise."""
        return jnp.exp(self.log_depth(output))


@dataclasses.dataclass
class DepthMSE(AffineDepth):
    """Mean squared error of depth in m^2 (thesis, section 3.4.4.1).

    The thesis regresses gray levels, which differ from metres by a constant factor.
    """

    def mean_error(self, output: jax.Array, depth: jax.Array, known: jax.Array) -> Mean:
        """Returns the squared error in m^2."""
        return masked_mean(jnp.square(self.to_depth(output) - depth), known)


@dataclasses.dataclass
class DepthBerHu(AffineDepth):
    """Reverse Huber loss of depth in metres (Laina et al. 2016, arXiv:1606.00373)."""

    def mean_error(self, output: jax.Array, depth: jax.Array, known: jax.Array) -> Mean:
        """Returns the loss in metres."""
        residual = self.to_depth(output) - depth
        return masked_mean(losses.berhu(residual, losses.berhu_threshold(residual, known)), known)


@dataclasses.dataclass
class DepthMSLE(LogDepth):
    """Mean squared logarithmic error of gray levels, ln(1 + level) (thesis, section 3.4.4.1).

    Deviation: the output is the log of depth; the thesis does not give its parametrization.

    Attributes:
        max_depth_m: depth of gray level 255 in metres.
    """

    max_depth_m: float = ranges.number(10.0, above=0)

    def mean_error(self, output: jax.Array, depth: jax.Array, known: jax.Array) -> Mean:
        """Returns the squared error of ln(1 + level)."""
        levels_per_m = bins.GRAY_LEVELS / self.max_depth_m
        log_level = self.log_depth(output) + math.log(levels_per_m)
        return masked_mean(losses.squared_log_error(log_level, depth * levels_per_m), known)


@dataclasses.dataclass
class DepthSILog(LogDepth):
    """Scale-invariant log loss (Eigen et al. 2014, in the form of BTS): see `losses`.

    Attributes:
        variance_focus: 0 counts an error of the image's scale like any other, 1 ignores it.
        scale: factor of the loss.
        gradient_weight: weight of `losses.gradient_matching`, which keeps depth discontinuities
            sharp and surfaces flat; 0 leaves it out.
    """

    variance_focus: float = ranges.number(0.85, least=0, most=1)
    scale: float = ranges.number(10.0, above=0)
    gradient_weight: float = ranges.number(0.0, least=0)

    def mean_error(self, output: jax.Array, depth: jax.Array, known: jax.Array) -> Mean:
        """Returns the mean over the images that have a reading."""
        error = self.log_depth(output) - log_readings(depth)
        values = losses.scale_invariant_log(
            error, known, variance_focus=self.variance_focus, scale=self.scale
        )
        mean = masked_mean(values, known.any((1, 2)))
        if self.gradient_weight == 0:
            return mean
        terms = {
            "silog": mean.value(),
            "gradient": losses.gradient_matching(error, known, scales=GRADIENT_SCALES),
        }
        total = mean.total + mean.count * self.gradient_weight * terms["gradient"]
        return Mean(total, mean.count, terms)


def readings(batch: Batch) -> jax.Array:
    """Marks the pixels whose depth is known, except in padding images: `[B, H, W]` bool."""
    return (jnp.asarray(batch.depth) > 0) & jnp.asarray(batch.valid)[:, None, None]


def log_readings(depth: jax.Array) -> jax.Array:
    """Returns the natural log of depth in metres, and 0 where there is no reading."""
    return jnp.log(jnp.where(depth > 0, depth, 1.0))
