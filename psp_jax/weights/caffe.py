"""Reads Caffe's .caffemodel, a protocol buffer, with the settings of its layers.

The field numbers are from caffe.proto in hszhao/PSPNet. Only the fields that PSPNet uses are read.
"""

import dataclasses
import math
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from psp_jax.weights.archive import Archive, DamagedError, Setting

KIND = "Caffe"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_MAX_PARTS = 100  # Of an array; each part needs far more memory than its bytes in the file.

# NetParameter.
_LAYER, _OLD_LAYER = 100, 2
# LayerParameter.
_NAME, _TYPE, _BOTTOM, _BLOBS = 1, 2, 3, 7
_CONVOLUTION, _POOLING = 106, 121
# BlobProto and BlobShape.
_DATA, _SHAPE, _DOUBLE_DATA, _DIMENSION = 5, 7, 8, 1
_OLD_SHAPE = (1, 2, 3, 4)
# ConvolutionParameter: of both sides, of height, and of width.
_CONVOLUTION_FIELDS = {
    "padding": (3, 9, 10),
    "size": (4, 11, 12),
    "stride": (6, 13, 14),
    "dilation": (18,),
}
_GROUP = 5
# PoolingParameter.
_POOLING_FIELDS = {"padding": (4, 9, 10), "size": (2, 5, 6), "stride": (3, 7, 8)}
_METHOD, _MAX = 1, 0
_DEFAULTS = {"padding": 0, "size": None, "stride": 1, "dilation": 1}

_LEAVES = {"Convolution": ("weights", "biases"), "BN": ("slope", "bias", "mean", "variance")}
_BRANCH = re.compile(r"\w+_pool(\d+)\w*")


@dataclasses.dataclass
class _Layer:
    name: str = ""
    type: str = ""
    inputs: list[str] = dataclasses.field(default_factory=list)
    blobs: list[np.ndarray] = dataclasses.field(default_factory=list)
    convolution: Setting | None = None
    pooling: Setting | None = None
    is_max: bool = False


def read(path: pathlib.Path) -> Archive:
    """Reads the layers of a file with their strides, paddings and dilations.

    Raises:
        DamagedError: if the file is damaged, in Caffe's first format, or has layers of other types.
    """
    data = memoryview(path.read_bytes())
    layers = [_layer(value) for number, value in _fields(data) if _is_layer(number, value)]
    if not layers:
        raise DamagedError("it has no layers")
    arrays: dict[str, np.ndarray] = {}
    for layer in layers:
        if not layer.blobs:
            continue
        leaves = _LEAVES.get(layer.type)
        if leaves is None:
            raise DamagedError(
                f"its layer {layer.name} has type {layer.type!r}, expected Convolution or the BN "
                "of hszhao/PSPNet"
            )
        if len(layer.blobs) > len(leaves) or layer.type == "BN" and len(layer.blobs) != 4:
            raise DamagedError(
                f"its layer {layer.name} has {len(layer.blobs)} arrays, expected "
                f"{', '.join(leaves)}"
            )
        for leaf, blob in zip(leaves, layer.blobs, strict=False):
            if f"{layer.name}.{leaf}" in arrays:
                raise DamagedError(f"it has two layers {layer.name}")
            arrays[f"{layer.name}.{leaf}"] = blob if leaf == "weights" else blob.reshape(-1)
    settings = {layer.name: layer.convolution for layer in layers if layer.convolution}
    # Caffe's pooling always rounds up.
    return Archive(path, KIND, arrays, True, settings, bins=_check_pyramid(layers), ceil_pool=True)


def _is_layer(number: int, value: memoryview | int) -> bool:
    if number == _OLD_LAYER:
        raise DamagedError(
            "it is in Caffe's first format (V1); convert it with Caffe's upgrade_net_proto_binary"
        )
    return number == _LAYER and isinstance(value, memoryview)


def _check_pyramid(layers: list[_Layer]) -> tuple[int, ...] | None:
    """Returns the order of the branches, and refuses poolings that PSPNet does not have."""
    bins, sizes = None, {}
    for layer in layers:
        branches = [_BRANCH.fullmatch(name) for name in layer.inputs]
        if layer.type == "Concat" and any(branches):
            bins = tuple(int(branch[1]) for branch in branches if branch)
            if branches[0]:
                raise DamagedError(
                    f"its layer {layer.name} concatenates {', '.join(layer.inputs)}; expected the "
                    "trunk first"
                )
        if not layer.pooling:
            continue
        pool, branch = layer.pooling, _BRANCH.fullmatch(layer.name)
        values = (pool.size, pool.stride, pool.padding)
        if branch and not layer.is_max and pool.size:
            sizes[layer.name] = int(branch[1]) * pool.size
            expected = (pool.size, pool.size, 0)
        else:
            expected = (3, 2, 1) if layer.is_max else values
        if values != expected:
            raise DamagedError(
                f"its pooling {layer.name} has size, stride and padding {values}, expected "
                f"{expected}"
            )
    if len(set(sizes.values())) > 1:
        raise DamagedError(f"its poolings cover maps of different sizes: {sizes}")
    return bins


def _layer(data: memoryview | int) -> _Layer:
    layer = _Layer()
    for number, value in _fields(data):
        if number == _NAME:
            layer.name = _text(value)
        elif number == _TYPE:
            layer.type = _text(value)
        elif number == _BOTTOM:
            layer.inputs.append(_text(value))
        elif number == _BLOBS:
            layer.blobs.append(_blob(value))
        elif number == _CONVOLUTION:
            layer.convolution = _setting(value, _CONVOLUTION_FIELDS, layer.name)
        elif number == _POOLING:
            layer.pooling = _setting(value, _POOLING_FIELDS, layer.name)
            layer.is_max = dict(_fields(value)).get(_METHOD, _MAX) == _MAX
    return layer


def _setting(data: memoryview | int, names: dict[str, tuple[int, ...]], layer: str) -> Setting:
    values: dict[int, list[int]] = {}
    for number, value in _fields(data):
        values.setdefault(number, []).extend(_integers(value))
    if names is _CONVOLUTION_FIELDS and values.get(_GROUP, [1]) != [1]:
        raise DamagedError(f"its layer {layer} has grouped convolutions; PSPNet has none")
    setting: dict[str, int | None] = {}
    for name, numbers in names.items():
        sides = {side for number in numbers for side in values.get(number, [])}
        if len(sides) > 1:
            raise DamagedError(f"its layer {layer} has a {name} of {sorted(sides)}, not square")
        setting[name] = sides.pop() if sides else _DEFAULTS[name]
    return Setting(**setting)


def _blob(data: memoryview | int) -> np.ndarray:
    old: dict[int, int] = {}
    shape: tuple[int, ...] | None = None
    parts: list[np.ndarray] = []
    for number, value in _fields(data):
        if number in _OLD_SHAPE and isinstance(value, int):
            old[number] = value
        elif number == _SHAPE:
            pairs = list(_fields(value))
            shape = tuple(size for n, v in pairs if n == _DIMENSION for size in _integers(v))
        elif number == _DATA and isinstance(value, memoryview):
            parts.append(np.frombuffer(value, "<f4", count=len(value) // 4))
            if len(parts) > _MAX_PARTS:
                raise DamagedError("it has an array whose values are not packed")
        elif number == _DOUBLE_DATA:
            raise DamagedError("it has arrays of float64, expected float32")
    if shape is None:
        shape = tuple(old.get(number, 1) for number in _OLD_SHAPE)
    values = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if math.prod(shape) != values.size:
        raise DamagedError(f"it has an array of shape {shape} with {values.size:,} values")
    return values.reshape(shape)


def _fields(data: memoryview | int) -> Iterator[tuple[int, memoryview | int]]:
    """Yields the number and value of every field of a message."""
    if isinstance(data, int):
        raise DamagedError("it has a number, expected a message")
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise DamagedError(f"it is not a .caffemodel: it has a field of wire type {wire}")
        left = len(data) - position
        if length > left:
            raise DamagedError(f"it is truncated: expected {length:,} more bytes, got {left:,}")
        yield number, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= len(data):
            raise DamagedError("it is truncated inside a number")
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise DamagedError("it is not a .caffemodel: it has a number of more than 64 bits")


def _integers(value: memoryview | int) -> list[int]:
    """Returns the integers of a repeated field, packed or not."""
    if isinstance(value, int):
        return [value]
    numbers, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers


def _text(value: memoryview | int) -> str:
    if isinstance(value, int):
        raise DamagedError("it has a number, expected a name")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise DamagedError("it is not a .caffemodel: it has a name that is not text") from None
