import numpy as np
import pytest

image_codecs = pytest.importorskip(
    "benchmarks.image_codecs", reason='needs pip install -e ".[benchmark]"', exc_type=ImportError
)
ROWS, COLUMNS = np.mgrid[:48, :64] / 64
UNIT = np.clip(0.3 + 0.5 * ROWS + 0.2 * np.sin(5 * COLUMNS) + 0.1 * (COLUMNS > 0.5), 0, 1)


@pytest.mark.parametrize("name", ["AVIF", "HEVC intra"])
def test_more_bytes_are_nearer_to_the_image(name):
    points = sorted(image_codecs.CODECS[name](UNIT))
    smallest, largest = points[0], points[-1]
    assert 2 * smallest[0] < largest[0] < UNIT.size * 2
    assert smallest[1] + 10 < largest[1] and largest[1] > 50


def test_hevc_keeps_twelve_bits():
    image = np.round(4095 * UNIT).astype(np.uint16)
    decoded = image_codecs.decode_hevc(image_codecs.encode_hevc(image, 0))
    assert decoded.shape == image.shape and decoded.dtype == np.uint16
    rmse = np.sqrt(np.mean((decoded.astype(float) - image) ** 2))
    assert rmse < 16 / np.sqrt(12)  # The RMSE of rounding to 8 bits.


def test_the_container_of_avif_does_not_count():
    def box(kind: bytes, content: bytes) -> bytes:
        return (8 + len(content)).to_bytes(4, "big") + kind + content

    file = box(b"ftyp", b"avif") + box(b"mdat", b"12345") + box(b"free", b"") + box(b"mdat", b"6")
    assert image_codecs._media_bytes(file) == 6


def test_a_cache_is_filled_once(tmp_path, monkeypatch):
    calls = []

    def codec(unit):
        calls.append(unit)
        return [(10, 40.0)]

    monkeypatch.setattr(image_codecs, "CODECS", {"A": codec})
    depth_mm = np.array([[1000, 2000], [3000, 4000]], np.uint16)
    first = image_codecs.measure(depth_mm, tmp_path)
    assert image_codecs.measure(depth_mm, tmp_path) == {"A": [[10, 40.0]]} and len(calls) == 1
    assert first == {"A": [(10, 40.0)]} and np.ptp(calls[0]) == 1
    monkeypatch.setattr(image_codecs, "CODECS", {"A": codec, "B": codec})
    assert image_codecs.measure(depth_mm, tmp_path).keys() == {"A", "B"} and len(calls) == 2
