"""Segments depth images with every algorithm, to compare label sets (thesis, chapter 3.2).

    python -m psp_jax.explore PATH... --out=explore

Takes depth PNGs (16 bits, millimetres), folders of them (with colour in `color/` next to `depth/`),
`.sens` files, and folders of recordings in any layout that the data set builder reads. It writes a
picture of every frame and `table.csv`, and prints a table of means.
"""

import argparse
import csv
import dataclasses
import io
import itertools
import math
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import cv2
import numpy as np
import tabulate

from psp_jax.evaluation import plots
from psp_jax.io import command_line, own_files, progress, units
from psp_jax.partition import fill, flooding, frontier_classes, planar, scores, superpixels
from psp_jax.recordings import images, layouts, recording, sens

_T = TypeVar("_T")
RADIUS_PX = 2  # Boundaries this near match, as in the superpixel benchmarks at 480x640.
ALGORITHMS: dict[str, superpixels.Superpixels] = {
    "SEEDS": superpixels.Seeds(),
    "SLIC": superpixels.Slic(),
    "LSC": superpixels.Lsc(),
    "watershed": superpixels.Watershed(),
    "planar": planar.Planar(),
}
# Formats of the metrics; see `measure`.
METRICS = {
    "regions": ".0f",
    "crack_edges": ".0f",
    "at_discontinuities": ".3f",
    "interior": ".3f",
    "explained_variation": ".3f",
    "recall": ".3f",
    "object_recall": ".3f",
    "time_ms": ".1f",
}


@dataclasses.dataclass(frozen=True)
class View:
    """A frame to segment.

    Attributes:
        name: name of its picture.
        depth_mm: `[H, W]` uint16 millimetres; 0 marks no reading.
        rgb: `[H, W, 3]` uint8, or None.
        instance: `[H, W]` integers, the true objects, or None if they are not known.
    """

    name: str
    depth_mm: np.ndarray
    rgb: np.ndarray | None = None
    instance: np.ndarray | None = None


def views(path: pathlib.Path, frames: int) -> Iterator[View]:
    """Yields at most `frames` evenly spaced frames of a file or folder.

    Raises:
        ValueError: if a file is neither a depth image nor a recording.
        FileNotFoundError: if there is nothing to read.
    """
    if path.suffix == ".png" and path.is_file():
        yield _png(path)
    elif path.suffix == ".sens" and path.is_file():
        yield from _recording(sens.SensRecording(path), frames)
    elif path.is_dir():
        pngs = sorted(path.glob("**/depth/*.png")) or sorted(path.glob("*.png"))
        if pngs and not any(path.glob("**/scene*_*")):
            yield from map(_png, _spaced(pngs, frames))
        else:
            recordings = layouts.survey(path).recordings
            for each in _spaced(recordings, frames):
                yield from _recording(each, max(1, frames // len(recordings)))
    else:
        raise FileNotFoundError(f"expected a .png, a .sens or a folder of them, got {path}")


def measure(
    segment: superpixels.Superpixels, view: View, filled_mm: np.ndarray
) -> tuple[np.ndarray, dict[str, float]]:
    """Segments a frame; returns the labels and the `METRICS`.

    `at_discontinuities` is the share of crack edges near depth discontinuities, `recall` that of
    discontinuities near a boundary, and `object_recall` the same for outlines of the true objects,
    NaN if they are not known.
    """
    segment(filled_mm)  # The first call may compile.
    start_s = time.perf_counter()
    labels = segment(filled_mm)
    elapsed_s = time.perf_counter() - start_s
    boundary, discontinuities = scores.boundary(labels), scores.depth_discontinuities(view.depth_mm)
    object_recall = float("nan")
    if view.instance is not None:
        outlines = scores.boundary(view.instance)
        object_recall = scores.boundary_recall(boundary, outlines, radius_px=RADIUS_PX)
    values = (
        float(labels.max() + 1),
        float(scores.crack_edges(labels)),
        scores.crack_edges_near(labels, discontinuities, radius_px=RADIUS_PX),
        1.0 - float(boundary.mean()),
        scores.explained_variation(labels, filled_mm),
        scores.boundary_recall(boundary, discontinuities, radius_px=RADIUS_PX),
        object_recall,
        1000 * elapsed_s,
    )
    return labels, dict(zip(METRICS, values, strict=True))


def explore(chosen: Sequence[View], out: pathlib.Path) -> tuple[str, list[str]]:
    """Writes a picture of every view and `table.csv` into `out`.

    Returns:
        The table of means, and a line for every view that can't be segmented.

    Raises:
        FileExistsError: if such a file exists that no earlier call wrote.
    """
    own, skipped = own_files.OwnFiles(out), []
    own.path("table.csv")
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ALGORITHMS}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("frame", "algorithm", *METRICS))
    for view in progress.bar(chosen, desc="explore", unit="frame"):
        filled_mm, _ = fill.fill_nearest(view.depth_mm)
        picture = own.path(f"{view.name}.png")
        try:
            measured = {name: measure(each, view, filled_mm) for name, each in ALGORITHMS.items()}
        except ValueError as error:
            skipped.append(f"{view.name}: {error}")
            continue
        partitions = {name: labels for name, (labels, _) in measured.items()}
        for name, (_, metrics) in measured.items():
            rows[name].append(metrics)
            table.writerow((view.name, name, *(f"{value:.6g}" for value in metrics.values())))
        plots.partition_sheet(
            picture,
            filled_mm / np.float32(units.MM_PER_M),
            view.rgb,
            partitions,
            {name: frontier_classes.encode(labels) for name, labels in partitions.items()},
            {"watershed": _relief_and_markers(filled_mm)},
        )
    own.write("table.csv", text.getvalue())
    means = tabulate.tabulate(
        [[name, *(_mean([row[key] for row in rows[name]]) for key in METRICS)] for name in rows],
        (f"mean of {len(chosen) - len(skipped)} frames", *METRICS),
        floatfmt=("", *METRICS.values()),
    )
    return means, skipped


def _mean(values: list[float]) -> float:
    """Averages the known values; NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else float("nan")


def _relief_and_markers(filled_mm: np.ndarray) -> np.ndarray:
    """Draws the relief that watershed floods, with its markers in white."""
    relief = superpixels.relief(filled_mm)
    markers = np.zeros(relief.shape, np.uint8)
    seeds = flooding.place_seeds(relief, superpixels.Watershed().region_px)
    markers.reshape(-1)[seeds] = 255
    return np.maximum(relief, cv2.dilate(markers, np.ones((3, 3), np.uint8))).astype(np.float32)


def _png(path: pathlib.Path) -> View:
    try:
        depth_mm = images.decode_depth_png(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: expected a depth image in millimetres: {error}") from None
    rgb = None
    for suffix in (".jpg", ".png"):
        color = path.parent.parent / "color" / (path.stem + suffix)
        if path.parent.name == "depth" and color.is_file():
            rgb = _rgb(color.read_bytes(), depth_mm.shape)
    return View(f"{path.parent.parent.name}_{path.stem}", depth_mm, rgb)


def _recording(scan: recording.Recording, frames: int) -> Iterator[View]:
    truth = scan.path.with_name(f"{scan.id}_truth.npz")
    instances = np.load(truth)["instance"] if truth.is_file() else None
    stride = max(1, scan.count(1) // frames)
    for frame in itertools.islice(scan.frames(stride), frames):
        depth_mm = frame.read_depth()
        if depth_mm.any():
            instance = None if instances is None else instances[frame.index].astype(np.int32)
            rgb = _rgb(frame.read_color(), depth_mm.shape)
            yield View(f"{scan.id}_{frame.index:06d}", depth_mm, rgb, instance)
        else:
            print(f"{scan.id} frame {frame.index} has no depth reading and is left out")


def _rgb(data: bytes, size: tuple[int, ...]) -> np.ndarray | None:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        return None
    return np.asarray(cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA))


def _spaced(items: Sequence[_T], count: int) -> list[_T]:
    indices = np.linspace(0, len(items) - 1, min(len(items), count)).astype(int)
    return [items[index] for index in sorted(set(indices.tolist()))]


def main(arguments: argparse.Namespace) -> int:
    """Explores every path of the command line; returns 1 if frames were skipped."""
    chosen = [view for path in arguments.paths for view in views(path, arguments.frames)]
    if not chosen:
        raise ValueError(f"no frame with depth in {', '.join(map(str, arguments.paths))}")
    table, skipped = explore(chosen, arguments.out)
    print(table)
    print(f"pictures and table.csv are in {arguments.out}")
    if skipped:
        print(f"{len(skipped)} skipped:", *skipped, sep="\n  ")
    return 1 if skipped else 0


def parser() -> command_line.Parser:
    """Returns the parser of the command line."""
    parser = command_line.Parser(prog="python -m psp_jax.explore", description=__doc__)
    parser.add_argument(
        "paths",
        nargs="+",
        type=command_line.path,
        metavar="PATH",
        help="depth PNG, .sens or folder",
    )
    parser.add_argument(
        "--out",
        type=command_line.path,
        default="explore",
        help="folder of the pictures and table.csv",
    )
    parser.add_argument(
        "--frames",
        type=command_line.positive_int,
        default=4,
        help="number of frames, evenly spaced over each recording (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    command_line.run(main, parser())
