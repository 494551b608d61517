"""Scores two depth predictors that do not see the image: baselines for every depth network."""

import functools

import jax
import numpy as np

from psp_jax import data
from psp_jax.batch import Batch
from psp_jax.evaluation import predictions
from psp_jax.experiment import Data
from psp_jax.metrics import depth_metrics

IMAGES = 2000  # Training images averaged; more would not move the mean visibly.


def mean_depth(examples: data.Examples, config: Data) -> tuple[np.ndarray, float]:
    """Averages the readings of evenly spaced images.

    Returns:
        `[H, W]` float32 metres, the mean of every pixel, and the mean over all pixels in metres.
    """
    chosen = data.Subset(examples, predictions.evenly_spaced(len(examples), IMAGES))
    total, count = np.float64(0), np.int64(0)
    for batch in data.eval_batches(chosen, config):
        total = total + np.asarray(batch.depth).sum(0, dtype=np.float64)
        count = count + (np.asarray(batch.depth) > 0).sum(0)
    mean = total.sum() / max(count.sum(), 1)
    mean_image = np.where(count > 0, total / np.maximum(count, 1), mean)
    return mean_image.astype(np.float32), float(mean)


class DepthBaselines:
    """Scores the mean depth of the training split, and its mean depth image."""

    def __init__(self, train: data.Examples, config: Data):
        """Averages the training split."""
        mean_image, mean = mean_depth(train, config)
        self._predicted = {"constant": np.full_like(mean_image, mean), "mean_image": mean_image}
        self._averages = {name: depth_metrics.Averages() for name in self._predicted}
        self._score = jax.jit(
            functools.partial(depth_metrics.depth_metrics, max_depth_m=config.max_depth_m)
        )

    def add(self, batch: Batch) -> None:
        """Scores both on a batch of the test split."""
        for name, depth_m in self._predicted.items():
            predicted = np.broadcast_to(depth_m, batch.depth.shape)
            self._averages[name].add(self._score(predicted, batch))

    def result(self) -> dict[str, dict[str, float]]:
        """Returns the mean metrics of `constant` and `mean_image`."""
        return {name: average.means() for name, average in self._averages.items()}
