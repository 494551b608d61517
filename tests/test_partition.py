import pathlib

import cv2
import numpy as np
import pytest
from scipy import ndimage

from psp_jax.partition import fill, frontier, superpixels

REAL_FRAMES = sorted((pathlib.Path(__file__).parents[2] / "shared" / "rgbd").glob("*/depth/*.png"))


def test_holes_take_the_value_of_a_nearest_reading():
    """Against brute force: the filled value is that of some reading at the smallest distance."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        depth = rng.integers(500, 5000, (13, 17)).astype(np.uint16)
        depth[rng.random(depth.shape) < rng.uniform(0.1, 0.98)] = 0
        depth[6, 8] = 700
        filled_mm, filled = fill.fill_nearest(depth)
        np.testing.assert_array_equal(filled, depth == 0)
        np.testing.assert_array_equal(filled_mm[~filled], depth[~filled])
        readings = np.argwhere(depth > 0)
        for row, column in np.argwhere(filled):
            squared = ((readings - (row, column)) ** 2).sum(1)
            nearest = readings[squared == squared.min()]
            assert filled_mm[row, column] in depth[nearest[:, 0], nearest[:, 1]]


def test_a_frame_without_a_reading_cannot_be_filled():
    with pytest.raises(ValueError, match="no reading at all"):
        fill.fill_nearest(np.zeros((4, 4), np.uint16))
    with pytest.raises(ValueError, match="uint16"):
        fill.fill_nearest(np.ones((4, 4), np.float32))


def test_classes_of_a_partition_drawn_by_hand():
    labels = np.array([[0, 0, 1], [0, 2, 1], [2, 2, 1]])
    left, up, right, down = 1, 2, 4, 8
    expected = [
        [0, right + down, left],
        [right + down, left + up + right, left],
        [up, right, left],
    ]
    np.testing.assert_array_equal(frontier.encode(labels), expected)


def test_classes_hold_one_bit_per_differing_neighbour_and_none_beyond_the_border():
    labels = np.random.default_rng(0).integers(0, 3, (9, 11))
    padded = np.pad(labels, 1, mode="edge")
    expected = (
        1 * (padded[1:-1, :-2] != labels)
        + 2 * (padded[:-2, 1:-1] != labels)
        + 4 * (padded[1:-1, 2:] != labels)
        + 8 * (padded[2:, 1:-1] != labels)
    )
    np.testing.assert_array_equal(frontier.encode(labels), expected)


def test_mirrored_classes_are_the_classes_of_the_mirrored_partition():
    labels = np.random.default_rng(0).integers(0, 4, (8, 10))
    np.testing.assert_array_equal(
        frontier.mirror(frontier.encode(labels)), frontier.encode(labels[:, ::-1])
    )
    assert frontier.mirror(np.full((1, 1), frontier.IGNORE, np.uint8)) == frontier.IGNORE


def test_pieces_of_one_number_become_regions_of_their_own():
    labels = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    split = frontier.split_connected(labels)
    assert split.dtype == np.int32
    assert sorted(np.unique(split)) == [0, 1, 2, 3, 4]
    assert len({split[0, 0], split[0, 2], split[2, 0], split[2, 2], split[1, 1]}) == 5


def test_seeds_regions_are_contiguous_connected_and_follow_a_step_in_depth():
    depth = np.full((96, 128), 1000, np.uint16)
    depth[:, 50:] = 3000
    labels = superpixels.Seeds(superpixels=40, levels=3)(depth)
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
    for region in range(labels.max() + 1):
        pieces = np.empty(labels.shape, np.int32)
        assert ndimage.label(labels == region, output=pieces) == 1
    assert 12 <= labels.max() + 1 < 80
    across = labels[:, 49] != labels[:, 50]
    assert across.mean() > 0.9


def test_seeds_refuses_what_opencv_would_crash_on():
    with pytest.raises(ValueError, match="5x5"):
        superpixels.Seeds()(np.ones((5, 5), np.uint16))
    with pytest.raises(ValueError, match="uint16"):
        superpixels.Seeds()(np.ones((48, 64), np.float32))


@pytest.mark.skipif(not REAL_FRAMES, reason="the real RGB-D frames are not beside the checkout")
def test_interior_share_of_real_frames_is_near_the_thesis():
    shares = []
    for path in REAL_FRAMES:
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert depth is not None
        if depth.shape == (480, 640):
            filled_mm, _ = fill.fill_nearest(depth)
            classes = frontier.encode(superpixels.Seeds()(filled_mm))
            shares.append((classes == 0).mean())
            assert 0.80 <= shares[-1] <= 0.92, path.name
    assert len(shares) >= 10
    print(f"interior share {np.mean(shares):.4f} over {len(shares)} frames, thesis 0.8572")
