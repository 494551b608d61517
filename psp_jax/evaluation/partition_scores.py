"""Scores predicted partitions against the true ones, next to baselines with as many regions.

Predicted frontiers become a partition by a decoder, predicted depth by the algorithm that made the
labels. Predicted edges are also scored by the code length of the true partition given them.
"""

import concurrent.futures
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from psp_jax import codec
from psp_jax.evaluation.predicted_image import PredictedImage
from psp_jax.io import units
from psp_jax.metrics import bootstrap
from psp_jax.partition import (
    baselines,
    boundaries,
    calibration,
    decode,
    edge_logits,
    scores,
    superpixels,
)

RADII_PX = (0, 1, 2)
DISCONTINUITY_RADIUS_PX = 2  # True boundaries this near to a depth discontinuity belong to it.
# Names of the scores of a partition, see `score`.
COLUMNS = ("regions", "ari", "vi_bits", "asa", "ue", "discontinuity_recall", "other_recall")
COLUMNS += tuple(f"f_{radius_px}px" for radius_px in RADII_PX)
# Names of the partitions that a prediction becomes.
DECODED, COMPONENTS = "decoded frontiers", "connected components"
SEGMENTED_DEPTH = "predicted depth, segmented"

# Partitions of an image into about so many regions, made without a prediction.
Baselines = Mapping[str, Callable[[PredictedImage, int], np.ndarray]]
BASELINES: Baselines = {
    "grid": lambda image, regions: baselines.grid(image.true_classes.shape, regions),
    "SEEDS on RGB": lambda image, regions: baselines.seeds_on_rgb(image.rgb, regions),
    "SLIC on RGB": lambda image, regions: baselines.slic_on_rgb(image.rgb, regions),
    "SLIC on true depth": lambda image, regions: baselines.slic_on_depth(
        units.to_millimetres(image.truth.filled_depth), regions
    ),
}


class PartitionScores:
    """Collects the scores of the partitions of every image, by the name of the partition."""

    def __init__(
        self,
        calibrated: calibration.Calibration | None,
        segment: superpixels.Superpixels | None,
        *,
        baselines: Baselines = BASELINES,
    ):
        """Starts empty.

        Args:
            calibrated: calibration of the predicted frontiers, where there are some.
            segment: the algorithm that made the labels, for predicted depth.
            baselines: partitions to compare with.
        """
        self._calibrated, self._segment, self._baselines = calibrated, segment, baselines
        self._rows: dict[str, list[dict[str, float]]] = {}
        self._first: list[dict[str, float]] = []
        self._edges = None if calibrated is None else EdgeScores()

    def add(self, images: Sequence[PredictedImage]) -> list[dict[str, np.ndarray]]:
        """Scores images, each in a thread.

        Returns:
            For each, the `[H, W]` int32 partitions made of its prediction.
        """
        predictions = []
        with concurrent.futures.ThreadPoolExecutor() as threads:
            for scored in threads.map(self._score, images):
                predictions.append(scored.predicted)
                for name, row in scored.rows.items():
                    self._rows.setdefault(name, []).append(row)
                self._first.append(next(iter(scored.rows.values()), {}))
                if self._edges is not None and scored.edges is not None:
                    self._edges.add(scored.edges)
        return predictions

    def _score(self, image: PredictedImage) -> "_Scored":
        predicted = self._partitions(image)
        if not image.has_truth.any():
            return _Scored(predicted, {}, None)
        depth_mm = units.to_millimetres(image.truth.depth)
        discontinuities = scores.near(
            scores.depth_discontinuities(depth_mm), DISCONTINUITY_RADIUS_PX
        )
        first = next(iter(predicted))
        regions = int(predicted[first].max()) + 1
        others = {name: make(image, regions) for name, make in self._baselines.items()}
        rows = {
            name: score(labels, image.true_labels, discontinuities, image.has_truth)
            for name, labels in (predicted | others).items()
        }
        edges = None
        if self._calibrated is not None:
            calibrated = self._calibrated(image.edge_logits)
            edges = score_edges(calibrated, image.true_labels, image.has_truth)
        return _Scored(predicted, rows, edges)

    def _partitions(self, image: PredictedImage) -> dict[str, np.ndarray]:
        partitions = {}
        if self._calibrated is not None:
            calibrated = self._calibrated(image.edge_logits)
            partitions[DECODED] = self._calibrated.decoder(calibrated)
            partitions[COMPONENTS] = decode.ConnectedComponents()(image.edge_logits)
        if self._segment is not None and image.prediction.depth is not None:
            partitions[SEGMENTED_DEPTH] = self._segment(
                units.to_millimetres(image.prediction.depth, minimum=1)
            )
        return partitions

    def columns(self) -> dict[str, np.ndarray]:
        """Returns `[N]` scores of the first partition of every image; NaN where nothing is known.

        The first is the one of decoded frontiers, where there are some.
        """
        return {
            name: np.array([row.get(name, np.nan) for row in self._first], np.float64)
            for name in COLUMNS
        }

    def intervals(self, spaces: Sequence[str] | np.ndarray) -> dict[str, tuple[float, float]]:
        """Bootstraps 95 % intervals of `columns` over `spaces`, the space of every image."""
        return bootstrap.intervals(self.columns(), spaces)

    def result(self) -> dict[str, dict]:
        """Returns mean scores by the name of the partition, code lengths and boundary metrics."""
        partitions = {
            name: {key: bootstrap.mean([row[key] for row in rows]) for key in COLUMNS}
            for name, rows in self._rows.items()
        }
        edge_scores = {} if self._edges is None else self._edges.result()
        return {"partitions": partitions, **edge_scores}


class EdgeScore(NamedTuple):
    """Scores of the predicted edges of an image.

    Attributes:
        bits: code length of the true partition without and with the edges, and its crack edges.
        counts: boundary counts by radius.
    """

    bits: tuple[float, float, int]
    counts: dict[int, np.ndarray]


def score_edges(edges: edge_logits.EdgeLogits, truth: np.ndarray, known: np.ndarray) -> EdgeScore:
    """Scores the predicted edges of an image.

    Args:
        edges: calibrated logits.
        truth: `[H, W]` int32 true partition.
        known: `[H, W]` bool, the pixels that count for boundaries; all are coded.
    """
    unconditional = codec.code_length_bits(truth)
    conditional = codec.code_length_bits(truth, (edges.across, edges.along))
    probability, true = pixel_probability(edges), scores.boundary(truth)
    counts = {
        radius_px: boundaries.count(probability, true, radius_px=radius_px, known=known)
        for radius_px in RADII_PX
    }
    return EdgeScore((unconditional, conditional, scores.crack_edges(truth)), counts)


class _Scored(NamedTuple):
    """An image's predicted partitions, scores of all partitions by name, and of its edges."""

    predicted: dict[str, np.ndarray]
    rows: dict[str, dict[str, float]]
    edges: EdgeScore | None


class EdgeScores:
    """Collects code lengths of true partitions given predicted edges, and boundary counts."""

    def __init__(self):
        """Starts empty."""
        self._bits: list[tuple[float, float, int]] = []
        self._counts: dict[int, list[np.ndarray]] = {radius_px: [] for radius_px in RADII_PX}

    def add(self, score: EdgeScore) -> None:
        """Adds an image."""
        self._bits.append(score.bits)
        for radius_px, counts in self._counts.items():
            counts.append(score.counts[radius_px])

    def result(self) -> dict[str, dict]:
        """Returns `coding`, mean code lengths in bits, and `boundaries`, metrics by radius."""
        if not self._bits:
            return {}
        unconditional, conditional, crack_edges = np.sum(self._bits, axis=0).tolist()
        coding = {
            "bits_per_image": unconditional / len(self._bits),
            "conditional_bits_per_image": conditional / len(self._bits),
            "ratio": conditional / max(unconditional, 1.0),
            "bits_per_crack_edge": unconditional / max(crack_edges, 1.0),
        }
        metrics = {
            f"{radius_px}px": boundaries.metrics(np.stack(counts))
            for radius_px, counts in self._counts.items()
        }
        return {"coding": coding, "boundaries": metrics}


def score(
    labels: np.ndarray, truth: np.ndarray, discontinuities: np.ndarray, known: np.ndarray
) -> dict[str, float]:
    """Scores a partition against the true one.

    Args:
        labels: `[H, W]` int32 partition.
        truth: `[H, W]` int32 true partition.
        discontinuities: `[H, W]` bool, near a depth discontinuity. The other true boundaries are
            creases between surfaces, or edges inside filled holes that no image shows.
        known: `[H, W]` bool, the pixels that count.

    Returns:
        By the names of `COLUMNS`: number of regions, adjusted Rand index, variation of information,
        achievable segmentation accuracy, undersegmentation error, recall of true boundary pixels
        at depth discontinuities and elsewhere, and F-measure of boundary pixels by radius.
    """
    shared = scores.overlap(labels, truth, known)
    boundary, true = scores.boundary(labels), scores.boundary(truth)
    recall = functools.partial(
        scores.boundary_recall, boundary, radius_px=DISCONTINUITY_RADIUS_PX, known=known
    )
    return {
        "regions": float(labels.max() + 1),
        "ari": scores.adjusted_rand(shared),
        "vi_bits": scores.variation_of_information(shared),
        "asa": scores.achievable_segmentation_accuracy(shared),
        "ue": scores.under_segmentation_error_neubert_protzel(shared),
        "discontinuity_recall": recall(true & discontinuities),
        "other_recall": recall(true & ~discontinuities),
        **{f"f_{radius}px": _f_measure(boundary, true, radius, known) for radius in RADII_PX},
    }


def pixel_probability(edges: edge_logits.EdgeLogits) -> np.ndarray:
    """Returns `[H, W]` float32, the largest probability of a pixel's four edges."""
    across, along = edges.probabilities
    probability = np.zeros(edges.shape, np.float32)
    for pixels, side in (
        (probability[:, :-1], across),
        (probability[:, 1:], across),
        (probability[:-1], along),
        (probability[1:], along),
    ):
        np.maximum(pixels, side, out=pixels)
    return probability


def _f_measure(boundary: np.ndarray, true: np.ndarray, radius_px: int, known: np.ndarray) -> float:
    recall = scores.boundary_recall(boundary, true, radius_px=radius_px, known=known)
    # The share of predicted boundary pixels near a true one.
    precision = scores.boundary_recall(true, boundary, radius_px=radius_px, known=known)
    if math.isnan(recall) or math.isnan(precision):
        return float("nan")
    return 2 * precision * recall / max(precision + recall, 1e-12)
