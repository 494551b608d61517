"""Figures of a split, the baselines a sceptic asks for, and what a finished run leaves behind."""

import functools
import json
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from psp_jax import data, metrics, pictures, steps
from psp_jax.batch import Batch
from psp_jax.experiment import ConfigError, Data, Experiment
from psp_jax.state import Variables

TEST_FILE = "test.json"
BASELINE_IMAGES = 2000  # Training images averaged; more would not move the mean visibly.


# Computes the loss and the figures of a split with given variables.
Evaluate = Callable[[Variables, data.Examples], dict[str, float]]


def make(config: Experiment, model: Any) -> Evaluate:
    """Returns a function that computes the loss and the figures of a split."""
    step = jax.jit(
        functools.partial(
            steps.eval_step, model=model, objective=config.objective, range_m=config.data.range_m
        )
    )

    def evaluate(variables: Variables, examples: data.Examples) -> dict[str, float]:
        averages, total, count = metrics.Averages(), 0.0, 0.0
        for batch in data.eval_batches(examples, config.data):
            loss, figures = step(variables, batch)
            averages.add(figures)
            total, count = total + float(loss.total), count + float(loss.count)
        if not averages.images:
            raise ConfigError(
                f"config.data.range_m={config.data.range_m}: no image of the split has "
                f"{metrics.MIN_READINGS} readings within it, so there is nothing to evaluate"
            )
        return {"loss": total / max(count, 1.0), "images": averages.images, **averages.means()}

    return evaluate


def baselines(config: Experiment, splits: dict[str, data.Examples]) -> dict[str, dict]:
    """Scores two predictors that never look at the image on the test split.

    Returns:
        The figures of `constant`, the mean depth of the training set, and of `mean_image`, its
        mean at every pixel.
    """
    mean_image, mean = _mean_depth(splits["train"], config.data)
    figures = jax.jit(functools.partial(metrics.depth_figures, range_m=config.data.range_m))
    averages = {"constant": metrics.Averages(), "mean_image": metrics.Averages()}
    for batch in data.eval_batches(splits["test"], config.data):
        shape = batch.depth.shape
        averages["constant"].add(figures(np.full(shape, mean, np.float32), batch))
        averages["mean_image"].add(figures(np.broadcast_to(mean_image, shape), batch))
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
    figures = evaluate(variables, splits["test"])
    figures.pop("loss")
    result = {
        **figures,
        "range_m": config.data.range_m,
        "baselines": baselines(config, splits),
    }
    (folder / TEST_FILE).write_text(json.dumps(result, indent=2) + "\n")
    print(table(result), flush=True)
    pictures.curves(folder / "curves.png", records)
    _sheet(config, model, variables, splits["test"], folder / "test.png")
    print(f"pictures, figures and checkpoints are in {folder}")


def table(result: dict) -> str:
    """Formats the content of `test.json` as a table."""
    lines = [
        f"test split, {result['images']} images",
        f"{'':<26}{'AbsRel':>8}{'RMSE m':>9}{'d<1.25':>9}{'MAD levels*':>13}",
    ]
    rows = {
        "this run": result,
        "constant (training mean)": result["baselines"]["constant"],
        "mean depth image": result["baselines"]["mean_image"],
    }
    for name, row in rows.items():
        lines.append(
            f"{name:<26}{row['abs_rel']:>8.3f}{row['rmse_m']:>9.3f}{row['delta1']:>9.3f}"
            f"{row['mad_levels']:>13.2f}"
        )
    lines.append(f"* mean absolute difference in gray levels; 255 levels are {result['range_m']} m")
    return "\n".join(lines)


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
