"""What training changes: the train state and its creation."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from psp_jax import parts

Variables = dict[str, Any]  # {"params": nested dicts, "batch_stats": nested dicts}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a training step reads and writes.

    Attributes:
        step: `[]` int32, optimizer steps since the start of the run, over all phases.
        params: nested dicts of float32 arrays, all of them.
        batch_stats: running means and variances of the batch norms.
        opt_state: optimizer state of the trained parameters of the current phase.
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
    return jax.jit(model.init)(jax.random.key(seed), image)


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
