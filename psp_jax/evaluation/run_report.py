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
    run = Evaluation(
        experiment, predict, variables, calibrate(predict, variables, splits["validation"])
    )
    if run.calibrated is not None:
        calibration.save(run.calibrated, folder / calibration.FILE)
    parts = None
    if (initial := _parts_before_joint_training(experiment, model)) is not None:
        calibrated = calibrate(predict, initial, splits["validation"])
        parts = Evaluation(experiment, predict, initial, calibrated, baselines={})
    pictures = score(experiment, model, run, splits, folder, parts=parts)
    _draw_curves(records, folder)
    draw(run, pictures, folder)
    print(f"pictures, metrics and checkpoints are in {folder}")


def score(
    experiment: Experiment,
    model: Any,
    run: "Evaluation",
    splits: dict[str, data.Examples],
    folder: pathlib.Path,
    *,
    split: str = "test",
    parts: "Evaluation | None" = None,
) -> "Pictures":
    """Scores a split, writes its metrics, and prints the tables.

    Args:
        experiment: the run, with the data set of `splits`.
        model: its network.
        run: collects the scores.
        splits: the data set; baselines are computed from `train`.
        folder: where the metrics are written to.
        split: name of the split.
        parts: collects the scores of its parts before joint training.

    Returns:
        The images to draw, with their partitions.

    Raises:
        ConfigError: if depth is predicted, but no image has enough readings.
        OSError: if a file can't be written.
    """
    baselines, examples = None, splits[split]
    if run.kinds.depth is not None:
        baselines = DepthBaselines(splits["train"], experiment.data)
    kept = _pass(experiment, run, parts, baselines, examples, split)

    scores, result = run.scores, {"split": split, **run.result()}
    result["spaces_shared_with_train"] = data.spaces_shared_with_train(examples)
    result |= _write_images(run, data.places(examples), folder / tables.images_file(split))
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
    if scores.edges is not None or scores.classes is not None:
        result["oracle"] = oracle.measure(experiment, model, run.variables, kept.oracle)
        result["parts_before_joint_training"] = None if parts is None else parts.result()
    files.write(folder / tables.metrics_file(split), json.dumps(result, indent=2) + "\n")
    print(tables.text(result), flush=True)
    return kept.pictures


class Evaluation:
    """Collects the scores of one set of variables on a split.

    Attributes:
        variables: of the network.
        kinds: the shapes of its predictions; None for what it does not predict.
        calibrated: calibration of the predicted frontiers; None if none are predicted.
        scores: the loss and the metrics.
        partitions: partition scores; None if the prediction can't be made a partition.
    """

    def __init__(
        self,
        experiment: Experiment,
        predict: BatchPredictor,
        variables: Variables,
        calibrated: calibration.Calibration | None,
        *,
        baselines: partition_scores.Baselines = partition_scores.BASELINES,
    ):
        """Starts empty."""
        self.variables, self.kinds = variables, predict.kinds(variables)
        self.calibrated, self.partitions, self.scores = calibrated, None, scoring.Scores()
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
        self._predict = predict
        self._score = jax.jit(
            functools.partial(
                steps.score,
                objective=experiment.objective,
                max_depth_m=experiment.data.max_depth_m,
            )
        )

    def add(self, batch: Batch) -> list[tuple[PredictedImage, dict[str, np.ndarray]]]:
        """Predicts and scores a batch; returns its images with their predicted partitions."""
        output, prediction = self._predict(self.variables, batch)
        self.scores.add(self._score(output, prediction, batch))
        images = predicted_image.images_of(batch, prediction)
        if self.partitions is None:
            return [(image, {}) for image in images]
        return list(zip(images, self.partitions.add(images), strict=True))

    def result(self) -> dict[str, Any]:
        """Returns the metrics over all images, and the partition scores as `regions`."""
        metrics: dict[str, Any] = self.scores.metrics()
        if not (averaged := self._predict.views).is_single:
            metrics |= {"flip": averaged.flip, "scales": averaged.scales}
        return (
            metrics if self.partitions is None else {**metrics, "regions": self.partitions.result()}
        )


def calibrate(
    predict: BatchPredictor, variables: Variables, validation: data.Examples
) -> calibration.Calibration | None:
    """Fits the calibration of predicted frontiers; returns None if none are predicted."""
    if predict.kinds(variables).edges is None:
        return None
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


Pictures = list[tuple[PredictedImage, dict[str, np.ndarray]]]


class _Kept(NamedTuple):
    """Images kept from a pass: those to draw with their partitions, and those for the oracle."""

    pictures: Pictures
    oracle: list[Batch]


def _pass(
    experiment: Experiment,
    run: Evaluation,
    parts: Evaluation | None,
    baselines: DepthBaselines | None,
    examples: data.Examples,
    split: str,
) -> _Kept:
    """Reads every image of the split once, and adds it to everything that collects."""
    count, index, kept = len(examples), 0, _Kept([], [])
    pictures = predictions.evenly_spaced(count, experiment.pictures)
    fitted = predictions.evenly_spaced(count, oracle.IMAGES)
    with progress.bar(desc=split, unit="image", total=count) as bar:
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


def _write_images(run: Evaluation, places: dict[str, list], path: pathlib.Path) -> dict[str, Any]:
    """Writes the metrics of every image as CSV; returns intervals over spaces, and their number."""
    scores, spaces = run.scores, np.asarray(places["space_id"])
    columns, intervals = scores.columns(), scores.intervals(spaces)
    if run.partitions is not None:
        columns |= run.partitions.columns()
        intervals |= run.partitions.intervals(spaces)
    tables.write_images(path, places, columns)
    counted = spaces if scores.depth is None else spaces[scores.depth.counted]
    return {"spaces": len(set(counted)), "intervals": intervals}


def _draw_curves(records: list[dict], folder: pathlib.Path) -> None:
    """Draws the curves of the records; a damaged file lacks some, or fields of some."""
    for headline, title in scoring.HEADLINES.items():
        if having := [record for record in records if f"validation_{headline}" in record]:
            plots.curves(folder / "curves.png", having, headline, title)
            return
    print("no validation is recorded, so no curves are drawn")


def draw(run: Evaluation, pictures: Pictures, folder: pathlib.Path) -> None:
    """Draws predictions of the images that `score` returned."""
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
