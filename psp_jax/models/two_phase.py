"""RGB -> depth -> frontiers: the thesis's final system (its figure 3.9) as one network."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax.batch import Array, Batch, Prediction
from psp_jax.models import parts
from psp_jax.models.architecture import normalise
from psp_jax.models.segmenter import Segmenter
from psp_jax.models.unet import DepthCNN
from psp_jax.objectives.objective import Objective


class TwoPhaseNetwork(nn.Module):
    """A PSPNet that predicts depth, followed by a CNN that predicts frontiers from it.

    The parts are `depth`, `frontier` and the parts of both networks, such as `depth/head`. The
    function `predict` turns the outputs of the first network into depth.
    """

    INPUT_CHANNELS: ClassVar[int] = 3

    depth: nn.Module
    frontier: nn.Module
    predict: Callable[..., Prediction]

    @property
    def PARTS(self) -> tuple[str, ...]:
        """The names of the parts."""
        both: dict[str, Any] = {"depth": self.depth, "frontier": self.frontier}
        inner = [f"{name}/{part}" for name, network in both.items() for part in network.PARTS]
        return (*both, *inner)

    def inputs(self, batch: Batch) -> Array:
        """Returns the network's input."""
        return normalise(batch.image)

    @nn.compact
    def __call__(self, image: jax.Array, *, train: Sequence[str] = ()) -> jax.Array:
        """Maps `[B, H, W, 3]`, ImageNet-normalised RGB, to the outputs of the second network.

        If the collection "predictions" is mutable, the `[B, H, W]` depth is stored in it as
        `depth_m`.
        """
        networks: dict[str, Any] = {"depth": self.depth, "frontier": self.frontier}
        output = networks["depth"](image, train=_inside(networks["depth"], train, "depth"))
        depth = self.predict(output, image.shape[1:3]).depth
        if not self.is_initializing():
            self.sow("predictions", "depth_m", depth)
        inner = _inside(networks["frontier"], train, "frontier")
        return networks["frontier"](jnp.asarray(depth)[..., None], train=inner)


def _inside(network: Any, train: Sequence[str], name: str) -> tuple[str, ...]:
    """Returns the trained parts of the inner network; all of them if it is trained as a whole."""
    inner = parts.inside(train, name)
    return tuple(part for part in network.PARTS if "/" not in part) if inner == ("",) else inner


@dataclasses.dataclass
class TwoPhase:
    """A `TwoPhaseNetwork` as a field of a config.

    Attributes:
        depth: the network that predicts depth from RGB.
        to_depth: the objective that it was trained with.
        frontier: the network that predicts frontiers from depth.
    """

    depth: Segmenter
    to_depth: Objective
    frontier: DepthCNN

    def make(self, channels: int) -> TwoPhaseNetwork:
        """Builds the module with `channels` outputs per pixel.

        Raises:
            ValueError: if a field has a value that no network can have.
        """
        if self.depth.auxiliary:
            raise ValueError(
                "model.depth.auxiliary=True: the run has no loss for its outputs, which are depth; "
                "set it to False"
            )
        return TwoPhaseNetwork(
            depth=self.depth.make(self.to_depth.channels),
            frontier=self.frontier.make(channels),
            predict=self.to_depth.predict,
        )
