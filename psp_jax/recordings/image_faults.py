"""Tells harmless oddities of image files from damage, and makes transparent images opaque."""

import dataclasses
import functools
import re
import struct

import numpy as np
import simplejpeg

from psp_jax.recordings import recording

_JPEG_END = b"\xff\xd9"
_START_OF_SCAN = 0xDA
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # Markers without a length.
# What some cameras write before the end; every pixel is decoded. More of it is left where lost
# blocks were decoded from zeros.
_PADDING = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_MAX_PADDING_BYTES = 32
_HEADER_BYTES = 33  # Of a PNG, before its other chunks.


@dataclasses.dataclass
class Policy:
    """How this process reads damaged images.

    Attributes:
        tolerant: whether a JPEG with lost blocks is read, not refused.
    """

    tolerant: bool = False


POLICY = Policy()


def trimmed(jpeg: bytes) -> bytes:
    """Returns a JPEG from its first byte to its end marker, which is added if it is missing.

    Phones append films and second pictures. The preview within a header has an end marker, too, so
    that only those behind the header count.
    """
    offset = 2
    while offset + 4 <= len(jpeg) and jpeg[offset] == 0xFF and jpeg[offset + 1] != _START_OF_SCAN:
        marker = jpeg[offset + 1]
        if marker == 0xFF:
            offset += 1
        elif marker in _JPEG_BARE:
            offset += 2
        else:
            offset += 2 + struct.unpack_from(">H", jpeg, offset + 2)[0]
    end = jpeg.find(_JPEG_END, offset)
    return jpeg + _JPEG_END if end < 0 else jpeg[: end + len(_JPEG_END)]


def decodable(jpeg: bytes) -> bytes:
    """Returns the JPEG `trimmed`; raises `Damaged` if blocks are lost, unless that is tolerated.

    Most decoders then only warn, and return an image that is partly gray.
    """
    complete = trimmed(jpeg)
    if damage := damage_of(complete):
        if not POLICY.tolerant:
            raise recording.Damaged(
                f"a truncated or damaged JPEG: {damage} (--tolerant reads what is left of it)"
            )
        _report_damage(damage)
    return complete


def damage_of(jpeg: bytes) -> str:
    """Returns the decoder's warning if it has to fill in blocks of a JPEG; otherwise empty."""
    try:
        simplejpeg.decode_jpeg(jpeg, "GRAY", strict=True)
    except ValueError as error:
        padding = _PADDING.fullmatch(str(error))
        return "" if padding and int(padding[1]) <= _MAX_PADDING_BYTES else str(error)
    return ""


def has_alpha(png: bytes) -> bool:
    """Returns whether a PNG has transparent pixels or could have some."""
    is_alpha_kind = len(png) > _HEADER_BYTES and png[25] in (4, 6)
    return is_alpha_kind or b"tRNS" in png[_HEADER_BYTES : png.find(b"IDAT")]


def opaque(bgra: np.ndarray) -> np.ndarray:
    """Puts an image with transparency over its own mean colour, and prints that once.

    Colours of transparent pixels are hidden from people, and often black or arbitrary.

    Args:
        bgra: `[H, W, 4]` uint8 or uint16.

    Returns:
        `[H, W, 3]` uint8 BGR.
    """
    if bgra.dtype == np.uint16:
        bgra = (bgra >> 8).astype(np.uint8)
    alpha = bgra[..., 3:] / np.float32(255)
    if alpha.min() == 1:
        return np.ascontiguousarray(bgra[..., :3])
    _report_transparency()
    colors = bgra[..., :3].astype(np.float32)
    visible = max(float(alpha.sum()), 1e-6)
    mean = (colors * alpha).sum((0, 1)) / visible if visible > 1e-6 else np.full(3, 127.5)
    return np.round(colors * alpha + mean * (1 - alpha)).astype(np.uint8)


@functools.cache
def _report_damage(damage: str) -> None:
    print(f"a damaged JPEG is read, gray where blocks are lost: {damage}")


@functools.cache
def _report_transparency() -> None:
    print("transparent pixels are given the mean colour of their image")
