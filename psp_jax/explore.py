"""Cuts depth images with every algorithm, to choose labels with open eyes (thesis, chapter 3.2).

    python -m psp_jax.explore PATH... --out=explore

takes depth PNGs (16 bit, millimetres), folders of them (with colour under `color/` beside
`depth/`), `.sens` files, and folders of scans in any layout that the data set builder reads. It
writes one picture a frame and prints one table. It reads people's own files as the builder does,
so this program, unlike the rest of the package, imports the builder's readers.
"""

import dataclasses
import itertools
import math
import pathlib
import time
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from psp_jax.evaluation import plots
from psp_jax.io import command_line
from psp_jax.io.units import MM_PER_M
from psp_jax.partition import fill, flooding, frontier_classes, planar, scores, superpixels
from psp_jax.recordings import layouts, recording, sens

RADIUS_PX = 2  # Boundaries this near count as found, as in the superpixel benchmarks at 480x640.
ALGORITHMS: dict[str, superpixels.Superpixels] = {
    "SEEDS": superpixels.Seeds(),
    "SLIC": superpixels.Slic(),
    "LSC": superpixels.Lsc(),
    "watershed": superpixels.Watershed(),
    "planar": planar.Planar(),
}
COLUMNS = {
    "regions": "{:9.0f}",
    "cracks": "{:9.0f}",
    "at jumps": "{:9.3f}",
    "interior": "{:9.3f}",
    "expl.var": "{:9.3f}",
    "recall": "{:9.3f}",
    "objects": "{:9.3f}",
    "ms": "{:9.1f}",
}


@dataclasses.dataclass(frozen=True)
class View:
    """One frame to look at.

    Attributes:
        name: what its picture is called.
        depth_mm: `[H, W]` uint16 millimetres; 0 marks no reading.
        rgb: `[H, W, 3]` uint8, or None.
        instance: `[H, W]` integers, the true objects, or None where no one knows them.
    """

    name: str
    depth_mm: np.ndarray
    rgb: np.ndarray | None = None
    instance: np.ndarray | None = None


def views(path: pathlib.Path, frames: int) -> Iterator[View]:
    """Yields up to so many frames of a file or folder, evenly spread over it.

    Raises:
        ValueError: if a file is no depth image or scan.
        FileNotFoundError: if there is nothing to read.
    """
    if path.suffix == ".png" and path.is_file():
        yield _png(path)
    elif path.suffix == ".sens" and path.is_file():
        yield from _scan(sens.SensRecording(path), frames)
    elif path.is_dir():
        images = sorted(path.glob("**/depth/*.png")) or sorted(path.glob("*.png"))
        is_scans = any(path.glob("**/scene*_*"))
        if images and not is_scans:
            yield from (_png(images[index]) for index in _spread(len(images), frames))
        else:
            scans = layouts.survey(path).recordings
            for index in _spread(len(scans), frames):
                yield from _scan(scans[index], max(1, frames // len(scans)))
    else:
        raise FileNotFoundError(f"{path}: a .png, a .sens or a folder of them was expected")


def measure(
    cut: superpixels.Superpixels, view: View, filled_mm: np.ndarray
) -> tuple[np.ndarray, dict[str, float]]:
    """Cuts a frame and returns the labels with the figures of `COLUMNS`.

    `at jumps` is the share of crack edges near a step of the readings, `recall` the share of those
    steps that are found, and `objects` the recall of the true objects' outlines, NaN if unknown.
    """
    cut(filled_mm)  # Compiled on first use, which is no part of its time.
    began_s = time.perf_counter()
    labels = cut(filled_mm)
    elapsed_s = time.perf_counter() - began_s
    found, steps = scores.boundary(labels), scores.jumps(view.depth_mm)
    objects = float("nan")
    if view.instance is not None:
        outlines = scores.boundary(view.instance)
        objects = scores.boundary_recall(found, outlines, radius_px=RADIUS_PX)
    return labels, {
        "regions": float(labels.max() + 1),
        "cracks": float(scores.crack_edges(labels)),
        "at jumps": scores.crack_edges_near(labels, steps, radius_px=RADIUS_PX),
        "interior": 1.0 - float(found.mean()),
        "expl.var": scores.explained_variation(labels, filled_mm),
        "recall": scores.boundary_recall(found, steps, radius_px=RADIUS_PX),
        "objects": objects,
        "ms": 1000 * elapsed_s,
    }


def explore(chosen: Sequence[View], out: pathlib.Path) -> str:
    """Writes a picture of every view and `table.csv` into `out`; returns the table of means."""
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ALGORITHMS}
    lines = [",".join(("frame", "algorithm", *COLUMNS))]
    for view in chosen:
        filled_mm, _ = fill.fill_nearest(view.depth_mm)
        partitions = {}
        for name, cut in ALGORITHMS.items():
            partitions[name], figures = measure(cut, view, filled_mm)
            rows[name].append(figures)
            lines.append(",".join((view.name, name, *(f"{v:.6g}" for v in figures.values()))))
        plots.partition_sheet(
            out / f"{view.name}.png",
            filled_mm / np.float32(MM_PER_M),
            view.rgb,
            partitions,
            {name: frontier_classes.encode(labels) for name, labels in partitions.items()},
            {"watershed": _relief_and_markers(filled_mm)},
        )
    (out / "table.csv").write_text("\n".join(lines) + "\n")
    table = [f"{'mean of ' + str(len(chosen)) + ' frames':18}" + _header()]
    for name, figures in rows.items():
        means = {key: _mean([row[key] for row in figures]) for key in COLUMNS}
        table.append(f"{name:18}" + "".join(COLUMNS[key].format(means[key]) for key in COLUMNS))
    return "\n".join(table)


def _mean(values: list[float]) -> float:
    """Averages what is known; NaN if nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else float("nan")


def _header() -> str:
    return "".join(f"{name:>9}" for name in COLUMNS)


def _relief_and_markers(filled_mm: np.ndarray) -> np.ndarray:
    """Draws what watershed floods, with its markers in white."""
    relief = superpixels.relief(filled_mm)
    markers = np.zeros(relief.shape, np.uint8)
    seeds = flooding.place_seeds(relief, superpixels.Watershed().region_px)
    markers.reshape(-1)[seeds] = 255
    return np.maximum(relief, cv2.dilate(markers, np.ones((3, 3), np.uint8))).astype(np.float32)


def _png(path: pathlib.Path) -> View:
    depth_mm = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if depth_mm is None or depth_mm.ndim != 2 or depth_mm.dtype != np.uint16:
        raise ValueError(f"{path} is no 16-bit depth image of one channel, in millimetres")
    rgb = None
    for suffix in (".jpg", ".png"):
        color = path.parent.parent / "color" / (path.stem + suffix)
        if path.parent.name == "depth" and color.is_file():
            rgb = _rgb(color.read_bytes(), depth_mm.shape)
    return View(f"{path.parent.parent.name}_{path.stem}", depth_mm, rgb)


def _scan(scan: recording.Recording, frames: int) -> Iterator[View]:
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
            print(f"{scan.id} frame {frame.index} has no depth at all and is left out")


def _rgb(data: bytes, size: tuple[int, ...]) -> np.ndarray | None:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        return None
    return np.asarray(cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA))


def _spread(count: int, wanted: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, wanted)).astype(int).tolist()))


def main() -> None:
    """Looks at every path of the command line."""
    parser = command_line.Parser(prog="python -m psp_jax.explore", description=__doc__)
    parser.add_argument(
        "paths", nargs="+", type=pathlib.Path, metavar="PATH", help="depth PNG, .sens or folder"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, default="explore", help="folder of the pictures and table.csv"
    )
    parser.add_argument(
        "--frames", type=int, default=4, help="frames to look at, spread over each recording"
    )
    arguments = parser.parse_args()
    try:
        if arguments.frames < 1:
            raise ValueError(f"--frames={arguments.frames}: at least 1 was expected")
        chosen = [view for path in arguments.paths for view in views(path, arguments.frames)]
        if not chosen:
            raise ValueError(f"no frame with depth in {', '.join(map(str, arguments.paths))}")
        print(explore(chosen, arguments.out))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"pictures and table.csv are in {arguments.out}")


if __name__ == "__main__":
    main()
