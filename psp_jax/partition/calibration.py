"""Calibrates edge logits on true frontiers, so that decoders can read them as probabilities.

A network trained with class weights, or for too long, is over- or underconfident; a temperature
and a bias correct most of it (Guo et al. 2017, arXiv 1706.04599, with a bias in addition). The
decoder's thresholds are chosen by the partitions that result.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from psp_jax.io import files
from psp_jax.partition import decode, edge_logits, frontier_classes, scores
from psp_jax.partition.frontier_classes import Side

LIMIT = 40.0  # Larger logits, which are either right or very wrong, count as this.
BINS_PER_LOGIT = 100
# Pulls the fit to temperature 1 and bias 0 so weakly that it matters only where no edge is
# misjudged: the best temperature would be 0.
RIDGE = 1e-6
LEAST_SLOPE, MOST_SLOPE = 1e-3, 1e3  # Of 1 / temperature.
# A network that knows frontiers to a pixel or two is right to call none likelier than 0.3, so both
# levels of the decoder go low.
DECODERS = tuple(
    decode.Multicut(threshold=threshold, cut_above=cut_above)
    for cut_above in (0.1, 0.2, 0.3, 0.5)
    for threshold in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
)

FILE = "calibration.json"  # Within a workdir.


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Calibrates a network's edge logits as `logit / temperature + bias`, and holds its decoder.

    Attributes:
        temperature: above 0.
        bias: in logits, positive where frontiers are predicted too rarely.
        threshold, cut_above: those of the `decode.Multicut` that goes with it.
    """

    temperature: float = 1.0
    bias: float = 0.0
    threshold: float = decode.Multicut.threshold
    cut_above: float = decode.Multicut.cut_above

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of its range."""
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"expected a finite temperature above 0, got {self.temperature}")
        if not math.isfinite(self.bias):
            raise ValueError(f"expected a finite bias, got {self.bias}")
        decode.Multicut(threshold=self.threshold, cut_above=self.cut_above)

    def __call__(self, edges: edge_logits.EdgeLogits) -> edge_logits.EdgeLogits:
        """Calibrates the logits of the edges of an image."""
        slope, bias = np.float32(1 / self.temperature), np.float32(self.bias)
        return edge_logits.transform(edges, lambda x: x * slope + bias)

    @property
    def decoder(self) -> decode.Multicut:
        """The decoder that goes with it; it takes what this object returns."""
        return decode.Multicut(threshold=self.threshold, cut_above=self.cut_above)


def save(calibration: Calibration, path: str | os.PathLike) -> None:
    """Writes a calibration as JSON, atomically."""
    files.write(path, json.dumps(dataclasses.asdict(calibration), indent=2) + "\n")


def load(path: str | os.PathLike) -> Calibration:
    """Reads a calibration that `save` wrote.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is not a calibration.
    """
    names = [field.name for field in dataclasses.fields(Calibration)]
    try:
        read = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        if not isinstance(read, dict) or sorted(read) != sorted(names):
            raise ValueError(f"expected an object of the numbers {', '.join(names)}")
        if not all(type(value) in (int, float) for value in read.values()):
            raise ValueError(f"expected numbers, got {read}")
        return Calibration(**{name: float(read[name]) for name in names})
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is not a calibration; fit it again: {error}") from error


class Sample(NamedTuple):
    """The prediction and the truth of an image.

    Attributes:
        edges: joined logits of the edges.
        classes: `[H, W]` uint8 frontier classes of the true partition.
        known: `[H, W]` bool, where they carry truth.
    """

    edges: edge_logits.EdgeLogits
    classes: np.ndarray
    known: np.ndarray


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts of frontiers and other edges by their logit.

    Attributes:
        logits: `[N]` float64, the mean of the logits of a bin, ascending.
        cut, uncut: `[N]` float64 number of edges that are frontiers and that are not.
    """

    logits: np.ndarray
    cut: np.ndarray
    uncut: np.ndarray


def tally(samples: Iterable[Sample]) -> Tally:
    """Counts true frontiers by logit, in bins of a hundredth, over any number of images.

    Args:
        samples: an edge counts where both its pixels are known.

    Raises:
        ValueError: if shapes differ, or all edges are of one kind.
    """
    bins = 2 * int(LIMIT * BINS_PER_LOGIT) + 1
    sums, cut, uncut = np.zeros(bins), np.zeros(bins), np.zeros(bins)
    for edges, classes, known in samples:
        if not edges.shape == classes.shape == known.shape:
            raise ValueError(
                f"expected logits, classes and known pixels of one shape, got {edges.shape}, "
                f"{classes.shape} and {known.shape}"
            )
        for logits, is_cut, is_known in (
            (edges.across, classes[:, :-1] & Side.RIGHT.mask, known[:, :-1] & known[:, 1:]),
            (edges.along, classes[:-1] & Side.DOWN.mask, known[:-1] & known[1:]),
        ):
            value = np.clip(logits[is_known].astype(np.float64), -LIMIT, LIMIT)
            place = np.rint((value + LIMIT) * BINS_PER_LOGIT).astype(np.int64)
            sums += np.bincount(place, value, bins)
            cuts = np.bincount(place[is_cut[is_known] > 0], minlength=bins)
            cut += cuts
            uncut += np.bincount(place, minlength=bins) - cuts
    if not cut.any() or not uncut.any():
        raise ValueError(
            f"expected edges with and without a frontier, both are needed to calibrate; got "
            f"{cut.sum():.0f} and {uncut.sum():.0f}"
        )
    some = cut + uncut > 0
    return Tally(logits=sums[some] / (cut + uncut)[some], cut=cut[some], uncut=uncut[some])


def cross_entropy(counts: Tally, calibration: Calibration) -> float:
    """Computes the mean cross-entropy of an edge, in bits."""
    slope_bias = np.array([1 / calibration.temperature, calibration.bias])
    return _loss(slope_bias, counts, 0.0)[0] / math.log(2)


def fit(counts: Tally) -> Calibration:
    """Finds the temperature and the bias of the least cross-entropy.

    Raises:
        ValueError: if frontiers don't get larger logits than other edges.
    """
    from scipy import optimize  # Takes a second, which only fitting should.

    result = optimize.minimize(
        _loss,
        np.array([1.0, 0.0]),
        (counts, RIDGE),
        jac=True,
        method="L-BFGS-B",
        bounds=[(LEAST_SLOPE, MOST_SLOPE), (-LIMIT, LIMIT)],
        options={"ftol": 0.0, "gtol": 1e-9},
    )
    slope, bias = result.x
    if slope <= LEAST_SLOPE:
        raise ValueError(
            "frontiers don't get larger logits than other edges, so there is nothing to "
            "calibrate; is the network trained, and are these its labels?"
        )
    return Calibration(temperature=float(1 / slope), bias=float(bias))


def _loss(slope_bias: np.ndarray, counts: Tally, ridge: float) -> tuple[float, np.ndarray]:
    """Mean cross-entropy in nats with its gradient, both with the pull to slope 1 and bias 0."""
    edges = (counts.cut + counts.uncut).sum()
    logits = slope_bias[0] * counts.logits + slope_bias[1]
    # -log P(cut) = softplus(-logit), -log P(uncut) = softplus(logit).
    nats = counts.cut * np.logaddexp(0, -logits) + counts.uncut * np.logaddexp(0, logits)
    pull = slope_bias - np.array([1.0, 0.0])
    probability = 0.5 + 0.5 * np.tanh(0.5 * logits)
    slope = (counts.cut + counts.uncut) * probability - counts.cut
    gradient = np.array([(slope * counts.logits).sum(), slope.sum()]) / edges + ridge * pull
    return float(nats.sum() / edges + 0.5 * ridge * (pull**2).sum()), gradient


def fit_decoder(calibration: Calibration, samples: Iterable[Sample]) -> Calibration:
    """Chooses the decoder of the best partitions among `DECODERS`; about 2 s an image of 480x640.

    Of those that are worse than the best one by at most a standard error of the difference, it
    takes the one with the highest thresholds, which keep the fewest frontiers: the one-standard-
    error rule (Breiman et al. 1984, *Classification and Regression Trees*).

    Args:
        calibration: of the samples' logits.
        samples: some validation images, uncalibrated.

    Raises:
        ValueError: as `adjusted_rand` does.
    """
    calibrated = (sample._replace(edges=calibration(sample.edges)) for sample in samples)
    rand = adjusted_rand(calibrated, DECODERS)
    worse = rand[:, [rand.mean(0).argmax()]] - rand
    error = worse.std(0, ddof=1) / math.sqrt(len(rand)) if len(rand) > 1 else 0.0
    good = [decoder for decoder, tied in zip(DECODERS, worse.mean(0) <= error, strict=True) if tied]
    chosen = max(good, key=lambda decoder: (decoder.threshold, decoder.cut_above))
    return dataclasses.replace(calibration, threshold=chosen.threshold, cut_above=chosen.cut_above)


def adjusted_rand(samples: Iterable[Sample], decoders: Sequence[decode.Multicut]) -> np.ndarray:
    """Scores the partitions that decoders make.

    Args:
        samples: with calibrated logits; images without any known pixel are left out.
        decoders: fragments are made once for those that agree on them.

    Returns:
        `[N, D]` float64, the adjusted Rand index of every image with every decoder.

    Raises:
        ValueError: if there is no image, or if classes are not those of a partition.
    """
    rows = []
    for edges, classes, known in samples:
        if not known.any():
            continue
        labels = frontier_classes.decode_exact(classes)
        pieces: dict[decode.Multicut, np.ndarray] = {}
        row = []
        for decoder in decoders:
            same = dataclasses.replace(decoder, threshold=decode.Multicut.threshold)
            if same not in pieces:
                pieces[same] = decoder.fragments(edges)
            merged = decoder.merge(pieces[same], edges)
            predicted = decode.absorb(merged, edges, decoder.tiny_px)
            row.append(scores.adjusted_rand(scores.overlap(predicted, labels, known)))
        rows.append(row)
    if not rows:
        raise ValueError("expected an image with known pixels to choose a decoder by, got none")
    return np.array(rows)
