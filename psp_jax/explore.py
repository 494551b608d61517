"""Segments depth images with every algorithm, to compare label sets (thesis, chapter 3.2).

    python -m psp_jax.explore PATH... --out=explore

Takes depth images (16-bit PNG or PGM, TIFF, PFM, NPY, EXR), folders of them, `.sens` files, and
folders of recordings in any layout that the data set builder reads (see docs/data.md). It writes a
picture of every frame and `table.csv`, and prints a table of means.
"""

import argparse
import csv
import dataclasses
import io
import itertools
import math
import os
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
from psp_jax.recordings import file_frames, image_faults, images, inputs, recording, scan_ids

_T = TypeVar("_T")
_Chosen = tuple[str, str, recording.Frame, np.ndarray | None]  # Name, source, frame, objects.
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
        source: what messages call it: the file of its depth, or its name in a recording.
        depth_mm: `[H, W]` uint16 millimetres; 0 marks no reading.
        rgb: `[H, W, 3]` uint8, or None.
        instance: `[H, W]` integers, the true objects, or None if they are not known.
    """

    name: str
    source: str
    depth_mm: np.ndarray
    rgb: np.ndarray | None = None
    instance: np.ndarray | None = None


def views(found: inputs.Inputs, frames: int) -> tuple[list[View], list[str]]:
    """Reads about `frames` evenly spaced frames of inputs.

    Returns:
        The frames, and a line for every one, or its colour, that can't be read.
    """
    read: list[View] = []
    skipped: list[str] = []
    for name, source, frame, instance in _chosen(found, frames, skipped):
        try:
            view, damage = _view(name, source, frame, instance)
            read.append(view)
            skipped += [f"the colour of {source}: {damage}"] if damage else []
        except (recording.Damaged, OSError) as error:
            skipped.append(f"{source}: {error}")
    return read, skipped


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
    for view in progress.bar(_distinct(chosen), desc="explore", unit="frame"):
        filled_mm, _ = fill.fill_nearest(view.depth_mm)
        try:
            measured = {name: measure(each, view, filled_mm) for name, each in ALGORITHMS.items()}
        except ValueError as error:
            skipped.append(f"{view.source}: {error}")
            continue
        partitions = {name: labels for name, (labels, _) in measured.items()}
        for name, (_, metrics) in measured.items():
            rows[name].append(metrics)
            table.writerow((view.name, name, *(f"{value:.6g}" for value in metrics.values())))
        plots.partition_sheet(
            own.path(f"{view.name}.png"),
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


def _distinct(chosen: Sequence[View]) -> list[View]:
    """Numbers the views whose name another one has already."""
    views: dict[str, View] = {}
    for view in chosen:
        names = (f"{view.name}_{number}" for number in itertools.count(2))
        name = next(each for each in itertools.chain([view.name], names) if each not in views)
        views[name] = dataclasses.replace(view, name=name)
    return list(views.values())


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


def _chosen(found: inputs.Inputs, frames: int, skipped: list[str]) -> Iterator[_Chosen]:
    """Yields the frames; adds a line to `skipped` where a rest is damaged."""
    for frame in _spaced(list(found.depths.values()), frames):
        path = frame.files["depth"]
        folder = path.parents[1] if path.parent.name.lower() == "depth" else path.parent
        name = f"{scan_ids.clean(folder.name)}_{scan_ids.clean(path.stem)}"
        yield name, os.fspath(path), frame, None
    for scan in _spaced(found.recordings, frames):
        count = max(1, frames // len(found.recordings))
        stride = max(1, scan.count(1) // count)
        truth = scan.path.with_name(f"{scan.id}_truth.npz")
        instances = None
        if truth.is_file():
            with np.load(truth) as arrays:
                instances = arrays["instance"]
        try:
            for frame in itertools.islice(scan.frames(stride), count):
                instance = None if instances is None else instances[frame.index].astype(np.int32)
                name = f"{scan.id}_{frame.index:06d}"
                yield name, name, frame, instance
        except (recording.Damaged, OSError) as error:
            skipped.append(f"the rest of {scan.id} can't be read: {error}")


def _view(
    name: str, source: str, frame: recording.Frame, instance: np.ndarray | None
) -> tuple[View, Exception | None]:
    """Reads a frame; also returns why its colour can't be read, if there is any."""
    depth_mm = frame.read_depth()
    if not depth_mm.any():
        raise recording.Damaged("no depth reading")
    try:
        bgr = images.decode_color(frame.read_color(), None)
    except (recording.Damaged, OSError) as error:
        is_there = not isinstance(frame, file_frames.FileFrame) or "color" in frame.files
        return View(name, source, depth_mm, None, instance), error if is_there else None
    height, width = depth_mm.shape
    rgb = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)[..., ::-1]
    return View(name, source, depth_mm, rgb, instance), None


def _spaced(items: Sequence[_T], count: int) -> list[_T]:
    indices = np.linspace(0, len(items) - 1, min(len(items), count)).astype(int)
    return [items[index] for index in sorted(set(indices.tolist()))]


def main(arguments: argparse.Namespace) -> int:
    """Explores every path of the command line; returns 1 if frames were skipped."""
    image_faults.POLICY.tolerant = arguments.tolerant
    reading = inputs.reading(arguments)
    reading["results"] = own_files.listed(arguments.out)
    found = [inputs.find_depth(path, **reading) for path in arguments.paths]
    for note in (note for each in found for note in each.notes):
        print(note)
    read = [views(each, arguments.frames) for each in found]
    chosen = [view for part, _ in read for view in part]
    skipped = [line for _, lines in read for line in lines]
    if not chosen:
        why = "; ".join(skipped[:3])
        raise ValueError(f"no frame with depth in {', '.join(map(str, arguments.paths))}: {why}")
    table, not_segmented = explore(chosen, arguments.out)
    skipped += not_segmented
    print(table)
    total = sum(len(each.depths) for each in found)
    total += sum(scan.count(1) for each in found for scan in each.recordings)
    print(f"{len(chosen)} of {total} frames are in {arguments.out} (--frames), with table.csv")
    for line in inputs.lines_of({p: why for each in found for p, why in each.unused.items()}):
        print(line)
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
        help="depth image, .sens or folder",
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
    inputs.add_flags(parser)
    inputs.add_color_flags(parser)
    return parser


if __name__ == "__main__":
    command_line.run(main, parser())
