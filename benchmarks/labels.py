"""Measures the label algorithms on real depth frames, and the cost of the label path.

Run `python -m benchmarks.labels [FOLDER]`. FOLDER holds `SOURCE/depth/*.png`, uint16 millimetres;
by default `../shared/rgbd` beside the checkout. Frames of 480x640 are used; sources whose name
ends in `_SYNTH` are rendered, not captured, and left out. Everything runs on one thread.
"""

import collections
import pathlib
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage

from data_builders.rooms import generate
from psp_jax.codec import transcode
from psp_jax.io import command_line
from psp_jax.io.units import MM_PER_M
from psp_jax.partition import fill, frontier_classes, planar, scores, superpixels
from psp_jax.recordings import inputs

DEFAULT_FOLDER = pathlib.Path(__file__).parents[2] / "shared" / "rgbd"
SIZE = (480, 640)
REPEATS = 5
RADIUS_PX = 2
# A recall over fewer pixels than this is left out.
MIN_DISCONTINUITY_PIXELS = 300
SETTINGS: list[tuple[str, superpixels.Superpixels]] = [
    ("SEEDS", superpixels.Seeds()),
    ("SEEDS, 64 bins", superpixels.Seeds(histogram_bins=64)),
    ("SEEDS, 400", superpixels.Seeds(superpixels=400)),
    ("SLIC", superpixels.Slic()),
    ("SLIC 40 px, ruler 40", superpixels.Slic(region_px=40, ruler=40.0)),
    ("LSC", superpixels.Lsc()),
    ("watershed", superpixels.Watershed()),
    ("planar's base", planar.FINE),
    *(
        (f"planar {trade:g}", planar.Planar(trade=trade))
        for trade in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
    ),
]


def captures(folder: pathlib.Path) -> dict[str, list[np.ndarray]]:
    """Reads the captured depth frames of 480x640 under a folder by source, uint16 millimetres."""
    frames_mm: dict[str, list[np.ndarray]] = {}
    others = collections.Counter()
    for path in sorted(folder.glob("*/depth/*.png")):
        source = path.parts[-3]
        if source.endswith("_SYNTH"):
            continue
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is not None and image.shape == SIZE:
            frames_mm.setdefault(source, []).append(image)
        else:
            others[source] += 1
    for source, count in others.items():
        print(f"left out, of another size: {count} of {source}")
    return frames_mm


def drawn_rooms(rooms: generate.Rooms, folder: pathlib.Path) -> list[np.ndarray]:
    """Draws rooms, unless they are there, and returns their depth images that have readings."""
    generate.generate(rooms, folder)
    images = [frame.read() for frame in transcode.frames(inputs.find_depth(folder), 1)[1]]
    return [image for image in images if image.any()]


def time_s(call: Callable[[], object]) -> float:
    """Returns the median wall time of a few calls, in seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def describe(cut: superpixels.Superpixels, frames_mm: list[np.ndarray]) -> list[float]:
    """Returns one row of the table."""
    rows = []
    for depth_mm in frames_mm:
        start = time.thread_time()
        labels = cut(depth_mm)
        elapsed_s = time.thread_time() - start
        boundary, true = scores.boundary(labels), scores.depth_discontinuities(depth_mm)
        recall = scores.boundary_recall(boundary, true, radius_px=RADIUS_PX)
        error_mm = planar.render_planes(labels, depth_mm) * MM_PER_M - depth_mm
        rows.append(
            (
                labels.max() + 1,
                scores.crack_edges(labels),
                scores.crack_edges_near(labels, true, radius_px=RADIUS_PX),
                1 - boundary.mean(),
                scores.explained_variation(labels, depth_mm),
                recall if true.sum() >= MIN_DISCONTINUITY_PIXELS else np.nan,
                np.sqrt(np.mean(error_mm**2)),
                elapsed_s * 1e3,
            )
        )
    columns = np.array(rows)
    means = np.nanmean(columns, axis=0)
    return [*means[:6], *np.median(columns[:, 6:], axis=0)]


def print_table(frames_mm: list[np.ndarray]) -> None:
    """Prints the metrics of every setting on the filled frames."""
    print(
        "means over the frames; RMSE and ms of CPU time are medians (planar 0.001: at most 60); "
        f"steps: depth discontinuities over {scores.DISCONTINUITY:.0%}, within {RADIUS_PX} px"
    )
    print(
        f"{'algorithm':22}{'regions':>9}{'cracks':>9}{'at steps':>9}{'interior':>9}"
        f"{'expl.var':>9}{'recall':>8}{'RMSE mm':>9}{'ms':>7}"
    )
    for name, cut in SETTINGS:
        cut(frames_mm[0])  # Compiles.
        regions, cracks, at_steps, interior, explained, recall, rmse, ms = describe(cut, frames_mm)
        print(
            f"{name:22}{regions:9.0f}{cracks:9.0f}{at_steps:9.3f}{interior:9.4f}"
            f"{explained:9.4f}{recall:8.3f}{rmse:9.1f}{ms:7.0f}",
            flush=True,
        )


def print_sources(filled_mm: dict[str, list[np.ndarray]]) -> None:
    """Prints the metrics of planar regions and of SEEDS, source by source."""
    print("\nby source, planar 0.001; in brackets SEEDS; steps: share of pixels at one")
    print(f"{'source':28}{'frames':>7}{'steps':>8}{'cracks':>9}{'at steps':>16}{'recall':>8}")
    for source, frames_mm in filled_mm.items():
        _, cracks, at_steps, *_, recall, _, _ = describe(planar.Planar(), frames_mm)
        seeds_at_steps = describe(superpixels.Seeds(), frames_mm)[2]
        steps = np.mean([scores.depth_discontinuities(depth_mm).mean() for depth_mm in frames_mm])
        print(
            f"{source:28}{len(frames_mm):7}{steps:8.4f}{cracks:9.0f}"
            f"{at_steps:8.3f} ({seeds_at_steps:.3f}){recall:8.3f}"
        )


def print_ratios(frames_mm: list[np.ndarray]) -> None:
    """Prints the cost of the label path and of the fill, each against its baseline."""
    cut = superpixels.Seeds()
    path_ratios, fill_ratios, fill_ms = [], [], []
    for depth_mm in frames_mm:
        filled_mm, holes = fill.fill_nearest(depth_mm)
        span_mm = filled_mm.max() - filled_mm.min()
        gray = ((filled_mm - filled_mm.min()) * (255.0 / span_mm)).astype(np.uint8)

        def bare(gray: np.ndarray = gray) -> np.ndarray:
            seeds = cv2.ximgproc.createSuperpixelSEEDS(
                SIZE[1], SIZE[0], 1, cut.superpixels, cut.levels, cut.prior, cut.histogram_bins
            )
            seeds.iterate(gray, cut.iterations)
            return seeds.getLabels()

        def whole(depth_mm: np.ndarray = depth_mm) -> np.ndarray:
            return frontier_classes.encode(cut(fill.fill_nearest(depth_mm)[0]))

        path_ratios.append(time_s(whole) / time_s(bare))
        if holes.any():

            def scipy_fill(
                depth_mm: np.ndarray = depth_mm, holes: np.ndarray = holes
            ) -> np.ndarray:
                nearest = np.empty((2, *SIZE), np.int32)
                ndimage.distance_transform_edt(
                    holes, return_distances=False, return_indices=True, indices=nearest
                )
                return depth_mm[nearest[0], nearest[1]]

            own_s = time_s(lambda depth_mm=depth_mm: fill.fill_nearest(depth_mm))
            fill_ms.append(own_s * 1e3)
            fill_ratios.append(own_s / time_s(scipy_fill))
    print(
        f"fill + SEEDS + encode / OpenCV's bare SEEDS: {statistics.median(path_ratios):.3f}, "
        f"median of {len(path_ratios)} frames (at most 1.35)"
    )
    print(
        f"fill / scipy.ndimage.distance_transform_edt: {statistics.median(fill_ratios):.3f}, "
        f"median of {len(fill_ratios)} frames ({statistics.median(fill_ms):.1f} ms)"
    )


def main() -> None:
    """Runs both on the captures of a folder."""
    parser = command_line.Parser(prog="python -m benchmarks.labels", description=__doc__)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=DEFAULT_FOLDER)
    folder = parser.parse().folder
    sources = captures(folder)
    frames_mm = [depth_mm for frames in sources.values() for depth_mm in frames]
    if not frames_mm:
        parser.error(f"no captured depth frames of 480x640 as SOURCE/depth/*.png in {folder}")
    cv2.setNumThreads(1)
    print(f"{len(frames_mm)} captured frames of 480x640 of {len(sources)} sources in {folder}")
    print_ratios(frames_mm)
    filled_mm = {
        source: [fill.fill_nearest(depth_mm)[0] for depth_mm in frames]
        for source, frames in sources.items()
    }
    print_table([depth_mm for frames in filled_mm.values() for depth_mm in frames])
    print_sources(filled_mm)


if __name__ == "__main__":
    main()
