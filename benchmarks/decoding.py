"""Measures decoders on damaged frontier classes, and the time of decoding.

Run `python -m benchmarks.decoding [FOLDER] [--frames=N] [--part=exact|bars|noise|time]`. FOLDER
holds `SOURCE/depth/*.png`, uint16 millimetres; by default `../shared/rgbd` beside the checkout.
Noise and time are those of the 480x640 captures that `benchmarks/labels.py` uses. Everything runs
on one thread.
"""

import dataclasses
import enum
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import bioimage_cpp.graph as graphs
import cv2
import numpy as np
from bioimage_cpp.graph import agglomeration
from scipy import stats

from benchmarks.labels import DEFAULT_FOLDER, captures
from data_builders.rooms import generate
from psp_jax.io import command_line
from psp_jax.partition import (
    calibration,
    decode,
    edge_logits,
    fill,
    fragments,
    frontier_classes,
    planar,
    scores,
    superpixels,
)

PARTITIONS: list[tuple[str, superpixels.Superpixels]] = [
    ("SEEDS-192", superpixels.Seeds()),
    ("planar", planar.Planar()),
]
GAP_RADIUS_PX = 3
CORRELATION_PX = 2.0
REPEATS = 5
FITTED = 3  # Frames that a calibration is fitted on.
MOST_S = 0.6
TIE = 1e-6  # The weight that undecided edges (logit 0) attract with.


@dataclasses.dataclass(frozen=True)
class Noise:
    """A way to damage classes.

    Attributes:
        name: what it does.
        damage: maps a generator, true classes and a level to votes.
        levels: shares of pixels, of frontier pixels or of bits that are wrong.
        bars: the least ARI that the default decoder must reach on SEEDS-192 at a level.
    """

    name: str
    damage: Callable[[np.random.Generator, np.ndarray, float], edge_logits.Votes]
    levels: tuple[float, ...]
    bars: dict[float, float]


def flip(rng: np.random.Generator, classes: np.ndarray, share: float) -> edge_logits.Votes:
    """Turns a share of all pixels into another class, all equally likely."""
    damaged = classes.copy()
    hit = rng.random(classes.shape) < share
    damaged[hit] = (
        damaged[hit] + rng.integers(1, frontier_classes.CLASSES, hit.sum())
    ) % frontier_classes.CLASSES
    return edge_logits.from_classes(damaged)


def open_gaps(rng: np.random.Generator, classes: np.ndarray, share: float) -> edge_logits.Votes:
    """Turns discs of frontier pixels into interior until a share of them is gone."""
    padded = np.pad(classes, GAP_RADIUS_PX)
    offset = np.arange(-GAP_RADIUS_PX, GAP_RADIUS_PX + 1)
    disc = offset[:, None] ** 2 + offset**2 <= GAP_RADIUS_PX**2
    places = np.argwhere(classes > 0)
    left = round(share * len(places))
    for row, column in rng.permutation(places):
        if left <= 0:
            break
        if classes[row, column] and padded[row + GAP_RADIUS_PX, column + GAP_RADIUS_PX]:
            window = padded[row : row + len(offset), column : column + len(offset)]
            left -= np.count_nonzero(window[disc])
            window[disc] = 0
    inside = slice(GAP_RADIUS_PX, -GAP_RADIUS_PX)
    return edge_logits.from_classes(padded[inside, inside])


def soften(rng: np.random.Generator, classes: np.ndarray, share: float) -> edge_logits.Votes:
    """Adds normal noise to every bit, half of its variance correlated, and gives the logits.

    The noise is such that a share of the bits is wrong, and the logits are calibrated.
    """
    bits = (classes[..., None] & edge_logits.BITS) > 0
    white, smooth = rng.standard_normal((2, *bits.shape), dtype=np.float32)
    smooth = cv2.GaussianBlur(smooth, (0, 0), CORRELATION_PX)
    noise = np.sqrt(0.5) * (white + smooth / smooth.std())
    signal = stats.norm.ppf(1 - share)
    return edge_logits.from_bit_logits(2 * signal * ((2 * bits - 1) * signal + noise))


class Linkage(enum.Enum):
    """How strongly two clusters of pixels attract or repel each other."""

    MUTEX = "mutex_watershed"  # As their surest edge; repelled once, apart for good.
    MEAN = "mean"  # As their edges do on the mean.
    SUM = "sum"  # As their edges do together: greedy additive contraction for multicut.


@dataclasses.dataclass(frozen=True)
class Agglomeration:
    """Merges pixels by their surest edges first (GASP, Bailoni et al. 2022, arXiv 1906.11713).

    With `Linkage.MUTEX` it is the mutex watershed (Wolf et al. 2020, arXiv 1904.12654) of the
    edges to the 4 neighbours. It does well where logits are calibrated and no part of a frontier
    is missed outright.

    Attributes:
        linkage: see `Linkage`.
        tiny_px: regions of fewer pixels are absorbed if no sure frontier surrounds them.
    """

    linkage: Linkage = Linkage.MUTEX
    tiny_px: int = decode.TINY_PX

    def __call__(self, edges: edge_logits.EdgeLogits) -> np.ndarray:
        """Segments an image; returns `[H, W]` int32 labels."""
        graph = graphs.GridGraph2D(edges.shape)
        # The library lists the edges to the pixel below before those to the right.
        weights = -np.concatenate([edges.along.ravel(), edges.across.ravel()])
        if not len(weights):
            return np.zeros(edges.shape, np.int32)
        weights[weights == 0] = TIE
        clusters = agglomeration.GaspClusterPolicy(linkage=self.linkage.value).optimize(
            graph, weights
        )
        labels = frontier_classes.split_connected(clusters.reshape(edges.shape).astype(np.int64))
        return decode.absorb(labels, edges, self.tiny_px)


NOISES = [
    Noise("random flips, share of pixels", flip, (0.005, 0.01, 0.02, 0.05, 0.1, 0.2), {0.05: 0.99}),
    Noise(
        "gaps, share of frontier pixels", open_gaps, (0.02, 0.05, 0.1, 0.2, 0.3, 0.4), {0.1: 0.90}
    ),
    Noise("soft errors, share of bits", soften, (0.005, 0.01, 0.02, 0.05, 0.1), {0.05: 0.98}),
]
Way = tuple[Callable[[edge_logits.Votes], edge_logits.EdgeLogits], decode.Decoder]
DECODERS: list[
    tuple[str, Callable[[edge_logits.Votes], edge_logits.EdgeLogits], decode.Decoder]
] = [
    ("multicut of fragments", edge_logits.Votes.mean, decode.Multicut()),
    ("  threshold 0.3", edge_logits.Votes.mean, decode.Multicut(threshold=0.3)),
    ("  threshold 0.5", edge_logits.Votes.mean, decode.Multicut(threshold=0.5)),
    ("mutex watershed", edge_logits.Votes.mean, Agglomeration(Linkage.MUTEX)),
    ("mean linkage", edge_logits.Votes.mean, Agglomeration(Linkage.MEAN)),
    ("greedy multicut", edge_logits.Votes.mean, Agglomeration(Linkage.SUM)),
    ("components, either", edge_logits.Votes.either, decode.ConnectedComponents()),
    ("components, both", edge_logits.Votes.both, decode.ConnectedComponents()),
]


def real_frames(folder: pathlib.Path) -> Iterator[np.ndarray]:
    """Reads every captured depth frame under a folder, of any size, and fills it."""
    for path in sorted(folder.glob("*/depth/*.png")):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is not None and not path.parts[-3].endswith("_SYNTH"):
            yield fill.fill_nearest(image)[0]


def room_frames() -> Iterator[np.ndarray]:
    """Draws depth frames of a few rooms."""
    with tempfile.TemporaryDirectory() as folder:
        generate.generate(generate.Rooms(spaces=4), folder)
        for path in sorted(pathlib.Path(folder).glob("scans/*/*_truth.npz")):
            with np.load(path) as truth:
                yield from truth["depth_mm"]


def print_exact(folder: pathlib.Path) -> None:
    """Prints how many frames' exact classes are decoded to the same partition."""
    for source, frames in (
        ("real frames", real_frames(folder)),
        ("frames of rooms", room_frames()),
    ):
        for_each = [0] * len(PARTITIONS)
        worst = 1.0
        count = 0
        for depth_mm in frames:
            count += 1
            for i, (_, cut) in enumerate(PARTITIONS):
                labels = cut(depth_mm)
                decoded = decode.Multicut()(
                    edge_logits.from_classes(frontier_classes.encode(labels)).mean()
                )
                for_each[i] += np.array_equal(decoded, labels)
                worst = min(worst, scores.adjusted_rand(scores.overlap(decoded, labels)))
        for (name, _), same in zip(PARTITIONS, for_each, strict=True):
            print(f"exact classes, {name}: {same} of {count} {source} decoded label by label")
        print(f"  least ARI {worst} (1.0)", flush=True)


def print_noise(frames_mm: list[np.ndarray], noises: list[Noise]) -> None:
    """Prints the metrics of every decoder at every level of noise."""
    print(
        "ARI and ASA are means over the frames, ARI also the least; regions are a mean, ms a median"
    )
    for partition, cut in PARTITIONS:
        truths = [cut(depth_mm) for depth_mm in frames_mm]
        regions = np.mean([labels.max() + 1 for labels in truths])
        for noise in noises:
            print(f"\n{partition} ({regions:.0f} regions), {noise.name}")
            print(f"{'':8}{'decoder':24}{'ARI':>8}{'least':>8}{'ASA':>8}{'regions':>9}{'ms':>7}")
            for level in noise.levels:
                votes = [
                    noise.damage(np.random.default_rng(i), frontier_classes.encode(labels), level)
                    for i, labels in enumerate(truths)
                ]
                bar = noise.bars.get(level) if cut is PARTITIONS[0][1] else None
                rows = [(name, [(join, decoder)] * len(truths)) for name, join, decoder in DECODERS]
                rows.insert(1, ("  calibrated", calibrated(votes, truths)))
                for i, (name, ways) in enumerate(rows):
                    row = describe(ways, votes, truths)
                    note = f"  (at least {bar})" if bar and i == 0 else ""
                    share = f"{level:.1%}" if i == 0 else ""
                    print(
                        f"{share:8}{name:24}{row[0]:8.4f}{row[1]:8.3f}{row[2]:8.4f}{row[3]:9.0f}"
                        f"{row[4]:7.0f}{note}",
                        flush=True,
                    )


def calibrated(votes: list[edge_logits.Votes], truths: list[np.ndarray]) -> list[Way]:
    """Calibrates on some frames of each half the decoder of the other half."""
    ways = []
    for half in range(2):
        samples = [
            calibration.Sample(
                each.mean(), frontier_classes.encode(labels), np.ones(labels.shape, bool)
            )
            for each, labels in zip(votes[half::2], truths[half::2], strict=True)
        ][:FITTED]
        fitted = calibration.fit(calibration.tally(samples))
        fitted = calibration.fit_decoder(fitted, samples)
        ways.append((lambda votes, fitted=fitted: fitted(votes.mean()), fitted.decoder))
    return [ways[(i + 1) % 2] for i in range(len(truths))]


def describe(
    ways: list[Way], votes: list[edge_logits.Votes], truths: list[np.ndarray]
) -> tuple[float, float, float, float, float]:
    """Returns mean and least ARI, mean ASA, mean number of regions and median milliseconds."""
    rand, accuracy, regions, elapsed_ms = [], [], [], []
    for (join, decoder), each, labels in zip(ways, votes, truths, strict=True):
        start = time.perf_counter()
        decoded = decoder(join(each))
        elapsed_ms.append(1e3 * (time.perf_counter() - start))
        shared = scores.overlap(decoded, labels)
        rand.append(scores.adjusted_rand(shared))
        accuracy.append(scores.achievable_segmentation_accuracy(shared))
        regions.append(decoded.max() + 1)
    means = float(np.mean(rand)), min(rand), float(np.mean(accuracy)), float(np.mean(regions))
    return *means, statistics.median(elapsed_ms)


def stages(votes: edge_logits.Votes) -> dict[str, float]:
    """Decodes as `decode.Multicut` does, and returns the seconds of every stage."""
    decoder = decode.Multicut()
    times, last = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        times[name] = now - last
        last = now

    edges = votes.mean()
    lap("join")
    cells = fragments.grid(edges)
    lap("grid")
    distance = fragments.distance_to_frontiers(cells)
    lap("distance")
    seeds = fragments.place_seeds(distance, cells, decoder.spacing_cells)
    lap("seeds")
    basins = fragments.flood(distance, seeds)
    lap("flood")
    pieces = fragments.connect(basins, edge_logits.transform(edges, lambda x: x + fragments.DOUBT))
    lap("connect")
    merged = decoder.merge(pieces, edges)
    lap("multicut")
    labels = decode.absorb(merged, edges, decoder.tiny_px)
    lap("absorb")
    assert np.array_equal(labels, decoder(edges)), "these are not the decoder's stages"
    return times


def print_time(frames_mm: list[np.ndarray]) -> None:
    """Prints the milliseconds of every stage of the default decoder."""
    inputs = [
        ("exact", lambda rng, classes: edge_logits.from_classes(classes)),
        *((f"{noise.name} {level:.0%}", lambda rng, classes, noise=noise, level=level:
           noise.damage(rng, classes, level))
          for noise in NOISES for level in noise.bars),
    ]  # fmt: skip
    truths = [frontier_classes.encode(PARTITIONS[0][1](depth_mm)) for depth_mm in frames_mm]
    print("\nmilliseconds of a 480x640 frame on one thread, medians; slowest: of all frames")
    slowest = 0.0
    for i, (name, damage) in enumerate(inputs):
        runs = []
        for seed, classes in enumerate(truths):
            votes = damage(np.random.default_rng(seed), classes)
            stages(votes)
            repeats = [stages(votes) for _ in range(REPEATS)]
            runs.append({k: statistics.median(run[k] for run in repeats) for k in repeats[0]})
        if i == 0:
            print(f"{'':38}" + "".join(f"{stage:>10}" for stage in (*runs[0], "all", "slowest")))
        sums = [sum(run.values()) for run in runs]
        slowest = max(slowest, *sums)
        row = [statistics.median(run[stage] for run in runs) for stage in runs[0]]
        row += [statistics.median(sums), max(sums)]
        print(f"{name:38}" + "".join(f"{1e3 * value:10.1f}" for value in row), flush=True)
    print(f"slowest frame: {slowest:.3f} s (at most {MOST_S})")


def main() -> None:
    """Runs all, or a part."""
    parser = command_line.Parser(prog="python -m benchmarks.decoding", description=__doc__)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=DEFAULT_FOLDER)
    parser.add_argument(
        "--frames", type=command_line.positive_int, help="how many of the captures; all by default"
    )
    parser.add_argument("--part", choices=["exact", "bars", "noise", "time"], help="all by default")
    chosen = parser.parse()
    sources = captures(chosen.folder)
    frames_mm = [fill.fill_nearest(depth_mm)[0] for each in sources.values() for depth_mm in each]
    if not frames_mm:
        parser.error(
            f"no captured depth frames of 480x640 as SOURCE/depth/*.png in {chosen.folder}"
        )
    if chosen.frames:
        kept = np.linspace(0, len(frames_mm) - 1, min(chosen.frames, len(frames_mm))).round()
        frames_mm = [frames_mm[int(i)] for i in kept]
    cv2.setNumThreads(1)
    print(f"{len(frames_mm)} captured frames of 480x640 in {chosen.folder}")
    if chosen.part in ("exact", None):
        print_exact(chosen.folder)
    if chosen.part == "bars":
        at_bars = [dataclasses.replace(noise, levels=tuple(noise.bars)) for noise in NOISES]
        print_noise(frames_mm, at_bars)
    if chosen.part in ("noise", None):
        print_noise(frames_mm, NOISES)
    if chosen.part in ("time", None):
        print_time(frames_mm)


if __name__ == "__main__":
    main()
