"""How well a partition agrees with another one, or describes an image. All in float64.

Definitions are those of Stutz, Hermans and Leibe (2018), "Superpixels: an evaluation of the
state of the art", where they give one; deviations are named. Labels are `[H, W]` integers, one
number per region; `labels` is what is judged and `truth` what it is judged by. Where a function
takes `known` (`[H, W]` bool), only those pixels are counted.
"""

import dataclasses

import cv2
import numpy as np

from psp_jax.partition import frontier_classes

JUMP = 0.04  # A step of 4 % between neighbours is more than a slanted wall or the noise makes.


def boundary(labels: np.ndarray) -> np.ndarray:
    """Marks the pixels that differ from one of their 4 neighbours, `[H, W]` bool."""
    return frontier_classes.encode(labels) > 0


def jumps(depth_mm: np.ndarray) -> np.ndarray:
    """Marks both pixels of every step in depth, relative to the nearer one, of more than 4 %.

    Args:
        depth_mm: `[H, W]` uint16 millimetres; 0 marks no reading, beside which no step is known.

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
        is_jump = (step > JUMP * nearer) & (nearer > 0)
        marked[first] |= is_jump
        marked[second] |= is_jump
    return marked


def near(marked: np.ndarray, radius_px: int) -> np.ndarray:
    """Widens a mask to the pixels with a marked one in the square of `2 * radius_px + 1`."""
    window = np.ones((2 * radius_px + 1,) * 2, np.uint8)
    return cv2.dilate(marked.astype(np.uint8), window) > 0


def boundary_recall(
    found: np.ndarray, true: np.ndarray, *, radius_px: int, known: np.ndarray | None = None
) -> float:
    """Computes the share of true boundary pixels with a found one in a square window.

    Exchanging the arguments gives the share of found pixels that are near a true one, a precision
    that counts on one side only.

    Args:
        found: `[H, W]` bool, boundary pixels of the partition judged.
        true: `[H, W]` bool, boundary pixels or jumps it should have.
        radius_px: half side of the window, 0 for the pixel itself.
        known: `[H, W]` bool, the true pixels that count; all by default.

    Returns:
        0 to 1; NaN without true pixels.
    """
    counted = true if known is None else true & known
    return _share(int((near(found, radius_px) & counted).sum()), int(counted.sum()))


def boundary_precision(
    found: np.ndarray, true: np.ndarray, *, radius_px: int, known: np.ndarray | None = None
) -> float:
    """Computes hits / (hits + false alarms) as the benchmark of Stutz et al. does.

    Hits are counted on the true side (true pixels with a found one in the window), false alarms
    on the found side (found pixels that are not true ones and have none in their window).
    Arguments and result as of `boundary_recall`; NaN where both counts are 0.
    """
    counted = np.ones(true.shape, bool) if known is None else known
    hits = int((near(found, radius_px) & true & counted).sum())
    false_alarms = int((found & ~near(true, radius_px) & counted).sum())
    return _share(hits, hits + false_alarms)


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
    """Counts what the scores of regions need, once for all of them.

    Raises:
        ValueError: if the shapes differ or no pixel is known.
    """
    if labels.shape != truth.shape:
        raise ValueError(f"labels are {labels.shape}, the truth is {truth.shape}")
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


def under_segmentation_error(shared: Overlap) -> float:
    """Computes the share of pixels outside the true region that their region mostly lies in."""
    return 1.0 - achievable_segmentation_accuracy(shared)


def under_segmentation_error_neubert_protzel(shared: Overlap) -> float:
    """Computes sum over true regions and regions touching them of min(inside, outside), / pixels.

    Source: Neubert and Protzel (2012).
    """
    outside = shared.sizes[shared.region] - shared.counts
    return float(np.minimum(shared.counts, outside).sum()) / shared.pixels


def under_segmentation_error_levinshtein(shared: Overlap) -> float:
    """Computes the mean over true regions of (area of the regions touching it - its own) / own.

    Source: Levinshtein et al. (2009). It has no upper bound.
    """
    covered = np.bincount(shared.true_region, weights=shared.sizes[shared.region])
    return float(np.mean((covered - shared.true_sizes) / shared.true_sizes))


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

    both, found, true = pairs(shared.counts), pairs(shared.sizes), pairs(shared.true_sizes)
    expected = found * true / max(pairs(np.array([shared.pixels])), 1.0)
    most = (found + true) / 2
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


def compactness(labels: np.ndarray) -> float:
    """Computes the mean over pixels of 4 pi area / perimeter^2 of their region.

    The perimeter counts crack edges, the image's border included: a square scores pi / 4.
    """
    padded = np.pad(np.unique(labels, return_inverse=True)[1].reshape(labels.shape), 1)
    padded[1:-1, 1:-1] += 1
    perimeter = np.zeros(padded.max() + 1)
    for first, second in ((padded[:, :-1], padded[:, 1:]), (padded[:-1], padded[1:])):
        for side in (first, second):
            perimeter += np.bincount(side[first != second], minlength=len(perimeter))
    area = np.bincount(padded[1:-1, 1:-1].ravel())[1:].astype(np.float64)
    return float((area / labels.size * 4 * np.pi * area / perimeter[1:] ** 2).sum())


def crack_edges(labels: np.ndarray) -> int:
    """Counts the inter-pixel edges between different regions."""
    return int((labels[:, 1:] != labels[:, :-1]).sum() + (labels[1:] != labels[:-1]).sum())


def crack_edges_near(labels: np.ndarray, marked: np.ndarray, *, radius_px: int) -> float:
    """Computes the share of crack edges with a marked pixel in the window of either side's pixel.

    Args:
        labels: `[H, W]` integers.
        marked: `[H, W]` bool, such as `jumps`.
        radius_px: half side of the window.
    """
    close = near(marked, radius_px)
    hits = int(((labels[:, 1:] != labels[:, :-1]) & (close[:, 1:] | close[:, :-1])).sum())
    hits += int(((labels[1:] != labels[:-1]) & (close[1:] | close[:-1])).sum())
    return _share(hits, crack_edges(labels))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
