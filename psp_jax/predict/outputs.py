"""Encodes the outputs of a frame and keeps a folder of results that can be resumed.

The folder holds `settings.json`, which names the run and the options, `frames.jsonl`, a line for
every finished frame, and a folder for each kind of output. Files are written atomically, and a
frame is finished once its line exists.
"""

import csv
import io
import json
import pathlib
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from psp_jax.evaluation import plots
from psp_jax.io import files, units
from psp_jax.partition import merging
from psp_jax.predict.frames import Frame
from psp_jax.predict.predictor import DecodedPrediction

SETTINGS_FILE = "settings.json"
FRAMES_FILE = "frames.jsonl"
KINDS = ("depth", "classes", "regions", "overlay", "arrays", "tables", "page")
RECORD = ("name", "source", "changed_ns", "files")  # Fields of a line of FRAMES_FILE.
MAX_REGIONS = 1 << 16
Files = dict[str, bytes]  # Contents by path below the folder of results.
# Makes the files of a frame from its name, image `[H, W, 3]` uint8 RGB and prediction.
Encode = Callable[[str, np.ndarray, DecodedPrediction], Files]


class Folder:
    """A folder of results of one run with one set of options."""

    def __init__(self, path: pathlib.Path, settings: Mapping[str, Any], *, overwrite: bool):
        """Opens a folder to resume its results or to start from nothing.

        Args:
            path: created if it does not exist.
            settings: everything that the results depend on, as JSON values.
            overwrite: whether earlier results are deleted first.

        Raises:
            ValueError: if it holds other files, or results of other settings.
        """
        self.path = path
        self._lock = threading.Lock()
        if overwrite:
            self._clear()
        stored = self._settings()
        if stored is None and path.is_dir() and any(path.iterdir()) and not overwrite:
            raise ValueError(
                f"--out={path} holds files that this program did not write; choose another folder "
                "or add --overwrite"
            )
        if stored is not None and stored != settings:
            names = [k for k in {**stored, **settings} if stored.get(k) != settings.get(k)]
            changes = "; ".join(f"{n}: {stored.get(n)} -> {settings.get(n)}" for n in sorted(names))
            raise ValueError(
                f"--out={path} holds results of other settings ({changes}); choose another folder "
                "or add --overwrite"
            )
        self.write({SETTINGS_FILE: (json.dumps(settings, indent=2) + "\n").encode()})
        self._finished = self._read_finished()

    def holds(self, frame: Frame, required: Sequence[str]) -> bool:
        """Returns whether all files of a frame exist, including those that are `required`.

        Raises:
            ValueError: if they belong to another frame of the same name.
        """
        record = self._finished.get(frame.name)
        if record is None:
            return False
        if record["source"] != frame.source:
            raise ValueError(
                f"{self.path} already holds results of this name from {record['source']}; choose "
                "another folder"
            )
        written = record["files"]
        is_whole = set(required) <= set(written) and all((self.path / n).is_file() for n in written)
        return is_whole and record["changed_ns"] == frame.changed_ns

    def write(self, contents: Files) -> None:
        """Writes files, each atomically."""
        for name, data in contents.items():
            files.write(self.path / name, data)

    def finish(self, frame: Frame, contents: Files) -> None:
        """Writes the files of a frame and marks it finished; safe to call from several threads."""
        self.write(contents)
        record = {**vars(frame), "files": sorted(contents)}
        with self._lock:
            self._finished[frame.name] = record
            with (self.path / FRAMES_FILE).open("a") as file:
                file.write(json.dumps(record) + "\n")

    def _clear(self) -> None:
        """Deletes the results in a folder that this program wrote; leaves any other alone."""
        if self._settings() is not None:
            for kind in KINDS:
                shutil.rmtree(self.path / kind, ignore_errors=True)
            for name in (FRAMES_FILE, SETTINGS_FILE):
                (self.path / name).unlink(missing_ok=True)

    def _settings(self) -> dict | None:
        try:
            return dict(json.loads((self.path / SETTINGS_FILE).read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, NotADirectoryError) as error:
            raise ValueError(f"--out={self.path} is not a folder of results: {error}") from None

    def _read_finished(self) -> dict[str, dict]:
        path = self.path / FRAMES_FILE
        finished = {}
        if not path.exists():
            return finished
        for line in path.read_text(errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # A killed run left this line unfinished.
            if isinstance(record, dict) and set(RECORD) <= record.keys():
                finished[record["name"]] = record
        # Rewritten, so that no new line is appended to an unfinished one.
        files.write(path, "".join(json.dumps(record) + "\n" for record in finished.values()))
        return finished


def as_pngs(name: str, image: np.ndarray, decoded: DecodedPrediction) -> Files:
    """Encodes depth, classes, regions and overlay of a frame, as far as they are predicted.

    Raises:
        ValueError: if a value does not fit 16 bits.
    """
    contents = {}
    if decoded.depth_m is not None:
        largest_m, limit_m = decoded.depth_m.max(), units.MAX_DEPTH_MM / units.MM_PER_M
        if largest_m > limit_m:
            raise ValueError(
                f"expected depth up to {limit_m} m, got {largest_m:.1f} m, which does not fit 16 "
                "bits; use --format=npz"
            )
        contents[f"depth/{name}.png"] = encoded(units.to_millimetres(decoded.depth_m, minimum=1))
    if decoded.classes is not None:
        contents[f"classes/{name}.png"] = encoded(decoded.classes)
    if decoded.regions is not None:
        count = int(decoded.regions.max()) + 1
        if count > MAX_REGIONS:
            raise ValueError(
                f"expected at most {MAX_REGIONS} regions, got {count} regions, which do not fit 16 "
                "bits; use --format=npz"
            )
        contents[f"regions/{name}.png"] = encoded(decoded.regions.astype(np.uint16))
        contents[f"overlay/{name}.png"] = encoded(plots.outlined(image, decoded.regions))
    return contents


def as_arrays(name: str, image: np.ndarray, decoded: DecodedPrediction) -> Files:
    """Encodes the arrays of a frame, without the image, as one compressed file."""
    arrays = {key: value for key, value in vars(decoded).items() if value is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return {f"arrays/{name}.npz": buffer.getvalue()}


FORMATS: dict[str, Encode] = {"png": as_pngs, "npz": as_arrays}  # By the value of --format.


class Region(NamedTuple):
    """Measurements of a region.

    Attributes:
        area_px: number of pixels.
        mean_depth_m: mean depth in metres; None if depth is not predicted.
        neighbours: numbers of the adjacent regions, ascending.
    """

    area_px: int
    mean_depth_m: float | None
    neighbours: list[int]


def measure(decoded: DecodedPrediction) -> list[Region]:
    """Measures every region; returns an empty list if there are none."""
    labels = decoded.regions
    if labels is None:
        return []
    count = int(labels.max()) + 1
    areas = np.bincount(labels.ravel(), minlength=count)
    means: list[float | None] = [None] * count
    if decoded.depth_m is not None:
        totals = np.bincount(labels.ravel(), decoded.depth_m.ravel().astype(np.float64), count)
        means = (totals / areas).tolist()
    neighbours = [[] for _ in range(count)]
    for first, second in merging.adjacency(labels, count)[0].tolist():
        neighbours[first].append(second)
        neighbours[second].append(first)
    return [
        Region(*row) for row in zip(areas.tolist(), means, map(sorted, neighbours), strict=True)
    ]


def as_table(name: str, regions: Sequence[Region]) -> Files:
    """Encodes the measurements of regions as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("region", *Region._fields))
    for number, (area_px, mean_depth_m, neighbours) in enumerate(regions):
        depth = "" if mean_depth_m is None else f"{mean_depth_m:.4f}"
        table.writerow((number, area_px, depth, " ".join(map(str, neighbours))))
    return {f"tables/{name}.csv": text.getvalue().encode()}


def encoded(pixels: np.ndarray, suffix: str = ".png", *parameters: int) -> bytes:
    """Encodes `[H, W]` numbers or `[H, W, 3]` RGB as an image file."""
    done, data = cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels, parameters)
    if not done:
        raise ValueError(f"OpenCV can't encode an image of {pixels.dtype} {pixels.shape}")
    return data.tobytes()
