"""What a finished run leaves behind: figures of the test split, tables and pictures."""

import functools
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import tqdm

from psp_jax import data, init_from, steps
from psp_jax.batch import Batch, Prediction
from psp_jax.evaluation import oracle, partition_scores, plots, scoring, tables
from psp_jax.experiment import Experiment
from psp_jax.io import units
from psp_jax.metrics import bootstrap, depth_metrics
from psp_jax.partition import calibration
from psp_jax.state import Variables

CALIBRATION_FILE = "calibration.json"
THRESHOLD_IMAGES = 100  # Validation images that choose the decoder's threshold.


def report(
    config: Experiment,
    model: Any,
    evaluate: scoring.Evaluate,
    variables: Variables,
    splits: dict[str, data.Examples],
    folder: pathlib.Path,
    records: list[dict],
) -> None:
    """Evaluates the test split, writes figures and pictures into the folder, prints the tables."""
    test = splits["test"]
    scores = evaluate(variables, test)
    result: dict[str, Any] = scores.figures() | {"baselines": {}, "intervals": {}}
    result.pop("loss")
    if scores.depth is not None:
        result["max_depth_m"] = config.data.max_depth_m
        result["baselines"] |= scoring.baselines(config, splits)
    views = functools.partial(views_of, predictor(config, model, variables), config)
    table = _partitions(config, scores, views, splits, folder)
    result |= _image_figures(scores, table, test, folder)
    if table is not None:
        result["regions"] = table.figures()
    if scores.classes is not None:
        total = scores.classes.total
        result |= {
            "iou": _plain(depth_metrics.class_figures(total)["iou"]),
            "confusion": total.tolist(),
        }
        result["baselines"]["always_interior"] = depth_metrics.class_means(
            depth_metrics.always_interior(total)
        )
        result["ceiling"] = oracle.measure(config, model, variables, test)
        result["untrained"] = _untrained(config, model, evaluate, splits)
    lines = ["", *tables.depth_lines(result)] if scores.depth is not None else []
    lines += ["", *tables.class_lines(result)] if scores.classes is not None else []
    lines += ["", *tables.edge_lines(result)] if scores.edges is not None else []
    lines += (
        ["", *partition_scores.lines(result["regions"], first="regions")]
        if table is not None
        else []
    )
    (folder / tables.TEST_FILE).write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join([f"test split, {result['images']} images", *lines]), flush=True)
    headlines = scoring.HEADLINES.items()
    shown, title = next(each for each in headlines if f"validation_{each[0]}" in records[0])
    plots.curves(folder / "curves.png", records, shown, title)
    _sheets(config, scores, views, test, folder)
    print(f"pictures, figures and checkpoints are in {folder}")


def _partitions(
    config: Experiment,
    scores: scoring.Scores,
    views: Callable[[data.Examples], Iterator[partition_scores.View]],
    splits: dict[str, data.Examples],
    folder: pathlib.Path,
) -> partition_scores.Table | None:
    """Calibrates on the validation split and scores the partitions of the test split."""
    calibrated = None
    if scores.edges is not None:
        calibrated = _calibrated(views, splits["validation"])
        calibration.save(calibrated, folder / CALIBRATION_FILE)
    cut = config.data.source.segmentations().get(config.data.labels)
    if calibrated is None and cut is None:
        print(f"no regions of predicted depth: what made the labels {config.data.labels!r} is")
        print("not known, since their data set was built with a configuration of its own")
        return None
    table = partition_scores.Table(calibrated, cut)
    quiet = 0.1 if sys.stderr.isatty() else 10
    shown = tqdm.tqdm(
        views(splits["test"]),
        total=len(splits["test"]),
        desc="regions",
        unit="image",
        mininterval=quiet,
    )
    for view in shown:
        table.add(view)
    return table


def _calibrated(
    views: Callable[[data.Examples], Iterator[partition_scores.View]], validation: data.Examples
) -> calibration.Calibration:
    try:
        return partition_scores.calibrate(
            views(validation), count=len(validation), images=THRESHOLD_IMAGES
        )
    except ValueError as error:  # The run has still to be reported.
        print(f"frontiers are decoded without calibration: {error}")
        return calibration.Calibration()


def _untrained(
    config: Experiment,
    model: Any,
    evaluate: scoring.Evaluate,
    splits: dict[str, data.Examples],
) -> dict[str, Any] | None:
    """Scores networks of several runs put together but never trained together, as the run began.

    Returns:
        Figures as of the run itself, calibrated in the same way; None for other runs.
    """
    if not config.init_from_parts:
        return None
    try:
        variables, _ = init_from.start(config, model)
    except (OSError, ValueError) as error:
        print(f"nothing is said of the parts before they were trained together: {error}")
        return None
    views = functools.partial(views_of, predictor(config, model, variables), config)
    table = partition_scores.Table(_calibrated(views, splits["validation"]), None, beside={})
    for view in views(splits["test"]):
        table.add(view)
    figures = evaluate(variables, splits["test"]).figures()
    figures.pop("loss")
    return {**figures, "regions": table.figures()}


def predictor(
    config: Experiment, model: Any, variables: Variables
) -> Callable[[Batch], Prediction]:
    """Returns a function that predicts batches."""

    step = functools.partial(steps.predict, model=model, objective=config.objective)
    return functools.partial(jax.jit(lambda *given: step(*given)[1]), variables)


def views_of(
    predict: Callable[[Batch], Prediction], config: Experiment, examples: data.Examples
) -> Iterator[partition_scores.View]:
    """Yields every image of a split with what is predicted of it."""
    for batch in data.eval_batches(examples, config.data):
        predicted = predict(batch)
        depth, edges = predicted.depth, predicted.edges
        depth_m = None if depth is None else np.asarray(depth)
        logits = None if edges is None else np.asarray(edges)
        rgb = np.asarray(batch.image)
        for index in np.flatnonzero(batch.valid):
            depth_mm = np.asarray(batch.depth)[index] * units.MM_PER_M
            yield partition_scores.View(
                rgb=rgb[index],
                depth_mm=np.round(depth_mm).astype(np.uint16),
                classes=np.asarray(batch.frontier)[index],
                known=~np.asarray(batch.filled)[index],
                depth_m=None if depth_m is None else depth_m[index],
                edges=None if logits is None else logits[index],
            )


def _image_figures(
    scores: scoring.Scores,
    table: partition_scores.Table | None,
    examples: data.Examples,
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Writes the figures of single images; returns how sure their means are, and pooled ones."""
    places = data.places(examples)
    spaces = np.asarray(places["space_id"])
    columns: dict[str, np.ndarray] = {}
    intervals: dict[str, tuple[float, float]] = {}
    result: dict[str, Any] = {"spaces": len(set(spaces)), "intervals": intervals}
    if scores.depth is not None:
        counted = scores.depth.counted
        for name, values in scores.depth.columns().items():
            columns[name] = np.full(len(spaces), np.nan)
            columns[name][counted] = values
        averaged = {name: columns[name][counted] for name in scores.depth.means()}
        intervals |= bootstrap.intervals(averaged, spaces[counted])
        result |= {"spaces": len(set(spaces[counted])), "pooled": scores.depth.pooled()}
    if scores.classes is not None:
        counts = scores.classes.images
        empty = dict.fromkeys(depth_metrics.class_means(counts.sum(0)), np.nan)
        rows = [depth_metrics.class_means(image) if image.any() else empty for image in counts]
        columns |= {name: np.array([row[name] for row in rows]) for name in empty}
        intervals |= bootstrap.intervals_of_sums(counts, spaces, depth_metrics.class_means)
    if table is not None:
        scored = table.images()
        columns |= scored
        intervals |= bootstrap.intervals(scored, spaces)
    kept = ~np.all([np.isnan(column) for column in columns.values()], axis=0)
    rows = {name: np.asarray(column)[kept] for name, column in (places | columns).items()}
    bootstrap.write_csv(folder / tables.IMAGES_FILE, rows)
    return result


def _plain(values: list[float]) -> list[float | None]:
    """Writes what does not exist as JSON does."""
    return [None if np.isnan(value) else value for value in values]


def _sheets(
    config: Experiment,
    scores: scoring.Scores,
    views: Callable[[data.Examples], Iterator[partition_scores.View]],
    examples: data.Examples,
    folder: pathlib.Path,
) -> None:
    """Draws evenly spaced images of the split."""
    chosen = np.unique(
        np.linspace(0, len(examples) - 1, min(len(examples), config.pictures)).astype(int)
    )
    shown = list(views(data.Subset(examples, chosen)))
    if scores.edges is not None:
        calibrated = calibration.load(folder / CALIBRATION_FILE)
        plots.frontier_sheet(
            folder / ("frontiers.png" if scores.depth is not None else "test.png"),
            [view.rgb for view in shown],
            [view.labels for view in shown],
            [partition_scores.pixel_probability(calibrated(view.scored)) for view in shown],
            [calibrated.decoder(calibrated(view.scored)) for view in shown],
        )
    if scores.depth is not None:
        metres = [view.depth_mm / np.float32(units.MM_PER_M) for view in shown]
        predicted = [view.depth_m for view in shown if view.depth_m is not None]
        rgb = [view.rgb for view in shown]
        plots.depth_sheet(folder / "test.png", rgb, metres, predicted)
