import math

import numpy as np
import pytest

from psp_jax.partition import calibration, decode, edge_logits, frontier_classes


def drawn(rng, temperature, bias, shape=(120, 160)):
    """Random logits, and classes that are cut as `logit / temperature + bias` has it.

    Bits of two sides need not agree to be counted, so edges can be drawn one by one.
    """
    height, width = shape
    across = rng.normal(-2, 3, (height, width - 1)).astype(np.float32)
    along = rng.normal(-2, 3, (height - 1, width)).astype(np.float32)
    classes = np.zeros(shape, np.uint8)
    for side, logits, bit in ((classes[:, :-1], across, 4), (classes[:-1], along, 8)):
        odds = np.exp(logits / temperature + bias)
        side |= np.where(rng.random(logits.shape) < odds / (1 + odds), bit, 0).astype(np.uint8)
    return calibration.Sample(edge_logits.EdgeLogits(across, along), classes, np.ones(shape, bool))


def faultless(labels):
    classes = frontier_classes.encode(labels)
    return calibration.Sample(edge_logits.from_labels(labels), classes, np.ones(labels.shape, bool))


@pytest.mark.parametrize("temperature, bias", [(1.0, 0.0), (2.5, -1.0), (0.4, 1.5)])
def test_the_fit_finds_what_the_truth_was_drawn_with(temperature, bias):
    rng = np.random.default_rng(0)
    counts = calibration.tally(drawn(rng, temperature, bias) for _ in range(10))
    fitted = calibration.fit(counts)
    # 380,000 edges leave a relative standard error of about half a percent.
    assert fitted.temperature == pytest.approx(temperature, rel=0.02)
    assert fitted.bias == pytest.approx(bias, abs=0.03)


def test_the_fit_is_a_minimum_and_bins_hardly_move_it():
    rng = np.random.default_rng(0)
    sample = drawn(rng, 2.0, 1.0)
    edges, classes, _ = sample
    counts = calibration.tally([sample])
    best = calibration.fit(counts)

    def exactly(temperature, bias):
        total = 0.0
        for logits, bit in (
            (edges.across.astype(float), classes[:, :-1] & 4),
            (edges.along.astype(float), classes[:-1] & 8),
        ):
            probability = 1 / (1 + np.exp(-(logits / temperature + bias)))
            total -= np.log2(np.where(bit > 0, probability, 1 - probability)).sum()
        return total / (edges.across.size + edges.along.size)

    least = exactly(best.temperature, best.bias)
    # Logits move by up to half a bin, 0.005, within which edges cut and uncut are mixed.
    assert calibration.cross_entropy(counts, best) == pytest.approx(least, abs=2e-5)
    for temperature, bias in ((1.02, 0.0), (0.98, 0.0), (1.0, 0.02), (1.0, -0.02)):
        assert exactly(best.temperature * temperature, best.bias + bias) > least


def test_two_values_of_logits_are_fitted_in_closed_form():
    # Of edges with logit 1, 3 in 4 are cut; of those with -1, 1 in 10.
    counts = calibration.Tally(
        logits=np.array([-1.0, 1.0]), cut=np.array([10.0, 75.0]), uncut=np.array([90.0, 25.0])
    )
    fitted = calibration.fit(counts)
    high, low = math.log(3), math.log(1 / 9)
    assert fitted.temperature == pytest.approx(2 / (high - low), rel=1e-4)
    assert fitted.bias == pytest.approx((high + low) / 2, abs=1e-4)
    entropy = sum(-(p * math.log2(p) + (1 - p) * math.log2(1 - p)) for p in (0.75, 0.1)) / 2
    assert calibration.cross_entropy(counts, fitted) == pytest.approx(entropy, rel=1e-6)


def test_edges_without_truth_do_not_count():
    sample = drawn(np.random.default_rng(0), 1.0, 0.0, (6, 7))
    for expected in (6 * 6 + 5 * 7, 6 * 6 + 5 * 7 - 4):
        counts = calibration.tally([sample])
        assert counts.cut.sum() + counts.uncut.sum() == expected
        sample.known[2, 3] = False


def test_a_faultless_network_is_calibrated_to_a_finite_temperature():
    labels = np.kron(np.arange(12).reshape(3, 4), np.ones((8, 8), int))
    fitted = calibration.fit(calibration.tally([faultless(labels)]))
    assert 0.1 < fitted.temperature < 1


def test_a_network_that_knows_nothing_cannot_be_calibrated():
    sample = drawn(np.random.default_rng(0), 1.0, 0.0)
    inverted = sample._replace(edges=edge_logits.transform(sample.edges, np.negative))
    with pytest.raises(ValueError, match="don't get larger logits"):
        calibration.fit(calibration.tally([inverted]))
    for one_kind in (np.zeros_like(sample.classes), np.full_like(sample.classes, 15)):
        with pytest.raises(ValueError, match="both are needed"):
            calibration.tally([sample._replace(classes=one_kind)])
    with pytest.raises(ValueError, match=r"\(120, 160\), \(120, 159\)"):
        calibration.tally([sample._replace(classes=sample.classes[:, 1:])])


def test_calibrated_logits_are_divided_and_shifted():
    edges = edge_logits.EdgeLogits(np.array([[2.0]], "f"), np.zeros((0, 2), "f"))
    assert calibration.Calibration(temperature=4.0, bias=1.0)(edges).across == 1.5


def test_a_calibration_is_read_as_it_was_written(tmp_path):
    written = calibration.Calibration(temperature=1 / 3, bias=-0.1, threshold=0.35, cut_above=0.2)
    calibration.save(written, tmp_path / "calibration.json")
    assert calibration.load(tmp_path / "calibration.json") == written
    assert written.decoder == decode.Multicut(threshold=0.35, cut_above=0.2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\x00\xff",
        '{"temperature": 1, "bias": 0}',
        '{"temperature": 0, "bias": 0, "threshold": 0.4, "cut_above": 0.5}',
        '{"temperature": NaN, "bias": 0, "threshold": 0.4, "cut_above": 0.5}',
        '{"temperature": 1, "bias": Infinity, "threshold": 0.4, "cut_above": 0.5}',
        '{"temperature": 1, "bias": 0, "threshold": 1, "cut_above": 0.5}',
        '{"temperature": true, "bias": 0, "threshold": 0.4, "cut_above": 0.5}',
        '{"temperature": "1", "bias": 0, "threshold": 0.4, "cut_above": 0.5}',
        '{"temperature": 1' + "0" * 400 + ', "bias": 0, "threshold": 0.4, "cut_above": 0.5}',
        '{"temperature": 1, "bias": 0, "threshold": 0.4, "cut_above": 0.5, "more": 1}',
        "[" * 100_000,
    ],
    ids=range(14),
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="calibration.json is not a calibration"):
        calibration.load(path)
    with pytest.raises(OSError):
        calibration.load(tmp_path / "missing.json")


def test_the_decoder_of_the_best_partitions_is_found():
    rng = np.random.default_rng(0)
    exact = faultless(np.kron(np.arange(12).reshape(3, 4), np.ones((24, 24), int)))
    missed = exact._replace(
        edges=edge_logits.transform(
            exact.edges, lambda x: np.where((x > 0) & (rng.random(x.shape) < 0.5), -x, x)
        )
    )
    # Half of every frontier is left: a mean probability of 0.5.
    low, high = decode.Multicut(threshold=0.3), decode.Multicut(threshold=0.8)
    ((of_low, of_high),) = calibration.adjusted_rand([missed], (low, high))
    assert of_low > 0.9 and of_high < 0.1
    nowhere = missed._replace(known=np.zeros_like(exact.known))
    np.testing.assert_array_equal(calibration.adjusted_rand([exact, nowhere], (low,)), 1.0)
    with pytest.raises(ValueError, match="got none"):
        calibration.adjusted_rand([nowhere], (low,))


def test_of_decoders_that_differ_by_chance_the_one_of_the_fewest_regions_is_chosen(monkeypatch):
    rand = np.zeros((4, len(calibration.DECODERS)))
    levels = [(each.cut_above, each.threshold) for each in calibration.DECODERS]
    rand[:, levels.index((0.1, 0.05))] = 0.8, 0.6, 0.7, 0.7  # The best mean.
    rand[:, levels.index((0.1, 0.1))] = 0.7, 0.7, 0.7, 0.6  # Worse by less than a standard error.
    rand[:, levels.index((0.1, 0.15))] = 0.7, 0.5, 0.6, 0.6  # Worse in every image.
    monkeypatch.setattr(calibration, "adjusted_rand", lambda samples, decoders: rand)
    fitted = calibration.fit_decoder(calibration.Calibration(), [])
    assert (fitted.cut_above, fitted.threshold) == (0.1, 0.1)


def test_a_network_that_is_never_sure_gets_a_decoder_that_takes_hints():
    exact = faultless(np.kron(np.arange(12).reshape(3, 4), np.ones((24, 24), int)))
    # Frontiers have a probability of 0.25, all else of less than 0.02.
    unsure = exact._replace(edges=edge_logits.transform(exact.edges, lambda x: x - np.float32(5.1)))
    plain = calibration.Calibration()
    assert plain.decoder(unsure.edges).max() == 0
    fitted = calibration.fit_decoder(plain, [unsure])
    # All levels below 0.25 find the partition; the highest one keeps the fewest other edges.
    assert fitted.threshold == 0.2
    np.testing.assert_array_equal(
        frontier_classes.encode(fitted.decoder(unsure.edges)), exact.classes
    )
