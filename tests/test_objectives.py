import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import objectives
from psp_jax.batch import Batch


def make_batch(depth, valid=None):
    depth = np.asarray(depth, np.float32)
    count = len(depth)
    return Batch(
        image=np.zeros((*depth.shape, 3), np.float32),
        depth=depth,
        filled_depth=np.maximum(depth, 0.5),
        frontier=np.zeros(depth.shape, np.uint8),
        filled=depth == 0,
        valid=np.ones(count, bool) if valid is None else np.asarray(valid),
    )


def test_mse_is_the_mean_over_pixels_with_a_reading():
    objective = objectives.DepthMSE(center_m=2.0, scale_m=0.5)
    batch = make_batch([[[1.0, 0.0], [3.0, 2.0]]])
    output = jnp.asarray([[[[0.0], [9.0]], [[2.0], [-2.0]]]])  # 2, ignored, 3, 1 metres
    loss = objective.loss(output, batch)
    assert float(loss.count) == 3
    np.testing.assert_allclose(loss.value(), (1 + 0 + 1) / 3, rtol=1e-6)


def test_padding_images_count_nothing():
    objective = objectives.DepthMSE()
    depth = np.full((2, 4, 4), 2.0)
    output = jnp.zeros((2, 4, 4, 1))
    both = objective.loss(output, make_batch(depth))
    one = objective.loss(output, make_batch(depth, valid=[True, False]))
    assert float(one.count) == float(both.count) / 2 == 16


def test_a_batch_without_readings_has_loss_zero_and_a_finite_gradient():
    batch = make_batch(np.zeros((1, 4, 4)))

    def loss(output):
        return objectives.DepthMSE().loss(output, batch).value()

    value, gradient = jax.value_and_grad(loss)(jnp.full((1, 4, 4, 1), 3.0))
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, 0)


def test_prediction_is_resized_to_the_image_in_metres():
    objective = objectives.DepthMSE(center_m=2.0, scale_m=3.0)
    output = jnp.asarray([[[[0.0], [1.0]]]])
    depth = objective.predict(output, (1, 3)).depth
    np.testing.assert_allclose(depth, [[[2.0, 3.5, 5.0]]], rtol=1e-6)


def test_a_scale_of_zero_is_refused():
    with pytest.raises(ValueError, match="scale_m=0"):
        objectives.DepthMSE(scale_m=0).check()
