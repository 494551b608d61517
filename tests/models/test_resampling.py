import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax.models import resampling


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(60, 80), (15, 20), (59, 45), (6, 7)])
def test_adaptive_pooling_averages_cells_that_cover_and_may_overlap(size, bins):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    expected = np.empty((2, bins, bins, 3))
    for i in range(bins):
        for j in range(bins):
            top, bottom = int(np.floor(i * size[0] / bins)), int(np.ceil((i + 1) * size[0] / bins))
            left, right = int(np.floor(j * size[1] / bins)), int(np.ceil((j + 1) * size[1] / bins))
            expected[:, i, j] = x[:, top:bottom, left:right].mean((1, 2), dtype=np.float64)
    actual = resampling.adaptive_average_pool(jnp.asarray(x), bins)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "new"), [((6, 8), (60, 80)), ((60, 80), (7, 5)), ((1, 3), (4, 9))]
)
def test_resizing_aligns_corners_like_linear_interpolation(size, new):
    # Positions are float32, as in PyTorch, which is 1e-6 of 80 columns times the slope.
    x = np.random.default_rng(0).normal(size=(1, *size, 2)).astype(np.float32)
    rows = np.linspace(0, size[0] - 1, new[0])
    columns = np.linspace(0, size[1] - 1, new[1])
    expected = np.empty((1, *new, 2))
    for channel in range(2):
        across = [np.interp(columns, np.arange(size[1]), line) for line in x[0, :, :, channel]]
        along = [np.interp(rows, np.arange(size[0]), line) for line in np.transpose(across)]
        expected[0, :, :, channel] = np.transpose(along)
    actual = resampling.resize(jnp.asarray(x), new)
    np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_resizing_to_the_same_size_changes_nothing():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 7, 2)))
    np.testing.assert_array_equal(resampling.resize(x, (5, 7)), x)


def test_antialiased_resizing_is_a_triangle_as_wide_as_an_output_pixel():
    x = jnp.asarray([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 4, 1)
    # By hand: weights 1, 3, 3, 1 of 8 around 0.5 and 2.5, the borders being mirrored.
    actual = resampling.resize_antialiased(x, (1, 2))[0, 0, :, 0]
    np.testing.assert_allclose(actual, [(1 + 3 + 6 + 3) / 8, (2 + 9 + 12 + 4) / 8])


@pytest.mark.parametrize(("size", "new"), [((40, 31), (17, 12)), ((5, 7), (13, 9))])
def test_antialiased_resizing_equals_jaxs_away_from_the_border(size, new):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, *size, 2)), jnp.float32)
    expected = jax.image.resize(x, (1, *new, 2), "linear", antialias=True)
    actual = resampling.resize_antialiased(x, new)
    np.testing.assert_allclose(actual[:, 3:-3, 3:-3], expected[:, 3:-3, 3:-3], atol=1e-5)
    ones = resampling.resize_antialiased(jnp.ones_like(x), new)
    np.testing.assert_allclose(ones, 1, atol=1e-6)


@pytest.mark.parametrize(("size", "stride"), [(16, 2), (17, 2), (32, 4), (33, 4)])
def test_enlarging_puts_values_where_a_strided_convolution_had_its_centres(size, stride):
    centres = np.arange(0, size, stride)
    x = jnp.asarray(np.broadcast_to(centres, (1, len(centres), len(centres))))[..., None]
    enlarged = np.asarray(resampling.enlarge(x.astype(jnp.float32), (size, size)))[0, 0, :, 0]
    # A ramp comes back exactly; beyond the last centre its value is repeated.
    np.testing.assert_allclose(enlarged, np.minimum(np.arange(size), centres[-1]), atol=1e-5)


@pytest.mark.parametrize(("height", "width", "factor"), [(6, 8, 2), (5, 7, 2), (4, 7, 3)])
def test_pixels_of_a_cell_are_its_channels_and_come_back(height, width, factor):
    x = np.random.default_rng(0).random((2, height, width, 3), np.float32)
    cells = np.asarray(resampling.pixel_unshuffle(jnp.asarray(x), factor))
    np.testing.assert_array_equal(cells[:, 1, 1, :3], x[:, factor, factor])
    np.testing.assert_array_equal(cells[:, 1, 1, 3:6], x[:, factor, factor + 1])
    back = np.asarray(resampling.pixel_shuffle(jnp.asarray(cells), factor))
    np.testing.assert_array_equal(back[:, :height, :width], x)
    # Broken cells repeat the border.
    np.testing.assert_array_equal(
        back[:, height:, :width], np.repeat(x[:, -1:], back.shape[1] - height, 1)
    )
