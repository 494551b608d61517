"""What prediction writes of a frame, and how it knows what is there already.

A folder of results holds `settings.json`, which says of what run and how they were made,
`frames.jsonl`, one line for every finished frame, and a folder for each kind of output. Files are
there whole or not at all, and a frame is finished once its line is there.
"""

import io
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from psp_jax.evaluation import plots
from psp_jax.io.units import MM_PER_M
from psp_jax.partition import merging
from psp_jax.predict.frames import Frame
from psp_jax.predict.predictor import ImagePrediction

SETTINGS_FILE = "settings.json"
FRAMES_FILE = "frames.jsonl"
KINDS = ("depth", "classes", "regions", "overlay", "arrays", "tables", "page")
RECORD = ("name", "source", "changed_ns", "files")  # What every line of FRAMES_FILE has.
MOST_REGIONS = 1 << 16
MOST_DEPTH_M = 65.535
Files = dict[str, bytes]  # What to write, by path below the folder of results.


class Folder:
    """A folder of results of one run with one way to write them."""

    def __init__(self, path: pathlib.Path, settings: Mapping[str, Any], *, overwrite: bool):
        """Opens a folder, to go on with what it holds or from nothing.

        Args:
            path: made if it is not there.
            settings: what makes the results what they are, as JSON knows it.
            overwrite: whether results of other settings are deleted first, rather than refused.

        Raises:
            ValueError: if it holds something else, or results of other settings.
        """
        self.path = path
        self._lock = threading.Lock()
        if overwrite:
            self._clear()
        there = self._settings()
        if there is None and path.is_dir() and any(path.iterdir()) and not overwrite:
            raise ValueError(
                f"--out={path} holds files that are no results of this command; choose another "
                "folder or add --overwrite"
            )
        if there is not None and there != settings:
            names = [k for k in {**there, **settings} if there.get(k) != settings.get(k)]
            what = "; ".join(f"{n}: {there.get(n)} -> {settings.get(n)}" for n in sorted(names))
            raise ValueError(
                f"--out={path} holds results made otherwise ({what}); choose another folder or "
                "add --overwrite"
            )
        path.mkdir(parents=True, exist_ok=True)
        self.write({SETTINGS_FILE: (json.dumps(settings, indent=2) + "\n").encode()})
        self.finished = self._finished()

    def holds(self, frame: Frame, needed: Sequence[str]) -> bool:
        """Tells whether the files of a frame, those `needed` among them, are all there.

        Raises:
            ValueError: if they are those of another frame of that name.
        """
        record = self.finished.get(frame.name)
        if record is None:
            return False
        if record["source"] != frame.source:
            raise ValueError(
                f"{self.path} has that name already, of {record['source']}; predict this one "
                "into another folder"
            )
        written = record["files"]
        is_whole = set(needed) <= set(written) and all((self.path / n).is_file() for n in written)
        return is_whole and record["changed_ns"] == frame.changed_ns

    def write(self, files: Files) -> None:
        """Writes files, each of them whole or not at all."""
        for name, data in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            partial.write_bytes(data)
            os.replace(partial, target)

    def finish(self, frame: Frame, files: Files) -> None:
        """Writes the files of a frame and that it is finished; safe from several threads."""
        self.write(files)
        values = (frame.name, frame.source, frame.changed_ns, sorted(files))
        record = dict(zip(RECORD, values, strict=True))
        with self._lock:
            self.finished[frame.name] = record
            with (self.path / FRAMES_FILE).open("a") as file:
                file.write(json.dumps(record) + "\n")

    def _clear(self) -> None:
        """Deletes results, if the folder is one of results."""
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
            raise ValueError(f"--out={self.path} is no folder of results: {error}") from None

    def _finished(self) -> dict[str, dict]:
        path = self.path / FRAMES_FILE
        finished = {}
        if path.exists():
            for line in path.read_text(errors="replace").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue  # A line that a killed run left unfinished.
                if isinstance(record, dict) and set(RECORD) <= record.keys():
                    finished[record["name"]] = record
            # What a killed run left unfinished must not swallow the next line.
            lines = "".join(json.dumps(record) + "\n" for record in finished.values())
            self.write({FRAMES_FILE: lines.encode()})
        return finished


def as_pngs(name: str, image: np.ndarray, found: ImagePrediction) -> Files:
    """Makes the depth, classes, regions and overlay of a frame, as far as there are any.

    Raises:
        ValueError: if a value does not fit 16 bits.
    """
    files = {}
    if found.depth_m is not None:
        if found.depth_m.max() > MOST_DEPTH_M:
            raise ValueError(
                f"depth of {found.depth_m.max():.1f} m; 16 bits of millimetres end at "
                f"{MOST_DEPTH_M} m, --format=npz has no such end"
            )
        # 0 would mark no reading.
        millimetres = np.maximum(np.round(found.depth_m * MM_PER_M), 1)
        files[f"depth/{name}.png"] = encoded(millimetres.astype(np.uint16))
    if found.classes is not None:
        files[f"classes/{name}.png"] = encoded(found.classes)
    if found.regions is not None:
        count = int(found.regions.max()) + 1
        if count > MOST_REGIONS:
            raise ValueError(
                f"{count} regions; 16 bits number {MOST_REGIONS}, --format=npz has no such end"
            )
        files[f"regions/{name}.png"] = encoded(found.regions.astype(np.uint16))
        files[f"overlay/{name}.png"] = encoded(plots.outlined(image, found.regions))
    return files


def as_arrays(name: str, image: np.ndarray, found: ImagePrediction) -> Files:
    """Makes the arrays of a frame as one compressed file; the image stays where it is."""
    arrays = {key: value for key, value in vars(found).items() if value is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return {f"arrays/{name}.npz": buffer.getvalue()}


def as_table(name: str, regions: list[dict]) -> Files:
    """Makes the CSV of what `measure` returned."""
    lines = ["region,area_px,mean_depth_m,neighbours"]
    for number, region in enumerate(regions):
        depth = "" if region["depth_m"] is None else f"{region['depth_m']:.4f}"
        neighbours = " ".join(map(str, region["neighbours"]))
        lines.append(f"{number},{region['area_px']},{depth},{neighbours}")
    return {f"tables/{name}.csv": ("\n".join(lines) + "\n").encode()}


def measure(found: ImagePrediction) -> list[dict]:
    """Returns area, mean depth (None if unknown) and neighbours of every region."""
    labels = found.regions
    if labels is None:
        return []
    count = int(labels.max()) + 1
    areas = np.bincount(labels.ravel(), minlength=count)
    means: list[float | None] = [None] * count
    if found.depth_m is not None:
        totals = np.bincount(labels.ravel(), found.depth_m.ravel().astype(np.float64), count)
        means = (totals / areas).tolist()
    neighbours = [[] for _ in range(count)]
    for first, second in merging.adjacency(labels, count)[0].tolist():
        neighbours[first].append(second)
        neighbours[second].append(first)
    return [
        {"area_px": area, "depth_m": mean, "neighbours": sorted(around)}
        for area, mean, around in zip(areas.tolist(), means, neighbours, strict=True)
    ]


def encoded(pixels: np.ndarray, suffix: str = ".png", *parameters: int) -> bytes:
    """Encodes `[H, W]` numbers or `[H, W, 3]` RGB as an image file."""
    done, data = cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels, parameters)
    if not done:
        raise ValueError(f"OpenCV can't encode an image of {pixels.dtype} {pixels.shape}")
    return data.tobytes()
