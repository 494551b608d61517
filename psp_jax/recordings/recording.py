"""Defines a recording: an RGB-D scan on disk, in any layout, whose frames are read on demand."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np


class Damaged(ValueError):
    """A recording or a frame that can't be read; the message says why."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The cameras of a recording.

    Attributes:
        intrinsic_depth: `[3, 3]` float32 camera matrix of the depth images in pixels; None if it
            is not known.
        depth_size: (height, width) of the depth images in pixels.
        color_size: (height, width) of the colour images in pixels; None if it is not stated.
        note: a warning for the user, such as that the intrinsics are nominal; usually empty.
    """

    intrinsic_depth: np.ndarray | None
    depth_size: tuple[int, int]
    color_size: tuple[int, int] | None = None
    note: str = ""


class Frame(Protocol):
    """One frame; its files are read when a method is called.

    Each method raises Damaged or OSError if its data is missing or can't be used.
    """

    @property
    def index(self) -> int:
        """Index in the recording, from 0; an export that skips frames keeps their indices."""
        ...

    def read_pose(self) -> np.ndarray | None:
        """Returns `[4, 4]` float32, camera to world in metres, or None if none was recorded.

        It is not finite where tracking was lost.
        """
        ...

    def read_color(self) -> bytes:
        """Returns a complete JPEG or PNG file."""
        ...

    @property
    def units_per_m(self) -> float:
        """Units of a stored depth value per metre."""
        ...

    def read_values(self) -> np.ndarray:
        """Returns `[H, W]` depth in the units that are stored; 0 marks no reading."""
        ...

    def read_depth(self) -> np.ndarray:
        """Returns `[H, W]` uint16 millimetres along the optical axis; 0 marks no reading."""
        ...


class Recording(Protocol):
    """An RGB-D scan on disk; small and picklable, so that it can be sent to other processes."""

    @property
    def id(self) -> str:
        """Id of the scan, such as `scene0000_00`: ASCII letters, digits, `_` and `-`."""
        ...

    @property
    def path(self) -> pathlib.Path:
        """The file or folder that holds it."""
        ...

    def calibration(self) -> Calibration:
        """Reads the intrinsics and the sizes of the images.

        Raises:
            Damaged: if they can't be read.
        """
        ...

    def frames(self, stride: int) -> Iterator[Frame]:
        """Yields the first existing frame of every `stride` indices, in order.

        A collection of stills, such as the labelled set of NYU Depth v2, yields all of its frames.

        Raises:
            Damaged: if the rest can't be read; the frames before it have been yielded.
        """
        ...

    def count(self, stride: int) -> int:
        """Returns the number of frames that `frames` yields at most; 0 if it can't be read."""
        ...

    def stamp(self) -> str:
        """Returns sizes and times of the files as text, which differs once they have changed."""
        ...
