import numpy as np

from psp_jax.metrics import bootstrap


def test_the_interval_of_independent_images_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, 400)
    low, high = bootstrap.intervals({"x": values}, np.arange(400))["x"]
    half = 1.96 * values.std() / np.sqrt(400)
    np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=0.03)


def test_images_of_the_same_space_do_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    spaces = rng.normal(3, 2, 20)
    once = bootstrap.intervals({"x": spaces}, np.arange(20))["x"]
    often = bootstrap.intervals({"x": np.repeat(spaces, 50)}, np.repeat(np.arange(20), 50))["x"]
    np.testing.assert_allclose(once, often, rtol=1e-12)


def test_intervals_of_summed_counts_are_those_of_the_mean_where_sums_make_a_mean():
    rng = np.random.default_rng(0)
    right, spaces = rng.integers(0, 100, 60), np.repeat(np.arange(12), 5)
    counts = np.stack([right, 100 - right], axis=1)
    share = bootstrap.intervals_of_sums(counts, spaces, lambda c: {"x": c[0] / c.sum()})["x"]
    np.testing.assert_allclose(share, bootstrap.intervals({"x": right / 100}, spaces)["x"])


def test_images_without_a_value_are_left_out():
    values = np.array([1.0, np.nan, 1.0, np.nan])
    result = bootstrap.intervals({"x": values, "y": np.full(4, np.nan)}, ["a", "b", "c", "d"])
    assert result["x"] == (1.0, 1.0)
    assert np.isnan(result["y"]).all()


def test_intervals_are_narrower_at_lower_levels_and_repeat():
    values = {"x": np.random.default_rng(0).normal(size=50)}
    wide = bootstrap.intervals(values, np.arange(50))["x"]
    narrow = bootstrap.intervals(values, np.arange(50), level=0.5)["x"]
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert bootstrap.intervals(values, np.arange(50))["x"] == wide
    assert bootstrap.intervals(values, np.arange(50), seed=1)["x"] != wide


def test_a_single_space_has_no_interval():
    spaces = np.zeros(8, int)
    assert bootstrap.intervals({"x": np.arange(8.0)}, spaces) == {}
    counts = np.ones((8, 2))
    assert bootstrap.intervals_of_sums(counts, spaces, lambda c: {"x": c[0] / c.sum()}) == {}
