"""Layouts with one file per image: the exports of SensReader's two tools, and their relatives."""

import abc
import dataclasses
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import images, scan_ids
from psp_jax.recordings.recording import Calibration, Damaged

SEVEN_SCENES_NO_READING = 65535  # 7-Scenes marks pixels without a reading by it, not by 0.
NOMINAL_SIZE = (480, 640)
MAX_UNITS_PER_M = 1e6  # Micrometres.
_INDEX = re.compile(r"\d{1,9}")  # More would not fit the int32 of frame_index.
_FLAT_NAME = re.compile(r"frame-(\d{1,9})\.(color|depth|pose)\.(jpg|png|pgm|txt)")
_KINDS = ("color", "depth", "pose")
# Files of the intrinsics in a folder export: of SensReader, of scannet_frames_25k, of others.
_INTRINSICS = ("intrinsic/intrinsic_depth.txt", "intrinsics_depth.txt", "intrinsic_depth.txt")
_T = TypeVar("_T")


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
        scale_y, scale_x = size[0] / NOMINAL_SIZE[0], size[1] / NOMINAL_SIZE[1]
        (focal_x, focal_y), (centre_x, centre_y) = self.focal_px, self.centre_px
        rows = [
            [focal_x * scale_x, 0, (centre_x + 0.5) * scale_x - 0.5],
            [0, focal_y * scale_y, (centre_y + 0.5) * scale_y - 0.5],
            [0, 0, 1],
        ]
        return np.array(rows, np.float32)


SCANNET = NominalCamera(  # scene0000_00.
    (577.59, 578.73), (318.9, 242.7), "ScanNet's nominal intrinsics are used"
)
SEVEN_SCENES = NominalCamera(  # From its page; KinectFusion tracked the camera with them.
    (585.0, 585.0),
    (320.0, 240.0),
    "7-Scenes' nominal intrinsics are used, and its colour is not registered to its depth",
)


@dataclasses.dataclass(frozen=True)
class FileFrame:
    """A frame in separate files; see `recording.Frame`.

    Attributes:
        index: the number in the names of the files.
        files: paths by kind: color (JPEG or PNG), depth (PNG or PGM) and pose (text).
        units_per_m: units of a depth value per metre.
        no_reading: depth value of pixels without a reading, in addition to 0.
    """

    index: int
    files: Mapping[str, pathlib.Path]
    units_per_m: float = MM_PER_M
    no_reading: int = 0

    def read_pose(self) -> np.ndarray:
        """Reads four lines of four numbers as `[4, 4]` float32."""
        return read_matrix(self._path("pose"))

    def read_color(self) -> bytes:
        """Reads the JPEG or PNG file."""
        return _read(self._path("color"))

    def read_depth(self) -> np.ndarray:
        """Reads the PNG or PGM file as `[H, W]` uint16 millimetres."""
        path = self._path("depth")
        decode = images.decode_depth_pgm if path.suffix == ".pgm" else images.decode_depth_png
        depth = decode(_read(path))
        if self.no_reading:
            depth = np.where(depth == self.no_reading, np.uint16(0), depth)
        return images.to_millimetres(depth, self.units_per_m)

    def _path(self, kind: str) -> pathlib.Path:
        if kind not in self.files:
            raise Damaged(f"there is no {kind} file")
        return self.files[kind]


@dataclasses.dataclass(frozen=True)
class Export(abc.ABC):
    """A scan with one file per image; see `recording.Recording`.

    Attributes:
        id: id of the scan.
        path: folder of the files.
    """

    id: str
    path: pathlib.Path

    @abc.abstractmethod
    def calibration(self) -> Calibration:
        """Reads the intrinsics, or takes nominal ones, and the size of the first depth image."""

    @abc.abstractmethod
    def _files(self) -> Iterator[tuple[int, str, pathlib.Path]]:
        """Yields index, kind and path of every file."""

    @abc.abstractmethod
    def _depth_format(self) -> tuple[float, int]:
        """Returns `units_per_m` and `no_reading` of the frames."""

    def frames(self, stride: int) -> Iterator[FileFrame]:
        """Yields the first existing frame of every `stride` indices."""
        units_per_m, no_reading = self._depth_format()
        for index, files in one_per_window(self._by_index().items(), stride):
            yield FileFrame(index, files, units_per_m, no_reading)

    def count(self, stride: int) -> int:
        """Returns the number of frames; 0 if the folder can't be read."""
        try:
            return sum(1 for _ in one_per_window(self._by_index().items(), stride))
        except OSError:
            return 0

    def stamp(self) -> str:
        """Returns number, total size and newest time of the files."""
        stats = [path.stat() for files in self._by_index().values() for path in files.values()]
        newest = max((stat.st_mtime_ns for stat in stats), default=0)
        return f"{len(stats)} {sum(stat.st_size for stat in stats)} {newest}"

    def _by_index(self) -> dict[int, dict[str, pathlib.Path]]:
        files: dict[int, dict[str, pathlib.Path]] = {}
        for index, kind, path in self._files():
            files.setdefault(index, {})[kind] = path
        return dict(sorted(files.items()))

    def _depth_size(self) -> tuple[int, int]:
        """Returns the size of the first depth image whose header can be read."""
        for files in self._by_index().values():
            if "depth" in files:
                try:
                    return images.depth_size(_read(files["depth"]))
                except (Damaged, OSError):
                    continue
        raise Damaged("no depth image can be read")


@dataclasses.dataclass(frozen=True)
class FolderExport(Export):
    """A scan in the folders `color/`, `depth/` and `pose/`, one file per frame.

    Written by SensReader's Python tool, with numbers without leading zeros and `intrinsic/`;
    `scannet_frames_25k` has `intrinsics_depth.txt` in the folder of the scan instead. Neither
    states the unit of depth; both hold ScanNet's millimetres.
    """

    def calibration(self) -> Calibration:
        """Reads the intrinsics, or takes ScanNet's nominal ones."""
        size = self._depth_size()
        for name in _INTRINSICS:
            if (path := self.path / name).is_file():
                return Calibration(read_matrix(path)[:3, :3], size)
        note = f"{self.id} has no intrinsic_depth.txt; {SCANNET.note}"
        return Calibration(SCANNET.intrinsics(size), size, note=note)

    def _files(self) -> Iterator[tuple[int, str, pathlib.Path]]:
        for kind in _KINDS:
            folder = self.path / kind
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if _INDEX.fullmatch(path.stem) and path.suffix in (".jpg", ".png", ".txt"):
                    yield int(path.stem), kind, path

    def _depth_format(self) -> tuple[float, int]:
        return MM_PER_M, 0


@dataclasses.dataclass(frozen=True)
class FlatExport(Export):
    """A scan as files `frame-000000.color.jpg`, `.depth.pgm` and `.pose.txt` in one folder.

    Written by SensReader's C++ tool, with 16-bit big-endian PGM and an `_info.txt`. 7-Scenes has
    the same names with PNG for both images and no calibration; its depth of 65535 is no reading.
    """

    def calibration(self) -> Calibration:
        """Reads the intrinsics from `_info.txt`, or takes nominal ones."""
        size = self._depth_size()
        if self._info.is_file():
            return Calibration(_read_info(self._info)[1], size)
        camera = SCANNET if scan_ids.is_scannet_id(self.id) else SEVEN_SCENES
        note = f"{self.id} has no _info.txt; {camera.note}"
        return Calibration(camera.intrinsics(size), size, note=note)

    @property
    def _info(self) -> pathlib.Path:
        return self.path / "_info.txt"

    def _files(self) -> Iterator[tuple[int, str, pathlib.Path]]:
        for path in sorted(self.path.iterdir()):
            if match := _FLAT_NAME.fullmatch(path.name):
                yield int(match[1]), match[2], path

    def _depth_format(self) -> tuple[float, int]:
        if self._info.is_file():
            return _read_info(self._info)[0], 0
        return MM_PER_M, SEVEN_SCENES_NO_READING


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
        return FlatExport(id, folder)
    return None


def read_matrix(path: pathlib.Path) -> np.ndarray:
    """Reads `[4, 4]` float32 from a text file of 16 numbers, which may be -inf.

    Raises:
        Damaged: if it holds anything else.
    """
    return _matrix(_read(path).decode("ascii", "replace").split(), path)


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


def _matrix(numbers: list[str], path: pathlib.Path) -> np.ndarray:
    try:
        values = np.array([float(number) for number in numbers], np.float64)
    except ValueError:
        values = np.empty(0)
    if values.size != 16:
        raise Damaged(f"{path.name}: expected 16 numbers, got {' '.join(numbers)[:60]!r}")
    with np.errstate(over="ignore"):  # Beyond float32 they become infinite, which is not valid.
        return values.reshape(4, 4).astype(np.float32)


def _read_info(path: pathlib.Path) -> tuple[float, np.ndarray]:
    """Reads the depth units per metre and the `[3, 3]` depth intrinsics from an `_info.txt`."""
    lines = _read(path).decode("utf-8", "replace").splitlines()
    fields = {key.strip(): value.split() for key, _, value in (s.partition("=") for s in lines)}
    for key in ("m_depthShift", "m_calibrationDepthIntrinsic"):
        if not fields.get(key):
            raise Damaged(f"{path.name} has no {key}")
    try:
        units_per_m = float(fields["m_depthShift"][0])
    except ValueError:
        units_per_m = 0.0
    if not 1 <= units_per_m <= MAX_UNITS_PER_M:
        shift = fields["m_depthShift"][0]
        raise Damaged(f"{path}: m_depthShift: expected 1 to {MAX_UNITS_PER_M:g}, got {shift}")
    return units_per_m, _matrix(fields["m_calibrationDepthIntrinsic"], path)[:3, :3]


def _read(path: pathlib.Path) -> bytes:
    size = path.stat().st_size
    if size > images.MAX_FILE_BYTES:
        raise Damaged(f"{path.name}: expected at most {images.MAX_FILE_BYTES} bytes, got {size}")
    return path.read_bytes()
