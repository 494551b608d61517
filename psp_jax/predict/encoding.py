"""Encodes arrays as files: pictures, PNGs that hold data, tables, arrays, and point clouds."""

import csv
import io
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from psp_jax.io import image_kinds, units

MAX_REGIONS = 1 << 16
JPEG_QUALITY = 92
MAX_POINTS = 1_000_000  # Of a point cloud; of a larger image every n-th row and column is taken.


def jpeg(pixels: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """Encodes a picture, `[H, W, 3]` uint8 RGB, as JPEG."""
    data = _encoded(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)
    return image_kinds.mark(data, image_kinds.PICTURE)


def png(pixels: np.ndarray, holds: str = image_kinds.PICTURE) -> bytes:
    """Encodes `[H, W]` numbers or `[H, W, 3]` RGB as PNG.

    Args:
        pixels: uint8 or uint16.
        holds: the data that the numbers are, which a text in the file states.
    """
    return image_kinds.mark(_encoded(pixels, ".png"), holds)


def depth_png(depth_m: np.ndarray) -> bytes:
    """Encodes `[H, W]` float32 metres as uint16 millimetres, at least 1.

    Raises:
        ValueError: if a value does not fit.
    """
    largest_m, limit_m = depth_m.max(), units.MAX_DEPTH_MM / units.MM_PER_M
    if largest_m > limit_m:
        raise ValueError(
            f"expected depth up to {limit_m} m, got {largest_m:.1f} m, which does not fit 16 "
            "bits; choose arrays instead of depth (--outputs=arrays)"
        )
    return png(units.to_millimetres(depth_m, minimum=1), image_kinds.DEPTH)


def regions_png(regions: np.ndarray) -> bytes:
    """Encodes `[H, W]` labels from 0 as uint16.

    Raises:
        ValueError: if a number does not fit.
    """
    count = int(regions.max()) + 1
    if count > MAX_REGIONS:
        raise ValueError(
            f"expected at most {MAX_REGIONS} regions, got {count} regions, which do not fit 16 "
            "bits; choose arrays instead of regions (--outputs=arrays)"
        )
    return png(regions.astype(np.uint16), image_kinds.REGIONS)


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Encodes arrays by name as one compressed file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    """Encodes rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue().encode()


def ply(
    depth_m: np.ndarray, image: np.ndarray, focal_px: float, comments: Sequence[str] = ()
) -> bytes:
    """Encodes the points of a depth image as a binary PLY with colours.

    A point is in metres, x to the right, y down and z forward, seen by a pinhole camera whose
    optical axis goes through the middle of the image.

    Args:
        depth_m: `[H, W]` float32 metres along the optical axis.
        image: `[H, W, 3]` uint8 RGB.
        focal_px: focal length in pixels.
        comments: lines of the header.
    """
    height, width = depth_m.shape
    step = int(np.ceil(np.sqrt(max(height * width / MAX_POINTS, 1))))
    y, x = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    z = depth_m[y, x]
    fields = [(name, "<f4") for name in ("x", "y", "z")]
    fields += [(name, "u1") for name in ("red", "green", "blue")]
    points = np.empty(z.size, fields)
    points["x"] = ((x - (width - 1) / 2) * z / focal_px).ravel()
    points["y"] = ((y - (height - 1) / 2) * z / focal_px).ravel()
    points["z"] = z.ravel()
    for channel, name in enumerate(("red", "green", "blue")):
        points[name] = image[y, x, channel].ravel()
    kinds = {"<f4": "float", "|u1": "uchar"}
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in comments),
        f"element vertex {len(points)}",
        *(f"property {kinds[points.dtype[n].str]} {n}" for n in points.dtype.names or ()),
        "end_header",
    ]
    return ("\n".join(lines) + "\n").encode("ascii", "replace") + points.tobytes()


def _encoded(pixels: np.ndarray, suffix: str, *parameters: int) -> bytes:
    if 0 in pixels.shape or pixels.ndim not in (2, 3):
        raise ValueError(f"expected an image, got an array of shape {pixels.shape}")
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    done, data = cv2.imencode(suffix, bgr, parameters)
    if not done:
        raise ValueError(f"OpenCV can't encode an image of {pixels.dtype} {pixels.shape}")
    return data.tobytes()
