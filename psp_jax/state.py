"""The train state and its creation."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from psp_jax.models import parts

Variables = dict[str, Any]  # {"params": nested dicts, "batch_stats": nested dicts}


class Trained(NamedTuple):
    """The values that a training step updates, as opposed to their running averages.

    Checkpoints hold the names of the fields.

    Attributes:
        params: the trained parameters of the current phase.
        batch_stats: running statistics of all batch norms.
        opt_state: the optimizer state of `params`.
    """

    params: parts.Tree
    batch_stats: parts.Tree
    opt_state: optax.OptState


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a training step reads and writes.

    In a phase with `ema_decay`, `params` and `batch_stats` are the running averages, which are
    evaluated, saved and restored like those of any other phase; `opt_state` is then a `Trained`,
    which holds what the averages follow.

    Attributes:
        step: `[]` int32, optimizer steps since the start of the run, over all phases, including
            skipped ones.
        params: nested dicts of float32 arrays, all parameters of the model.
        batch_stats: running means and variances of all batch norms.
        opt_state: optimizer state of the trained parameters of the current phase, or a `Trained`.
    """

    step: jax.Array
    params: parts.Tree
    batch_stats: parts.Tree
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """The variables that the model is applied with."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def initial_variables(model: Any, image_shape: tuple[int, int, int], seed: int) -> Variables:
    """Initialises the variables of a model for images of (height, width, 3)."""
    # On the CPU and not optimized: XLA takes a minute to optimize a ResNet-101's for a GPU, for
    # code that runs once. The same seed also gives the same values everywhere.
    cpu = _cpu_device()
    with jax.default_device(cpu):
        options = {"xla_backend_optimization_level": 0} if cpu else None
        init = jax.jit(model.init, compiler_options=options)
        variables = init(jax.random.key(seed), jnp.zeros((1, *image_shape), jnp.float32))
    return jax.tree.map(jnp.asarray, jax.device_get(variables))


def _cpu_device() -> Any:
    """Returns this process's CPU; None if `JAX_PLATFORMS` leaves it out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


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


def create_with_ema(
    variables: Variables, tx: optax.GradientTransformation, train: tuple[str, ...], step: int
) -> TrainState:
    """Makes the state at the start of a phase with `ema_decay` that trains the parts `train`."""
    state = create(variables, tx, train, step)
    # Copies, because a step reuses the memory of its state, and no array may be in it twice.
    return dataclasses.replace(state, opt_state=jax.tree.map(jnp.copy, trained_of(state, train)))


def trained_of(state: TrainState, train: tuple[str, ...]) -> Trained:
    """Returns the values that a step on the parts `train` updates."""
    if isinstance(state.opt_state, Trained):
        return state.opt_state
    params, _ = parts.split(state.params, train)
    return Trained(params, state.batch_stats, state.opt_state)
