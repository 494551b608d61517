import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax.objectives import bins

LOG_BINS = bins.LogBins(0.3, 10.0, 64)


def test_the_edges_span_the_range_with_equal_ratios():
    edges = LOG_BINS.edges()
    assert len(edges) == 65
    np.testing.assert_allclose(edges[[0, 32, 64]], [0.3, np.sqrt(3.0), 10.0], rtol=1e-12)
    np.testing.assert_allclose(edges[1:] / edges[:-1], (10 / 0.3) ** (1 / 64), rtol=1e-12)


def test_every_depth_is_in_the_bin_whose_edges_enclose_it():
    """Also depths below 1 m, whose log is negative."""
    edges = LOG_BINS.edges()
    depth = np.random.default_rng(0).uniform(0.301, 9.99, 1000)
    position = np.asarray(LOG_BINS.position(jnp.asarray(depth)))
    enclosed = np.searchsorted(edges, depth) - 1
    nearest = np.abs(edges[:, None] / depth - 1).min(0) > 1e-4  # Not where rounding decides.
    np.testing.assert_array_equal(np.round(position)[nearest], enclosed[nearest])
    centers = LOG_BINS.log_centers()
    np.testing.assert_allclose(centers, np.log(np.sqrt(edges[1:] * edges[:-1])), rtol=1e-5)
    inner = (depth > edges[1]) & (depth < edges[-2])
    np.testing.assert_allclose(
        np.interp(position, np.arange(64), centers)[inner], np.log(depth)[inner], atol=1e-4
    )


def test_depths_outside_the_range_are_in_the_outermost_bins():
    position = LOG_BINS.position(jnp.asarray([0.0, 1e-3, 0.3, 10.0, 1e6]))
    np.testing.assert_array_equal(position, [0, 0, 0, 63, 63])


def test_gray_levels_divide_the_range_into_255():
    depth = jnp.asarray([0.0, 10 / 255, 5.1 / 2.55, 9.99, 10.0, 12.0])
    np.testing.assert_array_equal(
        bins.gray_level(depth, max_depth_m=10.0), [0, 1, 51, 255, 255, 255]
    )
    depths = bins.gray_level_depths(max_depth_m=10.0)
    np.testing.assert_array_equal(
        bins.gray_level(jnp.asarray(depths), max_depth_m=10.0), range(256)
    )


@pytest.mark.parametrize("sharpness", [0.2, 2.0])
def test_soft_labels_are_a_bell_around_the_position(sharpness):
    labels = np.asarray(bins.soft_labels(jnp.asarray([20.3, 0.0]), 64, sharpness=sharpness))
    bell = np.exp(-sharpness * (20.3 - np.arange(64)) ** 2)
    np.testing.assert_allclose(labels[0], bell / bell.sum(), atol=1e-6)
    np.testing.assert_allclose(labels.sum(-1), 1, rtol=1e-6)


def test_the_expected_log_of_soft_labels_is_the_depth_they_encode():
    depth = np.array([0.5, 1.234, 3.0, 7.7], np.float32)
    log_bins = bins.LogBins(0.3, 10.0, 128)
    labels = bins.soft_labels(log_bins.position(jnp.asarray(depth)), 128, sharpness=0.2)
    expected = bins.expected_value(jnp.log(labels + 1e-30), log_bins.log_centers())
    np.testing.assert_allclose(jnp.exp(expected), depth, rtol=1e-3)


def test_expected_values_by_hand_and_without_overflow():
    logits = jnp.log(jnp.asarray([[0.4, 0.05, 0.15, 0.3, 0.1]]))
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0], np.float32)
    np.testing.assert_allclose(bins.expected_value(logits, values), [2.65], rtol=1e-6)
    certain = jnp.asarray([-1e30, 1e30, 0.0])
    value, gradient = jax.jit(jax.value_and_grad(lambda z: bins.expected_value(z, values[:3])))(
        certain
    )
    np.testing.assert_allclose(value, 2.0)
    assert np.isfinite(gradient).all()
