"""Makes the tables of the report from the metrics of finished runs."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from psp_jax.metrics import bootstrap
from psp_jax.report import runs, seeds, thesis
from psp_jax.report.runs import Run

NOTHING = "–"
SUB = "· "  # Begins the names of rows below a trained run: baselines and oracles.
PARTS = "parts before joint training"
SLIC = "SLIC on RGB"
_PARTITIONS = ("decoded frontiers", "predicted depth, segmented")  # Names of a run's partition.


class Table(NamedTuple):
    """A table of text.

    Attributes:
        title: its title.
        columns: titles of the columns; the first holds names.
        rows: cells.
        note: how to read it.
        text_columns: number of columns, from the first, that hold text rather than numbers.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str
    text_columns: int = 1


# Titles and formats of the metrics of `test.json`.
METRICS = {
    "abs_rel": ("AbsRel", ".4f"),
    "abs_rel_affine": ("AbsRel, affine", ".4f"),
    "accuracy": ("accuracy", ".2%"),
    "ap": ("AP 1 px", ".3f"),
    "ari": ("ARI", ".3f"),
    "asa": ("ASA", ".3f"),
    "balanced_accuracy": ("balanced", ".2%"),
    "boundary_f1": ("boundary F1", ".4f"),
    "delta1": ("δ < 1.25", ".3f"),
    "edge_ap": ("edge AP", ".3f"),
    "edge_bits": ("bits/edge", ".4f"),
    "edge_bits_prior": ("bits/edge, prior", ".4f"),
    "edge_ods": ("edge ODS", ".3f"),
    "f_0px": ("boundary F, 0 px", ".4f"),
    "f_1px": ("boundary F, 1 px", ".4f"),
    "f_2px": ("boundary F, 2 px", ".4f"),
    "frontier_recall": ("frontier recall", ".2%"),
    "level_accuracy": ("gray level accuracy", ".2%"),
    "mad_levels": ("MAD, gray levels", ".2f"),
    "mae_m": ("MAE, m", ".4f"),
    "mean_iou": ("mIoU", ".2%"),
    "mean_iou_absent_0": ("mIoU, absent 0", ".2%"),
    "ods": ("ODS 1 px", ".3f"),
    "ois": ("OIS 1 px", ".3f"),
    "ratio": ("conditional code length", ".3f"),
    "regions": ("regions", ".1f"),
    "rmse_log": ("RMSE log", ".3f"),
    "rmse_m": ("RMSE, m", ".4f"),
    "silog": ("SILog", ".2f"),
    "ue": ("UE", ".3f"),
    "vi_bits": ("VI, bits", ".3f"),
}
_LOWER_IS_BETTER = ("abs_rel", "rmse_m", "edge_bits")
_GRAY = ("mad_levels", "level_accuracy")
_DEPTH = (
    "abs_rel", "rmse_m", "mae_m", "rmse_log", "silog", "delta1", "abs_rel_affine", "boundary_f1",
    *_GRAY,
)  # fmt: skip
_CLASSES = (
    "accuracy", "balanced_accuracy", "mean_iou", "mean_iou_absent_0", "frontier_recall",
    "edge_bits", "edge_bits_prior", "edge_ap", "edge_ods",
)  # fmt: skip
_REGIONS = ("regions", "ari", "vi_bits", "asa", "ue", "f_0px", "f_1px", "f_2px")
_BOUNDARIES = ("ods", "ois", "ap")
_SLIC = ("ari", "f_1px")


def make(all_runs: Iterable[Run]) -> list[Table]:
    """Makes the tables for which the finished runs have metrics."""
    finished = [run for run in all_runs if run.status == runs.FINISHED]
    by_labels = sorted(finished, key=lambda run: run.labels)
    tables = [
        _experiments(finished),
        _comparisons(finished),
        _seeds(seeds.groups(finished)),
        _seed_comparisons(seeds.groups(finished)),
        _depth([run for run in finished if run.predicts_depth]),
        _classes([run for run in by_labels if run.metric("accuracy") is not None]),
        _regions([run for run in by_labels if run.result.get("regions")]),
    ]
    return [table for table in tables if table.rows]


def _text(key: str, value: float | None, sign: str = "") -> str:
    return NOTHING if value is None else f"{value:{sign}{METRICS[key][1]}}".replace("%", " %")


def _interval_text(key: str, ends: tuple[float, float] | None, sign: str = "") -> str:
    return NOTHING if ends is None else " to ".join(_text(key, end, sign) for end in ends)


def _cells(run: Run, keys: Iterable[str], *path: str) -> list[str]:
    return [_text(key, run.metric(*path, key)) for key in keys]


def _titles(*keys: str) -> list[str]:
    return [METRICS[key][0] for key in keys]


def _experiments(finished: list[Run]) -> Table:
    rows = [_result_row(run, key) for run in finished for key in _result_keys(run)]
    columns = (
        "experiment", "labels", "metric", "thesis (section)", "ours", "95 % interval", "baseline",
        "oracle",
    )  # fmt: skip
    share = thesis.INTERIOR_SHARE
    note = (
        "Ours: on the test split, with intervals bootstrapped over spaces. Baseline: for depth the "
        "mean depth image of the training set; for accuracy, always predicting interior (thesis: "
        f"{share.text}, section {share.section}); for boundary F, SLIC on the colours with the "
        "same number of regions. Oracle: outputs at the resolution of this network, fitted to the "
        "truth of test images with the loss of the run and without a network; only if outputs are "
        "smaller than images."
    )
    if any(result is thesis.DEPTH[0] for run in finished for result in run.thesis_results):
        note += (
            " The thesis gives neither the depth loss of its results nor the range of its gray "
            "levels."
        )
    return Table("Experiments", columns, rows, note, text_columns=4)


def _result_keys(run: Run) -> list[str]:
    keys = [result.key for result in run.thesis_results]
    keys += ["rmse_m"] if run.predicts_depth else []
    keys += ["accuracy", "f_1px"] if run.predicts_frontiers else []
    return list(dict.fromkeys(keys))


def _result_row(run: Run, key: str) -> tuple[str, ...]:
    reported = {result.key: f"{result.text} ({result.section})" for result in run.thesis_results}
    max_depth_m = run.metric("max_depth_m") or float("nan")
    gray_range = f" (255 = {max_depth_m:g} m)" if key in _GRAY else ""
    if key == "accuracy":
        baseline = run.metric("baselines", "always_interior", key)
    elif key == "f_1px":
        baseline = run.metric("regions", "partitions", SLIC, key)
    else:
        baseline = run.metric("baselines", "mean_image", key)
    return (
        run.name,
        run.labels if run.predicts_frontiers else NOTHING,
        METRICS[key][0] + gray_range,
        reported.get(key, NOTHING),
        _text(key, _value(run, key)),
        _interval_text(key, _interval(run, key)),
        _text(key, baseline),
        _text(key, run.metric("oracle", key)),
    )


def _partition(run: Run) -> str:
    partitions = runs.look_up(run.result, "regions", "partitions") or {}
    return next((name for name in _PARTITIONS if name in partitions), "")


def _value(run: Run, key: str) -> float | None:
    path = ("regions", "partitions", _partition(run)) if key == "f_1px" else ()
    return run.metric(*path, key)


def _interval(run: Run, key: str) -> tuple[float, float] | None:
    ends = runs.look_up(run.result, "intervals", key)
    if not isinstance(ends, list) or len(ends) != 2:
        return None
    low, high = (runs.number({"end": end}, "end") for end in ends)
    return None if low is None or high is None else (low, high)


# Experiments, what each is compared with, and the metrics. PARTS: the parts of the same run.
_PAIRS = (
    ("depth_bins", "depth_mse", ("abs_rel", "rmse_m")),
    ("frontier_edges", "frontier_softmax", ("f_1px",)),
    ("two_phase", PARTS, ("accuracy", "edge_bits", "f_1px")),
)


def _comparisons(finished: list[Run]) -> Table:
    by_name = {run.name: run for run in reversed(finished)}
    rows = []
    for name, other_name, keys in _PAIRS:
        run, other = by_name.get(name), by_name.get(other_name)
        if run is not None and other_name == PARTS:
            parts = run.result.get("parts_before_joint_training") or {}
            other = dataclasses.replace(run, name=PARTS, result=parts)
        # Metrics of other images or labels can't be compared.
        if run and other and (run.data, run.labels) == (other.data, other.labels):
            rows += [row for key in keys if (row := _comparison_row(run, other, key))]
    columns = (
        "run", "compared with", "metric", "better", "value", "other value",
        "95 % interval of the difference", "steps",
    )  # fmt: skip
    note = (
        "The intervals are bootstrapped over spaces, of the differences between images; without an "
        "interval, only the values are compared."
    )
    return Table("Comparisons", columns, rows, note, text_columns=4)


def _comparison_row(run: Run, other: Run, key: str) -> tuple[str, ...]:
    value, other_value = _value(run, key), _value(other, key)
    if value is None or other_value is None:
        return ()
    interval = None if other.name == PARTS else _paired_interval(run, other, key)
    is_lower, is_equal = value < other_value, value == other_value
    is_better = is_lower == (key in _LOWER_IS_BETTER)
    answer = "equal" if is_equal else "yes" if is_better else "no"
    if interval is not None and interval[0] <= 0 <= interval[1]:
        answer += ", not significant"
    steps = f"{run.steps:,}"
    if other.steps != run.steps:
        steps += f" against {other.steps:,}"
    return (
        run.name,
        other.name,
        METRICS[key][0],
        answer,
        _text(key, value),
        _text(key, other_value),
        _interval_text(key, interval, "+"),
        steps,
    )


def _paired_interval(run: Run, other: Run, key: str) -> tuple[float, float] | None:
    """Bootstraps the mean difference over the images that both runs have."""
    rows, other_rows = runs.images(run), runs.images(other)
    differences, spaces = [], []
    for image, row in rows.items():
        try:
            differences.append(float(row[key]) - float(other_rows[image][key]))
            spaces.append(row["space_id"])
        except (KeyError, TypeError, ValueError):  # One run lacks the image or the metric.
            continue
    if not differences:
        return None
    return bootstrap.intervals({key: np.array(differences)}, spaces).get(key)


def _seeds(groups: list[seeds.Group]) -> Table:
    rows = []
    for group in groups:
        for key in _result_keys(group.runs[0]):
            found = seeds.spread(group, lambda run, key=key: _value(run, key))
            if found is not None:
                cells = (_text(key, found.mean), _text(key, found.deviation))
                rows.append((group.name, METRICS[key][0], str(found.count), *cells))
    columns = ("runs", "metric", "seeds", "mean", "standard deviation")
    return Table("Seeds", columns, rows, "Runs that differ in the seed alone.", text_columns=2)


def _seed_comparisons(groups: list[seeds.Group]) -> Table:
    rows = []
    for one, other in seeds.pairs(groups):
        for key in _result_keys(one.runs[0]):
            spreads = [seeds.spread(g, lambda run, key=key: _value(run, key)) for g in (one, other)]
            first, second = spreads
            if first is None or second is None:
                continue
            answer = "within the spread" if seeds.is_within(first, second) else "larger"
            cells = (_text(key, first.mean - second.mean, "+"), answer)
            rows.append((one.name, other.name, METRICS[key][0], *cells))
    note = (
        "The difference of the means over seeds. Within the spread: no larger than the standard "
        "deviation of the difference of two single runs with different seeds."
    )
    columns = ("runs", "compared with", "metric", "difference", "against the spread of seeds")
    return Table("Differences and seeds", columns, rows, note, text_columns=3)


def _depth(chosen: list[Run]) -> Table:
    rows, baselines = [], {}
    for run in chosen:
        depth_range = f"{run.metric('max_depth_m') or 0:g} m"
        rows.append((run.name, f"{run.steps:,}", *_cells(run, _DEPTH), depth_range))
        for key, title in (("mean_image", "mean depth image"), ("constant", "mean depth")):
            cells = _cells(run, _DEPTH, "baselines", key)
            baselines[SUB + title, NOTHING, *cells, depth_range] = None
    note = (
        "Means over test images. Affine: fitted to the readings of each image, so not comparable "
        "with the others. MAD and gray level accuracy: 255 levels cover the range."
    )
    columns = ("depth", "steps", *_titles(*_DEPTH), "range")
    return Table("Depth", columns, [*rows, *baselines], note)


def _classes(chosen: list[Run]) -> Table:
    rows, baselines = [], {}
    for run in chosen:
        rows.append((run.name, run.labels, *_cells(run, _CLASSES)))
        for key, title in (("parts_before_joint_training", PARTS), ("oracle", "oracle")):
            if run.result.get(key):
                rows.append((SUB + title, run.labels, *_cells(run, _CLASSES, key)))
        cells = _cells(run, _CLASSES, "baselines", "always_interior")
        baselines[SUB + "always interior", run.labels, *cells] = None
    note = (
        "Pooled over the pixels of the test split. mIoU leaves out classes that are neither true "
        "nor predicted anywhere; absent 0 counts them as 0. Frontier recall: frontier pixels that "
        "are not classified as interior. Edges: at 0 px, uncalibrated. Prior: predicting the share "
        "of cut edges everywhere."
    )
    columns = ("frontier classes", "labels", *_titles(*_CLASSES))
    return Table("Frontier classes", columns, [*rows, *baselines], note, text_columns=2)


def _regions(chosen: list[Run]) -> Table:
    rows = []
    for run in chosen:
        for name, path in ((run.name, ()), (SUB + PARTS, ("parts_before_joint_training",))):
            if runs.look_up(run.result, *path, "regions"):
                path = (*path, "regions")
                cells = _cells(run, _REGIONS, *path, "partitions", _partition(run))
                cells += _cells(run, _BOUNDARIES, *path, "boundaries", "1px")
                cells += _cells(run, ["ratio"], *path, "coding")
                cells += _cells(run, _SLIC, *path, "partitions", SLIC)
                rows.append((name, run.labels, *cells))
    note = (
        "Predicted edges, calibrated and decoded, or predicted depth, segmented by the algorithm "
        "of the labels, against the true partitions of test images. Conditional code length: bits "
        "of the true frontiers given the prediction, relative to the unconditional code length. "
        "SLIC: on the colours, with the same number of regions as the prediction."
    )
    titles = _titles(*_REGIONS, *_BOUNDARIES, "ratio")
    columns = ("regions", "labels", *titles, *(f"SLIC: {title}" for title in _titles(*_SLIC)))
    return Table("Regions", columns, rows, note, text_columns=2)
