"""Evaluates one finished run: test metrics, intervals, baselines, partitions, tables and pictures.

One pass over the validation split calibrates predicted frontiers. Then one pass over the test split
reads and predicts every image once and updates all metrics, tables and pictures.
"""

import functools
import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from psp_jax import data, init_from, steps
from psp_jax.batch import Batch
from psp_jax.evaluation import (
    oracle,
    partition_scores,
    plots,
    predicted_image,
    predictions,
    scoring,
    tables,
)
from psp_jax.evaluation.depth_baselines import DepthBaselines
from psp_jax.evaluation.predicted_image import PredictedImage
from psp_jax.evaluation.predictions import BatchPredictor
from psp_jax.experiment import Experiment
from psp_jax.io import files, progress
from psp_jax.metrics import class_metrics
from psp_jax.partition import calibration
from psp_jax.state import Variables


def report(
    experiment: Experiment,
    model: Any,
    variables: Variables,
    splits: dict[str, data.Examples],
    folder: pathlib.Path,
    records: list[dict],
) -> None:
    """Evaluates the test split, writes metrics and pictures, and prints the tables.

    Args:
        experiment: the run.
        model: its network.
        variables: its final variables, on one device.
        splits: `train`, `validation` and `test`.
        folder: the workdir, which everything is written to.
        records: lines of `metrics.jsonl`, one per validation.

    Raises:
        ConfigError: if depth is predicted, but no test image has enough readings.
        OSError: if a file can't be written.
    """
    predict = BatchPredictor(experiment, model)
    run = Evaluation(experiment, predict, variables, splits["validation"])
    if run.calibrated is not None:
        calibration.save(run.calibrated, folder / calibration.FILE)
    parts = None
    if (initial := _parts_before_joint_training(experiment, model)) is not None:
        parts = Evaluation(experiment, predict, initial, splits["validation"], baselines={})
    baselines = None
    if predict.kinds(variables).depth is not None:
        baselines = DepthBaselines(splits["train"], experiment.data)
    kept = _pass(experiment, run, parts, baselines, splits["test"])

    scores, result = run.scores, run.result()
    result |= _write_images(run, data.places(splits["test"]), folder)
    result["baselines"] = {} if baselines is None else baselines.result()
    if scores.depth is not None:
        result |= {"max_depth_m": experiment.data.max_depth_m, "pooled": scores.depth.pooled()}
    if scores.classes is not None:
        counts = scores.classes.total
        always_interior = class_metrics.class_metrics(class_metrics.always_interior(counts))
        result["baselines"]["always_interior"] = always_interior
        iou = class_metrics.iou(counts).tolist()
        result["iou"] = [None if np.isnan(value) else value for value in iou]
        result["confusion"] = counts.tolist()
        result["oracle"] = oracle.measure(experiment, model, variables, kept.oracle)
        result["parts_before_joint_training"] = None if parts is None else parts.result()
    files.write(folder / tables.TEST_FILE, json.dumps(result, indent=2) + "\n")
    print(tables.text(result), flush=True)
    _draw(run, kept.pictures, records, folder)
    print(f"pictures, metrics and checkpoints are in {folder}")


class Evaluation:
    """Calibrates one set of variables, and collects its scores on the test split.

    Attributes:
        calibrated: calibration of the predicted frontiers; None if none are predicted.
        scores: the loss and the metrics.
        partitions: partition scores; None if the prediction can't be made a partition.
    """

    def __init__(
        self,
        experiment: Experiment,
        predict: BatchPredictor,
        variables: Variables,
        validation: data.Examples,
        *,
        baselines: partition_scores.Baselines = partition_scores.BASELINES,
    ):
        """Predicts the validation split if frontiers are predicted."""
        self.calibrated, self.partitions, self.scores = None, None, scoring.Scores()
        if predict.kinds(variables).edges is not None:
            self.calibrated = _calibrate(predict, variables, validation)
        labels = experiment.data.labels
        segment = experiment.data.source.segmentations().get(labels) if baselines else None
        if self.calibrated is not None or segment is not None:
            self.partitions = partition_scores.PartitionScores(
                self.calibrated, segment, baselines=baselines
            )
        else:
            print(
                f"predicted depth is not segmented: the algorithm that made the labels {labels!r} "
                "is unknown"
            )
        self._predict, self._variables = predict, variables
        self._score = jax.jit(
            functools.partial(
                steps.score,
                objective=experiment.objective,
                max_depth_m=experiment.data.max_depth_m,
            )
        )

    def add(self, batch: Batch) -> list[tuple[PredictedImage, dict[str, np.ndarray]]]:
        """Predicts and scores a batch; returns its images with their predicted partitions."""
        output, prediction = self._predict(self._variables, batch)
        self.scores.add(self._score(output, prediction, batch))
        images = predicted_image.images_of(batch, prediction)
        if self.partitions is None:
            return [(image, {}) for image in images]
        return [(image, self.partitions.add(image)) for image in images]

    def result(self) -> dict[str, Any]:
        """Returns the metrics over all images, and the partition scores as `regions`."""
        metrics: dict[str, Any] = self.scores.metrics()
        return (
            metrics if self.partitions is None else {**metrics, "regions": self.partitions.result()}
        )


def _calibrate(
    predict: BatchPredictor, variables: Variables, validation: data.Examples
) -> calibration.Calibration:
    try:
        return predictions.calibrate(predict, variables, validation)
    except ValueError as error:  # An untrained network should still be reported.
        print(f"frontiers are decoded without calibration: {error}")
        return calibration.Calibration()


def _parts_before_joint_training(experiment: Experiment, model: Any) -> Variables | None:
    """Returns the initial variables of a run that joins the networks of several runs."""
    if not experiment.init_from_parts:
        return None
    try:
        return init_from.start(experiment, model)[0]
    except (OSError, ValueError) as error:
        print(f"the parts before joint training are not evaluated: {error}")
        return None


class _Kept(NamedTuple):
    """Images kept from a pass: those to draw with their partitions, and those for the oracle."""

    pictures: list[tuple[PredictedImage, dict[str, np.ndarray]]]
    oracle: list[Batch]


def _pass(
    experiment: Experiment,
    run: Evaluation,
    parts: Evaluation | None,
    baselines: DepthBaselines | None,
    examples: data.Examples,
) -> _Kept:
    """Reads every image of the test split once, and adds it to everything that collects."""
    count, index, kept = len(examples), 0, _Kept([], [])
    pictures = predictions.evenly_spaced(count, experiment.pictures)
    fitted = predictions.evenly_spaced(count, oracle.IMAGES)
    with progress.bar(desc="test", unit="image", total=count) as bar:
        for batch in data.eval_batches(examples, experiment.data):
            if baselines is not None:
                baselines.add(batch)
            if parts is not None:
                parts.add(batch)
            for image, partitions in run.add(batch):
                if index in pictures:
                    kept.pictures.append((image.copy(), partitions))
                if index in fitted:
                    kept.oracle.append(image.copy().truth)
                index += 1
                bar.update()
    return kept


def _write_images(run: Evaluation, places: dict[str, list], folder: pathlib.Path) -> dict[str, Any]:
    """Writes the metrics of every image as CSV; returns intervals over spaces, and their number."""
    scores, spaces = run.scores, np.asarray(places["space_id"])
    columns, intervals = scores.columns(), scores.intervals(spaces)
    if run.partitions is not None:
        columns |= run.partitions.columns()
        intervals |= run.partitions.intervals(spaces)
    tables.write_images(folder / tables.IMAGES_FILE, places, columns)
    counted = spaces if scores.depth is None else spaces[scores.depth.counted]
    return {"spaces": len(set(counted)), "intervals": intervals}


def _draw(
    run: Evaluation,
    pictures: list[tuple[PredictedImage, dict[str, np.ndarray]]],
    records: list[dict],
    folder: pathlib.Path,
) -> None:
    """Draws the curves of the validation split and the pictures of test images."""
    headline = next(name for name in scoring.HEADLINES if f"validation_{name}" in records[0])
    plots.curves(folder / "curves.png", records, headline, scoring.HEADLINES[headline])
    images = [image for image, _ in pictures]
    if run.scores.depth is not None:
        plots.depth_sheet(folder / "test.png", images)
    if (calibrated := run.calibrated) is not None:
        plots.frontier_sheet(
            folder / ("test.png" if run.scores.depth is None else "frontiers.png"),
            images,
            [partition_scores.pixel_probability(calibrated(image.edge_logits)) for image in images],
            [partitions[partition_scores.DECODED] for _, partitions in pictures],
        )
