"""Metrics of predicted depth: image by image on device, averaged over images on the host."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.batch import Array, Batch
from psp_jax.metrics import bootstrap
from psp_jax.objectives import bins

MIN_DEPTH_M = 1e-3  # Lower bound of predictions, as in the BTS and ZoeDepth evaluations.
MIN_READINGS = 10  # Images with fewer readings are left out: their metrics are mostly chance.
# Ratios of depth that make two neighbours a boundary: those of Depth Pro's evaluation.
BOUNDARY_RATIOS = np.linspace(1.05, 1.25, 10)


def depth_metrics(
    predicted: jax.Array, batch: Batch, *, max_depth_m: float
) -> dict[str, jax.Array]:
    """Compares depth with the readings, image by image (Eigen et al. 2014, section 4.2).

    With d the prediction, t the reading, e = ln d - ln t, and means over an image's readings:

    - `abs_rel` = mean |d - t| / t, `sq_rel_m` = mean (d - t)^2 / t in metres, `mae_m` and `rmse_m`
      in metres, `rmse_log` = root of mean e^2, `log10` = mean |log10 d - log10 t|, `bias_log` =
      mean e, `silog` = 100 * root of mean e^2 - (mean e)^2, as KITTI and BTS have it;
    - `delta1`, `delta2`, `delta3`: share with max(d / t, t / d) < 1.25, 1.25^2, 1.25^3;
    - `mad_levels` = mean |d - t| in gray levels, `level_accuracy` = share in the right level; both
      depend on `max_depth_m`;
    - `abs_rel_median`, `rmse_m_median`, `delta1_median`: after the prediction was multiplied by the
      ratio of the medians; `..._affine`: after it was fitted to the readings by least squares.
      They ignore errors of scale, and are not comparable with the others;
    - `boundary_f1`, see there.

    Args:
        predicted: `[B, H, W]` float32 metres; clipped to [`MIN_DEPTH_M`, `max_depth_m`], before and
            after an alignment.
        batch: readings beyond `max_depth_m` are left out.
        max_depth_m: depth of gray level 255, metres.

    Returns:
        `[B]` arrays: the metrics, `pixels` = the number of readings, and `counted`, False for
        padding and images with fewer than `MIN_READINGS` readings.
    """
    truth = jnp.asarray(batch.depth)
    mask = (truth > 0) & (truth <= max_depth_m)
    depth = jnp.clip(predicted, MIN_DEPTH_M, max_depth_m)
    metrics = _errors(depth, truth, mask, max_depth_m=max_depth_m)
    for name, align in (("median", _median_aligned), ("affine", _affine_aligned)):
        aligned = jnp.clip(align(depth, truth, mask), MIN_DEPTH_M, max_depth_m)
        errors = _errors(aligned, truth, mask, max_depth_m=max_depth_m)
        metrics |= {f"{key}_{name}": errors[key] for key in ("abs_rel", "rmse_m", "delta1")}
    pixels = mask.sum((1, 2))
    return metrics | {
        "boundary_f1": boundary_f1(depth, truth, mask),
        "pixels": pixels,
        "counted": (pixels >= MIN_READINGS) & jnp.asarray(batch.valid),
    }


def brief_depth_metrics(
    predicted: jax.Array, batch: Batch, *, max_depth_m: float
) -> dict[str, jax.Array]:
    """Computes only `abs_rel`, `rmse_m` and `delta1` of `depth_metrics`, for use during training.

    Under jit the metrics that are dropped are not computed.
    """
    metrics = depth_metrics(predicted, batch, max_depth_m=max_depth_m)
    return {name: metrics[name] for name in ("abs_rel", "rmse_m", "delta1", "pixels", "counted")}


def _errors(
    depth: jax.Array, truth: jax.Array, mask: jax.Array, *, max_depth_m: float
) -> dict[str, jax.Array]:
    # Where there is no reading both become 1, so that no division is by zero.
    depth, truth = jnp.where(mask, depth, 1.0), jnp.where(mask, truth, 1.0)
    difference, ratio = jnp.abs(depth - truth), jnp.maximum(depth / truth, truth / depth)
    e = jnp.log(depth) - jnp.log(truth)
    bias = _mean(e, mask)
    levels = [bins.gray_level(x, max_depth_m=max_depth_m) for x in (depth, truth)]
    return {
        "abs_rel": _mean(difference / truth, mask),
        "sq_rel_m": _mean(jnp.square(difference) / truth, mask),
        "mae_m": _mean(difference, mask),
        "rmse_m": jnp.sqrt(_mean(jnp.square(difference), mask)),
        "rmse_log": jnp.sqrt(_mean(jnp.square(e), mask)),
        "log10": _mean(jnp.abs(e), mask) / np.log(10),
        "bias_log": bias,
        "silog": 100 * jnp.sqrt(_mean(jnp.square(e - bias[:, None, None]), mask)),
        "delta1": _mean(ratio < 1.25, mask),
        "delta2": _mean(ratio < 1.25**2, mask),
        "delta3": _mean(ratio < 1.25**3, mask),
        "mad_levels": _mean(difference, mask) * (bins.GRAY_LEVELS / max_depth_m),
        "level_accuracy": _mean(levels[0] == levels[1], mask),
    }


def _mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.where(mask, values, 0.0).sum((1, 2)) / jnp.maximum(mask.sum((1, 2)), 1)


def _median(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Computes the median of every image's masked positive values, `[B]`; 0 without any.

    Bisects the bits, which order positive floats: three times as fast as sorting.
    """
    count = mask.sum((1, 2))
    key = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32)
    key = jnp.where(mask, key, jnp.iinfo(jnp.int32).max)

    def ranked(rank: jax.Array) -> jax.Array:
        """Returns the value that `rank` others lie below, bit by bit."""

        def step(index: jax.Array, value: jax.Array) -> jax.Array:
            higher = value | (1 << (30 - index))
            below = (key < higher[:, None, None]).sum((1, 2))
            return jnp.where(below <= rank, higher, value)

        value = jax.lax.fori_loop(0, 31, step, jnp.zeros_like(rank))
        return jax.lax.bitcast_convert_type(value, jnp.float32)

    middle = (ranked(jnp.maximum(count - 1, 0) // 2) + ranked(count // 2)) / 2
    return jnp.where(count > 0, middle, 0.0)


def _median_aligned(depth: jax.Array, truth: jax.Array, mask: jax.Array) -> jax.Array:
    ratio = _median(truth, mask) / jnp.maximum(_median(depth, mask), MIN_DEPTH_M)
    return depth * ratio[:, None, None]


def _affine_aligned(depth: jax.Array, truth: jax.Array, mask: jax.Array) -> jax.Array:
    mean_depth, mean_truth = _mean(depth, mask), _mean(truth, mask)
    deviation = depth - mean_depth[:, None, None]
    covariance = _mean(deviation * (truth - mean_truth[:, None, None]), mask)
    variance = _mean(jnp.square(deviation), mask)
    # A constant prediction can only be shifted.
    scale = jnp.where(variance > 1e-12, covariance / jnp.maximum(variance, 1e-12), 0.0)
    return scale[:, None, None] * deviation + mean_truth[:, None, None]


def boundary_f1(predicted: Array, truth: Array, mask: Array) -> jax.Array:
    """Scores the depth boundaries between neighbours (Bochkovskii et al. 2024, arXiv:2410.02073).

    Two neighbours are a boundary if their depths differ by more than a ratio; a predicted boundary
    is right if it is a true one with the same neighbour nearer. F1 is averaged over
    `BOUNDARY_RATIOS`, weighted by the ratios; it does not depend on the scale of depth. Deviations:
    only pairs inside the mask count, while the original counts the border of every hole as a
    boundary; the four directions are pooled, because the original's average over directions is
    below 1 for a perfect prediction of a scene without boundaries in one of them; ratios at which
    an image has no true boundary are left out.

    Args:
        predicted: `[B, H, W]` float32, above 0.
        truth: `[B, H, W]` float32; anything outside the mask.
        mask: `[B, H, W]` bool.

    Returns:
        `[B]`; NaN for images without any true boundary.
    """
    mask = jnp.asarray(mask)
    steps, true_steps = (
        _log_steps(jnp.where(mask, depth, 1.0), mask) for depth in (predicted, truth)
    )

    def score(limit: jax.Array) -> tuple[jax.Array, jax.Array]:
        hits, predictions, truths = 0, 0, 0
        for axis in range(2):
            for positive, true in (
                (steps[axis] > limit, true_steps[axis] > limit),
                (steps[axis] < -limit, true_steps[axis] < -limit),
            ):
                hits += (positive & true).sum((1, 2))
                predictions += positive.sum((1, 2))
                truths += true.sum((1, 2))
        return 2 * hits / jnp.maximum(predictions + truths, 1), jnp.asarray(truths) > 0

    scores, exist = jax.lax.map(score, jnp.log(jnp.asarray(BOUNDARY_RATIOS, jnp.float32)))
    weights = jnp.asarray(BOUNDARY_RATIOS, jnp.float32)[:, None] * exist
    return (scores * weights).sum(0) / weights.sum(0)


def _log_steps(depth: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns differences of ln depth to the right and below, 0 where a pixel is masked out."""
    log = jnp.log(depth)
    across, along = log[:, :, 1:] - log[:, :, :-1], log[:, 1:] - log[:, :-1]
    return (
        jnp.where(mask[:, :, 1:] & mask[:, :, :-1], across, 0.0),
        jnp.where(mask[:, 1:] & mask[:, :-1], along, 0.0),
    )


class Averages:
    """Collects the metrics of every image and averages them over the counted images in float64."""

    def __init__(self):
        """Starts empty."""
        self._columns: dict[str, list[np.ndarray]] = {}

    def add(self, metrics: Mapping[str, Array]) -> None:
        """Adds the result of `depth_metrics` for a batch."""
        for name, value in metrics.items():
            self._columns.setdefault(name, []).append(np.asarray(value, np.float64))

    @property
    def counted(self) -> np.ndarray:
        """`[N]` bool, whether each image counts, in the order they were added."""
        return np.concatenate([np.zeros(0), *self._columns.get("counted", [])]).astype(bool)

    @property
    def images(self) -> int:
        """Number of counted images."""
        return int(self.counted.sum())

    def columns(self) -> dict[str, np.ndarray]:
        """Returns every metric and `pixels` of every image, `[N]` float64; NaN if not counted."""
        counted = self.counted
        return {
            name: np.where(counted, np.concatenate(values), np.nan)
            for name, values in self._columns.items()
            if name != "counted"
        }

    def means(self) -> dict[str, float]:
        """Returns the means over the counted images; metrics that no image has are left out."""
        return {
            name: bootstrap.mean(values)
            for name, values in self.columns().items()
            if name != "pixels" and not np.isnan(values).all()
        }

    def pooled(self) -> dict[str, float]:
        """Returns the metrics over the readings of all images together.

        `boundary_f1` has no such form and is left out.
        """
        columns = {name: values[self.counted] for name, values in self.columns().items()}
        pixels = columns.pop("pixels")
        share = pixels / max(pixels.sum(), 1)
        pooled = {}
        for name, values in columns.items():
            if name.startswith("rmse"):
                pooled[name] = float(np.sqrt((share * values**2).sum()))
            elif name not in ("silog", "boundary_f1"):
                pooled[name] = float((share * values).sum())
        variance = pooled["rmse_log"] ** 2 - pooled["bias_log"] ** 2
        return pooled | {"silog": 100 * float(np.sqrt(max(variance, 0.0)))}
