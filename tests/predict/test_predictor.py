import dataclasses

import cv2
import jax
import numpy as np
import pytest

import psp_jax
from data_builders import sources
from psp_jax import checkpoints, experiment
from psp_jax.batch import Prediction
from psp_jax.evaluation import views
from psp_jax.models import architecture, unet
from psp_jax.partition import frontier_classes
from psp_jax.partition.frontier_classes import Side
from psp_jax.weights import pretrained
from tests import scans, untrained


@pytest.fixture(scope="module")
def images():
    """An image of the training size, and the same image enlarged to twice the size."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (6, 8, 3), np.uint8)
    small = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    return small, np.kron(small, np.ones((2, 2, 1), np.uint8))


def is_like(enlarged, regions):
    """Returns whether enlarged regions agree with doubled pixels, but for pixels at boundaries."""
    inside = np.kron(frontier_classes.encode(regions) == 0, np.ones((2, 2), bool))
    pairs = np.stack([enlarged[inside], np.kron(regions, np.ones((2, 2), int))[inside]])
    ours, theirs, both = (len(np.unique(each, axis=-1).T) for each in (*pairs, pairs))
    return ours == theirs == both and np.array_equal(
        frontier_classes.split_connected(enlarged), enlarged
    )


def test_depth_is_the_networks_and_is_segmented_into_regions(depth_run, images, monkeypatch):
    folder, config = depth_run, experiment.load(depth_run)
    segmentations = scans.small_config().segmentations
    monkeypatch.setattr(sources.ScanNet, "segmentations", lambda self: segmentations)
    small, large = images
    predict = psp_jax.load(folder)
    assert predict.size == scans.SIZE
    result = predict(small)
    model = config.model.make(config.objective.channels)
    image = architecture.normalise(small)[None]
    output = jax.jit(model.apply)(checkpoints.load_variables(folder), image)
    expected = config.objective.predict(output, scans.SIZE).depth
    assert result.depth_m is not None and expected is not None
    np.testing.assert_allclose(result.depth_m, expected[0], atol=1e-5)
    millimetres = np.clip(np.round(result.depth_m * 1000), 1, 65535).astype(np.uint16)
    np.testing.assert_array_equal(result.regions, segmentations["planar"](millimetres))
    assert result.regions is not None and result.regions.max() > 2
    np.testing.assert_array_equal(result.classes, frontier_classes.encode(result.regions))
    assert result.edges is None
    enlarged = predict(large)
    assert enlarged.depth_m is not None and enlarged.depth_m.shape == large.shape[:2]
    assert enlarged.regions is not None
    assert is_like(enlarged.regions, result.regions)
    np.testing.assert_array_equal(enlarged.classes, frontier_classes.encode(enlarged.regions))


def test_edges_are_calibrated_and_decoded(edges_run, images):
    folder, config = edges_run, experiment.load(edges_run)
    predict = psp_jax.load(folder)
    assert predict.is_calibrated and predict.calibration == untrained.CALIBRATED
    small, large = images
    result, enlarged = predict(small), predict(large)
    model = config.model.make(config.objective.channels)
    image = architecture.normalise(small)[None]
    output = jax.jit(model.apply)(checkpoints.load_variables(folder), image)
    logits = np.asarray(config.objective.predict(output, scans.SIZE).edges)[0]
    probability = 0.5 + 0.5 * np.tanh(0.5 * (logits / 0.5 + 0.7))
    assert result.edges is not None and enlarged.edges is not None and result.depth_m is None
    np.testing.assert_allclose(result.edges[:, :-1, 0], probability[:, :-1, 0], atol=1e-4)
    np.testing.assert_allclose(result.edges[:-1, :, 1], probability[:-1, :, 1], atol=1e-4)
    assert not result.edges[:, -1, 0].any() and not result.edges[-1, :, 1].any()
    assert result.regions is not None and result.regions.max() > 2
    # Every cut edge of the larger image lies between two pixels of the network.
    np.testing.assert_array_equal(enlarged.edges[::2, 1:-1:2, 0], result.edges[:, :-1, 0])
    np.testing.assert_array_equal(enlarged.edges[1:-1:2, ::2, 1], result.edges[:-1, :, 1])
    assert not enlarged.edges[:, ::2, 0].any() and not enlarged.edges[::2, :, 1].any()
    assert is_like(enlarged.regions, result.regions)


@pytest.mark.parametrize("size", [(31, 45), (48, 97), (1, 1)])
def test_edges_of_a_smaller_image_are_the_maxima_of_those_in_between(edges_run, size):
    predict = psp_jax.load(edges_run)
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (*scans.SIZE, 2)).astype(np.float32)
    classes = rng.integers(0, 16, scans.SIZE).astype(np.uint8)
    prediction = Prediction(edges=logits, classes=classes)
    whole, result = (
        predict.decode(prediction, np.zeros((*each, 3), np.uint8)) for each in (scans.SIZE, size)
    )
    assert whole.edges is not None and result.edges is not None and result.classes is not None
    assert result.regions is not None and result.regions.shape == size
    assert np.array_equal(frontier_classes.split_connected(result.regions), result.regions)
    rows, columns = (
        [int((index + 0.5) * old / new) for index in range(new)]
        for old, new in zip(scans.SIZE, size, strict=True)
    )
    right = np.zeros(size, np.float32)
    bits = np.zeros(size, bool)
    for row, y in enumerate(rows):
        for column in range(size[1] - 1):
            between = slice(columns[column], columns[column + 1])
            right[row, column] = whole.edges[y, between, 0].max(initial=0)
            bits[row, column] = (classes[y, between] & (1 << Side.RIGHT)).any()
    np.testing.assert_array_equal(result.edges[..., 0], right)
    np.testing.assert_array_equal((result.classes >> Side.RIGHT) & 1, bits)


def test_images_are_resized_to_the_training_pixel_count_at_their_own_aspect():
    trained, one = (480, 640), views.Views()

    def size(*image):
        return views.label_size(image, trained, one, 1)

    assert size(968, 1296) == trained
    assert size(1296, 968) == (640, 480)
    for image in ((100, 100), (1080, 1920), (3000, 1000), (50, 800)):
        height, width = size(*image)
        assert abs(height * width / (480 * 640) - 1) < 0.05
        assert abs(height / width / (image[0] / image[1]) - 1) < 0.05
    with pytest.raises(ValueError, match="16:1"):
        size(10, 161)


def test_a_network_may_see_colour_finer_than_its_labels(depth_run, images, monkeypatch, tmp_path):
    monkeypatch.setattr(sources.ScanNet, "color_scale", 2)
    pretrained.export(depth_run, tmp_path / "model")
    monkeypatch.setattr(sources.ScanNet, "color_scale", 1)
    predict = psp_jax.load(tmp_path / "model")
    assert predict.size == scans.SIZE and predict.color_scale == 2
    small, large = images
    assert predict.prepare(small).shape == (2 * scans.SIZE[0], 2 * scans.SIZE[1], 3)
    result = predict(large)
    assert result.coarse.depth_m is not None and result.coarse.depth_m.shape == scans.SIZE
    plain = psp_jax.load(depth_run, size=(2 * scans.SIZE[0], 2 * scans.SIZE[1]))(large)
    assert plain.depth_m is not None
    blocks = plain.depth_m.reshape(scans.SIZE[0], 2, scans.SIZE[1], 2)
    assert np.abs(blocks.mean((1, 3)) - result.coarse.depth_m).max() < 0.1 * np.ptp(plain.depth_m)
    tiled = psp_jax.load(tmp_path / "model", size=(72, 96), tiles=True)
    (prediction,) = tiled.run([tiled.prepare(large)])
    assert prediction.depth is not None and prediction.depth.shape == (72, 96)


def test_a_list_is_predicted_in_batches_as_its_images_are(edges_run, images, tmp_path):
    predict = psp_jax.load(edges_run)
    small, large = images
    (tmp_path / "trip").mkdir()
    paths = [tmp_path / "a.png", tmp_path / "trip" / "a.png"]
    for path in paths:
        cv2.imwrite(str(path), small[..., ::-1])
    wide = np.concatenate([large, large], axis=1)
    given = [paths[0], large, wide, str(paths[1]), *[small] * 3]
    results = predict(given)
    names = ["a", "image_1", "image_2", "trip/a", "image_4", "image_5", "image_6"]
    assert [result.name for result in results] == names
    for result, single in zip(results, map(predict, given), strict=True):
        assert result.edges is not None and single.edges is not None
        np.testing.assert_allclose(result.edges, single.edges, atol=1e-4)
    assert results[3].source == paths[1]
    written = [path for result in results for path in result.save(tmp_path / "out", ["overlay"])]
    assert len({*written}) == len(given)
    batch = predict(np.stack([small, small]))
    assert isinstance(batch, list) and [each.name for each in batch] == ["image_0", "image_1"]
    assert predict([]) == []


def test_invalid_images_predictions_and_runs_are_refused(depth_run, edges_run, tmp_path, images):
    predict = psp_jax.load(edges_run)
    for image in (images[0].astype(np.float32), images[0][..., 0], images[0][:0]):
        with pytest.raises(ValueError, match="uint8"):
            predict(image)
    diverged = Prediction(depth=np.full(scans.SIZE, np.nan, np.float32))
    with pytest.raises(ValueError, match="diverged"):
        predict.decode(diverged, images[0])
    with pytest.raises(FileNotFoundError, match="holds no run"):
        psp_jax.load(tmp_path)
    experiment.save(experiment.load(depth_run), tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        psp_jax.load(tmp_path)
    experiment.save(
        dataclasses.replace(experiment.load(depth_run), model=unet.DepthCNN(4, 2)), tmp_path
    )
    (tmp_path / "checkpoints").symlink_to(depth_run / "checkpoints")
    with pytest.raises(ValueError, match="sees depth"):
        psp_jax.load(tmp_path)


def test_the_size_is_passed_if_the_data_set_does_not_exist(edges_run, tmp_path):
    run = experiment.load(edges_run)
    run.data.source = sources.ScanNet(data_dir=str(tmp_path), config="mine")
    experiment.save(run, tmp_path)
    (tmp_path / "checkpoints").symlink_to(edges_run / "checkpoints")
    with pytest.raises(ValueError, match="not known.*size="):
        psp_jax.load(tmp_path)
    assert psp_jax.load(tmp_path, size=(24, 32)).size == (24, 32)
    with pytest.raises(ValueError, match="at least 16"):
        psp_jax.load(tmp_path, size=(8, 32))
    assert sources.ScanNet(config="thesis").size() == (480, 640)
    assert sources.EmbeddedRooms().size() == (120, 160)
