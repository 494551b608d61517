"""Means over images and their bootstrap intervals."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

RESAMPLES = 1000


def mean(values: Sequence[float] | np.ndarray) -> float:
    """Averages the values that are not NaN; NaN if there are none."""
    array = np.asarray(values, np.float64)
    known = array[~np.isnan(array)]
    return float(known.mean()) if known.size else float("nan")


def intervals(
    columns: Mapping[str, np.ndarray],
    groups: Sequence[str] | np.ndarray,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Computes percentile bootstrap intervals of means (Efron and Tibshirani 1993, chapter 13).

    Images of one space are alike, so spaces are resampled: resampling images as if they were
    independent would give intervals that are too narrow.

    Args:
        columns: `[N]` float64 values by name; NaN where an image has none.
        groups: `[N]` names of the independent units, such as spaces.
        level: share of the resampled means that an interval holds.
        seed: decides the resamples.

    Returns:
        Lower and upper ends by name; NaN where there is nothing to average. Without a second group
        nothing is known about the spread between groups, so the result is empty.
    """
    group, resamples = _resample(groups, seed)
    if resamples.shape[1] < 2:
        return {}
    result = {}
    for name, values in columns.items():
        known = ~np.isnan(values)
        totals = np.bincount(group, np.where(known, values, 0.0), resamples.shape[1])
        counts = resamples @ np.bincount(group, known, resamples.shape[1])
        result[name] = _ends((resamples @ totals)[counts > 0] / counts[counts > 0], level)
    return result


def intervals_of_sums(
    counts: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    metrics: Callable[[np.ndarray], Mapping[str, float]],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Computes the same intervals for metrics of summed counts, which are not means over images.

    Args:
        counts: `[N, ...]` counts of the images.
        groups: as the other arguments, see `intervals`.
        metrics: maps counts, added up over images, to metrics by name.

    Returns:
        Lower and upper ends by name, NaN where a metric is NaN in every resample; empty with fewer
        than two groups.
    """
    group, resamples = _resample(groups, seed)
    if resamples.shape[1] < 2:
        return {}
    sums = np.zeros((resamples.shape[1], *counts.shape[1:]))
    np.add.at(sums, group, counts)
    rows = [metrics(np.tensordot(times, sums, axes=1)) for times in resamples]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {name: _ends(column[~np.isnan(column)], level) for name, column in values.items()}


def _resample(groups: Sequence[str] | np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the group of every image `[N]` and `[RESAMPLES, groups]` counts of draws."""
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    share = np.full(len(names), 1 / max(len(names), 1))
    return group, rng.multinomial(len(names), share, RESAMPLES)


def _ends(values: np.ndarray, level: float) -> tuple[float, float]:
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
