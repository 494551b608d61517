"""Predicts splits with a network that is compiled once, and calibrates predicted frontiers."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from psp_jax import data, steps
from psp_jax.batch import Batch, Prediction
from psp_jax.evaluation import predicted_image, views
from psp_jax.evaluation.predicted_image import PredictedImage
from psp_jax.evaluation.views import Views
from psp_jax.experiment import Experiment
from psp_jax.io import progress
from psp_jax.partition import calibration
from psp_jax.state import Variables

DECODER_IMAGES = 100  # Validation images that choose the decoder.


def evenly_spaced(length: int, count: int) -> list[int]:
    """Returns the indices of up to `count` evenly spaced elements of a sequence."""
    return sorted(set(np.linspace(0, length - 1, min(length, count)).astype(int).tolist()))


class BatchPredictor:
    """Predicts batches with any variables of a network."""

    def __init__(
        self,
        experiment: Experiment,
        model: Any,
        views: Views | None = None,
        *,
        color_scale: int | None = None,
    ):
        """Compiles nothing yet.

        Args:
            experiment: the run.
            model: its network.
            views: mirror images and scales whose predictions are averaged; None for the image.
            color_scale: pixels of the network's image along a side of a pixel of the labels, to
                which other images are resized; None for images as they are.

        Raises:
            ValueError: if views of a network that sees depth are to be averaged.
        """
        self.views, self._color_scale = views or Views(), color_scale
        if not self.views.is_single and model.INPUT_CHANNELS != 3:
            raise ValueError("expected a network that sees RGB to average views of, got depth")
        step = functools.partial(steps.predict, model=model, objective=experiment.objective)
        self._predict, self._data = jax.jit(step), experiment.data
        self._predict_images = jax.jit(
            functools.partial(steps.predict_images, model=model, objective=experiment.objective),
            static_argnames="color_scale",
        )

    def __call__(self, variables: Variables, batch: Batch) -> tuple[jax.Array, Prediction]:
        """Returns the network's outputs and the prediction.

        Both stay on the device, unless views are averaged: the outputs are then those of the image
        itself, and the prediction has no classes.
        """
        color_scale = batch.image.shape[1] // batch.size[0]
        if self._color_scale not in (None, color_scale):
            color_scale = self._color_scale
            size = color_scale * batch.size[0], color_scale * batch.size[1]
            resized = [views.resize_image(image, size) for image in np.asarray(batch.image)]
            batch = dataclasses.replace(batch, image=np.stack(resized))
        output, prediction = self._predict(variables, batch)
        if self.views.is_single:
            return output, prediction

        def network(images: np.ndarray) -> Prediction:
            predicted = self._predict_images(variables, images, color_scale=color_scale)
            return jax.device_get(predicted)

        mean = views.predict(
            np.asarray(batch.image),
            batch.size,
            self.views,
            network,
            tile=batch.size,
            color_scale=color_scale,
        )
        return output, mean

    def split(self, variables: Variables, examples: data.Examples) -> Iterator[PredictedImage]:
        """Yields every image of a split, in order."""
        for batch in data.eval_batches(examples, self._data):
            yield from predicted_image.images_of(batch, self(variables, batch)[1])

    def kinds(self, variables: Variables) -> Prediction:
        """Returns the shapes of a prediction, without computing one; None for what is missing."""
        size = (1, 64, 64)  # Any size will do.
        depth, mask = np.zeros(size, np.float32), np.zeros(size, bool)
        image, classes = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
        batch = Batch(image, depth, depth, classes, mask, mask[:, 0, 0])
        return jax.eval_shape(self._predict, variables, batch)[1]


def calibrate(
    predict: BatchPredictor,
    variables: Variables,
    validation: data.Examples,
    *,
    decoder_images: int = DECODER_IMAGES,
) -> calibration.Calibration:
    """Fits temperature, bias and decoder to the predicted frontiers in one pass over a split.

    Args:
        predict: predicts with the network.
        variables: of the network.
        validation: the split.
        decoder_images: how many images choose the decoder, evenly spaced; all fit the rest.

    Raises:
        ValueError: if the predictions do not separate frontiers from other edges.
    """
    count, kept = len(validation), []
    images = predict.split(variables, validation)
    shown = progress.bar(images, desc="validation", unit="image", total=count)
    samples = _samples(shown, set(evenly_spaced(count, decoder_images)), kept)
    return calibration.fit_decoder(calibration.fit(calibration.tally(samples)), kept)


def _samples(
    images: Iterable[PredictedImage], chosen: set[int], kept: list[calibration.Sample]
) -> Iterator[calibration.Sample]:
    """Yields a sample of every image, and appends those of `chosen` to `kept`."""
    for index, image in enumerate(images):
        sample = calibration.Sample(image.edge_logits, image.true_classes, image.has_truth)
        if index in chosen:
            kept.append(sample)
        yield sample
