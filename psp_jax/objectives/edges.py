"""Inter-pixel edges on device: labels, and logits of edges from those of pixels.

Edges are `[B, H, W, 2]`: channel 0 is the edge between a pixel and its right neighbour, channel 1
the edge between a pixel and the pixel below. The last column of channel 0 and the last row of
channel 1 are at the image's border, where there is no edge. On the host:
`partition.edge_logits`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.batch import Array, Batch
from psp_jax.partition.frontier_classes import CLASSES, Side


def targets(frontier: Array) -> jax.Array:
    """Marks the cut edges of `[B, H, W]` frontier classes: `[B, H, W, 2]` bool."""
    classes = jnp.asarray(frontier)
    bits = [(classes >> side) & 1 for side in (Side.RIGHT, Side.DOWN)]
    return jnp.stack(bits, axis=-1).astype(bool)


def labelled(batch: Batch) -> jax.Array:
    """Marks the edges with a label: `[B, H, W, 2]` bool.

    Both of their pixels are in the image and have a reading, and the image is no padding.
    """
    known = batch.has_class()
    right = jnp.pad(known[:, :, 1:], ((0, 0), (0, 0), (0, 1)))
    below = jnp.pad(known[:, 1:], ((0, 0), (0, 1), (0, 0)))
    return known[..., None] & jnp.stack([right, below], axis=-1)


def bit_logits(class_logits: jax.Array) -> jax.Array:
    """Marginalises a softmax over classes: `[..., 16]` logits to `[..., 4]` logits of the bits.

    P(bit) is the sum of the probabilities of the eight classes in which it is set.
    """
    is_set = (np.arange(CLASSES)[:, None] >> np.arange(4)) & 1  # [16, 4]

    def log_sum(bit: int, value: int) -> jax.Array:
        chosen = np.flatnonzero(is_set[:, bit] == value)
        return jax.nn.logsumexp(class_logits[..., chosen], axis=-1)

    return jnp.stack([log_sum(bit, 1) - log_sum(bit, 0) for bit in range(4)], axis=-1)


def paired_logits(logits: jax.Array) -> jax.Array:
    """Pairs the two predictions of every edge, one by each of its pixels.

    Args:
        logits: `[B, H, W, 4]` logits of the bits of every pixel.

    Returns:
        `[2, B, H, W, 2]` logits by the left or upper pixel, then by the right or lower one. At the
        border, where there is no edge, the first is repeated.
    """
    near = logits[..., Side.RIGHT], logits[..., Side.DOWN]
    far = (
        jnp.concatenate([logits[:, :, 1:, Side.LEFT], logits[:, :, -1:, Side.RIGHT]], axis=2),
        jnp.concatenate([logits[:, 1:, :, Side.UP], logits[:, -1:, :, Side.DOWN]], axis=1),
    )
    return jnp.stack([jnp.stack(near, axis=-1), jnp.stack(far, axis=-1)])


def classes_of(edge_logits: jax.Array) -> jax.Array:
    """Encodes `[B, H, W, 2]` logits, cut above 0, as `[B, H, W]` uint8 frontier classes."""
    right, down = edge_logits[:, :, :-1, 0] > 0, edge_logits[:, :-1, :, 1] > 0
    pads = {
        Side.LEFT: (right, ((0, 0), (0, 0), (1, 0))),
        Side.UP: (down, ((0, 0), (1, 0), (0, 0))),
        Side.RIGHT: (right, ((0, 0), (0, 0), (0, 1))),
        Side.DOWN: (down, ((0, 0), (0, 1), (0, 0))),
    }
    classes = jnp.zeros(edge_logits.shape[:-1], jnp.uint8)
    for side, (cut, pad) in pads.items():
        classes |= jnp.pad(cut, pad).astype(jnp.uint8) << side
    return classes
