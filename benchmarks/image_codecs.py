"""Measures image codecs on inverse depth: bytes and distortion at many settings.

Every codec gets inverse depth between its extremes in the frame, in the bits that it takes, and the
extremes for free. All bytes are of real streams, decoded again, on one thread.
"""

import fractions
import json
import pathlib
import zlib
from collections.abc import Callable, Iterable

import av
import imagecodecs
import numpy as np

from psp_jax.io import files
from psp_jax.io.units import MM_PER_M

# Efforts and distances of JPEG XL.
JPEG_XL = (
    *((7, distance) for distance in (1.0, 2.0, 4.0, 6.5, 10.0, 16.0, 25.0)),
    *((9, distance) for distance in (1.0, 2.5, 5.0, 10.0, 25.0)),
)
AVIF_QUALITIES = (1, 3, 6, 10, 20, 30, 40, 50, 60, 70, 80, 90)
AVIF_SPEED = 2  # Of 0 to 10; slower ones save 3 % at several times the time.
HEVC_QUANTIZERS = range(12, 52, 3)
Point = tuple[float, float]  # Bytes and dB.


def jpeg(unit: np.ndarray) -> list[Point]:
    """Returns the points of JPEG in 8 bits; `unit` is `[H, W]` float64 in 0..1, as for all."""
    return _points(
        unit,
        8,
        (1, 3, 6, 10, 15, 20, 30, 40, 50, 60, 70, 80, 88, 94, 98),
        lambda image, level: imagecodecs.jpeg8_encode(image, level=level, optimize=True),
        imagecodecs.jpeg8_decode,
    )


def webp(unit: np.ndarray) -> list[Point]:
    """Returns the points of WebP in 8 bits."""
    return _points(
        unit,
        8,
        (0, 3, 8, 15, 25, 40, 55, 70, 80, 90, 95, 100),
        lambda image, level: imagecodecs.webp_encode(
            _gray_rgb(image), level=level, lossless=False, method=6
        ),
        lambda data: imagecodecs.webp_decode(data)[..., 1],
    )


def jpeg2000(unit: np.ndarray) -> list[Point]:
    """Returns the points of JPEG 2000 in 8 and 16 bits."""

    def encode(image: np.ndarray, level: float) -> bytes:
        return imagecodecs.jpeg2k_encode(image, level=level, codecformat="j2k", reversible=False)

    levels, decode = range(34, 58, 2), imagecodecs.jpeg2k_decode
    return [p for bits in (8, 16) for p in _points(unit, bits, levels, encode, decode)]


def jpeg_xl(unit: np.ndarray) -> list[Point]:
    """Returns the points of JPEG XL in 8 and 16 bits."""

    def encode(image: np.ndarray, setting: tuple[int, float]) -> bytes:
        effort, distance = setting
        return imagecodecs.jpegxl_encode(
            image, effort=effort, distance=distance, usecontainer=False, numthreads=1
        )

    decode = imagecodecs.jpegxl_decode
    return [
        *_points(unit, 8, JPEG_XL[:7], encode, decode),
        *_points(unit, 16, JPEG_XL, encode, decode),
    ]


def avif(unit: np.ndarray) -> list[Point]:
    """Returns the points of AVIF in 12 bits; bytes are of the AV1 stream, without the container."""

    def encode(image: np.ndarray, quality: int) -> bytes:
        return imagecodecs.avif_encode(
            _gray_rgb(image),  # imagecodecs codes gray images without loss only.
            quality,
            speed=AVIF_SPEED,
            bitspersample=12,
            pixelformat="yuv420",
            numthreads=1,
        )

    def decode(data: bytes) -> np.ndarray:
        return imagecodecs.avif_decode(data)[..., 1]

    return _points(unit, 12, AVIF_QUALITIES, encode, decode, _media_bytes)


def hevc(unit: np.ndarray) -> list[Point]:
    """Returns the points of HEVC intra in 12 bits, by x265 at its preset `veryslow`."""
    return _points(unit, 12, HEVC_QUANTIZERS, encode_hevc, decode_hevc)


def encode_hevc(image: np.ndarray, quantizer: int) -> bytes:
    """Codes `[H, W]` uint16 in 12 bits as one intra frame of HEVC."""
    encoder = av.CodecContext.create("libx265", "w")
    encoder.height, encoder.width = image.shape
    encoder.pix_fmt, encoder.time_base = "gray12le", fractions.Fraction(1, 25)
    settings = f"qp={quantizer}:keyint=1:info=0:hash=0:pools=none:frame-threads=1:log-level=none"
    encoder.options = {"preset": "veryslow", "x265-params": settings}
    frame = av.VideoFrame.from_ndarray(image, format="gray12le")
    return b"".join(map(bytes, [*encoder.encode(frame), *encoder.encode(None)]))


def decode_hevc(data: bytes) -> np.ndarray:
    """Decodes what `encode_hevc` returned."""
    decoder = av.CodecContext.create("hevc", "r")
    packets = [*decoder.parse(data), *decoder.parse(None), None]
    (frame,) = (frame for packet in packets for frame in decoder.decode(packet))
    return frame.to_ndarray()


CODECS: dict[str, Callable[[np.ndarray], list[Point]]] = {
    "JPEG": jpeg,
    "WebP": webp,
    "JPEG 2000": jpeg2000,
    "JPEG XL": jpeg_xl,
    "AVIF": avif,
    "HEVC intra": hevc,
}


def measure(depth_mm: np.ndarray, cache: pathlib.Path | None) -> dict[str, list[Point]]:
    """Returns the points of every codec on `[H, W]` millimetres without holes.

    With a cache, codecs that it has for this frame are read from there, and others are added.
    """
    inverse = MM_PER_M / depth_mm
    unit = (inverse - inverse.min()) / np.ptp(inverse)
    if cache is None:
        return {name: codec(unit) for name, codec in CODECS.items()}
    path = cache / f"{zlib.crc32(depth_mm.tobytes()):08x}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in CODECS.keys() - known.keys():
        known[name] = CODECS[name](unit)
        files.write(path, json.dumps(known))
    return {name: known[name] for name in CODECS}


def _points(
    unit: np.ndarray,
    bits: int,
    settings: Iterable,
    encode: Callable,
    decode: Callable,
    length: Callable[[bytes], int] = len,
) -> list[Point]:
    most = 2**bits - 1
    image = np.round(unit * most).astype(np.uint8 if bits == 8 else np.uint16)
    points = []
    for setting in settings:
        data = encode(image, setting)
        error = decode(data).astype(np.float64).reshape(unit.shape) / most - unit
        points.append((length(data), float(-20 * np.log10(np.sqrt(np.mean(error**2))))))
    return points


def _gray_rgb(image: np.ndarray) -> np.ndarray:
    """Returns three equal channels, of which the decoder uses one."""
    return np.stack([image] * 3, axis=-1)


def _media_bytes(data: bytes) -> int:
    """Returns the length of the media data of a file of ISO boxes."""
    at, total = 0, 0
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        total += size - 8 if kind == b"mdat" else 0
        at += size
    return total
