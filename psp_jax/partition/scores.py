"""Scores how well a partition agrees with another one, or describes an image, in float64.

Definitions are those of Stutz, Hermans and Leibe (2018), "Superpixels: an evaluation of the
state of the art", where they give one; deviations are named. Labels are `[H, W]` integers, one
number per region; `labels` is the partition that is scored, `truth` the true one. Where a function
takes `known` (`[H, W]` bool), only those pixels are counted.
"""

import dataclasses

import cv2
import numpy as np

from psp_jax.partition import frontier_classes

DISCONTINUITY = 0.04  # Neighbours on a slanted wall, with noise, differ by less than 4 %.


def boundary(labels: np.ndarray) -> np.ndarray:
    """Marks the pixels that differ from one of their 4 neighbours, `[H, W]` bool."""
    return frontier_classes.encode(labels) > 0


def depth_discontinuities(depth_mm: np.ndarray) -> np.ndarray:
    """Marks pairs of neighbours whose depths differ by more than 4 % of the nearer one.

    Args:
        depth_mm: `[H, W]` uint16 millimetres; 0 marks no reading, which is no neighbour.

    Returns:
        `[H, W]` bool.
    """
    depth = depth_mm.astype(np.float64)
    marked = np.zeros(depth.shape, bool)
    for first, second in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        step = np.abs(depth[first] - depth[second])
        nearer = np.minimum(depth[first], depth[second])
        is_discontinuous = (step > DISCONTINUITY * nearer) & (nearer > 0)
        marked[first] |= is_discontinuous
        marked[second] |= is_discontinuous
    return marked


def near(marked: np.ndarray, radius_px: int) -> np.ndarray:
    """Widens a mask to the pixels with a marked one in the square of `2 * radius_px + 1`."""
    window = np.ones((2 * radius_px + 1,) * 2, np.uint8)
    return cv2.dilate(marked.astype(np.uint8), window) > 0


def boundary_recall(
    boundary: np.ndarray, true: np.ndarray, *, radius_px: int, known: np.ndarray | None = None
) -> float:
    """Computes the share of true boundary pixels with a predicted one in a square window.

    With the first two arguments exchanged it is a precision: the share of predicted pixels near a
    true one.

    Args:
        boundary: `[H, W]` bool, boundary pixels of the partition.
        true: `[H, W]` bool, true boundary pixels or depth discontinuities.
        radius_px: half side of the window, 0 for the pixel itself.
        known: `[H, W]` bool, the true pixels that count; all by default.

    Returns:
        0 to 1; NaN without true pixels.
    """
    counted = true if known is None else true & known
    return _share(int((near(boundary, radius_px) & counted).sum()), int(counted.sum()))


@dataclasses.dataclass(frozen=True)
class Overlap:
    """How many pixels each region shares with each true region.

    Attributes:
        counts: `[N]` int64 pixels of the N pairs that share any.
        region, true_region: `[N]` int64, the two of each pair, numbered from 0.
        sizes, true_sizes: int64 pixels of every region and true region.
    """

    counts: np.ndarray
    region: np.ndarray
    true_region: np.ndarray
    sizes: np.ndarray
    true_sizes: np.ndarray

    @property
    def pixels(self) -> int:
        """Number of pixels counted."""
        return int(self.counts.sum())


def overlap(labels: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> Overlap:
    """Counts the pixels that each region shares with each true region, for all scores of regions.

    Raises:
        ValueError: if the shapes differ or no pixel is known.
    """
    if labels.shape != truth.shape:
        raise ValueError(f"expected labels of the truth's shape {truth.shape}, got {labels.shape}")
    chosen = np.ones(labels.shape, bool) if known is None else known
    if not chosen.any():
        raise ValueError("no pixel is known, so nothing can be scored")
    _, region = np.unique(labels[chosen], return_inverse=True)
    _, true_region = np.unique(truth[chosen], return_inverse=True)
    true_regions = int(true_region.max()) + 1
    pairs, counts = np.unique(
        region.astype(np.int64) * true_regions + true_region, return_counts=True
    )
    return Overlap(
        counts=counts.astype(np.int64),
        region=pairs // true_regions,
        true_region=pairs % true_regions,
        sizes=np.bincount(region),
        true_sizes=np.bincount(true_region),
    )


def under_segmentation_error_neubert_protzel(shared: Overlap) -> float:
    """Computes sum over true regions and regions touching them of min(inside, outside), / pixels.

    Source: Neubert and Protzel (2012).
    """
    outside = shared.sizes[shared.region] - shared.counts
    return float(np.minimum(shared.counts, outside).sum()) / shared.pixels


def achievable_segmentation_accuracy(shared: Overlap) -> float:
    """Computes the share of pixels right if every region took its commonest true region."""
    best = np.zeros(len(shared.sizes), np.int64)
    np.maximum.at(best, shared.region, shared.counts)
    return float(best.sum()) / shared.pixels


def adjusted_rand(shared: Overlap) -> float:
    """Computes the adjusted Rand index (Hubert and Arabie 1985): 1 same, 0 as by chance."""

    def pairs(counts: np.ndarray) -> float:
        numbers = counts.astype(np.float64)
        return float((numbers * (numbers - 1)).sum() / 2)

    both, own, true = pairs(shared.counts), pairs(shared.sizes), pairs(shared.true_sizes)
    expected = own * true / max(pairs(np.array([shared.pixels])), 1.0)
    most = (own + true) / 2
    # Both all one region, or both all single pixels: the same partition, by chance or not.
    return 1.0 if most == expected else (both - expected) / (most - expected)


def variation_of_information(shared: Overlap) -> float:
    """Computes H(labels | truth) + H(truth | labels) in bits (Meila 2007): 0 for the same."""
    share = shared.counts / shared.pixels
    surprise = (
        2 * np.log2(shared.counts)
        - np.log2(shared.sizes[shared.region])
        - np.log2(shared.true_sizes[shared.true_region])
    )
    return max(0.0, -float((share * surprise).sum()))


def explained_variation(labels: np.ndarray, image: np.ndarray) -> float:
    """Computes the share of an image's variance that the regions' means keep.

    Args:
        labels: `[H, W]` integers.
        image: `[H, W]` or `[H, W, C]` numbers in any unit, finite.

    Returns:
        0 to 1; 1 for an image of one value.
    """
    values = image.reshape(labels.size, -1).astype(np.float64)
    values = values - values.mean(axis=0)
    _, region = np.unique(labels, return_inverse=True)
    region = region.ravel()
    sizes = np.bincount(region)
    kept = sum((np.bincount(region, weights=channel) ** 2 / sizes).sum() for channel in values.T)
    total = (values**2).sum()
    return float(kept / total) if total > 0 else 1.0


def crack_edges(labels: np.ndarray) -> int:
    """Counts the inter-pixel edges between different regions."""
    return int((labels[:, 1:] != labels[:, :-1]).sum() + (labels[1:] != labels[:-1]).sum())


def crack_edges_near(labels: np.ndarray, marked: np.ndarray, *, radius_px: int) -> float:
    """Computes the share of crack edges with a marked pixel in the window of either side's pixel.

    Args:
        labels: `[H, W]` integers.
        marked: `[H, W]` bool, such as `depth_discontinuities`.
        radius_px: half side of the window.
    """
    close = near(marked, radius_px)
    hits = int(((labels[:, 1:] != labels[:, :-1]) & (close[:, 1:] | close[:, :-1])).sum())
    hits += int(((labels[1:] != labels[:-1]) & (close[1:] | close[:-1])).sum())
    return _share(hits, crack_edges(labels))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
