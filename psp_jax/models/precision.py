"""Precision and rematerialisation: what a network computes in and what it keeps for the gradient.

Neither changes the names, shapes and types of the parameters, which are always float32.
"""

import dataclasses
import enum
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

CONVOLUTION = "convolution"  # Name of the outputs of convolutions in `jax.checkpoint` policies.


class Precision(enum.StrEnum):
    """Type a network computes in; parameters, statistics, outputs and losses are float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"

    def cast(self, image: jax.Array) -> jax.Array:
        """Casts an image to the type the network computes in; float64 stays float64."""
        return image.astype(jnp.bfloat16) if self == Precision.BFLOAT16 else image


class Remat(enum.StrEnum):
    """What the forward pass keeps for the gradient; the rest is computed again."""

    NONE = "none"  # Everything is kept.
    CONVOLUTIONS = "convolutions"  # The outputs of convolutions, and the inputs of blocks.
    BLOCKS = "blocks"  # Only the inputs of blocks.

    def apply(self, block: nn.Module, *inputs: Any, train: bool) -> Any:
        """Returns `block(*inputs, train=train)` and keeps of it what this mode keeps."""

        def call(block: Any, *inputs: Any) -> Any:
            return block(*inputs, train=train)

        policies = jax.checkpoint_policies
        if self == Remat.CONVOLUTIONS:
            call = nn.remat(call, policy=policies.save_only_these_names(CONVOLUTION))
        elif self == Remat.BLOCKS:
            call = nn.remat(call, policy=policies.nothing_saveable)
        return call(block, *inputs)


def name_for_remat(x: jax.Array) -> jax.Array:
    """Marks the output of a convolution, so that `Remat.CONVOLUTIONS` keeps it."""
    return checkpoint_name(x, CONVOLUTION)


def at_least_float32(x: jax.Array) -> jax.Array:
    """Casts bfloat16 to float32 and leaves wider types as they are."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def in_float32(config: Any) -> Any:
    """Returns a network's config with every field `precision` set to float32."""
    changes = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "precision":
            changes[field.name] = Precision.FLOAT32
        elif dataclasses.is_dataclass(value):
            changes[field.name] = in_float32(value)
    return dataclasses.replace(config, **changes)
