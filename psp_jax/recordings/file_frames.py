"""Recordings with one file per image: what the layouts of that kind have in common."""

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from psp_jax.recordings import depth_images, images
from psp_jax.recordings.recording import Calibration, Damaged

_T = TypeVar("_T")
Files = Mapping[str, pathlib.Path]  # By kind: color, depth, pose.
# Corrects `[H, W]` values of a depth file; a function of a module, so that it can be pickled.
Correct = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class FileFrame:
    """A frame in separate files; see `recording.Frame`.

    Attributes:
        index: number of the frame.
        files: paths by kind: color, depth and pose (text of 16 numbers).
        units_per_m: units of a depth value per metre.
        has_poses: whether the recording has poses, so that a missing file is damage.
        correct: applied to depth values before they are converted, or None.
        camera_to_world: `[4, 4]` float32, where the poses of all frames share a file, or None.
    """

    index: int
    files: Files
    units_per_m: float
    has_poses: bool = False
    correct: Correct | None = None
    camera_to_world: np.ndarray | None = None

    @property
    def path(self) -> pathlib.Path:
        """The colour file, or else the depth file."""
        return self.files.get("color") or self._path("depth")

    def read_pose(self) -> np.ndarray | None:
        """Reads four lines of four numbers as `[4, 4]` float32; None if there are no poses."""
        if not self.has_poses:
            return self.camera_to_world
        return read_matrix(self._path("pose"))

    def read_color(self) -> bytes:
        """Reads the file, which becomes a PNG if it is neither that nor a JPEG."""
        return images.as_jpeg_or_png(read_bytes(self._path("color")))

    def read_values(self) -> np.ndarray:
        """Reads `[H, W]` depth in the units of the file."""
        depth = depth_images.decode(read_bytes(self._path("depth")))
        return self.correct(depth) if self.correct else depth

    def read_depth(self) -> np.ndarray:
        """Reads the file as `[H, W]` uint16 millimetres."""
        return depth_images.to_millimetres(self.read_values(), self.units_per_m)

    def _path(self, kind: str) -> pathlib.Path:
        if kind not in self.files:
            raise Damaged(f"there is no {kind} file")
        return self.files[kind]


@dataclasses.dataclass(frozen=True)
class FileRecording(abc.ABC):
    """A recording with one file per image; see `recording.Recording`.

    Attributes:
        id: id of the recording.
        path: its folder.
        depth_scale: units of depth per metre, instead of those that the layout states; or None.
    """

    id: str
    path: pathlib.Path
    depth_scale: float | None = None

    @abc.abstractmethod
    def calibration(self) -> Calibration:
        """Reads the intrinsics, if there are any, and the size of the first depth image."""

    @abc.abstractmethod
    def units_per_m(self) -> float:
        """Returns the units of depth per metre that the layout states."""

    @abc.abstractmethod
    def by_index(self) -> dict[int, Files]:
        """Lists the files of every frame, in order."""

    def correct(self) -> Correct | None:
        """Returns the correction of depth values, if the layout needs one."""
        return None

    def poses(self, frames: Mapping[int, Files]) -> Mapping[int, np.ndarray]:
        """Reads the poses by index, where one file holds all of them."""
        return {}

    def frames(self, stride: int) -> Iterator[FileFrame]:
        """Yields the first existing frame of every `stride` indices."""
        units_per_m, correct = self.depth_scale or self.units_per_m(), self.correct()
        files_by_index = self.by_index()
        poses = self.poses(files_by_index)
        has_poses = any("pose" in files for files in files_by_index.values())
        for index, files in one_per_window(files_by_index.items(), stride):
            pose = poses.get(index)
            yield FileFrame(index, files, units_per_m, has_poses, correct, pose)

    def count(self, stride: int) -> int:
        """Returns the number of frames; 0 if the folder can't be read."""
        try:
            return sum(1 for _ in one_per_window(self.by_index().items(), stride))
        except (OSError, Damaged):
            return 0

    def stamp(self) -> str:
        """Returns number, total size and newest time of the files."""
        stats = [path.stat() for files in self.by_index().values() for path in files.values()]
        newest = max((stat.st_mtime_ns for stat in stats), default=0)
        return f"{len(stats)} {sum(stat.st_size for stat in stats)} {newest} {self.depth_scale}"

    def first_size(self, kind: str) -> tuple[int, int]:
        """Returns the (height, width) of the first image of a kind whose header can be read.

        Raises:
            Damaged: if there is none.
        """
        measure = depth_images.size if kind == "depth" else images.size_of
        for files in self.by_index().values():
            if kind in files:
                try:
                    return measure(read_bytes(files[kind]))
                except (Damaged, OSError):
                    continue
        raise Damaged(f"no {kind} image can be read")


def read_matrix(path: pathlib.Path) -> np.ndarray:
    """Reads `[4, 4]` float32 from a text file of 16 numbers, which may be -inf.

    Raises:
        Damaged: if it holds anything else.
    """
    return matrix_of(read_bytes(path).decode("ascii", "replace").split(), path.name)


def matrix_of(words: list[str], name: str) -> np.ndarray:
    """Reads `[4, 4]` float32 from 16 words.

    Raises:
        Damaged: if they are anything else; `name` is that of the file.
    """
    try:
        values = np.array([float(word) for word in words], np.float64)
    except ValueError:
        values = np.empty(0)
    if values.size != 16:
        raise Damaged(f"{name}: expected 16 numbers, got {' '.join(words)[:60]!r}")
    with np.errstate(over="ignore"):  # Beyond float32 they become infinite, which is not valid.
        return values.reshape(4, 4).astype(np.float32)


def one_per_window(indexed: Iterable[tuple[int, _T]], stride: int) -> Iterator[tuple[int, _T]]:
    """Keeps the first existing item of every window of `stride` indices.

    A complete recording keeps the indices 0, `stride`, 2 `stride`, ... An export that holds every
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


def read_bytes(path: pathlib.Path) -> bytes:
    """Reads a file of at most `images.MAX_FILE_BYTES`.

    Raises:
        Damaged: if it is larger.
    """
    size = path.stat().st_size
    if size > images.MAX_FILE_BYTES:
        raise Damaged(f"{path.name}: expected at most {images.MAX_FILE_BYTES} bytes, got {size}")
    return path.read_bytes()
