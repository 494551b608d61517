"""Computes the loss and the metrics of a split in one pass."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from psp_jax import data, steps
from psp_jax.evaluation import predictions
from psp_jax.experiment import ConfigError, Experiment
from psp_jax.metrics import bootstrap, class_metrics, depth_metrics, directions, edge_metrics
from psp_jax.objectives import edges
from psp_jax.runtime.mesh import Mesh
from psp_jax.state import Variables

# Metrics that are printed during training, with their titles.
HEADLINES = {
    "rmse_m": "RMSE m",
    "abs_rel": "AbsRel",
    "accuracy": "accuracy",
    "interior_share": "always interior",
    "edge_bits": "bits/edge",
    "edge_ap": "edge AP",
    "edge_ods": "edge F",
}


class Scores:
    """The loss and the metrics of a split, added up batch by batch.

    Attributes:
        images: number of images.
        depth: metrics of every image; None if the network predicts no depth.
        edges: counts of edges by logit; None if it predicts no frontiers.
        classes: confusion matrices of the frontier classes; None if it predicts none.
    """

    def __init__(self):
        """Starts empty."""
        self.images = 0
        self.depth: depth_metrics.Averages | None = None
        self.edges: edge_metrics.EdgeTally | None = None
        self.classes: class_metrics.Confusions | None = None
        self._loss, self._count = 0.0, 0.0
        self._terms: dict[str, float] = {}

    def add(self, scores: steps.BatchScores) -> None:
        """Adds the scores of a batch, on the host or on the device."""
        scores = jax.device_get(scores)
        valid, loss = scores.valid, scores.loss
        self.images += int(np.sum(valid))
        self._loss, self._count = self._loss + float(loss.total), self._count + float(loss.count)
        for name, term in loss.terms.items():
            self._terms[name] = self._terms.get(name, 0.0) + float(loss.count * term)
        if scores.depth is not None:
            self.depth = self.depth or depth_metrics.Averages()
            self.depth.add({name: values[valid] for name, values in scores.depth.items()})
        if scores.edge_counts is not None:
            self.edges = self.edges or edge_metrics.EdgeTally()
            self.edges.add(scores.edge_counts)
        if scores.confusion is not None:
            self.classes = self.classes or class_metrics.Confusions(edges.CLASSES)
            self.classes.add(scores.confusion, valid)

    def record(self) -> dict[str, float]:
        """Returns `loss`, the metrics, and the terms of a loss that is a weighted sum of several.

        Raises:
            ConfigError: see `metrics`.
        """
        count = max(self._count, 1.0)
        terms = {f"loss/{name}": value / count for name, value in self._terms.items()}
        return {"loss": self._loss / count, **self.metrics(), **terms}

    def metrics(self) -> dict[str, float]:
        """Returns the number of images, and every metric over all images.

        Raises:
            ConfigError: if depth is predicted, but no image has enough readings to be scored.
        """
        metrics: dict[str, float] = {"images": self.images}
        if self.depth is not None:
            if not self.depth.images:
                raise ConfigError(
                    f"config.data.max_depth_m: no image of the split has "
                    f"{depth_metrics.MIN_READINGS} readings within it; choose a larger one"
                )
            metrics |= {"images": self.depth.images, **self.depth.means()}
        if self.edges is not None:
            metrics |= self.edges.metrics()
        if self.classes is not None:
            metrics |= class_metrics.class_metrics(self.classes.total)
        return metrics

    def columns(self) -> dict[str, np.ndarray]:
        """Returns the metrics of every image by name, `[N]` float64; NaN for missing ones."""
        columns = {} if self.depth is None else self.depth.columns()
        return columns if self.classes is None else columns | self.classes.columns()

    def intervals(self, spaces: Sequence[str] | np.ndarray) -> dict[str, tuple[float, float]]:
        """Bootstraps 95 % intervals of the metrics over `spaces`, the space of every image."""
        intervals = {}
        if self.depth is not None:
            counted, columns = self.depth.counted, self.depth.columns()
            averaged = {name: columns[name][counted] for name in self.depth.means()}
            intervals |= bootstrap.intervals(averaged, np.asarray(spaces)[counted])
        if self.classes is not None:
            intervals |= bootstrap.intervals_of_sums(
                self.classes.images, spaces, class_metrics.class_metrics
            )
        return intervals


def check_metric(config: Experiment, model: Any, variables: Variables) -> None:
    """Raises ConfigError if a validation of the network lacks the metric of the best step."""
    if config.best_metric in ("", directions.LOSS):
        return
    kinds = predictions.BatchPredictor(config, model).kinds(variables)
    known = [directions.LOSS]
    for kind, metrics in directions.BY_KIND.items():
        known += metrics if getattr(kinds, kind) is not None else ()
    if config.best_metric not in known:
        raise ConfigError(
            f"config.best_metric={config.best_metric}: expected one that this experiment has: "
            f"{', '.join(known)}"
        )


class Evaluator:
    """Scores a split with any variables of a network, on all devices of a run."""

    def __init__(
        self,
        experiment: Experiment,
        model: Any,
        mesh: Mesh,
        *,
        measure_depth: steps.DepthMetrics = depth_metrics.depth_metrics,
    ):
        """Compiles nothing yet.

        Args:
            experiment: the experiment.
            model: its network.
            mesh: the devices, which hold the variables; all their processes evaluate together.
            measure_depth: computes the metrics of predicted depth.
        """
        step = functools.partial(
            steps.eval_step,
            model=model,
            objective=experiment.objective,
            max_depth_m=experiment.data.max_depth_m,
            measure_depth=measure_depth,
        )
        self._data, self._mesh, self._step = experiment.data, mesh, mesh.jit_evaluation(step)

    def __call__(self, variables: Variables, examples: data.Examples) -> Scores:
        """Scores a split."""
        scores, rows = Scores(), self._mesh.rows(self._data.batch_size)
        for batch in data.eval_batches(examples, self._data, rows=rows):
            scores.add(self._step(variables, self._mesh.batch(batch)))
        return scores
