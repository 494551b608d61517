"""States in an image file what the program wrote it for, so that no reader takes it for another.

A PNG gets a text chunk, a JPEG a comment.
"""

import struct
import zlib
from collections.abc import Iterator

KEYWORD = "psp_jax"  # Of the text in the file; its value is one of these.
DEPTH, REGIONS, CLASSES, PICTURE = "depth in mm", "labels", "classes", "a picture of results"
FILM = f"{KEYWORD}: {PICTURE}"  # The comment of a video.
_PNG_MAGIC, _JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_HEADER_END = 33  # Of a PNG: the signature and IHDR, the first chunk.
_COMMENT = b"\xff\xfe"
_APPLICATION = tuple(bytes((0xFF, 0xE0 + number)) for number in range(16))


def mark(image: bytes, holds: str) -> bytes:
    """Adds the text that a PNG or JPEG holds `DEPTH`, `REGIONS`, `CLASSES` or a `PICTURE`."""
    text = f"{KEYWORD}\0{holds}".encode("latin-1")
    if image.startswith(_JPEG_MAGIC):
        place = 4 + struct.unpack_from(">H", image, 4)[0]  # Behind JFIF's segment, which is first.
        chunk = _COMMENT + struct.pack(">H", len(text) + 2) + text
    else:
        place, body = _HEADER_END, b"tEXt" + text
        chunk = struct.pack(">I", len(text)) + body + struct.pack(">I", zlib.crc32(body))
    return image[:place] + chunk + image[place:]


def held_by(data: bytes) -> str | None:
    """Returns what a PNG or JPEG that was marked holds; None for any other file."""
    texts = _comments(data) if data.startswith(_JPEG_MAGIC) else _texts(data)
    for text in texts:
        keyword, _, value = text.partition(b"\0")
        if keyword == KEYWORD.encode():
            return value.decode("latin-1")
    return None


def _comments(jpeg: bytes) -> Iterator[bytes]:
    """Yields the comments next to the application segments, with which a JPEG begins."""
    place = 2
    while len(jpeg) >= place + 4 and (jpeg[place : place + 2] in (_COMMENT, *_APPLICATION)):
        (length,) = struct.unpack_from(">H", jpeg, place + 2)
        if jpeg[place : place + 2] == _COMMENT:
            yield jpeg[place + 4 : place + 2 + length]
        place += 2 + length


def _texts(png: bytes) -> Iterator[bytes]:
    """Yields the texts with which a PNG begins: Matplotlib writes its own before others."""
    place = _HEADER_END
    while png.startswith(_PNG_MAGIC) and png[place + 4 : place + 8] == b"tEXt":
        (length,) = struct.unpack_from(">I", png, place)
        yield png[place + 8 : place + 8 + length]
        place += 12 + length
