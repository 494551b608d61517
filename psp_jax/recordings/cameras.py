"""Nominal intrinsics of depth cameras, and readers of the files that hold intrinsics."""

import dataclasses
import json
import pathlib

import numpy as np

from psp_jax.recordings import file_frames
from psp_jax.recordings.recording import Damaged

NOMINAL_SIZE = (480, 640)


@dataclasses.dataclass(frozen=True)
class NominalCamera:
    """A depth camera at `NOMINAL_SIZE`, for recordings without a calibration.

    Attributes:
        focal_px: horizontal and vertical focal length in pixels.
        centre_px: principal point (x, y) in pixels, whose centres are whole numbers.
        note: warning for the user.
    """

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    note: str

    def intrinsics(self, size: tuple[int, int]) -> np.ndarray:
        """Returns the `[3, 3]` float32 camera matrix for depth images of (height, width)."""
        (focal_x, focal_y), (centre_x, centre_y) = self.focal_px, self.centre_px
        matrix = np.array([[focal_x, 0, centre_x], [0, focal_y, centre_y], [0, 0, 1]])
        return resized(matrix, NOMINAL_SIZE, size)


SCANNET = NominalCamera(  # scene0000_00.
    (577.59, 578.73), (318.9, 242.7), "ScanNet's nominal intrinsics are used"
)
SEVEN_SCENES = NominalCamera(  # From its page; KinectFusion tracked the camera with them.
    (585.0, 585.0),
    (320.0, 240.0),
    "7-Scenes' nominal intrinsics are used, and its colour is not registered to its depth",
)
TUM = NominalCamera(  # Its page recommends the default of ROS for the registered depth.
    (525.0, 525.0), (319.5, 239.5), "the default intrinsics of ROS are used, as TUM recommends"
)
NYU = NominalCamera(  # Colour camera of the toolbox, onto which depth is projected; from 1 there.
    (518.857901, 519.469611), (324.582449, 252.736166), "the intrinsics of NYU's toolbox are used"
)


def resized(matrix: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Scales a `[3, 3]` camera matrix from images of one (height, width) to another.

    Pixel centres are whole numbers: c' = (c + 1/2) s - 1/2.
    """
    scale_y, scale_x = new[0] / old[0], new[1] / old[1]
    rows = [
        [matrix[0, 0] * scale_x, matrix[0, 1] * scale_x, (matrix[0, 2] + 0.5) * scale_x - 0.5],
        [0, matrix[1, 1] * scale_y, (matrix[1, 2] + 0.5) * scale_y - 0.5],
        [0, 0, 1],
    ]
    return np.array(rows, np.float32)


def read_intrinsics(path: pathlib.Path) -> np.ndarray:
    """Reads `[3, 3]` float32 from text of 9 or 16 numbers, or from Open3D's or similar JSON.

    Raises:
        Damaged: if it holds anything else.
    """
    text = file_frames.read_bytes(path).decode("utf-8", "replace")
    if path.suffix.lower() == ".json":
        return _from_json(text, path.name)
    try:
        values = np.array([float(word) for word in text.replace(",", " ").split()], np.float32)
    except ValueError:
        values = np.empty(0, np.float32)
    if values.size == 16:
        return values.reshape(4, 4)[:3, :3]
    if values.size == 9:
        return values.reshape(3, 3)
    raise Damaged(f"{path.name}: expected 9 or 16 numbers, got {text[:60]!r}")


def _from_json(text: str, name: str) -> np.ndarray:
    try:
        # Open3D writes the columns one after the other.
        values = np.array(json.loads(text)["intrinsic_matrix"], np.float32)
        return values.reshape(3, 3).T
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Damaged(f"{name}: expected Open3D's intrinsic_matrix of 9 numbers") from None
