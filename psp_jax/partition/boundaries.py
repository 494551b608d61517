"""Precision and recall of boundaries predicted with a probability, streamed over images.

A predicted pixel is correct if a true one lies in the square window around it, a true one is
recalled if a predicted one does. One pixel may serve several: within 2 px this differs little from
BSDS's one-to-one matching, but a thick band is not penalised for its thickness inside the window.
Nothing is thinned beforehand.
"""

import cv2
import numpy as np

THRESHOLDS = np.linspace(0.01, 0.99, 99)  # As many as the BSDS benchmark has.


def count(
    probability: np.ndarray, true: np.ndarray, *, radius_px: int, known: np.ndarray | None = None
) -> np.ndarray:
    """Counts the pixels that precision and recall at every threshold are computed from.

    Args:
        probability: `[H, W]` from 0 to 1; a pixel is predicted where it reaches the threshold. A
            mask has the probabilities 1 and 0.
        true: `[H, W]` bool.
        radius_px: half side of the window: 0, 1 or 2.
        known: `[H, W]` bool, the pixels that are counted; all by default.

    Returns:
        `[99, 4]` int64 by `THRESHOLDS`: predicted pixels, those of them that are correct, true
        pixels, those of them that are recalled. Counts of images may be added.
    """
    if probability.shape != true.shape:
        raise ValueError(
            f"expected probabilities of {true.shape} like the truth, got {probability.shape}"
        )
    counted = np.ones(true.shape, bool) if known is None else known
    window = np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8)
    # The number of thresholds that each pixel reaches; its maximum in a window recalls a true one.
    reached = np.searchsorted(THRESHOLDS, probability, side="right").astype(np.uint8)
    close = cv2.dilate(true.astype(np.uint8), window).astype(bool)
    recalled = cv2.dilate(reached, window)

    def at_least(levels: np.ndarray) -> np.ndarray:
        histogram = np.bincount(levels, minlength=len(THRESHOLDS) + 1)
        return np.cumsum(histogram[::-1])[::-1][1:]

    wanted = true & counted
    columns = [
        at_least(reached[counted]),
        at_least(reached[counted & close]),
        np.full(len(THRESHOLDS), wanted.sum()),
        at_least(recalled[wanted]),
    ]
    return np.stack(columns, axis=1).astype(np.int64)


def precision_recall(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns `[..., 99]` precision, 1 without predictions, and recall, 0 without true pixels.

    Args:
        counts: `[..., 99, 4]` as from `count`.
    """
    predicted, correct, true, recalled = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    precision = np.where(predicted > 0, correct / np.maximum(predicted, 1), 1.0)
    return precision, recalled / np.maximum(true, 1)


def f_measure(counts: np.ndarray) -> np.ndarray:
    """Returns the harmonic mean of precision and recall, `[..., 99]`."""
    precision, recall = precision_recall(counts)
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def metrics(counts: np.ndarray) -> dict[str, float]:
    """Computes the metrics of a split from the counts of its images (Arbelaez et al. 2011).

    Args:
        counts: `[N, 99, 4]` int64, one from `count` per image.

    Returns:
        `f`, the F-measure at the threshold nearest to one half; `ods`, at the one best for all
        images; `ois`, with the best one for each image; and `ap`, the sum of precision times the
        recall gained from threshold to threshold. Images are pooled, not averaged.
    """
    counts = np.asarray(counts, np.int64).reshape(-1, len(THRESHOLDS), 4)
    total = counts.sum(0)
    best = f_measure(counts).argmax(1)
    precision, recall = precision_recall(total)
    gained = np.diff(recall[::-1], prepend=0.0)
    measures = f_measure(total)
    return {
        "f": float(measures[len(THRESHOLDS) // 2]),
        "ods": float(measures.max()),
        "ois": float(f_measure(counts[np.arange(len(counts)), best].sum(0))),
        "ap": float((precision[::-1] * gained).sum()),
    }
