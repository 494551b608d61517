"""Metrics of predicted classes, from confusion matrices that are counted on device."""

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.batch import Array
from psp_jax.metrics import bootstrap


def confusion(predicted: Array, truth: Array, mask: Array, *, classes: int) -> jax.Array:
    """Counts pixels by true and predicted class.

    Args:
        predicted: `[B, H, W]` integers below `classes`.
        truth: `[B, H, W]` integers below `classes`.
        mask: `[B, H, W]` bool, the pixels that count.
        classes: number of classes K.

    Returns:
        `[B, K, K]` int32; row = true class, column = predicted class.
    """
    cell = jnp.asarray(truth, jnp.int32) * classes + jnp.asarray(predicted, jnp.int32)
    cell = jnp.where(jnp.asarray(mask), cell, classes**2)
    count = jax.vmap(lambda cells: jnp.bincount(cells.ravel(), length=classes**2 + 1))
    return count(cell)[:, :-1].reshape(-1, classes, classes).astype(jnp.int32)


def iou(counts: np.ndarray) -> np.ndarray:
    """Computes the intersection over union of every class from a `[K, K]` confusion matrix.

    Returns:
        `[K]` float64; NaN for a class that is neither true nor predicted anywhere.
    """
    counts = np.asarray(counts, np.float64)
    right = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - right
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def class_metrics(counts: np.ndarray) -> dict[str, float]:
    """Computes the metrics of a confusion matrix.

    Args:
        counts: `[K, K]` integers; row = true class, column = predicted class; class 0 is interior.

    Returns:
        `accuracy`; `interior_share`, the accuracy of always predicting interior; `mean_iou` over
        the classes that are true or predicted somewhere; `mean_iou_absent_0` over all K, with 0 for
        the others; `balanced_accuracy`, the mean recall of the classes that are true somewhere;
        `frontier_recall`, the share of frontier pixels that are not predicted to be interior.
    """
    counts = np.asarray(counts, np.float64)
    right, true = np.diag(counts), counts.sum(1)
    total = max(counts.sum(), 1)
    recall = np.where(true > 0, right / np.maximum(true, 1), np.nan)
    return {
        "accuracy": float(right.sum() / total),
        "interior_share": float(true[0] / total),
        "mean_iou": bootstrap.mean(iou(counts)),
        "mean_iou_absent_0": float(np.nan_to_num(iou(counts)).mean()),
        "balanced_accuracy": bootstrap.mean(recall),
        "frontier_recall": float(counts[1:, 1:].sum() / max(true[1:].sum(), 1)),
    }


def always_interior(counts: np.ndarray) -> np.ndarray:
    """Returns the confusion matrix of a baseline that always predicts class 0.

    Args:
        counts: `[K, K]` integers, the confusion matrix of any prediction of the same images.
    """
    baseline = np.zeros_like(counts)
    baseline[:, 0] = counts.sum(1)
    return baseline


class Confusions:
    """Collects the confusion matrix of every image."""

    def __init__(self, classes: int):
        """Starts empty."""
        self._counts: list[np.ndarray] = [np.zeros((0, classes, classes), np.int32)]

    def add(self, counts: Array, valid: Array) -> None:
        """Adds the matrices `[B, K, K]` of a batch whose images are real where `valid` `[B]` is."""
        self._counts.append(np.asarray(counts)[np.asarray(valid)])

    @property
    def images(self) -> np.ndarray:
        """`[N, K, K]` int64, one matrix per image in the order they were added."""
        return np.concatenate(self._counts).astype(np.int64)

    @property
    def total(self) -> np.ndarray:
        """`[K, K]` int64 over all images."""
        return self.images.sum(0)

    def columns(self) -> dict[str, np.ndarray]:
        """Returns the metrics of every image, `[N]` float64; NaN where no pixel counts."""
        images = self.images
        absent = dict.fromkeys(class_metrics(images.sum(0)), np.nan)
        rows = [class_metrics(image) if image.any() else absent for image in images]
        return {name: np.array([row[name] for row in rows]) for name in absent}
