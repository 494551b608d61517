"""Finds what a data set is made from: recordings in a folder, or another TFDS data set.

The latter needs the features `image`, stored as JPEG or PNG, and `depth`, as `nyu_depth_v2` has.
Each of its splits is read as one recording. Poses and intrinsics are unknown.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from psp_jax.io.units import MM_PER_M, to_millimetres
from psp_jax.recordings import depth_units, layouts, recognition, recording

TFDS = "tfds"  # Key of the option that names a TFDS data set.
TOLERANT = "tolerant"  # Key of the option that damaged images are read; see `examples.Recipe`.


def survey(folder: str, options: Mapping[str, Any]) -> layouts.Survey:
    """Finds the recordings.

    Args:
        folder: the folder of the recordings, or of the TFDS data sets.
        options: keyword arguments of `layouts.survey`; or `tfds`, the name of a data set and
            possibly its configuration, and `depth_scale`, its units of depth per metre: by default
            1 for floats and 1000 for integers.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if an option is wrong, or the TFDS data set can't be read.
    """
    options = {name: value for name, value in options.items() if name != TOLERANT}
    if TFDS not in options:
        return layouts.survey(folder, **options)
    directory = _directory(pathlib.Path(folder), options[TFDS])
    scale, name = options.get("depth_scale"), options[TFDS].replace("/", "_")
    info = _opened(os.fspath(directory)).info
    is_float = np.issubdtype(info.features["depth"].np_dtype, np.floating)
    units = scale or (1.0 if is_float else MM_PER_M)
    scans = [TfdsRecording(f"{name}_{split}", directory, split, units) for split in info.splits]
    found = recognition.Recognised(sorted(scans, key=lambda scan: scan.id))
    found = recognition.measured(found, len(scans), scale)
    notes = (f"{options[TFDS]}: {len(scans)} splits", *depth_units.lines_of(found.choices))
    return layouts.Survey(tuple(found.recordings), dict(found.refused), notes)


@dataclasses.dataclass(frozen=True)
class TfdsFrame:
    """An example of a TFDS data set; see `recording.Frame`."""

    index: int
    source: Any
    units_per_m: float

    def read_pose(self) -> Any:
        """Returns None: there is no pose."""
        return None

    def read_color(self) -> bytes:
        """Returns the JPEG or PNG as it is stored."""
        return self._example()["image"]

    def read_values(self) -> np.ndarray:
        """Returns `[H, W]` depth as it is stored, 0 where it is not finite."""
        depth = np.asarray(self._example()["depth"])
        if depth.ndim == 3 and depth.shape[-1] == 1:
            depth = depth[..., 0]
        if depth.ndim != 2 or depth.dtype.kind not in "fu":
            raise recording.Damaged(
                f"depth: expected [H, W] floats or unsigned integers, got {depth.dtype} "
                f"{depth.shape}"
            )
        return np.where(np.isfinite(depth), depth, np.zeros((), depth.dtype))

    def read_depth(self) -> np.ndarray:
        """Returns `[H, W]` uint16 millimetres; 0 marks no reading."""
        return to_millimetres(self.read_values().astype(np.float64) / self.units_per_m)

    def _example(self) -> dict[str, Any]:
        try:
            return self.source[self.index]
        except Exception as error:  # TFDS has no type for its errors.
            raise recording.Damaged(f"TFDS can't read it: {error}") from error


@dataclasses.dataclass(frozen=True)
class TfdsRecording:
    """A split of a TFDS data set as a recording; see `recording.Recording`.

    Attributes:
        id: name of the data set and the split.
        path: folder of its version.
        split: name of the split.
        units_per_m: units of depth per metre.
    """

    id: str
    path: pathlib.Path
    split: str
    units_per_m: float

    def calibration(self) -> recording.Calibration:
        """Takes the size of the first depth image; raises Damaged if there is none."""
        for frame in self.frames(1):
            height, width = frame.read_depth().shape
            unknown: Any = None  # Recordings without intrinsics have none.
            return recording.Calibration(unknown, (height, width))
        raise recording.Damaged(f"the split {self.split} is empty")

    def frames(self, stride: int) -> Iterator[TfdsFrame]:
        """Yields every `stride`-th example."""
        decoders = {"image": tfds.decode.SkipDecoding()}
        source = _opened(os.fspath(self.path)).as_data_source(self.split, decoders=decoders)
        for index in range(0, len(source), stride):
            yield TfdsFrame(index, source, self.units_per_m)

    def count(self, stride: int) -> int:
        """Returns the number of frames."""
        return -(-_opened(os.fspath(self.path)).info.splits[self.split].num_examples // stride)

    def stamp(self) -> str:
        """Returns number, total size and newest time of the files of the data set."""
        stats = [path.stat() for path in self.path.iterdir() if path.is_file()]
        newest = max(stat.st_mtime_ns for stat in stats)
        return f"{len(stats)} {sum(stat.st_size for stat in stats)} {newest}"


def _directory(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the folder of the newest version of a data set."""
    versions = sorted(path.parent for path in (folder / name).glob("*/dataset_info.json"))
    if not versions:
        raise FileNotFoundError(
            f"--tfds={name}: there is no {folder / name}/VERSION/dataset_info.json; prepare it "
            "with TFDS and file_format='array_record', and name its configuration, as NAME/CONFIG"
        )
    return versions[-1]


@functools.lru_cache(maxsize=2)
def _opened(directory: str) -> Any:
    """Opens a data set; raises ValueError if it can't be read frame by frame."""
    builder: Any = tfds.builder_from_directory(directory)
    features, file_format = builder.info.features, builder.info.file_format
    if missing := {"image", "depth"} - set(features):
        raise ValueError(
            f"--tfds: expected the features image and depth in {directory}, got "
            f"{', '.join(sorted(features))} without {' and '.join(sorted(missing))}"
        )
    if file_format.value != "array_record":
        raise ValueError(
            f"--tfds: expected a data set in array_record, got {file_format.value} in {directory}; "
            "prepare it again with file_format='array_record'"
        )
    return builder
