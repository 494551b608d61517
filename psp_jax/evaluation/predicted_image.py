"""One image with its truth and its prediction, for partition scores and pictures."""

import dataclasses
import functools

import jax
import numpy as np

from psp_jax.batch import Batch, Prediction
from psp_jax.partition import edge_logits, frontier_classes


@dataclasses.dataclass(frozen=True)
class PredictedImage:
    """One image with its truth and its prediction.

    Attributes:
        truth: NumPy arrays without the batch axis.
        prediction: NumPy arrays without the batch axis.
    """

    truth: Batch
    prediction: Prediction

    @functools.cached_property
    def rgb(self) -> np.ndarray:
        """`[H, W, 3]` uint8, reduced to the size of the labels by averaging."""
        image, (height, width) = np.asarray(self.truth.image), self.truth.size
        scale = len(image) // height
        if scale == 1:
            return image
        cells = image.reshape(height, scale, width, scale, 3)
        return np.round(cells.mean(axis=(1, 3))).astype(np.uint8)

    @property
    def true_classes(self) -> np.ndarray:
        """`[H, W]` uint8, the frontier classes of the true partition."""
        return np.asarray(self.truth.frontier)

    @functools.cached_property
    def true_labels(self) -> np.ndarray:
        """`[H, W]` int32, the true partition."""
        return frontier_classes.decode_exact(self.true_classes)

    @property
    def has_truth(self) -> np.ndarray:
        """`[H, W]` bool, the pixels that carry truth."""
        return ~np.asarray(self.truth.filled)

    @functools.cached_property
    def edge_logits(self) -> edge_logits.EdgeLogits:
        """The predicted edges, not calibrated."""
        assert self.prediction.edges is not None
        return edge_logits.from_edge_head(np.asarray(self.prediction.edges))

    def copy(self) -> "PredictedImage":
        """Copies the arrays, so that the image does not keep its batch in memory."""
        return PredictedImage(*jax.tree.map(np.array, (self.truth, self.prediction)))


def images_of(batch: Batch, prediction: Prediction) -> list[PredictedImage]:
    """Splits a batch and its prediction into images, without padding."""
    batch, prediction = jax.device_get((batch, prediction))
    valid = np.flatnonzero(batch.valid).tolist()
    return [PredictedImage(batch[index], prediction[index]) for index in valid]
