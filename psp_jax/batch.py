"""What flows from the data to the losses and metrics."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch of examples.

    Attributes:
        image: `[B, H, W, 3]` uint8 RGB; a network's `inputs` normalises it, on the device.
        depth: `[B, H, W]` float32 metres along the optical axis; 0 marks no reading.
        filled_depth: `[B, H, W]` float32 metres, holes filled with the nearest reading: what a
            network that sees depth is given.
        frontier: `[B, H, W]` uint8 frontier classes 0 to 15, of a whole partition: it can be
            decoded back to its regions.
        filled: `[B, H, W]` bool, True where the sensor had no reading, so that neither depth nor
            classes carry truth; nowhere if the config has `data.ignore_filled` off.
        valid: `[B]` bool, False for the padding that completes the last batch of an evaluation.
    """

    image: Array
    depth: Array
    filled_depth: Array
    frontier: Array
    filled: Array
    valid: Array


class Prediction(NamedTuple):
    """What a network's output means, at the image's size; None is what it does not speak of.

    Attributes:
        depth: `[B, H, W]` float32 metres.
        edges: `[B, H, W, 2]` float32 logits of a frontier at the inter-pixel edges, as
            `psp_jax.objectives.edges` lays them out.
        classes: `[B, H, W]` uint8 frontier classes.
    """

    depth: jax.Array | None = None
    edges: jax.Array | None = None
    classes: jax.Array | None = None
