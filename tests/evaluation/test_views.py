import numpy as np
import pytest

import psp_jax
from psp_jax.batch import Prediction
from psp_jax.evaluation import views
from psp_jax.evaluation.views import Views
from psp_jax.partition import edge_logits, frontier_classes
from tests import scans

RNG = np.random.default_rng(0)
LABELS = frontier_classes.split_connected(np.kron(RNG.integers(0, 5, (6, 8)), np.ones((4, 4), int)))


def local(images):
    """A network that sees only a pixel and its neighbours, so tiles must not change it."""
    gray = images.astype(np.float32).mean(axis=-1)
    edges = np.zeros((*gray.shape, 2), np.float32)
    edges[:, :, :-1, 0] = np.abs(np.diff(gray, axis=2))
    edges[:, :-1, :, 1] = np.abs(np.diff(gray, axis=1))
    return Prediction(depth=1 + gray, edges=edges)


def logits_of(labels):
    edges = edge_logits.from_labels(labels)
    both = np.zeros((1, *labels.shape, 2), np.float32)
    both[0, :, :-1, 0], both[0, :-1, :, 1] = edges.across, edges.along
    return both


def predict(images, options, tile=(24, 32), color_scale=1):
    largest = color_scale * max(options.scales)
    label = round(images.shape[1] / largest), round(images.shape[2] / largest)
    return views.predict(images, label, options, local, tile=tile, color_scale=color_scale)


def test_a_mirrored_prediction_is_that_of_the_mirrored_partition():
    classes = frontier_classes.encode(LABELS)[None]
    mirrored = views.mirror(Prediction(None, logits_of(LABELS), classes))
    expected = logits_of(LABELS[:, ::-1])
    assert mirrored.edges is not None and mirrored.classes is not None
    np.testing.assert_array_equal(mirrored.edges[:, :, :-1, 0], expected[:, :, :-1, 0])
    np.testing.assert_array_equal(mirrored.edges[:, :-1, :, 1], expected[:, :-1, :, 1])
    np.testing.assert_array_equal(mirrored.classes[0], frontier_classes.encode(LABELS[:, ::-1]))


@pytest.mark.parametrize("options", [Views(tiles=True), Views(flip=True), Views(None, True, True)])
@pytest.mark.parametrize("size", [(24, 32), (25, 32), (61, 77), (24, 100)])
def test_views_of_a_local_network_change_nothing(options, size):
    images = RNG.integers(0, 256, (2, *size, 3), np.uint8)
    merged, whole = predict(images, options), local(images)
    assert merged.edges is not None and whole.edges is not None
    assert merged.depth is not None and whole.depth is not None
    np.testing.assert_allclose(merged.depth, whole.depth, rtol=1e-5)
    for channel, part in ((0, np.s_[:, :, :-1]), (1, np.s_[:, :-1])):
        np.testing.assert_allclose(
            merged.edges[part][..., channel], whole.edges[part][..., channel], atol=1e-3
        )


def test_tiles_cover_an_image_and_overlap_by_half():
    for length, window in ((24, 24), (25, 24), (100, 24), (480, 120)):
        starts = views.starts(length, window)
        assert starts[0] == 0 and starts[-1] == length - window
        assert max(np.diff(starts), default=0) <= window / 2


def test_edges_keep_their_places_between_sizes():
    enlarged_labels = np.kron(LABELS, np.ones((3, 3), int)).astype(np.int32)
    small, large = logits_of(LABELS), logits_of(enlarged_labels)
    reduced = views.resize_logits(Prediction(edges=large), LABELS.shape).edges
    assert reduced is not None
    # Rows between two pixels of the smaller grid are interpolated; the signs stay.
    np.testing.assert_array_equal(reduced[0, :, :-1, 0] > 0, small[0, :, :-1, 0] > 0)
    np.testing.assert_array_equal(reduced[0, :-1, :, 1] > 0, small[0, :-1, :, 1] > 0)
    enlarged = views.resize_logits(Prediction(edges=small), enlarged_labels.shape).edges
    assert enlarged is not None
    np.testing.assert_allclose(enlarged[0, 1::3, 2:-1:3, 0], small[0, :, :-1, 0], atol=1e-4)
    np.testing.assert_allclose(enlarged[0, 2:-1:3, 1::3, 1], small[0, :-1, :, 1], atol=1e-4)
    depth = np.full((1, 6, 8), 2, np.float32)
    assert (views.resize_logits(Prediction(depth=depth), (9, 30)).depth == 2).all()


def test_scales_are_averaged_at_the_size_of_the_labels():
    images = np.full((1, 48, 64, 3), 100, np.uint8)
    merged = predict(images, Views(scales=(0.5, 1.0, 2.0)))
    assert merged.depth is not None and merged.depth.shape == (1, 24, 32)
    np.testing.assert_allclose(merged.depth, 101)


def test_a_size_is_a_number_of_pixels_at_the_aspect_of_the_image():
    trained = (120, 160)
    assert views.label_size((480, 640), trained, Views((240, 320)), 1) == (240, 320)
    assert views.label_size((640, 480), trained, Views((240, 320)), 1) == (320, 240)
    assert views.label_size((481, 643), trained, Views("native"), 1) == (480, 640)
    assert views.label_size((481, 643), trained, Views("native"), 2) == (240, 320)
    with pytest.raises(ValueError, match="tiles"):
        views.label_size((3000, 4000), trained, Views("native"), 1)
    assert views.label_size((3000, 4000), trained, Views("native", tiles=True), 1) == (3000, 4000)
    for size, scales in (("full", (1.0,)), ((8, 99), (1.0,)), (None, ()), (None, (1.0, 99.0))):
        with pytest.raises(ValueError, match="expected"):
            Views(size, scales=scales)


def test_mirror_images_have_mirrored_predictions(edges_run):
    predictor = psp_jax.load(edges_run, flip=True)
    image = np.kron(RNG.integers(0, 256, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    result, mirrored = predictor([image, np.ascontiguousarray(image[:, ::-1])])
    assert result.edges is not None and mirrored.edges is not None
    back = mirrored.edges[:, ::-1]
    np.testing.assert_allclose(back[:, 1:, 0], result.edges[:, :-1, 0], atol=1e-4)
    np.testing.assert_allclose(back[:-1, :, 1], result.edges[:-1, :, 1], atol=1e-4)
    tiled = psp_jax.load(edges_run, size=(2 * scans.SIZE[0], 2 * scans.SIZE[1]), tiles=True)
    (prediction,) = tiled.run([tiled.prepare(image)])
    assert prediction.edges is not None
    assert prediction.edges.shape == (2 * scans.SIZE[0], 2 * scans.SIZE[1], 2)
