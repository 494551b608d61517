"""What training changes: the train state and its creation."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from psp_jax.models import parts

Variables = dict[str, Any]  # {"params": nested dicts, "batch_stats": nested dicts}


class Moving(NamedTuple):
    """What a training step moves.

    In a phase that averages it lies in the `opt_state` of the `TrainState`, whose `params` and
    `batch_stats` are the averages: whoever evaluates, saves or restores variables gets those, and
    none of them has to know.

    Attributes:
        params: the trained parameters, where gradients are taken.
        batch_stats: running statistics of all batch norms.
        opt_state: the optimizer's own state.
    """

    params: parts.Tree
    batch_stats: parts.Tree
    opt_state: optax.OptState


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a training step reads and writes.

    Attributes:
        step: `[]` int32, optimizer steps since the start of the run, over all phases, skipped ones
            included.
        params: nested dicts of float32 arrays, all of them.
        batch_stats: running means and variances of the batch norms.
        opt_state: optimizer state of the trained parameters of the current phase; a `Moving` where
            it averages.
    """

    step: jax.Array
    params: parts.Tree
    batch_stats: parts.Tree
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """What the model is applied with."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def initial_variables(model: Any, image_shape: tuple[int, int, int], seed: int) -> Variables:
    """Draws the model's initial variables for images of (height, width, 3)."""
    image = jnp.zeros((1, *image_shape), jnp.float32)
    # XLA for CPUs takes a second for every kernel if it optimizes what is done once.
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(model.init, compiler_options=quick)(jax.random.key(seed), image)


def create(
    variables: Variables, tx: optax.GradientTransformation, train: tuple[str, ...], step: int
) -> TrainState:
    """Makes the state at the start of a phase that trains the parts `train`."""
    trained, _ = parts.split(variables["params"], train)
    return TrainState(
        step=jnp.asarray(step, jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=tx.init(trained),
    )


def create_averaging(
    variables: Variables, tx: optax.GradientTransformation, train: tuple[str, ...], step: int
) -> TrainState:
    """Makes the state at the start of a phase that averages what it trains."""
    plain = create(variables, tx, train, step)
    # Copies, since a step is given the memory of its state to reuse, which can't be given twice.
    moving = jax.tree.map(jnp.copy, moving_of(plain, train))
    return dataclasses.replace(plain, opt_state=moving)


def moving_of(state: TrainState, train: tuple[str, ...]) -> Moving:
    """Returns what a step on the parts `train` moves."""
    if isinstance(state.opt_state, Moving):
        return state.opt_state
    trained, _ = parts.split(state.params, train)
    return Moving(trained, state.batch_stats, state.opt_state)
