"""Draws predictions of a few validation images while a run trains."""

import io
from typing import Any

import jax
import numpy as np

from psp_jax import data
from psp_jax.evaluation import partition_scores, plots, predicted_image, predictions
from psp_jax.evaluation.predicted_image import PredictedImage
from psp_jax.experiment import Experiment
from psp_jax.partition import calibration
from psp_jax.state import Variables

IMAGES = 4  # More make a sheet slower to draw, and `test.png` shows `config.pictures` of them.


class ValidationSheets:
    """Draws the same validation images, evenly spaced, with any variables of a network."""

    def __init__(self, config: Experiment, model: Any, validation: data.Examples):
        """Reads and compiles nothing yet."""
        self._config, self._validation = config, validation
        self._predict = predictions.BatchPredictor(config, model)
        self._batch: Any = None

    def draw(self, variables: Variables) -> dict[str, bytes]:
        """Draws what the network predicts, as `test.png` and `frontiers.png` show the test split.

        Frontiers are decoded without calibration, which only a finished run has.

        Args:
            variables: of the network, on one device.

        Returns:
            PNG files by name: `depth`, `frontiers`, or both.
        """
        if self._batch is None:
            self._batch = self._read()
        _, prediction = self._predict(variables, self._batch)
        images = predicted_image.images_of(self._batch, prediction)
        sheets = {}
        with_depth = [image for image in images if np.any(image.truth.depth > 0)]
        if prediction.depth is not None and with_depth:
            plots.depth_sheet(target := io.BytesIO(), with_depth)
            sheets["depth"] = target.getvalue()
        if prediction.edges is not None:
            sheets["frontiers"] = _frontier_sheet(images)
        return sheets

    def _read(self) -> Any:
        count = min(IMAGES, self._config.pictures)
        indices = predictions.evenly_spaced(len(self._validation), count)
        examples = [data.example_of(self._validation[i], self._config.data) for i in indices]
        return jax.tree.map(lambda *arrays: np.stack(arrays), *examples)


def _frontier_sheet(images: list[PredictedImage]) -> bytes:
    neutral, target = calibration.Calibration(), io.BytesIO()
    edges = [neutral(image.edge_logits) for image in images]
    probability = [partition_scores.pixel_probability(each) for each in edges]
    plots.frontier_sheet(target, images, probability, [neutral.decoder(each) for each in edges])
    return target.getvalue()
