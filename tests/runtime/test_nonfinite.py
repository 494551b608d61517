import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import state
from psp_jax.runtime import nonfinite

INFINITY = float("inf")


def figures(loss=1.0, norm=2.0, finite=True, **terms):
    scalars = {name: np.float32(value) for name, value in terms.items()}
    return {"loss": jnp.float32(loss), "gradient_norm": norm, "finite": finite, "terms": scalars}


def make_watch(allowed=0, skipped=0):
    said = []
    watch = nonfinite.Watch(
        allowed=allowed,
        skipped=skipped,
        origins=lambda step: f"scene{step}",
        advice=lambda: "Give up",
        say=said.append,
    )
    return watch, said


def test_the_first_bad_step_ends_the_run_when_later_ones_are_under_way():
    watch, _ = make_watch()
    watch.add(1, figures(loss=3.0))
    watch.add(2, figures(loss=INFINITY, finite=False, silog=INFINITY, gradient=0.5))
    for step in range(3, 2 + nonfinite.LAG):
        watch.add(step, figures(finite=False))
    assert len(watch.losses) <= 1
    with pytest.raises(FloatingPointError) as caught:
        watch.add(2 + nonfinite.LAG, figures())
    expected = "loss is inf (its terms silog inf) at step 2, of the examples scene2. Give up"
    assert str(caught.value) == expected


def test_before_a_save_every_step_is_known():
    watch, _ = make_watch()
    watch.add(1, figures(norm=INFINITY, finite=False, dice=0.25))
    with pytest.raises(
        FloatingPointError, match=r"norm is inf, with loss 1 \(dice 0.25\), at step 1"
    ):
        watch.catch_up()


def test_bad_steps_are_skipped_up_to_a_number_and_leave_no_trace_in_the_figures():
    watch, said = make_watch(allowed=2, skipped=1)
    for step, loss in enumerate((1.0, float("nan"), 3.0), 1):
        good = bool(np.isfinite(loss))
        watch.add(step, figures(loss, norm=loss, finite=good, dice=loss / 4))
    watch.catch_up()
    bad = "loss is nan (its terms dice nan) at step 2, of the examples scene2"
    assert said == [f"skipped: {bad} (2 of 2 that may be)"]
    assert watch.skipped == 2 and watch.gradient_norm == 3.0
    assert watch.take_losses() == {"loss": 2.0, "loss/dice": 0.5}
    assert np.isnan(watch.take_losses()["loss"])
    watch.add(4, figures(finite=False))
    with pytest.raises(FloatingPointError, match="statistic .* at step 4.*, 3 such steps in this"):
        watch.catch_up()


def test_a_state_with_a_value_that_is_not_finite_is_not_saved():
    good = state.TrainState(jnp.int32(3), {"a": jnp.ones(2)}, {"b": jnp.ones(1)}, (jnp.int32(1),))
    nonfinite.check(good, 3)
    bad = state.TrainState(good.step, {"a": jnp.asarray([1, jnp.inf])}, good.batch_stats, ())
    with pytest.raises(FloatingPointError, match="the state after step 3 is not finite"):
        nonfinite.check(bad, 3)
