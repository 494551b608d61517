"""Batches made by hand."""

import jax.numpy as jnp
import numpy as np

from psp_jax.batch import Batch
from psp_jax.partition import frontier_classes

SHAPE = (9, 11)


def make_batch(depth, valid=None):
    depth = np.asarray(depth, np.float32)
    count = len(depth)
    return Batch(
        image=np.zeros((*depth.shape, 3), np.uint8),
        depth=depth,
        filled_depth=np.maximum(depth, 0.5),
        frontier=np.zeros(depth.shape, np.uint8),
        filled=depth == 0,
        valid=np.ones(count, bool) if valid is None else np.asarray(valid),
    )


def partition(seed=0):
    return frontier_classes.split_connected(np.random.default_rng(seed).integers(0, 3, SHAPE))


def batch_of(labels, filled=None, valid=None):
    """A batch of the given partitions, `[B, H, W]`."""
    classes = np.stack([frontier_classes.encode(each) for each in labels])
    depth = np.ones(classes.shape, np.float32)
    return Batch(
        image=np.zeros((*classes.shape, 3), np.uint8),
        depth=depth,
        filled_depth=depth,
        frontier=classes,
        filled=np.zeros(classes.shape, bool) if filled is None else filled,
        valid=np.ones(len(classes), bool) if valid is None else np.asarray(valid),
    )


def random_logits(channels, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(1, *SHAPE, channels)) * 2)
