import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax.objectives import losses


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_means_count_the_mask_and_join():
    values = jnp.asarray([1.0, jnp.nan, 3.0, 5.0])
    mean = losses.masked_mean(values, jnp.asarray([True, False, True, True]))
    assert (float(mean.total), float(mean.count), float(mean.value())) == (9, 3, 3)
    nothing = losses.masked_mean(values, jnp.zeros(4, bool))
    assert float(nothing.value()) == 0


def test_squared_log_error_is_that_of_keras():
    predicted, target = np.array([0.0, 3.0, 200.0]), np.array([1.0, 3.0, 255.0])
    with np.errstate(divide="ignore"):
        log_predicted = jnp.asarray(np.log(predicted), jnp.float32)
    expected = (np.log1p(predicted) - np.log1p(target)) ** 2
    actual = losses.squared_log_error(log_predicted, jnp.asarray(target))
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_berhu_is_linear_near_zero_and_quadratic_and_smooth_beyond():
    c = jnp.asarray(0.5)
    residual = jnp.asarray([-0.2, 0.5, 1.0, -2.0])
    np.testing.assert_allclose(losses.berhu(residual, c), [0.2, 0.5, 1.25, 4.25], rtol=1e-6)
    slope = jax.vmap(jax.jit(jax.grad(lambda r: losses.berhu(r, c))))(residual)
    np.testing.assert_allclose(slope, [-1, 1, 2, -4], rtol=1e-6)


def test_the_threshold_of_berhu_is_a_fifth_of_the_largest_masked_residual():
    residual = jnp.asarray([[1.0, -2.0], [30.0, jnp.nan]])
    mask = jnp.asarray([[True, True], [False, False]])
    np.testing.assert_allclose(losses.berhu_threshold(residual, mask), 0.4, rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda r: losses.berhu_threshold(r, mask)))(residual)
    np.testing.assert_array_equal(gradient, 0)
    zero = jnp.zeros((2, 2))
    value = losses.berhu(zero, losses.berhu_threshold(zero, mask))
    np.testing.assert_array_equal(value, 0)


def silog(difference, mask, focus):
    return losses.scale_invariant_log(difference, mask, variance_focus=focus, scale=10.0)


@pytest.mark.parametrize("focus", [0.0, 0.5, 0.85])
def test_scale_invariant_log_is_the_formula_image_by_image(focus):
    e = random(3, 5, 6)
    mask = np.random.default_rng(1).random((3, 5, 6)) < 0.6
    expected = [
        10 * np.sqrt((e[i][mask[i]] ** 2).mean() - focus * e[i][mask[i]].mean() ** 2)
        for i in range(3)
    ]
    np.testing.assert_allclose(silog(e, mask, focus), expected, rtol=1e-5)


def test_a_variance_focus_of_one_ignores_the_scale():
    e = random(1, 8, 8)
    mask = jnp.ones((1, 8, 8), bool)
    np.testing.assert_allclose(silog(e + 3, mask, 1.0), silog(e, mask, 1.0), rtol=1e-4)
    constant = jnp.full((1, 8, 8), 0.7)
    np.testing.assert_allclose(silog(constant, mask, 0.85), 10 * np.sqrt(0.15) * 0.7, rtol=1e-4)


def test_invalid_pixels_make_no_nan_in_the_gradient_of_scale_invariant_log():
    """Multiplying by the mask and taking logs afterwards does; so does a root at 0."""
    predicted = jnp.asarray([[[1.0, 2.0, 3.0]]])
    truth = jnp.asarray([[[1.0, 0.0, 3.0]]])
    mask = truth > 0

    def loss(predicted):
        e = jnp.log(predicted) - jnp.log(truth)  # Infinite where there is no reading.
        return silog(e, mask, 0.85).sum()

    gradient = jax.jit(jax.grad(loss))(predicted)
    np.testing.assert_array_equal(gradient, 0)  # No error where depth is known.
    gradient = jax.jit(jax.grad(lambda e: silog(e, jnp.zeros_like(mask), 0.85).sum()))(predicted)
    np.testing.assert_array_equal(gradient, 0)


def naive_gradient_matching(e, mask, scales):
    total = 0.0
    for scale in range(scales):
        step = 2**scale
        for dy, dx in ((0, step), (step, 0)):
            pairs = []
            for b, y, x in np.ndindex(e.shape):
                other = y + dy, x + dx
                inside = other[0] < e.shape[1] and other[1] < e.shape[2]
                if y % step or x % step or not inside:
                    continue
                if mask[b, y, x] and mask[b, *other]:
                    pairs.append(abs(e[b, *other] - e[b, y, x]))
            total += np.mean(pairs) if pairs else 0.0
    return total


@pytest.mark.parametrize("scales", [1, 4])
def test_gradients_are_matched_between_neighbours_in_the_image(scales):
    """Not between images or channels, and not at strides 2, 4, 6."""
    e = random(2, 9, 13)
    mask = np.random.default_rng(1).random((2, 9, 13)) < 0.8
    expected = naive_gradient_matching(e, mask, scales)
    actual = losses.gradient_matching(jnp.where(mask, e, jnp.nan), mask, scales=scales)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_ramp_has_the_gradient_of_its_strides_and_a_constant_none():
    mask = jnp.ones((2, 16, 24), bool)
    across = jnp.broadcast_to(0.1 * jnp.arange(24.0), (2, 16, 24))
    value = losses.gradient_matching(across, mask, scales=4)
    np.testing.assert_allclose(value, 0.1 * (1 + 2 + 4 + 8), rtol=1e-5)
    constants = jnp.broadcast_to(jnp.asarray([1.0, 5.0])[:, None, None], (2, 16, 24))
    np.testing.assert_allclose(losses.gradient_matching(constants, mask, scales=4), 0, atol=1e-6)


def log_softmax(z):
    z = z.astype(np.float64)
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def test_cross_entropies_are_minus_the_log_of_the_softmax():
    z, labels = random(4, 5, 7), np.random.default_rng(1).integers(0, 7, (4, 5))
    chosen = np.take_along_axis(log_softmax(z), labels[..., None], -1)[..., 0]
    np.testing.assert_allclose(losses.cross_entropy(z, labels), -chosen, rtol=1e-5, atol=1e-6)
    q = np.random.default_rng(2).dirichlet(np.ones(7), (4, 5))
    expected = -(q * log_softmax(z)).sum(-1)
    np.testing.assert_allclose(losses.soft_cross_entropy(z, q), expected, rtol=1e-5)


def test_labels_out_of_range_have_a_finite_loss():
    z, labels = random(2, 3, 16), np.full((2, 3), 255, np.uint8)
    assert np.isfinite(losses.cross_entropy(z, labels)).all()


def test_sigmoid_cross_entropy_is_minus_the_log_of_the_sigmoid():
    z, labels = 3 * random(4, 5), np.random.default_rng(1).random((4, 5)) < 0.5
    p = 1 / (1 + np.exp(-z.astype(np.float64)))
    expected = -np.log(np.where(labels, p, 1 - p))
    np.testing.assert_allclose(losses.sigmoid_cross_entropy(z, labels), expected, rtol=1e-4)


def test_ordinal_loss_is_one_binary_question_per_threshold():
    z = random(5, 4)
    p = 1 / (1 + np.exp(-z.astype(np.float64)))
    rank = np.array([0, 1, 2, 3, 4])
    expected = [
        -np.log(p[i, : rank[i]]).sum() - np.log(1 - p[i, rank[i] :]).sum() for i in range(5)
    ]
    np.testing.assert_allclose(losses.ordinal(z, rank), expected, rtol=1e-5)
