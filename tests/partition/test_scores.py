import math

import numpy as np
import pytest

from psp_jax.partition import frontier_classes, scores


def two_partitions(seed):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 7, (4, 5)), np.ones((3, 2), int))
    truth = np.kron(rng.integers(0, 5, (3, 5)), np.ones((4, 2), int))
    return labels, truth


def masks(labels):
    return [labels == number for number in np.unique(labels)]


def window_holds(marked, row, column, radius):
    top, left = max(row - radius, 0), max(column - radius, 0)
    return marked[top : row + radius + 1, left : column + radius + 1].any()


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_boundary_recall_is_that_counted_pixel_by_pixel(radius):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        boundary, true, known = rng.random((3, 15, 18)) < np.array([0.1, 0.1, 0.8])[:, None, None]
        pixels = [(r, c) for r, c in np.ndindex(boundary.shape) if known[r, c]]
        hits = sum(true[p] and window_holds(boundary, *p, radius) for p in pixels)
        recall = scores.boundary_recall(boundary, true, radius_px=radius, known=known)
        assert recall == hits / sum(true[p] for p in pixels)


def test_a_boundary_shifted_by_two_pixels_is_found_at_radius_two_only():
    true, boundary = np.zeros((8, 12), int), np.zeros((8, 12), int)
    true[:, 5:], boundary[:, 8:] = 1, 1
    true, boundary = scores.boundary(true), scores.boundary(boundary)
    recalls = [scores.boundary_recall(boundary, true, radius_px=radius) for radius in (0, 1, 2)]
    assert recalls == [0.0, 0.0, 0.5]
    assert math.isnan(scores.boundary_recall(boundary, np.zeros_like(true), radius_px=1))


def test_under_segmentation_and_accuracy_follow_their_sums_over_masks():
    for seed in range(5):
        labels, truth = two_partitions(seed)
        shared = scores.overlap(labels, truth)
        regions, trues = masks(labels), masks(truth)
        accuracy = sum(max((s & g).sum() for g in trues) for s in regions) / labels.size
        error = sum(min((s & g).sum(), (s & ~g).sum()) for g in trues for s in regions)
        assert scores.achievable_segmentation_accuracy(shared) == pytest.approx(accuracy)
        assert scores.under_segmentation_error_neubert_protzel(shared) == pytest.approx(
            error / labels.size
        )


def test_adjusted_rand_counts_pairs_of_pixels():
    for seed in range(3):
        labels, truth = two_partitions(seed)
        i, j = np.triu_indices(labels.size, 1)
        same = labels.ravel()[i] == labels.ravel()[j]
        same_truly = truth.ravel()[i] == truth.ravel()[j]
        expected = same.sum() * same_truly.sum() / len(i)
        most = (same.sum() + same_truly.sum()) / 2
        index = ((same & same_truly).sum() - expected) / (most - expected)
        assert scores.adjusted_rand(scores.overlap(labels, truth)) == pytest.approx(index)


def test_variation_of_information_is_the_entropies_of_the_joint_histogram():
    labels, truth = two_partitions(0)
    joint = np.histogram2d(labels.ravel(), truth.ravel(), bins=(7, 5))[0] / labels.size

    def entropy_bits(share):
        share = share[share > 0]
        return -(share * np.log2(share)).sum()

    expected = 2 * entropy_bits(joint) - entropy_bits(joint.sum(0)) - entropy_bits(joint.sum(1))
    score = scores.variation_of_information(scores.overlap(labels, truth))
    assert score == pytest.approx(expected)


def test_four_quarters_against_one_region_cost_two_bits():
    quarters = np.kron([[0, 1], [2, 3]], np.ones((4, 4), int))
    shared = scores.overlap(quarters, np.zeros((8, 8), int))
    assert scores.variation_of_information(shared) == pytest.approx(2.0)
    assert scores.adjusted_rand(shared) == 0.0
    assert scores.achievable_segmentation_accuracy(shared) == 1.0
    reverse = scores.overlap(np.zeros((8, 8), int), quarters)
    assert scores.achievable_segmentation_accuracy(reverse) == 0.25


def test_the_same_partition_under_other_numbers_scores_perfectly():
    labels, _ = two_partitions(0)
    shared = scores.overlap(labels, 40 - 3 * labels)
    assert scores.adjusted_rand(shared) == pytest.approx(1.0, abs=1e-12)
    assert scores.variation_of_information(shared) == pytest.approx(0.0, abs=1e-12)
    assert scores.under_segmentation_error_neubert_protzel(shared) == 0.0
    whole = np.zeros((4, 4), int)
    assert scores.adjusted_rand(scores.overlap(whole, whole)) == 1.0


def test_unknown_pixels_do_not_count():
    labels, truth = two_partitions(0)
    known = np.random.default_rng(0).random(labels.shape) < 0.5
    shared = scores.overlap(labels, truth, known)
    assert shared.pixels == known.sum()
    noise = np.where(known, labels, 99)
    assert scores.adjusted_rand(scores.overlap(noise, truth, known)) == scores.adjusted_rand(shared)
    with pytest.raises(ValueError, match="no pixel is known"):
        scores.overlap(labels, truth, np.zeros_like(known))
    with pytest.raises(ValueError, match="truth's shape"):
        scores.overlap(labels, truth[:-1])


def test_explained_variation_is_what_region_means_leave():
    labels, _ = two_partitions(0)
    image = np.random.default_rng(0).normal(1e3, 1.0, (*labels.shape, 3))
    residual = sum(((image[mask] - image[mask].mean(axis=0)) ** 2).sum() for mask in masks(labels))
    total = ((image - image.mean(axis=(0, 1))) ** 2).sum()
    score = scores.explained_variation(labels, image)
    assert score == pytest.approx(1 - residual / total, rel=1e-9)
    assert scores.explained_variation(labels, labels * 7) == pytest.approx(1.0)
    assert scores.explained_variation(labels, np.ones(labels.shape)) == 1.0


def test_depth_discontinuities_are_pairs_that_differ_by_four_percent_of_the_nearer():
    depth = np.array([[1000, 1040, 1082, 1082], [1000, 1040, 1082, 1020]], np.uint16)
    expected = [[False, True, True, True], [False, True, True, True]]
    np.testing.assert_array_equal(scores.depth_discontinuities(depth), expected)
    assert not scores.depth_discontinuities(
        np.array([[1000, 0, 3000]], np.uint16)
    ).any()  # Nothing is known.


def test_crack_edges_and_those_near_a_mark():
    labels = np.zeros((6, 20), int)
    labels[:, 3:], labels[:, 15:] = 1, 2
    assert scores.crack_edges(labels) == 12
    marked = np.zeros(labels.shape, bool)
    marked[:, 17] = True  # Two pixels from the right side of the second frontier.
    assert scores.crack_edges_near(labels, marked, radius_px=2) == 0.5
    assert scores.crack_edges_near(labels, marked, radius_px=1) == 0.0
    np.testing.assert_array_equal(scores.boundary(labels), frontier_classes.encode(labels) > 0)
