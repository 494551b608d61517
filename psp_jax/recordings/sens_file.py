"""The official layout: one `.sens` file for each scan."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np

from psp_jax.recordings import sens


@dataclasses.dataclass(frozen=True)
class SensFile:
    """A scan as ScanNet's download script lays it out: `sceneXXXX_YY/sceneXXXX_YY.sens`."""

    id: str
    path: pathlib.Path

    @contextlib.contextmanager
    def open(self) -> Iterator["SensRecording"]:
        """Opens the file and reads its header."""
        with sens.Reader(self.path) as reader:
            yield SensRecording(reader)

    def count(self, stride: int) -> int:
        """Returns the frames that the header promises, or that the file has room for."""
        try:
            with sens.Reader(self.path) as reader:
                room = self.path.stat().st_size // sens.FRAME_HEADER_BYTES
                return -(-min(reader.header.frames, room) // stride)
        except (sens.SensError, OSError):
            return 0

    def stamp(self) -> str:
        """Returns size and time of the file."""
        found = self.path.stat()
        return f"{found.st_size} {found.st_mtime_ns}"


class SensRecording:
    """An opened `.sens` file."""

    note = ""

    def __init__(self, reader: sens.Reader):
        """Takes an open reader."""
        self._reader = reader
        self.intrinsic_depth = reader.header.intrinsic_depth[:3, :3]
        self.depth_size = reader.header.depth_size
        self.color_size = reader.header.color_size

    def frames(self, stride: int) -> Iterator["SensFrame"]:
        """Yields every `stride`-th frame."""
        for place in self._reader.places(stride):
            yield SensFrame(self._reader, place)


@dataclasses.dataclass(frozen=True)
class SensFrame:
    """A frame of an open `.sens` file."""

    reader: sens.Reader
    place: sens.Place

    @property
    def index(self) -> int:
        """Position in the recording."""
        return self.place.index

    def read_pose(self) -> np.ndarray:
        """Returns the pose, read already."""
        return self.place.camera_to_world

    def read_color(self) -> bytes:
        """Reads the JPEG."""
        return self.reader.read_color(self.place)

    def read_depth(self) -> np.ndarray:
        """Reads and decompresses depth."""
        return sens.decode_depth(self.reader.read_depth(self.place), self.reader.header)


def recognise(id: str, folder: pathlib.Path, entries: set[str]) -> SensFile | None:
    """Returns the scan of a folder that holds a `.sens` of the scan's name."""
    name = f"{id}.sens"
    return SensFile(id, folder / name) if name in entries else None
