import numpy as np
import pytest

from psp_jax.partition import frontier_classes, merging, planar, scores, smoothing


def room():
    """Three walls of a corner with noise, and the wall that each pixel sees."""
    rows, columns = np.mgrid[:160, :200]
    x, y = (columns - 110.0) / 180.0, (rows - 70.0) / 180.0
    inverse = np.stack([0.35 + 0.5 * x, 0.35 - 0.4 * x, 0.30 + 0.9 * y + 0.1 * x])
    noisy = inverse.max(axis=0) + np.random.default_rng(0).normal(0, 2e-3, rows.shape)
    return np.round(1000.0 / noisy).astype(np.uint16), inverse.argmax(0)


def functional(labels, depth_mm, trade):
    """Squared error of one plane per region, and the length of all frontiers at its price."""
    inverse = 1000.0 / depth_mm.astype(np.float64)
    sums = merging.region_sums(labels, inverse, int(labels.max()) + 1)
    return sum(merging.plane(one)[3] for one in sums) + trade * scores.crack_edges(labels)


def test_frontiers_move_to_where_the_planes_meet():
    depth, walls = room()
    merged, smoothed = planar.Planar()(depth), smoothing.Smoothed()(depth)

    def wrong(labels):
        return 1 - scores.achievable_segmentation_accuracy(scores.overlap(labels, walls))

    assert wrong(smoothed) < 0.6 * wrong(merged)
    np.testing.assert_array_equal(smoothed, frontier_classes.split_connected(smoothed))


def test_what_is_minimised_falls():
    rng = np.random.default_rng(0)
    for trade in (3e-4, 3e-3):
        depth, _ = room()
        depth[40:90, 30:80] = 700 + rng.integers(0, 20, (50, 50))
        merged = planar.Planar(trade=trade)(depth)
        smoothed = smoothing.Smoothed(trade=trade)(depth)
        assert functional(smoothed, depth, trade) < functional(merged, depth, trade)


def test_nothing_moves_where_nothing_can_be_gained():
    depth = np.full((64, 80), 2000, np.uint16)
    depth[:, 40:] = 1000
    blocks = np.repeat(np.arange(2), 40)[None].repeat(64, axis=0)
    np.testing.assert_array_equal(smoothing.smooth(blocks, depth, trade=1e-3), blocks)


def test_a_negative_trade_is_refused():
    with pytest.raises(ValueError, match="got -1"):
        smoothing.Smoothed(trade=-1.0)
