"""Decodes colour images of unknown origin; checks the size in the header before decoding.

OpenCV decodes JPEG and PNG; Pillow all other formats, and HEIC where pillow-heif is installed.
Every function raises `recording.Damaged` if a file is of another kind, truncated, or larger than
`MAX_PIXELS`.
"""

import dataclasses
import importlib
import io
import struct

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps

from psp_jax.io import contents, image_kinds
from psp_jax.recordings import image_faults, recording

# Compared in lower case. What a file is, is decided by its first bytes.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"),
    *(".jp2", ".avif", ".heic", ".heif"),
)
MAX_PIXELS = 1 << 27  # Phones have 108 megapixels; decoded, at most 400 MB.
MAX_FILE_BYTES = 64 << 20  # A 1296x968 JPEG has 0.2 MB; no image of a frame is as large.
PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow warns from 89 megapixels on.
MAX_JPEG_SCANS = 100  # A progressive JPEG has about ten; thousands would decode for hours.
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_BITS_AT = 24  # Offset of the bits of a channel.
_JPEG_MAGIC = b"\xff\xd8"
_START_OF_SCAN = b"\xff\xda"
# Start of frame markers, without the lossless and arithmetic ones, which OpenCV doesn't decode.
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # Markers without a length.
# Without formats that run other programs, such as EPS.
_FORMATS = ("WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
# Pillow's plugins raise all of these for damaged files, and warnings where those are errors.
_PILLOW_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, struct.error, LookupError, RuntimeError),
    *(TypeError, ArithmeticError, Warning),
)


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
        raise recording.Damaged(f"expected a JPEG or PNG file, got {contents.describe(data)}")
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
    _expect_color(data)
    shape = shape_of(data)
    if size is not None and shape.size != size:
        raise recording.Damaged(f"expected {_text(size)} pixels, got {_text(shape.size)}")
    # The orientation in EXIF is ignored: depth is registered to the sensor's own grid.
    pixels = decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels.shape != (*shape.size, 3):
        raise recording.Damaged(f"expected {_text(shape.size)} pixels, decoded {pixels.shape}")
    return pixels


def decode_rgb(data: bytes) -> np.ndarray:
    """Decodes any colour image, turned upright as its EXIF says, to `[H, W, 3]` uint8 RGB.

    A gray image is repeated three times; of an animation, the first frame is taken.
    """
    if not data.startswith((_JPEG_MAGIC, _PNG_MAGIC)):
        with _open(data) as image:
            return _rgb_of(image, upright=True)
    _expect_color(data)
    shape = shape_of(data)
    if not shape.is_jpeg and shape.channels == 1 and data[_PNG_BITS_AT] == 16:
        raise recording.Damaged("expected a colour image, got 16-bit gray, which is a depth image")
    return np.ascontiguousarray(decode(data, cv2.IMREAD_COLOR)[..., ::-1])


def as_jpeg_or_png(data: bytes) -> bytes:
    """Returns a JPEG `trimmed`, a PNG as it is, and other images as a PNG of their pixels."""
    if data.startswith(_JPEG_MAGIC):
        return image_faults.trimmed(data)
    if data.startswith(_PNG_MAGIC):
        return data
    with _open(data) as image:
        return encode_png(_rgb_of(image))


def encode_png(rgb: np.ndarray) -> bytes:
    """Encodes `[H, W, 3]` uint8 RGB as a PNG."""
    done, png = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]))
    if not done:
        raise recording.Damaged("OpenCV can't encode it as a PNG")
    return png.tobytes()


def size_of(data: bytes) -> tuple[int, int]:
    """Reads the (height, width) of any image from its header."""
    if data.startswith((_JPEG_MAGIC, _PNG_MAGIC)):
        return shape_of(data).size
    with _open(data) as image:
        return image.height, image.width


def is_deep(data: bytes) -> bool:
    """Returns whether an image that Pillow reads is gray of more than 8 bits."""
    with _open(data) as image:
        return image.mode.startswith(("I", "F"))


def check_pixels(size: tuple[int, int]) -> None:
    """Raises `Damaged` unless an image of (height, width) may be decoded."""
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise recording.Damaged(f"expected an image of 1 to {MAX_PIXELS} pixels, got {_text(size)}")


def decode(data: bytes, flags: int) -> np.ndarray:
    """Decodes with OpenCV, whose `flags` are `cv2.IMREAD_*`.

    A JPEG that lost blocks is damaged, see `image_faults.POLICY`. Unless the pixels are to stay
    unchanged, a transparent PNG becomes opaque.
    """
    makes_opaque = False
    if data.startswith(_JPEG_MAGIC):
        data = image_faults.decodable(data)
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


def _expect_color(data: bytes) -> None:
    if holds := image_kinds.held_by(data):
        raise recording.Damaged(f"expected a colour image, got a result of this program, {holds}")


def _open(data: bytes) -> PIL.Image.Image:
    """Opens an image with Pillow, which reads the header only."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError:
            raise recording.Damaged("a HEIC image; pip install pillow-heif to read it") from None
    try:
        image = PIL.Image.open(io.BytesIO(data), formats=_formats())
    except PIL.UnidentifiedImageError:
        raise recording.Damaged(f"expected an image, got {contents.describe(data)}") from None
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise recording.Damaged(f"expected an image of 1 to {MAX_PIXELS} pixels") from None
    except _PILLOW_ERRORS as error:
        raise recording.Damaged(f"Pillow can't read it: {error}") from None
    check_pixels((image.height, image.width))
    return image


def _formats() -> list[str]:
    """Returns those of `_FORMATS` that Pillow knows; AVIF and HEIF depend on its build."""
    PIL.Image.init()
    return [name for name in _FORMATS if name in PIL.Image.OPEN]


def _rgb_of(image: PIL.Image.Image, *, upright: bool = False) -> np.ndarray:
    if image.mode.startswith(("I", "F")):
        raise recording.Damaged(
            f"expected a colour image, got gray of mode {image.mode}, which is a depth image"
        )
    try:
        turned = PIL.ImageOps.exif_transpose(image) if upright else image
        if turned.has_transparency_data:
            bgra = np.asarray(turned.convert("RGBA"))[..., [2, 1, 0, 3]]
            return image_faults.opaque(bgra)[..., ::-1]
        return np.asarray(turned.convert("RGB"))
    except _PILLOW_ERRORS as error:
        raise recording.Damaged(f"Pillow can't decode it: {error}") from None


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
