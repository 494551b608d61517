"""Figures of a split, and the baselines a sceptic asks for."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from psp_jax import data, steps
from psp_jax.batch import Batch
from psp_jax.experiment import ConfigError, Data, Experiment
from psp_jax.metrics import depth_metrics, edge_metrics
from psp_jax.objectives import edges
from psp_jax.runtime import mesh
from psp_jax.state import Variables

# Figures that the lines of the training show, with their titles.
HEADLINES = {
    "rmse_m": "RMSE m",
    "abs_rel": "AbsRel",
    "accuracy": "accuracy",
    "interior_share": "always interior",
    "edge_bits": "bits/edge",
    "edge_ap": "edge AP",
    "edge_ods": "edge F",
}
BASELINE_IMAGES = 2000  # Training images averaged; more would not move the mean visibly.


@dataclasses.dataclass(frozen=True)
class Scores:
    """What an evaluation found in a split.

    Attributes:
        loss: mean of the objective.
        terms: means of the terms that it is a weighted sum of, where there are several.
        images: number of images.
        depth: depth figures, image by image, where the network predicts depth.
        edges: counts of edges by logit, where it predicts frontiers.
        classes: confusion of the frontier classes, where it predicts them.
    """

    loss: float
    terms: dict[str, float]
    images: int
    depth: depth_metrics.Averages | None
    edges: edge_metrics.EdgeTally | None
    classes: depth_metrics.Confusions | None = None

    def figures(self) -> dict[str, float]:
        """Returns the loss, the number of images, and every figure of all of them."""
        figures = {"loss": self.loss, "images": self.images}
        if self.depth is not None:
            figures |= {"images": self.depth.images, **self.depth.means()}
        if self.edges is not None:
            figures |= self.edges.figures()
        if self.classes is not None:
            figures |= depth_metrics.class_means(self.classes.total)
        return figures


# Scores given variables on a split.
Evaluate = Callable[[Variables, data.Examples], Scores]


def make(
    config: Experiment,
    model: Any,
    devices: mesh.Mesh | None = None,
    depth_figures: steps.DepthFigures = depth_metrics.depth_figures,
) -> Evaluate:
    """Returns a function that computes the loss and the figures of a split.

    Args:
        config: the experiment.
        model: its network.
        devices: those that share the work and hold the variables, all of whose processes then have
            to call the function; None for this process's first.
        depth_figures: computes what is wanted of predicted depth.
    """

    def judge(variables: Variables, batch: Batch) -> Any:
        loss, values = steps.eval_step(
            variables,
            batch,
            model=model,
            objective=config.objective,
            max_depth_m=config.data.max_depth_m,
            depth_figures=depth_figures,
        )
        return loss, values, batch.valid

    step = jax.jit(judge) if devices is None else devices.jit_evaluation(judge)
    rows = None if devices is None else devices.rows(config.data.batch_size)

    def evaluate(variables: Variables, examples: data.Examples) -> Scores:
        depth, tally = depth_metrics.Averages(), edge_metrics.EdgeTally()
        classes = depth_metrics.Confusions(edges.CLASSES)
        images, total, count, met = 0, 0.0, 0.0, set()
        terms: dict[str, float] = {}
        for batch in data.eval_batches(examples, config.data, rows=rows):
            placed = batch if devices is None else devices.batch(batch)
            loss, values, valid = jax.device_get(step(variables, placed))
            met |= values.keys()
            if "depth" in values:
                depth.add({name: value[valid] for name, value in values["depth"].items()})
            if "edges" in values:
                tally.add(values["edges"])
            if "classes" in values:
                classes.add(values["classes"]["counts"], valid)
            images += int(np.sum(valid))
            total, count = total + float(loss.total), count + float(loss.count)
            for name, term in loss.terms.items():
                terms[name] = terms.get(name, 0.0) + float(loss.count * term)
        if "depth" in met and not depth.images:
            raise ConfigError(
                f"config.data.max_depth_m={config.data.max_depth_m}: no image of the split has "
                f"{depth_metrics.MIN_READINGS} readings within it, so there is nothing to evaluate"
            )
        return Scores(
            loss=total / max(count, 1.0),
            terms={name: value / max(count, 1.0) for name, value in terms.items()},
            images=images,
            depth=depth if "depth" in met else None,
            edges=tally if "edges" in met else None,
            classes=classes if "classes" in met else None,
        )

    return evaluate


def baselines(config: Experiment, splits: dict[str, data.Examples]) -> dict[str, dict]:
    """Scores two predictors that never look at the image on the test split.

    Returns:
        The figures of `constant`, the mean depth of the training set, and of `mean_image`, its
        mean at every pixel.
    """
    mean_image, mean = _mean_depth(splits["train"], config.data)
    score = jax.jit(
        functools.partial(depth_metrics.depth_figures, max_depth_m=config.data.max_depth_m)
    )
    averages = {"constant": depth_metrics.Averages(), "mean_image": depth_metrics.Averages()}
    for batch in data.eval_batches(splits["test"], config.data):
        shape = batch.depth.shape
        averages["constant"].add(score(np.full(shape, mean, np.float32), batch))
        averages["mean_image"].add(score(np.broadcast_to(mean_image, shape), batch))
    return {name: average.means() for name, average in averages.items()}


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
