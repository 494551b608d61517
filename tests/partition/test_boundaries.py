import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from psp_jax.partition import boundaries


def make_pair(seed, size=(13, 17)):
    """Probabilities on the thresholds' own grid, moved by less than a step, and a truth."""
    rng = np.random.default_rng(seed)
    true = rng.random(size) < 0.2
    level = np.clip(rng.integers(0, 60, size) + 40 * true, 0, 99)
    return (level + 0.5) / 100, true


def counts_by_hand(probability, true, radius, known, threshold):
    """One window at a time, as the convention is worded."""
    predicted = probability >= threshold
    correct = recalled = 0
    height, width = true.shape
    for y, x in np.argwhere((predicted | true) & known):
        rows = slice(max(y - radius, 0), min(y + radius + 1, height))
        columns = slice(max(x - radius, 0), min(x + radius + 1, width))
        correct += predicted[y, x] and true[rows, columns].any()
        recalled += true[y, x] and predicted[rows, columns].any()
    return (predicted & known).sum(), correct, (true & known).sum(), recalled


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_counts_are_those_of_the_windows(radius):
    probability, true = make_pair(0)
    known = np.random.default_rng(1).random(true.shape) < 0.8
    counts = boundaries.count(probability, true, radius_px=radius, known=known)
    for index in (0, 20, 49, 80, 98):
        expected = counts_by_hand(probability, true, radius, known, boundaries.THRESHOLDS[index])
        np.testing.assert_array_equal(counts[index], expected)


def test_average_precision_without_a_window_is_that_of_scikit_learn():
    pairs = [make_pair(seed) for seed in range(3)]
    counts = np.stack([boundaries.count(p, t, radius_px=0) for p, t in pairs])
    probability = np.concatenate([p.ravel() for p, _ in pairs])
    true = np.concatenate([t.ravel() for _, t in pairs])
    # The lowest threshold is above 0, so the least probable true pixels are never recalled.
    probability = np.maximum(probability, 0.011)
    counts = counts + 0
    expected = sklearn_metrics.average_precision_score(true, probability)
    metrics = boundaries.metrics(counts)
    np.testing.assert_allclose(metrics["ap"], expected, atol=2e-3)
    half = sklearn_metrics.f1_score(true, probability >= 0.5)
    np.testing.assert_allclose(metrics["f"], half, rtol=1e-12)
    best = max(
        float(sklearn_metrics.f1_score(true, probability >= t)) for t in boundaries.THRESHOLDS
    )
    np.testing.assert_allclose(metrics["ods"], best, rtol=1e-12)


def test_a_threshold_for_each_image_is_at_least_as_good_as_one_for_all():
    first, second = make_pair(0), make_pair(1)
    faint = second[0] / 4, second[1]
    counts = np.stack([boundaries.count(*pair, radius_px=1) for pair in (first, faint)])
    metrics = boundaries.metrics(counts)
    assert metrics["ods"] < metrics["ois"]


def test_a_boundary_one_pixel_aside_is_right_only_within_a_window():
    true = np.zeros((9, 9), bool)
    true[:, 4] = True
    aside = np.roll(true, 1, axis=1).astype(np.float32)
    scores = [
        boundaries.metrics(boundaries.count(aside, true, radius_px=r))["f"] for r in (0, 1, 2)
    ]
    assert scores == [0, 1, 1]
    perfect = boundaries.metrics(boundaries.count(true.astype(np.float32), true, radius_px=0))
    assert perfect == {"f": 1, "ods": 1, "ois": 1, "ap": 1}
    nothing = boundaries.metrics(boundaries.count(np.zeros((9, 9)), true, radius_px=2))
    assert nothing == {"f": 0, "ods": 0, "ois": 0, "ap": 0}


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        boundaries.count(np.zeros((3, 4)), np.zeros((3, 5), bool), radius_px=1)
