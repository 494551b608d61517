import dataclasses
import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import augment
from psp_jax.augment import Augmentation, Span
from psp_jax.batch import Batch
from psp_jax.partition import frontier_classes
from tests.batches import batch_of

SIZE = (24, 32)
OFF = Augmentation(
    crop=1.0,
    aspect=0.0,
    gamma=0.0,
    gain=0.0,
    channel_gain=0.0,
    contrast=0.0,
    saturation=0.0,
    gray_probability=0.0,
    blur_probability=0.0,
    noise_probability=0.0,
    jpeg_probability=0.0,
    border_probability=0.0,
)


def blobs(rng, size=SIZE):
    """A partition of random rectangles and single pixels."""
    labels = np.zeros(size, int)
    for number in range(1, 40):
        top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
        height, width = rng.integers(1, 12, 2)
        labels[top : top + height, left : left + width] = number
    return frontier_classes.split_connected(labels)


def make_batch(rng, count=4, scale=1):
    labels = np.stack([blobs(rng) for _ in range(count)])
    batch = batch_of(labels, filled=rng.random(labels.shape) < 0.2)
    height, width = SIZE
    image = rng.integers(0, 256, (count, scale * height, scale * width, 3), np.uint8)
    depth = rng.uniform(0.5, 12, labels.shape).astype(np.float32)
    return dataclasses.replace(batch, image=image, filled_depth=depth), labels


def augmented(batch, key=0, *, augmentation=OFF, max_depth_m=10.0) -> Batch:
    strengths = {"augmentation": augmentation, "max_depth_m": max_depth_m}
    # Operation by operation it takes longer to compile.
    return jax.jit(functools.partial(augment.augment, **strengths))(batch, jax.random.key(key))


def random_span(rng, size, count, border=0):
    length = rng.integers(1, size + 1, count)
    start = rng.integers(0, size - length + 1)
    first, last = rng.integers(0, border + 1, count), size - 1 - rng.integers(0, border + 1, count)
    return Span(*(jnp.asarray(value, jnp.int32) for value in (start, length, first, last)))


def enlarged(values, rows, columns, index):
    """Crops and enlarges by nearest pixels, then repeats the outer pixels inside the border."""
    result = values
    for axis, span in enumerate((rows, columns)):
        start, length, first, last = (int(value[index]) for value in span)
        crop = np.take(result, np.arange(start, start + length), axis)
        size = values.shape[axis]
        nearest = np.floor((np.arange(size) + 0.5) * length / size + 1e-9).astype(int)
        crop = np.take(crop, nearest, axis)
        result = np.take(crop, np.clip(np.arange(size), first, last), axis)
    return result


crop_labels = jax.jit(functools.partial(augment.crop_labels, max_depth_m=10.0))


@pytest.mark.parametrize("border", [0, 5])
def test_the_classes_of_a_crop_are_those_of_the_enlarged_partition(border):
    rng = np.random.default_rng(border)
    batch, labels = make_batch(rng, count=40)
    rows, columns = (random_span(rng, size, 40, border) for size in SIZE)
    after = crop_labels(batch, rows, columns)
    for index, each in enumerate(labels):
        expected = enlarged(each, rows, columns, index)
        np.testing.assert_array_equal(after.frontier[index], frontier_classes.encode(expected))
        pieces = frontier_classes.split_connected(expected)
        classes = np.asarray(after.frontier[index])
        np.testing.assert_array_equal(frontier_classes.decode_exact(classes), pieces)


def test_depth_is_divided_by_the_zoom_and_targets_stay_within_the_range():
    rng = np.random.default_rng(0)
    batch, _ = make_batch(rng, count=20)
    rows, columns = (random_span(rng, size, 20) for size in SIZE)
    after = crop_labels(batch, rows, columns)
    for index in range(20):
        zoom = np.sqrt(SIZE[0] / rows.length[index] * SIZE[1] / columns.length[index])
        filled = enlarged(batch.filled[index], rows, columns, index)
        depth = enlarged(batch.filled_depth[index], rows, columns, index) / zoom
        np.testing.assert_array_equal(after.filled[index], filled)
        np.testing.assert_allclose(after.filled_depth[index], depth, rtol=1e-5)
        expected = np.where(filled | (after.filled_depth[index] > 10), 0, depth)
        np.testing.assert_allclose(after.depth[index], expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [1, 3])
def test_without_any_change_a_batch_stays_bit_identical(scale):
    batch, _ = make_batch(np.random.default_rng(0), scale=scale)
    depth = np.where(batch.filled | (batch.filled_depth > 10), 0, batch.filled_depth)
    batch = dataclasses.replace(batch, depth=depth)
    jax.tree.map(np.testing.assert_array_equal, augmented(batch), batch)


@pytest.mark.parametrize("scale", [1, 2])
def test_the_image_of_a_crop_is_that_of_opencv(scale):
    """And so lies exactly over its labels, which have another size."""
    rng = np.random.default_rng(0)
    batch, _ = make_batch(rng, scale=scale)
    rows, columns = (random_span(rng, size, 4) for size in SIZE)
    photograph = jax.jit(functools.partial(augment.photograph, augmentation=OFF))
    for index, image in enumerate(batch.image):
        across, along = (
            jax.tree.map(lambda v, i=index: v[i], s).scaled(scale) for s in (rows, columns)
        )
        after = photograph(jnp.asarray(image), jax.random.key(0), across, along)
        (top, height), (left, width) = ((int(s.start), int(s.length)) for s in (across, along))
        crop = image[top : top + height, left : left + width].astype(np.float32)
        expected = cv2.resize(crop, (image.shape[1], image.shape[0]))
        assert np.abs(np.asarray(after, np.float32) - expected).max() <= 0.51


def test_every_strength_changes_images_and_only_crops_and_borders_change_labels():
    batch, _ = make_batch(np.random.default_rng(0), scale=2)
    strong = {
        "crop": 0.5, "gamma": 0.5, "gain": 0.5, "channel_gain": 0.5, "contrast": 0.5,
        "saturation": 0.5, "hue": 0.5, "gray_probability": 1.0, "blur_probability": 1.0,
    }  # fmt: skip
    off = {name: getattr(OFF, name) for name in strong}
    with_strengths = jax.jit(
        lambda given: augmented(batch, augmentation=dataclasses.replace(OFF, **given))
    )
    results = {name: with_strengths(off | {name: value}) for name, value in strong.items()}
    for name in ("noise_probability", "jpeg_probability", "border_probability"):
        results[name] = augmented(batch, augmentation=dataclasses.replace(OFF, **{name: 1.0}))
    for name, after in results.items():
        assert after.image.dtype == np.uint8 and after.image.shape == batch.image.shape
        assert not np.array_equal(after.image, batch.image), name
        same = np.array_equal(after.frontier, batch.frontier)
        assert same != (name in ("crop", "border_probability")), name


def test_the_result_is_a_function_of_the_key():
    batch, _ = make_batch(np.random.default_rng(0))
    strengths = {"augmentation": Augmentation(), "max_depth_m": 10.0}
    step = jax.jit(functools.partial(augment.augment, **strengths))
    first, again, other = (step(batch, jax.random.key(seed)) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.image, other.image)
    assert not np.array_equal(first.frontier, other.frontier)


def test_jpeg_is_as_far_from_the_image_as_opencvs():
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (45, 67, 3)).astype(np.float32), (0, 0), 2)
    image = np.clip(128 + 300 * noise, 0, 255).astype(np.uint8)
    planes = jnp.moveaxis(jnp.asarray(image, jnp.float32), -1, 0)
    for quality in (10, 30, 75, 95):
        flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
                 cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]  # fmt: skip
        stream = cv2.imencode(".jpg", image[..., ::-1], flags)[1]
        decoded = cv2.imdecode(stream, cv2.IMREAD_COLOR)
        assert decoded is not None
        theirs = decoded[..., ::-1].astype(np.float32)
        ours = np.moveaxis(np.asarray(augment.jpeg(planes, jnp.float32(quality))), 0, -1)
        ours = np.clip(np.round(ours), 0, 255)
        lost = np.abs(theirs - image).mean()
        assert np.abs(ours - theirs).mean() < 0.2 * lost + 0.7, quality
