"""SUN RGB-D: a folder for each frame, with `image/`, `depth/`, `depth_bfx/` and more."""

import dataclasses

import numpy as np

from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import cameras, depth_images, file_frames, images, listing
from psp_jax.recordings.recognition import Recognised
from psp_jax.recordings.recording import Calibration

_INTRINSICS = "intrinsics.txt"
_FILLED = "depth_bfx"  # Beside `depth/` in all of its frames; without it, bits may not be rotated.


@dataclasses.dataclass(frozen=True)
class Still(file_frames.FileRecording):
    """A single frame; see `recording.Recording`."""

    def calibration(self) -> Calibration:
        """Reads the intrinsics."""
        path = listing.read(self.path).file(_INTRINSICS)
        intrinsics = cameras.read_intrinsics(path) if path else None
        return Calibration(intrinsics, self.first_size("depth"))

    def units_per_m(self) -> float:
        """Returns 1000, of the values with rotated bits."""
        return MM_PER_M

    def by_index(self) -> dict[int, file_frames.Files]:
        """Lists the two files."""
        return {0: _files(listing.read(self.path))}

    def correct(self) -> file_frames.Correct:
        """Returns `rotate_bits`."""
        return rotate_bits


def rotate_bits(depth: np.ndarray) -> np.ndarray:
    """Rotates 16 bits to the right by three, as read3dPoints.m of SUN's toolbox does."""
    if depth.dtype != np.uint16:
        return depth
    return (depth >> np.uint16(3)) | (depth << np.uint16(13))


def recognise(folder: listing.Listing, id: str, depth_scale: float | None) -> Recognised | None:
    """Returns the frame of a folder with one file each in `image/` and `depth/`."""
    if not (folder.file(_INTRINSICS) and folder.folder(_FILLED)):
        return None
    if len(_files(folder)) < 2:
        return None
    return Recognised((Still(id, folder.path, depth_scale),))


def _files(folder: listing.Listing) -> file_frames.Files:
    files = {}
    for kind, name, suffixes in (
        ("color", "image", images.SUFFIXES),
        ("depth", "depth", depth_images.SUFFIXES),
    ):
        nested = folder.folder(name)
        found = listing.read(nested).having(suffixes) if nested else []
        if len(found) == 1:
            files[kind] = found[0]
    return files
