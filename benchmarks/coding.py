"""Compares depth coded as regions with image codecs: rate, distortion, and time.

Run `python -m benchmarks.coding [FOLDER] [--rooms=FOLDER]`. FOLDER holds `SOURCE/depth/*.png`,
uint16 millimetres, as of `benchmarks/labels.py`; drawn rooms of 480x640, other ones than the
contour coder was trained on, are made in the other folder unless they are there. Holes are filled
first, and all pixels count. PSNR is of inverse depth against its range in the frame;
`benchmarks/image_codecs.py` has the settings of the image codecs. All bytes are of real streams,
decoded again. Everything runs on one thread.
"""

import pathlib
import time
from collections.abc import Callable, Sequence

import cv2
import numba
import numpy as np

from benchmarks import image_codecs
from benchmarks import labels as label_benchmark
from benchmarks.image_codecs import Point
from data_builders.rooms import generate
from psp_jax import codec
from psp_jax.io import command_line
from psp_jax.io.units import MM_PER_M
from psp_jax.partition import (
    fill,
    frontier_classes,
    merging,
    planar,
    scores,
    smoothing,
    superpixels,
)

ROOMS = generate.Rooms(spaces=4, frames_per_scan=2, depth_height=480, depth_width=640, seed=1)
LEVELS_DB = (41.0, 42.0, 43.0, 44.0, 45.0, 46.0, 48.0, 50.0, 52.0, 54.0)
BAR_DB = (41.0, 46.0)  # Savings are compared between these.
TRADES = tuple(10.0**-exponent for exponent in np.arange(1.5, 5.6, 0.5))
COARSE_TRADES = TRADES[2:7:2]
# Largest errors of residuals as shares of the range of a frame.
MAX_ERRORS = (0.02, 0.01, 0.006, 0.0035, 0.002)
BLOCK_TRADE = 3e-4  # Of partitions whose number of regions, not their trade, sets the rate.
OTHERS = ("JPEG XL", "JPEG 2000", "AVIF", "HEVC intra")  # JPEG and WebP have 8 bits only.
BARRED = OTHERS[:2]  # Of which planar regions shall save 65 %.
BITS_OF_A_PLANE = 27.0  # The estimated cost of a block when the quadtree is built.


def psnr_db(decoded_mm: np.ndarray, depth_mm: np.ndarray) -> float:
    """Returns the PSNR of inverse depth against the frame's own range."""
    inverse = MM_PER_M / depth_mm
    error = MM_PER_M / decoded_mm - inverse
    return float(20 * np.log10(np.ptp(inverse) / max(np.sqrt(np.mean(error**2)), 1e-12)))


def coded(depth_mm: np.ndarray, labels: np.ndarray, trade: float, **residual: float) -> Point:
    """Returns bytes and dB of a frame as regions."""
    stream = codec.encode(depth_mm, labels, trade=trade, **residual)
    return len(stream), psnr_db(codec.decode(stream)[0], depth_mm)


def superpixel_codecs(depth_mm: np.ndarray) -> dict[str, list[Point]]:
    """Returns the points of superpixels."""
    families: dict[str, list[superpixels.Superpixels]] = {
        "SEEDS": [superpixels.Seeds(superpixels=count) for count in (100, 200, 400, 1200)],
        "SLIC": [
            superpixels.Slic(region_px=size, ruler=40.0 if size > 28 else 20.0)
            for size in (56, 40, 28, 20, 14)
        ],
        "LSC": [superpixels.Lsc(region_px=size) for size in (56, 40, 28, 20)],
        "watershed": [superpixels.Watershed(region_px=size) for size in (56, 40, 28, 20)],
    }
    return {
        name: [coded(depth_mm, segment(depth_mm), BLOCK_TRADE) for segment in settings]
        for name, settings in families.items()
    }


def block_codecs(depth_mm: np.ndarray) -> dict[str, list[Point]]:
    """Returns the points of square blocks, without a partition or with a bit per possible split."""
    grid, tree = [], []
    rows, columns = np.indices(depth_mm.shape)
    for size in (64, 40, 32, 20, 16, 10, 8, 5):
        labels = frontier_classes.split_connected(
            rows // size * depth_mm.shape[1] + columns // size
        )
        parts = codec.encode_parts(depth_mm, labels, trade=BLOCK_TRADE)
        decoded_db = psnr_db(codec.decode(parts.stream)[0], depth_mm)
        grid.append((len(parts.stream) - parts.partition, decoded_db))
    for trade in TRADES[::2]:
        labels, flags = quadtree(depth_mm, trade)
        parts = codec.encode_parts(depth_mm, labels, trade=trade)
        decoded_db = psnr_db(codec.decode(parts.stream)[0], depth_mm)
        tree.append((len(parts.stream) - parts.partition + flags / 8, decoded_db))
    return {"grid": grid, "quadtree": tree}


def quadtree(depth_mm: np.ndarray, trade: float) -> tuple[np.ndarray, int]:
    """Divides a frame into square blocks of 64 to 4 pixels; returns labels and split flags."""
    inverse = MM_PER_M / depth_mm.astype(np.float64)
    rows, columns = np.indices(depth_mm.shape)

    def blocks(size: int) -> np.ndarray:
        across = -(-depth_mm.shape[1] // size)
        return (rows // size * across + columns // size).astype(np.int32)

    size = 4
    labels = blocks(size)
    numbers = int(labels.max()) + 1
    sums = merging.region_sums(labels, inverse, numbers)
    cost = np.array([merging.plane(one)[3] + trade * BITS_OF_A_PLANE for one in sums])
    flags = np.zeros(numbers)
    while size < 64:
        parents = blocks(2 * size)
        parent = np.zeros(numbers, np.int64)
        parent[blocks(size)] = parents
        above = int(parents.max()) + 1
        joined = np.zeros((above, merging.SUMS))
        np.add.at(joined, parent, sums)
        alone = np.array([merging.plane(one)[3] + trade * BITS_OF_A_PLANE for one in joined])
        apart, below = np.zeros(above), np.zeros(above)
        np.add.at(apart, parent, cost)
        np.add.at(below, parent, flags)
        whole = alone <= apart
        labels = np.where(whole[parents], parents + labels.max() + 1, labels)
        cost, flags = np.minimum(alone, apart) + trade, np.where(whole, 1.0, 1.0 + below)
        sums, numbers, size = joined, above, 2 * size
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    return frontier_classes.split_connected(labels), int(flags.sum())


def planar_codecs(depth_mm: np.ndarray) -> dict[str, list[Point]]:
    """Returns the points of planar regions: as they are, smoothed, and with residuals."""
    fine = planar.FINE(depth_mm)
    merged = [coded(depth_mm, planar.Planar(trade=trade)(depth_mm), trade) for trade in TRADES]
    smoothed, residual = [], []
    for trade in TRADES:
        labels = smoothing.smooth(fine, depth_mm, trade=trade)
        smoothed.append(coded(depth_mm, labels, trade))
        if trade in COARSE_TRADES:
            span = float(np.ptp(MM_PER_M / depth_mm))
            residual += [
                coded(depth_mm, labels, trade, max_error_per_m=share * span) for share in MAX_ERRORS
            ]
    return {
        "planar": merged,
        "planar smoothed": smoothed,
        "smoothed + residuals": smoothed + residual,
    }


def bytes_at(points: list[Point], level_db: float) -> float:
    """Fewest bytes for a PSNR: on the lower convex hull of all settings, bytes logarithmic.

    NaN if no setting reaches it. Below the coarsest setting it is constant.
    """
    hull: list[Point] = []  # From the best PSNR down, dB and logarithm of bytes.
    for level, size in sorted(((db, np.log(size)) for size, db in points), reverse=True):
        if hull and size >= hull[-1][1]:
            continue
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (level - hull[-2][0]) <= (
            size - hull[-2][1]
        ) * (hull[-1][0] - hull[-2][0]):
            hull.pop()
        hull.append((level, size))
    levels, sizes = np.array(hull[::-1]).T
    return (
        float("nan") if level_db > levels[-1] else float(np.exp(np.interp(level_db, levels, sizes)))
    )


def print_rates(
    frames_mm: list[np.ndarray], cache: pathlib.Path | None, codecs: Sequence[Callable]
) -> None:
    """Prints bits per pixel at equal PSNR, and what planar regions save, averaged in two ways."""
    points: dict[str, list[list[Point]]] = {}
    for depth_mm in frames_mm:
        by_codec = image_codecs.measure(depth_mm, cache)
        for one in codecs:
            by_codec |= one(depth_mm)
        for name, of_frame in by_codec.items():
            points.setdefault(name, []).append(of_frame)
    pixels = frames_mm[0].size
    print("bits per pixel at equal PSNR of inverse depth")
    print(f"{'dB':22}" + "".join(f"{level:>12g}" for level in LEVELS_DB))
    print(
        "mean over the frames of bytes and of dB at every setting, between settings interpolated:"
    )
    curves = {name: np.array(frames).mean(axis=0).tolist() for name, frames in points.items()}
    means = {
        name: np.array([[bytes_at(curve, level) for level in LEVELS_DB]])
        for name, curve in curves.items()
    }
    _print_table(means, pixels)
    print("every frame at that PSNR, mean over the frames that reach it (their number if not all):")
    table = {
        name: np.array([[bytes_at(one, level) for level in LEVELS_DB] for one in frames])
        for name, frames in points.items()
    }
    _print_table(table, pixels)
    for own in ("planar", "planar smoothed", "smoothed + residuals"):
        for other in OTHERS:
            _print_savings(own, other, means, table)
        _print_crossing(own, table)


def _print_table(table: dict[str, np.ndarray], pixels: int) -> None:
    for name, sizes in table.items():
        cells = []
        for column in sizes.T:
            reached = ~np.isnan(column)
            few = f" ({reached.sum()})" if 0 < reached.sum() < len(column) else ""
            mean = f"{8 * column[reached].mean() / pixels:.4f}" if reached.any() else "-"
            cells.append(f"{mean + few:>12}")
        print(f"{name:22}" + "".join(cells), flush=True)


def _print_savings(
    own: str, other: str, means: dict[str, np.ndarray], table: dict[str, np.ndarray]
) -> None:
    """Prints the share of another codec's bytes saved, of mean curves and as a mean over frames."""
    inside = np.array([BAR_DB[0] <= level <= BAR_DB[1] for level in LEVELS_DB])
    saved = 1 - means[own][0] / means[other][0]
    with np.errstate(invalid="ignore"):
        logarithms = np.log(table[own] / table[other])
    ratios = [column[~np.isnan(column)] for column in logarithms.T]
    by_frame = [1 - np.exp(ratio.mean()) if ratio.size else np.nan for ratio in ratios]
    bar = " (at least 65 %)" if other in BARRED and "residuals" not in own else ""
    for what, values in (("mean curves", saved), ("frame by frame", by_frame)):
        cells = "".join(f"{value:>12.1%}" for value in values)
        least = np.nanmin(np.array(values)[inside])
        print(f"{own} saves of {other}, {what}: least at 41 to 46 dB {least:.1%}{bar}")
        print(f"{'':22}{cells}")
    bd = np.mean([ratio.mean() for ratio, counts in zip(ratios, inside, strict=True) if counts])
    print(f"{'':22}BD-rate at 41 to 46 dB, frame by frame {np.expm1(bd):+.1%}", flush=True)


def _print_crossing(own: str, table: dict[str, np.ndarray]) -> None:
    """Prints the PSNR from which the best image codec takes fewer bytes for most frames."""
    best = np.fmin.reduce([table[name] for name in OTHERS])
    loses = [
        np.mean(np.isnan(mine) | (mine >= theirs)) > 0.5
        for mine, theirs in zip(table[own].T, best.T, strict=True)
    ]
    first = next((level for level, lost in zip(LEVELS_DB, loses, strict=True) if lost), None)
    where = f"from {first:g} dB on" if first else f"not up to {LEVELS_DB[-1]:g} dB"
    print(f"the best of {', '.join(OTHERS)} beats {own} on most frames {where}", flush=True)


def print_segmentations(frames_mm: list[np.ndarray]) -> None:
    """Prints the cost of each segmentation at its usual setting, and the time to code it."""
    print("means over the frames; trade 1e-3; bits/crack of the partition; ms: median CPU time")
    columns = (
        "regions",
        "cracks",
        "bits/crack",
        "bpp",
        "partition",
        "ideal+",
        "PSNR dB",
        "RMSE mm",
    )
    print(
        f"{'segmentation':20}"
        + "".join(f"{name:>11}" for name in (*columns, "encode ms", "decode ms"))
    )
    bars = {"SEEDS 192": 1.40, "SLIC 40, ruler 40": 1.15}
    algorithms: dict[str, superpixels.Superpixels] = {
        "SEEDS 192": superpixels.Seeds(),
        "SLIC 40, ruler 40": superpixels.Slic(region_px=40, ruler=40.0),
        "SLIC": superpixels.Slic(),
        "LSC": superpixels.Lsc(),
        "watershed": superpixels.Watershed(),
        "planar": planar.Planar(),
        "planar smoothed": smoothing.Smoothed(),
    }
    for name, segment in algorithms.items():
        rows, times = [], []
        for index, depth_mm in enumerate([frames_mm[0], *frames_mm]):
            labels = segment(depth_mm)
            began_s = time.process_time()
            parts = codec.encode_parts(depth_mm, labels)
            middle_s = time.process_time()
            decoded_mm, decoded = codec.decode(parts.stream)
            ended_s = time.process_time()
            if not np.array_equal(decoded, labels):
                raise SystemExit(f"{name}: frame {index - 1} decodes to another partition")
            if index == 0:
                continue  # Compiled.
            coded_bytes = parts.partition + parts.patches
            rows.append(
                (
                    labels.max() + 1,
                    scores.crack_edges(labels),
                    8 * parts.partition,
                    len(parts.stream),
                    parts.partition / len(parts.stream),
                    8 * coded_bytes / parts.ideal_bits - 1,
                    psnr_db(decoded_mm, depth_mm),
                    np.sqrt(np.mean((decoded_mm.astype(float) - depth_mm) ** 2)),
                )
            )
            times.append((1e3 * (middle_s - began_s), 1e3 * (ended_s - middle_s)))
        regions, cracks, bits, size, share, over, decoded_db, rmse_mm = np.array(rows).T
        encode_ms, decode_ms = np.median(times, axis=0)
        bar = f"  bits/crack at most {bars[name]:.2f}" if name in bars else ""
        print(
            f"{name:20}{regions.mean():11.0f}{cracks.mean():11.0f}{bits.sum() / cracks.sum():11.3f}"
            f"{8 * size.mean() / frames_mm[0].size:11.4f}{share.mean():11.1%}{over.max():11.2%}"
            f"{decoded_db.mean():11.1f}{rmse_mm.mean():11.1f}{encode_ms:11.0f}{decode_ms:11.0f}{bar}",
            flush=True,
        )
    print("ideal+ is the most that a stream exceeds its ideal length by (at most 2 %);")
    print("encoding and decoding of planar regions may take 60 ms each")


def main() -> None:
    """Runs the tables on captures and on rooms."""
    parser = command_line.Parser(prog="python -m benchmarks.coding", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=pathlib.Path, default=label_benchmark.DEFAULT_FOLDER
    )
    default_rooms = pathlib.Path("data/rooms_480x640_seed1")
    parser.add_argument("--rooms", type=pathlib.Path, default=default_rooms)
    parser.add_argument(
        "--table", choices=("all", "segmentations", "rates", "planar"), default="all"
    )
    parser.add_argument("--of", choices=("all", "captures", "rooms"), default="all")
    parser.add_argument(
        "--frames",
        type=command_line.positive_int,
        help="number of each, evenly spread; all by default",
    )
    parser.add_argument(
        "--cache",
        type=pathlib.Path,
        help="folder for the results of the image codecs, which are slow",
    )
    arguments = parser.parse()
    cv2.setNumThreads(1)
    numba.set_num_threads(1)
    for name in ("captures", "rooms"):
        if arguments.of not in ("all", name):
            continue
        if name == "rooms":
            images = label_benchmark.drawn_rooms(ROOMS, arguments.rooms)
        else:
            sources = label_benchmark.captures(arguments.folder).values()
            images = [image for source in sources for image in source]
        if arguments.frames:
            chosen = np.linspace(0, len(images) - 1, min(arguments.frames, len(images)))
            images = [images[int(index)] for index in chosen]
        print(f"\n{len(images)} frames of 480x640: {name}", flush=True)
        frames_mm = [fill.fill_nearest(depth_mm)[0] for depth_mm in images]
        if frames_mm and arguments.table in ("all", "segmentations"):
            print_segmentations(frames_mm)
        if frames_mm and arguments.table != "segmentations":
            codecs = [superpixel_codecs, block_codecs, planar_codecs]
            if arguments.table == "planar":
                codecs = [planar_codecs]
            print_rates(frames_mm, arguments.cache, codecs)


if __name__ == "__main__":
    main()
