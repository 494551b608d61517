import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from psp_jax import checkpoints, state


@pytest.fixture
def current():
    params = {"head": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "trunk": {"bias": jnp.ones(3)}}
    variables = {"params": params, "batch_stats": {"head": {"mean": jnp.full(3, 0.25)}}}
    return state.create(variables, optax.adam(1e-3), ("head",), 7)


def test_state_survives_a_round_trip_bit_by_bit(tmp_path, current):
    with checkpoints.Store(tmp_path, keep=2) as store:
        assert store.latest_step() is None
        store.save(current)
        assert store.latest_step() == 7
    with checkpoints.Store(tmp_path, keep=2) as store:
        variables = store.load_variables(7)
        blank = jax.tree.map(jnp.zeros_like, current.opt_state)
        opt_state = store.load_optimizer(7, blank)
    jax.tree.map(np.testing.assert_array_equal, variables, current.variables)
    jax.tree.map(np.testing.assert_array_equal, opt_state, current.opt_state)
    assert jax.tree.structure(opt_state) == jax.tree.structure(current.opt_state)


def test_a_notebook_needs_no_template(tmp_path, current):
    with checkpoints.Store(tmp_path, keep=2) as store:
        store.save(current)
    variables = checkpoints.load_variables(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, variables, current.variables)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(variables))


def test_only_the_newest_are_kept(tmp_path, current):
    with checkpoints.Store(tmp_path, keep=2) as store:
        for step in (1, 2, 3):
            store.save(state.create(current.variables, optax.adam(1e-3), ("head",), step))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]


def test_saving_the_same_step_twice_is_no_error(tmp_path, current):
    with checkpoints.Store(tmp_path, keep=2) as store:
        store.save(current)
        store.save(current)
        assert store.latest_step() == 7


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        checkpoints.load_variables(tmp_path)
