import types
from typing import Any

import numpy as np

from psp_jax.batch import Batch, Prediction
from psp_jax.evaluation import partition_scores, predictions
from psp_jax.evaluation.predicted_image import PredictedImage
from psp_jax.partition import calibration, edge_logits, frontier_classes


def image_of(labels, logits):
    height, width = labels.shape
    rng = np.random.default_rng(0)
    depth = np.asarray(1 + 0.5 * (labels % 5), np.float32)
    truth = Batch(
        image=rng.integers(0, 256, (height, width, 3), np.uint8),
        depth=depth,
        filled_depth=depth,
        frontier=frontier_classes.encode(labels),
        filled=np.zeros(labels.shape, bool),
        valid=np.ones((), bool),
    )
    return PredictedImage(truth, Prediction(edges=logits))


def test_the_truth_scores_perfectly_and_has_a_short_conditional_code():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 5, (4, 5))
    labels = frontier_classes.split_connected(np.kron(blocks, np.ones((12, 12), int)))
    certain = edge_logits.from_labels(labels)
    logits = np.full((*labels.shape, 2), -8, np.float32)
    logits[:, :-1, 0], logits[:-1, :, 1] = 2 * certain.across, 2 * certain.along
    scores = partition_scores.PartitionScores(calibration.Calibration(), None)
    (predicted,) = scores.add([image_of(labels, logits)])
    np.testing.assert_array_equal(predicted[partition_scores.DECODED], labels)
    result = scores.result()
    decoded = result["partitions"][partition_scores.DECODED]
    assert decoded["ari"] == decoded["asa"] == decoded["f_0px"] == 1.0
    assert decoded["vi_bits"] == 0
    assert decoded["ari"] > result["partitions"]["grid"]["ari"]
    assert result["coding"]["ratio"] < 0.2
    assert result["boundaries"]["0px"]["ods"] == 1.0


def calibrated(images):
    predictor: Any = types.SimpleNamespace(split=lambda variables, examples: iter(images))
    return predictions.calibrate(predictor, {}, images, decoder_images=2)


def test_calibration_finds_the_temperature_of_overconfident_logits():
    labels = [
        frontier_classes.split_connected(
            np.kron(np.random.default_rng(seed).integers(0, 4, (3, 4)), np.ones((8, 8), int))
        )
        for seed in range(4)
    ]
    rng = np.random.default_rng(1)
    images = []
    for each in labels:
        cut = edge_logits.from_labels(each)
        logits = np.zeros((*each.shape, 2), np.float32)
        logits[:, :-1, 0] = np.sign(cut.across) + rng.normal(0, 1, cut.across.shape)
        logits[:-1, :, 1] = np.sign(cut.along) + rng.normal(0, 1, cut.along.shape)
        images.append(image_of(each, 3 * logits))
    fitted = calibrated(images)
    sharper = [
        PredictedImage(image.truth, Prediction(edges=2 * image.prediction.edges))
        for image in images
    ]
    again = calibrated(sharper)
    np.testing.assert_allclose(again.temperature, 2 * fitted.temperature, rtol=0.02)


def test_an_image_without_a_known_pixel_has_no_scores():
    labels = np.zeros((12, 16), np.int32)
    image = image_of(labels, np.full((12, 16, 2), -8, np.float32))
    image.truth.filled[:] = True
    scores = partition_scores.PartitionScores(calibration.Calibration(), None)
    assert scores.add([image])[0][partition_scores.DECODED].max() == 0
    assert np.isnan(scores.columns()["ari"]).all()
    assert scores.result() == {"partitions": {}}


def test_images_that_are_scored_together_keep_their_order():
    rng = np.random.default_rng(0)
    images = []
    for _ in range(6):
        blocks = rng.integers(0, 5, (3, 4))
        labels = frontier_classes.split_connected(np.kron(blocks, np.ones((8, 8), int)))
        images.append(image_of(labels, rng.normal(0, 3, (*labels.shape, 2)).astype(np.float32)))
    together = partition_scores.PartitionScores(calibration.Calibration(), None)
    alone = partition_scores.PartitionScores(calibration.Calibration(), None)
    predicted = together.add(images)
    for image, partitions in zip(images, predicted, strict=True):
        (expected,) = alone.add([image])
        np.testing.assert_equal(partitions, expected)
    np.testing.assert_equal(together.columns(), alone.columns())
    np.testing.assert_equal(together.result(), alone.result())
