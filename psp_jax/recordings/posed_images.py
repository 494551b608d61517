"""ScanNet as mmdetection3d exports it: `00000.jpg`, `.png` and `.txt` in one folder.

Older versions export no depth. `intrinsic.txt` belongs to the colour camera; ScanNet's two cameras
differ by the size of their images only.
"""

import dataclasses
import pathlib
import re

from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import cameras, file_frames, listing
from psp_jax.recordings.recognition import Recognised
from psp_jax.recordings.recording import Calibration

_INDEX = re.compile(r"\d{1,9}", re.ASCII)
_KINDS = {".jpg": "color", ".jpeg": "color", ".png": "depth", ".txt": "pose"}


@dataclasses.dataclass(frozen=True)
class Export(file_frames.FileRecording):
    """A scan; see `recording.Recording`."""

    def calibration(self) -> Calibration:
        """Reads the intrinsics, or takes ScanNet's nominal ones."""
        size = self.first_size("depth")
        if path := listing.read(self.path).file("intrinsic.txt"):
            matrix = cameras.read_intrinsics(path)
            return Calibration(cameras.resized(matrix, self.first_size("color"), size), size)
        note = f"{self.id} has no intrinsic.txt; {cameras.SCANNET.note}"
        return Calibration(cameras.SCANNET.intrinsics(size), size, note=note)

    def units_per_m(self) -> float:
        """Returns ScanNet's 1000."""
        return MM_PER_M

    def by_index(self) -> dict[int, file_frames.Files]:
        """Lists the numbered files."""
        return _by_index(listing.read(self.path))


def recognise(folder: listing.Listing, id: str, depth_scale: float | None) -> Recognised | None:
    """Returns the scan of a folder that has colour, depth and pose of the same number."""
    if not any(len(files) == 3 for files in _by_index(folder).values()):
        return None
    return Recognised((Export(id, folder.path, depth_scale),))


def _by_index(folder: listing.Listing) -> dict[int, file_frames.Files]:
    files: dict[int, dict[str, pathlib.Path]] = {}
    for path in folder.files:
        kind = _KINDS.get(path.suffix.lower())
        if kind and _INDEX.fullmatch(path.stem):
            files.setdefault(int(path.stem), {})[kind] = path
    return dict(sorted(files.items()))
