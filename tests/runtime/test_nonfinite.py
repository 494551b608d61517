import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import state
from psp_jax.runtime import nonfinite

INFINITY = float("inf")


def metrics(loss=1.0, norm=2.0, finite=True, **terms):
    scalars = {name: np.float32(value) for name, value in terms.items()}
    return {"loss": jnp.float32(loss), "gradient_norm": norm, "finite": finite, "terms": scalars}


def test_a_bad_step_is_reported_once_later_ones_are_dispatched():
    monitor = nonfinite.Monitor(skipped=0)
    assert monitor.add(1, metrics(loss=3.0)) == []
    assert monitor.add(2, metrics(loss=INFINITY, finite=False, silog=INFINITY, gradient=0.5)) == []
    for step in range(3, 2 + nonfinite.LAG_STEPS):
        assert monitor.add(step, metrics(finite=False)) == []
    assert len(monitor.losses) <= 1
    (bad,) = monitor.add(2 + nonfinite.LAG_STEPS, metrics())
    assert bad == (2, "loss is inf (its terms silog inf)")


def test_before_a_save_every_step_is_known():
    monitor = nonfinite.Monitor(skipped=0)
    monitor.add(1, metrics(norm=INFINITY, finite=False, dice=0.25))
    ((step, description),) = monitor.drain()
    assert step == 1 and "norm is inf, with loss 1 (dice 0.25)" in description


def test_bad_steps_are_counted_and_leave_no_trace_in_the_losses():
    monitor, bad = nonfinite.Monitor(skipped=1), []
    for step, loss in enumerate((1.0, float("nan"), 3.0), 1):
        good = bool(np.isfinite(loss))
        bad += monitor.add(step, metrics(loss, norm=loss, finite=good, dice=loss / 4))
    bad += monitor.drain()
    assert bad == [(2, "loss is nan (its terms dice nan)")]
    assert monitor.skipped == 2 and monitor.gradient_norm == 3.0
    assert monitor.take_losses() == {"loss": 2.0, "loss/dice": 0.5}
    assert np.isnan(monitor.take_losses()["loss"])
    monitor.add(4, metrics(finite=False))
    ((step, description),) = monitor.drain()
    assert step == 4 and "statistic" in description and monitor.skipped == 3


def test_a_state_with_a_value_that_is_not_finite_is_not_saved():
    good = state.TrainState(jnp.int32(3), {"a": jnp.ones(2)}, {"b": jnp.ones(1)}, (jnp.int32(1),))
    nonfinite.check(good, 3)
    bad = state.TrainState(good.step, {"a": jnp.asarray([1, jnp.inf])}, good.batch_stats, ())
    with pytest.raises(FloatingPointError, match="the state after step 3 is not finite"):
        nonfinite.check(bad, 3)
