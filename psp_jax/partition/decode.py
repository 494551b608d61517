"""From logits at the edges between pixels to regions. A decoder is an object with one call.

Connected components, the inverse of exact classes, fail on predictions: a frontier of 25 edges
leaks as soon as one is missed. The others weigh all edges between two regions. Labels are int32,
contiguous from 0 in the order of the regions' first pixels, and every region is 4-connected.
Everything is deterministic.
"""

import dataclasses
import enum
from typing import Protocol

import bioimage_cpp.graph as graphs
import numpy as np
from bioimage_cpp.graph import agglomeration, multicut

from psp_jax.partition import compilation, edge_logits, fragments, frontier_classes, merging

TINY_PX = 16  # Smaller pieces are rather noise than regions,
SURE = 0.95  # unless the mean probability of their frontier is at least this.
# Mean probabilities of a frontier are kept this far from 0 and 1, where logits are infinite.
PROBABILITY_MARGIN = 0.01
TIE = 1e-6  # The weight that undecided edges (logit 0) attract with.


class Decoder(Protocol):
    """What cuts an image into regions along likely frontiers."""

    def __call__(self, scored: edge_logits.EdgeLogits) -> np.ndarray:
        """Maps logits of the edges of an image to `[H, W]` int32 labels."""
        ...


@dataclasses.dataclass(frozen=True)
class ConnectedComponents:
    """Regions that no path of uncut edges leads out of, the decoder the thesis implies.

    With `Votes.both` an edge is cut if both its pixels say so, with `Votes.either` if one does.
    """

    def __call__(self, scored: edge_logits.EdgeLogits) -> np.ndarray:
        """Cuts edges with a logit above 0; result as the module says."""
        return fragments.connect(np.zeros(scored.shape, np.int32), scored)


@dataclasses.dataclass(frozen=True)
class Multicut:
    """Fragments between all frontiers and their continuations, merged by multicut; the default.

    The frontier between two fragments counts as a whole: by the mean probability of its edges, so
    that a gap weighs what its length is worth and not what a network says of it so surely. Two
    fragments attract each other with `length * (logit(threshold) - logit(mean))`, and the
    partition of the least cost is approached by greedy additive edge contraction (Keuper et al.
    2015, arXiv 1505.06973). Then tiny regions are absorbed.

    Attributes:
        threshold: mean probability above which a frontier is kept; smaller where frontiers are
            predicted too rarely. Chosen on validation frames, see `calibration`.
        cut_above: probability above which an edge shapes the fragments; smaller where no edge is
            ever likely.
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
                raise ValueError(f"{name} is {value}; it must be between 0 and 1")
        if not 1 <= self.spacing_cells <= 100:
            raise ValueError(f"spacing_cells is {self.spacing_cells}; it must be 1 to 100")

    def __call__(self, scored: edge_logits.EdgeLogits) -> np.ndarray:
        """Cuts an image into regions; result as the module says."""
        return absorb(self.merge(self.fragments(scored), scored), scored, self.tiny_px)

    def fragments(self, scored: edge_logits.EdgeLogits) -> np.ndarray:
        """Cuts an image into what `merge` starts from, `[H, W]` int32, contiguous from 0."""
        level = np.float32(_logit(self.cut_above))
        return fragments.cut(
            edge_logits.transform(scored, lambda logits: logits - level), self.spacing_cells
        )

    def merge(self, labels: np.ndarray, scored: edge_logits.EdgeLogits) -> np.ndarray:
        """Merges regions whose common frontier is unlikely.

        Args:
            labels: `[H, W]` int32, contiguous from 0.
            scored: logits of the edges.

        Returns:
            `[H, W]` int32, contiguous from 0 in the order of first pixels.
        """
        common = frontiers(labels, scored)
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


class Linkage(enum.Enum):
    """How strongly two clusters of pixels attract or repel each other."""

    MUTEX = "mutex_watershed"  # As their surest edge; repelled once, apart for good.
    MEAN = "mean"  # As their edges do on the mean.
    SUM = "sum"  # As their edges do together: greedy additive contraction for multicut.


@dataclasses.dataclass(frozen=True)
class Agglomeration:
    """Pixels merged by their surest edges first (GASP, Bailoni et al. 2022, arXiv 1906.11713).

    With `Linkage.MUTEX` it is the mutex watershed (Wolf et al. 2020, arXiv 1904.12654) of the
    edges to the 4 neighbours. It does well where logits are calibrated and no part of a frontier
    is missed outright.

    Attributes:
        linkage: see `Linkage`.
        tiny_px: regions of fewer pixels are absorbed if no sure frontier surrounds them.
    """

    linkage: Linkage = Linkage.MUTEX
    tiny_px: int = TINY_PX

    def __call__(self, scored: edge_logits.EdgeLogits) -> np.ndarray:
        """Cuts an image into regions; result as the module says."""
        graph = graphs.GridGraph2D(scored.shape)
        # The library lists the edges to the pixel below before those to the right.
        weights = -np.concatenate([scored.along.ravel(), scored.across.ravel()])
        if not len(weights):
            return np.zeros(scored.shape, np.int32)
        weights[weights == 0] = TIE
        clusters = agglomeration.GaspClusterPolicy(linkage=self.linkage.value).optimize(
            graph, weights
        )
        labels = frontier_classes.split_connected(clusters.reshape(scored.shape).astype(np.int64))
        return absorb(labels, scored, self.tiny_px)


@dataclasses.dataclass(frozen=True)
class Frontiers:
    """What lies between every two regions that touch.

    Attributes:
        pairs: `[E, 2]` int64 regions, first < second, sorted.
        length: `[E]` int64 number of inter-pixel edges.
        probability: `[E]` float64 sum of the edges' probabilities.
    """

    pairs: np.ndarray
    length: np.ndarray
    probability: np.ndarray


def frontiers(labels: np.ndarray, scored: edge_logits.EdgeLogits) -> Frontiers:
    """Adds up the edges between every two regions.

    Args:
        labels: `[H, W]` int32, numbered from 0.
        scored: logits of the edges.
    """
    pairs, probabilities = [], []
    sides = ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:]))
    for (first, second), probability in zip(sides, scored.probabilities, strict=True):
        cut = first != second
        pairs.append(np.stack([first[cut], second[cut]], axis=1).astype(np.int64))
        probabilities.append(probability[cut].astype(np.float64))
    found = np.concatenate(pairs)
    return _collected(found, np.ones(len(found), np.int64), np.concatenate(probabilities))


def absorb(
    labels: np.ndarray, scored: edge_logits.EdgeLogits, tiny_px: int = TINY_PX
) -> np.ndarray:
    """Merges every tiny region without a sure frontier into the neighbour it is closest to.

    That is the neighbour with the largest sum of P(no frontier) over the common edges, and one
    that is not tiny itself where there is one. Regions grow by it, so it goes on until none is
    tiny.

    Args:
        labels: `[H, W]` int32, contiguous from 0, every region 4-connected.
        scored: logits of the edges.
        tiny_px: least number of pixels of a region that stays in any case.

    Returns:
        `[H, W]` int32, contiguous from 0 in the order of first pixels, every region 4-connected.
    """
    regions = int(labels.max()) + 1
    sizes = np.bincount(labels.ravel(), minlength=regions)
    owner = np.arange(regions)
    common = frontiers(labels, scored)
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
    """Joins every tiny region to the best neighbour, as `absorb` says; changes `owner`."""
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
