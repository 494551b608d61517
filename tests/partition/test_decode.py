import itertools

import numpy as np
import pytest
from scipy import ndimage

from psp_jax.partition import (
    decode,
    edge_logits,
    fill,
    fragments,
    frontier_classes,
    planar,
    scores,
    superpixels,
)
from tests import captures

DECODERS = [decode.ConnectedComponents(), decode.Multicut()]
names = pytest.mark.parametrize("decoder", DECODERS, ids=str)


def adjusted_rand(labels, truth):
    return scores.adjusted_rand(scores.overlap(labels, truth))


def blocks(rows, columns, side):
    """A chessboard of square regions."""
    numbers = np.arange(rows * columns).reshape(rows, columns)
    return frontier_classes.split_connected(np.kron(numbers, np.ones((side, side), int)))


def random_labels(rng):
    """A partition of few or many regions, with blocks of a random size."""
    shape, block = rng.integers(1, 13, 2), rng.integers(1, 4)
    drawn = rng.integers(0, rng.integers(1, 8), shape)
    return frontier_classes.split_connected(np.kron(drawn, np.ones((block, block), int)))


def bit_logits(labels, rng, noise):
    """Bits with independent normal noise, as calibrated logits."""
    bits = (frontier_classes.encode(labels)[..., None] & edge_logits.BITS) > 0
    seen = 2.0 * bits - 1 + noise * rng.standard_normal(bits.shape)
    return (2 * seen / noise**2).astype(np.float32)


# Votes and edges.


def test_votes_of_classes_are_those_of_their_bits():
    classes = np.random.default_rng(0).integers(0, 16, (6, 9)).astype(np.uint8)
    left, up, right, down = (classes & side.mask > 0 for side in frontier_classes.Side)
    votes = edge_logits.from_classes(classes)
    np.testing.assert_array_equal(votes.across > 0, [right[:, :-1], left[:, 1:]])
    np.testing.assert_array_equal(votes.along > 0, [down[:-1], up[1:]])
    np.testing.assert_array_equal(votes.either().across > 0, right[:, :-1] | left[:, 1:])
    np.testing.assert_array_equal(votes.either().along > 0, down[:-1] | up[1:])


def test_votes_join_by_mean_by_the_larger_and_by_the_smaller():
    logits = np.zeros((1, 2, 4), np.float32)
    logits[0, 0, 2], logits[0, 1, 0] = 3.0, -1.0  # Right of the first pixel, left of the second.
    votes = edge_logits.from_bit_logits(logits)
    assert votes.mean().across == 1 and votes.either().across == 3 and votes.both().across == -1
    assert votes.mean().along.shape == (0, 2)


def test_an_edge_head_points_right_and_down():
    logits = np.arange(2 * 3 * 2, dtype=np.float32).reshape(2, 3, 2)
    edges = edge_logits.from_edge_head(logits)
    np.testing.assert_array_equal(edges.across, [[0, 2], [6, 8]])
    np.testing.assert_array_equal(edges.along, [[1, 3, 5]])


def test_probabilities_are_those_of_the_logits():
    edges = edge_logits.EdgeLogits(np.array([[0, np.log(3)]], "f"), np.zeros((0, 3), "f"))
    np.testing.assert_allclose(edges.probabilities[0], [[0.5, 0.75]], rtol=1e-6)


def test_what_cannot_be_logits_is_refused():
    good = np.zeros((3, 4), np.float32), np.zeros((2, 5), np.float32)
    for value in (np.nan, np.inf):
        bad = good[0].copy()
        bad[1, 1] = value
        with pytest.raises(ValueError, match="1 of 12 logits"):
            edge_logits.EdgeLogits(bad, good[1])
    with pytest.raises(ValueError, match="float64"):
        edge_logits.EdgeLogits(good[0].astype(float), good[1])
    with pytest.raises(ValueError, match=r"got \(3, 4\) and \(2, 4\)"):
        edge_logits.EdgeLogits(good[0], good[1][:, 1:])
    with pytest.raises(ValueError, match=r"\[H, W, 2\]"):
        edge_logits.from_edge_head(np.zeros((0, 2, 2)))
    with pytest.raises(ValueError, match="0..15.*255"):
        edge_logits.from_classes(np.full((2, 2), 255, np.uint8))
    with pytest.raises(ValueError, match="two votes per edge"):
        edge_logits.Votes(np.zeros((3, 3, 4), "f"), np.zeros((2, 2, 5), "f"))


# Decoders.


@names
def test_exact_classes_decode_number_by_number(decoder):
    rng = np.random.default_rng(0)
    for _ in range(100):
        labels = random_labels(rng)
        votes = edge_logits.from_classes(frontier_classes.encode(labels))
        decoded = decoder(votes.mean())
        assert decoded.dtype == np.int32
        np.testing.assert_array_equal(decoded, labels)


@captures.needed
@pytest.mark.parametrize("cut", [superpixels.Seeds(), planar.Planar()], ids=["seeds", "planar"])
def test_exact_classes_of_real_frames_decode_number_by_number(cut):
    for depth_mm in captures.depth_frames(every=4):
        labels = cut(fill.fill_nearest(depth_mm)[0])
        decoded = decode.Multicut()(edge_logits.from_labels(labels))
        np.testing.assert_array_equal(decoded, labels)


def test_connected_components_are_those_that_scipy_finds_on_the_doubled_grid():
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 20, 2)
        edges = edge_logits.EdgeLogits(
            rng.standard_normal((height, width - 1)).astype(np.float32),
            rng.standard_normal((height - 1, width)).astype(np.float32),
        )
        open_cells = np.zeros((2 * height - 1, 2 * width - 1), bool)
        open_cells[::2, ::2] = True
        open_cells[::2, 1::2] = edges.across <= 0
        open_cells[1::2, ::2] = edges.along <= 0
        expected = np.empty(open_cells.shape, np.int32)
        ndimage.label(open_cells, output=expected)
        labels = decode.ConnectedComponents()(edges)
        np.testing.assert_array_equal(labels, frontier_classes.renumber(expected[::2, ::2] - 1))


def test_one_missed_edge_joins_components_and_not_the_regions_of_multicut():
    labels = blocks(1, 2, 16)
    edges = edge_logits.from_labels(labels)
    edges.across[7, 15] = -1.0
    assert decode.ConnectedComponents()(edges).max() == 0
    np.testing.assert_array_equal(decode.Multicut()(edges), labels)


def test_a_gap_missed_surely_is_closed_by_multicut_and_not_by_components():
    labels = blocks(1, 2, 40)
    edges = edge_logits.from_labels(labels)
    edges.across[16:24, 39] = -8.0
    decoded = decode.Multicut()(edges)
    assert decoded.max() == 1
    # The frontier is known above and below, and may bulge by the gap's half length between.
    wrong = decoded != labels
    assert not wrong[:16].any() and not wrong[24:].any()
    assert wrong.sum() <= 8 * 4
    assert decode.ConnectedComponents()(edges).max() == 0


def test_a_frontier_that_ends_inside_a_region_is_dropped():
    labels = np.zeros((40, 40), np.int32)
    edges = edge_logits.from_labels(labels)
    edges.across[:10, 19] = edge_logits.CERTAIN
    for decoder in DECODERS:
        np.testing.assert_array_equal(decoder(edges), labels)


def test_a_frontier_is_kept_where_its_mean_probability_exceeds_the_threshold():
    labels = blocks(1, 2, 32)
    edges = edge_logits.from_labels(labels)
    half_of_it = np.arange(32) % 2 == 0
    edges.across[half_of_it, 31] = -20.0  # What is left has a mean probability of 0.49.
    for threshold, regions in ((0.3, 2), (0.48, 2), (0.5, 1), (0.7, 1)):
        decoder = decode.Multicut(threshold=threshold)
        halves = labels.copy()
        assert decoder.merge(halves, edges).max() + 1 == regions


def test_tiny_pieces_join_the_neighbour_they_are_closest_to_unless_they_are_sure():
    labels = np.zeros((20, 20), np.int32)
    labels[:, 10:] = 1
    labels[5, 9] = 2  # One pixel of the left side at the frontier.
    labels = frontier_classes.split_connected(labels)
    edges = edge_logits.from_labels(labels)
    np.testing.assert_array_equal(decode.absorb(labels, edges), labels)
    edges.across[5, 8] = 1.0  # Its frontier to the left is doubtful now,
    absorbed = decode.absorb(labels, edges)
    assert absorbed.max() == 1 and absorbed[5, 9] == absorbed[5, 8]
    edges.across[5, 8], edges.across[5, 9] = (
        edge_logits.CERTAIN,
        -4.0,
    )  # and now that to the right.
    absorbed = decode.absorb(labels, edges)
    assert absorbed.max() == 1 and absorbed[5, 9] == absorbed[5, 10]
    np.testing.assert_array_equal(decode.absorb(labels, edges, tiny_px=1), labels)


def test_a_band_of_doubtful_frontiers_is_divided_between_its_sides():
    labels = blocks(1, 2, 24)
    edges = edge_logits.from_labels(labels)
    edges.across[:, 21:26] = 1.0
    edges.along[:, 22:26] = 1.0
    decoded = decode.Multicut()(edges)
    assert decoded.max() == 1
    assert (decoded[:, :22] == 0).all() and (decoded[:, 26:] == 1).all()


def test_soft_errors_are_weighed():
    rng = np.random.default_rng(0)
    labels = blocks(4, 5, 24)
    edges = edge_logits.from_bit_logits(bit_logits(labels, rng, noise=0.7)).mean()
    # 8 % of the bits are wrong, so some frontier of every region is broken.
    assert adjusted_rand(decode.ConnectedComponents()(edges), labels) < 0.2
    assert adjusted_rand(decode.Multicut()(edges), labels) > 0.97


def test_random_classes_among_exact_ones_are_outvoted():
    rng = np.random.default_rng(0)
    labels = blocks(4, 5, 24)
    classes = frontier_classes.encode(labels)
    hit = rng.random(classes.shape) < 0.05
    classes[hit] = rng.integers(0, 16, hit.sum())
    votes = edge_logits.from_classes(classes)
    assert adjusted_rand(decode.ConnectedComponents()(votes.both()), labels) < 0.1
    assert adjusted_rand(decode.ConnectedComponents()(votes.either()), labels) > 0.8
    assert adjusted_rand(decode.Multicut()(votes.mean()), labels) > 0.97


@names
def test_results_are_repeatable_contiguous_and_connected_whatever_the_logits(decoder):
    rng = np.random.default_rng(0)
    shapes = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 30), (30, 1), (3, 3), (37, 53)]
    for (height, width), mean in itertools.product(shapes, (-50.0, -1.0, 0.0, 1.0, 50.0)):
        across, along = (
            (mean + 3 * rng.standard_normal(shape)).astype(np.float32)
            for shape in ((height, width - 1), (height - 1, width))
        )
        edges = edge_logits.EdgeLogits(across, along)
        labels = decoder(edges)
        assert labels.shape == (height, width) and labels.dtype == np.int32
        np.testing.assert_array_equal(labels, frontier_classes.split_connected(labels))
        again = decoder(edge_logits.EdgeLogits(across.copy(), along.copy()))
        np.testing.assert_array_equal(labels, again)


@names
def test_unlikely_edges_cut_nothing_and_likely_ones_everything(decoder):
    for logit, regions in ((-1.5, 1), (6.0, 900)):
        edges = edge_logits.EdgeLogits(
            np.full((30, 29), logit, np.float32), np.full((29, 30), logit, np.float32)
        )
        assert decoder(edges).max() + 1 == regions


def test_where_no_edge_is_likely_fragments_need_a_lower_level():
    labels = blocks(1, 2, 24)
    edges = edge_logits.transform(
        edge_logits.from_labels(labels), lambda logits: logits - np.float32(5)
    )
    assert decode.Multicut(threshold=0.2)(edges).max() == 0
    np.testing.assert_array_equal(decode.Multicut(threshold=0.2, cut_above=0.2)(edges), labels)


def test_fragments_never_cross_a_closed_frontier():
    rng = np.random.default_rng(0)
    for _ in range(30):
        labels = random_labels(rng)
        pieces = fragments.segment(edge_logits.from_labels(labels), spacing_cells=4)
        np.testing.assert_array_equal(pieces, frontier_classes.split_connected(pieces))
        assert scores.overlap(pieces, labels).counts.size == pieces.max() + 1


def test_settings_out_of_range_are_refused():
    for threshold in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="threshold .* got"):
            decode.Multicut(threshold=threshold)
    with pytest.raises(ValueError, match="cut_above .* got 0"):
        decode.Multicut(cut_above=0.0)
    with pytest.raises(ValueError, match="spacing_cells .* got 0"):
        decode.Multicut(spacing_cells=0)
