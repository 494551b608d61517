"""Depth and frontiers at once, from outputs of one network side by side."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from psp_jax.batch import Batch, Prediction
from psp_jax.objectives.depth import DepthMSE
from psp_jax.objectives.frontier import FrontierEdges
from psp_jax.objectives.losses import Mean
from psp_jax.objectives.objective import Objective


@dataclasses.dataclass
class DepthAndFrontier:
    """The weighted sum of a loss of depth and a loss of frontiers.

    The first outputs are those of depth, the others those of the frontiers.

    Attributes:
        depth: the objective of depth.
        frontier: the objective of the frontiers.
        depth_weight: weight of its mean.
        frontier_weight: weight of its mean.
    """

    depth: Objective = dataclasses.field(default_factory=DepthMSE)
    frontier: Objective = dataclasses.field(default_factory=FrontierEdges)
    depth_weight: float = 1.0
    frontier_weight: float = 1.0

    @property
    def channels(self) -> int:
        """Those of both."""
        return self.depth.channels + self.frontier.channels

    def check(self) -> None:
        """Raises ValueError unless both objectives and weights can be trained with."""
        for name in ("depth", "frontier"):
            try:
                getattr(self, name).check()
            except ValueError as error:
                raise ValueError(
                    str(error).replace("objective.", f"objective.{name}.", 1)
                ) from None
            weight = getattr(self, f"{name}_weight")
            if not 0 < weight < math.inf:
                raise ValueError(
                    f"config.objective.{name}_weight={weight}: a positive number was expected; "
                    f"without {name} the other objective does alone"
                )

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, channels]` outputs to depth, edges and classes at `size`."""
        depth, frontier = self._split(output)
        predicted = self.frontier.predict(frontier, size)
        return dataclasses.replace(predicted, depth=self.depth.predict(depth, size).depth)

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the weighted sum of both means, counted by images.

        Images without a reading have no depth but may have frontiers, so that neither count would
        do for both.
        """
        outputs = self._split(output)
        depth, frontier = self.depth.loss(outputs[0], batch), self.frontier.loss(outputs[1], batch)
        value = self.depth_weight * depth.value() + self.frontier_weight * frontier.value()
        images = jnp.sum(jnp.asarray(batch.valid)).astype(jnp.float32)
        terms = {"depth": depth.value(), "frontier": frontier.value()}
        terms |= {f"depth/{name}": term for name, term in depth.terms.items()}
        terms |= {f"frontier/{name}": term for name, term in frontier.terms.items()}
        return Mean(value * images, images, terms)

    def _split(self, output: jax.Array) -> tuple[jax.Array, jax.Array]:
        channels = self.depth.channels
        return output[..., :channels], output[..., channels:]
