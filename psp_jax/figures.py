"""How sure a mean over images is, and the values it is a mean of, as a file."""

import csv
import pathlib
from collections.abc import Mapping, Sequence

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
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / max(len(names), 1)), RESAMPLES)
    ends = ((1 - level) / 2, (1 + level) / 2)
    result = {}
    for name, values in columns.items():
        known = ~np.isnan(values)
        totals = np.bincount(group, np.where(known, values, 0.0), len(names))
        counts = drawn @ np.bincount(group, known, len(names))
        means = (drawn @ totals)[counts > 0] / counts[counts > 0]
        low, high = np.quantile(means, ends) if means.size else (np.nan, np.nan)
        result[name] = (float(low), float(high))
    return result


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
