"""Layouts with one file for each image: what SensReader's two tools write, and their relatives."""

import contextlib
import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from psp_jax.recordings import images, recording, scan_ids

# 7-Scenes marks pixels without a reading so, and not by 0.
SEVEN_SCENES_NO_READING = 65535
_NUMBER = re.compile(r"\d{1,9}")  # More would not fit the int32 of frame_index.
_FLAT_NAME = re.compile(r"frame-(\d{1,9})\.(color|depth|pose)\.(jpg|png|pgm|txt)")
_KINDS = ("color", "depth", "pose")
MAX_FILE_BYTES = 64 << 20  # As in a .sens: no image of one frame is as large.


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of one frame; None where there is none."""

    color: pathlib.Path | None = None
    depth: pathlib.Path | None = None
    pose: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class FileFrame:
    """A frame whose parts are files."""

    index: int
    files: Files
    to_millimetres: Callable[[np.ndarray], np.ndarray]

    def read_pose(self) -> np.ndarray:
        """Reads four lines of four numbers."""
        return read_matrix(_present(self.files.pose, "pose"))

    def read_color(self) -> bytes:
        """Reads the JPEG or PNG file."""
        return _read(_present(self.files.color, "colour"))

    def read_depth(self) -> np.ndarray:
        """Reads a PNG or PGM file and converts it to millimetres."""
        return self.to_millimetres(_read_depth(_present(self.files.depth, "depth")))


@dataclasses.dataclass(frozen=True)
class ExportedRecording:
    """The frames of an export, with the calibration found beside them."""

    files: Mapping[int, Files]
    intrinsic_depth: np.ndarray
    depth_size: tuple[int, int]
    to_millimetres: Callable[[np.ndarray], np.ndarray]
    note: str = ""
    color_size: tuple[int, int] | None = None

    def frames(self, stride: int) -> Iterator[FileFrame]:
        """Yields the first frame that is there of every `stride` indices."""
        for index, files in recording.one_of_each_window(self.files.items(), stride):
            yield FileFrame(index, files, self.to_millimetres)


@dataclasses.dataclass(frozen=True)
class FolderExport:
    """A scan in the folders `color/`, `depth/` and `pose/`, one file for each frame.

    SensReader's Python tool writes so, with un-padded numbers and `intrinsic/`; so is
    `scannet_frames_25k`, with `intrinsics_depth.txt` in the folder of the scan. Depth is in
    millimetres: neither says so, both hold ScanNet's.

    Attributes:
        id: id of the scan.
        path: the folder that holds the three.
    """

    id: str
    path: pathlib.Path

    @contextlib.contextmanager
    def open(self) -> Iterator[ExportedRecording]:
        """Lists the frames and reads the calibration."""
        files = self._files()
        size = _depth_size(files)
        names = ("intrinsic/intrinsic_depth.txt", "intrinsics_depth.txt", "intrinsic_depth.txt")
        intrinsics, note = _intrinsics([self.path / name for name in names], size)
        yield ExportedRecording(files, intrinsics, size, _as_it_is, note)

    def count(self, stride: int) -> int:
        """Returns the number of frames to look at."""
        try:
            return _count(self._files(), stride)
        except OSError:
            return 0

    def stamp(self) -> str:
        """Returns sizes and times of all files."""
        return _stamp(self._files())

    def _files(self) -> dict[int, Files]:
        found: dict[int, dict[str, pathlib.Path]] = {}
        for kind in _KINDS:
            folder = self.path / kind
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if _NUMBER.fullmatch(path.stem) and path.suffix in (".jpg", ".png", ".txt"):
                    found.setdefault(int(path.stem), {})[kind] = path
        return {index: Files(**found[index]) for index in sorted(found)}


@dataclasses.dataclass(frozen=True)
class FlatExport:
    """A scan as files `frame-000000.color.jpg`, `.depth.pgm` and `.pose.txt` in one folder.

    SensReader's C++ tool writes so, with 16-bit big-endian PGM and an `_info.txt`. 7-Scenes has
    the same names with PNG for both images and no calibration; its depth of 65535 is no reading.

    Attributes:
        id: id of the scan.
        path: the folder.
        camera: stands in where there is no `_info.txt`.
    """

    id: str
    path: pathlib.Path
    camera: recording.NominalCamera = recording.SCANNET

    @contextlib.contextmanager
    def open(self) -> Iterator[ExportedRecording]:
        """Lists the frames and reads `_info.txt`, if it is there."""
        files = self._files()
        size = _depth_size(files)
        info = self.path / "_info.txt"
        if not info.is_file():
            note = f"{self.id} has no _info.txt; {self.camera.note}"
            intrinsics = self.camera.intrinsics(size)
            yield ExportedRecording(files, intrinsics, size, _without_ceiling, note)
            return
        fields = _info_fields(info)
        shift = float(fields["m_depthShift"][0])
        if not 1 <= shift <= 1e6:
            raise recording.Damaged(f"{info}: m_depthShift {shift}")
        intrinsics = _matrix(fields["m_calibrationDepthIntrinsic"], info)[:3, :3]
        convert = functools.partial(_rescaled, scale=1000 / shift) if shift != 1000 else _as_it_is
        yield ExportedRecording(files, intrinsics, size, convert)

    def count(self, stride: int) -> int:
        """Returns the number of frames to look at."""
        try:
            return _count(self._files(), stride)
        except OSError:
            return 0

    def stamp(self) -> str:
        """Returns sizes and times of all files."""
        return _stamp(self._files())

    def _files(self) -> dict[int, Files]:
        found: dict[int, dict[str, pathlib.Path]] = {}
        for path in sorted(self.path.iterdir()):
            if match := _FLAT_NAME.fullmatch(path.name):
                found.setdefault(int(match[1]), {})[match[2]] = path
        return {index: Files(**found[index]) for index in sorted(found)}


def recognise_folders(id: str, folder: pathlib.Path, entries: set[str]) -> FolderExport | None:
    """Returns the scan of a folder with `color/` and `depth/`, or with `frames/` that has them."""
    if {"color", "depth"} <= entries:
        return FolderExport(id, folder)
    nested = folder / "frames"
    if "frames" in entries and (nested / "color").is_dir() and (nested / "depth").is_dir():
        return FolderExport(id, nested)
    return None


def recognise_flat(id: str, folder: pathlib.Path, entries: set[str]) -> FlatExport | None:
    """Returns the scan of a folder with frames in SensReader's C++ naming, depth included."""
    if any(name.startswith("frame-") and ".depth." in name for name in entries):
        of_scannet = scan_ids.is_scannet_id(id)
        return FlatExport(id, folder, recording.SCANNET if of_scannet else recording.SEVEN_SCENES)
    return None


def read_matrix(path: pathlib.Path) -> np.ndarray:
    """Reads `[4, 4]` float32 from a text of 16 numbers, -inf included."""
    return _matrix(_read(path).decode("ascii", "replace").split(), path)


def _matrix(words: list[str], path: pathlib.Path) -> np.ndarray:
    try:
        values = np.array([float(word) for word in words], np.float64)
    except ValueError:
        values = np.empty(0)
    if values.size != 16:
        raise recording.Damaged(f"{path.name} doesn't hold 16 numbers")
    with np.errstate(over="ignore"):  # Beyond float32 they become infinite, which is not valid.
        return values.reshape(4, 4).astype(np.float32)


def _info_fields(path: pathlib.Path) -> dict[str, list[str]]:
    lines = _read(path).decode("utf-8", "replace").splitlines()
    fields = {key.strip(): value.split() for key, _, value in (s.partition("=") for s in lines)}
    for key in ("m_depthShift", "m_calibrationDepthIntrinsic"):
        if not fields.get(key):
            raise recording.Damaged(f"{path.name} has no {key}")
    try:
        float(fields["m_depthShift"][0])
    except ValueError:
        raise recording.Damaged(f"{path.name}: m_depthShift is no number") from None
    return fields


def _intrinsics(candidates: list[pathlib.Path], size: tuple[int, int]) -> tuple[np.ndarray, str]:
    for path in candidates:
        if path.is_file():
            return read_matrix(path)[:3, :3], ""
    scan = candidates[0].parents[1].name
    note = f"{scan} has no intrinsic_depth.txt; {recording.SCANNET.note}"
    return recording.SCANNET.intrinsics(size), note


def _depth_size(files: Mapping[int, Files]) -> tuple[int, int]:
    """Returns the size of the first depth image that says one."""
    for frame in files.values():
        if frame.depth is not None:
            try:
                return images.depth_size(_read(frame.depth))
            except (recording.Damaged, OSError):
                continue
    raise recording.Damaged("not one depth image can be read")


def _read_depth(path: pathlib.Path) -> np.ndarray:
    data = _read(path)
    return images.decode_depth_pgm(data) if path.suffix == ".pgm" else images.decode_depth_png(data)


def _read(path: pathlib.Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise recording.Damaged(f"{path.name} has {size} bytes; {MAX_FILE_BYTES} are believed")
    return path.read_bytes()


def _present(path: pathlib.Path | None, what: str) -> pathlib.Path:
    if path is None:
        raise recording.Damaged(f"there is no {what} file")
    return path


def _as_it_is(depth: np.ndarray) -> np.ndarray:
    return depth


def _without_ceiling(depth: np.ndarray) -> np.ndarray:
    return np.where(depth == SEVEN_SCENES_NO_READING, np.uint16(0), depth)


def _rescaled(depth: np.ndarray, *, scale: float) -> np.ndarray:
    return np.clip(np.round(depth * scale), 0, 65535).astype(np.uint16)


def _count(files: Mapping[int, Files], stride: int) -> int:
    return sum(1 for _ in recording.one_of_each_window(files.items(), stride))


def _stamp(files: Mapping[int, Files]) -> str:
    paths = [p for f in files.values() for p in (f.color, f.depth, f.pose) if p is not None]
    found = [path.stat() for path in paths]
    size, newest = sum(s.st_size for s in found), max((s.st_mtime_ns for s in found), default=0)
    return f"{len(found)} {size} {newest}"
