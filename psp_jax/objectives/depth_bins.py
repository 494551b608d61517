"""Depth as a distribution over bins, with losses that are computed in strips (see `strips`)."""

import dataclasses

import jax
import jax.numpy as jnp

from psp_jax.batch import Batch, Prediction
from psp_jax.io import ranges
from psp_jax.objectives import bins, losses, strips
from psp_jax.objectives.bins import LogBins
from psp_jax.objectives.depth import log_readings, readings
from psp_jax.objectives.losses import Mean, masked_mean

MAX_BINS = 4096


@dataclasses.dataclass
class DepthCE:
    """Cross-entropy over 256 gray levels (thesis, section 3.4.4.1).

    Attributes:
        max_depth_m: depth of gray level 255 in metres; farther pixels count as level 255.
    """

    max_depth_m: float = ranges.number(10.0, above=0)

    @property
    def channels(self) -> int:
        """256: one per gray level."""
        return bins.GRAY_LEVELS + 1

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 256]` outputs to the depth `[B, H, W]` of the likeliest level."""
        depths = jnp.asarray(bins.gray_level_depths(max_depth_m=self.max_depth_m))
        return Prediction(
            depth=strips.map_pixels(lambda logits: depths[jnp.argmax(logits, -1)], output, size)
        )

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the cross-entropy in nats over the pixels with a reading."""
        levels = bins.gray_level(jnp.asarray(batch.depth), max_depth_m=self.max_depth_m)
        values = strips.map_pixels(losses.cross_entropy, output, levels.shape[1:], levels)
        return masked_mean(values, readings(batch))


@dataclasses.dataclass
class DepthBins:
    """Soft-label cross-entropy over log-spaced bins, with two losses of the expected depth.

    The labels are from Cao et al. 2018 (arXiv:1605.02305). The expected depth is the
    exponential of the expected log depth (Yin et al. 2019, arXiv:1907.12209).

    Attributes:
        bins: number of bins.
        near_m: near edge of the first bin in metres; nearer pixels count as this bin.
        far_m: far edge of the last bin in metres; farther pixels count as this bin.
        sharpness: of the soft labels, exp(-sharpness (difference in bins)^2).
        silog_weight: weight of `losses.scale_invariant_log` with the constants of BTS.
        gradient_weight: weight of `losses.gradient_matching`.
        gradient_scales: number of its strides 1, 2, 4, ...
    """

    # A bin is 2.8 % wide, a tenth of the errors of such networks.
    bins: int = ranges.number(128, least=2, most=MAX_BINS)
    near_m: float = ranges.number(0.3, above=0)
    far_m: float = ranges.number(10.0, above="near_m")
    sharpness: float = ranges.number(0.2, above=0)
    silog_weight: float = ranges.number(1.0, least=0)
    gradient_weight: float = ranges.number(0.5, least=0)
    gradient_scales: int = ranges.number(4, least=1, most=8)

    @property
    def channels(self) -> int:
        """One per bin."""
        return self.bins

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, bins]` outputs to depth `[B, H, W]` in metres."""
        return Prediction(depth=jnp.exp(strips.map_pixels(self._expected_log, output, size)))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the weighted sum of the three losses over the pixels with a reading."""
        depth, known = jnp.asarray(batch.depth), readings(batch)

        def pixel_terms(logits: jax.Array, position: jax.Array) -> tuple[jax.Array, jax.Array]:
            labels = bins.soft_labels(position, self.bins, sharpness=self.sharpness)
            return losses.soft_cross_entropy(logits, labels), self._expected_log(logits)

        position = self._log_bins().position(depth)
        entropy, expected = strips.map_pixels(pixel_terms, output, depth.shape[1:], position)
        difference = expected - log_readings(depth)
        silog = masked_mean(
            losses.scale_invariant_log(difference, known, variance_focus=0.85, scale=10.0),
            known.any((1, 2)),
        )
        gradient = losses.gradient_matching(difference, known, scales=self.gradient_scales)
        mean = masked_mean(entropy, known)
        value = mean.value() + self.silog_weight * silog.value() + self.gradient_weight * gradient
        terms = {"cross_entropy": mean.value(), "silog": silog.value(), "gradient": gradient}
        return Mean(value * mean.count, mean.count, terms)

    def _log_bins(self) -> LogBins:
        return LogBins(self.near_m, self.far_m, self.bins)

    def _expected_log(self, logits: jax.Array) -> jax.Array:
        return bins.expected_value(logits, self._log_bins().log_centers())


@dataclasses.dataclass
class DepthOrdinal:
    """Ordinal regression over log-spaced depths (DORN, Fu et al. 2018, arXiv:1806.02446).

    Each output is a logit: the pixel is farther than a threshold. Deviation: depth comes from the
    sum of the probabilities, where DORN counts those above one half, so that it is continuous.

    Attributes:
        thresholds: number of thresholds, which separate `thresholds` + 1 bins.
        near_m: near edge of the first bin in metres; nearer pixels count as this bin.
        far_m: far edge of the last bin in metres; farther pixels count as this bin.
    """

    thresholds: int = ranges.number(80, least=2, most=MAX_BINS)
    near_m: float = ranges.number(0.3, above=0)
    far_m: float = ranges.number(10.0, above="near_m")

    @property
    def channels(self) -> int:
        """One per threshold."""
        return self.thresholds

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, thresholds]` outputs to depth `[B, H, W]` in metres."""

        def exceeded(logits: jax.Array) -> jax.Array:
            return jnp.sum(jax.nn.sigmoid(logits), -1)

        first, *_, last = self._log_bins().log_centers()
        fraction = strips.map_pixels(exceeded, output, size) / self.thresholds
        return Prediction(depth=jnp.exp(first + fraction * (last - first)))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the loss in nats, summed over thresholds, over the pixels with a reading."""
        depth = jnp.asarray(batch.depth)
        rank = jnp.round(self._log_bins().position(depth)).astype(jnp.int32)
        values = strips.map_pixels(losses.ordinal, output, depth.shape[1:], rank)
        return masked_mean(values, readings(batch))

    def _log_bins(self) -> LogBins:
        return LogBins(self.near_m, self.far_m, self.thresholds + 1)
