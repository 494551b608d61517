"""Sequences of TUM RGB-D: `rgb.txt` and `depth.txt` list files by time stamp.

`rgb/` and `depth/` without the lists are read as `pairs`, which also recognises TUM's unit.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from psp_jax.recordings import association, cameras, depth_units, file_frames, listing
from psp_jax.recordings.recognition import Recognised
from psp_jax.recordings.recording import Calibration, Damaged

_LISTS = {"color": "rgb.txt", "depth": "depth.txt"}
_POSES = "groundtruth.txt"


@dataclasses.dataclass(frozen=True)
class Sequence(file_frames.FileRecording):
    """A sequence; see `recording.Recording`.

    Colour and pose of a depth image are the nearest in time, at most `association.MAX_GAP_S` apart.
    """

    def calibration(self) -> Calibration:
        """Takes nominal intrinsics."""
        size = self.first_size("depth")
        return Calibration(
            cameras.TUM.intrinsics(size), size, note=f"{self.id}: {cameras.TUM.note}"
        )

    def units_per_m(self) -> float:
        """Returns 5000."""
        return depth_units.TUM

    def by_index(self) -> dict[int, file_frames.Files]:
        """Lists depth images with a colour image; the index counts depth images."""
        lists = {kind: _read_list(self.path / name) for kind, name in _LISTS.items()}
        stamps = [[stamp for stamp, _ in rows] for rows in lists.values()]
        return {
            j: {
                "color": self.path / lists["color"][i][1],
                "depth": self.path / lists["depth"][j][1],
            }
            for i, j in association.by_time(*stamps)
        }

    def poses(self, frames: Mapping[int, file_frames.Files]) -> Mapping[int, np.ndarray]:
        """Reads the poses nearest in time from `groundtruth.txt`, if there is one."""
        path = self.path / _POSES
        if not path.is_file():
            return {}
        rows = _rows(path, 8)
        stamps = [stamp for stamp, _ in _read_list(self.path / _LISTS["depth"])]
        pairs = association.by_time([float(row[0]) for row in rows], stamps)
        return {j: _pose(rows[i], path.name) for i, j in pairs if j in frames}


def recognise(folder: listing.Listing, id: str, depth_scale: float | None) -> Recognised | None:
    """Returns the sequence of a folder with `rgb.txt` and `depth.txt`."""
    if not all(folder.file(name) for name in _LISTS.values()):
        return None
    sequence = Sequence(id, folder.path, depth_scale)
    frames = sequence.by_index()
    if not frames:
        raise Damaged(f"rgb.txt and depth.txt have no stamps within {association.MAX_GAP_S} s")
    if depth_scale is not None:
        return Recognised((sequence,))
    # Others write millimetres in the same layout; both medians are reported.
    choice = depth_units.measure([files["depth"] for files in frames.values()], depth_units.TUM)
    return Recognised((sequence,), (choice,))


def _read_list(path: pathlib.Path) -> list[tuple[float, str]]:
    """Reads time stamps in seconds and paths; lines with `#` are comments."""
    try:
        return [(float(row[0]), row[1].lstrip("/")) for row in _rows(path, 2)]
    except ValueError:
        raise Damaged(f"{path.name}: expected lines of a time stamp and a path") from None


def _rows(path: pathlib.Path, words: int) -> list[list[str]]:
    text = file_frames.read_bytes(path).decode("utf-8", "surrogateescape")
    lines = [line.split("#")[0].replace(",", " ").split() for line in text.splitlines()]
    rows = [line for line in lines if line]
    if any(len(row) < words for row in rows):
        raise Damaged(f"{path.name}: expected lines of {words} words")
    return rows


def _pose(row: list[str], name: str) -> np.ndarray:
    """Turns stamp, tx ty tz and the quaternion qx qy qz qw into `[4, 4]` float32."""
    try:
        x, y, z, *quaternion = (float(word) for word in row[1:8])
    except ValueError:
        raise Damaged(f"{name}: expected 8 numbers, got {' '.join(row)[:60]!r}") from None
    pose = np.eye(4)
    norm = np.linalg.norm(quaternion)
    i, j, k, w = np.divide(quaternion, norm if norm > 0 else np.nan)
    pose[:3, :3] = [
        [1 - 2 * (j * j + k * k), 2 * (i * j - k * w), 2 * (i * k + j * w)],
        [2 * (i * j + k * w), 1 - 2 * (i * i + k * k), 2 * (j * k - i * w)],
        [2 * (i * k - j * w), 2 * (j * k + i * w), 1 - 2 * (i * i + j * j)],
    ]
    pose[:3, 3] = x, y, z
    return pose.astype(np.float32)
