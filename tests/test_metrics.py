import jax.numpy as jnp
import numpy as np

from psp_jax import metrics
from tests.test_objectives import make_batch


def test_figures_of_a_frame_computed_by_hand():
    depth = np.full((1, 3, 4), 2.0)
    depth[0, 0, :2] = 0, 12.0  # No reading, and one beyond the range.
    predicted = np.full((1, 3, 4), 2.2)
    predicted[0, 0] = 99.0, 99.0, 2.2, 4.0
    figures = metrics.depth_figures(jnp.asarray(predicted), make_batch(depth), range_m=10.0)
    differences = np.array([0.2] * 9 + [2.0])
    np.testing.assert_allclose(figures["abs_rel"], [differences.mean() / 2], rtol=1e-5)
    np.testing.assert_allclose(figures["rmse_m"], [np.sqrt((differences**2).mean())], rtol=1e-5)
    np.testing.assert_allclose(figures["delta1"], [0.9], rtol=1e-6)
    np.testing.assert_allclose(figures["mad_levels"], [differences.mean() * 25.5], rtol=1e-5)
    assert bool(figures["counted"][0])


def test_predictions_are_clipped_to_the_range():
    batch = make_batch(np.full((2, 4, 4), 5.0))
    predicted = jnp.asarray([np.full((4, 4), -3.0), np.full((4, 4), 1e9)])
    figures = metrics.depth_figures(predicted, batch, range_m=10.0)
    np.testing.assert_allclose(figures["rmse_m"], [5.0 - metrics.MIN_DEPTH_M, 5.0], rtol=1e-5)


def test_averages_are_over_images_and_leave_out_padding_and_empty_frames():
    depth = np.full((4, 4, 4), 2.0)
    depth[1] = 0
    batch = make_batch(depth, valid=[True, True, True, False])
    predicted = np.full((4, 4, 4), 2.0)
    predicted[2] = 3.0
    predicted[3] = 9.0
    averages = metrics.Averages()
    averages.add(metrics.depth_figures(jnp.asarray(predicted), batch, range_m=10.0))
    means = averages.means()
    assert averages.images == 2
    np.testing.assert_allclose(means["rmse_m"], 0.5, rtol=1e-6)
    np.testing.assert_allclose(means["abs_rel"], 0.25, rtol=1e-6)
