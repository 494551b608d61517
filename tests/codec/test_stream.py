import struct
import zlib

import numpy as np
import pytest

from psp_jax import codec
from psp_jax.codec import arithmetic, contours, patches, region_shapes, residuals
from psp_jax.partition import fill, frontier_classes, planar, superpixels
from tests import captures


def filled_captures(count):
    """Some of the captured frames of 480x640, evenly spread, filled."""
    frames_mm = list(captures.depth_frames((480, 640)))
    chosen = frames_mm[:: len(frames_mm) // count][:count]
    return [fill.fill_nearest(depth_mm)[0] for depth_mm in chosen]


def random_partition(rng):
    """Blocks, noise and stripes of any size, split into 4-connected regions."""
    height, width = rng.integers(1, 40, 2)
    block = int(rng.integers(1, 9))
    drawn = rng.integers(0, rng.integers(1, 6), (height // block + 1, width // block + 1))
    return frontier_classes.split_connected(
        np.kron(drawn, np.ones((block, block), int))[:height, :width]
    )


def random_depth(rng, shape):
    depth = rng.integers(400, 6000) + rng.normal(0, 30, shape).cumsum(axis=1).cumsum(axis=0)
    return np.clip(depth, 1, 65535).astype(np.uint16)


def room():
    """Two walls, a floor and a box before them."""
    rows, columns = np.mgrid[:120, :160]
    x, y = (columns - 80) / 140, (rows - 50) / 140
    inverse = np.stack([0.35 + 0.5 * x, 0.35 - 0.4 * x, 0.30 + 0.9 * y + 0.1 * x])
    labels, inverse = inverse.argmax(0), inverse.max(0)
    labels[40:80, 60:90], inverse[40:80, 60:90] = 3, 1.1
    return np.round(1000 / inverse).astype(np.uint16), frontier_classes.split_connected(labels)


def inverse_error(decoded_mm, depth_mm):
    return 1000.0 / decoded_mm - 1000.0 / depth_mm


def test_every_partition_is_decoded_as_it_was():
    rng = np.random.default_rng(0)
    for _ in range(150):
        labels = random_partition(rng)
        stream, ideal = contours.encode(labels)
        np.testing.assert_array_equal(contours.decode(stream, labels.shape), labels)
        assert 8 * len(stream) <= 1.0005 * ideal + 16
        assert ideal == contours.code_length_bits(labels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (31, 47)])
def test_extreme_partitions_and_sizes(shape):
    depth = random_depth(np.random.default_rng(1), shape)
    for labels in (np.zeros(shape, int), np.arange(depth.size).reshape(shape)):
        decoded, regions = codec.decode(codec.encode(depth, labels, trade=1e-9))
        np.testing.assert_array_equal(regions, labels)
        if labels.size == 1 or labels.max() > 0:  # A constant can be as exact as it is asked for.
            assert np.abs(inverse_error(decoded, depth)).max() < 1e-3


def test_one_region_costs_next_to_nothing_and_noise_a_bit_per_pixel():
    assert contours.code_length_bits(np.zeros((480, 640), int)) < 20
    rng = np.random.default_rng(0)
    noise = np.arange(64 * 64).reshape(64, 64)
    noise[rng.random(noise.shape) < 0.5] = -1
    # One draw a pixel makes all; the network, which expects frontiers of rooms, has to unlearn.
    assert 64 * 64 < contours.code_length_bits(noise) < 2 * 64 * 64


def test_frames_with_holes_come_back_with_their_holes():
    depth, labels = room()
    depth[30:50, 20:70] = 0
    depth[np.random.default_rng(0).random(depth.shape) < 0.05] = 0
    decoded, regions = codec.decode(codec.encode(depth, labels))
    np.testing.assert_array_equal(decoded == 0, depth == 0)
    np.testing.assert_array_equal(regions, labels)
    seen = depth > 0
    assert np.abs(inverse_error(decoded[seen], depth[seen])).max() < 0.02


def test_planes_cost_their_coefficients_only_and_are_exact_to_the_step():
    depth, labels = room()
    for trade, error in ((1e-3, 1e-2), (1e-6, 1e-3)):
        parts = codec.encode_parts(depth, labels, trade=trade)
        decoded, _ = codec.decode(parts.stream)
        rmse = np.sqrt(np.mean(inverse_error(decoded, depth) ** 2))
        assert rmse < error
        assert parts.patches < 4 * 3 * 4
        assert rmse == pytest.approx(codec.measured_rmse_per_m(depth, labels, trade=trade))


def test_a_bowl_is_one_quadratic_patch():
    rows, columns = np.mgrid[:100, :120]
    inverse = 0.5 + 2e-5 * (columns - 50) ** 2 + 3e-5 * (rows - 40) ** 2 - 1e-5 * rows * columns
    regions = region_shapes.describe(np.zeros(rows.shape, np.int32), step=-14)
    units = np.round(inverse * patches.UNITS_PER_M).astype(np.int64)
    orders, _ = patches.fit(regions, units, np.ones(rows.shape, bool), step=-14)
    assert orders.tolist() == [2]
    depth = np.round(1000 / inverse).astype(np.uint16)
    decoded, _ = codec.decode(codec.encode(depth, np.zeros(depth.shape, int), trade=1e-5))
    assert np.abs(inverse_error(decoded, depth)).max() < 2e-3


@pytest.mark.parametrize("most", [0.1, 0.01, 0.001])
def test_residuals_bound_the_error_of_every_pixel(most):
    rng = np.random.default_rng(0)
    for _ in range(5):
        labels = random_partition(rng)
        depth = random_depth(rng, labels.shape)
        stream = codec.encode(depth, labels, trade=1e-2, max_error_per_m=most)
        decoded, regions = codec.decode(stream)
        np.testing.assert_array_equal(regions, labels)
        rounding = 0.5 * 1000.0 / decoded.astype(float) ** 2 * 1.01 + 1e-9  # To whole millimetres.
        assert (np.abs(inverse_error(decoded, depth)) <= most + rounding).all()


def test_residuals_of_half_a_unit_leave_no_error():
    depth, labels = room()
    noisy = depth + np.random.default_rng(0).integers(0, 9, depth.shape).astype(np.uint16)
    decoded, _ = codec.decode(codec.encode(noisy, labels, max_error_per_m=1e-6))
    np.testing.assert_array_equal(decoded, noisy)


def test_residuals_of_any_size_return():
    rng = np.random.default_rng(0)
    for size in (1, 100, 1 << 40):
        labels = random_partition(rng)
        steps = rng.integers(-size, size + 1, labels.shape)
        stream, ideal = residuals.encode(labels, steps)
        np.testing.assert_array_equal(residuals.decode(stream, labels), steps)
        assert 8 * len(stream) <= 1.0005 * ideal + 16


def test_side_information_pays_when_it_is_true_and_costs_little_when_it_is_not():
    _, labels = room()
    rng = np.random.default_rng(0)
    truth = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    bare = contours.code_length_bits(labels)
    across, along = (8.0 * part - 6 + rng.normal(0, 1, part.shape) for part in truth)
    good = across, along
    useless = np.full(across.shape, -5.0), np.full(along.shape, -5.0)
    assert contours.code_length_bits(labels, good) < 0.5 * bare
    assert contours.code_length_bits(labels, useless) < bare + 200
    stream, _ = contours.encode(labels, good)
    np.testing.assert_array_equal(contours.decode(stream, labels.shape, good), labels)
    depth = random_depth(rng, labels.shape)
    whole = codec.encode(depth, labels, edge_logits=good)
    np.testing.assert_array_equal(codec.decode(whole, edge_logits=good)[1], labels)
    with pytest.raises(ValueError, match="needs the edge logits"):
        codec.decode(whole)


def resealed(body):
    return body + struct.pack("<I", zlib.crc32(body))


def test_streams_that_are_damaged_are_refused():
    depth, labels = room()
    depth[5:9, 5:9] = 0
    stream = codec.encode(depth, labels, max_error_per_m=0.01)
    for end in range(0, len(stream), max(1, len(stream) // 60)):
        with pytest.raises(ValueError):
            codec.decode(stream[:end])
    rng = np.random.default_rng(0)
    for _ in range(100):
        broken = bytearray(stream)
        broken[rng.integers(len(stream))] ^= 1 << rng.integers(8)
        with pytest.raises(ValueError):
            codec.decode(bytes(broken))


def test_streams_that_lie_end_in_an_image_or_a_refusal():
    """The checksum fits here, as an attacker's would."""
    rng = np.random.default_rng(0)
    refused = 0
    for index in range(300):
        labels = random_partition(rng)
        depth = random_depth(rng, labels.shape)
        body = bytearray(codec.encode(depth, labels, max_error_per_m=[None, 0.01][index % 2])[:-4])
        for _ in range(rng.integers(1, 4)):
            body[rng.integers(12 if index % 3 else 0, len(body))] = rng.integers(256)
        try:
            decoded, regions = codec.decode(resealed(bytes(body)))
        except ValueError:
            refused += 1
        else:
            assert decoded.shape == regions.shape and decoded.dtype == np.uint16
    assert 0 < refused < 300


def test_a_header_that_claims_too_much_is_refused_before_anything_is_made():
    depth, labels = room()
    body = bytearray(codec.encode(depth, labels)[:-4])
    struct.pack_into("<HH", body, 4, 65535, 65535)
    with pytest.raises(ValueError, match="65535x65535 pixels"):
        codec.decode(resealed(bytes(body)))


def test_side_information_of_the_older_coder_is_refused_by_name():
    depth, labels = room()
    body = bytearray(codec.encode(depth, labels)[:-4])
    body[3] |= 4
    with pytest.raises(ValueError, match="psp_jax 0.1"):
        codec.decode(resealed(bytes(body)))


def test_unfit_arguments_are_refused():
    depth, labels = room()
    for arguments, message in (
        ((depth.astype(np.int32), labels), "uint16"),
        ((depth, labels[1:]), "expected labels"),
        ((depth, labels.astype(float)), "float64"),
    ):
        with pytest.raises(ValueError, match=message):
            codec.encode(*arguments)
    for trade in (0.0, float("nan")):
        with pytest.raises(ValueError, match=f"trade, got {trade}"):
            codec.encode(depth, labels, trade=trade)
    with pytest.raises(ValueError, match="max_error_per_m, got -1"):
        codec.encode(depth, labels, max_error_per_m=-1.0)
    with pytest.raises(ValueError, match="expected edge logits"):
        codec.encode(depth, labels, edge_logits=(np.zeros((2, 2)), np.zeros((2, 2))))


def test_the_logistic_table_is_the_same_on_every_machine():
    scaled = arithmetic.ONE / (1 + np.exp(-np.arange(-3900, 3901) / arithmetic.LOGIT_SCALE))
    assert np.abs(scaled % 1 - 0.5).min() > 1e-6
    stretched = arithmetic.STRETCH[arithmetic.SQUASH >> arithmetic.STRETCH_SHIFT]
    assert np.abs(stretched - np.arange(-3900, 3901))[2500:-2500].max() <= 1


@captures.needed
def test_captured_frames_keep_their_partition_and_the_bits_per_crack_edge():
    bits, cracks = {"seeds": 0.0, "slic": 0.0}, {"seeds": 0, "slic": 0}
    for depth in filled_captures(4):
        for name, cut in (
            ("seeds", superpixels.Seeds()),
            ("slic", superpixels.Slic(region_px=40, ruler=40.0)),
        ):
            labels = cut(depth)
            stream, ideal = contours.encode(labels)
            np.testing.assert_array_equal(contours.decode(stream, labels.shape), labels)
            assert 8 * len(stream) <= 1.02 * ideal
            bits[name] += 8 * len(stream)
            across, along = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
            cracks[name] += int(across.sum() + along.sum())
    assert bits["seeds"] / cracks["seeds"] <= 1.40
    assert bits["slic"] / cracks["slic"] <= 1.15


@captures.needed
def test_a_captured_frame_as_planar_regions():
    (depth,) = filled_captures(1)
    labels = planar.Planar()(depth)
    parts = codec.encode_parts(depth, labels)
    decoded, regions = codec.decode(parts.stream)
    np.testing.assert_array_equal(regions, labels)
    fitted = planar.render_planes(labels, depth)
    rmse = np.sqrt(np.mean(inverse_error(decoded, depth) ** 2))
    assert rmse < 1.05 * np.sqrt(np.mean((1 / fitted - 1000.0 / depth) ** 2))
    assert 8 * len(parts.stream) < 0.06 * depth.size
