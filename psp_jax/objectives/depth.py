"""Losses of depth in metres along the optical axis."""

import dataclasses

import jax
import jax.numpy as jnp

from psp_jax import resampling
from psp_jax.batch import Batch, Prediction
from psp_jax.losses import Mean, masked_mean


@dataclasses.dataclass
class DepthMSE:
    """Mean squared error of depth in m^2 (thesis, section 3.4.4.1).

    The thesis regresses gray levels; metres differ from them by a constant factor only.

    Attributes:
        center_m: depth where the network's output is 0.
        scale_m: metres in one unit of the output.
    """

    center_m: float = 2.5  # Indoor frames have their median between 2 and 3 m.
    scale_m: float = 1.0

    @property
    def channels(self) -> int:
        """One: depth."""
        return 1

    def check(self) -> None:
        """Raises ValueError unless the scale is positive."""
        if not self.scale_m > 0:
            raise ValueError(f"objective.scale_m={self.scale_m}: a positive number was expected")

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, 1]` outputs to depth `[B, H, W]` in metres."""
        depth = self.center_m + self.scale_m * resampling.resize(output, size)[..., 0]
        return Prediction(depth=depth)

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the squared error in m^2 over the pixels with a reading."""
        depth = jnp.asarray(batch.depth)
        predicted = self.predict(output, depth.shape[1:]).depth
        readings = (depth > 0) & jnp.asarray(batch.valid)[:, None, None]
        return masked_mean(jnp.square(predicted - depth), readings)
