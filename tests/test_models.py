import functools
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from psp_jax import state
from psp_jax.models import geometry, layers, pspnet, resnet, segmenter

ALL = ("trunk", "pyramid", "head", "classifier")


@pytest.mark.parametrize(
    ("depth", "classes", "parameters"),
    # hszhao/semseg's models without their auxiliary head; 50 and 101 are the Caffe ones too.
    [
        (50, 150, 46_782_550),
        (50, 19, 46_715_347),
        (101, 21, 65_708_501),
        (101, 150, 65_774_678),
        (152, 150, 81_418_326),
    ],
)
def test_parameter_counts_are_the_published_ones(depth, classes, parameters):
    model = segmenter.Segmenter(depth=depth).make(classes)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("size", [(64, 96), (57, 73), (97, 129)])
def test_any_image_size_gives_an_eighth_of_it(depth, size):
    model = segmenter.Segmenter(depth=depth, width=4).make(5)
    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    output, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    assert output.shape == (2, -(-size[0] // 8), -(-size[1] // 8), 5)
    assert output.dtype == jnp.float32


@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(3, 1, 1), (3, 1, 4), (3, 2, 1), (1, 2, 1)]
)
def test_convolution_equals_scipys_correlation_on_a_zero_padded_image(size, stride, dilation):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 10, 13, 2)).astype(np.float32)
    layer = layers.Convolution(3, size=size, stride=stride, dilation=dilation)
    variables = layer.init(jax.random.key(0), x)
    kernel = np.asarray(variables["params"]["kernel"])
    reach = (size - 1) * dilation + 1
    spread = np.zeros((reach, reach, 2, 3))
    spread[::dilation, ::dilation] = kernel
    padded = np.pad(x[0], ((reach // 2,) * 2, (reach // 2,) * 2, (0, 0)))
    expected = [
        sum(signal.correlate2d(padded[..., i], spread[..., i, o], mode="valid") for i in range(2))
        for o in range(3)
    ]
    expected = np.stack(expected, -1)[::stride, ::stride]
    np.testing.assert_allclose(layer.apply(variables, x)[0], expected, atol=1e-5)


def test_max_pool_of_the_stem_is_that_of_its_last_activation():
    stem = resnet.Stem(2, geometry.SEMSEG)
    x = jax.random.normal(jax.random.key(1), (1, 17, 24, 3))
    variables = stem.init(jax.random.key(0), x, train=False)
    pooled, seen = stem.apply(
        variables, x, train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    before = np.maximum(np.asarray(seen["intermediates"]["norm3"]["__call__"][0])[0], 0)
    padded = np.pad(before, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    for row in range(5):
        for column in range(6):
            window = padded[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            np.testing.assert_array_equal(pooled[0, row, column], window.max((0, 1)))


def test_batch_norm_normalises_and_keeps_the_unbiased_variance():
    x = np.random.default_rng(0).normal(1000, 0.01, (2, 3, 4, 5)).astype(np.float32)
    layer = layers.BatchNorm()
    variables = layer.init(jax.random.key(0), x, train=False)
    updated: Any
    y, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    mean = x.mean((0, 1, 2), dtype=np.float64)
    variance = x.var((0, 1, 2), dtype=np.float64, ddof=1)
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * variance, rtol=1e-5)
    expected = (x - mean) / np.sqrt(x.var((0, 1, 2), dtype=np.float64) + 1e-5)
    # The input has steps of 6e-5 around 1000, which is 0.006 in units of its deviation.
    np.testing.assert_allclose(y, expected, atol=0.05)


@pytest.fixture(scope="module")
def narrow():
    """A narrow network with an image and its variables."""
    model = segmenter.Segmenter(depth=10, width=4, dropout=0.0).make(1)
    image = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    return model, image, jax.jit(model.init)(jax.random.key(0), image)


@functools.partial(jax.jit, static_argnums=(0, 3))
def in_train_mode(model, variables, image, train):
    return model.apply(variables, image, train=train, mutable=["batch_stats"])[1]["batch_stats"]


def test_batch_norms_of_parts_that_are_not_trained_keep_their_statistics(narrow):
    model, image, variables = narrow
    before = variables["batch_stats"]
    after = in_train_mode(model, variables, image, ("trunk/stage4", "head"))
    jax.tree.map(np.testing.assert_array_equal, before["pyramid"], after["pyramid"])
    for name in ("stem", "stage1", "stage2", "stage3"):
        jax.tree.map(np.testing.assert_array_equal, before["trunk"][name], after["trunk"][name])
    for path in (("head", "norm", "mean"), ("trunk", "stage4", "block1", "norm1", "mean")):
        assert not np.array_equal(at(before, path), at(after, path))


def test_the_parts_are_those_of_the_variables(narrow):
    params = narrow[2]["params"]
    names = [*params, *(f"trunk/{name}" for name in params["trunk"])]
    assert sorted(names) == sorted(pspnet.PSPNet.PARTS)


def at(tree, path) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def test_batch_of_one_at_the_one_by_one_bin_is_refused_in_train_mode(narrow):
    model, image, variables = narrow
    with pytest.raises(ValueError, match="pyramid/norm1.*batch of at least 2"):
        in_train_mode(model, variables, image[:1], ALL)
    in_train_mode(model, variables, image[:1], ("classifier",))


def test_pyramid_branches_follow_the_input_in_the_order_of_their_bins():
    module = pspnet.Pyramid()
    x = jax.random.normal(jax.random.key(0), (1, 9, 12, 8))
    variables = module.init(jax.random.key(1), x, train=False)
    y: Any = module.apply(variables, x, train=False)
    assert y.shape == (1, 9, 12, 16)
    np.testing.assert_array_equal(y[..., :8], x)
    # The branch of one bin is constant over the image, the others are not.
    assert float(jnp.ptp(y[..., 8:10], axis=(1, 2)).max()) < 1e-6
    pooled = np.maximum(
        np.asarray(x).mean((1, 2)) @ variables["params"]["conv1"]["kernel"][0, 0], 0
    ) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(y[0, 0, 0, 8:10], pooled[0], atol=1e-6)


def test_dropout_drops_whole_channels():
    head = pspnet.Head(64, 0.5)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    variables = head.init(jax.random.key(1), x, train=False)
    rngs = {"dropout": jax.random.key(2)}
    y, _ = head.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])
    kept, _ = pspnet.Head(64, 0.0).apply(variables, x, train=True, mutable=["batch_stats"])
    dropped = np.asarray((y == 0) & (kept > 0))
    alive = np.asarray(kept > 0)
    share = dropped.sum((1, 2)) / np.maximum(alive.sum((1, 2)), 1)
    assert set(np.unique(share)) <= {0.0, 1.0}
    assert 0.2 < share.mean() < 0.8


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"depth": 42}, "depth=42"), ({"width": 0}, "width=0"), ({"dropout": 1.0}, "dropout=1.0")],
)
def test_networks_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        segmenter.Segmenter(**fields).make(1)


def test_initial_variables_depend_on_the_seed_alone():
    layer = layers.Convolution(4)
    first, again, other = (state.initial_variables(layer, (8, 8, 3), s) for s in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    path = ("params", "kernel")
    assert not np.array_equal(at(first, path), at(other, path))
    # He et al. 2015: the variance is 2 / fan out.
    wide = state.initial_variables(layers.Convolution(256), (8, 8, 32), 0)["params"]["kernel"]
    np.testing.assert_allclose(np.var(wide), 2 / (9 * 256), rtol=0.02)


def test_models_need_no_opencv_tensorflow_or_pytorch():
    code = (
        "import sys, psp_jax.models.segmenter; "
        "bad = {'cv2', 'tensorflow', 'torch', 'tensorflow_datasets'} & set(sys.modules); "
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
