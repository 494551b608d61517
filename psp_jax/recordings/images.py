"""Decodes image files of unknown origin; checks the size in the header before decoding.

Every function raises `recording.Damaged` if a file is of another kind, truncated, or larger than
`MAX_PIXELS`.
"""

import dataclasses
import re
import struct

import cv2
import numpy as np

from psp_jax.io import contents
from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import image_faults, recording

MAX_PIXELS = 1 << 27  # Phones have 108 megapixels; decoded, at most 400 MB.
MAX_FILE_BYTES = 64 << 20  # A 1296x968 JPEG has 0.2 MB; no image of a frame is as large.
MAX_JPEG_SCANS = 100  # A progressive JPEG has about ten; thousands would decode for hours.
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_BITS_AT = 24  # Offset of the bits of a channel.
_JPEG_MAGIC = b"\xff\xd8"
_START_OF_SCAN = b"\xff\xda"
# Start of frame markers, without the lossless and arithmetic ones, which OpenCV doesn't decode.
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # Markers without a length.
_PGM_HEADER = re.compile(rb"P5\s+(?:#[^\n]*\n\s*)*(\d{1,6})\s+(\d{1,6})\s+(\d{1,6})\s")


@dataclasses.dataclass(frozen=True)
class Shape:
    """The header of an image file.

    Attributes:
        size: (height, width) in pixels.
        channels: 1 for gray, 3 for colour.
        is_jpeg: True for a JPEG, False for a PNG.
    """

    size: tuple[int, int]
    channels: int
    is_jpeg: bool


def shape_of(data: bytes) -> Shape:
    """Reads the header of a complete JPEG or PNG file."""
    if data.startswith(_PNG_MAGIC):
        shape = _png_shape(data)
    elif data.startswith(_JPEG_MAGIC):
        shape = _jpeg_shape(data)
    else:
        what = contents.placeholder(data[:256]) or f"{len(data)} other bytes"
        raise recording.Damaged(f"expected a JPEG or PNG file, got {what}")
    check_pixels(shape.size)
    return shape


def decode_color(data: bytes, size: tuple[int, int] | None) -> np.ndarray:
    """Decodes a JPEG or PNG file.

    Args:
        data: the file.
        size: expected (height, width) in pixels; None accepts any.

    Returns:
        `[H, W, 3]` uint8 BGR.
    """
    shape = shape_of(data)
    if size is not None and shape.size != size:
        raise recording.Damaged(f"expected {_text(size)} pixels, got {_text(shape.size)}")
    # The orientation in EXIF is ignored: depth is registered to the sensor's own grid.
    pixels = _decode(data, cv2.IMREAD_COLOR_BGR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels.shape != (*shape.size, 3):
        raise recording.Damaged(f"expected {_text(shape.size)} pixels, decoded {pixels.shape}")
    return pixels


def decode_rgb(data: bytes) -> np.ndarray:
    """Decodes a colour JPEG or PNG, turned upright as its EXIF says, to `[H, W, 3]` uint8 RGB."""
    shape = shape_of(data)
    if not shape.is_jpeg and shape.channels == 1 and data[_PNG_BITS_AT] == 16:
        raise recording.Damaged("expected a colour image, got 16-bit gray, which is a depth image")
    return np.ascontiguousarray(_decode(data, cv2.IMREAD_COLOR_BGR)[..., ::-1])


def decode_depth_png(data: bytes) -> np.ndarray:
    """Decodes a 16-bit gray PNG to `[H, W]` uint16."""
    shape = shape_of(data)
    if shape.is_jpeg or shape.channels != 1:
        raise recording.Damaged("depth: expected a gray PNG, got another image")
    pixels = _decode(data, cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint16 or pixels.shape != shape.size:
        raise recording.Damaged(f"depth: expected 16-bit gray, got {pixels.dtype} {pixels.shape}")
    return pixels


def decode_depth_pgm(data: bytes) -> np.ndarray:
    """Decodes a 16-bit binary PGM (P5, big-endian) to `[H, W]` uint16."""
    (height, width), offset = _pgm_header(data)
    if len(data) - offset != 2 * height * width:
        raise recording.Damaged(
            f"PGM: expected {2 * height * width} bytes of pixels, got {len(data) - offset}"
        )
    return np.frombuffer(data, ">u2", offset=offset).reshape(height, width).astype(np.uint16)


def depth_size(data: bytes) -> tuple[int, int]:
    """Reads the (height, width) of a depth PNG or PGM from its header."""
    return _pgm_header(data)[0] if data.startswith(b"P5") else shape_of(data).size


def to_millimetres(depth: np.ndarray, units_per_m: float) -> np.ndarray:
    """Converts `[H, W]` uint16 depth to uint16 millimetres; values beyond 65535 are clipped."""
    if units_per_m == MM_PER_M:
        return depth.astype(np.uint16)
    depth_mm = np.round(depth * (MM_PER_M / units_per_m))
    return np.clip(depth_mm, 0, np.iinfo(np.uint16).max).astype(np.uint16)


def _pgm_header(data: bytes) -> tuple[tuple[int, int], int]:
    """Returns the (height, width) and the offset of the pixels."""
    match = _PGM_HEADER.match(data[:1024])
    if not match:
        raise recording.Damaged("expected a binary PGM, got another file")
    width, height, largest = map(int, match.groups())
    if not 255 < largest <= 65535:
        raise recording.Damaged(f"PGM: expected 16 bits, got values up to {largest}")
    check_pixels((height, width))
    return (height, width), match.end()


def check_pixels(size: tuple[int, int]) -> None:
    """Raises `Damaged` unless an image of (height, width) may be decoded."""
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise recording.Damaged(f"expected an image of 1 to {MAX_PIXELS} pixels, got {_text(size)}")


def _decode(data: bytes, flags: int) -> np.ndarray:
    makes_opaque = False
    if data.startswith(_JPEG_MAGIC):
        data = image_faults.intact(data)
    elif flags != cv2.IMREAD_UNCHANGED and image_faults.has_alpha(data):
        flags, makes_opaque = cv2.IMREAD_UNCHANGED, True
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise recording.Damaged(f"OpenCV can't decode it: {error.err}") from None
    if pixels is None:
        raise recording.Damaged("OpenCV can't decode it")
    if makes_opaque and pixels.ndim == 3 and pixels.shape[2] == 4:
        return image_faults.opaque(pixels)
    return pixels


def _png_shape(data: bytes) -> Shape:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise recording.Damaged("a PNG without a header")
    if _PNG_END not in data:
        raise recording.Damaged("a truncated PNG")
    width, height, _, kind = struct.unpack_from(">2I2B", data, 16)
    return Shape((height, width), 1 if kind in (0, 4) else 3, is_jpeg=False)


def _jpeg_shape(data: bytes) -> Shape:
    """Walks the segments up to the frame header."""
    data = image_faults.trimmed(data)
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
