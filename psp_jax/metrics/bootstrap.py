"""How sure a mean over images is, and the values it is a mean of, as a file."""

import csv
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

RESAMPLES = 1000


def intervals(
    columns: Mapping[str, np.ndarray],
    groups: Sequence[str] | np.ndarray,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Computes percentile bootstrap intervals of the means (Efron and Tibshirani 1993, chapter 13).

    Images of one room are alike, so it is rooms that are drawn again: resampling images as if they
    were independent would give intervals that are too narrow.

    Args:
        columns: `[N]` float64 values by name; NaN where an image has none.
        groups: `[N]` names of what is independent, such as spaces.
        level: share of the resampled means that an interval holds.
        seed: decides the resamples.

    Returns:
        Lower and upper ends by name; NaN where there is nothing to average.
    """
    group, drawn = _resampled(groups, seed)
    result = {}
    for name, values in columns.items():
        known = ~np.isnan(values)
        totals = np.bincount(group, np.where(known, values, 0.0), drawn.shape[1])
        counts = drawn @ np.bincount(group, known, drawn.shape[1])
        result[name] = _ends((drawn @ totals)[counts > 0] / counts[counts > 0], level)
    return result


def intervals_of_sums(
    counts: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    figures_of: Callable[[np.ndarray], Mapping[str, float]],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Computes the same intervals of figures that are no means but follow from summed counts.

    Args:
        counts: `[N, ...]` counts of the images.
        groups: see `intervals`.
        figures_of: maps counts, added up over images, to figures by name.
        level: see `intervals`.
        seed: see `intervals`.

    Returns:
        Lower and upper ends by name; NaN where a figure does not exist.
    """
    group, drawn = _resampled(groups, seed)
    sums = np.zeros((drawn.shape[1], *counts.shape[1:]))
    np.add.at(sums, group, counts)
    rows = [figures_of(np.tensordot(times, sums, axes=1)) for times in drawn]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {name: _ends(column[~np.isnan(column)], level) for name, column in values.items()}


def _resampled(groups: Sequence[str] | np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns every image's group `[N]`, and how often each resample draws each group."""
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    share = np.full(len(names), 1 / max(len(names), 1))
    return group, rng.multinomial(len(names), share, RESAMPLES)


def _ends(values: np.ndarray, level: float) -> tuple[float, float]:
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def write_csv(path: pathlib.Path, columns: Mapping[str, Sequence | np.ndarray]) -> None:
    """Writes one row per image; figures that an image does not have stay empty.

    Args:
        path: file to write.
        columns: values by name, all of one length.
    """
    partial = path.with_suffix(".tmp")
    with partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([_text(value) for value in row])
    partial.replace(path)


def _text(value: object) -> object:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    return value
