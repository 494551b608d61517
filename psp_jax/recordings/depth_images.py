"""Decodes depth images: 16-bit PNG and PGM, TIFF, PFM, NPY and EXR, of integers or floats.

Every function raises `recording.Damaged` if a file is of another kind, truncated, or larger than
`images.MAX_PIXELS`.
"""

import contextlib
import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from psp_jax.io import image_kinds
from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import images, recording

# Compared in lower case. What a file is, is decided by its first bytes.
SUFFIXES = (".png", ".pgm", ".tif", ".tiff", ".pfm", ".npy", ".exr")
_PGM_HEADER = re.compile(rb"P5\s+(?:#[^\n]*\n\s*)*(\d{1,6})\s+(\d{1,6})\s+(\d{1,6})\s")
_PFM_HEADER = re.compile(rb"Pf\s+(\d{1,6})\s+(\d{1,6})\s")
_TIFF_MAGIC = (b"II*\x00", b"MM\x00*")
_NPY_MAGIC = b"\x93NUMPY"
_EXR_MAGIC = b"v/1\x01"
_MAX_NPY_HEADER = 10_000


def decode(data: bytes) -> np.ndarray:
    """Decodes a depth image to `[H, W]` uint16 or float32 in the units of the file.

    Floats that are not finite become 0.
    """
    if data.startswith(b"P5"):
        return _decode_pgm(data)
    if data.startswith(_NPY_MAGIC):
        return _checked(_decode_npy(data))
    if data.startswith(_EXR_MAGIC):
        return _checked(_decode_exr(data))
    if data.startswith(_TIFF_MAGIC) or _PFM_HEADER.match(data[:64]):
        size(data)
        return _checked(images.decode(data, cv2.IMREAD_UNCHANGED))
    if (holds := image_kinds.held_by(data)) not in (None, image_kinds.DEPTH):
        raise recording.Damaged(f"expected depth, got a result of this program, {holds}")
    shape = images.shape_of(data)
    if shape.is_jpeg:
        raise recording.Damaged("depth: expected a 16-bit gray image, got a JPEG of 8 bits")
    pixels = _checked(images.decode(data, cv2.IMREAD_UNCHANGED))
    if pixels.shape != shape.size:
        raise recording.Damaged(f"depth: expected {shape.size} pixels, decoded {pixels.shape}")
    return pixels


def size(data: bytes) -> tuple[int, int]:
    """Reads the (height, width) of a depth image from its header."""
    if data.startswith(b"P5"):
        return _pgm_header(data)[0]
    if match := _PFM_HEADER.match(data[:64]):
        width, height = map(int, match.groups())
        images.check_pixels((height, width))
        return height, width
    if data.startswith(_NPY_MAGIC):
        return _npy_size(data)
    if data.startswith(_EXR_MAGIC):
        return _exr_size(data)
    return images.size_of(data)


def without_largest(depth: np.ndarray) -> np.ndarray:
    """Replaces 65535 by 0: 7-Scenes and others mark pixels without a reading by it."""
    if depth.dtype != np.uint16:
        return depth
    return np.where(depth == np.iinfo(np.uint16).max, np.uint16(0), depth)


def to_millimetres(depth: np.ndarray, units_per_m: float) -> np.ndarray:
    """Converts `[H, W]` depth to uint16 millimetres, 0 for none; values beyond 65535 are clipped.

    Rounds half to even. Of 16-bit integers at U units per metre, a millimetre is exact where U is a
    multiple of 1000, and else off by at most half a millimetre.
    """
    if units_per_m == MM_PER_M and depth.dtype == np.uint16:
        return depth
    depth_mm = np.round(depth * np.float64(MM_PER_M / units_per_m))
    return np.clip(depth_mm, 0, np.iinfo(np.uint16).max).astype(np.uint16)


def _checked(pixels: np.ndarray) -> np.ndarray:
    """Accepts one channel of 16-bit integers or of floats."""
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim != 2:
        raise recording.Damaged(
            f"depth: expected one gray channel, got {pixels.dtype} {pixels.shape}; a coloured "
            "picture of depth can't be read back"
        )
    if pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
        return np.where(np.isfinite(pixels), pixels, np.float32(0))
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize > 1 and pixels.dtype != np.uint16:
        return np.maximum(pixels, 0).astype(np.float32)
    if pixels.dtype != np.uint16:
        raise recording.Damaged(
            f"depth: expected 16-bit gray or floats, got {pixels.dtype} {pixels.shape}"
        )
    return pixels


def _decode_npy(data: bytes) -> np.ndarray:
    _npy_size(data)
    try:
        return np.load(io.BytesIO(data), allow_pickle=False, max_header_size=_MAX_NPY_HEADER)
    except (ValueError, EOFError, OSError, tokenize.TokenError) as error:
        raise recording.Damaged(f"NPY: {error}") from None


def _npy_size(data: bytes) -> tuple[int, int]:
    try:
        stream = io.BytesIO(data)
        major, _ = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        if major > 1:
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream, max_header_size=_MAX_NPY_HEADER)
    except (ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise recording.Damaged(f"NPY: {error}") from None
    if len(shape) not in (2, 3) or dtype.hasobject:
        raise recording.Damaged(f"NPY: expected an array [H, W], got {dtype} {shape}")
    height, width = shape[:2]
    images.check_pixels((height, width))
    return height, width


def _decode_exr(data: bytes) -> np.ndarray:
    """Decodes the only channel, that of the name Z, or the first of several equal ones."""
    _exr_size(data)
    with _opened_exr(data, separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    if "Z" in channels:
        return channels["Z"]
    pixels = list(channels.values())
    if not pixels or any(not np.array_equal(pixels[0], each) for each in pixels[1:]):
        raise recording.Damaged(f"EXR: expected one channel or Z, got {', '.join(channels)}")
    return pixels[0]


def _exr_size(data: bytes) -> tuple[int, int]:
    with _opened_exr(data, header_only=True) as file:
        (left, top), (right, bottom) = file.header()["dataWindow"]
    height, width = int(bottom - top) + 1, int(right - left) + 1
    images.check_pixels((height, width))
    return height, width


@contextlib.contextmanager
def _opened_exr(data: bytes, **options: bool) -> Iterator[Any]:
    try:
        exr = importlib.import_module("OpenEXR")
    except ImportError:
        raise recording.Damaged("an EXR image; pip install OpenEXR to read it") from None
    try:
        with exr.File(io.BytesIO(data), **options) as file:
            yield file
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise recording.Damaged(f"EXR: {error}") from None


def _decode_pgm(data: bytes) -> np.ndarray:
    """Decodes a 16-bit binary PGM (P5, big-endian) to `[H, W]` uint16."""
    (height, width), offset = _pgm_header(data)
    if len(data) - offset != 2 * height * width:
        raise recording.Damaged(
            f"PGM: expected {2 * height * width} bytes of pixels, got {len(data) - offset}"
        )
    return np.frombuffer(data, ">u2", offset=offset).reshape(height, width).astype(np.uint16)


def _pgm_header(data: bytes) -> tuple[tuple[int, int], int]:
    """Returns the (height, width) and the offset of the pixels."""
    match = _PGM_HEADER.match(data[:1024])
    if not match:
        raise recording.Damaged("expected a binary PGM, got another file")
    width, height, largest = map(int, match.groups())
    if not 255 < largest <= 65535:
        raise recording.Damaged(f"PGM: expected 16 bits, got values up to {largest}")
    images.check_pixels((height, width))
    return (height, width), match.end()
