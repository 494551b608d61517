"""Depth and frontiers by one network."""

import dataclasses

import jax
import jax.numpy as jnp

from psp_jax.batch import Batch, Prediction
from psp_jax.io import ranges
from psp_jax.objectives.depth import DepthMSE
from psp_jax.objectives.frontier import FrontierEdges
from psp_jax.objectives.losses import Mean
from psp_jax.objectives.objective import Objective


@dataclasses.dataclass
class DepthAndFrontier:
    """The weighted sum of a depth loss and a frontier loss.

    The first `depth.channels` outputs are for depth, the others for the frontiers.

    Attributes:
        depth: the objective of depth.
        frontier: the objective of the frontiers.
        depth_weight: weight of the mean depth loss.
        frontier_weight: weight of the mean frontier loss.
    """

    depth: Objective = dataclasses.field(default_factory=DepthMSE)
    frontier: Objective = dataclasses.field(default_factory=FrontierEdges)
    depth_weight: float = ranges.number(1.0, above=0)
    frontier_weight: float = ranges.number(1.0, above=0)

    @property
    def channels(self) -> int:
        """The sum of the channels of both objectives."""
        return self.depth.channels + self.frontier.channels

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps `[B, h, w, channels]` outputs to depth, edges and classes at `size`."""
        depth, frontier = self._split(output)
        predicted = self.frontier.predict(frontier, size)
        return dataclasses.replace(predicted, depth=self.depth.predict(depth, size).depth)

    def loss(self, output: jax.Array, batch: Batch) -> Mean:
        """Returns the weighted sum of both means, with the number of images as count.

        The two means have different counts: an image without a reading has no depth, but may have
        frontiers.
        """
        depth_output, frontier_output = self._split(output)
        depth = self.depth.loss(depth_output, batch)
        frontier = self.frontier.loss(frontier_output, batch)
        value = self.depth_weight * depth.value() + self.frontier_weight * frontier.value()
        images = jnp.sum(jnp.asarray(batch.valid)).astype(jnp.float32)
        terms = {"depth": depth.value(), "frontier": frontier.value()}
        terms |= {f"depth/{name}": term for name, term in depth.terms.items()}
        terms |= {f"frontier/{name}": term for name, term in frontier.terms.items()}
        return Mean(value * images, images, terms)

    def _split(self, output: jax.Array) -> tuple[jax.Array, jax.Array]:
        channels = self.depth.channels
        return output[..., :channels], output[..., channels:]
