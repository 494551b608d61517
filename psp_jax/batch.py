"""Batches of examples, and predictions of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch of examples.

    Attributes:
        image: `[B, s * H, s * W, 3]` uint8 RGB, as fine as the labels (s = 1) or finer by an
            integer s; a network's `inputs` normalises it, on the device.
        depth: `[B, H, W]` float32 metres along the optical axis; 0 where there is no target: no
            reading (unless `data.ignore_filled` is off) or beyond `data.max_depth_m`.
        filled_depth: `[B, H, W]` float32 metres, holes filled with the nearest reading: what a
            network that sees depth is given.
        frontier: `[B, H, W]` uint8 frontier classes 0 to 15, exact, so that
            `frontier_classes.decode_exact` recovers the regions.
        filled: `[B, H, W]` bool, True where the sensor had no reading, so that neither depth nor
            classes carry truth; all False if `data.ignore_filled` is off.
        valid: `[B]` bool, False for the padding that completes the last batch of an evaluation.
    """

    image: Array
    depth: Array
    filled_depth: Array
    frontier: Array
    filled: Array
    valid: Array

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the labels: the grid of targets and predictions."""
        height, width = self.depth.shape[-2:]
        return height, width

    def __getitem__(self, index: int) -> "Batch":
        """Returns one example, without the batch axis."""
        return jax.tree.map(lambda array: array[index], self)

    def has_class(self) -> jax.Array:
        """Returns `[B, H, W]` bool, True where the frontier class is known."""
        return ~jnp.asarray(self.filled) & jnp.asarray(self.valid)[:, None, None]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a network predicts of a batch, at one size; None is what it does not predict.

    Attributes:
        depth: `[B, H, W]` float32 metres along the optical axis.
        edges: `[B, H, W, 2]` float32 logits of a cut inter-pixel edge, channel 0 to the
            right neighbour, channel 1 to the pixel below.
        classes: `[B, H, W]` uint8 frontier classes 0 to 15.
    """

    depth: Array | None = None
    edges: Array | None = None
    classes: Array | None = None

    def __getitem__(self, index: int) -> "Prediction":
        """Returns the prediction of one image, without the batch axis."""
        return jax.tree.map(lambda array: array[index], self)
