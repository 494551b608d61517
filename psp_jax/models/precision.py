"""What a network may spend: the precision it computes in, and what it keeps for the gradient.

Neither changes the names and shapes of parameters, which are float32 throughout.
"""

import enum
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

CONVOLUTION = "convolution"  # What the outputs of convolutions are called among residuals.


class Precision(enum.StrEnum):
    """In what a network computes; parameters, statistics, outputs and losses are float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"

    def cast(self, image: jax.Array) -> jax.Array:
        """Turns an image into what the network computes in; float64 stays what it is."""
        return image.astype(jnp.bfloat16) if self == Precision.BFLOAT16 else image


class Remat(enum.StrEnum):
    """What is kept from the forward pass for the gradient; the rest is computed again."""

    NONE = "none"  # Everything is kept.
    CONVOLUTIONS = "convolutions"  # The outputs of convolutions, and the inputs of blocks.
    BLOCKS = "blocks"  # The inputs of blocks alone.

    def apply(self, call: Callable[..., Any], block: nn.Module, *inputs: Any) -> Any:
        """Returns `call(block, *inputs)`, what it computes kept or computed again."""
        if self == Remat.NONE:
            return call(block, *inputs)
        policies = jax.checkpoint_policies
        kept = policies.save_only_these_names(CONVOLUTION)
        policy = kept if self == Remat.CONVOLUTIONS else policies.nothing_saveable
        return nn.remat(call, policy=policy)(block, *inputs)


def named(x: jax.Array) -> jax.Array:
    """Marks the output of a convolution as what `Remat.CONVOLUTIONS` keeps."""
    return checkpoint_name(x, CONVOLUTION)


def at_least_float32(x: jax.Array) -> jax.Array:
    """Widens bfloat16 and leaves the others as they are."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
