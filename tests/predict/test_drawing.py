import cv2
import numpy as np

from psp_jax.partition import frontier_classes, scores
from psp_jax.predict import drawing, upsampling


def disc(size):
    """Returns a disc in the middle of a square, 1 inside."""
    y, x = (np.arange(size) + 0.5) / size - 0.5, (np.arange(size) + 0.5) / size - 0.5
    return (y[:, None] ** 2 + x**2 < 0.3**2).astype(np.int32)


def test_enlarged_regions_are_nearer_to_the_truth_than_their_stairs():
    small, large = disc(40), disc(400)
    enlarged = upsampling.resize_regions(small, (400, 400))
    stairs = np.kron(small, np.ones((10, 10), np.int32))
    assert (enlarged != large).mean() < 0.75 * (stairs != large).mean()
    contours = cv2.findContours(enlarged.astype(np.uint8), 0, cv2.CHAIN_APPROX_NONE)[0]
    around = cv2.arcLength(cv2.approxPolyDP(contours[0], 1.5, True), True)
    assert abs(around / (2 * np.pi * 0.3 * 400) - 1) < 0.03


def test_enlarged_regions_are_connected_and_keep_straight_boundaries():
    rng = np.random.default_rng(0)
    labels = frontier_classes.split_connected(
        np.kron(rng.integers(0, 4, (5, 7)), np.ones((6, 6), int))
    )
    enlarged = upsampling.resize_regions(labels, (97, 223))
    assert enlarged.dtype == np.int32 and enlarged.max() == labels.max()
    np.testing.assert_array_equal(frontier_classes.split_connected(enlarged), enlarged)
    halves = np.repeat([[0, 1]], 24, axis=0).repeat(12, axis=1)
    np.testing.assert_array_equal(
        upsampling.resize_regions(halves.astype(np.int32), (96, 96)),
        np.repeat([[0, 1]], 96, axis=0).repeat(48, axis=1),
    )
    np.testing.assert_array_equal(upsampling.resize_regions(labels, labels.shape), labels)
    assert upsampling.resize_regions(labels, (7, 300)).shape == (7, 300)


def test_resized_depth_stays_within_its_range():
    depth_m = np.random.default_rng(0).uniform(1, 5, (12, 16)).astype(np.float32)
    for size in ((50, 70), (5, 7)):
        resized = upsampling.resize_depth(depth_m, size)
        assert resized.shape == size and resized.dtype == np.float32
        assert depth_m.min() <= resized.min() and resized.max() <= depth_m.max()


def test_outlines_follow_boundaries_and_leave_the_rest_alone():
    image = np.full((120, 160, 3), 200, np.uint8)
    labels = np.zeros((120, 160), np.int32)
    labels[:, 80:] = 1
    drawn = drawing.outlined(image, drawing.boundaries(labels))
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    changed = (drawn != image).any(axis=-1)
    assert changed[:, 79:81].all()
    assert not changed[:, :76].any() and not changed[:, 84:].any()
    assert (drawn[60, 79] == drawn[20, 79]).all()
    none = drawing.boundaries(np.zeros_like(labels))
    np.testing.assert_array_equal(drawing.outlined(image, none), image)


def test_neighbours_have_different_colours():
    rng = np.random.default_rng(0)
    labels = frontier_classes.split_connected(
        np.kron(rng.integers(0, 30, (8, 9)), np.ones((5, 5), int))
    )
    painted = drawing.region_colors(labels)[labels]
    assert painted.shape == (40, 45, 3)
    np.testing.assert_array_equal(
        scores.boundary(labels),
        scores.boundary((painted.astype(int) @ (1, 256, 65536)).astype(np.int32)),
    )
    tinted = drawing.tinted(np.zeros((40, 45, 3), np.uint8), labels, drawing.boundaries(labels))
    assert tinted.shape == (40, 45, 3)


def test_near_is_brighter_than_far():
    depth_m = np.linspace(1, 5, 400, dtype=np.float32).reshape(20, 20)
    light = drawing.coloured_depth(depth_m).sum(axis=-1).astype(int)
    assert light[0, 0] > light[10, 10] > light[-1, -1]
    constant = drawing.coloured_depth(np.full((9, 9), 2, np.float32))
    assert len(np.unique(constant.reshape(-1, 3), axis=0)) == 1
    with_bar = drawing.coloured_depth(depth_m.repeat(9, 0).repeat(9, 1), bar=True)
    assert with_bar.shape[0] == 180 and with_bar.shape[1] > 200
