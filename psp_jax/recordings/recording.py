"""What every on-disk layout gives: scans that open as recordings, whose frames decode on demand."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import numpy as np

NOMINAL_SIZE = (480, 640)


@dataclasses.dataclass(frozen=True)
class NominalCamera:
    """A depth camera at `NOMINAL_SIZE`, for recordings that come without a calibration.

    Attributes:
        focal_px, centre_px: across and down, in pixels whose centres are whole numbers.
        note: what the user should know where it is used.
    """

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    note: str

    def intrinsics(self, size: tuple[int, int]) -> np.ndarray:
        """Scales it to depth images of `size`, `[3, 3]` float32."""
        scale_y, scale_x = size[0] / NOMINAL_SIZE[0], size[1] / NOMINAL_SIZE[1]
        (focal_x, focal_y), (centre_x, centre_y) = self.focal_px, self.centre_px
        return np.array(
            [
                [focal_x * scale_x, 0, (centre_x + 0.5) * scale_x - 0.5],
                [0, focal_y * scale_y, (centre_y + 0.5) * scale_y - 0.5],
                [0, 0, 1],
            ],
            np.float32,
        )


SCANNET = NominalCamera(  # scene0000_00.
    (577.59, 578.73), (318.9, 242.7), "ScanNet's nominal intrinsics are used"
)
SEVEN_SCENES = NominalCamera(  # Those of its page, with which KinectFusion tracked the camera.
    (585.0, 585.0),
    (320.0, 240.0),
    "7-Scenes' nominal intrinsics are used, and its colour is not registered to its depth",
)


class Damaged(ValueError):
    """Data of a scan or a frame that can't be used; the message says why."""


class Frame(Protocol):
    """One frame that is read only where it is asked for.

    Attributes:
        index: position in the recording, from 0; exports that skip frames keep it in the name.
    """

    @property
    def index(self) -> int:
        """Position in the recording."""
        ...

    def read_pose(self) -> np.ndarray:
        """Returns `[4, 4]` float32, camera to world in metres; not finite if tracking was lost."""
        ...

    def read_color(self) -> bytes:
        """Returns a complete JPEG or PNG file."""
        ...

    def read_depth(self) -> np.ndarray:
        """Returns `[H, W]` uint16 millimetres along the optical axis; 0 marks no reading."""
        ...


class Recording(Protocol):
    """An opened scan."""

    @property
    def intrinsic_depth(self) -> np.ndarray:
        """Camera matrix of the depth grid in pixels, `[3, 3]` float32."""
        ...

    @property
    def depth_size(self) -> tuple[int, int]:
        """Height and width of the depth images in pixels."""
        ...

    @property
    def color_size(self) -> tuple[int, int] | None:
        """Height and width of the colour images in pixels; None if nothing states it."""
        ...

    @property
    def note(self) -> str:
        """What the user should know about this recording; usually empty."""
        ...

    def frames(self, stride: int) -> Iterator[Frame]:
        """Yields the frames to keep, in order.

        Raises:
            Damaged: where the rest can't be read; the frames before it have been yielded.
        """
        ...


class Scan(Protocol):
    """One recording on disk; small and picklable, so that it can be sent to other processes."""

    @property
    def id(self) -> str:
        """Its id, in one of the forms of `splits`."""
        ...

    @property
    def path(self) -> pathlib.Path:
        """The file or folder that holds it."""
        ...

    def open(self) -> AbstractContextManager[Recording]:
        """Opens it.

        Raises:
            Damaged: if nothing of it can be read.
        """
        ...

    def count(self, stride: int) -> int:
        """Returns the number of frames to look at, without decoding any; 0 if unreadable."""
        ...

    def stamp(self) -> str:
        """Returns sizes and times of its files; another text means that they have changed."""
        ...


_T = TypeVar("_T")


def one_of_each_window(indexed: Iterable[tuple[int, _T]], stride: int) -> Iterator[tuple[int, _T]]:
    """Keeps the first item that is there in every window of `stride` indices.

    A whole recording keeps the indices 0, `stride`, 2 `stride`, ... An export that holds every
    100th frame keeps all of them at a stride of 30, rather than the few at multiples of 300.

    Args:
        indexed: `(index, item)` with rising indices.
        stride: at least 1.
    """
    last = -1
    for index, item in indexed:
        if index // stride > last:
            last = index // stride
            yield index, item
