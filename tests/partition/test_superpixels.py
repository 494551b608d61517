import math
import os
import pathlib
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest
from scipy import ndimage

from psp_jax.partition import compilation, fill, flooding, frontier_classes, planar, superpixels
from psp_jax.partition.frontier_classes import Side
from tests import captures


def test_where_numba_finds_no_place_for_its_cache_functions_compile_all_the_same():
    namespace = {}
    exec("def twice(x):\n    return 2 * x", namespace)  # No file, so nothing to cache beside.
    assert compilation.compile_cached(namespace["twice"])(3) == 6


def test_long_compiling_is_announced_once_and_a_cached_loop_is_silent(tmp_path):
    loop = """
        from psp_jax.partition import compilation

        @compilation.compile_cached
        def {name}(x):
            return 4 * x
    """
    (tmp_path / "loops.py").write_text(
        textwrap.dedent(loop.format(name="first")) + textwrap.dedent(loop.format(name="second"))
    )
    code = (
        "from psp_jax.partition import compilation; compilation._NOTICE._left_s = 1e-3; "
        "import loops; loops.first(1); loops.second(2)"
    )
    for expected in (1, 0):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr.count("compiling loops, once") == expected, done.stderr


def test_a_loop_is_compiled_again_when_a_function_in_it_changes_in_another_file(tmp_path):
    head = "from psp_jax.partition import compilation\n"
    inner = head + "@compilation.inlined\ndef inner(x):\n    return {} * x\n"
    outer = "import other\n@compilation.compile_cached\ndef outer(x):\n    return other.inner(x)\n"
    (tmp_path / "loops.py").write_text(head + outer)
    for factor in (2, 3):
        (tmp_path / "other.py").write_text(inner.format(factor))
        done = subprocess.run(
            [sys.executable, "-c", "import loops; print(loops.outer(5))"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout) == 5 * factor


def filled_by_brute_force(depth_mm):
    """For every pixel the least (squared distance, depth) over all readings."""
    readings = np.argwhere(depth_mm > 0)
    values = depth_mm[readings[:, 0], readings[:, 1]]
    pixels = np.indices(depth_mm.shape).reshape(2, -1).T
    squared = ((pixels[:, None] - readings) ** 2).sum(-1).astype(np.int64)
    return ((squared * 65536 + values).min(1) % 65536).reshape(depth_mm.shape)


@pytest.mark.parametrize("values", [3, 60000], ids=["many ties in depth", "few"])
def test_holes_take_the_nearest_reading_and_of_equally_near_ones_the_nearer_surface(values):
    rng = np.random.default_rng(0)
    for _ in range(150):
        depth = rng.integers(1, 1 + values, rng.integers(1, 20, 2)).astype(np.uint16)
        depth[rng.random(depth.shape) < rng.uniform(0.1, 1.0)] = 0
        depth[depth.shape[0] // 2, depth.shape[1] // 2] = 7
        filled_mm, filled = fill.fill_nearest(depth)
        np.testing.assert_array_equal(filled, depth == 0)
        np.testing.assert_array_equal(filled_mm, filled_by_brute_force(depth))


def test_a_tie_goes_to_the_nearer_surface_whichever_side_it_is_on():
    row = np.array([[900, 0, 700]], np.uint16)
    for depth in (row, row[:, ::-1], row.T, row.T[::-1]):
        assert fill.fill_nearest(depth)[0].ravel()[1] == 700


def test_the_fill_of_a_turned_image_is_the_turned_fill():
    depth = np.random.default_rng(1).integers(1, 5000, (61, 83)).astype(np.uint16)
    depth[np.random.default_rng(2).random(depth.shape) < 0.9] = 0
    filled_mm, _ = fill.fill_nearest(depth)
    for turned in (lambda x: x[:, ::-1], lambda x: x[::-1], lambda x: x.T):
        np.testing.assert_array_equal(fill.fill_nearest(turned(depth))[0], turned(filled_mm))


def test_the_reading_of_a_large_image_is_as_far_as_scipy_finds_it():
    depth = np.zeros((300, 700), np.uint16)
    rng = np.random.default_rng(3)
    depth[rng.integers(0, 300, 60), rng.integers(0, 700, 60)] = np.arange(1, 61)
    filled_mm, filled = fill.fill_nearest(depth)
    rows, columns = np.indices(depth.shape)
    place = np.zeros((61, 2), int)
    place[depth[depth > 0]] = np.argwhere(depth > 0)
    taken = place[filled_mm]
    away = np.hypot(taken[..., 0] - rows, taken[..., 1] - columns)
    expected = np.empty(depth.shape)
    ndimage.distance_transform_edt(filled, distances=expected)
    np.testing.assert_allclose(away, expected, rtol=1e-12)


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
    np.testing.assert_array_equal(frontier_classes.encode(labels), expected)


def test_classes_hold_one_bit_per_differing_neighbour_and_none_beyond_the_border():
    labels = np.random.default_rng(0).integers(0, 3, (9, 11))
    padded = np.pad(labels, 1, mode="edge")
    expected = (
        1 * (padded[1:-1, :-2] != labels)
        + 2 * (padded[:-2, 1:-1] != labels)
        + 4 * (padded[1:-1, 2:] != labels)
        + 8 * (padded[2:, 1:-1] != labels)
    )
    np.testing.assert_array_equal(frontier_classes.encode(labels), expected)


def test_mirrored_classes_are_the_classes_of_the_mirrored_partition():
    labels = np.random.default_rng(0).integers(0, 4, (8, 10))
    np.testing.assert_array_equal(
        frontier_classes.mirror(frontier_classes.encode(labels)),
        frontier_classes.encode(labels[:, ::-1]),
    )


def random_labels(rng):
    """A partition of few or many regions, with blocks of a random size."""
    shape, block = rng.integers(1, 13, 2), rng.integers(1, 4)
    drawn = rng.integers(0, rng.integers(1, 8), shape)
    return np.kron(drawn, np.ones((block, block), int))


def test_decoding_inverts_encoding_number_by_number():
    rng = np.random.default_rng(0)
    for _ in range(300):
        labels = frontier_classes.split_connected(random_labels(rng))
        classes = frontier_classes.encode(labels)
        decoded = frontier_classes.decode_exact(classes)
        assert decoded.dtype == np.int32
        np.testing.assert_array_equal(decoded, labels)


def test_classes_of_no_partition_are_not_decoded():
    classes = frontier_classes.encode(np.repeat([[0, 1]], 4, axis=0).repeat(3, axis=1))
    one_sided, ended, outward = classes.copy(), classes.copy(), classes.copy()
    one_sided[1, 2] = 0
    ended[1:3, 2:4] = 0
    outward[0, 0] |= Side.UP.mask
    for wrong in (one_sided, ended, outward, np.full((3, 3), 255, np.uint8)):
        with pytest.raises(ValueError, match="expected the classes of a partition"):
            frontier_classes.decode_exact(wrong)


def test_pieces_of_one_number_become_regions_of_their_own():
    labels = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    split = frontier_classes.split_connected(labels)
    assert split.dtype == np.int32
    assert sorted(np.unique(split)) == [0, 1, 2, 3, 4]
    assert len({split[0, 0], split[0, 2], split[2, 0], split[2, 2], split[1, 1]}) == 5


ALGORITHMS = [
    superpixels.Seeds(superpixels=40, levels=3),
    superpixels.Slic(region_px=16),
    superpixels.Lsc(region_px=16),
    superpixels.Watershed(region_px=16),
    planar.Planar(),
]


def assert_is_partition(labels):
    """Contiguous int32 in the order of first pixels, every region 4-connected."""
    assert labels.dtype == np.int32
    numbers, first = np.unique(labels, return_index=True)
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    assert (np.diff(first) > 0).all()
    pieces = np.empty(labels.shape, np.int32)
    for region in numbers:
        assert ndimage.label(labels == region, output=pieces) == 1


@pytest.mark.parametrize("cut", ALGORITHMS, ids=lambda cut: type(cut).__name__)
def test_regions_are_contiguous_connected_and_follow_a_step_in_depth(cut):
    depth = np.full((96, 128), 1000, np.uint16)
    depth[:, 50:] = 3000
    labels = cut(depth)
    assert_is_partition(labels)
    assert 2 <= labels.max() + 1 < 80
    assert (labels[:, 49] != labels[:, 50]).mean() > 0.9


@pytest.mark.parametrize("cut", ALGORITHMS, ids=lambda cut: type(cut).__name__)
def test_noise_one_depth_and_the_smallest_depth_make_partitions_too(cut):
    rng = np.random.default_rng(0)
    for depth in (rng.integers(1, 65536, (64, 80)), np.full((64, 80), 65535), np.ones((64, 80))):
        depth = depth.astype(np.uint16)
        labels = cut(depth)
        assert_is_partition(labels)
        np.testing.assert_array_equal(cut(depth), labels)


@pytest.mark.parametrize("cut", ALGORITHMS, ids=lambda cut: type(cut).__name__)
def test_every_algorithm_refuses_holes_tiny_images_and_other_types(cut):
    with pytest.raises(ValueError, match="holes"):
        cut(np.pad(np.ones((64, 64), np.uint16), 1))
    with pytest.raises(ValueError, match="5x5"):
        cut(np.ones((5, 5), np.uint16))
    with pytest.raises(ValueError, match="uint16"):
        cut(np.ones((48, 64), np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda: superpixels.Seeds(levels=1),
        lambda: superpixels.Seeds(histogram_bins=257),
        lambda: superpixels.Slic(region_px=1),
        lambda: superpixels.Lsc(ratio=0.0),
        lambda: superpixels.Watershed(region_px=0),
        lambda: planar.Planar(trade=float("nan")),
    ],
)
def test_values_that_make_no_sense_are_refused_when_they_are_given(make):
    with pytest.raises(ValueError, match="expected .* got"):
        make()


def test_seeds_refuses_grids_on_which_opencv_ends_the_process():
    for shape, cut in [
        ((16, 16), superpixels.Seeds(superpixels=200)),
        ((33, 100), superpixels.Seeds(superpixels=10, levels=2)),
        ((16, 400), superpixels.Seeds(superpixels=10)),
    ]:
        with pytest.raises(ValueError, match="superpixels or levels"):
            cut(np.ones(shape, np.uint16))


@pytest.mark.parametrize(
    "slic",
    [
        superpixels.Slic(region_px=14, ruler=20.0, iterations=5),
        superpixels.Slic(region_px=33, ruler=0.0, min_size_percent=0),
        superpixels.Slic(region_px=8, ruler=1.0, min_size_percent=100),
    ],
)
def test_slic_is_that_of_opencv_pixel_by_pixel(slic):
    rng = np.random.default_rng(0)
    for height, width in ((100, 150), (57, 41), (33, 90)):
        depth_mm = (2000 + 900 * rng.random((height, width))).astype(np.uint16)
        depth_mm[20:, 30:] += np.arange(width - 30, dtype=np.uint16) * 20
        low, high = np.sort(depth_mm, axis=None)[
            [math.ceil(share * depth_mm.size) - 1 for share in (0.005, 0.995)]
        ].astype(np.float32)
        gray = np.clip((depth_mm - low) * np.float32(255.0 / (high - low)), 0, 255)
        theirs = cv2.ximgproc.createSuperpixelSLIC(
            gray, cv2.ximgproc.SLIC, slic.region_px, slic.ruler
        )
        theirs.iterate(slic.iterations)
        theirs.enforceLabelConnectivity(slic.min_size_percent)
        expected = frontier_classes.split_connected(theirs.getLabels())
        np.testing.assert_array_equal(slic(depth_mm), expected)


def test_lsc_gives_opencv_its_threads_back():
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        superpixels.Lsc(region_px=16)(np.full((64, 64), 1000, np.uint16))
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_every_pixel_of_the_watershed_belongs_to_a_seed_with_the_lowest_pass():
    """Against the heights of the lowest passes, found by relaxing until nothing changes."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        height = rng.integers(0, 9, (14, 17)).astype(np.uint8)
        seeds = rng.choice(height.size, 6, replace=False)
        labels = flooding.flood(height, seeds)
        lowest = np.full((len(seeds), *height.shape), 255)
        for passes, seed in zip(lowest, seeds, strict=True):
            passes.ravel()[seed] = height.ravel()[seed]
            for _ in range(height.size):
                around = np.pad(passes, 1, constant_values=255)
                reached = np.minimum.reduce(
                    [around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]]
                )
                passes[:] = np.minimum(passes, np.maximum(reached, height))
        own = np.take_along_axis(lowest, labels[None], axis=0)[0]
        np.testing.assert_array_equal(own, lowest.min(axis=0))
        np.testing.assert_array_equal(labels.ravel()[seeds], np.arange(6))


@captures.needed
def test_interior_share_of_real_captures_is_within_a_point_of_the_thesis():
    shares = []
    for depth_mm in captures.depth_frames((480, 640)):
        filled_mm, _ = fill.fill_nearest(depth_mm)
        classes = frontier_classes.encode(superpixels.Seeds()(filled_mm))
        shares.append((classes == 0).mean())
    assert len(shares) >= 10
    assert 0.80 <= min(shares) and max(shares) <= 0.92
    assert abs(np.mean(shares) - 0.8572) < 0.01
