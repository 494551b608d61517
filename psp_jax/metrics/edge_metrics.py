"""Metrics of predicted cut edges, from counts by logit on device.

Every inter-pixel edge is scored on its own, at 0 px tolerance; `partition.boundaries` has the
metrics with a tolerance.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.batch import Array, Batch
from psp_jax.objectives import edges

LIMIT = 12.0  # Logits are clipped to this: a probability of 1 in 160,000.
BINS_PER_LOGIT = 8
BINS = int(2 * LIMIT * BINS_PER_LOGIT) + 1


def edge_counts(edge_logits: Array, batch: Batch) -> dict[str, jax.Array]:
    """Counts the edges that carry truth by their true state and their logit.

    Args:
        edge_logits: `[B, H, W, 2]` logits of a cut edge, channel 0 to the right
            neighbour, channel 1 to the pixel below.
        batch: the true frontier classes.

    Returns:
        `counts` `[B, 2, BINS]` int32, uncut and cut edges by logit, and `surprise` `[B]` float32,
        the sum of -log2 P(true state of the edge), in bits.
    """
    target, known = edges.targets(batch.frontier), edges.labelled(batch)
    logits = edge_logits.astype(jnp.float32)
    place = jnp.round((jnp.clip(logits, -LIMIT, LIMIT) + LIMIT) * BINS_PER_LOGIT).astype(jnp.int32)
    images = jnp.arange(len(target))[:, None, None, None]
    counts = jnp.zeros((len(target), 2, BINS), jnp.int32)
    counts = counts.at[images, target.astype(jnp.int32), place].add(known.astype(jnp.int32))
    nats = jax.nn.softplus(jnp.where(target, -logits, logits))
    bits = jnp.where(known, nats, 0.0).sum((1, 2, 3)) / jnp.log(2.0)
    return {"counts": counts, "surprise": bits}


class EdgeTally:
    """Adds up counts over images; of a single image only its best F-measure is kept."""

    def __init__(self):
        """Starts empty."""
        self._counts = np.zeros((2, BINS), np.int64)
        self._surprise = 0.0
        self._best: list[float] = []

    def add(self, counted: Mapping[str, Array]) -> None:
        """Adds the result of `edge_counts` for a batch."""
        counts = np.asarray(counted["counts"], np.int64)
        self._counts += counts.sum(0)
        self._surprise += float(np.asarray(counted["surprise"], np.float64).sum())
        for image in counts:
            if image[1].any():  # Without any true frontier there is no recall.
                self._best.append(float(_f_measures(image).max()))

    def metrics(self) -> dict[str, float]:
        """Computes the metrics over all edges.

        `edge_bits` is the mean surprise of an edge, `edge_bits_prior` that of a predictor that
        knows only the share of cut edges, `edge_ap` the average precision, `edge_ods` and
        `edge_ois` the best F-measures with one threshold for all images and with one per image
        (Arbelaez et al. 2011, section 3.1; deviation: an edge matches only itself).
        """
        uncut, cut = self._counts.sum(1)
        total = max(int(uncut + cut), 1)
        precision, recall = _precision_recall(self._counts)
        gained = np.diff(recall, prepend=0.0)
        return {
            "edge_bits": self._surprise / total,
            "edge_bits_prior": _entropy(cut / total),
            "edge_ap": float((precision * gained).sum()),
            "edge_ods": float(_f_measures(self._counts).max()),
            "edge_ois": float(np.mean(self._best)) if self._best else float("nan"),
        }


def _precision_recall(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns precision and recall with every bin as the threshold, from the highest down."""
    false, true = np.cumsum(counts[:, ::-1], axis=1)
    return true / np.maximum(false + true, 1), true / max(int(true[-1]), 1)


def _f_measures(counts: np.ndarray) -> np.ndarray:
    precision, recall = _precision_recall(counts)
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def _entropy(share: float) -> float:
    """Computes the entropy of a Bernoulli variable in bits."""
    return float(-sum(p * np.log2(p) for p in (share, 1 - share) if p > 0))
