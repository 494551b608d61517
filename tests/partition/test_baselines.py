import numpy as np
import pytest

from psp_jax.partition import baselines, frontier_classes, scores

SHAPE = (120, 160)


@pytest.fixture(scope="module")
def scene():
    """Nine boxes in a row and column grid, each of its own colour and depth."""
    rows, columns = np.indices(SHAPE)
    box = rows * 3 // SHAPE[0] * 3 + columns * 3 // SHAPE[1]
    rng = np.random.default_rng(0)
    palette = rng.permutation(np.linspace(20, 235, 27)).reshape(9, 3).astype(np.uint8)
    depth_mm = (1000 + 300 * rng.permutation(9))[box].astype(np.uint16)
    return box, palette[box], depth_mm


@pytest.mark.parametrize("regions", [1, 9, 12, 40, 300])
def test_a_grid_has_about_as_many_rectangles_as_wanted(regions):
    labels = baselines.grid(SHAPE, regions)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, frontier_classes.split_connected(labels))
    assert abs(labels.max() + 1 - regions) <= max(1, 0.2 * regions)
    sizes = np.bincount(labels.ravel())
    assert sizes.max() < 2.5 * sizes.min()


@pytest.mark.parametrize("name", ["seeds_on_rgb", "slic_on_rgb", "slic_on_depth"])
@pytest.mark.parametrize("regions", [12, 40])
def test_baselines_come_near_the_number_wanted_and_follow_what_they_see(scene, name, regions):
    box, rgb, depth_mm = scene
    labels = getattr(baselines, name)(depth_mm if name == "slic_on_depth" else rgb, regions)
    np.testing.assert_array_equal(labels, frontier_classes.split_connected(labels))
    assert 0.5 * regions <= labels.max() + 1 <= 2 * regions
    shared = scores.overlap(labels, box)
    assert scores.achievable_segmentation_accuracy(shared) > 0.9


def test_one_region_is_not_refused(scene):
    _, rgb, depth_mm = scene
    for labels in (
        baselines.grid(SHAPE, 1),
        baselines.seeds_on_rgb(rgb, 1),
        baselines.slic_on_rgb(rgb, 1),
        baselines.slic_on_depth(depth_mm, 1),
    ):
        assert labels.shape == SHAPE
