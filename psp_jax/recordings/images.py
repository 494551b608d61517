"""Image files of unknown origin: their size is read from the header before anything is decoded."""

import dataclasses
import re
import struct

import cv2
import numpy as np

from psp_jax.recordings import recording

MAX_PIXELS = 1 << 25  # 33 megapixels; ScanNet's colour has 1.25. Decoded, at most 100 MB.
MAX_JPEG_SCANS = 100  # A progressive JPEG has about ten; thousands would decode for hours.
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"
_START_OF_SCAN = b"\xff\xda"
# Start of frame markers but the lossless and arithmetic ones, which no reader here decodes.
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # Markers without a length.
_PGM_HEADER = re.compile(rb"P5\s+(?:#[^\n]*\n\s*)*(\d{1,6})\s+(\d{1,6})\s+(\d{1,6})\s")


@dataclasses.dataclass(frozen=True)
class Shape:
    """What an image file says about itself.

    Attributes:
        size: (height, width) in pixels.
        channels: 1 for gray, 3 for colour.
        is_jpeg: a JPEG and not a PNG.
    """

    size: tuple[int, int]
    channels: int
    is_jpeg: bool


def shape_of(data: bytes) -> Shape:
    """Reads the size of a complete JPEG or PNG file from its header.

    Raises:
        Damaged: if it is neither, is cut off, or claims an absurd size.
    """
    if data.startswith(_PNG_MAGIC):
        shape = _png_shape(data)
    elif data.startswith(b"\xff\xd8"):
        shape = _jpeg_shape(data)
    else:
        raise recording.Damaged(f"{len(data)} bytes that are neither a JPEG nor a PNG file")
    height, width = shape.size
    if not 0 < height * width <= MAX_PIXELS:
        raise recording.Damaged(
            f"an image that claims {height}x{width} pixels; at most {MAX_PIXELS} are believed"
        )
    return shape


def decode_color(data: bytes, size: tuple[int, int] | None) -> np.ndarray:
    """Decodes a JPEG or PNG file to `[H, W, 3]` uint8 BGR.

    Args:
        data: the file.
        size: (height, width) it must have; None takes any that is not absurd.

    Raises:
        Damaged: if it can't be decoded, is cut off or has another size.
    """
    shape = shape_of(data)
    if size is not None and shape.size != size:
        raise recording.Damaged(f"{_text(shape.size)} pixels, {_text(size)} were expected")
    # The orientation in EXIF is ignored: depth is registered to the sensor's own grid.
    pixels = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels.shape != (*shape.size, 3):
        raise recording.Damaged(f"decodes to {pixels.shape}, its header says {_text(shape.size)}")
    return pixels


def decode_depth_png(data: bytes) -> np.ndarray:
    """Decodes a 16-bit gray PNG to `[H, W]` uint16.

    Raises:
        Damaged: if it is something else, or damaged.
    """
    shape = shape_of(data)
    if shape.is_jpeg or shape.channels != 1:
        raise recording.Damaged("depth must be a gray PNG")
    pixels = _decode(data, cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint16 or pixels.shape != shape.size:
        raise recording.Damaged(f"depth of {pixels.dtype} {pixels.shape}; 16-bit gray was expected")
    return pixels


def pgm_size(data: bytes) -> tuple[int, int]:
    """Reads the (height, width) of a 16-bit binary PGM.

    Raises:
        Damaged: if it is something else.
    """
    return _pgm_header(data)[0]


def decode_depth_pgm(data: bytes) -> np.ndarray:
    """Decodes a 16-bit binary PGM (P5, big-endian) to `[H, W]` uint16.

    Raises:
        Damaged: if it is something else, or of another length than its header says.
    """
    (height, width), offset = _pgm_header(data)
    if len(data) - offset != 2 * height * width:
        raise recording.Damaged(
            f"{len(data) - offset} bytes of pixels, {2 * height * width} were expected"
        )
    return np.frombuffer(data, ">u2", offset=offset).reshape(height, width).astype(np.uint16)


def depth_size(data: bytes) -> tuple[int, int]:
    """Reads the (height, width) of a depth PNG or PGM."""
    return pgm_size(data) if data.startswith(b"P5") else shape_of(data).size


def _pgm_header(data: bytes) -> tuple[tuple[int, int], int]:
    match = _PGM_HEADER.match(data[:1024])
    if not match:
        raise recording.Damaged("not a binary PGM")
    width, height, largest = map(int, match.groups())
    if not 255 < largest <= 65535:
        raise recording.Damaged(f"a PGM with values up to {largest}; 16 bits were expected")
    if not 0 < height * width <= MAX_PIXELS:
        raise recording.Damaged(f"a PGM that claims {height}x{width} pixels")
    return (height, width), match.end()


def _decode(data: bytes, flags: int) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise recording.Damaged(f"OpenCV can't decode it: {error.err}") from None
    if pixels is None:
        raise recording.Damaged("OpenCV can't decode it")
    return pixels


def _png_shape(data: bytes) -> Shape:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise recording.Damaged("a PNG without a header")
    if _PNG_END not in data[-64:]:
        raise recording.Damaged("a PNG that is cut off")
    width, height, _, kind = struct.unpack_from(">2I2B", data, 16)
    return Shape((height, width), 1 if kind in (0, 4) else 3, is_jpeg=False)


def _jpeg_shape(data: bytes) -> Shape:
    """Walks the segments up to the frame header; libjpeg would decode a cut file to half gray."""
    if _JPEG_END not in data[-64:]:
        raise recording.Damaged("a JPEG that is cut off")
    if data.count(_START_OF_SCAN) > MAX_JPEG_SCANS:
        raise recording.Damaged(f"a JPEG of more than {MAX_JPEG_SCANS} scans")
    offset = 2
    while offset + 9 <= len(data):
        if data[offset] != 0xFF:
            break
        marker = data[offset + 1]
        if marker == 0xFF:  # Fill bytes may stand before a marker.
            offset += 1
        elif marker in _JPEG_BARE:
            offset += 2
        elif marker in _JPEG_FRAMES:
            height, width, channels = struct.unpack_from(">2HB", data, offset + 5)
            return Shape((height, width), channels, is_jpeg=True)
        elif marker == _START_OF_SCAN[1]:
            break
        else:
            offset += 2 + struct.unpack_from(">H", data, offset + 2)[0]
    raise recording.Damaged("a JPEG without a frame header")


def _text(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
