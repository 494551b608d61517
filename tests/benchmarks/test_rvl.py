import numpy as np
import pytest

from benchmarks import rvl

ROW = np.array([[0, 0, 0, 5, 5, 4, 0, 104]], np.uint16)


def test_a_row_by_hand():
    # 3 without, 3 with: +5 0 -1, folded 10 0 1; 1 without, 1 with: +100, folded 200 = 0o310.
    groups = [3, 3, 8 + 2, 1, 0, 1, 1, 1, 8 + 0, 8 + 1, 3, 0, 0, 0, 0, 0]  # Filled up to a word.
    packed = bytes(high << 4 | low for high, low in zip(groups[::2], groups[1::2], strict=True))
    assert rvl.encode(ROW) == packed
    np.testing.assert_array_equal(rvl.decode(packed, ROW.shape), ROW)


@pytest.mark.parametrize("holes", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("largest", [3, 9000, 65535])
def test_images_survive(holes, largest):
    rng = np.random.default_rng(0)
    depth = rng.integers(1, largest + 1, (31, 17)).astype(np.uint16)
    depth[rng.random(depth.shape) < holes] = 0
    data = rvl.encode(depth)
    decoded = rvl.decode(data, depth.shape)
    np.testing.assert_array_equal(decoded, depth)
    assert decoded.dtype == np.uint16 and len(data) % 4 == 0


def test_holes_at_both_ends_survive():
    for row in ([[0, 7, 0]], [[7, 0, 7]], [[0]], [[65535]]):
        depth = np.array(row, np.uint16)
        np.testing.assert_array_equal(rvl.decode(rvl.encode(depth), depth.shape), depth)
