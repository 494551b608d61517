"""Decodes logits of the edges between pixels into regions. A decoder is an object with one call.

Connected components, the inverse of exact classes, fail on predictions: a frontier of 25 edges
leaks as soon as one is missed. `Multicut` weighs all edges between two regions. Labels are int32,
contiguous from 0 in the order of the regions' first pixels, and every region is 4-connected.
Everything is deterministic.
"""

import dataclasses
from typing import Protocol

import bioimage_cpp.graph as graphs
import numpy as np
from bioimage_cpp.graph import multicut

from psp_jax.partition import compilation, edge_logits, fragments, frontier_classes, merging

TINY_PX = 16  # Smaller pieces are rather noise than regions,
SURE = 0.95  # unless the mean probability of their frontier is at least this.
# Mean probabilities of a frontier are kept this far from 0 and 1, where logits are infinite.
PROBABILITY_MARGIN = 0.01


class Decoder(Protocol):
    """Segments an image along likely frontiers."""

    def __call__(self, edges: edge_logits.EdgeLogits) -> np.ndarray:
        """Maps logits of the edges of an image to `[H, W]` int32 labels."""
        ...


@dataclasses.dataclass(frozen=True)
class ConnectedComponents:
    """Connected components of uncut edges, the decoder that the thesis implies.

    `edge_logits.Votes.both` and `.either` join the two predictions of an edge.
    """

    def __call__(self, edges: edge_logits.EdgeLogits) -> np.ndarray:
        """Cuts edges with a logit above 0; returns `[H, W]` int32 labels."""
        return fragments.connect(np.zeros(edges.shape, np.int32), edges)


@dataclasses.dataclass(frozen=True)
class Multicut:
    """Fragments between all frontiers and their continuations, merged by multicut; the default.

    The frontier between two fragments counts as a whole: by the mean probability of its edges, so
    that a gap weighs by its length and not by how sure the network is of it. Two
    fragments attract each other with `length * (logit(threshold) - logit(mean))`, and the
    partition of the least cost is approached by greedy additive edge contraction (Keuper et al.
    2015, arXiv 1505.06973). Then tiny regions are absorbed.

    Attributes:
        threshold: frontiers with a smaller mean probability are merged away. Chosen on validation
            frames, see `calibration`.
        cut_above: edges with a larger probability bound the initial fragments.
        spacing_cells: least distance of the fragments' seeds, in half pixels.
        tiny_px: regions of fewer pixels are absorbed if no sure frontier surrounds them.
    """

    threshold: float = 0.4
    cut_above: float = 0.5
    spacing_cells: int = 4
    tiny_px: int = TINY_PX

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of its range."""
        for name, value in (("threshold", self.threshold), ("cut_above", self.cut_above)):
            if not 0 < value < 1:
                raise ValueError(f"expected {name} between 0 and 1, got {value}")
        if not 1 <= self.spacing_cells <= 100:
            raise ValueError(f"expected spacing_cells from 1 to 100, got {self.spacing_cells}")

    def __call__(self, edges: edge_logits.EdgeLogits) -> np.ndarray:
        """Segments an image; returns `[H, W]` int32 labels."""
        return absorb(self.merge(self.fragments(edges), edges), edges, self.tiny_px)

    def fragments(self, edges: edge_logits.EdgeLogits) -> np.ndarray:
        """Over-segments an image for `merge`; returns `[H, W]` int32, contiguous from 0."""
        level = np.float32(_logit(self.cut_above))
        return fragments.segment(
            edge_logits.transform(edges, lambda x: x - level), self.spacing_cells
        )

    def merge(self, labels: np.ndarray, edges: edge_logits.EdgeLogits) -> np.ndarray:
        """Merges regions whose common frontier is unlikely.

        Labels and result are `[H, W]` int32, contiguous from 0 in the order of first pixels.
        """
        common = frontiers(labels, edges)
        if not len(common.length):
            return labels
        mean = np.clip(
            common.probability / common.length, PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN
        )
        attraction = common.length * (_logit(self.threshold) - _logit(mean))
        graph = graphs.UndirectedGraph.from_unique_edges(
            int(labels.max()) + 1, common.pairs.astype(np.uint64)
        )
        owner = multicut.GreedyAdditiveMulticut().optimize(
            multicut.MulticutObjective(graph, attraction)
        )
        return frontier_classes.renumber(owner.astype(np.int32)[labels])


@dataclasses.dataclass(frozen=True)
class Frontiers:
    """The common frontiers of every two regions that touch.

    Attributes:
        pairs: `[E, 2]` int64 regions, first < second, sorted.
        length: `[E]` int64 number of inter-pixel edges.
        probability: `[E]` float64 sum of the edges' probabilities.
    """

    pairs: np.ndarray
    length: np.ndarray
    probability: np.ndarray


def frontiers(labels: np.ndarray, edges: edge_logits.EdgeLogits) -> Frontiers:
    """Adds up the edges between every two regions of `[H, W]` int32 labels, numbered from 0."""
    pairs, probabilities = [], []
    sides = ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:]))
    for (first, second), probability in zip(sides, edges.probabilities, strict=True):
        cut = first != second
        pairs.append(np.stack([first[cut], second[cut]], axis=1).astype(np.int64))
        probabilities.append(probability[cut].astype(np.float64))
    ends = np.concatenate(pairs)
    return _collected(ends, np.ones(len(ends), np.int64), np.concatenate(probabilities))


def absorb(labels: np.ndarray, edges: edge_logits.EdgeLogits, tiny_px: int = TINY_PX) -> np.ndarray:
    """Merges every tiny region without a sure frontier into the neighbour it is closest to.

    That is the neighbour with the largest sum of P(no frontier) over the common edges, and one
    that is not tiny itself where there is one. This is repeated until no
    region is tiny.

    Args:
        labels: `[H, W]` int32, contiguous from 0, every region 4-connected.
        edges: logits of the edges.
        tiny_px: smallest number of pixels of a region that stays in any case.

    Returns:
        `[H, W]` int32, contiguous from 0 in the order of first pixels, every region 4-connected.
    """
    regions = int(labels.max()) + 1
    sizes = np.bincount(labels.ravel(), minlength=regions)
    owner = np.arange(regions)
    common = frontiers(labels, edges)
    while len(common.length):
        ends = common.pairs.ravel()
        around = np.bincount(ends, np.repeat(common.length, 2), regions)
        probability = np.bincount(ends, np.repeat(common.probability, 2), regions)
        tiny = (sizes < tiny_px) & (sizes > 0) & (probability < SURE * around)
        if not tiny.any():
            break
        _join_closest(owner, tiny, common.pairs, common.length - common.probability)
        sizes = np.bincount(owner[labels.ravel()], minlength=regions)
        common = _collected(owner[common.pairs], common.length, common.probability)
    return frontier_classes.renumber(owner.astype(np.int32)[labels])


def _collected(pairs: np.ndarray, length: np.ndarray, probability: np.ndarray) -> Frontiers:
    """Adds up entries of the same two regions, in any order, and drops those of one region."""
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    different = low < high
    low, high = low[different], high[different]
    regions = int(high.max(initial=0)) + 1
    keys, place = np.unique(low * regions + high, return_inverse=True)
    return Frontiers(
        pairs=np.stack([keys // regions, keys % regions], axis=1),
        length=np.bincount(place, length[different], len(keys)).astype(np.int64),
        probability=np.bincount(place, probability[different], len(keys)),
    )


@compilation.compile_cached
def _join_closest(owner, tiny, pairs, affinity):
    """Joins every tiny region to the best neighbour, as `absorb` describes; changes `owner`."""
    closest = np.full(len(owner), -1, np.int64)
    most = np.empty(len(owner))
    for edge in range(len(pairs)):
        for side in range(2):
            region, other = pairs[edge, side], pairs[edge, 1 - side]
            best = closest[region]
            if tiny[region] and (
                best < 0
                or (tiny[best] and not tiny[other])
                or (tiny[best] == tiny[other] and affinity[edge] > most[region])
            ):
                closest[region] = other
                most[region] = affinity[edge]
    for region in range(len(owner)):
        if closest[region] >= 0:
            fragments.join(owner, region, closest[region])
    for region in range(len(owner)):
        owner[region] = merging.find(owner, region)


def _logit(probability):
    return np.log(probability) - np.log1p(-probability)
