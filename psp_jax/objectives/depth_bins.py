"""Losses of depth as a distribution over bins, computed in strips (see `strips`)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from psp_jax.batch import Batch, Prediction
from psp_jax.objectives import bins, losses, strips
from psp_jax.objectives import depth as regression
from psp_jax.objectives.losses import Mean, masked_mean


@dataclasses.dataclass
class DepthCE:
    """Cross-entropy over 256 gray levels (thesis, section 3.4.4.1).

    Attributes:
        max_depth_m: depth of gray level 255; pixels beyond count as level 255.
        decode: what of a distribution is taken for the level.
    """

    max_depth_m: float = 10.0
    decode: bins.Decoder = dataclasses.field(default_factory=bins.Argmax)

    @property
    def channels(self) -> int:
        """256: one per gray level."""
        return bins.GRAY_LEVELS + 1

    def check(self) -> None:
        """Raises ValueError unless the range is positive."""
        regression.expect_positive("max_depth_m", self.max_depth_m)

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 256]` outputs to depth `[B, H, W]` in metres."""
        depths = bins.gray_level_depths(max_depth_m=self.max_depth_m)
        decode = functools.partial(self.decode, values=depths)
        return Prediction(depth=strips.map_pixels(decode, output, size))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the cross-entropy in nats over the pixels with a reading."""
        levels = bins.gray_level(jnp.asarray(batch.depth), max_depth_m=self.max_depth_m)
        values = strips.map_pixels(losses.cross_entropy, output, levels.shape[1:], levels)
        return masked_mean(values, regression.readings(batch))


@dataclasses.dataclass
class DepthBins:
    """Soft-label cross-entropy over log-spaced bins, with two terms on the expected depth.

    Cao et al. 2018 (arXiv:1605.02305) for the labels; the depth is the exponential of the expected
    log (Yin et al. 2019, arXiv:1907.12209), which the scale-invariant log and multi-scale gradient
    losses see as in depth regression.

    Attributes:
        bins: number of bins.
        near_m: near edge of the first bin; nearer depths count as it.
        far_m: far edge of the last bin; farther depths count as it.
        sharpness: of the labels: exp(-sharpness (bins of distance)^2).
        silog_weight: weight of `scale_invariant_log` with BTS's constants.
        gradient_weight: weight of `gradient_matching`.
        gradient_scales: strides 1, 2, 4, ... of it.
    """

    bins: int = 128  # Of 2.8 % each, a tenth of what such networks err.
    near_m: float = 0.3
    far_m: float = 10.0
    sharpness: float = 0.2
    silog_weight: float = 1.0
    gradient_weight: float = 0.5
    gradient_scales: int = 4

    @property
    def channels(self) -> int:
        """One per bin."""
        return self.bins

    def check(self) -> None:
        """Raises ValueError unless every field is in its range."""
        _check_bins("bins", self.bins, self.near_m, self.far_m)
        regression.expect_positive("sharpness", self.sharpness)
        for name in ("silog_weight", "gradient_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"config.objective.{name}={getattr(self, name)}: 0 or more was expected"
                )
        if not 1 <= self.gradient_scales <= 8:
            raise ValueError(
                f"config.objective.gradient_scales={self.gradient_scales}: 1 to 8 was expected"
            )

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, bins]` outputs to depth `[B, H, W]` in metres."""
        return Prediction(depth=jnp.exp(strips.map_pixels(self._expected_log, output, size)))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the weighted sum of the three, over the pixels with a reading."""
        known = regression.readings(batch)
        position = bins.log_position(jnp.asarray(batch.depth), self.near_m, self.far_m, self.bins)

        def terms(logits: jax.Array, position: jax.Array) -> tuple[jax.Array, jax.Array]:
            labels = bins.soft_labels(position, self.bins, sharpness=self.sharpness)
            return losses.soft_cross_entropy(logits, labels), self._expected_log(logits)

        entropy, expected = strips.map_pixels(terms, output, known.shape[1:], position)
        difference = expected - regression.log_readings(batch)
        silog = masked_mean(
            losses.scale_invariant_log(difference, known, variance_focus=0.85, scale=10.0),
            known.any((1, 2)),
        )
        gradient = losses.gradient_matching(difference, known, scales=self.gradient_scales)
        mean = masked_mean(entropy, known)
        value = mean.value() + self.silog_weight * silog.value() + self.gradient_weight * gradient
        each = {"cross_entropy": mean.value(), "silog": silog.value(), "gradient": gradient}
        return Mean(value * mean.count, mean.count, each)

    def _expected_log(self, logits: jax.Array) -> jax.Array:
        centers = bins.log_centers(self.near_m, self.far_m, self.bins)
        return bins.Expected()(logits, centers)


@dataclasses.dataclass
class DepthOrdinal:
    """Ordinal regression over log-spaced depths (DORN, Fu et al. 2018, arXiv:1806.02446).

    One sigmoid per threshold says whether it is exceeded. Depth comes from the sum of their
    probabilities, where DORN counts those above one half: it need not jump from bin to bin.

    Attributes:
        thresholds: number of sigmoids; they part [near_m, far_m] into one more bins.
        near_m: near edge of the first bin; nearer depths count as it.
        far_m: far edge of the last bin; farther depths count as it.
    """

    thresholds: int = 80
    near_m: float = 0.3
    far_m: float = 10.0

    @property
    def channels(self) -> int:
        """One per threshold."""
        return self.thresholds

    def check(self) -> None:
        """Raises ValueError unless every field is in its range."""
        _check_bins("thresholds", self.thresholds, self.near_m, self.far_m)

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, thresholds]` outputs to depth `[B, H, W]` in metres."""

        def exceeded(logits: jax.Array) -> jax.Array:
            return jnp.sum(jax.nn.sigmoid(logits), -1)

        first, *_, last = bins.log_centers(self.near_m, self.far_m, self.thresholds + 1)
        share = strips.map_pixels(exceeded, output, size) / self.thresholds
        return Prediction(depth=jnp.exp(first + share * (last - first)))

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the loss in nats, summed over the thresholds, over the pixels with a reading."""
        depth, count = jnp.asarray(batch.depth), self.thresholds + 1
        position = bins.log_position(depth, self.near_m, self.far_m, count)
        rank = jnp.round(position).astype(jnp.int32)
        values = strips.map_pixels(losses.ordinal, output, depth.shape[1:], rank)
        return masked_mean(values, regression.readings(batch))


def _check_bins(name: str, count: int, near_m: float, far_m: float) -> None:
    if not 2 <= count <= 4096:
        raise ValueError(f"config.objective.{name}={count}: 2 to 4096 was expected")
    regression.expect_positive("near_m", near_m)
    if not near_m < far_m < float("inf"):
        raise ValueError(f"config.objective.far_m={far_m}: more than near_m={near_m} was expected")
