"""Exports of ScanNet's SensReader: folders of its Python tool, and flat files of its C++ tool.

`scannet_frames_25k` has the folders too. Neither of its tools states the unit of depth in folders;
they hold ScanNet's millimetres.
"""

import dataclasses
import pathlib
import re

import numpy as np

from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import cameras, file_frames, listing, scan_ids
from psp_jax.recordings.recognition import Recognised
from psp_jax.recordings.recording import Calibration, Damaged

MAX_UNITS_PER_M = 1e6  # Micrometres.
KINDS = ("color", "depth", "pose")
_INDEX = re.compile(r"\d{1,9}", re.ASCII)  # More would not fit the int32 of frame_index.
_FRAME_NAME = re.compile(r"frame-(\d{1,9})\.(color|depth|pose)\.[a-z]{3,4}", re.ASCII)
_INFO = "_info.txt"
# Files of the intrinsics in a folder export: of SensReader, of scannet_frames_25k, of others.
_INTRINSICS = ("intrinsic_depth.txt", "intrinsics_depth.txt")


@dataclasses.dataclass(frozen=True)
class FolderExport(file_frames.FileRecording):
    """A scan in the folders `color/`, `depth/` and `pose/`, one file per frame.

    The Python tool writes numbers without leading zeros, and the folder `intrinsic/`;
    `scannet_frames_25k` has `intrinsics_depth.txt` in the folder of the scan instead.
    """

    def calibration(self) -> Calibration:
        """Reads the intrinsics, or takes ScanNet's nominal ones."""
        size = self.first_size("depth")
        folder = listing.read(self.path)
        if nested := folder.folder("intrinsic"):
            path = listing.read(nested).file(*_INTRINSICS) or folder.file(*_INTRINSICS)
        else:
            path = folder.file(*_INTRINSICS)
        if path is not None:
            return Calibration(file_frames.read_matrix(path)[:3, :3], size)
        note = f"{self.id} has no intrinsic_depth.txt; {cameras.SCANNET.note}"
        return Calibration(cameras.SCANNET.intrinsics(size), size, note=note)

    def units_per_m(self) -> float:
        """Returns ScanNet's 1000."""
        return MM_PER_M

    def by_index(self) -> dict[int, file_frames.Files]:
        """Lists the numbered files of the three folders."""
        files: dict[int, dict[str, pathlib.Path]] = {}
        folder = listing.read(self.path)
        for kind in KINDS:
            subfolder = folder.folder(kind)
            for path in listing.read(subfolder).files if subfolder else ():
                if _INDEX.fullmatch(path.stem):
                    files.setdefault(int(path.stem), {})[kind] = path
        return dict(sorted(files.items()))


@dataclasses.dataclass(frozen=True)
class FlatExport(file_frames.FileRecording):
    """A scan as files `frame-000000.color.jpg`, `.depth.pgm` and `.pose.txt`, with `_info.txt`."""

    def calibration(self) -> Calibration:
        """Reads the intrinsics."""
        return Calibration(_read_info(self.path / _INFO)[1], self.first_size("depth"))

    def units_per_m(self) -> float:
        """Reads the units of depth per metre."""
        return _read_info(self.path / _INFO)[0]

    def by_index(self) -> dict[int, file_frames.Files]:
        """Lists the files named after frames."""
        return by_frame_name(listing.read(self.path))


def recognise_folders(
    folder: listing.Listing, id: str, depth_scale: float | None
) -> Recognised | None:
    """Returns the scan of a folder with `color/` and `depth/` that SensReader exported.

    Evidence is the name of a scan of ScanNet, or intrinsics.
    """
    color, depth = folder.folder("color"), folder.folder("depth")
    if not (color and depth):
        return None
    intrinsics = folder.folder("intrinsic") or folder.file(*_INTRINSICS)
    if not (intrinsics or scan_ids.is_scannet_id(id)):
        return None  # The unit of depth is not known.
    if listing.is_empty(color) or listing.is_empty(depth):
        return None
    return Recognised((FolderExport(id, folder.path, depth_scale),))


def recognise_flat(
    folder: listing.Listing, id: str, depth_scale: float | None
) -> Recognised | None:
    """Returns the scan of a folder with frames in SensReader's C++ naming and `_info.txt`."""
    if not folder.file(_INFO) or not has_depth(by_frame_name(folder)):
        return None
    return Recognised((FlatExport(id, folder.path, depth_scale),))


def by_frame_name(folder: listing.Listing) -> dict[int, file_frames.Files]:
    """Lists files such as `frame-000000.depth.pgm` by number and kind."""
    files: dict[int, dict[str, pathlib.Path]] = {}
    for path in folder.files:
        if match := _FRAME_NAME.fullmatch(path.name.lower()):
            files.setdefault(int(match[1]), {})[match[2]] = path
    return dict(sorted(files.items()))


def has_depth(by_index: dict[int, file_frames.Files]) -> bool:
    """Returns whether any frame has a depth file."""
    return any("depth" in files for files in by_index.values())


def _read_info(path: pathlib.Path) -> tuple[float, np.ndarray]:
    """Reads the depth units per metre and the `[3, 3]` depth intrinsics from an `_info.txt`."""
    lines = file_frames.read_bytes(path).decode("utf-8", "replace").splitlines()
    fields = {key.strip(): value.split() for key, _, value in (s.partition("=") for s in lines)}
    for key in ("m_depthShift", "m_calibrationDepthIntrinsic"):
        if not fields.get(key):
            raise Damaged(f"{path.name} has no {key}")
    try:
        units_per_m = float(fields["m_depthShift"][0])
    except ValueError:
        units_per_m = 0.0
    if not 1 <= units_per_m <= MAX_UNITS_PER_M:
        shift = fields["m_depthShift"][0]
        raise Damaged(f"{path}: m_depthShift: expected 1 to {MAX_UNITS_PER_M:g}, got {shift}")
    matrix = file_frames.matrix_of(fields["m_calibrationDepthIntrinsic"], path.name)
    return units_per_m, matrix[:3, :3]
