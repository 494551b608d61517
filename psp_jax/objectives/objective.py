"""The protocol of objectives, and the checks of their fields."""

import math
from typing import Any, Protocol

import jax

from psp_jax.batch import Batch, Prediction
from psp_jax.objectives.losses import Mean


class Objective(Protocol):
    """A loss, and the meaning of the outputs that are trained with it."""

    @property
    def channels(self) -> int:
        """Number of outputs per pixel that the network must have."""
        ...

    def check(self) -> None:
        """Raises ValueError if a field has a value that training cannot use."""
        ...

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, channels]` outputs to a prediction at (height, width) = `size`."""
        ...

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the loss of `[B, h, w, channels]` outputs over the pixels that have a label."""
        ...


def expect(condition: bool, objective: Any, field: str, expected: str) -> None:
    """Raises ValueError, which names the field and its value, unless the condition holds."""
    if not condition:
        value = getattr(objective, field)
        raise ValueError(f"config.objective.{field}={value}: expected {expected}")


def expect_positive(objective: Any, *fields: str) -> None:
    """Raises ValueError unless all these fields are positive and finite."""
    for field in fields:
        expect(0 < getattr(objective, field) < math.inf, objective, field, "a positive number")


def expect_weights(objective: Any, *fields: str) -> None:
    """Raises ValueError unless all these fields are 0 or more."""
    for field in fields:
        expect(getattr(objective, field) >= 0, objective, field, "0 or more")
