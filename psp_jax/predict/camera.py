"""Estimates the focal length of a photo, from its EXIF data or from a field of view."""

import math
import pathlib
from typing import NamedTuple

from PIL import Image

ASSUMED_FOV_DEG = 60.0  # Horizontal, of a photo that states nothing; phones have 60 to 70.
_FILM_DIAGONAL_MM = math.hypot(36, 24)
_EXIF, _FOCAL_35MM = 0x8769, 0xA405  # The folder of camera settings in EXIF, and a tag in it.


class Focal(NamedTuple):
    """A focal length.

    Attributes:
        pixels: the focal length in pixels.
        origin: where it is from, for people.
    """

    pixels: float
    origin: str


def focal(size: tuple[int, int], source: pathlib.Path | None, fov_deg: float | None) -> Focal:
    """Returns the focal length of an image.

    Args:
        size: (height, width) in pixels.
        source: its file, whose EXIF data may hold the focal length in 35 mm film terms.
        fov_deg: horizontal field of view; it has precedence over EXIF.
    """
    if fov_deg is None and source is not None and (film_mm := _film_focal_mm(source)):
        pixels = film_mm * math.hypot(*size) / _FILM_DIAGONAL_MM
        return Focal(pixels, f"EXIF, {film_mm:g} mm on 35 mm film")
    origin = "given" if fov_deg is not None else "assumed, since the photo states none"
    fov_deg = fov_deg or ASSUMED_FOV_DEG
    pixels = size[1] / 2 / math.tan(math.radians(fov_deg) / 2)
    return Focal(pixels, f"horizontal field of view of {fov_deg:g} degrees, {origin}")


def _film_focal_mm(source: pathlib.Path) -> float | None:
    try:
        with Image.open(source) as image:
            value = float(image.getexif().get_ifd(_EXIF).get(_FOCAL_35MM, 0))
    except (OSError, SyntaxError, TypeError, ValueError, OverflowError):
        return None  # Videos, and photos whose EXIF data is damaged.
    return value if 1 <= value <= 10000 else None
