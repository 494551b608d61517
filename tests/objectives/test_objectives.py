import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from psp_jax import objectives
from psp_jax.io import ranges
from tests.batches import make_batch


def depth_of(objective, output, size):
    depth = objective.predict(output, size).depth
    assert depth is not None
    return np.asarray(depth)


def test_mse_is_the_mean_over_pixels_with_a_reading():
    objective = objectives.DepthMSE(center_m=2.0, scale_m=0.5)
    batch = make_batch([[[1.0, 0.0], [3.0, 2.0]]])
    output = jnp.asarray([[[[0.0], [9.0]], [[2.0], [-2.0]]]])  # 2, ignored, 3, 1 metres
    loss = objective.loss(output, batch)
    assert float(loss.count) == 3
    np.testing.assert_allclose(loss.value(), (1 + 0 + 1) / 3, rtol=1e-6)


def test_prediction_is_resized_to_the_image_in_metres():
    objective = objectives.DepthMSE(center_m=2.0, scale_m=3.0)
    output = jnp.asarray([[[[0.0], [1.0]]]])
    depth = depth_of(objective, output, (1, 3))
    np.testing.assert_allclose(depth, [[[2.0, 3.5, 5.0]]], rtol=1e-6)


DEPTHS = [
    objectives.DepthMSE(),
    objectives.DepthBerHu(),
    objectives.DepthMSLE(),
    objectives.DepthSILog(),
    objectives.DepthSILog(gradient_weight=0.5),
    objectives.DepthCE(),
    objectives.DepthBins(bins=32),
    objectives.DepthOrdinal(thresholds=64),
]
VARIANTS = [
    *DEPTHS,
    objectives.FrontierSoftmax(),
    objectives.FrontierSoftmax(interior_weight=0.0),
    objectives.FrontierSigmoid(),
    objectives.FrontierEdges(),
    objectives.DepthAndFrontier(),
]
EVERY_DEPTH = pytest.mark.parametrize("objective", DEPTHS, ids=lambda o: type(o).__name__)
EVERY = pytest.mark.parametrize("objective", VARIANTS, ids=lambda o: type(o).__name__)


def test_the_variants_tested_here_are_all_there_are():
    kinds = {
        value
        for value in vars(objectives).values()
        if dataclasses.is_dataclass(value) and hasattr(value, "predict")
    }
    assert {type(objective) for objective in VARIANTS} == kinds


COMPILED = {
    id(objective): jax.jit(
        jax.value_and_grad(lambda x, batch, o=objective: o.loss(x, batch).value())
    )
    for objective in VARIANTS
}


def loss_and_gradient(objective, output, batch):
    return COMPILED[id(objective)](output, batch)


def make_output(objective, size=(3, 4), count=2):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(count, *size, objective.channels)), jnp.float32)


def make_case(name):
    """A batch of two 12x16 images, some of whose labels are missing or extreme."""
    depth = np.random.default_rng(1).uniform(0.5, 6, (2, 12, 16))
    valid = np.ones(2, bool)
    if name == "no reading":
        depth[:] = 0
    elif name == "holes":
        depth[:, ::2] = 0
    elif name == "one pixel":
        depth[:] = 0
        depth[0, 5, 5] = 2.0
    elif name == "padding":
        valid[:] = False
    elif name == "far and near":
        depth[0], depth[1] = 1e4, 1e-4
    batch = make_batch(depth, valid)
    batch.frontier[:] = np.random.default_rng(2).integers(0, 16, depth.shape)
    return batch


@EVERY
@pytest.mark.parametrize("case", ["no reading", "holes", "one pixel", "padding", "far and near"])
def test_losses_and_gradients_are_finite_whatever_is_missing(objective, case):
    batch, output = make_case(case), make_output(objective)
    for outputs in (output, jnp.zeros_like(output), 1e3 * output):
        value, gradient = loss_and_gradient(objective, outputs, batch)
        assert np.isfinite(value) and np.isfinite(gradient).all()
        if case in ("no reading", "padding"):
            assert float(value) == 0
            np.testing.assert_array_equal(gradient, 0)


@EVERY
def test_labels_in_holes_and_in_padding_change_nothing(objective):
    batch, output = make_case("holes"), make_output(objective)
    batch.valid[1] = False
    changed = make_case("holes")
    changed.valid[1] = False
    changed.frontier[0, ::2] = 7
    changed.depth[1] = 5.0
    changed.frontier[1] = 7
    changed.filled[1] = False
    value, gradient = loss_and_gradient(objective, output, batch)
    other_value, other_gradient = loss_and_gradient(objective, output, changed)
    np.testing.assert_array_equal(value, other_value)
    np.testing.assert_array_equal(gradient, other_gradient)
    np.testing.assert_array_equal(gradient[1], 0)


@EVERY_DEPTH
def test_following_the_gradient_leads_to_the_truth(objective):
    """With outputs as large as the image, which can represent its depth exactly."""
    ranges.check(objective, "objective")
    depth = np.random.default_rng(0).uniform(0.8, 6, (1, 8, 8)).astype(np.float32)
    depth[0, 0, :3] = 0
    batch = make_batch(depth)
    tx = optax.adam(0.1)

    def descend(carry, _):
        output, state = carry
        gradient = jax.grad(lambda x: objective.loss(x, batch).value())(output)
        updates, state = tx.update(gradient, state)
        return (output + updates, state), None

    output = jnp.zeros((1, 8, 8, objective.channels))
    (output, _), _ = jax.lax.scan(descend, (output, tx.init(output)), length=400)
    predicted = depth_of(objective, output, (8, 8))
    known = depth > 0
    np.testing.assert_allclose(predicted[known], depth[known], rtol=0.03)


def test_gray_levels_are_classes_that_divide_the_range():
    objective = objectives.DepthCE(max_depth_m=5.1)  # 2 cm a level.
    output = np.zeros((1, 1, 2, 256), np.float32)
    output[0, 0, 0, 100] = output[0, 0, 1, 255] = 50.0
    depth = depth_of(objective, jnp.asarray(output), (1, 2))
    np.testing.assert_allclose(depth, [[[2.0, 5.1]]], rtol=1e-5)
    right = objective.loss(jnp.asarray(output), make_batch([[[2.0, 7.0]]]))
    assert float(right.count) == 2 and float(right.value()) < 1e-5
    uniform = objective.loss(jnp.zeros((1, 1, 2, 256)), make_batch([[[2.0, 0.0]]]))
    np.testing.assert_allclose(uniform.value(), np.log(256), rtol=1e-5)


def test_msle_is_in_gray_levels():
    objective = objectives.DepthMSLE(center_m=2.0, max_depth_m=10.0)
    loss = objective.loss(jnp.zeros((1, 1, 1, 1)), make_batch([[[4.0]]]))
    np.testing.assert_allclose(loss.value(), (np.log(52) - np.log(103)) ** 2, rtol=1e-5)


def test_silog_counts_images():
    batch = make_case("holes")
    batch.depth[1] = 0
    assert float(objectives.DepthSILog().loss(jnp.zeros((2, 12, 16, 1)), batch).count) == 1


def test_depth_and_frontiers_share_the_outputs_and_their_losses_are_weighted_and_added():
    both = objectives.DepthAndFrontier(
        objectives.DepthOrdinal(thresholds=4), objectives.FrontierSigmoid(), 2.0, 3.0
    )
    assert both.channels == 8
    batch = make_case("holes")
    output = make_output(both)
    loss = both.loss(output, batch)
    depth = both.depth.loss(output[..., :4], batch).value()
    frontier = both.frontier.loss(output[..., 4:], batch).value()
    np.testing.assert_allclose(loss.value(), 2 * depth + 3 * frontier, rtol=1e-6)
    assert float(loss.count) == len(batch.valid)
    predicted = both.predict(output, (12, 16))
    alone = both.frontier.predict(output[..., 4:], (12, 16))
    np.testing.assert_array_equal(predicted.edges, alone.edges)
    np.testing.assert_array_equal(predicted.classes, alone.classes)
    np.testing.assert_array_equal(
        predicted.depth, both.depth.predict(output[..., :4], (12, 16)).depth
    )


def test_frontiers_count_where_no_depth_is_known():
    batch = make_case("holes")
    batch.depth[:] = 0
    loss = objectives.DepthAndFrontier().loss(make_output(objectives.DepthAndFrontier()), batch)
    assert float(loss.value()) > 0


@pytest.mark.parametrize(
    ("objective", "weights"),
    [
        (
            objectives.DepthBins(bins=16, silog_weight=2.0, gradient_weight=3.0),
            {"cross_entropy": 1, "silog": 2, "gradient": 3},
        ),
        (
            objectives.DepthAndFrontier(objectives.DepthBins(bins=16), frontier_weight=2.0),
            {"depth": 1, "frontier": 2}
            | dict.fromkeys(("depth/cross_entropy", "depth/silog", "depth/gradient"), 0),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_loss_is_the_weighted_sum_of_the_terms_it_names(objective, weights):
    loss = objective.loss(make_output(objective), make_case("holes"))
    assert loss.terms.keys() == weights.keys()
    expected = sum(weight * loss.terms[name] for name, weight in weights.items())
    np.testing.assert_allclose(loss.value(), expected, rtol=1e-5)


def test_certain_thresholds_decode_to_the_centre_of_their_bin():
    objective = objectives.DepthOrdinal(thresholds=7, near_m=0.5, far_m=8.0)
    edges = 0.5 * 16 ** (np.arange(9) / 8)
    output = np.where(np.arange(7) < np.arange(8)[:, None], 40.0, -40.0).reshape(1, 1, 8, 7)
    depth = depth_of(objective, jnp.asarray(output), (1, 8))
    np.testing.assert_allclose(depth[0, 0], np.sqrt(edges[1:] * edges[:-1]), rtol=1e-5)
    loss = objective.loss(jnp.asarray(output), make_batch(depth))
    assert float(loss.value()) < 1e-5


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (objectives.DepthMSE(scale_m=0), "scale_m=0"),
        (objectives.DepthBerHu(scale_m=-1), "scale_m=-1"),
        (objectives.DepthMSLE(center_m=0), "center_m=0"),
        (objectives.DepthMSLE(max_depth_m=float("nan")), "max_depth_m=nan"),
        (objectives.DepthSILog(variance_focus=1.5), "variance_focus=1.5"),
        (objectives.DepthSILog(gradient_weight=-1.0), "gradient_weight=-1.0"),
        (objectives.DepthCE(max_depth_m=0), "max_depth_m=0"),
        (objectives.DepthBins(bins=1), "bins=1"),
        (objectives.DepthBins(near_m=0), "near_m=0"),
        (objectives.DepthBins(near_m=5, far_m=4), "far_m=4"),
        (objectives.DepthBins(silog_weight=-1), "silog_weight=-1"),
        (objectives.DepthBins(gradient_scales=0), "gradient_scales=0"),
        (objectives.DepthOrdinal(thresholds=10**6), "thresholds=1000000"),
        (
            objectives.DepthAndFrontier(objectives.DepthMSE(scale_m=0)),
            "objective.depth.scale_m=0",
        ),
        (
            objectives.DepthAndFrontier(frontier=objectives.FrontierEdges(prior=-1)),
            "objective.frontier.prior=-1",
        ),
        (objectives.DepthAndFrontier(frontier_weight=0), "frontier_weight=0"),
    ],
)
def test_values_that_cannot_be_trained_with_are_refused_by_name(objective, message):
    with pytest.raises(ValueError, match=message):
        ranges.check(objective, "objective")
