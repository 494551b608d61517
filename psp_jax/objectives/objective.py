"""The protocol of objectives, and the checks of their fields."""

from typing import Protocol

import jax

from psp_jax.batch import Batch, Prediction
from psp_jax.objectives.losses import Mean


class Objective(Protocol):
    """A loss, and the meaning of the outputs that are trained with it."""

    @property
    def channels(self) -> int:
        """Number of outputs per pixel that the network must have."""
        ...

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, channels]` outputs to a prediction at (height, width) = `size`."""
        ...

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the loss of `[B, h, w, channels]` outputs over the pixels that have a label."""
        ...
