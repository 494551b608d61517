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

from psp_jax import data, evaluation, figures, metrics, pictures, regions
from psp_jax.batch import Batch, Prediction
from psp_jax.experiment import Experiment
from psp_jax.partition import calibration
from psp_jax.state import Variables

TEST_FILE = "test.json"
IMAGES_FILE = "test_images.csv"
CALIBRATION_FILE = "calibration.json"
THRESHOLD_IMAGES = 100  # Validation images that choose the decoder's threshold.


def report(
    config: Experiment,
    model: Any,
    evaluate: evaluation.Evaluate,
    variables: Variables,
    splits: dict[str, data.Examples],
    folder: pathlib.Path,
    records: list[dict],
) -> None:
    """Evaluates the test split, writes figures and pictures into the folder, prints the tables."""
    test = splits["test"]
    scores = evaluate(variables, test)
    result: dict[str, Any] = scores.figures()
    result.pop("loss")
    lines = [f"test split, {result['images']} images"]
    if scores.depth is not None:
        result |= {
            "range_m": config.data.range_m,
            **_depth_details(scores.depth, test, folder),
            "baselines": evaluation.baselines(config, splits),
        }
        lines += ["", *depth_lines(result)]
    views = functools.partial(views_of, predictor(config, model, variables), config)
    result |= _regions(config, scores, views, splits, folder)
    if scores.edges is not None:
        lines += ["", *edge_lines(result)]
    if "regions" in result:
        lines += ["", *regions.lines(result["regions"], first="regions")]
    (folder / TEST_FILE).write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join(lines), flush=True)
    headlines = evaluation.HEADLINES.items()
    shown, title = next(each for each in headlines if f"validation_{each[0]}" in records[0])
    pictures.curves(folder / "curves.png", records, shown, title)
    _sheets(config, scores, views, test, folder)
    print(f"pictures, figures and checkpoints are in {folder}")


def _regions(
    config: Experiment,
    scores: evaluation.Scores,
    views: Callable[[data.Examples], Iterator[regions.View]],
    splits: dict[str, data.Examples],
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Calibrates on the validation split and scores the partitions of the test split."""
    calibrated = None
    if scores.edges is not None:
        try:
            calibrated = regions.calibrate(
                views(splits["validation"]),
                count=len(splits["validation"]),
                images=THRESHOLD_IMAGES,
            )
        except ValueError as error:  # The run has still to be reported.
            print(f"frontiers are decoded without calibration: {error}")
            calibrated = calibration.Calibration()
        calibration.save(calibrated, folder / CALIBRATION_FILE)
    cut = config.data.source.cuts().get(config.data.labels)
    if calibrated is None and cut is None:
        print(f"no regions of predicted depth: what made the labels {config.data.labels!r} is")
        print("not known, since their data set was built with a configuration of its own")
        return {}
    table = regions.Table(calibrated, cut)
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
    return {"regions": table.figures()}


def predictor(
    config: Experiment, model: Any, variables: Variables
) -> Callable[[Batch], Prediction]:
    """Returns a function that predicts batches."""

    def predict(variables: Variables, batch: Batch) -> Prediction:
        output = model.apply(variables, model.inputs(batch))
        return config.objective.predict(output, batch.image.shape[1:3])

    return functools.partial(jax.jit(predict), variables)


def views_of(
    predict: Callable[[Batch], Prediction], config: Experiment, examples: data.Examples
) -> Iterator[regions.View]:
    """Yields every image of a split with what is predicted of it."""
    for batch in data.eval_batches(examples, config.data):
        predicted = predict(batch)
        depth, edges = predicted.depth, predicted.edges
        depth_m = None if depth is None else np.asarray(depth)
        logits = None if edges is None else np.asarray(edges)
        rgb = np.asarray(batch.image)
        for index in np.flatnonzero(batch.valid):
            depth_mm = np.asarray(batch.depth)[index] * data.MILLIMETRES_PER_METRE
            yield regions.View(
                rgb=rgb[index],
                depth_mm=np.round(depth_mm).astype(np.uint16),
                classes=np.asarray(batch.frontier)[index],
                known=~np.asarray(batch.filled)[index],
                depth_m=None if depth_m is None else depth_m[index],
                edges=None if logits is None else logits[index],
            )


def _depth_details(
    averages: metrics.Averages, examples: data.Examples, folder: pathlib.Path
) -> dict[str, Any]:
    """Writes the figures of single images; returns what goes beyond their means."""
    columns, counted = averages.columns(), np.flatnonzero(averages.counted)
    places = {
        name: [values[index] for index in counted] for name, values in data.places(examples).items()
    }
    figures.write_csv(folder / IMAGES_FILE, {**places, **columns})
    averaged = {name: columns[name] for name in averages.means()}
    return {
        "spaces": len(set(places["space_id"])),
        "intervals": figures.intervals(averaged, places["space_id"]),
        "pooled": averages.pooled(),
    }


def depth_lines(result: dict) -> list[str]:
    """Formats the depth figures of `test.json` as a table."""
    ends = [{name: ends[end] for name, ends in result["intervals"].items()} for end in range(2)]
    rows = {
        "this run": result,
        "  95 % interval** from": ends[0],
        "  to": ends[1],
        "constant (training mean)": result["baselines"]["constant"],
        "mean depth image": result["baselines"]["mean_image"],
    }
    titles = "".join(f"{title:>{width}}" for _, title, width, _ in _COLUMNS)
    first = f"depth, of {result['spaces']} rooms"
    lines = [f"{first:<26}{titles}"]
    for name, row in rows.items():
        cells = (f"{row[figure]:>{width}.{digits}f}" for figure, _, width, digits in _COLUMNS)
        lines.append(f"{name:<26}{''.join(cells)}")
    return [
        *lines,
        "*  mean absolute difference in gray levels and share of pixels in the right one; "
        f"255 levels are {result['range_m']} m",
        "** of the mean, by drawing rooms again; more figures are in "
        f"{TEST_FILE}, those of single images in {IMAGES_FILE}",
    ]


# Figure, title, width and digits of the table's columns.
_COLUMNS = (
    ("abs_rel", "AbsRel", 8, 3),
    ("rmse_m", "RMSE m", 9, 3),
    ("delta1", "d<1.25", 9, 3),
    ("mad_levels", "MAD levels*", 13, 2),
    ("level_accuracy", "right*", 9, 4),
)


def edge_lines(result: dict) -> list[str]:
    """Formats the figures of single edges of `test.json`."""
    return [
        "edges, at 0 px            bits/edge  by share alone       AP      ODS      OIS",
        f"{'this run':<26}{result['edge_bits']:>9.4f}{result['edge_bits_prior']:>16.4f}"
        f"{result['edge_ap']:>9.3f}{result['edge_ods']:>9.3f}{result['edge_ois']:>9.3f}",
    ]


def _sheets(
    config: Experiment,
    scores: evaluation.Scores,
    views: Callable[[data.Examples], Iterator[regions.View]],
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
        pictures.frontier_sheet(
            folder / ("frontiers.png" if scores.depth is not None else "test.png"),
            [view.rgb for view in shown],
            [view.labels for view in shown],
            [regions.pixel_probability(calibrated(view.scored)) for view in shown],
            [calibrated.decoder(calibrated(view.scored)) for view in shown],
        )
    if scores.depth is not None:
        metres = [view.depth_mm / np.float32(data.MILLIMETRES_PER_METRE) for view in shown]
        predicted = [view.depth_m for view in shown if view.depth_m is not None]
        rgb = [view.rgb for view in shown]
        pictures.depth_sheet(folder / "test.png", rgb, metres, predicted)
