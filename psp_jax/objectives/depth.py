"""Losses of depth as one output per pixel, in metres along the optical axis."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from psp_jax.batch import Batch, Prediction
from psp_jax.models import resampling
from psp_jax.objectives import bins, losses
from psp_jax.objectives.losses import Mean, masked_mean


@dataclasses.dataclass
class DepthMSE:
    """Mean squared error of depth in m^2 (thesis, section 3.4.4.1).

    The thesis regresses gray levels; metres differ from them by a constant factor only.

    Attributes:
        center_m: depth where the network's output is 0.
        scale_m: metres in one unit of the output.
    """

    center_m: float = 2.5  # Indoor frames have their median between 2 and 3 m.
    scale_m: float = 1.0

    @property
    def channels(self) -> int:
        """One: depth."""
        return 1

    def check(self) -> None:
        """Raises ValueError unless the scale is positive."""
        expect_positive("scale_m", self.scale_m)

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 1]` outputs to depth `[B, H, W]` in metres."""
        return Prediction(depth=_affine_depth(output, size, self.center_m, self.scale_m))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the squared error in m^2 over the pixels with a reading."""
        depth = jnp.asarray(batch.depth)
        predicted = _affine_depth(output, depth.shape[1:], self.center_m, self.scale_m)
        return masked_mean(jnp.square(predicted - depth), readings(batch))


@dataclasses.dataclass
class DepthBerHu:
    """Reverse Huber loss of depth in metres (Laina et al. 2016, arXiv:1606.00373).

    Attributes:
        center_m: depth where the network's output is 0.
        scale_m: metres in one unit of the output.
    """

    center_m: float = 2.5
    scale_m: float = 1.0

    @property
    def channels(self) -> int:
        """One: depth."""
        return 1

    def check(self) -> None:
        """Raises ValueError unless the scale is positive."""
        expect_positive("scale_m", self.scale_m)

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 1]` outputs to depth `[B, H, W]` in metres."""
        return Prediction(depth=_affine_depth(output, size, self.center_m, self.scale_m))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the loss in metres over the pixels with a reading."""
        depth, known = jnp.asarray(batch.depth), readings(batch)
        predicted = _affine_depth(output, depth.shape[1:], self.center_m, self.scale_m)
        residual = predicted - depth
        threshold = losses.berhu_threshold(residual, known)
        return masked_mean(losses.berhu(residual, threshold), known)


@dataclasses.dataclass
class DepthMSLE:
    """Mean squared logarithmic error of gray levels, ln(1 + level) (thesis, section 3.4.4.1).

    The output is the log of depth, so that no depth is negative; the thesis does not say its own.

    Attributes:
        center_m: depth where the network's output is 0.
        max_depth_m: depth of gray level 255; it decides where the 1 beside the level matters.
    """

    center_m: float = 2.5
    max_depth_m: float = 10.0

    @property
    def channels(self) -> int:
        """One: the log of depth."""
        return 1

    def check(self) -> None:
        """Raises ValueError unless centre and range are positive."""
        expect_positive("center_m", self.center_m)
        expect_positive("max_depth_m", self.max_depth_m)

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 1]` outputs to depth `[B, H, W]` in metres."""
        return Prediction(depth=jnp.exp(_log_depth(output, size, self.center_m)))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the squared error of ln(1 + level) over the pixels with a reading."""
        depth = jnp.asarray(batch.depth)
        levels_per_m = bins.GRAY_LEVELS / self.max_depth_m
        log_level = _log_depth(output, depth.shape[1:], self.center_m) + math.log(levels_per_m)
        return masked_mean(
            losses.squared_log_error(log_level, depth * levels_per_m), readings(batch)
        )


@dataclasses.dataclass
class DepthSILog:
    """Scale-invariant log loss of depth (Eigen et al. 2014; the form of BTS).

    Attributes:
        center_m: depth where the network's output, the log of depth, is 0.
        variance_focus: 0 punishes a wrong scale as any other error, 1 not at all.
        scale: factor of the loss.
    """

    center_m: float = 2.5
    variance_focus: float = 0.85
    scale: float = 10.0

    @property
    def channels(self) -> int:
        """One: the log of depth."""
        return 1

    def check(self) -> None:
        """Raises ValueError unless every field is in its range."""
        expect_positive("center_m", self.center_m)
        expect_positive("scale", self.scale)
        expect_share("variance_focus", self.variance_focus)

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 1]` outputs to depth `[B, H, W]` in metres."""
        return Prediction(depth=jnp.exp(_log_depth(output, size, self.center_m)))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the loss over the images with a reading."""
        known = readings(batch)
        predicted = _log_depth(output, known.shape[1:], self.center_m)
        values = losses.scale_invariant_log(
            predicted - log_readings(batch),
            known,
            variance_focus=self.variance_focus,
            scale=self.scale,
        )
        return masked_mean(values, known.any((1, 2)))


def readings(batch: Batch) -> jax.Array:
    """Marks the pixels whose depth is known, in images that are no padding: `[B, H, W]` bool."""
    return (jnp.asarray(batch.depth) > 0) & jnp.asarray(batch.valid)[:, None, None]


def log_readings(batch: Batch) -> jax.Array:
    """Returns the natural log of depth, 0 where there is no reading: `[B, H, W]`."""
    depth = jnp.asarray(batch.depth)
    return jnp.log(jnp.where(depth > 0, depth, 1.0))


def expect_positive(name: str, value: float) -> None:
    """Raises ValueError unless a field of the objective is a positive number."""
    if not 0 < value < math.inf:
        raise ValueError(f"config.objective.{name}={value}: a positive number was expected")


def expect_share(name: str, value: float) -> None:
    """Raises ValueError unless a field of the objective is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"config.objective.{name}={value}: a number from 0 to 1 was expected")


def _affine_depth(
    output: jax.Array, size: tuple[int, ...], center_m: float, scale_m: float
) -> jax.Array:
    return center_m + scale_m * resampling.resize(output, size)[..., 0]


def _log_depth(output: jax.Array, size: tuple[int, ...], center_m: float) -> jax.Array:
    return math.log(center_m) + resampling.resize(output, size)[..., 0]
