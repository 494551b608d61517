"""Figures of a split, the baselines a sceptic asks for, and what a finished run leaves behind."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from psp_jax import data, figures, metrics, pictures, steps
from psp_jax.batch import Batch
from psp_jax.experiment import ConfigError, Data, Experiment
from psp_jax.state import Variables

TEST_FILE = "test.json"
IMAGES_FILE = "test_images.csv"
BASELINE_IMAGES = 2000  # Training images averaged; more would not move the mean visibly.


@dataclasses.dataclass(frozen=True)
class Scores:
    """What an evaluation found in a split.

    Attributes:
        loss: mean of the objective.
        depth: depth figures, image by image.
    """

    loss: float
    depth: metrics.Averages

    def figures(self) -> dict[str, float]:
        """Returns the loss, the number of images, and the mean of every figure over them."""
        return {"loss": self.loss, "images": self.depth.images, **self.depth.means()}


# Scores given variables on a split.
Evaluate = Callable[[Variables, data.Examples], Scores]


def make(config: Experiment, model: Any) -> Evaluate:
    """Returns a function that computes the loss and the figures of a split."""
    step = jax.jit(
        functools.partial(
            steps.eval_step, model=model, objective=config.objective, range_m=config.data.range_m
        )
    )

    def evaluate(variables: Variables, examples: data.Examples) -> Scores:
        averages, total, count = metrics.Averages(), 0.0, 0.0
        for batch in data.eval_batches(examples, config.data):
            loss, values = step(variables, batch)
            averages.add(values)
            total, count = total + float(loss.total), count + float(loss.count)
        if not averages.images:
            raise ConfigError(
                f"config.data.range_m={config.data.range_m}: no image of the split has "
                f"{metrics.MIN_READINGS} readings within it, so there is nothing to evaluate"
            )
        return Scores(total / max(count, 1.0), averages)

    return evaluate


def baselines(config: Experiment, splits: dict[str, data.Examples]) -> dict[str, dict]:
    """Scores two predictors that never look at the image on the test split.

    Returns:
        The figures of `constant`, the mean depth of the training set, and of `mean_image`, its
        mean at every pixel.
    """
    mean_image, mean = _mean_depth(splits["train"], config.data)
    score = jax.jit(functools.partial(metrics.depth_figures, range_m=config.data.range_m))
    averages = {"constant": metrics.Averages(), "mean_image": metrics.Averages()}
    for batch in data.eval_batches(splits["test"], config.data):
        shape = batch.depth.shape
        averages["constant"].add(score(np.full(shape, mean, np.float32), batch))
        averages["mean_image"].add(score(np.broadcast_to(mean_image, shape), batch))
    return {name: average.means() for name, average in averages.items()}


def report(
    config: Experiment,
    model: Any,
    evaluate: Evaluate,
    variables: Variables,
    splits: dict[str, data.Examples],
    folder: pathlib.Path,
    records: list[dict],
) -> None:
    """Evaluates the test split, writes figures and pictures into the folder, prints the table."""
    scores = evaluate(variables, splits["test"])
    result = {
        **scores.figures(),
        "range_m": config.data.range_m,
        **_depth_details(scores.depth, splits["test"], folder),
        "baselines": baselines(config, splits),
    }
    result.pop("loss")
    (folder / TEST_FILE).write_text(json.dumps(result, indent=2) + "\n")
    print(table(result), flush=True)
    pictures.curves(folder / "curves.png", records)
    _sheet(config, model, variables, splits["test"], folder / "test.png")
    print(f"pictures, figures and checkpoints are in {folder}")


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


def table(result: dict) -> str:
    """Formats the content of `test.json` as a table."""
    ends = [{name: ends[end] for name, ends in result["intervals"].items()} for end in range(2)]
    rows = {
        "this run": result,
        "  95 % interval** from": ends[0],
        "  to": ends[1],
        "constant (training mean)": result["baselines"]["constant"],
        "mean depth image": result["baselines"]["mean_image"],
    }
    titles = "".join(f"{title:>{width}}" for _, title, width, _ in _COLUMNS)
    lines = [f"test split, {result['images']} images of {result['spaces']} rooms"]
    lines.append(f"{'':<26}{titles}")
    for name, row in rows.items():
        cells = (f"{row[figure]:>{width}.{digits}f}" for figure, _, width, digits in _COLUMNS)
        lines.append(f"{name:<26}{''.join(cells)}")
    return "\n".join(
        [
            *lines,
            "*  mean absolute difference in gray levels and share of pixels in the right one; "
            f"255 levels are {result['range_m']} m",
            "** of the mean, by drawing rooms again; more figures are in "
            f"{TEST_FILE}, those of single images in {IMAGES_FILE}",
        ]
    )


# Figure, title, width and digits of the table's columns.
_COLUMNS = (
    ("abs_rel", "AbsRel", 8, 3),
    ("rmse_m", "RMSE m", 9, 3),
    ("delta1", "d<1.25", 9, 3),
    ("mad_levels", "MAD levels*", 13, 2),
    ("level_accuracy", "right*", 9, 4),
)


def _mean_depth(examples: data.Examples, config: Data) -> tuple[np.ndarray, float]:
    """Averages the readings of evenly spaced images, per pixel and overall, in metres."""
    chosen = np.unique(
        np.linspace(0, len(examples) - 1, min(len(examples), BASELINE_IMAGES)).astype(int)
    )
    total = np.zeros(data.image_size(examples), np.float64)
    count = np.zeros_like(total)
    for batch in data.eval_batches(data.Subset(examples, chosen), config):
        total += np.asarray(batch.depth).sum(0, dtype=np.float64)
        count += (np.asarray(batch.depth) > 0).sum(0)
    mean = total.sum() / max(count.sum(), 1)
    mean_image = np.where(count > 0, total / np.maximum(count, 1), mean)
    return mean_image.astype(np.float32), float(mean)


def _sheet(
    config: Experiment,
    model: Any,
    variables: Variables,
    examples: data.Examples,
    path: pathlib.Path,
) -> None:
    chosen = np.unique(
        np.linspace(0, len(examples) - 1, min(len(examples), config.pictures)).astype(int)
    )
    predict = jax.jit(
        lambda variables, image: config.objective.predict(
            model.apply(variables, image), image.shape[1:3]
        )
    )
    rows = []
    for batch in data.eval_batches(data.Subset(examples, chosen), config.data):
        depth = np.asarray(predict(variables, batch.image).depth)
        rows += _rows(batch, depth)
    pictures.depth_sheet(path, *zip(*rows, strict=True))


def _rows(batch: Batch, depth: np.ndarray) -> Iterable[tuple[np.ndarray, ...]]:
    images = data.to_rgb(np.asarray(batch.image))
    for index in np.flatnonzero(batch.valid):
        yield images[index], np.asarray(batch.depth)[index], depth[index]
