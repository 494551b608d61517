import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax.metrics import bootstrap, depth_metrics
from tests.batches import make_batch

metrics_of = jax.jit(depth_metrics.depth_metrics, static_argnames="max_depth_m")


def test_metrics_of_a_frame_computed_by_hand():
    depth = np.full((1, 3, 4), 2.0)
    depth[0, 0, :2] = 0, 12.0  # No reading, and one beyond the range.
    predicted = np.full((1, 3, 4), 2.2)
    predicted[0, 0] = 99.0, 99.0, 2.2, 4.0
    metrics = metrics_of(jnp.asarray(predicted), make_batch(depth), max_depth_m=10.0)
    differences = np.array([0.2] * 9 + [2.0])
    np.testing.assert_allclose(metrics["abs_rel"], [differences.mean() / 2], rtol=1e-5)
    np.testing.assert_allclose(metrics["rmse_m"], [np.sqrt((differences**2).mean())], rtol=1e-5)
    np.testing.assert_allclose(metrics["delta1"], [0.9], rtol=1e-6)
    np.testing.assert_allclose(metrics["mad_levels"], [differences.mean() * 25.5], rtol=1e-5)
    assert bool(metrics["counted"][0])


def test_predictions_are_clipped_to_the_range():
    batch = make_batch(np.full((2, 4, 4), 5.0))
    predicted = jnp.asarray([np.full((4, 4), -3.0), np.full((4, 4), 1e9)])
    metrics = metrics_of(predicted, batch, max_depth_m=10.0)
    np.testing.assert_allclose(metrics["rmse_m"], [5.0 - depth_metrics.MIN_DEPTH_M, 5.0], rtol=1e-5)


def test_averages_are_over_images_and_leave_out_padding_and_empty_frames():
    depth = np.full((4, 4, 4), 2.0)
    depth[1] = 0
    batch = make_batch(depth, valid=[True, True, True, False])
    predicted = np.full((4, 4, 4), 2.0)
    predicted[2] = 3.0
    predicted[3] = 9.0
    averages = depth_metrics.Averages()
    averages.add(metrics_of(jnp.asarray(predicted), batch, max_depth_m=10.0))
    means = averages.means()
    assert averages.images == 2
    np.testing.assert_allclose(means["rmse_m"], 0.5, rtol=1e-6)
    np.testing.assert_allclose(means["abs_rel"], 0.25, rtol=1e-6)


def make_scene(seed, count=3, size=(12, 16)):
    """Depth with holes and readings beyond the range, and predictions that are not far off."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.5, 11, (count, *size))
    truth[rng.random(truth.shape) < 0.2] = 0
    predicted = np.clip(truth * np.exp(rng.normal(0.1, 0.3, truth.shape)), 0.2, 12)
    return truth.astype(np.float32), predicted.astype(np.float32)


def metrics_by_hand(d, t, max_depth_m):
    """One image, by the definitions, on arrays without holes and in float64."""
    e, levels = np.log(d) - np.log(t), 255 / max_depth_m
    ratio = np.maximum(d / t, t / d)
    return {
        "abs_rel": (abs(d - t) / t).mean(),
        "sq_rel_m": ((d - t) ** 2 / t).mean(),
        "mae_m": abs(d - t).mean(),
        "rmse_m": ((d - t) ** 2).mean() ** 0.5,
        "rmse_log": (e**2).mean() ** 0.5,
        "log10": abs(np.log10(d) - np.log10(t)).mean(),
        "bias_log": e.mean(),
        "silog": 100 * ((e**2).mean() - e.mean() ** 2) ** 0.5,
        "delta1": (ratio < 1.25).mean(),
        "delta2": (ratio < 1.5625).mean(),
        "delta3": (ratio < 1.953125).mean(),
        "mad_levels": abs(d - t).mean() * levels,
        "level_accuracy": (np.rint(d * levels) == np.rint(t * levels)).mean(),
    }


def aligned_by_hand(d, t, max_depth_m):
    ones = np.ones_like(d)
    scale, shift = np.linalg.lstsq(np.stack([d, ones], 1), t, rcond=None)[0]
    ways = {"median": d * np.median(t) / np.median(d), "affine": scale * d + shift}
    chosen = ("abs_rel", "rmse_m", "delta1")
    result = {}
    for way, aligned in ways.items():
        metrics = metrics_by_hand(
            np.clip(aligned, depth_metrics.MIN_DEPTH_M, max_depth_m), t, max_depth_m
        )
        result |= {f"{name}_{way}": metrics[name] for name in chosen}
    return result


def test_every_metric_is_its_definition_image_by_image_and_pooled():
    truth, predicted = make_scene(0)
    metrics = metrics_of(predicted, make_batch(truth), max_depth_m=10.0)
    known = (truth > 0) & (truth <= 10)
    images = [
        (np.clip(predicted[i], 1e-3, 10)[known[i]].astype(np.float64),
         truth[i][known[i]].astype(np.float64))
        for i in range(len(truth))
    ]  # fmt: skip
    expected = [metrics_by_hand(*image, 10) | aligned_by_hand(*image, 10) for image in images]
    for name in expected[0]:
        values = [image[name] for image in expected]
        np.testing.assert_allclose(metrics[name], values, rtol=1e-4, err_msg=name)
    named = {*expected[0], "boundary_f1", "pixels", "counted"}
    assert metrics.keys() == named
    averages = depth_metrics.Averages()
    averages.add({name: value[:2] for name, value in metrics.items()})
    averages.add({name: value[2:] for name, value in metrics.items()})
    depths, truths = zip(*images, strict=True)
    pooled = metrics_by_hand(np.concatenate(depths), np.concatenate(truths), 10)
    for name, value in pooled.items():
        np.testing.assert_allclose(averages.pooled()[name], value, rtol=1e-4, err_msg=name)
    assert "boundary_f1" not in averages.pooled() and "boundary_f1" in averages.means()


def test_alignment_forgives_scale_and_shift():
    truth, _ = make_scene(1)
    truth = np.minimum(truth, 6)
    metrics = metrics_of(jnp.asarray(0.4 * truth + 0.3), make_batch(truth), max_depth_m=10.0)
    np.testing.assert_allclose(metrics["abs_rel_affine"], 0, atol=1e-5)
    assert (np.asarray(metrics["abs_rel"]) > 0.1).all()
    metrics = metrics_of(jnp.asarray(0.4 * truth), make_batch(truth), max_depth_m=10.0)
    np.testing.assert_allclose(metrics["abs_rel_median"], 0, atol=1e-5)
    assert (np.asarray(metrics["silog"]) < 0.1).all()


def test_predictions_that_are_constant_or_infinite_have_finite_metrics():
    truth, _ = make_scene(2)
    for value in (2.5, np.inf, -np.inf):
        predicted = jnp.full(truth.shape, value)
        metrics = metrics_of(predicted, make_batch(truth), max_depth_m=10.0)
        for name, values in metrics.items():
            assert np.isfinite(values).all(), name
        known = [image[(image > 0) & (image <= 10)] for image in truth]
        # The least squares fit of a constant is the mean.
        expected = [np.std(image) for image in known]
        np.testing.assert_allclose(metrics["rmse_m_affine"], expected, rtol=1e-4)


def boundary_f1_by_hand(d, t, known):
    """Pair by pair and direction by direction."""
    height, width = t.shape
    total = weight = 0.0
    for limit in depth_metrics.BOUNDARY_RATIOS:
        hits = predictions = truths = 0
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            for y, x in np.ndindex(t.shape):
                v, u = y + dy, x + dx
                if not (0 <= v < height and 0 <= u < width and known[y, x] and known[v, u]):
                    continue
                positive, true = d[v, u] / d[y, x] > limit, t[v, u] / t[y, x] > limit
                hits += positive and true
                predictions, truths = predictions + positive, truths + true
        if truths:
            precision, recall = hits / max(predictions, 1), hits / truths
            total += limit * (2 * precision * recall / max(precision + recall, 1e-9))
            weight += limit
    return total / weight


def test_boundary_f1_is_its_definition():
    truth, predicted = make_scene(3, count=1, size=(7, 9))
    known = truth > 0
    expected = boundary_f1_by_hand(predicted[0], truth[0], known[0])
    actual = depth_metrics.boundary_f1(
        jnp.asarray(predicted), jnp.asarray(truth), jnp.asarray(known)
    )
    np.testing.assert_allclose(actual, [expected], rtol=1e-5)


def test_holes_make_no_boundaries_and_scale_does_not_matter():
    truth = np.full((2, 8, 8), 2.0, np.float32)
    truth[0, :, 4:] = 3.0
    truth[:, 2:4, 2:6] = 0
    score = depth_metrics.boundary_f1(jnp.asarray(0.7 * truth), jnp.asarray(truth), truth > 0)
    np.testing.assert_array_equal(score, [1.0, np.nan])
    flat = depth_metrics.boundary_f1(jnp.ones_like(truth), jnp.asarray(truth), truth > 0)
    np.testing.assert_array_equal(flat, [0.0, np.nan])


def test_means_leave_out_what_an_image_does_not_have():
    averages = depth_metrics.Averages()
    averages.add({"x": np.array([1.0, np.nan, 3.0]), "counted": np.array([True] * 3)})
    averages.add({"x": np.zeros(1), "counted": np.zeros(1, bool)})
    assert averages.means() == {"x": 2.0}
    nothing = depth_metrics.Averages()
    nothing.add({"x": np.array([np.nan]), "counted": np.ones(1, bool)})
    assert nothing.means() == {}
    assert np.isnan(bootstrap.mean(np.full(3, np.nan)))


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_medians_of_masked_values_are_those_of_numpy(count):
    values = np.random.default_rng(0).uniform(1, 9, (1, 3, 4))
    mask = np.zeros((1, 3, 4), bool)
    mask.ravel()[np.random.default_rng(1).permutation(12)[:count]] = True
    actual = depth_metrics._median(jnp.asarray(values), jnp.asarray(mask))
    np.testing.assert_allclose(actual, [np.median(values[mask])], rtol=1e-6)
