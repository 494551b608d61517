from typing import Any

import jax
import numpy as np
from sklearn import metrics as sklearn_metrics

from psp_jax.metrics import class_metrics


def test_confusions_and_class_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 0, 0, 1, 2, 5], (3, 11, 13)).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.choice([0, 1, 3], truth.shape))
    known = rng.random(truth.shape) < 0.9
    counts = jax.jit(lambda p, t, m: class_metrics.confusion(p, t, m, classes=7))(
        predicted, truth, known
    )
    assert counts.shape == (3, 7, 7)
    t, p = truth[known], predicted[known]
    total = np.asarray(counts, np.int64).sum(0)
    expected = sklearn_metrics.confusion_matrix(t, p, labels=range(7))
    np.testing.assert_array_equal(total, expected)
    metrics, ious = class_metrics.class_metrics(total), class_metrics.iou(total)
    each: Any = None  # The stubs of scikit-learn do not know it.
    present = [0, 1, 2, 3, 5]
    iou: Any = sklearn_metrics.jaccard_score(t, p, average=each, labels=present)
    recall: Any = sklearn_metrics.recall_score(t, p, average=each, labels=[0, 1, 2, 5])
    np.testing.assert_allclose(ious[present], iou)
    assert np.isnan(ious[[4, 6]]).all()
    np.testing.assert_allclose(metrics["mean_iou"], iou.mean())
    np.testing.assert_allclose(metrics["mean_iou_absent_0"], iou.sum() / 7)
    np.testing.assert_allclose(metrics["balanced_accuracy"], recall.mean())
    np.testing.assert_allclose(metrics["accuracy"], (t == p).mean())
    np.testing.assert_allclose(metrics["interior_share"], (t == 0).mean())
    np.testing.assert_allclose(metrics["frontier_recall"], (p[t > 0] > 0).mean())
    collected = class_metrics.Confusions(7)
    collected.add(counts[:2], np.array([True, False]))  # The second is padding.
    collected.add(counts[2:], np.array([True]))
    np.testing.assert_array_equal(collected.images, np.asarray(counts)[[0, 2]])
    np.testing.assert_array_equal(collected.total, collected.images.sum(0))
    always = class_metrics.class_metrics(class_metrics.always_interior(total))
    expected = sklearn_metrics.accuracy_score(t, np.zeros_like(t))
    np.testing.assert_allclose(always["accuracy"], expected)
    assert always["balanced_accuracy"] == 1 / 4 and always["frontier_recall"] == 0


def test_an_image_without_a_known_pixel_has_no_metrics_and_does_not_crash():
    metrics = class_metrics.class_metrics(np.zeros((4, 4), np.int64))
    assert metrics["accuracy"] == 0 and np.isnan(metrics["mean_iou"])
    confusions = class_metrics.Confusions(4)
    confusions.add(np.stack([np.eye(4), np.zeros((4, 4))]), np.ones(2, bool))
    np.testing.assert_array_equal(confusions.columns()["accuracy"], [1.0, np.nan])
