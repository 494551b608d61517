import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax.models import resampling
from psp_jax.predict import sliding
from psp_jax.predict.sliding import Merge, Padding, Protocol, Resizing

ONE_SCALE = Protocol((9, 12), 30, scales=(1.0,), flip=False)


def softmax(x):
    x = np.exp(np.asarray(x, np.float64) - np.max(x, -1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def image_of(size, channels=3):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, *size, channels)), jnp.float32)


@pytest.mark.parametrize("crop", [1, 3, 4, 9, 473, 713])
def test_windows_cover_the_image_and_all_are_needed(crop):
    stride = int(np.ceil(2 * crop / 3))
    for size in [*range(1, 30), 473, 474, 640, 789, 790, 2048]:
        starts = sliding.starts(size, crop)
        covered = np.zeros(max(size, crop), int)
        for start in starts:
            assert 0 <= start and start + crop <= max(size, crop)
            covered[start : start + crop] += 1
        assert covered.all()
        expected, position = [], 0  # Brute force: walk until a window reaches the end.
        while position + crop < size:
            expected.append(position)
            position += stride
        assert starts == [*expected, max(size - crop, 0)]


def test_a_cityscapes_image_takes_81_windows():
    """Over all six scales, as counted from hszhao/semseg's script."""
    protocol = sliding.SEMSEG_713
    scaled = [sliding.scaled_size((1024, 2048), scale, protocol) for scale in protocol.scales]
    windows = [
        len(sliding.starts(height, protocol.crop[0])) * len(sliding.starts(width, protocol.crop[1]))
        for height, width in scaled
    ]
    assert sum(windows) == 81


def test_only_caffe_adds_a_pixel_to_the_longer_side():
    assert sliding.scaled_size((480, 640), 0.5, sliding.SEMSEG_473) == (192, 256)
    assert sliding.scaled_size((480, 640), 0.5, sliding.CAFFE_473) == (193, 257)
    assert sliding.scaled_size((640, 480), 1.0, sliding.SEMSEG_473) == (512, 384)


def test_overlapping_windows_are_averaged_pixel_by_pixel():
    """The scores depend on the position of a pixel in its window."""
    place = jnp.asarray(np.random.default_rng(1).normal(size=(9, 12, 3)), jnp.float32)
    image = image_of((20, 30))
    actual = sliding.predict(lambda x: x + place, image, ONE_SCALE)
    for row, column in np.ndindex(20, 30):
        seen = [
            softmax(image[:, row, column] + place[row - top, column - left])
            for top in sliding.starts(20, 9)
            for left in sliding.starts(30, 12)
            if 0 <= row - top < 9 and 0 <= column - left < 12
        ]
        np.testing.assert_allclose(actual[:, row, column], np.mean(seen, 0), atol=1e-5)


@pytest.mark.parametrize("merge", Merge)
def test_mirror_images_are_merged_by_either_rule(merge):
    protocol = dataclasses.replace(ONE_SCALE, flip=True, merge=merge, crop=(20, 30))
    slope = jnp.linspace(-1, 1, 30)[:, None] * jnp.asarray([1.0, 2.0, 3.0])
    image = image_of((20, 30))
    actual = sliding.predict(lambda x: 2 * x + slope, image, protocol)
    upright, mirrored = 2 * image + slope, 2 * image + slope[::-1]
    if merge is Merge.LOGITS:
        expected = softmax(upright + mirrored)
    else:
        expected = (softmax(upright) + softmax(mirrored)) / 2
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("padding", "top", "left"), [(Padding.CENTRED, 2, 3), (Padding.BOTTOM_RIGHT, 0, 0)]
)
def test_small_images_are_padded_on_the_sides_of_the_protocol(padding, top, left):
    protocol = dataclasses.replace(ONE_SCALE, crop=(25, 37), padding=padding)
    image, seen = image_of((20, 30), channels=4), []

    def scores(x):
        seen.append(np.asarray(x))
        return x

    fill = (1.0, 2.0, 3.0, 4.0)
    probabilities = sliding.predict(scores, image, protocol, fill=fill)
    expected = np.empty((2, 25, 37, 4), np.float32)
    expected[:] = fill
    expected[:, top : top + 20, left : left + 30] = image
    np.testing.assert_array_equal(seen[0], expected)
    np.testing.assert_allclose(probabilities, softmax(image), atol=1e-6)


@pytest.mark.parametrize("resizing", Resizing)
def test_scales_are_averaged_at_the_size_of_the_image(resizing):
    protocol = dataclasses.replace(ONE_SCALE, scales=(0.5, 1.5), resizing=resizing, crop=(40, 50))
    image = image_of((20, 30))

    def resize(x, size):
        if resizing is Resizing.ANTIALIASED:
            return resampling.resize_antialiased(x, size)
        return resampling.resize(x, size, align_corners=False)

    actual = sliding.predict(lambda x: x, image, protocol)
    expected = [
        resize(jax.nn.softmax(resize(image, size)), (20, 30)) for size in ((10, 15), (30, 45))
    ]
    np.testing.assert_allclose(actual, np.mean(expected, 0), atol=1e-6)
    np.testing.assert_allclose(actual.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("fields", [{"crop": (0, 9)}, {"base": 0}, {"scales": ()}])
def test_protocols_without_a_window_or_scale_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        dataclasses.replace(ONE_SCALE, **fields)
