import functools
import subprocess
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from psp_jax import state
from psp_jax.models import (
    architecture,
    layers,
    max_pooling,
    parts,
    pspnet,
    resnet,
    segmenter,
    trunk,
)
from tests import untrained
from tests.batches import batch_of, partition

ALL = ("trunk", "pyramid", "head", "classifier")


@functools.cache
def shapes_of(classes=150, layers=50, **fields) -> Any:
    """The variables of a network, as shapes alone."""
    model = segmenter.Segmenter(resnet.ResNet(layers), **fields).make(classes)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# Those published with an auxiliary head are counted with it and without it.
@pytest.mark.parametrize(
    ("depth", "variant", "classes", "with_auxiliary", "without"),
    [
        (50, architecture.SEMSEG, 150, 49_180_908, 46_782_550),
        (50, architecture.SEMSEG, 40, 49_096_208, 46_726_120),
        (50, architecture.SEMSEG, 21, 49_081_578, 46_716_373),
        (50, architecture.SEMSEG, 19, 49_080_038, 46_715_347),
        (50, architecture.SEMSEG, 13, 49_075_418, 46_712_269),
        (50, architecture.SEMSEG, 2, 49_066_948, 46_706_626),
        (101, architecture.SEMSEG, 150, 68_173_036, 65_774_678),
        (101, architecture.SEMSEG, 21, 68_073_706, 65_708_501),
        (101, architecture.SEMSEG, 19, 68_072_166, 65_707_475),
        (152, architecture.SEMSEG, 150, 83_816_684, 81_418_326),
        (50, architecture.CAFFE_50, 150, None, 46_782_550),
        (101, architecture.CAFFE_101, 21, None, 65_708_501),
        (101, architecture.CAFFE_101, 19, None, 65_707_475),
        (50, architecture.MMSEGMENTATION, 19, 48_975_494, None),
        (101, architecture.MMSEGMENTATION, 19, 67_967_622, None),
        (50, architecture.TORCHVISION_TRUNK, 150, 49_057_132, 46_658_774),
    ],
)
def test_parameter_counts_are_the_published_ones(depth, variant, classes, with_auxiliary, without):
    params = shapes_of(classes, depth, architecture=variant, auxiliary=True)["params"]
    if with_auxiliary is not None:
        assert count(params) == with_auxiliary
    if without is not None:
        assert count(params) - count(params["auxiliary"]) == without


def test_the_parts_of_50_layers_have_the_published_counts():
    params = shapes_of(layers=50, auxiliary=True)["params"]
    counts = [count(params["trunk"][name]) for name in resnet.ResNetTrunk.STRIDES]
    assert counts == [112_832, 236_288, 1_219_584, 7_098_368, 14_964_736]
    assert count(params["pyramid"]) == 4_198_400
    assert count(params["head"]) + count(params["classifier"]) == 18_952_342
    assert count(params["auxiliary"]) == 2_398_358


@pytest.mark.parametrize(("depth", "numbers"), [(50, 59_136), (101, 111_360)])
def test_batch_norms_hold_the_published_number_of_statistics(depth, numbers):
    assert count(shapes_of(layers=depth, auxiliary=True)["batch_stats"]) == numbers


@pytest.mark.parametrize("softmax", [False, True])
def test_the_heads_of_the_thesis_train_as_many_parameters_as_it_says(softmax):
    """Its sections 3.4.1 and 3.4.2 with 16 classes; it counts running statistics too."""
    variables = shapes_of(16, 101, softmax=softmax)
    last = ("classifier", "softmax") if softmax else ("classifier",)
    trained, _ = parts.split(variables["params"], last)
    assert count(trained) == (8_480 if softmax else 8_208)
    both = [parts.split(tree, ("head", *last))[0] for tree in variables.values()]
    assert count(both) == 18_874_368 + 2_048 + 8_208 + (272 if softmax else 0)


def test_the_softmax_classifier_starts_as_the_identity():
    layer = layers.Convolution(3, size=1, bias=True, kernel_init=pspnet.identity_kernel)
    x = jax.random.normal(jax.random.key(1), (1, 2, 2, 3))
    y, _ = layer.init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y, x, rtol=1e-6)


def test_features_are_given_for_every_part_by_its_name():
    model = segmenter.Segmenter(resnet.ResNet(50, width=4), softmax=True).make(3)
    image = jax.ShapeDtypeStruct((2, 33, 48, 3), jnp.float32)
    init = functools.partial(model.init_with_output, method="features")
    features, _ = jax.eval_shape(init, jax.random.key(0), image)
    assert sorted(features) == sorted(model.PARTS)
    shapes = {name: leaf.shape[1:] for name, leaf in features.items()}
    assert shapes["trunk/stem"] == (17, 24, 8)
    assert shapes["trunk/stage1"] == (9, 12, 16)
    assert shapes["trunk/stage3"] == (5, 6, 64)
    assert shapes["trunk"] == shapes["trunk/stage4"] == (5, 6, 128)
    assert shapes["pyramid"] == (5, 6, 256)
    assert shapes["head"] == (5, 6, 32)
    assert shapes["classifier"] == shapes["softmax"] == (5, 6, 3)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("size", [(64, 96), (57, 73), (97, 129)])
def test_any_image_size_gives_an_eighth_of_it(depth, size):
    model = segmenter.Segmenter(resnet.ResNet(depth, width=4)).make(5)
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


@pytest.mark.parametrize("size", [(9, 12), (12, 9)])
@pytest.mark.parametrize("ceil", [False, True])
def test_max_pool_takes_windows_of_three_every_two_pixels(size, ceil):
    x = jax.random.normal(jax.random.key(1), (1, *size, 3))
    pooled = max_pooling.max_pool(x, ceil=ceil)
    padded = np.pad(x[0], ((1, 2), (1, 2), (0, 0)), constant_values=-np.inf)
    # The last window starts at the image's last pixel if sizes are rounded up.
    rows, columns = (n // 2 + 1 if ceil else (n + 1) // 2 for n in size)
    assert pooled.shape == (1, rows, columns, 3)
    for row in range(rows):
        for column in range(columns):
            window = padded[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            np.testing.assert_array_equal(pooled[0, row, column], window.max((0, 1)))


@pytest.mark.parametrize("size", [(9, 12), (12, 9)])
@pytest.mark.parametrize("ceil", [False, True])
def test_the_gradient_of_max_pooling_is_that_of_xla(size, ceil):
    """Ties included: the first pixel of a window with its maximum gets the gradient."""

    def reference(x):
        after = [2 if ceil and n % 2 == 0 else 1 for n in size]
        padding = ((0, 0), (1, after[0]), (1, after[1]), (0, 0))
        window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, window, strides, padding)

    x = jax.random.normal(jax.random.key(1), (2, *size, 3)).round()
    given = jax.random.normal(jax.random.key(2), reference(x).shape)
    (wanted,) = jax.vjp(reference, x)[1](given)
    (ours,) = jax.vjp(lambda x: max_pooling.max_pool(x, ceil=ceil), x)[1](given)
    np.testing.assert_allclose(ours, wanted, atol=1e-6)


def test_inputs_are_normalised_equally_on_device_and_host():
    """Against PyTorch's constants on the 0 to 1 scale, and through a jitted `inputs`."""
    batch = batch_of(np.zeros((1, 16, 16), np.int32))
    batch.image[:] = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    unit = np.asarray(batch.image) / 255
    wanted = (unit - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(architecture.normalise(batch.image), wanted, atol=1e-6)
    seen = jax.jit(segmenter.Segmenter(resnet.ResNet(10)).make(1).inputs)(batch)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, wanted, atol=1e-6)


def test_the_network_turns_images_into_the_colours_its_weights_want():
    rgb = np.random.default_rng(0).integers(0, 256, (1, 4, 5, 3), np.uint8)
    image = jnp.asarray(architecture.normalise(rgb))
    assert trunk.adapt(image, architecture.SEMSEG) is image
    wanted = rgb[..., ::-1] - np.array([103.939, 116.779, 123.68])  # BGR, as Caffe's.
    np.testing.assert_allclose(trunk.adapt(image, architecture.CAFFE_50), wanted, atol=5e-5)
    deep = jnp.concatenate([image, image[..., :1]], -1)
    adapted = trunk.adapt(deep, architecture.CAFFE_50)
    np.testing.assert_allclose(adapted[..., :3], wanted, atol=5e-5)
    np.testing.assert_array_equal(adapted[..., 3], deep[..., 3])


def test_geometries_that_differ_say_where_and_the_order_is_taken_by_name():
    assert architecture.differences(architecture.CAFFE_50, architecture.CAFFE_50) == []
    assert architecture.differences(architecture.CAFFE_50, architecture.CAFFE_101) == [
        "stride_on_reduce: True against False"
    ]
    order: Any = "BGR"
    assert (
        architecture.Architecture(channel_order=order).channel_order
        is architecture.ChannelOrder.BGR
    )
    order = "GBR"
    with pytest.raises(ValueError, match="GBR"):
        architecture.Architecture(channel_order=order)


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
    model = segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.0).make(1)
    image = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    return model, image, untrained.variables(model)


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


@pytest.mark.parametrize("options", [{}, {"auxiliary": True}, {"softmax": True}])
def test_the_parts_are_those_of_the_variables(options):
    model = segmenter.Segmenter(resnet.ResNet(10, width=4), **options).make(1)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    names = [*params, *(f"trunk/{name}" for name in params["trunk"])]
    assert sorted(names) == sorted(model.PARTS)


def test_the_auxiliary_head_speaks_only_where_it_is_trained():
    model = segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.0, auxiliary=True).make(3)
    image = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    assert set(variables) == {"params", "batch_stats"}

    mutable = ["auxiliary", "batch_stats"]

    def stored(train):
        _, updated = jax.eval_shape(
            functools.partial(model.apply, train=train, mutable=mutable), variables, image
        )
        return jax.tree.leaves(updated.get("auxiliary", {}))

    assert not stored(("head",))
    (output,) = stored(("auxiliary",))
    assert output.shape == (2, 4, 4, 3)


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
    variables = jax.jit(functools.partial(module.init, train=False))(jax.random.key(1), x)
    branches: Any = jax.jit(functools.partial(module.apply, train=False))(variables, x)
    assert [branch.shape for branch in branches] == [(1, n, n, 2) for n in (1, 2, 3, 6)]
    y = pspnet.concatenate(x, branches, module.architecture)
    assert y.shape == (1, 9, 12, 16)
    np.testing.assert_array_equal(y[..., :8], x)
    # The branch of one bin is constant over the image, the others are not.
    assert float(jnp.ptp(y[..., 8:10], axis=(1, 2)).max()) < 1e-6
    pooled = np.maximum(
        np.asarray(x).mean((1, 2)) @ variables["params"]["conv1"]["kernel"][0, 0], 0
    ) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(y[0, 0, 0, 8:10], pooled[0], atol=1e-6)


@pytest.mark.parametrize("size", [(9, 12), (2, 3)])
@pytest.mark.parametrize("align_corners", [True, False])
def test_convolving_a_pyramid_equals_convolving_its_resized_branches(size, align_corners):
    variant = architecture.Architecture(align_corners=align_corners)
    x = jax.random.normal(jax.random.key(0), (2, *size, 8))
    keys = jax.random.split(jax.random.key(1), 4)
    branches = [
        jax.random.normal(key, (2, n, n, 2)) for n, key in zip((1, 2, 3, 6), keys, strict=True)
    ]
    layer = layers.PyramidConvolution(5, align_corners)
    variables = jax.jit(layer.init)(jax.random.key(0), x, branches)

    def directly(variables, x, branches):
        both = pspnet.concatenate(x, branches, variant)
        return layers.convolve(both, variables["params"]["kernel"])

    def value_and_gradients(function):
        def weighted(*arguments):
            y = function(*arguments)
            return (y * jnp.cos(jnp.arange(y.size).reshape(y.shape))).sum(), y

        run = jax.jit(jax.value_and_grad(weighted, argnums=(0, 1, 2), has_aux=True))
        return run(variables, x, branches)

    ours, expected = value_and_gradients(layer.apply), value_and_gradients(directly)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), ours, expected
    )


def test_dropout_drops_whole_channels():
    head = pspnet.AuxiliaryHead(1, 64, 0.5)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    variables = jax.jit(functools.partial(head.init, train=False))(jax.random.key(1), x)

    @functools.partial(jax.jit, static_argnums=0)
    def before_the_classifier(rate):
        _, seen = pspnet.AuxiliaryHead(1, 64, rate).apply(
            variables,
            x,
            train=True,
            rngs={"dropout": jax.random.key(2)},
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: isinstance(module, nn.Dropout),
        )
        return jax.tree.leaves(seen["intermediates"])[0]

    y, kept = before_the_classifier(0.5), before_the_classifier(0.0)
    dropped = np.asarray((y == 0) & (kept > 0))
    alive = np.asarray(kept > 0)
    share = dropped.sum((1, 2)) / np.maximum(alive.sum((1, 2)), 1)
    assert set(np.unique(share)) <= {0.0, 1.0}
    assert 0.2 < share.mean() < 0.8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trunk": resnet.ResNet(42)}, "trunk.layers=42"),
        ({"trunk": resnet.ResNet(width=0)}, "trunk.width=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
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


@pytest.mark.parametrize(("modality", "channels"), [("RGB", 3), ("depth", 1), ("RGB and depth", 4)])
def test_a_network_sees_colour_depth_or_both(modality, channels):
    batch = batch_of([partition()])
    seen = architecture.Modality(modality)
    model = segmenter.Segmenter(resnet.ResNet(10, width=4), modality=seen).make(2)
    seen = model.inputs(batch)
    assert seen.shape[-1] == model.INPUT_CHANNELS == channels
    if channels != 3:
        np.testing.assert_array_equal(seen[..., -1], batch.filled_depth)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 16, 16, channels)))
    assert variables["params"]["trunk"]["stem"]["conv1"]["kernel"].shape[2] == channels
