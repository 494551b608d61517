from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from psp_jax import experiment, optim
from psp_jax.experiment import Optimizer, Phase, Schedule

PARAMS = {
    "head": {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 4.0)},
    "trunk": {"stage1": {"kernel": jnp.full((2, 2), 5.0)}, "stem": {"scale": jnp.full(3, 6.0)}},
}


def moves(phase, gradients):
    """The change of every parameter in each of the steps."""
    tx, params, changes = optim.make(phase), PARAMS, []
    opt_state = tx.init(params)
    for gradient in gradients:
        updates, opt_state = tx.update(jax.tree.map(gradient, params), opt_state, params)
        params: Any = optax.apply_updates(params, updates)
        changes.append(updates)
    return changes


def test_learning_rate_warms_up_and_falls_along_a_cosine():
    phase = Phase(steps=110, learning_rate=1.0, warmup_steps=10, final_lr_fraction=0.1)
    rate: Any = optim.schedule(phase)
    np.testing.assert_allclose([rate(0), rate(5), rate(10)], [0.1, 0.55, 1.0], atol=1e-6)
    np.testing.assert_allclose(rate(60), 0.55, atol=1e-6)
    np.testing.assert_allclose(rate(109), 0.1, atol=1e-3)
    constant: Any = optim.schedule(Phase(steps=10))
    np.testing.assert_allclose([constant(0), constant(9)], 1e-3, rtol=1e-6)


def test_learning_rate_falls_along_a_polynomial_or_is_constant():
    poly: Any = optim.schedule(
        Phase(
            steps=110,
            learning_rate=2.0,
            warmup_steps=10,
            schedule=Schedule.POLY,
            final_lr_fraction=0.25,
        )
    )
    np.testing.assert_allclose([poly(9), poly(10)], [2.0, 2.0], rtol=0.1)
    np.testing.assert_allclose(poly(60), 0.5 + 1.5 * 0.5**0.9, rtol=1e-5)
    np.testing.assert_allclose(poly(109), 0.5 + 1.5 * 0.01**0.9, rtol=1e-4)
    constant: Any = optim.schedule(
        Phase(steps=9, learning_rate=2.0, schedule=Schedule.CONSTANT, final_lr_fraction=0.1)
    )
    np.testing.assert_allclose([constant(0), constant(8)], 2.0)


def test_sgd_decays_kernels_only_and_multiplies_the_rate_by_part():
    """By hand: v = 0.5 v + g + 0.1 p, p -= rate v."""
    phase = Phase(
        steps=10,
        learning_rate=0.01,
        optimizer=Optimizer.SGD,
        momentum=0.5,
        weight_decay=0.1,
        lr_multipliers={"trunk": 2.0, "trunk/stem": 10.0},
        clip_norm=100.0,
    )
    first, second = moves(phase, [lambda p: jnp.ones_like(p)] * 2)
    for tree, path, value, factor, decay in (
        ("head", ("kernel",), 3.0, 1, 0.1),
        ("head", ("bias",), 4.0, 1, 0),
        ("trunk", ("stage1", "kernel"), 5.0, 2, 0.1),
        ("trunk", ("stem", "scale"), 6.0, 10, 0),
    ):
        one, other = first[tree], second[tree]
        for key in path:
            one, other = one[key], other[key]
        velocity = 1 + decay * value
        np.testing.assert_allclose(one, -0.01 * factor * velocity, rtol=1e-5)
        moved = value - 0.01 * factor * velocity
        velocity = 0.5 * velocity + 1 + decay * moved
        np.testing.assert_allclose(other, -0.01 * factor * velocity, rtol=1e-5)


def test_adam_decays_kernels_apart_from_the_gradient():
    """Loshchilov and Hutter 2019, algorithm 2: the first step is rate * (sign(g) + decay p)."""
    phase = Phase(
        steps=10,
        learning_rate=0.01,
        weight_decay=0.1,
        lr_multipliers={"head": 10.0},
        clip_norm=100.0,
    )
    (first,) = moves(phase, [lambda p: jnp.full_like(p, -0.5)])
    np.testing.assert_allclose(first["head"]["kernel"], -0.1 * (-1 + 0.3), rtol=1e-4)
    np.testing.assert_allclose(first["head"]["bias"], 0.1, rtol=1e-4)
    np.testing.assert_allclose(first["trunk"]["stage1"]["kernel"], -0.01 * (-1 + 0.5), rtol=1e-4)
    np.testing.assert_allclose(first["trunk"]["stem"]["scale"], 0.01, rtol=1e-4)


def test_default_options_keep_the_optimizer_state_of_earlier_checkpoints():
    adam = optax.adam(optim.schedule(Phase(steps=5)))
    expected = optax.chain(optax.clip_by_global_norm(10.0), adam).init(PARAMS)
    actual = optim.make(Phase(steps=5)).init(PARAMS)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)


@pytest.mark.parametrize(
    ("multipliers", "message"),
    [
        ({"haed": 10.0}, r"phases\[1\].lr_multipliers: 'haed'.*'head'"),
        ({"pyramid": 1.0}, "lr_multipliers: 'pyramid' is not trained"),
    ],
)
def test_multipliers_of_unknown_or_untrained_parts_are_refused(multipliers, message):
    known = ("trunk", "trunk/stem", "trunk/stage1", "pyramid", "head")
    phase = Phase(steps=5, train=("trunk/stem", "head"), lr_multipliers=multipliers)
    with pytest.raises(experiment.ConfigError, match=message):
        optim.check("phases[1]", phase, known)
    phase.lr_multipliers = {"trunk": 2.0, "trunk/stem": 1.0, "head": 3.0}
    optim.check("phases[1]", phase, known)
