"""Predictions judged as partitions, beside rivals of as many regions, and by their price in bits.

Both ways to regions meet in one table: predicted frontiers through a decoder, and predicted depth
cut by the algorithm that made the labels.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from psp_jax import codec
from psp_jax.partition import (
    baselines,
    boundaries,
    calibration,
    decode,
    edge_logits,
    fill,
    frontier_classes,
    scores,
    superpixels,
)

RADII_PX = (0, 1, 2)
JUMP_RADIUS_PX = 2  # Boundaries this near to a step of depth count as depth edges.
COLUMNS = (
    "regions",
    "ari",
    "vi_bits",
    "asa",
    "ue",
    "jump_recall",
    "crease_recall",
    "f_0px",
    "f_1px",
    "f_2px",
)


@dataclasses.dataclass(frozen=True)
class View:
    """What is known and what was predicted of one image, on the host.

    Attributes:
        rgb: `[H, W, 3]` uint8.
        depth_mm: `[H, W]` uint16 millimetres; 0 marks no reading.
        classes: `[H, W]` uint8 frontier classes of the true partition.
        known: `[H, W]` bool, where they carry truth.
        depth_m: `[H, W]` float32 predicted metres, or None.
        edges: `[H, W, 2]` float32 predicted logits of the inter-pixel edges, or None.
    """

    rgb: np.ndarray
    depth_mm: np.ndarray
    classes: np.ndarray
    known: np.ndarray
    depth_m: np.ndarray | None = None
    edges: np.ndarray | None = None

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """`[H, W]` int32, the true partition."""
        return frontier_classes.decode_exact(self.classes)

    @functools.cached_property
    def scored(self) -> edge_logits.EdgeLogits:
        """The predicted logits as decoders take them, not calibrated."""
        assert self.edges is not None
        return edge_logits.from_edge_head(self.edges)

    @functools.cached_property
    def filled_mm(self) -> np.ndarray:
        """`[H, W]` uint16, depth without holes."""
        return fill.fill_nearest(self.depth_mm)[0]


def calibrate(views: Iterable[View], *, count: int, images: int) -> calibration.Calibration:
    """Fits temperature, bias and decoder to predicted frontiers.

    Args:
        views: validation images; they are not kept, but for those that choose the decoder.
        count: their number.
        images: how many of them choose the decoder, evenly spaced; all of them fit the rest.

    Raises:
        ValueError: if the predictions tell frontiers from nothing.
    """
    chosen = set(np.linspace(0, count - 1, min(count, images)).astype(int).tolist())
    kept = []

    def samples() -> Iterator[calibration.Sample]:
        for index, view in enumerate(views):
            sample = calibration.Sample(view.scored, view.classes, view.known)
            if index in chosen:
                kept.append(sample)
            yield sample

    fitted = calibration.fit(calibration.tally(samples()))
    return calibration.fit_decoder(fitted, kept)


RIVALS: Mapping[str, Callable[[View, int], np.ndarray]] = {
    "grid": lambda view, regions: baselines.grid(view.rgb.shape[:2], regions),
    "SEEDS on RGB": lambda view, regions: baselines.seeds_on_rgb(view.rgb, regions),
    "SLIC on RGB": lambda view, regions: baselines.slic_on_rgb(view.rgb, regions),
    "SLIC on true depth": lambda view, regions: baselines.slic_on_depth(view.filled_mm, regions),
}


class Table:
    """Scores of partitions by the name of how they were made, gathered over images."""

    def __init__(
        self,
        calibrated: calibration.Calibration | None,
        cut: superpixels.Superpixels | None,
        *,
        beside: Mapping[str, Callable[[View, int], np.ndarray]] = RIVALS,
    ):
        """Starts empty.

        Args:
            calibrated: of the predicted frontiers, where there are some.
            cut: the algorithm that made the labels, for predicted depth.
            beside: cuts an image into about as many regions without a prediction, by name.
        """
        self._calibrated, self._cut, self._beside = calibrated, cut, beside
        self._rows: dict[str, list[dict[str, float]]] = {}
        self._bits: list[tuple[float, float, int]] = []
        self._boundaries = {radius: [] for radius in RADII_PX}
        self._first: list[dict[str, float]] = []

    def add(self, view: View) -> None:
        """Cuts an image in every way and scores the partitions."""
        if not view.known.any():
            self._first.append({})
            return
        jumps = scores.near(scores.jumps(view.depth_mm), JUMP_RADIUS_PX)
        ways = self._ways(view)
        first = next(iter(ways))
        regions = int(ways[first].max()) + 1
        ways |= {name: cut(view, regions) for name, cut in self._beside.items()}
        for name, labels in ways.items():
            row = score(labels, view.labels, jumps, view.known)
            self._rows.setdefault(name, []).append(row)
        self._first.append(self._rows[first][-1])
        if view.edges is not None and self._calibrated is not None:
            scored = self._calibrated(view.scored)
            plain = codec.partition_bits(view.labels)
            told = codec.partition_bits(view.labels, (scored.across, scored.along))
            self._bits.append((plain, told, scores.crack_edges(view.labels)))
            probability = pixel_probability(scored)
            true = scores.boundary(view.labels)
            for radius in RADII_PX:
                self._boundaries[radius].append(
                    boundaries.count(probability, true, radius_px=radius, known=view.known)
                )

    def _ways(self, view: View) -> dict[str, np.ndarray]:
        ways = {}
        if view.edges is not None and self._calibrated is not None:
            scored = self._calibrated(view.scored)
            ways["decoded frontiers"] = self._calibrated.decoder(scored)
            ways["connected components"] = decode.ConnectedComponents()(view.scored)
        if view.depth_m is not None and self._cut is not None:
            millimetres = np.clip(np.round(view.depth_m * 1000), 1, 65535).astype(np.uint16)
            ways["predicted depth, cut"] = self._cut(millimetres)
        return ways

    def images(self) -> dict[str, np.ndarray]:
        """Returns `[N]` scores of the first partition of every image; NaN where nothing is known.

        The first is that of decoded frontiers where there are some.
        """
        return {
            name: np.array([row.get(name, np.nan) for row in self._first], np.float64)
            for name in COLUMNS
        }

    def figures(self) -> dict:
        """Returns means over the images by the name of the partition, and the bits."""
        result: dict = {
            name: {key: _mean([row[key] for row in rows]) for key in COLUMNS}
            for name, rows in self._rows.items()
        }
        figures: dict = {"partitions": result}
        if self._bits:
            plain, told, cracks = (float(sum(column)) for column in zip(*self._bits, strict=True))
            figures["coding"] = {
                "bits_per_image": plain / len(self._bits),
                "bits_per_image_given_prediction": told / len(self._bits),
                "ratio": told / max(plain, 1.0),
                "bits_per_crack_edge": plain / max(cracks, 1.0),
            }
            figures["boundaries"] = {
                f"{radius}px": boundaries.figures(np.stack(counts))
                for radius, counts in self._boundaries.items()
            }
        return figures


def score(
    labels: np.ndarray, truth: np.ndarray, jumps: np.ndarray, known: np.ndarray
) -> dict[str, float]:
    """Scores a partition by the true one; the keys are those of `COLUMNS`.

    Args:
        labels: `[H, W]` int32 partition.
        truth: `[H, W]` int32 true partition.
        jumps: `[H, W]` bool, near a step of depth: true frontiers there are depth edges, the
            others creases between surfaces or filler that no image shows.
        known: `[H, W]` bool, the pixels that count.
    """
    shared = scores.overlap(labels, truth, known)
    found, true = scores.boundary(labels), scores.boundary(truth)
    recall = functools.partial(scores.boundary_recall, found, radius_px=JUMP_RADIUS_PX, known=known)
    return {
        "regions": float(labels.max() + 1),
        "ari": scores.adjusted_rand(shared),
        "vi_bits": scores.variation_of_information(shared),
        "asa": scores.achievable_segmentation_accuracy(shared),
        "ue": scores.under_segmentation_error_neubert_protzel(shared),
        "jump_recall": recall(true & jumps),
        "crease_recall": recall(true & ~jumps),
        **{f"f_{radius}px": _f_measure(found, true, radius, known) for radius in RADII_PX},
    }


def lines(figures: dict, *, first: str) -> list[str]:
    """Formats what `Table.figures` returned, `first` being the title of the first column."""
    titles = ("regions", "ARI", "VI bits", "ASA", "UE", "jumps", "other", "F 0px", "F 1px", "F 2px")
    text = [f"{first:<26}" + "".join(f"{title:>9}" for title in titles)]
    for name, row in figures["partitions"].items():
        values = "".join(
            f"{row[key]:>9.1f}" if key == "regions" else f"{row[key]:>9.3f}" for key in COLUMNS
        )
        text.append(f"{name:<26}{values}")
    text.append(
        f"jumps, other: recall of true frontiers at steps of depth and elsewhere, "
        f"{JUMP_RADIUS_PX} px"
    )
    if "coding" in figures:
        coded = figures["coding"]
        text.append(
            f"the true frontiers of an image take {coded['bits_per_image']:.0f} bits, and "
            f"{coded['bits_per_image_given_prediction']:.0f} given the prediction: "
            f"{coded['ratio']:.3f}"
        )
    return text


def pixel_probability(scored: edge_logits.EdgeLogits) -> np.ndarray:
    """`[H, W]`, the largest probability of a pixel's four edges."""
    across, along = scored.probabilities
    probability = np.zeros(scored.shape, np.float32)
    for view, side in (
        (probability[:, :-1], across),
        (probability[:, 1:], across),
        (probability[:-1], along),
        (probability[1:], along),
    ):
        np.maximum(view, side, out=view)
    return probability


def _f_measure(found: np.ndarray, true: np.ndarray, radius_px: int, known: np.ndarray) -> float:
    recall = scores.boundary_recall(found, true, radius_px=radius_px, known=known)
    # The share of found pixels near a true one: precision, counted on its own side.
    precision = scores.boundary_recall(true, found, radius_px=radius_px, known=known)
    if math.isnan(recall) or math.isnan(precision):
        return float("nan")
    return 2 * precision * recall / max(precision + recall, 1e-12)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else float("nan")
