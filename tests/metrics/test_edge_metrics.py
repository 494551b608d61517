import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax.metrics import edge_metrics
from psp_jax.objectives import edges
from tests.batches import SHAPE, batch_of, partition, random_logits


def tally_of(logits, batch):
    tally = edge_metrics.EdgeTally()
    tally.add(edge_metrics.edge_counts(logits, batch))
    return tally.metrics()


def flat(logits, batch):
    known = np.asarray(edges.labelled(batch))
    return np.asarray(logits)[known], np.asarray(edges.targets(batch.frontier))[known]


def test_metrics_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    batch = batch_of([partition()])
    # Whole steps of the bins, so that binning loses nothing.
    logits = jnp.round((random_logits(2) + edges.targets(batch.frontier)) * 8) / 8
    scores, truth = flat(logits, batch)
    metrics = tally_of(logits, batch)
    np.testing.assert_allclose(metrics["edge_ap"], sklearn.average_precision_score(truth, scores))
    precision, recall, _ = sklearn.precision_recall_curve(truth, scores)
    best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    np.testing.assert_allclose(metrics["edge_ods"], best)
    assert metrics["edge_ods"] == metrics["edge_ois"]
    loss = sklearn.log_loss(truth, 1 / (1 + np.exp(-scores.astype(np.float64))))
    np.testing.assert_allclose(metrics["edge_bits"], loss / np.log(2), rtol=1e-5)
    share = truth.mean()
    prior = -(share * np.log2(share) + (1 - share) * np.log2(1 - share))
    np.testing.assert_allclose(metrics["edge_bits_prior"], prior)


def test_one_threshold_for_all_images_is_not_better_than_one_for_each():
    batch = batch_of([partition(0), partition(1)])
    truth = edges.targets(batch.frontier) * 2.0 - 1.0
    logits = truth + jnp.asarray([0.0, 3.0])[:, None, None, None]
    metrics = tally_of(logits, batch)
    assert metrics["edge_ois"] == pytest.approx(1.0)
    assert metrics["edge_ods"] < 0.95


def test_padding_and_filled_pixels_are_not_counted():
    filled = np.zeros((2, *SHAPE), bool)
    filled[0, 3:6, 3:6] = True
    batch = batch_of([partition(), partition(1)], filled, valid=[True, False])
    logits = jnp.concatenate([random_logits(2), random_logits(2)])
    counted = edge_metrics.edge_counts(logits, batch)
    assert int(counted["counts"].sum()) == int(edges.labelled(batch).sum())
    assert not np.asarray(counted["counts"][1]).any()
