import cv2
import numpy as np
import pytest

from psp_jax.partition import fill, frontier_classes, merging, planar, scores, superpixels
from tests import captures


def squared_error(mask, inverse_depth):
    rows, columns = np.nonzero(mask)
    design = np.stack([columns, rows, np.ones_like(rows)], axis=1).astype(np.float64)
    fit = np.linalg.lstsq(design, inverse_depth[mask], rcond=None)[0]
    return ((design @ fit - inverse_depth[mask]) ** 2).sum()


def merged_by_brute_force(labels, depth_mm, trade):
    """Tries every pair of touching regions again after each merge, with its least squares."""
    labels, inverse_depth = labels.copy(), 1000.0 / depth_mm
    while True:
        best = (np.inf, 0, 0)
        touching = {}
        for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
            for pair in zip(one[one != other], other[one != other], strict=True):
                key = (int(min(pair)), int(max(pair)))
                touching[key] = touching.get(key, 0) + 1
        for (first, second), cracks in touching.items():
            masks = (labels == first) | (labels == second), labels == first, labels == second
            both, alone, other = (squared_error(mask, inverse_depth) for mask in masks)
            best = min(best, ((both - alone - other) / cracks, first, second))
        if best[0] > trade:
            return frontier_classes.renumber(labels)
        labels[labels == best[2]] = best[1]


@pytest.mark.parametrize("trade", [1e-3, 1e-2, 5e-2])
def test_merging_with_a_heap_is_merging_by_trying_every_pair(trade):
    rng = np.random.default_rng(0)
    for _ in range(3):
        # Blocks of 3x3 noisy pixels: no fit is exact, so no two merges cost the same.
        drawn = np.kron(rng.integers(0, 9, (4, 5)), np.ones((3, 3), int))
        labels = frontier_classes.split_connected(drawn)
        depth = rng.integers(800, 2000, labels.shape).astype(np.uint16)
        merged = planar.merge(drawn, depth, trade)
        np.testing.assert_array_equal(merged, merged_by_brute_force(labels, depth, trade))


def room():
    """Three walls of a corner, and the wall that each pixel sees."""
    rows, columns = np.mgrid[:288, :384]
    x, y = (columns - 210.0) / 360.0, (rows - 120.0) / 360.0
    inverse_depth = np.stack([0.35 + 0.5 * x, 0.35 - 0.4 * x, 0.30 + 0.9 * y + 0.1 * x])
    return np.round(1000.0 / inverse_depth.max(axis=0)).astype(np.uint16), inverse_depth.argmax(0)


def test_the_walls_of_a_corner_are_the_regions():
    depth, walls = room()
    labels = planar.Planar()(depth)
    assert labels.max() + 1 == 3
    shared = scores.overlap(labels, walls)
    assert scores.achievable_segmentation_accuracy(shared) > 0.97
    assert np.abs(planar.render_planes(labels, depth) - depth / 1000.0).mean() < 0.005


def functional(labels, inverse_depth, trade):
    errors = (squared_error(labels == region, inverse_depth) for region in np.unique(labels))
    return sum(errors) + trade * scores.crack_edges(labels)


@pytest.mark.parametrize("trade", [0.0, 1e-3, 1e-1])
def test_moving_frontiers_keeps_the_regions_whole_and_never_costs(trade):
    rng = np.random.default_rng(0)
    for _ in range(5):
        labels = frontier_classes.split_connected(
            np.kron(rng.integers(0, 4, (8, 9)), np.ones((4, 4), int))
        )
        depth = rng.integers(700, 3000, labels.shape).astype(np.uint16)
        moved = planar.refine(labels, depth, trade)
        assert (moved != labels).any()
        np.testing.assert_array_equal(frontier_classes.split_connected(moved), moved)
        assert moved.max() == labels.max()
        before, after = (functional(each, 1000.0 / depth, trade) for each in (labels, moved))
        assert after < before


def test_frontiers_move_to_where_the_planes_meet():
    """Started from blocks, whose corners lie up to 5 pixels off."""
    depth, walls = room()
    blocks = walls[2::6, 2::6].repeat(6, axis=0).repeat(6, axis=1).astype(np.int32)
    assert (blocks != walls).mean() > 0.003
    moved = planar.refine(frontier_classes.renumber(blocks), depth, 1e-6)
    # Depth in whole millimetres leaves the frontier within a pixel of the crease.
    wrong = moved != frontier_classes.renumber(walls)
    assert wrong.mean() < 0.001


def test_one_plane_is_one_region_at_any_slant_and_a_jump_is_a_frontier():
    rows, columns = np.mgrid[:64, :80]
    plane = np.round(1000.0 / (0.2 + 0.004 * columns + 0.002 * rows)).astype(np.uint16)
    assert planar.Planar()(plane).max() == 0
    plane[:, 40:] += 1500
    assert (planar.Planar()(plane)[:, 39] != planar.Planar()(plane)[:, 40]).mean() > 0.95


def test_the_camera_does_not_matter():
    """A fit in normalised image coordinates predicts what the fit in pixels does."""
    depth, walls = room()
    rows, columns = np.indices(depth.shape)
    rendered = planar.render_planes(walls.astype(np.int32), depth)
    for focal_px, center in ((120.0, (70.0, 40.0)), (577.0, (319.5, 239.5))):
        x, y = (columns - center[0]) / focal_px, (rows - center[1]) / focal_px
        for wall in range(3):
            mask = walls == wall
            design = np.stack([x[mask], y[mask], np.ones(mask.sum())], axis=1)
            fit = np.linalg.lstsq(design, 1000.0 / depth[mask], rcond=None)[0]
            predicted = np.clip(design @ fit, *np.sort(1000.0 / depth[mask])[[0, -1]])
            np.testing.assert_allclose(1.0 / predicted, rendered[mask], rtol=1e-8)


@pytest.mark.parametrize(
    "pixels", [[(2, 3)], [(2, 3), (2, 4), (2, 7)], [(1, 5), (4, 5)], [(1, 1), (2, 2), (3, 3)]]
)
def test_pixels_on_one_line_fit_as_well_as_least_squares_can(pixels):
    labels = np.ones((8, 9), np.int32)
    labels[tuple(np.transpose(pixels))] = 0
    values = np.random.default_rng(0).random((8, 9))
    sums = merging.region_sums(labels, values, 2)
    for region in range(2):
        expected = squared_error(labels == region, values)
        np.testing.assert_allclose(merging.plane(sums[region])[3], expected, atol=1e-12)


def test_touching_regions_are_listed_with_the_length_of_their_frontier():
    pairs, cracks = merging.adjacency(np.array([[0, 0, 1], [0, 2, 1]], np.int32), 3)
    np.testing.assert_array_equal(pairs, [[0, 1], [0, 2], [1, 2]])
    np.testing.assert_array_equal(cracks, [1, 2, 1])


def test_a_larger_trade_never_leaves_more_regions():
    rng = np.random.default_rng(0)
    depth = cv2.GaussianBlur(rng.uniform(500, 4000, (96, 128)), (0, 0), 6).astype(np.uint16)
    counts = [planar.Planar(trade=trade)(depth).max() for trade in (0.0, 1e-5, 1e-4, 1e-3, 1e-1)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


@captures.needed
def test_real_captures_cost_less_than_half_of_seeds_edges_and_keep_the_depth_discontinuities():
    rows = []
    for depth_mm in captures.depth_frames((480, 640)):
        filled_mm, _ = fill.fill_nearest(depth_mm)
        labels = planar.Planar(trade=1e-3)(filled_mm)
        boundary, true = scores.boundary(labels), scores.depth_discontinuities(filled_mm)
        recall = scores.boundary_recall(boundary, true, radius_px=2)
        error = planar.render_planes(labels, filled_mm) * 1000.0 / filled_mm - 1
        rows.append(
            (
                labels.max() + 1,
                scores.crack_edges(labels) / scores.crack_edges(superpixels.Seeds()(filled_mm)),
                recall if true.sum() > 300 else np.nan,
                1.0 - boundary.mean(),
                np.sqrt((error**2).mean()),
            )
        )
    regions, cracks_ratio, recall, interior, relative_rmse = np.nanmedian(rows, axis=0)
    # Medians of 33 frames of 8 sources: 95 regions, .36, .958, .947 and .0063.
    assert 40 < regions < 200
    assert cracks_ratio < 0.5
    assert recall > 0.92
    assert 0.93 < interior < 0.97
    assert relative_rmse < 0.01
