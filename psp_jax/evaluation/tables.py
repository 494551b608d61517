"""Formats the metrics of `test.json` as the tables that a run prints, and writes its CSV file."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tabulate

from psp_jax.evaluation import partition_scores
from psp_jax.io import files


def metrics_file(split: str) -> str:
    """Returns the name of the file with the metrics of a split."""
    return f"{split}.json"


def images_file(split: str) -> str:
    """Returns the name of the CSV file with the metrics of the images of a split."""
    return f"{split}_images.csv"


TEST_FILE, IMAGES_FILE = metrics_file("test"), images_file("test")

# Title and format of a column by its key in `test.json`.
Columns = Mapping[str, tuple[str, str]]
_DEPTH: Columns = {
    "abs_rel": ("AbsRel", ".3f"),
    "rmse_m": ("RMSE m", ".3f"),
    "delta1": ("d<1.25", ".3f"),
    "mad_levels": ("MAD levels*", ".2f"),
    "level_accuracy": ("level accuracy*", ".4f"),
}
_CLASSES: Columns = {
    "accuracy": ("accuracy", ".4f"),
    "balanced_accuracy": ("balanced", ".4f"),
    "mean_iou": ("mIoU", ".4f"),
    "mean_iou_absent_0": ("mIoU*", ".4f"),
    "frontier_recall": ("frontier recall", ".4f"),
}
_EDGES: Columns = {
    "edge_bits": ("bits/edge", ".4f"),
    "edge_bits_prior": ("prior bits/edge", ".4f"),
    "edge_ap": ("AP", ".3f"),
    "edge_ods": ("ODS", ".3f"),
    "edge_ois": ("OIS", ".3f"),
}
_BOUNDARIES: Columns = {key: (key.upper(), ".3f") for key in ("f", "ods", "ois", "ap")}
_REGION_TITLES = (
    "regions",
    "ARI",
    "VI bits",
    "ASA",
    "UE",
    "disc.",
    "other",
    "F 0px",
    "F 1px",
    "F 2px",
)
_REGIONS: Columns = {
    key: (title, ".1f" if key == "regions" else ".3f")
    for key, title in zip(partition_scores.COLUMNS, _REGION_TITLES, strict=True)
}


def text(result: dict[str, Any]) -> str:
    """Formats the tables of everything that `test.json` has metrics for."""
    split = result["split"]
    lines = [f"{split} split, {result['images']} images"]
    if shared := result["spaces_shared_with_train"]:
        lines.append(
            f"train and {split} share {len(shared)} of the spaces, such as {shared[0]}, divided by "
            "time: these metrics do not tell how well other rooms are predicted"
        )
    lines += depth_table(result) if "abs_rel" in result else []
    lines += class_table(result) if "accuracy" in result else []
    lines += edge_tables(result) if "edge_bits" in result else []
    lines += region_table(result) if "regions" in result else []
    return "\n".join(lines)


def depth_table(result: dict[str, Any]) -> list[str]:
    """Formats the depth metrics."""
    rows = _interval_rows(result) | {
        "constant (training mean)": result["baselines"]["constant"],
        "mean depth image": result["baselines"]["mean_image"],
    }
    return [
        *_table(f"depth, {result['spaces']} spaces", rows, _DEPTH),
        "*  mean absolute difference in gray levels and share of pixels in the right one; "
        f"255 levels are {result['max_depth_m']} m",
        f"** bootstrap over spaces; all metrics are in {metrics_file(result['split'])}, those of "
        f"single images in {images_file(result['split'])}",
    ]


def class_table(result: dict[str, Any]) -> list[str]:
    """Formats the class metrics."""
    always_interior = {"always interior": result["baselines"]["always_interior"]}
    rows = _interval_rows(result) | always_interior | _other_rows(result)
    lines = [
        *_table(f"classes, {result['spaces']} spaces", rows, _CLASSES),
        "frontier recall: share of the frontier pixels that are not predicted to be interior",
        "*   with 0 for classes that are neither true nor predicted anywhere",
        "**  bootstrap over spaces; the confusion matrix is in "
        f"{metrics_file(result['split'])}, the metrics of single images in "
        f"{images_file(result['split'])}",
    ]
    if (oracle := result["oracle"]) is not None:
        height, width = oracle["grid"]
        lines.append(
            f"*** {height}x{width} outputs, the size of this network's, fitted to the truth of "
            f"{oracle['images']} images, {oracle['interior_share']:.4f} of their pixels interior"
        )
    return lines


def edge_tables(result: dict[str, Any]) -> list[str]:
    """Formats the metrics of edges and of calibrated boundary pixels."""
    rows = {"this run": result, **_other_rows(result)}
    boundaries = {
        f"{name}, {radius}": metrics
        for name, row in rows.items()
        for radius, metrics in row.get("regions", {}).get("boundaries", {}).items()
    }
    return [
        *_table("edges, 0 px", rows, _EDGES),
        "prior: a predictor that knows only the share of cut edges",
        *_table("boundaries, calibrated", boundaries, _BOUNDARIES),
        "F-measure of boundary pixels: F at a probability of 1/2, ODS at the best one for all "
        "images, OIS at the best one for each",
    ]


def region_table(result: dict[str, Any]) -> list[str]:
    """Formats the partition scores and the code length of the true partitions."""
    regions = result["regions"]
    lines = [
        *_table("regions", regions["partitions"], _REGIONS),
        "disc., other: recall of true boundaries at depth discontinuities and elsewhere, "
        f"{partition_scores.DISCONTINUITY_RADIUS_PX} px",
    ]
    if "coding" in regions:
        coding = regions["coding"]
        lines.append(
            f"code length of the true partition: {coding['bits_per_image']:.0f} bits per image; "
            f"conditional on the prediction: {coding['conditional_bits_per_image']:.0f} bits, "
            f"{coding['ratio']:.3f} of that"
        )
    return lines


def _interval_rows(result: dict[str, Any]) -> dict[str, dict]:
    """Returns the row of the run and the two ends of its intervals."""
    low, high = (
        {name: ends[side] for name, ends in result["intervals"].items()} for side in (0, 1)
    )
    if not low:  # No interval without a second space.
        return {"this run": result}
    return {"this run": result, "95 % interval** from": low, "95 % interval** to": high}


def _other_rows(result: dict[str, Any]) -> dict[str, dict]:
    """Returns the rows of the parts and of the oracle, if the run has them."""
    rows = {
        "parts before joint training": result["parts_before_joint_training"],
        "oracle***": result["oracle"],
    }
    return {name: row for name, row in rows.items() if row is not None}


def _table(title: str, rows: Mapping[str, Mapping], columns: Columns) -> list[str]:
    """Returns an empty line and the lines of a table."""
    titles, formats = zip(*columns.values(), strict=True)
    table = tabulate.tabulate(
        [[name, *(row[key] for key in columns)] for name, row in rows.items()],
        headers=[title, *titles],
        floatfmt=("", *formats),
        tablefmt="plain",
    )
    return ["", *table.splitlines()]


def write_images(
    path: pathlib.Path, places: Mapping[str, Sequence], columns: Mapping[str, np.ndarray]
) -> None:
    """Writes a CSV file with a row for every image that has a metric.

    Args:
        path: file to write.
        places: where the images were taken, by name.
        columns: `[N]` float64 metrics by name; NaN becomes an empty cell.
    """
    lines = io.StringIO(newline="")
    writer = csv.writer(lines)
    writer.writerow([*places, *columns])
    for *place, metrics in zip(*places.values(), zip(*columns.values(), strict=True), strict=True):
        if not np.isnan(metrics).all():
            cells = ["" if np.isnan(value) else f"{value:.6g}" for value in metrics]
            writer.writerow([*place, *cells])
    files.write(path, lines.getvalue())
