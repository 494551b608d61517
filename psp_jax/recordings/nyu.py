"""NYU Depth v2: `nyu_depth_v2_labeled.mat`, and the `.h5` file per frame that TFDS downloads.

Both are HDF5. MATLAB stores the axes of an array in reverse: images `[N, 3, W, H]` uint8, rawDepths
and depths `[N, W, H]` float metres, and scenes, references to names. TFDS's files hold rgb
`[3, H, W]` uint8 and depth `[H, W]` float metres.
"""

import contextlib
import dataclasses
import math
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from psp_jax.io import contents
from psp_jax.recordings import cameras, depth_images, file_frames, images, listing, scan_ids
from psp_jax.recordings.recognition import Recognised
from psp_jax.recordings.recording import Calibration, Damaged

SUFFIXES = (".h5", ".hdf5")  # Of a single frame.
METRES = 1.0
_DEPTHS = ("rawDepths", "depths")  # Of the first, holes are not filled.
_ERRORS = (AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
_MAX_NAME = 200  # Characters of the name of a scene.
_INDEX = re.compile(r"\d{1,9}", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame in an HDF5 file; see `recording.Frame`.

    Attributes:
        index: its number.
        path: the file.
        position: position in the arrays of a `.mat`; None for a `.h5` of one frame.
        units_per_m: units of a depth value per metre.
    """

    index: int
    path: pathlib.Path
    position: int | None
    units_per_m: float

    def read_pose(self) -> None:
        """Returns None: there are no poses."""

    def read_color(self) -> bytes:
        """Reads the image and encodes it as PNG."""
        if self.position is None:
            rgb = self._read("rgb")
        else:
            rgb = self._read("images").transpose(0, 2, 1)
        if rgb.ndim != 3 or rgb.shape[0] != 3 or rgb.dtype != np.uint8:
            raise Damaged(f"expected uint8 [3, H, W] colour, got {rgb.dtype} {rgb.shape}")
        return images.encode_png(rgb.transpose(1, 2, 0))

    def read_values(self) -> np.ndarray:
        """Reads `[H, W]` float32 depth in the units of the file."""
        depth = self._read("depth") if self.position is None else self._read(*_DEPTHS).T
        if depth.ndim != 2 or depth.dtype.kind != "f":
            raise Damaged(f"expected float [H, W] depth, got {depth.dtype} {depth.shape}")
        return np.where(np.isfinite(depth), depth, 0).astype(np.float32)

    def read_depth(self) -> np.ndarray:
        """Reads `[H, W]` uint16 millimetres."""
        return depth_images.to_millimetres(self.read_values(), self.units_per_m)

    def _read(self, *names: str) -> np.ndarray:
        with _opened(self.path) as file:
            data = _dataset(file, *names)
            shape = data.shape if self.position is None else data.shape[1:]
            images.check_pixels((math.prod(shape), 1))
            return data[()] if self.position is None else data[self.position]


@dataclasses.dataclass(frozen=True)
class Scene:
    """The frames of a scene; see `recording.Recording`.

    Attributes:
        id: name of the scene, such as `kitchen_0004`.
        path: the `.mat`, the `.h5` of a single frame, or the folder of such files.
        positions: positions in the `.mat`; empty for `.h5` files.
        depth_scale: units of depth per metre, instead of metres; or None.
    """

    id: str
    path: pathlib.Path
    positions: tuple[int, ...] = ()
    depth_scale: float | None = None

    def calibration(self) -> Calibration:
        """Takes the intrinsics of NYU's toolbox."""
        frame = next(self.frames(1), None)
        if frame is None:
            raise Damaged("there are no frames")
        size = frame.read_depth().shape
        note = f"{self.id}: {cameras.NYU.note}"
        return Calibration(cameras.NYU.intrinsics(size), size, note=note)

    def frames(self, stride: int) -> Iterator[Frame]:
        """Yields the frames; of a `.mat` all of them, since they are stills."""
        units_per_m = self.depth_scale or METRES
        for position in self.positions:
            yield Frame(position, self.path, position, units_per_m)
        if not self.positions:
            for index, path in file_frames.one_per_window(_numbered(self.path), stride):
                yield Frame(index, path, None, units_per_m)

    def count(self, stride: int) -> int:
        """Returns the number of frames; 0 if the folder can't be read."""
        try:
            return sum(1 for _ in self.frames(stride))
        except OSError:
            return 0

    def stamp(self) -> str:
        """Returns number, total size and newest time of the files."""
        paths = [self.path] if self.positions else [path for _, path in _numbered(self.path)]
        stats = [path.stat() for path in paths]
        newest = max((stat.st_mtime_ns for stat in stats), default=0)
        return f"{len(stats)} {sum(stat.st_size for stat in stats)} {newest} {self.depth_scale}"


def recognise(folder: listing.Listing, id: str, depth_scale: float | None) -> Recognised | None:
    """Returns the scenes of a `.mat` with images and depths, or of a folder of `.h5` frames."""
    for path in folder.having((".mat",)):
        if scenes := scenes_of(path, depth_scale):
            return Recognised(scenes)
    files = folder.having(SUFFIXES)
    if not files:
        return None
    if not scenes_of(files[0], depth_scale):
        return None
    return Recognised((Scene(id, folder.path, (), depth_scale),))


def scenes_of(path: pathlib.Path, depth_scale: float | None) -> tuple[Scene, ...]:
    """Returns the scenes of a labelled set, or the frame of a `.h5`; none if it is another file.

    Raises:
        Damaged: if it is not HDF5, or damaged.
    """
    with _opened(path) as file:
        if {"rgb", "depth"} <= set(file):
            for name in ("rgb", "depth"):
                _dataset(file, name)
            id = scan_ids.clean(f"{path.parent.name}_{path.stem}")
            return (Scene(id, path, (), depth_scale),)
        if "images" not in file or not set(_DEPTHS) & set(file):
            return ()
        count = len(_dataset(file, "images"))
        if len(_dataset(file, *_DEPTHS)) != count:
            raise Damaged(f"{path.name}: expected {count} depth images, one for each colour image")
        names = [path.stem] * count
        if "scenes" in file:
            scenes = _dataset(file, "scenes")
            if scenes.size != count:
                raise Damaged(f"{path.name}: expected {count} scenes, got {scenes.size}")
            names = [_text(file, each) for each in np.ravel(scenes[()])]
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        positions.setdefault(scan_ids.clean(name), []).append(position)
    return tuple(Scene(id, path, tuple(at), depth_scale) for id, at in positions.items())


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except Damaged:
        raise
    except _ERRORS as error:
        with path.open("rb") as head:
            content = contents.describe(head.read(256))
        reason = " ".join(str(error).split())[:200]
        raise Damaged(
            f"{path.name}: expected an HDF5 file with images and depths, got {content}: {reason}"
        ) from None


def _dataset(file: Any, *names: str) -> Any:
    data = next((file[name] for name in names if name in file), None)
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise Damaged(f"expected the array {' or '.join(names)}")
    if data.dtype.kind not in "fuO" or not data.size:  # References are objects.
        raise Damaged(f"{data.name}: expected numbers, got {data.dtype} {data.shape}")
    stored, held = data.id.get_storage_size(), file.id.get_filesize()
    if stored > held or (data.chunks is None and stored < data.nbytes):
        raise Damaged(f"{data.name}: {data.nbytes:,} bytes are claimed in a file of {held:,}")
    return data


def _text(file: Any, reference: Any) -> str:
    data = file[reference]
    if not isinstance(data, h5py.Dataset) or not 0 < (data.size or 0) <= _MAX_NAME:
        raise Damaged(f"expected the name of a scene of 1 to {_MAX_NAME} characters")
    return "".join(map(chr, np.ravel(data[()])))


def _numbered(folder: pathlib.Path) -> list[tuple[int, pathlib.Path]]:
    """Lists `.h5` files by the number in their name, or by position if some have none."""
    files = [folder] if folder.is_file() else listing.read(folder).having(SUFFIXES)
    if all(_INDEX.fullmatch(path.stem) for path in files):
        return sorted({int(path.stem): path for path in files}.items())
    return list(enumerate(files))
