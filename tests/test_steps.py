import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import experiment, objectives, optim, state, steps
from psp_jax.models import parts, resnet, segmenter, unet
from tests import untrained
from tests.batches import make_batch


@pytest.fixture(scope="module")
def setting():
    model = segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.0).make(1)
    variables = untrained.variables(model)
    rng = np.random.default_rng(0)
    batch = make_batch(rng.uniform(1, 4, (2, 32, 32)))
    batch.image[:] = rng.integers(0, 256, batch.image.shape)
    return model, variables, batch


@pytest.fixture(scope="module")
def light():
    """The same of a network that compiles in a moment."""
    model = unet.DepthCNN(width=2, levels=1).make(1)
    variables = untrained.variables(model)
    return model, variables, make_batch(np.random.default_rng(0).uniform(1, 4, (2, 16, 16)))


def step_of(model, phase):
    tx = optim.make(phase)
    step = functools.partial(
        steps.train_step,
        model=model,
        objective=objectives.DepthMSE(),
        tx=tx,
        phase=phase,
        seed=0,
    )
    return tx, jax.jit(step)


def test_frozen_parts_stay_bit_identical_and_get_no_optimizer(setting):
    model, variables, batch = setting
    phase = experiment.Phase(steps=5, train=("head", "classifier"))
    tx, step = step_of(model, phase)
    before = state.create(variables, tx, phase.train, 0)
    after = before
    for _ in range(2):
        after, figures = step(after, batch)
    assert int(after.step) == 2
    assert np.isfinite(float(figures["loss"]))
    for tree, new in ((before.params, after.params), (before.batch_stats, after.batch_stats)):
        _, frozen = parts.split(tree, phase.train)
        _, frozen_after = parts.split(new, phase.train)
        jax.tree.map(np.testing.assert_array_equal, frozen, frozen_after)
    trained, _ = parts.split(before.params, phase.train)
    trained_after, _ = parts.split(after.params, phase.train)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), trained, trained_after)
    assert all(jax.tree.leaves(moved))
    moments = sum(leaf.size for leaf in jax.tree.leaves(after.opt_state) if leaf.ndim)
    assert moments == 2 * sum(leaf.size for leaf in jax.tree.leaves(trained))


def test_training_the_heads_alone_costs_little_more_than_a_forward_pass():
    """ResNet-50-PSPNet at 240x320, operations by XLA's count before any optimisation."""
    model = segmenter.Segmenter(resnet.ResNet(50), softmax=True).make(1)
    batch = shapes_of(make_batch(np.ones((2, 240, 320))))
    image = jax.eval_shape(model.inputs, batch)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)

    def flops(train):
        tx, step = step_of(model, experiment.Phase(steps=5, train=train))
        current = jax.eval_shape(lambda v: state.create(v, tx, train, 0), variables)
        return flops_of(step.lower(current, batch))

    forward = flops_of(jax.jit(model.apply).lower(variables, image))
    assert flops(("classifier", "softmax")) < 1.01 * forward
    # The kernel of the 3x3 convolution, and nothing below, gets a gradient: as many operations as
    # its part of the forward pass.
    convolution = 2 * 2 * 30 * 40 * 9 * 2048 * 512
    assert flops(("head", "classifier")) < 1.01 * forward + convolution
    assert flops(("trunk", "pyramid", "head", "classifier")) > 2.9 * forward


def test_the_full_size_step_fits_together():
    """ResNet-101-PSPNet on 480x640, as configs/depth_mse.py:scannet trains it; shapes only."""
    model = segmenter.Segmenter(resnet.ResNet(101)).make(1)
    image = jax.ShapeDtypeStruct((3, 480, 640, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    phase = experiment.Phase(steps=5)
    tx, step = step_of(model, phase)
    current = jax.eval_shape(lambda v: state.create(v, tx, phase.train, 0), variables)
    batch = shapes_of(make_batch(np.ones((3, 480, 640))))
    after, figures = jax.eval_shape(step, current, batch)
    same = jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, current, after)
    assert all(jax.tree.leaves(same))
    assert figures["loss"].shape == ()


def shapes_of(tree) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def flops_of(lowered) -> float:
    return (lowered.cost_analysis() or {})["flops"]


def test_a_step_is_adam_on_the_clipped_gradient(light):
    """Against the update written out from Kingma & Ba 2015, algorithm 1, at its first step."""
    model, variables, batch = light
    phase = experiment.Phase(steps=5, train=("classifier",), learning_rate=0.1, clip_norm=1e-3)
    tx, step = step_of(model, phase)
    after, figures = step(state.create(variables, tx, phase.train, 0), batch)

    def loss(classifier):
        params = variables["params"] | {"classifier": classifier}
        output = model.apply(variables | {"params": params}, model.inputs(batch))
        return objectives.DepthMSE().loss(output, batch).value()

    gradient = jax.jit(jax.grad(loss))(variables["params"]["classifier"])
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(figures["gradient_norm"], norm, rtol=1e-4)
    clipped = np.asarray(gradient["kernel"]) * (1e-3 / norm)
    expected = -0.1 * clipped / (np.abs(clipped) + 1e-8)
    moved = after.params["classifier"]["kernel"] - variables["params"]["classifier"]["kernel"]
    np.testing.assert_allclose(moved, expected, atol=1e-3)


def test_the_auxiliary_output_has_two_fifths_of_a_share_in_the_loss():
    model = segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.0, auxiliary=True).make(1)
    variables = untrained.variables(model)
    batch = make_batch(np.random.default_rng(0).uniform(1, 4, (2, 32, 32)))

    def loss_of(variables):
        output, updated = model.apply(
            variables,
            model.inputs(batch),
            train=phase.train,
            mutable=["batch_stats", "auxiliary"],
        )
        outputs = [output, *jax.tree.leaves(updated["auxiliary"])]
        return [objectives.DepthMSE().loss(x, batch).value() for x in outputs]

    phase = experiment.Phase(steps=5, train=("classifier", "auxiliary"))
    tx, step = step_of(model, phase)
    _, figures = step(state.create(variables, tx, phase.train, 0), batch)
    alone, beside = jax.jit(loss_of)(variables)
    np.testing.assert_allclose(figures["loss"], alone + 0.4 * beside, rtol=1e-5)


def test_dropout_differs_from_step_to_step_and_repeats_with_the_step():
    model = segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.5).make(1)
    variables = untrained.variables(model)
    batch = make_batch(np.full((2, 32, 32), 2.0))
    batch.image[:] = np.random.default_rng(0).integers(0, 256, batch.image.shape)
    phase = experiment.Phase(steps=5, train=("head",), learning_rate=1e-30)
    tx, step = step_of(model, phase)
    losses = [
        float(step(state.create(variables, tx, phase.train, at), batch)[1]["loss"])
        for at in (3, 3, 4)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_a_step_that_is_not_finite_leaves_everything_but_the_counter(light):
    model, variables, batch = light
    phase = experiment.Phase(steps=5, train=("decoder", "classifier"), ema_decay=0.9)
    tx, step = step_of(model, phase)
    start = state.create_with_ema(variables, tx, phase.train, 0)
    before, figures = step(start, batch)
    assert bool(figures["finite"]) and int(optim.steps_taken(before.opt_state)) == 1
    bad = dataclasses.replace(batch, depth=batch.depth.copy())
    bad.depth[0, 3, 3] = np.inf
    after, figures = step(before, bad)
    assert not bool(figures["finite"]) and not np.isfinite(float(figures["loss"]))
    assert int(after.step) == int(before.step) + 1 == 2
    same = dataclasses.replace(after, step=before.step)
    jax.tree.map(np.testing.assert_array_equal, same, before)
    assert int(optim.steps_taken(after.opt_state)) == 1


def test_averages_follow_what_is_trained_and_frozen_parts_stay(light):
    """Against the recurrence written out; what is trained is as without averages."""
    model, variables, batch = light
    fields = {"steps": 5, "train": ("classifier",), "learning_rate": 0.01}
    plain, averaging = experiment.Phase(**fields), experiment.Phase(**fields, ema_decay=0.15)
    tx, step = step_of(model, plain)
    current = state.create(variables, tx, plain.train, 0)
    expected = np.asarray(variables["params"]["classifier"]["kernel"], np.float64)
    for decay in (0.1, 0.15, 0.15):  # 1/10, then 0.15 < 2/11 and 3/12.
        current, _ = step(current, batch)
        expected = decay * expected + (1 - decay) * current.params["classifier"]["kernel"]
    tx, step = step_of(model, averaging)
    averaged = state.create_with_ema(variables, tx, averaging.train, 0)
    for _ in range(3):
        averaged, _ = step(averaged, batch)
    trained = state.trained_of(averaged, averaging.train)
    np.testing.assert_allclose(
        trained.params["classifier"]["kernel"], current.params["classifier"]["kernel"], rtol=1e-5
    )
    np.testing.assert_allclose(averaged.params["classifier"]["kernel"], expected, rtol=1e-5)
    for name, tree in variables.items():
        _, frozen = parts.split(tree, averaging.train)
        _, frozen_after = parts.split(averaged.variables[name], averaging.train)
        jax.tree.map(np.testing.assert_array_equal, frozen, frozen_after)


def test_accumulated_batches_give_the_mean_gradient_and_normalise_by_themselves(light):
    model, variables, first = light
    second = dataclasses.replace(first, filled_depth=2 * first.filled_depth)
    fields = {
        "steps": 5,
        "train": ("decoder", "classifier"),
        "optimizer": experiment.Optimizer.SGD,
        "momentum": 0.0,
        "learning_rate": 1.0,
        "clip_norm": np.inf,
    }
    single, both = experiment.Phase(**fields), experiment.Phase(**fields, accumulate=2)
    tx, step = step_of(model, single)
    start = state.create(variables, tx, single.train, 0)
    one, figures = step(start, first)
    other, other_figures = step(dataclasses.replace(start, batch_stats=one.batch_stats), second)
    _, step = step_of(model, both)
    after, together = step(start, jax.tree.map(lambda *x: np.stack(x), first, second))
    jax.tree.map(
        lambda *x: np.testing.assert_allclose(x[0], (x[1] + x[2]) / 2, rtol=1e-4, atol=1e-6),
        after.params,
        one.params,
        other.params,
    )
    jax.tree.map(
        lambda *x: np.testing.assert_allclose(*x, rtol=1e-5, atol=1e-6),
        after.batch_stats,
        other.batch_stats,
    )
    mean = (float(figures["loss"]) + float(other_figures["loss"])) / 2
    np.testing.assert_allclose(together["loss"], mean, rtol=1e-5)
    assert int(after.step) == int(optim.steps_taken(after.opt_state)) == 1


def test_evaluation_leaves_the_statistics_alone_and_counts_valid_images(setting):
    model, variables, batch = setting
    scores = jax.jit(
        functools.partial(
            steps.eval_step, model=model, objective=objectives.DepthMSE(), max_depth_m=10.0
        )
    )(variables, batch)
    assert float(scores.loss.count) == 2 * 32 * 32
    output = jax.jit(model.apply)(variables, model.inputs(batch))
    depth: Any = objectives.DepthMSE().predict(output, (32, 32)).depth
    expected = np.sqrt(np.square(np.clip(depth, 1e-3, 10) - batch.depth).mean((1, 2)))
    np.testing.assert_allclose(scores.depth["rmse_m"], expected, rtol=1e-4)
