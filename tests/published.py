"""Weight files as other programs write them, synthesised from variables of ours.

The names and layouts are written down here from the published facts, independently of
`psp_jax.weights`.
"""

import io
import json
import math
import pathlib
import struct
import zipfile
from collections.abc import Callable, Iterable
from typing import Any

import h5py
import numpy as np

from psp_jax.models import resnet
from psp_jax.models.architecture import Architecture
from psp_jax.weights.network import NetworkSpec

Leaves = dict[str, np.ndarray]  # By path, collection first.
Layers = dict[str, str]  # Our path of a layer -> the name in the file.


def make_leaves(network: NetworkSpec, seed: int = 0) -> Leaves:
    """Draws every array of a network, the same ones forever; variances are positive."""
    random = np.random.RandomState(seed)  # NumPy promises this stream.
    leaves = {}
    for path, shape in sorted(network.shapes().items()):
        deviation = math.sqrt(2 / math.prod(shape[:-1])) if path.endswith("kernel") else 0.1
        value = (random.standard_normal(shape) * deviation).astype(np.float32)
        leaves[path] = np.abs(value) + 0.5 if path.endswith(("var", "scale")) else value
    return leaves


def layers_of(leaves: Iterable[str]) -> list[str]:
    """Our paths of the layers, without collections and leaves."""
    return sorted({path.split("/", 1)[1].rpartition("/")[0] for path in leaves})


# ----- names


def torch_names(leaves: Leaves, rename: Callable[[str], str]) -> Leaves:
    """A PyTorch state dict: `[O, I, k, k]`, with the counters of batch norms."""
    suffixes = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    state = {}
    for path, value in leaves.items():
        layer, _, leaf = path.split("/", 1)[1].rpartition("/")
        if leaf == "kernel":
            value = value.transpose(3, 2, 0, 1)
        state[f"{rename(layer)}.{suffixes.get(leaf, leaf)}"] = value
        if leaf == "var":
            state[f"{rename(layer)}.num_batches_tracked"] = np.array(7, np.int64)
    return state


def _block_of(layer: str) -> tuple[int, int, str]:
    _, stage, block, name = layer.split("/")
    return int(stage[5:]), int(block[5:]), name


def _torch_trunk(layer: str, stem: Callable[[str], str]) -> str:
    if layer.startswith("trunk/stem/"):
        return stem(layer.rpartition("/")[2])
    stage, block, name = _block_of(layer)
    name = {"shortcut_conv": "downsample.0", "shortcut_norm": "downsample.1"}.get(
        name, name.replace("norm", "bn")
    )
    return f"layer{stage}.{block - 1}.{name}"


def _sequential(name: str) -> int:
    return 3 * (int(name[-1]) - 1) + (1 if name.startswith("norm") else 0)


def semseg(layer: str) -> str:
    for kind, index in (("conv", 1), ("norm", 2)):
        for place, bins in enumerate((1, 2, 3, 6)):
            if layer == f"pyramid/{kind}{bins}":
                return f"ppm.features.{place}.{index}"
    fixed = {
        "head/conv": "cls.0",
        "head/norm": "cls.1",
        "classifier": "cls.4",
        "auxiliary/conv": "aux.0",
        "auxiliary/norm": "aux.1",
        "auxiliary/classifier": "aux.4",
    }
    if layer in fixed:
        return fixed[layer]
    return _torch_trunk(layer, lambda name: f"layer0.{_sequential(name)}")


def mmsegmentation(layer: str) -> str:
    for kind, theirs in (("conv", "conv"), ("norm", "bn")):
        for place, bins in enumerate((1, 2, 3, 6)):
            if layer == f"pyramid/{kind}{bins}":
                return f"decode_head.psp_modules.{place}.1.{theirs}"
    fixed = {
        "head/conv": "decode_head.bottleneck.conv",
        "head/norm": "decode_head.bottleneck.bn",
        "classifier": "decode_head.conv_seg",
        "auxiliary/conv": "auxiliary_head.convs.0.conv",
        "auxiliary/norm": "auxiliary_head.convs.0.bn",
        "auxiliary/classifier": "auxiliary_head.conv_seg",
    }
    if layer in fixed:
        return fixed[layer]
    return "backbone." + _torch_trunk(layer, lambda name: f"stem.{_sequential(name)}")


def mmsegmentation_plain(layer: str) -> str:
    if layer.startswith("trunk/stem/"):
        return "backbone." + torchvision(layer)
    return mmsegmentation(layer)


def torchvision(layer: str) -> str:
    return _torch_trunk(layer, lambda name: name.replace("norm", "bn"))


def torchvision_segmentation(layer: str) -> str:
    return "backbone." + torchvision(layer)


def timm_deep(layer: str) -> str:
    return _torch_trunk(
        layer, lambda name: "bn1" if name == "norm3" else f"conv1.{_sequential(name)}"
    )


def caffe(layer: str) -> str:
    name = layer.rpartition("/")[2]
    suffix = "/bn" if "norm" in name else ""
    if layer.startswith("trunk/stem/"):
        return f"conv1_{name[-1]}_3x3{'_s2' if name[-1] == '1' else ''}{suffix}"
    if layer.startswith("trunk/"):
        stage, block, name = _block_of(layer)
        kinds = {"1": "1x1_reduce", "2": "3x3", "3": "1x1_increase"}
        kind = "1x1_proj" if name.startswith("shortcut") else kinds[name[-1]]
        return f"conv{stage + 1}_{block}_{kind}{suffix}"
    if layer.startswith("pyramid/"):
        return f"conv5_3_pool{name[-1]}_conv{suffix}"
    fixed = {
        "head/conv": "conv5_4",
        "head/norm": "conv5_4",
        "classifier": "conv6",
        "auxiliary/conv": "conv4_24",
        "auxiliary/norm": "conv4_24",
        "auxiliary/classifier": "conv6_1",
    }
    return fixed[layer] + suffix


# ----- PyTorch's files


def _unicode(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _int(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)  # LONG1


def ints(values: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(_int, values)) + b"t"


def tensor_pickle(
    key: str, array: np.ndarray, *, view: bool, shape: Any = None, count: int | None = None
) -> bytes:
    """The operations that leave one tensor on the stack."""
    storage = {"f": "FloatStorage", "i": "LongStorage"}[array.dtype.kind]
    strides = [step // array.itemsize for step in array.copy("C").strides]
    reference = (
        b"(" + _unicode("storage") + f"ctorch\n{storage}\n".encode() + _unicode(key)
        + _unicode("cpu") + _int(array.size if count is None else count) + (b"N" if view else b"")
        + b"tQ"
    )  # fmt: skip
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + reference + _int(0)
        + ints(array.shape if shape is None else shape)
        + ints(strides if shape is None else [0] * len(shape))
        + b"\x89ccollections\nOrderedDict\n)Rt" + b"R"
    )  # fmt: skip


def dict_pickle(items: dict[str, bytes]) -> bytes:
    """The operations that leave a dict on the stack."""
    return b"}(" + b"".join(_unicode(name) + value for name, value in items.items()) + b"u"


def state_body(state: Leaves, *, view: bool) -> bytes:
    """The operations that leave a state dict on the stack; `view` as in the older format."""
    tensors = {
        name: tensor_pickle(str(index), array, view=view)
        for index, (name, array) in enumerate(state.items())
    }
    return dict_pickle(tensors)


def _state_pickle(state: Leaves, *, view: bool, nest: str) -> bytes:
    body = state_body(state, view=view)
    if nest:
        body = dict_pickle({"epoch": _int(3), nest: body, "optimizer": dict_pickle({})})
    return b"\x80\x02" + body + b"."


def write_zip(path: pathlib.Path, state: Leaves, *, nest: str = "", body: bytes = b"") -> None:
    """Writes what `torch.save` writes by default; `body` replaces the pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", body or _state_pickle(state, view=False, nest=nest))
        archive.writestr("archive/byteorder", "little")
        for index, array in enumerate(state.values()):
            archive.writestr(f"archive/data/{index}", np.ascontiguousarray(array).tobytes())
        archive.writestr("archive/version", "3\n")


def write_legacy(path: pathlib.Path, state: Leaves, *, nest: str = "", body: bytes = b"") -> None:
    """Writes the format before the zip files; `body` replaces the pickle."""
    data = io.BytesIO()
    data.write(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")
    data.write(b"\x80\x02M\xe9\x03.")
    data.write(b"\x80\x02" + dict_pickle({"little_endian": b"\x88"}) + b".")
    data.write(body or _state_pickle(state, view=True, nest=nest))
    keys = b"".join(_unicode(str(index)) for index in range(len(state)))
    data.write(b"\x80\x02](" + keys + b"e.")
    for array in state.values():
        data.write(struct.pack("<q", array.size) + np.ascontiguousarray(array).tobytes())
    path.write_bytes(data.getvalue())


# ----- Caffe's files


def varint(value: int) -> bytes:
    data = b""
    while value > 0x7F:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])


def field(number: int, value: int | str | bytes) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(array: np.ndarray, *, old: bool = False) -> bytes:
    shape = b"".join(varint(size) for size in array.shape)
    sizes = b"".join(field(number, size) for number, size in enumerate(array.shape, start=1))
    data = field(5, np.ascontiguousarray(array).tobytes())
    return (sizes if old else field(7, field(1, shape))) + data


def caffe_settings(depth: int, architecture: Architecture) -> dict[str, tuple[int, int, int]]:
    """Size, stride and dilation by our paths of the convolutions."""
    blocks, _ = resnet.DEPTHS[depth]
    settings = {
        f"trunk/stem/conv{i}": (s.size, s.stride, 1)
        for i, s in enumerate(architecture.stem, start=1)
    }
    for stage, count in enumerate(blocks, start=1):
        for block in range(1, count + 1):
            path, stride = f"trunk/stage{stage}/block{block}", 2 if (stage, block) == (2, 1) else 1
            dilation = {3: 2, 4: 4}.get(stage, 1)
            if block == 1 and architecture.contracted_dilation:
                dilation = max(1, dilation // 2)
            reduce = architecture.stride_on_reduce
            settings[f"{path}/conv1"] = (1, stride if reduce else 1, 1)
            settings[f"{path}/conv2"] = (3, 1 if reduce else stride, dilation)
            settings[f"{path}/conv3"] = (1, 1, 1)
            settings[f"{path}/shortcut_conv"] = (1, stride, 1)
    return settings


def caffe_bytes(leaves: Leaves, network: NetworkSpec, *, old_shapes: bool = False) -> bytes:
    """The bytes of a .caffemodel with the settings of the network's architecture."""
    settings = caffe_settings(network.depth, network.architecture)
    net = field(1, "PSPNet")
    for layer in layers_of(leaves):

        def get(collection, leaf, layer=layer):
            return leaves.get(f"{collection}/{layer}/{leaf}")

        kernel = get("params", "kernel")
        if kernel is None:
            arrays = [get("params", "scale"), get("params", "bias"), get("batch_stats", "mean"),
                      get("batch_stats", "var")]  # fmt: skip
            blobs = [a.reshape(1, -1, 1, 1) for a in arrays if a is not None]
            parameter = field(152, field(1, 1))
        else:
            bias = get("params", "bias")
            blobs = [kernel.transpose(3, 2, 0, 1)] + ([] if bias is None else [bias])
            size, stride, dilation = settings.get(layer, (kernel.shape[0], 1, 1))
            padding = size // 2 * dilation
            # pad and stride as single integers, dilation packed: Caffe reads both.
            parameter = field(
                106,
                field(1, kernel.shape[3]) + field(3, padding) + field(4, size)
                + field(6, stride) + field(18, varint(dilation)),
            )  # fmt: skip
        kind = "BN" if kernel is None else "Convolution"
        body = field(1, caffe(layer)) + field(2, kind) + field(3, "below") + field(4, "above")
        body += b"".join(field(7, blob(b, old=old_shapes and b.ndim == 4)) for b in blobs)
        net += field(100, body + parameter)
    pool = field(1, 0) + field(2, 3) + field(3, 2) + field(4, 1)
    net += field(100, field(1, "pool1_3x3_s2") + field(2, "Pooling") + field(121, pool))
    for bins in network.architecture.bins:
        pool = field(1, 1) + field(2, 60 // bins) + field(3, 60 // bins)
        net += field(100, field(1, f"conv5_3_pool{bins}") + field(2, "Pooling") + field(121, pool))
    joined = ["conv5_3", *(f"conv5_3_pool{bins}_interp" for bins in network.architecture.bins)]
    bottoms = b"".join(field(3, name) for name in joined)
    return net + field(100, field(1, "conv5_3_concat") + field(2, "Concat") + bottoms)


# ----- Keras' files


def keras_npy(leaves: Leaves) -> dict[str, dict[str, np.ndarray]]:
    """The dict that the port's converter saves."""
    renamed = {"kernel": "weights", "bias": "biases"}
    norms = {"scale": "scale", "bias": "offset", "mean": "mean", "var": "variance"}
    layers: dict[str, dict[str, np.ndarray]] = {}
    for path, value in leaves.items():
        layer, _, leaf = path.split("/", 1)[1].rpartition("/")
        is_norm = "norm" in layer
        name = caffe(layer).replace("/", "_")
        value = value.reshape(1, -1, 1, 1) if is_norm else value
        layers.setdefault(name, {})[(norms if is_norm else renamed)[leaf]] = value
    return layers


def write_npy(path: pathlib.Path, layers: Any) -> None:
    with path.open("wb") as file:  # np.save by name would add a suffix.
        np.save(file, layers, allow_pickle=True)  # pyright: ignore[reportArgumentType]


def npy_header() -> bytes:
    header = io.BytesIO()
    shape = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(header, shape)
    return header.getvalue()


def _dtype_pickle(code: str) -> bytes:
    made = b"cnumpy\ndtype\n(U" + bytes([len(code)]) + code.encode() + _int(0) + _int(1) + b"tR"
    return made + b"(" + _int(3) + b"U\x01<NNN" + _int(-1) + _int(-1) + _int(0) + b"tb"


def _numpy_pickle(code: str, shape: tuple[int, ...], data: bytes) -> bytes:
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + ints((0,)) + b"U\x01btR"
    return made + b"(" + _int(1) + ints(shape) + _dtype_pickle(code) + b"\x89" + data + b"tb"


def python2_array(value: np.ndarray) -> bytes:
    """The operations that leave an array on the stack, as Python 2 pickled them."""
    data = np.ascontiguousarray(value, "<f4").tobytes()
    text = b"T" + struct.pack("<I", len(data)) + data  # BINSTRING
    return _numpy_pickle("f4", value.shape, text)


def object_array(body: bytes) -> bytes:
    """The pickle of a 0-d array of one object."""
    return b"\x80\x02" + _numpy_pickle("O8", (), b"](" + body + b"e") + b"."


def write_h5(path: pathlib.Path, leaves: Leaves, *, nested: bool = False, pieces: int = 1) -> None:
    """Writes what Keras' `save_weights` writes, or `save` if `nested`."""
    norms = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
    layers: dict[str, dict[str, np.ndarray]] = {"input_1": {}}
    for leaf_path, value in leaves.items():
        layer, _, leaf = leaf_path.split("/", 1)[1].rpartition("/")
        name = caffe(layer).replace("/", "_")
        theirs = norms[leaf] if "norm" in layer else leaf
        layers.setdefault(name, {})[f"{name}/{theirs}:0"] = value
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if nested else file
        root.attrs["backend"] = b"tensorflow"
        root.attrs["keras_version"] = b"2.1.1"
        names = [name.encode() for name in layers]
        if pieces == 1:
            root.attrs["layer_names"] = names
        else:
            for index, piece in enumerate(np.array_split(np.array(names), pieces)):
                root.attrs[f"layer_names{index}"] = piece
        for name, weights in layers.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, value in weights.items():
                group.create_dataset(weight, data=value)


def keras_json(network: NetworkSpec) -> str:
    """A model's JSON with the settings of the network's architecture."""
    layers: list[dict[str, Any]] = []
    for layer, (size, stride, dilation) in caffe_settings(
        network.depth, network.architecture
    ).items():
        config = {
            "name": caffe(layer),
            "kernel_size": [size, size],
            "strides": [stride, stride],
            "dilation_rate": [dilation, dilation],
        }
        layers.append({"class_name": "Conv2D", "config": config})
        name = caffe(layer) + "_bn"
        norm = {"name": name, "epsilon": network.architecture.epsilon, "momentum": 0.95}
        layers.append({"class_name": "BatchNormalization", "config": norm})
    return json.dumps({"class_name": "Model", "config": {"layers": layers}})
