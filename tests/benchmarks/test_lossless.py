import numpy as np
import pytest

lossless = pytest.importorskip(
    "benchmarks.lossless", reason='needs pip install -e ".[benchmark]"', exc_type=ImportError
)
ROWS, COLUMNS = np.mgrid[:48, :64]
DEPTH_MM = (900 + 8 * ROWS + np.where(COLUMNS > 30, 700 + 5 * COLUMNS, 0)).astype(np.uint16)
DEPTH_MM[5:9, 10:20] = 0


@pytest.mark.parametrize("bound", lossless.BOUNDS_PER_M)
def test_rounded_inverse_depth_errs_by_the_bound_at_most(bound):
    steps = lossless.rounded(DEPTH_MM, bound).astype(float)
    known = DEPTH_MM > 0
    np.testing.assert_array_equal(steps > 0, known)
    # The steps start anywhere, so that only differences count: of two errors of half a step each.
    inverse = 1000 / DEPTH_MM[known]
    error = np.ptp(2 * bound * steps[known] - inverse)
    assert error <= 2 * bound + 1e-9


@pytest.mark.parametrize("name", list(lossless.LOSSLESS))
def test_every_codec_returns_the_image(name):
    bits, *_ = lossless.without_loss(DEPTH_MM, name)
    assert 0 < bits < 16


def test_regions_keep_a_bound_and_every_millimetre():
    bits, decoded_mm = lossless.as_regions(DEPTH_MM, 1e-3, 0.01)
    assert np.abs(1000 / decoded_mm[40] - 1000 / DEPTH_MM[40]).max() < 0.011
    assert bits[0] < lossless.exact(DEPTH_MM, 1e-3)[0]
