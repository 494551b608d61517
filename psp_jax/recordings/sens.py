"""ScanNet's `.sens` container, version 4: streaming reader and writer.

Layout (little endian, no padding, no magic number), from ScanNet's SensReader
(`SensReader/c++/src/sensorData.h`): a header with the calibration, then per frame a pose, two
timestamps, two sizes, the colour bytes and the depth bytes, then a list of IMU records.
Frames that are not wanted are only stepped over: a stride of 30 touches about 1/27 of a file.
"""

import dataclasses
import os
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import images, recording

VERSION = 4
JPEG = 2  # Colour compressions are -1 unknown, 0 raw, 1 png, 2 jpeg; ScanNet uses jpeg only.
ZLIB_USHORT = 1  # Depth compressions are -1 unknown, 0 raw, 1 zlib, 2 occi; ScanNet uses zlib only.
MAX_FRAME_BYTES = 64 << 20  # A 1296x968 JPEG is 0.2 MB; beyond 64 MB a frame header is damaged.
MAX_NAME_BYTES = 4096
MAX_DEPTH_SHIFT = 1e6  # Micrometres.

_MATRIX = struct.Struct("<16f")
_FRAME_SIZES = struct.Struct("<4Q")  # Timestamps of colour and depth, bytes of colour and depth.
_HEADER_END = struct.Struct("<2i4IfQ")
FRAME_HEADER_BYTES = _MATRIX.size + _FRAME_SIZES.size


class SensError(recording.Damaged):
    """A `.sens` file that is damaged or of a kind that is not supported."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What a `.sens` file says before its first frame.

    Attributes:
        sensor: name of the sensor.
        intrinsic_color, extrinsic_color, intrinsic_depth, extrinsic_depth: `[4, 4]` float32.
        color_size, depth_size: (height, width) in pixels.
        depth_shift: units of a depth value in a metre; 1000 for ScanNet.
        frames: number of frames that follow, as the file claims.
    """

    sensor: str
    intrinsic_color: np.ndarray
    extrinsic_color: np.ndarray
    intrinsic_depth: np.ndarray
    extrinsic_depth: np.ndarray
    color_size: tuple[int, int]
    depth_size: tuple[int, int]
    depth_shift: float
    frames: int


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame, still compressed.

    Attributes:
        index: position in the recording, from 0.
        camera_to_world: `[4, 4]` float32, metres; all -inf where tracking was lost.
        timestamp_color_us, timestamp_depth_us: microseconds; 0 or garbage in many scans.
        color: a complete JPEG file.
        depth: zlib stream of little-endian uint16 in row-major order.
    """

    index: int
    camera_to_world: np.ndarray
    timestamp_color_us: int
    timestamp_depth_us: int
    color: bytes
    depth: bytes


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a frame lies in the file; the fields are those of `Frame`, or their sizes.

    Attributes:
        color_at: offset of the colour bytes; those of depth follow.
        color_bytes, depth_bytes: their numbers.
    """

    index: int
    camera_to_world: np.ndarray
    timestamp_color_us: int
    timestamp_depth_us: int
    color_at: int
    color_bytes: int
    depth_bytes: int


class Reader:
    """Reads the header at once and frames on demand; use it in a `with` block.

    Raises:
        SensError: if the file is not a `.sens` file of version 4 with JPEG and zlib frames.
    """

    def __init__(self, path: str | os.PathLike):
        """Opens `path` and reads its header."""
        self.path = os.fspath(path)
        # Unbuffered, and without the system's reading ahead: most frames are only stepped over,
        # and the 96 bytes that are wanted of each would pull in many times as many.
        self._file: BinaryIO = open(self.path, "rb", buffering=0)
        if sys.platform == "linux":
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Reader":
        """Returns the reader itself."""
        return self

    def __exit__(self, *unused) -> None:
        """Closes the file."""
        self._file.close()

    def frames(self, stride: int = 1) -> Iterator[Frame]:
        """Yields every `stride`-th frame from the first one on, seeking over the others.

        Raises:
            SensError: if the file ends inside a frame or a frame header is absurd; the frames
                before it have been yielded.
        """
        for place in self.places(stride):
            times = place.timestamp_color_us, place.timestamp_depth_us
            color, depth = self.read_color(place), self.read_depth(place)
            yield Frame(place.index, place.camera_to_world, *times, color, depth)

    def places(self, stride: int = 1) -> Iterator[Place]:
        """Yields where every `stride`-th frame lies, reading nothing but frame headers.

        Raises:
            SensError: as `frames` does.
        """
        offset, size = self._first_frame, os.fstat(self._file.fileno()).st_size
        for index in range(self.header.frames):
            self._file.seek(offset)
            head = self._read(FRAME_HEADER_BYTES, f"the header of frame {index}")
            sizes = _FRAME_SIZES.unpack_from(head, _MATRIX.size)
            color_us, depth_us, color_bytes, depth_bytes = sizes
            if max(color_bytes, depth_bytes) > MAX_FRAME_BYTES:
                raise SensError(
                    f"frame {index} claims {color_bytes} bytes of colour and {depth_bytes} of "
                    f"depth; at most {MAX_FRAME_BYTES} each are believed"
                )
            offset += FRAME_HEADER_BYTES
            if offset + color_bytes + depth_bytes > size:
                raise SensError(f"the file ends inside frame {index} of {self.header.frames}")
            if index % stride == 0:
                matrix = _matrix(head[: _MATRIX.size])
                yield Place(index, matrix, color_us, depth_us, offset, color_bytes, depth_bytes)
            offset += color_bytes + depth_bytes

    def read_color(self, place: Place) -> bytes:
        """Reads the JPEG of a frame."""
        self._file.seek(place.color_at)
        return self._read(place.color_bytes, f"the colour of frame {place.index}")

    def read_depth(self, place: Place) -> bytes:
        """Reads the compressed depth of a frame."""
        self._file.seek(place.color_at + place.color_bytes)
        return self._read(place.depth_bytes, f"the depth of frame {place.index}")

    def _read_header(self) -> Header:
        (version,) = struct.unpack("<I", self._read(4, "the version"))
        if version != VERSION:
            raise SensError(f"version {version} is not supported, only {VERSION} is")
        (name_bytes,) = struct.unpack("<Q", self._read(8, "the sensor name"))
        if name_bytes > MAX_NAME_BYTES:
            raise SensError(f"a sensor name of {name_bytes} bytes: not a .sens file")
        sensor = self._read(name_bytes, "the sensor name").decode("utf-8", "replace")
        matrices = [_matrix(self._read(_MATRIX.size, "the calibration")) for _ in range(4)]
        fields = _HEADER_END.unpack(self._read(_HEADER_END.size, "the image sizes"))
        color_kind, depth_kind, color_w, color_h, depth_w, depth_h, shift, frames = fields
        if color_kind != JPEG or depth_kind != ZLIB_USHORT:
            raise SensError(
                f"colour compression {color_kind} and depth compression {depth_kind}: only JPEG "
                f"({JPEG}) and zlib ({ZLIB_USHORT}) are supported"
            )
        if not all(0 < n <= images.MAX_PIXELS for n in (color_w * color_h, depth_w * depth_h)):
            raise SensError(
                f"image sizes {color_h}x{color_w} and {depth_h}x{depth_w}: 1 to "
                f"{images.MAX_PIXELS} pixels were expected"
            )
        if not 1 <= shift <= MAX_DEPTH_SHIFT:
            raise SensError(f"depth shift {shift}: 1 to {MAX_DEPTH_SHIFT:g} was expected")
        self._first_frame = self._file.tell()
        return Header(
            sensor=sensor,
            intrinsic_color=matrices[0],
            extrinsic_color=matrices[1],
            intrinsic_depth=matrices[2],
            extrinsic_depth=matrices[3],
            color_size=(color_h, color_w),
            depth_size=(depth_h, depth_w),
            depth_shift=shift,
            frames=frames,
        )

    def _read(self, count: int, what: str) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise SensError(f"the file ends inside {what}")
        return data


def decode_depth(data: bytes, header: Header) -> np.ndarray:
    """Decompresses one depth image and converts it to millimetres.

    Args:
        data: `Frame.depth`.
        header: header of the file that the frame is from.

    Returns:
        `[H, W]` uint16 millimetres along the optical axis; 0 marks no reading.

    Raises:
        SensError: if the stream is damaged or of another size than the header says.
    """
    height, width = header.depth_size
    expected = 2 * height * width
    decompressor = zlib.decompressobj()
    try:
        # The bound keeps a hostile stream from filling the memory.
        raw = decompressor.decompress(data, expected + 1)
    except zlib.error as error:
        raise SensError(f"depth stream: {error}") from None
    if len(raw) == expected and not decompressor.eof:
        # Only at its end has the stream's checksum been compared.
        raise SensError("depth stream without an end")
    if len(raw) != expected:
        raise SensError(f"depth stream of {len(raw)} bytes or more, {expected} were expected")
    depth = np.frombuffer(raw, "<u2").reshape(height, width)
    if header.depth_shift == MM_PER_M:
        return depth.astype(np.uint16)
    depth_mm = np.round(depth * (MM_PER_M / header.depth_shift))
    return np.clip(depth_mm, 0, 65535).astype(np.uint16)


def encode_depth(depth_mm: np.ndarray) -> bytes:
    """Compresses a `[H, W]` uint16 depth image in millimetres as ScanNet does."""
    if depth_mm.dtype != np.uint16 or depth_mm.ndim != 2:
        raise ValueError(f"[H, W] uint16 was expected, not {depth_mm.shape} {depth_mm.dtype}")
    return zlib.compress(depth_mm.astype("<u2").tobytes())


def write(
    path: str | os.PathLike,
    frames: Sequence[Frame],
    *,
    color_size: tuple[int, int],
    depth_size: tuple[int, int],
    intrinsic_color: np.ndarray,
    intrinsic_depth: np.ndarray,
) -> None:
    """Writes a `.sens` file of version 4 without IMU records.

    Args:
        path: the file, overwritten if it exists.
        frames: the frames in order; their `index` is their position and is not stored.
        color_size: (height, width) of the JPEGs in pixels.
        depth_size: (height, width) of the depth images in pixels.
        intrinsic_color: `[4, 4]` camera matrix of the colour grid.
        intrinsic_depth: `[4, 4]` camera matrix of the depth grid.
    """
    sensor = b"StructureSensor"
    identity = np.eye(4)
    with open(path, "wb") as file:
        file.write(struct.pack("<IQ", VERSION, len(sensor)) + sensor)
        for matrix in (intrinsic_color, identity, intrinsic_depth, identity):
            file.write(_bytes_of(matrix))
        sides = (color_size[1], color_size[0], depth_size[1], depth_size[0])
        file.write(_HEADER_END.pack(JPEG, ZLIB_USHORT, *sides, MM_PER_M, len(frames)))
        for frame in frames:
            sizes = (len(frame.color), len(frame.depth))
            times = (frame.timestamp_color_us, frame.timestamp_depth_us)
            file.write(_bytes_of(frame.camera_to_world) + _FRAME_SIZES.pack(*times, *sizes))
            file.write(frame.color)
            file.write(frame.depth)
        file.write(struct.pack("<Q", 0))


def _matrix(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<f4").reshape(4, 4).astype(np.float32)


def _bytes_of(matrix: np.ndarray) -> bytes:
    return np.asarray(matrix, "<f4").reshape(4, 4).tobytes()
