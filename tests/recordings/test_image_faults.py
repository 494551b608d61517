"""Images as phones, cameras, downloads and failing disks leave them."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest

from psp_jax.recordings import image_faults, images, recording

SIZE = (96, 128)


@pytest.fixture
def tolerant(monkeypatch):
    """Reads as with --tolerant."""
    monkeypatch.setattr(image_faults.POLICY, "tolerant", True)
    image_faults._report_damage.cache_clear()


@pytest.fixture(scope="module")
def bgr():
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8), (0, 0), 3)


def jpeg(bgr, *options):
    return cv2.imencode(".jpg", bgr, list(options))[1].tobytes()


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def cmyk(bgr):
    data = io.BytesIO()
    PIL.Image.fromarray(bgr).convert("CMYK").save(data, "JPEG")
    return data.getvalue()


def with_preview(data):
    """Puts a second JPEG, with its own end marker, into a header."""
    preview = b"Exif" + jpeg(np.zeros((16, 16, 3), np.uint8))
    return data[:2] + b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview + data[2:]


KINDS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restart markers": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
}
HARMLESS = {
    "nothing": lambda data: data,
    "no end marker": lambda data: data[:-2],
    "text behind the end": lambda data: data + b"caption" * 100,
    "a film behind the end": lambda data: data + bytes(range(256)) * 300 + b"\xff\xda" * 200,
    "a second picture": lambda data: data + data,
    "one byte behind the end": lambda data: data + b"\x00",
    "bytes before the end": lambda data: data[:-2] + bytes(16) + data[-2:],
    "a preview": with_preview,
    "a preview and no end marker": lambda data: with_preview(data)[:-2],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", HARMLESS)
def test_harmless_oddities_of_a_jpeg_change_no_pixel(bgr, kind, way):
    data = jpeg(bgr, *KINDS[kind])
    expected = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    odd = HARMLESS[way](data)
    np.testing.assert_array_equal(images.decode_color(odd, SIZE), expected)
    np.testing.assert_array_equal(images.decode_rgb(odd), expected[..., ::-1])


def zeroed(data):
    middle = len(data) // 2
    return data[:middle] + bytes(500) + data[middle + 500 :]


LOST = {
    "zeroed blocks": zeroed,
    "zeros to the end": lambda data: data[: len(data) // 2] + bytes(len(data) // 2),
    "zeros before the end mark": lambda data: (
        data[: len(data) // 2] + bytes(len(data) // 2) + data[-2:]
    ),
    "half of it": lambda data: data[: len(data) // 2],
    "half of it, with an end": lambda data: data[: len(data) // 2] + b"\xff\xd9",
    "half of it, with a preview": lambda data: with_preview(data)[: len(data) // 2],
    "a block cut out": lambda data: data[: len(data) // 2] + data[len(data) // 2 + 700 :],
}


@pytest.mark.parametrize("kind", ["baseline", "progressive"])
@pytest.mark.parametrize("way", LOST)
def test_a_jpeg_that_lost_blocks_is_damaged(bgr, kind, way):
    """OpenCV decodes all of these, with a warning, to images that are partly gray."""
    data = LOST[way](jpeg(bgr, *KINDS[kind]))
    with pytest.raises(recording.Damaged, match="--tolerant"):
        images.decode_rgb(data)


@pytest.mark.parametrize("kind", ["baseline", "progressive"])
@pytest.mark.parametrize("way", LOST)
def test_a_tolerant_reader_takes_what_is_left(bgr, kind, way, tolerant, capsys):
    data = jpeg(bgr, *KINDS[kind])
    whole, left = images.decode_rgb(data), images.decode_rgb(LOST[way](data))
    assert left.shape == whole.shape
    if kind == "baseline":  # The upper left corner comes first.
        np.testing.assert_array_equal(left[:8, :40], whole[:8, :40])
    assert "damaged JPEG is read" in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"<html>"])
def test_a_tolerant_reader_needs_a_header(data, tolerant):
    with pytest.raises(recording.Damaged):
        images.decode_rgb(data)


@pytest.mark.parametrize("convert", [jpeg, cmyk, lambda bgr: jpeg(bgr[..., 0])])
def test_every_colour_space_is_read(bgr, convert):
    assert images.decode_rgb(convert(bgr)).shape == (*SIZE, 3)


@pytest.mark.parametrize("tail", [b"", b"\n", b"text" * 1000])
def test_bytes_behind_a_png_do_not_matter(bgr, tail):
    np.testing.assert_array_equal(images.decode_color(png(bgr) + tail, SIZE), bgr)
    with pytest.raises(recording.Damaged, match="truncated"):
        images.decode_color(png(bgr)[:-20] + tail, SIZE)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "PA", "RGBA 16", "WEBP", "TIFF"])
def test_transparent_pixels_get_the_mean_colour_of_the_others(kind):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:4] = (100, 100, 100, 255)
    rgba[2:4] = (200, 200, 200, 255)
    rgba[6:] = (0, 255, 0, 0)  # A colour that nobody sees.
    image = io.BytesIO()
    if kind == "RGBA 16":
        image.write(png(rgba.astype(np.uint16) * 257))
    elif kind == "PA":
        PIL.Image.fromarray(rgba).quantize(8).save(image, "PNG")
    elif kind in ("WEBP", "TIFF"):
        PIL.Image.fromarray(rgba).save(image, kind, lossless=True)
    else:
        PIL.Image.fromarray(rgba).convert(kind).save(image, "PNG")
    pixels = images.decode_rgb(image.getvalue())
    assert pixels.shape == (8, 8, 3)
    np.testing.assert_allclose(pixels[0, 0], 100, atol=1)
    np.testing.assert_allclose(pixels[3, 0], 200, atol=1)
    np.testing.assert_allclose(pixels[7, 7], 150, atol=1)


def test_a_png_that_is_opaque_keeps_its_pixels(bgr):
    alpha = np.full((*SIZE, 1), 255, np.uint8)
    data = png(np.concatenate([bgr, alpha], -1))
    np.testing.assert_array_equal(images.decode_color(data, SIZE), bgr)


def test_transparency_is_reported_once(capsys):
    for _ in range(3):
        images.decode_rgb(png(np.zeros((8, 8, 4), np.uint8)))
    assert capsys.readouterr().out.count("\n") <= 1


@pytest.mark.parametrize("size", [(6048, 8064), (1, 40000)])
def test_large_photos_are_read(size):
    assert images.decode_rgb(jpeg(np.zeros((*size, 3), np.uint8))).shape == (*size, 3)


def test_the_limit_of_every_format_is_beyond_108_megapixels():
    """The headers alone are read; Pillow's own limit would warn at 89 megapixels."""
    for kind, suffix in (("1", "PPM"), ("L", "TIFF")):
        image = io.BytesIO()
        PIL.Image.new(kind, (12000, 9000)).save(image, suffix)
        assert images.size_of(image.getvalue()) == (9000, 12000)
    header = b"P6 100000 100000 255\n"
    with pytest.raises(recording.Damaged, match="pixels"):
        images.decode_rgb(header)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"PK\x03\x04", "a zip file: unpack it"),
        (b"noise", "a file of another kind"),
        (b"", "an empty file"),
    ],
)
def test_what_is_no_image_is_named(data, message):
    with pytest.raises(recording.Damaged, match=message):
        images.decode_rgb(data)
