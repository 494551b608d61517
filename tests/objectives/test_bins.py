import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax.objectives import bins


def test_log_edges_begin_and_end_at_depths_and_not_at_powers_of_ten_of_them():
    edges = bins.log_edges(0.3, 10.0, 64)
    assert len(edges) == 65
    np.testing.assert_allclose(edges[[0, 32, 64]], [0.3, np.sqrt(3.0), 10.0], rtol=1e-12)
    np.testing.assert_allclose(edges[1:] / edges[:-1], (10 / 0.3) ** (1 / 64), rtol=1e-12)


def test_every_depth_falls_into_the_bin_whose_edges_enclose_it():
    """Depths below 1 m, whose log is negative, too."""
    edges = bins.log_edges(0.3, 10.0, 64)
    depth = np.random.default_rng(0).uniform(0.301, 9.99, 1000)
    position = np.asarray(bins.log_position(jnp.asarray(depth), 0.3, 10.0, 64))
    enclosed = np.searchsorted(edges, depth) - 1
    nearest = np.abs(edges[:, None] / depth - 1).min(0) > 1e-4  # Not where rounding decides.
    np.testing.assert_array_equal(np.round(position)[nearest], enclosed[nearest])
    centers = bins.log_centers(0.3, 10.0, 64)
    np.testing.assert_allclose(centers, np.log(np.sqrt(edges[1:] * edges[:-1])), rtol=1e-5)
    inner = (depth > edges[1]) & (depth < edges[-2])
    np.testing.assert_allclose(
        np.interp(position, np.arange(64), centers)[inner], np.log(depth)[inner], atol=1e-4
    )


def test_depths_outside_fall_into_the_outermost_bins():
    position = bins.log_position(jnp.asarray([0.0, 1e-3, 0.3, 10.0, 1e6]), 0.3, 10.0, 64)
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


def test_soft_labels_decode_to_the_depth_they_were_made_of():
    depth = np.array([0.5, 1.234, 3.0, 7.7], np.float32)
    labels = bins.soft_labels(
        bins.log_position(jnp.asarray(depth), 0.3, 10.0, 128), 128, sharpness=0.2
    )
    logits, centers = jnp.log(labels + 1e-30), bins.log_centers(0.3, 10.0, 128)
    np.testing.assert_allclose(jnp.exp(bins.Expected()(logits, centers)), depth, rtol=1e-3)
    for decode in (bins.Argmax(), bins.Median()):
        width = (10 / 0.3) ** (1 / 128)
        decoded = np.exp(np.asarray(decode(logits, centers)))
        assert (np.abs(np.log(decoded / depth)) <= np.log(width)).all()


def test_decoders_of_a_distribution_by_hand():
    logits = jnp.log(jnp.asarray([[0.4, 0.05, 0.15, 0.3, 0.1]]))
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0], np.float32)
    np.testing.assert_allclose(bins.Argmax()(logits, values), [1.0])
    np.testing.assert_allclose(bins.Median()(logits, values), [3.0])
    np.testing.assert_allclose(bins.Expected()(logits, values), [2.65], rtol=1e-6)
    half = jnp.log(jnp.asarray([0.5, 0.5]))
    np.testing.assert_allclose(bins.Median()(half, values[:2]), 1.0)


def test_certain_distributions_decode_without_overflow():
    logits = jnp.asarray([-1e30, 1e30, 0.0])
    values = np.array([1.0, 2.0, 3.0], np.float32)
    for decode in (bins.Argmax(), bins.Expected(), bins.Median()):
        np.testing.assert_allclose(decode(logits, values), 2.0)
        assert np.isfinite(jax.grad(lambda z, decode=decode: decode(z, values))(logits)).all()
