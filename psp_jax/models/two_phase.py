"""RGB -> depth -> frontiers: the thesis's final system (its figure 3.9), trainable as one."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from psp_jax.batch import Array, Batch, Prediction
from psp_jax.models import parts
from psp_jax.models.architecture import normalise
from psp_jax.models.segmenter import Segmenter
from psp_jax.models.unet import DepthCNN


class ToDepth(Protocol):
    """What knows the meaning of the first network's outputs; an objective of depth does."""

    @property
    def channels(self) -> int:
        """Outputs per pixel."""
        ...

    def check(self) -> None:
        """Raises ValueError if a field has a wrong value."""
        ...

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Maps outputs to depth in metres."""
        ...


class TwoPhaseNetwork(nn.Module):
    """A PSPNet that predicts depth, and a CNN that cuts it.

    Its parts are `depth` and `frontier`, and in them the parts of the two networks, as in
    `depth/head`.
    """

    INPUT_CHANNELS: ClassVar[int] = 3

    depth: nn.Module
    frontier: nn.Module
    to_depth: Any

    @property
    def PARTS(self) -> tuple[str, ...]:
        """The names of the parts."""
        both: dict[str, Any] = {"depth": self.depth, "frontier": self.frontier}
        inner = [f"{name}/{part}" for name, network in both.items() for part in network.PARTS]
        return (*both, *inner)

    def inputs(self, batch: Batch) -> Array:
        """Returns what of a batch the network sees."""
        return normalise(batch.image)

    @nn.compact
    def __call__(self, image: jax.Array, *, train: Sequence[str] = ()) -> jax.Array:
        """Maps `[B, H, W, 3]`, ImageNet-normalised RGB, to the outputs of the second network.

        Where the collection "predictions" is mutable, `depth_m` in it is the `[B, H, W]` depth.
        """
        networks: dict[str, Any] = {"depth": self.depth, "frontier": self.frontier}
        output = networks["depth"](image, train=_inside(networks["depth"], train, "depth"))
        depth = self.to_depth.predict(output, image.shape[1:3]).depth
        if not self.is_initializing():
            self.sow("predictions", "depth_m", depth)
        inner = _inside(networks["frontier"], train, "frontier")
        return networks["frontier"](jnp.asarray(depth)[..., None], train=inner)


def _inside(network: Any, train: Sequence[str], name: str) -> tuple[str, ...]:
    """Names the trained parts as the inner network does; the whole of it is all its parts."""
    inner = parts.inside(train, name)
    return tuple(part for part in network.PARTS if "/" not in part) if inner == ("",) else inner


@dataclasses.dataclass
class TwoPhase:
    """Both networks as a field of a config.

    Attributes:
        depth: the network that predicts depth from RGB.
        to_depth: the objective that it was trained with.
        frontier: the network that cuts depth.
    """

    depth: Segmenter
    to_depth: ToDepth
    frontier: DepthCNN

    def make(self, channels: int) -> TwoPhaseNetwork:
        """Builds the module for `channels` outputs per pixel.

        Raises:
            ValueError: if a field has a value that no network can be built with.
        """
        self.to_depth.check()
        if self.depth.auxiliary:
            raise ValueError(
                "model.depth.auxiliary=True: its outputs are of depth, of which the run has no loss"
            )
        return TwoPhaseNetwork(
            depth=self.depth.make(self.to_depth.channels),
            frontier=self.frontier.make(channels),
            to_depth=_Frozen(self.to_depth),
        )


class _Frozen:
    """Keeps an objective out of flax's modality, which would take a dataclass apart."""

    def __init__(self, objective: ToDepth):
        self._objective = objective

    def predict(self, output: jax.Array, size: tuple[int, ...]) -> Prediction:
        """Predicts as the objective does."""
        return self._objective.predict(output, size)
