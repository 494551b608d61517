"""Reads and writes ScanNet's `.sens` files, version 4.

Layout (little endian, no padding, no magic number), from ScanNet's SensReader
(`SensReader/c++/src/sensorData.h`): a header with the calibration; per frame a pose, two
timestamps, two sizes, the colour bytes and the depth bytes; a list of IMU records.
Skipped frames are not read: a stride of 30 reads about 1/27 of a file.
"""

import dataclasses
import os
import pathlib
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from psp_jax.io import contents, files
from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import depth_images, images, listing, recording, scan_ids
from psp_jax.recordings.recognition import Recognised

VERSION = 4
JPEG = 2  # Colour compressions are -1 unknown, 0 raw, 1 png, 2 jpeg; ScanNet uses jpeg only.
ZLIB_USHORT = 1  # Depth compressions are -1 unknown, 0 raw, 1 zlib, 2 occi; ScanNet uses zlib only.
_HEAD_BYTES = 256
MAX_NAME_BYTES = 4096
MAX_DEPTH_SHIFT = 1e6  # Micrometres.

_MATRIX = struct.Struct("<16f")
_FRAME_SIZES = struct.Struct("<4Q")  # Timestamps of colour and depth, bytes of colour and depth.
_HEADER_END = struct.Struct("<2i4IfQ")
FRAME_HEADER_BYTES = _MATRIX.size + _FRAME_SIZES.size


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of a `.sens` file.

    Attributes:
        intrinsic_depth: `[4, 4]` float32 camera matrix of the depth images in pixels.
        color_size, depth_size: (height, width) of the images in pixels.
        depth_shift: units of a depth value per metre; 1000 for ScanNet.
        frames: number of frames, as stated by the file.
    """

    intrinsic_depth: np.ndarray
    color_size: tuple[int, int]
    depth_size: tuple[int, int]
    depth_shift: float
    frames: int


@dataclasses.dataclass(frozen=True)
class SensFrame:
    """A frame of a `.sens` file, read on demand; see `recording.Frame`.

    Attributes:
        path: the file.
        header: its header.
        index: position in the file, from 0.
        camera_to_world: `[4, 4]` float32, metres; all -inf where tracking was lost.
        offset: position of the colour bytes in the file; the depth bytes follow them.
        color_bytes, depth_bytes: their sizes.
    """

    path: pathlib.Path
    header: Header
    index: int
    camera_to_world: np.ndarray
    offset: int
    color_bytes: int
    depth_bytes: int

    def read_pose(self) -> np.ndarray:
        """Returns `camera_to_world`."""
        return self.camera_to_world

    def read_color(self) -> bytes:
        """Reads the JPEG file."""
        return self._read_at(self.offset, self.color_bytes, f"the colour of frame {self.index}")

    @property
    def units_per_m(self) -> float:
        """Units of a depth value per metre."""
        return self.header.depth_shift

    def read_values(self) -> np.ndarray:
        """Reads and decompresses `[H, W]` uint16 in the units of the file."""
        return _decompress(self._depth_stream(), self.header.depth_size)

    def read_depth(self) -> np.ndarray:
        """Reads and decompresses `[H, W]` uint16 millimetres."""
        return decode_depth(self._depth_stream(), self.header.depth_size, self.units_per_m)

    def _depth_stream(self) -> bytes:
        offset = self.offset + self.color_bytes
        return self._read_at(offset, self.depth_bytes, f"the depth of frame {self.index}")

    def _read_at(self, offset: int, count: int, what: str) -> bytes:
        with _open(self.path) as file:
            file.seek(offset)
            return _read(file, count, what)


@dataclasses.dataclass(frozen=True)
class SensRecording:
    """A `.sens` file; see `recording.Recording`.

    Attributes:
        path: the file; ScanNet's are named after their scan, `sceneXXXX_YY.sens`.
        id: id of the scan; if empty, the name of the file.
        depth_scale: units of depth per metre, instead of those that the header states; or None.
    """

    path: pathlib.Path
    id: str = ""
    depth_scale: float | None = None

    def __post_init__(self) -> None:
        """Takes the name of the file as id."""
        if not self.id:
            object.__setattr__(self, "id", scan_ids.clean(self.path.stem))

    def calibration(self) -> recording.Calibration:
        """Reads the header."""
        header = read_header(self.path)
        intrinsics = header.intrinsic_depth[:3, :3]
        return recording.Calibration(intrinsics, header.depth_size, header.color_size)

    def frames(self, stride: int) -> Iterator[SensFrame]:
        """Yields every `stride`-th frame, reading nothing but the frame headers.

        Raises:
            Damaged: if the file ends inside a frame, or a frame header is absurd; the frames
                before it have been yielded.
        """
        with _open(self.path) as file:
            header = _read_header(file)
            if self.depth_scale:
                header = dataclasses.replace(header, depth_shift=self.depth_scale)
            offset, size = file.tell(), os.fstat(file.fileno()).st_size
            for index in range(header.frames):
                file.seek(offset)
                head = _read(file, FRAME_HEADER_BYTES, f"the header of frame {index}")
                *_, color_bytes, depth_bytes = _FRAME_SIZES.unpack_from(head, _MATRIX.size)
                if max(color_bytes, depth_bytes) > images.MAX_FILE_BYTES:
                    raise recording.Damaged(
                        f"frame {index}: expected at most {images.MAX_FILE_BYTES} bytes of colour "
                        f"and of depth, got {color_bytes} and {depth_bytes}"
                    )
                offset += FRAME_HEADER_BYTES
                if offset + color_bytes + depth_bytes > size:
                    raise recording.Damaged(
                        f"the file ends inside frame {index} of {header.frames}"
                    )
                if index % stride == 0:
                    pose = _matrix(head[: _MATRIX.size])
                    yield SensFrame(
                        self.path, header, index, pose, offset, color_bytes, depth_bytes
                    )
                offset += color_bytes + depth_bytes

    def count(self, stride: int) -> int:
        """Returns the number of frames that the header states and the file can hold."""
        try:
            frames = read_header(self.path).frames
            return -(-min(frames, self.path.stat().st_size // FRAME_HEADER_BYTES) // stride)
        except (recording.Damaged, OSError):
            return 0

    def stamp(self) -> str:
        """Returns size and time of the file."""
        stat = self.path.stat()
        return f"{stat.st_size} {stat.st_mtime_ns} {self.depth_scale}"


def recognise(folder: listing.Listing, id: str, depth_scale: float | None) -> Recognised | None:
    """Returns the `.sens` files of a folder; they have ids by themselves."""
    del id
    scans = [SensRecording(path, "", depth_scale) for path in folder.having((".sens",))]
    return Recognised(tuple(scans)) if scans else None


def read_header(path: pathlib.Path) -> Header:
    """Reads the header of a `.sens` file.

    Raises:
        Damaged: if it is not a `.sens` file of version 4 with JPEG and zlib frames.
    """
    with _open(path) as file:
        return _read_header(file)


def decode_depth(stream: bytes, size: tuple[int, int], units_per_m: float = MM_PER_M) -> np.ndarray:
    """Decompresses a depth image and converts it to millimetres.

    Args:
        stream: zlib stream of little-endian uint16 in row-major order.
        size: (height, width) in pixels.
        units_per_m: units of a depth value per metre.

    Returns:
        `[H, W]` uint16 millimetres along the optical axis; 0 marks no reading.

    Raises:
        Damaged: if the stream is damaged or of another size.
    """
    return depth_images.to_millimetres(_decompress(stream, size), units_per_m)


def _decompress(stream: bytes, size: tuple[int, int]) -> np.ndarray:
    count = 2 * size[0] * size[1]
    decompressor = zlib.decompressobj()
    try:
        # The bound keeps a hostile stream from filling the memory.
        raw = decompressor.decompress(stream, count + 1)
    except zlib.error as error:
        raise recording.Damaged(f"depth stream: {error}") from None
    if len(raw) == count and not decompressor.eof:
        # The checksum of the stream is only compared at its end.
        raise recording.Damaged("depth stream without an end")
    if len(raw) != count:
        raise recording.Damaged(f"depth stream: expected {count} bytes, got {len(raw)} or more")
    return np.frombuffer(raw, "<u2").reshape(size)


def encode_depth(depth_mm: np.ndarray) -> bytes:
    """Compresses a `[H, W]` uint16 depth image in millimetres as ScanNet does."""
    if depth_mm.dtype != np.uint16 or depth_mm.ndim != 2:
        raise ValueError(f"expected [H, W] uint16, got {depth_mm.shape} {depth_mm.dtype}")
    return zlib.compress(depth_mm.astype("<u2").tobytes())


@dataclasses.dataclass(frozen=True)
class EncodedFrame:
    """A frame to write.

    Attributes:
        camera_to_world: `[4, 4]`, metres.
        color: a complete JPEG file.
        depth: the result of `encode_depth`.
    """

    camera_to_world: np.ndarray
    color: bytes
    depth: bytes


def write(
    path: str | os.PathLike,
    frames: Sequence[EncodedFrame],
    *,
    color_size: tuple[int, int],
    depth_size: tuple[int, int],
    intrinsic_color: np.ndarray,
    intrinsic_depth: np.ndarray,
) -> None:
    """Writes a `.sens` file of version 4 without timestamps and IMU records, atomically.

    Args:
        path: the file; it is overwritten if it exists.
        frames: the frames in order.
        color_size, depth_size: (height, width) of the images in pixels.
        intrinsic_color, intrinsic_depth: `[4, 4]` camera matrices in pixels.
    """
    sensor, identity = b"StructureSensor", np.eye(4)
    parts = [struct.pack("<IQ", VERSION, len(sensor)), sensor]
    parts += map(_bytes_of, (intrinsic_color, identity, intrinsic_depth, identity))
    sides = (color_size[1], color_size[0], depth_size[1], depth_size[0])
    parts.append(_HEADER_END.pack(JPEG, ZLIB_USHORT, *sides, MM_PER_M, len(frames)))
    for frame in frames:
        sizes = _FRAME_SIZES.pack(0, 0, len(frame.color), len(frame.depth))
        parts += (_bytes_of(frame.camera_to_world), sizes, frame.color, frame.depth)
    files.write(path, b"".join([*parts, struct.pack("<Q", 0)]))


def _open(path: pathlib.Path) -> BinaryIO:
    # Unbuffered and without read-ahead: of most frames only the header of 96 bytes is wanted, and
    # either would read many times as many.
    file = open(path, "rb", buffering=0)
    if sys.platform == "linux":
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
    return file


def _read_header(file: BinaryIO) -> Header:
    """Reads the header and leaves the file at the first frame."""
    first = _read(file, 4, "the version")
    (version,) = struct.unpack("<I", first)
    if version != VERSION:
        what = contents.placeholder(first + file.read(_HEAD_BYTES)) or f"version {version}"
        raise recording.Damaged(f"expected version {VERSION}, got {what}")
    (name_bytes,) = struct.unpack("<Q", _read(file, 8, "the sensor name"))
    if name_bytes > MAX_NAME_BYTES:
        raise recording.Damaged(f"a sensor name of {name_bytes} bytes: not a .sens file")
    _read(file, name_bytes, "the sensor name")
    # Intrinsics and extrinsics of colour, then of depth.
    matrices = [_matrix(_read(file, _MATRIX.size, "the calibration")) for _ in range(4)]
    fields = _HEADER_END.unpack(_read(file, _HEADER_END.size, "the image sizes"))
    color_kind, depth_kind, color_w, color_h, depth_w, depth_h, shift, frames = fields
    if color_kind != JPEG or depth_kind != ZLIB_USHORT:
        raise recording.Damaged(
            f"expected colour compression {JPEG} (JPEG) and depth compression {ZLIB_USHORT} "
            f"(zlib), got {color_kind} and {depth_kind}"
        )
    if not all(0 < n <= images.MAX_PIXELS for n in (color_w * color_h, depth_w * depth_h)):
        raise recording.Damaged(
            f"expected images of 1 to {images.MAX_PIXELS} pixels, got {color_h}x{color_w} and "
            f"{depth_h}x{depth_w}"
        )
    if not 1 <= shift <= MAX_DEPTH_SHIFT:
        raise recording.Damaged(f"depth shift: expected 1 to {MAX_DEPTH_SHIFT:g}, got {shift}")
    return Header(matrices[2], (color_h, color_w), (depth_h, depth_w), shift, frames)


def _read(file: BinaryIO, count: int, what: str) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise recording.Damaged(f"the file ends inside {what}")
    return data


def _matrix(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<f4").reshape(4, 4).astype(np.float32)


def _bytes_of(matrix: np.ndarray) -> bytes:
    return np.asarray(matrix, "<f4").reshape(4, 4).tobytes()
