"""States in a PNG which data its numbers are, so that no reader takes them for something else."""

import struct
import zlib

KEYWORD = "psp_jax"  # Of the text in the file; its value is one of these.
DEPTH, REGIONS, CLASSES = "depth in mm", "labels", "classes"
_HEADER_END = 33  # The signature and IHDR, the first chunk.


def mark(png: bytes, holds: str) -> bytes:
    """Adds the text that a PNG holds `DEPTH`, `REGIONS` or `CLASSES`."""
    body = b"tEXt" + f"{KEYWORD}\0{holds}".encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:_HEADER_END] + chunk + png[_HEADER_END:]


def held_by(data: bytes) -> str | None:
    """Returns what a PNG that was marked holds; None for any other file."""
    start = b"tEXt" + KEYWORD.encode() + b"\0"
    place = _HEADER_END + 4
    if data[place : place + len(start)] != start:
        return None
    (length,) = struct.unpack(">I", data[_HEADER_END:place])
    return data[place + len(start) : place + 4 + length].decode("latin-1")
