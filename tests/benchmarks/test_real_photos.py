import numpy as np
import pytest

from benchmarks import real_photos


def test_errors_are_of_the_depth_whose_median_is_aligned():
    truth_mm = np.array([[1000, 2000, 4000], [0, 20000, 2000]], np.uint16)
    # No reading and 20 m don't count; the medians are 2 m and 4, so the factor is 1/2.
    predicted = np.array([[4.0, 4.0, 4.0], [9.0, 9.0, 6.0]])
    absolute, within = real_photos.aligned_errors(predicted, truth_mm)
    assert absolute == pytest.approx((1 / 1 + 0 / 2 + 2 / 4 + 1 / 2) / 4)
    assert within == pytest.approx(1 / 4)


def test_errors_do_not_depend_on_the_scale():
    rng = np.random.default_rng(0)
    truth_mm = rng.integers(500, 9000, (12, 16)).astype(np.uint16)
    predicted = truth_mm / 1000 * rng.uniform(0.8, 1.3, truth_mm.shape)
    errors = real_photos.aligned_errors(predicted, truth_mm)
    assert real_photos.aligned_errors(7 * predicted, truth_mm) == pytest.approx(errors)
    assert real_photos.aligned_errors(truth_mm / 500, truth_mm) == pytest.approx((0, 1))


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((6, 8), slice(0, 6), slice(0, 8)),  # 4:3 already.
        ((6, 12), slice(0, 6), slice(2, 10)),  # Too wide.
        ((10, 8), slice(2, 8), slice(0, 8)),  # Too high.
    ],
)
def test_the_middle_of_an_image_is_4_to_3(size, rows, columns):
    image = np.arange(size[0] * size[1]).reshape(size)
    np.testing.assert_array_equal(real_photos._middle(image), image[rows, columns])
    colors = np.stack([image] * 3, -1)
    np.testing.assert_array_equal(real_photos._middle(colors), colors[rows, columns])
