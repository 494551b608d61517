"""Files of every format and every source come back as the variables they were made from."""

import dataclasses
import functools
import json
import pathlib

import h5py
import numpy as np
import pytest
import safetensors.numpy

from psp_jax.models import architecture
from psp_jax.weights import layout, matching, reading
from psp_jax.weights.network import NetworkSpec, flatten
from tests import published

WIDTH, CLASSES = 4, 7


@functools.cache
def sample(
    variant: architecture.Architecture,
    *,
    depth: int = 50,
    auxiliary: bool = True,
    trunk: bool = False,
) -> tuple[NetworkSpec, published.Leaves]:
    """A narrow network of an architecture, and drawn arrays for it."""
    channels = 0 if trunk else CLASSES
    network = NetworkSpec(depth, WIDTH, 3, channels, auxiliary and not trunk, variant)
    return network, published.make_leaves(network)


def torch_state(rename, variant, **options) -> published.Leaves:
    return published.torch_names(sample(variant, **options)[1], rename)


def assert_comes_back(weights: matching.Match, network: NetworkSpec, leaves: published.Leaves):
    result = flatten(weights.variables)
    assert result.keys() == leaves.keys()
    for path, value in leaves.items():
        np.testing.assert_array_equal(result[path], value, err_msg=path)
    assert weights.network == network


# ----- Caffe and Keras


def write_caffemodel(path, network, leaves):
    path.write_bytes(published.caffe_bytes(leaves, network))


def write_old_caffemodel(path, network, leaves):
    path.write_bytes(published.caffe_bytes(leaves, network, old_shapes=True))


def write_npy(path, network, leaves):
    published.write_npy(path, published.keras_npy(leaves))


def write_h5(path, network, leaves):
    published.write_h5(path, leaves)


def write_h5_model(path, network, leaves):
    published.write_h5(path, leaves, nested=True, pieces=3)
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = published.keras_json(network).encode()


def write_h5_and_json(path, network, leaves):
    published.write_h5(path, leaves)
    path.with_suffix(".json").write_text(published.keras_json(network))


FROM_CAFFE = {
    "caffemodel": (write_caffemodel, ".caffemodel"),
    "caffemodel with n, c, h, w": (write_old_caffemodel, ".caffemodel"),
    "npy": (write_npy, ".npy"),
    "h5": (write_h5, ".h5"),
    "h5 of a model": (write_h5_model, ".h5"),
    "h5 and json": (write_h5_and_json, ".h5"),
}


@pytest.mark.parametrize("format", FROM_CAFFE)
def test_caffe_and_keras_files_come_back(format, tmp_path):
    write, suffix = FROM_CAFFE[format]
    network, leaves = sample(architecture.CAFFE_50)
    path = tmp_path / f"weights{suffix}"
    write(path, network, leaves)
    assert_comes_back(reading.load(path), network, leaves)


def test_a_101_layer_caffemodel_strides_on_its_3x3(tmp_path):
    network, leaves = sample(architecture.CAFFE_101, depth=101)
    path = tmp_path / "pspnet101.caffemodel"
    write_caffemodel(path, network, leaves)
    assert_comes_back(reading.load(path), network, leaves)


def test_the_architecture_of_a_caffemodel_is_its_own(tmp_path):
    """A 50-layer net that strides on the 3x3, dilates less and joins the branches upwards."""
    variant = dataclasses.replace(
        architecture.CAFFE_101, contracted_dilation=True, bins=(1, 2, 3, 6)
    )
    network, leaves = sample(variant)
    path = tmp_path / "own.caffemodel"
    write_caffemodel(path, network, leaves)
    assert reading.load(path).network.architecture == variant
    with pytest.raises(ValueError, match=r"another architecture.*stride_on_reduce.*bins"):
        reading.load(path, architecture.CAFFE_50)


def test_the_json_next_to_an_h5_decides_its_architecture(tmp_path):
    network, leaves = sample(architecture.CAFFE_101)
    path = tmp_path / "trained.h5"
    write_h5_and_json(path, network, leaves)
    assert reading.load(path).network.architecture == architecture.CAFFE_101
    text = published.keras_json(network).replace('"epsilon": 1e-05', '"epsilon": 0.001')
    path.with_suffix(".json").write_text(text)
    assert reading.load(path).network.architecture.epsilon == 0.001


def test_an_npy_of_python_2_is_read(tmp_path):
    """Its arrays are pickled as text in Latin-1, under names of an older NumPy."""
    network, leaves = sample(architecture.CAFFE_50)
    path = tmp_path / "old.npy"
    write_npy(path, network, leaves)
    layers_ = {
        layer: {leaf: published.python2_array(value) for leaf, value in arrays.items()}
        for layer, arrays in published.keras_npy(leaves).items()
    }
    body = published.dict_pickle(
        {layer: published.dict_pickle(arrays) for layer, arrays in layers_.items()}
    )
    path.write_bytes(published.npy_header() + published.object_array(body))
    assert_comes_back(reading.load(path), network, leaves)


# ----- PyTorch


def write_safetensors(path, state):
    safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, path)


WRITERS = {
    "zip": (published.write_zip, ".pth"),
    "zip in a checkpoint": (functools.partial(published.write_zip, nest="state_dict"), ".pth"),
    "legacy": (published.write_legacy, ".pth"),
    "legacy in a checkpoint": (functools.partial(published.write_legacy, nest="model"), ".pt"),
    "safetensors": (write_safetensors, ".safetensors"),
}


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_semseg_files_come_back(format, prefix, tmp_path):
    write, suffix = WRITERS[format]
    network, leaves = sample(architecture.SEMSEG)
    path = tmp_path / f"train_epoch_100{suffix}"
    state = published.torch_names(leaves, published.semseg)
    write(path, {prefix + name: value for name, value in state.items()})
    assert_comes_back(reading.load(path), network, leaves)


SOURCES = {
    "mmsegmentation": (published.mmsegmentation, architecture.MMSEGMENTATION, False),
    "mmsegmentation, 7x7 stem": (
        published.mmsegmentation_plain,
        dataclasses.replace(architecture.MMSEGMENTATION, stem=architecture.PLAIN_STEM),
        False,
    ),
    "semseg's initial trunk": (published.torchvision, architecture.SEMSEG, True),
    "torchvision segmentation": (
        published.torchvision_segmentation,
        architecture.TORCHVISION_TRUNK,
        True,
    ),
    "torchvision": (published.torchvision, architecture.TORCHVISION_TRUNK, True),
    "timm, deep stem": (
        published.timm_deep,
        dataclasses.replace(architecture.SEMSEG, contracted_dilation=True),
        True,
    ),
}
STATED = ("torchvision", "timm, deep stem")


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_comes_back(source, tmp_path):
    rename, variant, trunk = SOURCES[source]
    network, leaves = sample(variant, trunk=trunk)
    path = tmp_path / "weights.pth"
    published.write_zip(path, published.torch_names(leaves, rename))
    stated = variant if source in STATED else None
    assert_comes_back(reading.load(path, stated), network, leaves)
    if stated:
        with pytest.raises(ValueError, match="state it with --architecture=TORCHVISION_TRUNK"):
            reading.load(path)


@pytest.mark.parametrize("depth", [10, 34, 152])
def test_every_depth_comes_back(depth, tmp_path):
    network, leaves = sample(architecture.TORCHVISION_TRUNK, depth=depth, trunk=True)
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, published.torch_names(leaves, published.torchvision))
    assert_comes_back(reading.load(path, architecture.TORCHVISION_TRUNK), network, leaves)


def test_heads_of_other_tasks_are_set_aside_by_name(tmp_path):
    state = torch_state(published.torchvision, architecture.TORCHVISION_TRUNK, trunk=True)
    state |= {"fc.weight": np.zeros((10, 128), np.float32), "fc.bias": np.zeros(10, np.float32)}
    path = tmp_path / "resnet50.pth"
    published.write_zip(path, state)
    result = matching.match(reading.open_archive(path), architecture.TORCHVISION_TRUNK)
    assert not result.problems
    assert "fc.weight" in result.table() and "classifier of whole images" in result.table()


def test_half_precision_and_transposed_storage_are_read(tmp_path):
    """A kernel that is a transposed view keeps its values; nothing assumes contiguity."""
    network, leaves = sample(architecture.TORCHVISION_TRUNK, depth=10, trunk=True)
    state = published.torch_names(leaves, published.torchvision)
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {name: value.astype(np.float16) for name, value in state.items()})
    result = flatten(reading.load(path, architecture.TORCHVISION_TRUNK).variables)
    for leaf, value in leaves.items():
        np.testing.assert_array_equal(result[leaf], value.astype(np.float16).astype(np.float32))


# ----- what must not load


def test_a_missing_a_left_over_and_a_misshapen_array_are_named(tmp_path):
    state = torch_state(published.semseg, architecture.SEMSEG)
    path = tmp_path / "weights.pth"
    del state["layer3.2.bn2.weight"]
    state["ppm.extra.weight"] = np.zeros(3, np.float32)
    state["layer1.0.conv1.weight"] = np.zeros((4, 9, 1, 1), np.float32)
    published.write_zip(path, state)
    with pytest.raises(ValueError) as error:
        reading.load(path)
    message = str(error.value)
    assert "1 arrays are missing: params/trunk/stage3/block3/norm2/scale" in message
    assert "1 arrays are unknown: ppm.extra.weight" in message
    assert "layer1.0.conv1.weight is 1x1x9x4, expected 1x1x8x4 for" in message


def wrong_class_count(leaves):
    return leaves | {"params/classifier/bias": np.zeros(CLASSES + 2, np.float32)}


def wrong_order(leaves):
    """Scale, offset, mean and variance shifted by two, as pspnet-video.py of the port sets them."""
    shifted = dict(leaves)
    for path in leaves:
        if path.endswith("/var"):
            params = "params/" + path.split("/", 1)[1].rpartition("/")[0]
            mean = path.removesuffix("var") + "mean"
            shifted[f"{params}/scale"], shifted[f"{params}/bias"] = leaves[mean], leaves[path]
            shifted[mean], shifted[path] = leaves[f"{params}/scale"], leaves[f"{params}/bias"]
    return shifted


def _write_any(format, path, network, leaves):
    if format in FROM_CAFFE:
        FROM_CAFFE[format][0](path, network, leaves)
    else:
        WRITERS[format][0](path, published.torch_names(leaves, published.semseg))


# One of each kind.
EVERY = {
    **{name: FROM_CAFFE[name] for name in ("caffemodel", "npy", "h5 and json")},
    **{name: WRITERS[name] for name in ("zip", "legacy in a checkpoint", "safetensors")},
}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_class_count, "arrays have another shape: .*for params/classifier/kernel"),
        (wrong_order, "variances are negative, so batch norms may be stored in another order"),
    ],
)
@pytest.mark.parametrize("format", EVERY)
def test_a_spoilt_file_of_every_format_is_refused(format, spoil, message, tmp_path):
    variant = architecture.CAFFE_50 if format in FROM_CAFFE else architecture.SEMSEG
    network, leaves = sample(variant)
    path = tmp_path / f"spoilt{EVERY[format][1]}"
    _write_any(format, path, network, spoil(leaves))
    with pytest.raises(ValueError, match=message):
        reading.load(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
@pytest.mark.parametrize("format", EVERY)
def test_a_truncated_file_of_every_format_is_refused(format, share, tmp_path):
    variant = architecture.CAFFE_50 if format in FROM_CAFFE else architecture.SEMSEG
    network, leaves = sample(variant)
    path = tmp_path / f"truncated{EVERY[format][1]}"
    _write_any(format, path, network, leaves)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match="is refused: it|arrays are missing|or incomplete"):
        reading.load(path)


@pytest.mark.parametrize("format", EVERY)
def test_another_architecture_than_the_weights_is_refused_by_its_field(format, tmp_path):
    """Wrong stride or wrong order of branches: the shapes would fit."""
    variant = architecture.CAFFE_50 if format in FROM_CAFFE else architecture.SEMSEG
    network, leaves = sample(variant)
    path = tmp_path / f"weights{EVERY[format][1]}"
    _write_any(format, path, network, leaves)
    stride = dataclasses.replace(variant, stride_on_reduce=not variant.stride_on_reduce)
    with pytest.raises(ValueError, match="another architecture .*: stride_on_reduce: "):
        reading.load(path, stride)
    order = dataclasses.replace(variant, bins=variant.bins[::-1])
    with pytest.raises(ValueError, match=r"another architecture .*: bins: "):
        reading.load(path, order)


def test_a_file_that_contradicts_its_own_stride_is_refused(tmp_path):
    network, leaves = sample(architecture.CAFFE_50)
    path = tmp_path / "weights.h5"
    published.write_h5(path, leaves)
    model = json.loads(published.keras_json(network))
    for layer in model["config"]["layers"]:
        if layer["config"]["name"] in ("conv3_1_3x3", "conv4_2_3x3"):
            layer["config"]["strides"] = [2, 2]
    path.with_suffix(".json").write_text(json.dumps(model))
    with pytest.raises(ValueError, match="conv2 has stride 2, expected 1 .and 1 more"):
        reading.load(path)


def test_another_network_is_refused_by_name(tmp_path):
    path = tmp_path / "vgg.pth"
    published.write_zip(path, {"features.0.weight": np.zeros((4, 3, 3, 3), np.float32)})
    with pytest.raises(ValueError, match=r"features.0.weight .* are unknown; expected one of"):
        reading.load(path)


@pytest.mark.parametrize("shape", [(10**12, 0, 1, 1), (0, 8, 1, 1)])
def test_an_array_without_values_does_not_decide_the_width(shape, tmp_path):
    state = torch_state(published.semseg, architecture.SEMSEG)
    state["layer1.0.conv1.weight"] = np.zeros(shape, np.float32)
    path = tmp_path / "weights.pth"
    published.write_zip(path, state)
    with pytest.raises(ValueError, match=f"width {shape[0]}, .* expected sizes from 1 to 65536"):
        reading.load(path)


# ----- the layout that a file's settings are held against


@pytest.mark.parametrize("stride_on_reduce", [False, True])
@pytest.mark.parametrize("contracted", [False, True])
def test_the_layout_is_that_of_caffes_prototxt(stride_on_reduce, contracted):
    variant = dataclasses.replace(
        architecture.CAFFE_50, stride_on_reduce=stride_on_reduce, contracted_dilation=contracted
    )
    expected = {
        path: setting
        for path, setting in published.caffe_settings(50, variant).items()
        if "shortcut" not in path or "block1/" in path
    }
    expected |= {f"pyramid/conv{bins}": (1, 1, 1) for bins in variant.bins}
    expected |= {"head/conv": (3, 1, 1), "auxiliary/conv": (3, 1, 1)}
    expected |= {"classifier": (1, 1, 1), "auxiliary/classifier": (1, 1, 1)}
    plans = layout.convolutions(50, variant)
    assert {path: (p.size, p.stride, p.dilation) for path, p in plans.items()} == expected
    assert plans["trunk/stage4/block2/conv2"].padding == 4


@pytest.mark.parametrize("suffix", [".txt", ".caffemodel", ".pth"])
def test_a_file_of_anything_else_is_refused(suffix, tmp_path):
    path = pathlib.Path(tmp_path / f"weights{suffix}")
    for data in (b"", b"hello, this is a text and no weights\n" * 40, bytes(range(256)) * 9):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is not a weight file|is refused: it"):
            reading.load(path)
