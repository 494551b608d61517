"""Inter-pixel edges on device: what classes, bits and logits say of them.

Edges are `[B, H, W, 2]`: channel 0 is the edge between a pixel and its right neighbour, channel 1
the one between a pixel and the pixel below. The last column of the first and the last row of the
second lie at the image's border, where there is no edge.
"""

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.batch import Array, Batch
from psp_jax.partition.frontier_classes import CLASSES, Side


def targets(frontier: Array) -> jax.Array:
    """Tells which edges are cut: `[B, H, W]` classes 0..15 to `[B, H, W, 2]` bool."""
    classes = jnp.asarray(frontier)
    return jnp.stack([(classes >> bit) & 1 for bit in (Side.RIGHT, Side.DOWN)], axis=-1).astype(
        bool
    )


def bits(frontier: Array) -> jax.Array:
    """Unpacks the bits of `[B, H, W]` classes: `[B, H, W, 4]` bool, left, up, right, down."""
    return ((jnp.asarray(frontier)[..., None] >> jnp.arange(4)) & 1).astype(bool)


def exist(batch: Batch) -> jax.Array:
    """Tells which edges carry truth: `[B, H, W, 2]` bool.

    Both of their pixels lie inside the image and have a reading, and the image is no padding.
    """
    known = ~jnp.asarray(batch.filled) & jnp.asarray(batch.valid)[:, None, None]
    right = jnp.pad(known[:, :, 1:], ((0, 0), (0, 0), (0, 1)))
    below = jnp.pad(known[:, 1:], ((0, 0), (0, 1), (0, 0)))
    return known[..., None] & jnp.stack([right, below], axis=-1)


def bit_logits(class_logits: jax.Array) -> jax.Array:
    """Marginalises a softmax over classes: `[..., 16]` logits to `[..., 4]` logits of the bits.

    P(bit) is the sum of the probabilities of the eight classes that have it.
    """
    has = (np.arange(CLASSES)[:, None] >> np.arange(4)) & 1  # [16, 4]
    with_bit = [class_logits[..., np.flatnonzero(has[:, bit])] for bit in range(4)]
    without = [class_logits[..., np.flatnonzero(1 - has[:, bit])] for bit in range(4)]
    return jnp.stack(
        [
            jax.nn.logsumexp(one, axis=-1) - jax.nn.logsumexp(other, axis=-1)
            for one, other in zip(with_bit, without, strict=True)
        ],
        axis=-1,
    )


def votes(logits: jax.Array) -> jax.Array:
    """Pairs what the two pixels of an edge say.

    Args:
        logits: `[B, H, W, 4]` logits of the bits of every pixel.

    Returns:
        `[2, B, H, W, 2]`: of every edge, the logit of the left or upper pixel, then that of the
        right or lower one. Where there is no edge, the first is repeated.
    """
    near = logits[..., Side.RIGHT], logits[..., Side.DOWN]
    far = (
        jnp.concatenate([logits[:, :, 1:, Side.LEFT], logits[:, :, -1:, Side.RIGHT]], axis=2),
        jnp.concatenate([logits[:, 1:, :, Side.UP], logits[:, -1:, :, Side.DOWN]], axis=1),
    )
    return jnp.stack([jnp.stack(near, axis=-1), jnp.stack(far, axis=-1)])


def classes_of(edge_logits: jax.Array) -> jax.Array:
    """Reads edges out as classes: `[B, H, W, 2]` logits to `[B, H, W]` uint8, cut above 0."""
    right, down = edge_logits[:, :, :-1, 0] > 0, edge_logits[:, :-1, :, 1] > 0
    pads = {
        Side.LEFT: (right, ((0, 0), (0, 0), (1, 0))),
        Side.UP: (down, ((0, 0), (1, 0), (0, 0))),
        Side.RIGHT: (right, ((0, 0), (0, 0), (0, 1))),
        Side.DOWN: (down, ((0, 0), (0, 1), (0, 0))),
    }
    classes = jnp.zeros(edge_logits.shape[:-1], jnp.uint8)
    for bit, (cut, pad) in pads.items():
        classes |= jnp.pad(cut, pad).astype(jnp.uint8) << bit
    return classes


def dangling(edge_logits: jax.Array) -> jax.Array:
    """Probability that exactly one of the four edges at a vertex is cut, were they independent.

    No frontier ends inside the image, so it is 0 everywhere for a true partition.

    Args:
        edge_logits: `[B, H, W, 2]`.

    Returns:
        `[B, H-1, W-1]`, one value for every inner vertex.
    """
    across, along = edge_logits[:, :, :-1, 0], edge_logits[:, :-1, :, 1]
    around = (across[:, :-1], across[:, 1:], along[:, :, :-1], along[:, :, 1:])
    cut = [jax.nn.sigmoid(logits) for logits in around]
    whole = [jax.nn.sigmoid(-logits) for logits in around]
    total = jnp.zeros_like(cut[0])
    for one in range(4):
        product = cut[one]
        for other in range(4):
            product = product * (whole[other] if other != one else 1.0)
        total += product
    return total
