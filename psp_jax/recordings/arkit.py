"""ARKitScenes: `lowres_wide/`, `lowres_depth/` and `lowres_wide_intrinsics/`, named by time.

Names are `VIDEO_SECONDS.png`; depth is in millimetres; a `.pincam` file holds width, height, focal
lengths and principal point. (https://github.com/apple/ARKitScenes/blob/main/DATA.md)
"""

import dataclasses

import numpy as np

from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import association, cameras, depth_images, file_frames, images, listing
from psp_jax.recordings.recognition import Recognised
from psp_jax.recordings.recording import Calibration, Damaged

_FOLDERS = {"color": "lowres_wide", "depth": "lowres_depth"}
_INTRINSICS = "lowres_wide_intrinsics"
_SUFFIXES = {"color": images.SUFFIXES, "depth": depth_images.SUFFIXES}


@dataclasses.dataclass(frozen=True)
class Video(file_frames.FileRecording):
    """A video; see `recording.Recording`."""

    def calibration(self) -> Calibration:
        """Reads the intrinsics of the first image."""
        size = self.first_size("depth")
        folder = listing.read(self.path).folder(_INTRINSICS)
        pincams = listing.read(folder).having((".pincam",)) if folder else []
        if not pincams:
            return Calibration(None, size)
        words = file_frames.read_bytes(pincams[0]).decode("ascii", "replace").split()
        try:
            width, height, focal_x, focal_y, centre_x, centre_y = map(float, words)
        except ValueError:
            raise Damaged(f"{pincams[0].name}: expected 6 numbers, got {words[:8]}") from None
        matrix = np.array([[focal_x, 0, centre_x], [0, focal_y, centre_y], [0, 0, 1]])
        return Calibration(cameras.resized(matrix, (int(height), int(width)), size), size)

    def units_per_m(self) -> float:
        """Returns 1000."""
        return MM_PER_M

    def by_index(self) -> dict[int, file_frames.Files]:
        """Lists depth images with a colour image; the index counts them."""
        folder = listing.read(self.path)
        sides = []
        for kind, name in _FOLDERS.items():
            nested = folder.folder(name)
            sides.append(listing.read(nested).having(_SUFFIXES[kind]) if nested else [])
        pairs = enumerate(association.match(*sides))
        return {index: {"color": color, "depth": depth} for index, (color, depth) in pairs}


def recognise(folder: listing.Listing, id: str, depth_scale: float | None) -> Recognised | None:
    """Returns the video of a folder with `lowres_wide/` and `lowres_depth/`."""
    if not all(folder.folder(name) for name in _FOLDERS.values()):
        return None
    video = Video(id, folder.path, depth_scale)
    return Recognised((video,)) if video.by_index() else None
