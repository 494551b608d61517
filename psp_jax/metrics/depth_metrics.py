"""Depth figures, image by image on device; class figures from counts streamed over images."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.batch import Array, Batch
from psp_jax.objectives import bins

MIN_DEPTH_M = 1e-3  # Lower bound of predictions, as in the BTS and ZoeDepth evaluations.
MIN_READINGS = 10  # Images with fewer readings say nothing and are left out.
# Ratios of depth that make two neighbours a boundary: those of Depth Pro's evaluation.
BOUNDARY_RATIOS = np.linspace(1.05, 1.25, 10)


def depth_figures(
    predicted: jax.Array, batch: Batch, *, max_depth_m: float
) -> dict[str, jax.Array]:
    """Compares depth with the readings, image by image (Eigen et al. 2014, section 4.2).

    With d the prediction, t the reading, e = ln d - ln t, and means over an image's readings:

    - `abs_rel` = mean |d - t| / t, `sq_rel_m` = mean (d - t)^2 / t in metres, `mae_m` and `rmse_m`
      in metres, `rmse_log` = root of mean e^2, `log10` = mean |log10 d - log10 t|, `bias_log` =
      mean e, `silog` = 100 * root of mean e^2 - (mean e)^2, as KITTI and BTS have it;
    - `delta1`, `delta2`, `delta3`: share with max(d / t, t / d) < 1.25, 1.25^2, 1.25^3;
    - `mad_levels` = mean |d - t| in gray levels, `level_accuracy` = share in the right level; both
      say nothing without `max_depth_m`;
    - `abs_rel_median`, `rmse_m_median`, `delta1_median`: after the prediction was multiplied by the
      ratio of the medians; `..._affine`: after it was fitted to the readings by least squares.
      They forgive the errors of scale that the others are about, and are not comparable with them;
    - `boundary_f1`, see there.

    Args:
        predicted: `[B, H, W]` float32 metres; clipped to [`MIN_DEPTH_M`, `max_depth_m`], before an
            alignment and after it.
        batch: readings beyond `max_depth_m` are left out.
        max_depth_m: depth of gray level 255, metres.

    Returns:
        `[B]` arrays: the figures, `pixels` = the number of readings, and `counted`, False for
        padding and images with fewer than `MIN_READINGS` readings.
    """
    truth = jnp.asarray(batch.depth)
    mask = (truth > 0) & (truth <= max_depth_m)
    depth = jnp.clip(predicted, MIN_DEPTH_M, max_depth_m)
    figures = _errors(depth, truth, mask, max_depth_m=max_depth_m)
    for name, align in (("median", _median_aligned), ("affine", _affine_aligned)):
        aligned = jnp.clip(align(depth, truth, mask), MIN_DEPTH_M, max_depth_m)
        errors = _errors(aligned, truth, mask, max_depth_m=max_depth_m)
        figures |= {f"{key}_{name}": errors[key] for key in ("abs_rel", "rmse_m", "delta1")}
    pixels = mask.sum((1, 2))
    return figures | {
        "boundary_f1": boundary_f1(depth, truth, mask),
        "pixels": pixels,
        "counted": (pixels >= MIN_READINGS) & jnp.asarray(batch.valid),
    }


def brief_depth_figures(
    predicted: jax.Array, batch: Batch, *, max_depth_m: float
) -> dict[str, jax.Array]:
    """Computes `abs_rel`, `rmse_m` and `delta1` of `depth_figures` alone, for a training's lines.

    Args:
        predicted: as there.
        batch: as there.
        max_depth_m: as there.

    Returns:
        `[B]` arrays: the three, `pixels` and `counted`.
    """
    every = depth_figures(
        predicted, batch, max_depth_m=max_depth_m
    )  # Jitted, the others cost nothing.
    return {name: every[name] for name in ("abs_rel", "rmse_m", "delta1", "pixels", "counted")}


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
    """Medians of an image's masked values above 0, as NumPy has them; 0 without any: `[B]`.

    By bisection on the bits, which order positive floats: three times as fast as sorting.
    """
    count = mask.sum((1, 2))
    key = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32)
    key = jnp.where(mask, key, jnp.iinfo(jnp.int32).max)

    def ranked(rank: jax.Array) -> jax.Array:
        """The value that `rank` others lie below, bit by bit."""

        def step(index: jax.Array, found: jax.Array) -> jax.Array:
            higher = found | (1 << (30 - index))
            below = (key < higher[:, None, None]).sum((1, 2))
            return jnp.where(below <= rank, higher, found)

        found = jax.lax.fori_loop(0, 31, step, jnp.zeros_like(rank))
        return jax.lax.bitcast_convert_type(found, jnp.float32)

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

    Two neighbours are a boundary where one is nearer by a ratio, and it is right if the truth has
    it with the same one nearer. F1 is averaged over `BOUNDARY_RATIOS`, weighted by the ratios; it
    does not depend on the scale of depth. Deviations: only pairs that both lie in the mask count,
    where the original makes a boundary of every hole's border; the four directions are counted
    together, where their average is below 1 for a perfect prediction of a scene without boundaries
    in one of them; ratios at which an image has no true boundary are left out.

    Args:
        predicted: `[B, H, W]` float32, above 0.
        truth: `[B, H, W]` float32; anything outside the mask.
        mask: `[B, H, W]` bool.

    Returns:
        `[B]`; NaN for images without any true boundary.
    """
    mask = jnp.asarray(mask)
    found, true = (_log_steps(jnp.where(mask, depth, 1.0), mask) for depth in (predicted, truth))

    def score(limit: jax.Array) -> tuple[jax.Array, jax.Array]:
        hits, marks, wants = 0, 0, 0
        for axis in range(2):
            for marked, wanted in (
                (found[axis] > limit, true[axis] > limit),
                (found[axis] < -limit, true[axis] < -limit),
            ):
                hits += (marked & wanted).sum((1, 2))
                marks += marked.sum((1, 2))
                wants += wanted.sum((1, 2))
        return 2 * hits / jnp.maximum(marks + wants, 1), jnp.asarray(wants) > 0

    scores, exist = jax.lax.map(score, jnp.log(jnp.asarray(BOUNDARY_RATIOS, jnp.float32)))
    weights = jnp.asarray(BOUNDARY_RATIOS, jnp.float32)[:, None] * exist
    return (scores * weights).sum(0) / weights.sum(0)


def _log_steps(depth: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Differences of ln depth to the right and below, 0 where one of the two is masked out."""
    log = jnp.log(depth)
    across, along = log[:, :, 1:] - log[:, :, :-1], log[:, 1:] - log[:, :-1]
    return (
        jnp.where(mask[:, :, 1:] & mask[:, :, :-1], across, 0.0),
        jnp.where(mask[:, 1:] & mask[:, :-1], along, 0.0),
    )


class Averages:
    """Gathers per-image figures and averages them over the counted images in float64."""

    def __init__(self):
        """Starts empty."""
        self._columns: dict[str, list[np.ndarray]] = {}
        self._counted: list[np.ndarray] = []

    def add(self, figures: Mapping[str, Array]) -> None:
        """Adds what `depth_figures` returned for a batch."""
        arrays = {name: np.asarray(value, np.float64) for name, value in figures.items()}
        self._counted.append(arrays.pop("counted").astype(bool))
        for name, value in arrays.items():
            self._columns.setdefault(name, []).append(value)

    @property
    def counted(self) -> np.ndarray:
        """Which of the images added, in order, are counted: bool."""
        return np.concatenate([np.zeros(0, bool), *self._counted])

    @property
    def images(self) -> int:
        """Number of counted images."""
        return int(self.counted.sum())

    def columns(self) -> dict[str, np.ndarray]:
        """Returns every figure, `pixels` included, of the counted images: float64 arrays."""
        counted = self.counted
        return {name: np.concatenate(values)[counted] for name, values in self._columns.items()}

    def means(self) -> dict[str, float]:
        """Returns the mean of every figure over the counted images that it exists for, if any."""
        columns = self.columns()
        columns.pop("pixels", None)
        return {name: mean(v) for name, v in columns.items() if not np.isnan(v).all()}

    def pooled(self) -> dict[str, float]:
        """Returns the figures over all readings at once, which the means over images are not.

        Those of single images and of boundaries have no such form and are left out.
        """
        columns = self.columns()
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


def mean(values: np.ndarray) -> float:
    """Averages what is not NaN; NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def confusion(predicted: Array, truth: Array, mask: Array, *, classes: int) -> jax.Array:
    """Counts pixels by true and predicted class.

    Args:
        predicted: `[B, H, W]` integers below `classes`.
        truth: `[B, H, W]` integers; pixels whose class is not below `classes` are left out.
        mask: `[B, H, W]` bool, the pixels that count.
        classes: number of classes K.

    Returns:
        `[B, K, K]` int32; row = true class, column = predicted class.
    """
    truth = jnp.asarray(truth).astype(jnp.int32)
    cell = truth * classes + jnp.asarray(predicted).astype(jnp.int32)
    cell = jnp.where(jnp.asarray(mask) & (truth < classes), cell, classes**2)
    count = jax.vmap(lambda cells: jnp.bincount(cells.ravel(), length=classes**2 + 1))
    return count(cell)[:, :-1].reshape(-1, classes, classes).astype(jnp.int32)


def class_figures(counts: np.ndarray) -> dict[str, Any]:
    """Computes figures of classes from the counts of `confusion`, added up over images.

    Args:
        counts: `[K, K]` int64; row = true class, column = predicted class; class 0 is interior.

    Returns:
        `accuracy`, and `interior_share`, the accuracy of always saying interior; `iou` of every
        class, NaN where it is neither true nor predicted anywhere; `mean_iou` over the others,
        and `mean_iou_absent_0` over all K with 0 for those; `balanced_accuracy`, the mean recall
        of the classes that are true somewhere; `frontier_found`, the share of the pixels of the
        other classes that are not said to be interior.
    """
    counts = np.asarray(counts, np.float64)
    right, true, said = np.diag(counts), counts.sum(1), counts.sum(0)
    total, union = max(counts.sum(), 1), true + said - right
    iou = np.where(union > 0, right / np.maximum(union, 1), np.nan)
    recall = np.where(true > 0, right / np.maximum(true, 1), np.nan)
    return {
        "accuracy": float(right.sum() / total),
        "interior_share": float(true[0] / total),
        "iou": iou.tolist(),
        "mean_iou": mean(iou),
        "mean_iou_absent_0": float(np.nan_to_num(iou).mean()),
        "balanced_accuracy": mean(recall),
        "frontier_found": float(counts[1:, 1:].sum() / max(true[1:].sum(), 1)),
    }


def class_means(counts: np.ndarray) -> dict[str, float]:
    """Returns what of `class_figures` is one number."""
    figures = class_figures(counts)
    figures.pop("iou")
    return figures


def always_interior(counts: np.ndarray) -> np.ndarray:
    """Returns the counts of a predictor that says class 0 everywhere, from those of another."""
    said = np.zeros_like(counts)
    said[..., 0] = counts.sum(-1)
    return said


class Confusions:
    """Gathers the counts of `confusion`, a matrix per image: what they say, not what was said."""

    def __init__(self, classes: int):
        """Starts empty."""
        self._counts: list[np.ndarray] = [np.zeros((0, classes, classes), np.int32)]

    def add(self, counts: Array, valid: Array) -> None:
        """Adds the counts `[B, K, K]` of a batch whose images are real where `valid` `[B]` is."""
        self._counts.append(np.asarray(counts)[np.asarray(valid)])

    @property
    def images(self) -> np.ndarray:
        """`[N, K, K]` int64, image by image in the order they were added."""
        return np.concatenate(self._counts).astype(np.int64)

    @property
    def total(self) -> np.ndarray:
        """`[K, K]` int64 over all images."""
        return self.images.sum(0)
