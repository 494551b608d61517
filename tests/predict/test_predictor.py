import dataclasses

import numpy as np
import pytest

import psp_jax
from data_builders import sources
from psp_jax import checkpoints, experiment
from psp_jax.models import architecture, unet
from psp_jax.partition import frontier_classes
from psp_jax.partition.frontier_classes import Side
from psp_jax.predict import predictor
from tests import scans, untrained


@pytest.fixture(scope="module")
def images():
    """An image at the size of training, and one twice as large that shrinks to just that."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (6, 8, 3), np.uint8)
    small = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    return small, np.kron(small, np.ones((2, 2, 1), np.uint8))


def test_depth_is_the_networks_and_regions_are_cut_from_it(depth_run, images, monkeypatch):
    folder, config = depth_run, experiment.load(depth_run)
    cuts = scans.small_config().segmentations
    monkeypatch.setattr(sources.ScanNet, "segmentations", lambda self: cuts)
    small, large = images
    predict = psp_jax.load(folder)
    assert predict.size == scans.SIZE
    found = predict(small)
    model = config.model.make(config.objective.channels)
    output = model.apply(checkpoints.load_variables(folder), architecture.normalise(small)[None])
    expected = config.objective.predict(output, scans.SIZE).depth
    assert found.depth_m is not None and expected is not None
    np.testing.assert_allclose(found.depth_m, expected[0], atol=1e-5)
    millimetres = np.clip(np.round(found.depth_m * 1000), 1, 65535).astype(np.uint16)
    np.testing.assert_array_equal(found.regions, cuts["planar"](millimetres))
    assert found.regions is not None and found.regions.max() > 2
    np.testing.assert_array_equal(found.classes, frontier_classes.encode(found.regions))
    assert found.edges is None
    again = predict(large)
    assert again.depth_m is not None and again.depth_m.shape == large.shape[:2]
    assert again.regions is not None
    np.testing.assert_array_equal(again.regions, np.kron(found.regions, np.ones((2, 2), int)))
    np.testing.assert_array_equal(again.classes, frontier_classes.encode(again.regions))


def test_edges_are_calibrated_and_decoded_as_the_run_says(edges_run, images):
    folder, config = edges_run, experiment.load(edges_run)
    predict = psp_jax.load(folder)
    assert predict.is_calibrated and predict.calibrated == untrained.CALIBRATED
    small, large = images
    found, again = predict(small), predict(large)
    model = config.model.make(config.objective.channels)
    output = model.apply(checkpoints.load_variables(folder), architecture.normalise(small)[None])
    logits = np.asarray(config.objective.predict(output, scans.SIZE).edges)[0]
    probability = 0.5 + 0.5 * np.tanh(0.5 * (logits / 0.5 + 0.7))
    assert found.edges is not None and again.edges is not None and found.depth_m is None
    np.testing.assert_allclose(found.edges[:, :-1, 0], probability[:, :-1, 0], atol=1e-4)
    np.testing.assert_allclose(found.edges[:-1, :, 1], probability[:-1, :, 1], atol=1e-4)
    assert not found.edges[:, -1, 0].any() and not found.edges[-1, :, 1].any()
    assert found.regions is not None and found.regions.max() > 2
    # Every frontier of the larger image lies where two pixels of the network meet.
    np.testing.assert_array_equal(again.edges[::2, 1:-1:2, 0], found.edges[:, :-1, 0])
    np.testing.assert_array_equal(again.edges[1:-1:2, ::2, 1], found.edges[:-1, :, 1])
    assert not again.edges[:, ::2, 0].any() and not again.edges[::2, :, 1].any()
    np.testing.assert_array_equal(again.regions, np.kron(found.regions, np.ones((2, 2), int)))


@pytest.mark.parametrize("size", [(31, 45), (48, 97), (1, 1)])
def test_what_lies_between_two_pixels_of_a_smaller_image_keeps_its_surest_edge(edges_run, size):
    predict = psp_jax.load(edges_run)
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (*scans.SIZE, 2)).astype(np.float32)
    classes = rng.integers(0, 16, scans.SIZE).astype(np.uint8)
    output = predictor.Output(depth_m=None, edges=logits, classes=classes)
    whole, found = predict.finish(output, scans.SIZE), predict.finish(output, size)
    assert whole.edges is not None and found.edges is not None and found.classes is not None
    assert found.regions is not None and found.regions.shape == size
    assert np.array_equal(frontier_classes.split_connected(found.regions), found.regions)
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
    np.testing.assert_array_equal(found.edges[..., 0], right)
    np.testing.assert_array_equal((found.classes >> Side.RIGHT) & 1, bits)


def test_images_are_seen_with_as_many_pixels_as_in_training_at_their_own_aspect():
    trained = (480, 640)
    assert predictor.seen_size((968, 1296), trained) == trained
    assert predictor.seen_size((1296, 968), trained) == (640, 480)
    for size in ((100, 100), (1080, 1920), (3000, 1000), (50, 800)):
        height, width = predictor.seen_size(size, trained)
        assert abs(height * width / (480 * 640) - 1) < 0.05
        assert abs(height / width / (size[0] / size[1]) - 1) < 0.05
    with pytest.raises(ValueError, match="is a strip"):
        predictor.seen_size((10, 161), trained)


def test_what_cannot_be_predicted_is_refused(depth_run, edges_run, tmp_path, images):
    predict = psp_jax.load(edges_run)
    for image in (images[0].astype(np.float32), images[0][..., 0], images[0][:0]):
        with pytest.raises(ValueError, match="uint8"):
            predict(image)
    output = predictor.Output(np.full(scans.SIZE, np.nan, np.float32), None, None)
    with pytest.raises(ValueError, match="diverged"):
        predict.finish(output, scans.SIZE)
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


def test_a_data_set_that_is_gone_leaves_the_size_to_the_caller(edges_run, tmp_path):
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
