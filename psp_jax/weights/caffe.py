"""Caffe's .caffemodel: a protocol buffer, read by hand; its architecture is in it.

Field numbers are those of caffe.proto in hszhao/PSPNet. Only what PSPNet uses is read.
"""

import dataclasses
import math
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from psp_jax.weights.archive import Archive, DamagedError, Facts, Setting

KIND = "Caffe"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_MAX_PARTS = 100  # Of one array; each costs far more memory than its bytes in the file.

# NetParameter.
_LAYER, _OLD_LAYER = 100, 2
# LayerParameter.
_NAME, _TYPE, _BOTTOM, _BLOBS = 1, 2, 3, 7
_CONVOLUTION, _POOLING = 106, 121
# BlobProto and BlobShape.
_DATA, _SHAPE, _DOUBLE_DATA, _DIMENSION = 5, 7, 8, 1
_OLD_SHAPE = (1, 2, 3, 4)
# ConvolutionParameter: of any side, or of height and width by themselves.
_CONVOLUTION_FIELDS = {"padding": (3, 9, 10), "size": (4, 11, 12), "stride": (6, 13, 14)}
_DILATION, _GROUP = 18, 5
# PoolingParameter.
_POOLING_FIELDS = {"padding": (4, 9, 10), "size": (2, 5, 6), "stride": (3, 7, 8)}
_METHOD, _MAX = 1, 0
_DEFAULTS = {"padding": 0, "size": None, "stride": 1}

_LEAVES = {"Convolution": ("weights", "biases"), "BN": ("slope", "bias", "mean", "variance")}
_BRANCH = re.compile(r"\w+_pool(\d+)\w*")


@dataclasses.dataclass
class _Layer:
    name: str = ""
    type: str = ""
    bottoms: list[str] = dataclasses.field(default_factory=list)
    blobs: list[np.ndarray] = dataclasses.field(default_factory=list)
    convolution: Setting | None = None
    pooling: Setting | None = None
    is_max: bool = False


def read(path: pathlib.Path) -> Archive:
    """Reads the layers of a file with their strides, paddings and dilations.

    Raises:
        DamagedError: if the file is damaged, of Caffe's first format, or of other layers.
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
                f"its layer {layer.name} is of type {layer.type!r}, which PSPNet does not have"
                + ("; that is not the BN of hszhao/PSPNet" if "Norm" in layer.type else "")
            )
        if len(layer.blobs) > len(leaves) or layer.type == "BN" and len(layer.blobs) != 4:
            raise DamagedError(
                f"its layer {layer.name} has {len(layer.blobs)} arrays, not {', '.join(leaves)}"
            )
        for leaf, blob in zip(leaves, layer.blobs, strict=False):
            if f"{layer.name}.{leaf}" in arrays:
                raise DamagedError(f"it has two layers {layer.name}")
            arrays[f"{layer.name}.{leaf}"] = blob if leaf == "weights" else blob.reshape(-1)
    return Archive(path, KIND, arrays, output_first=True, facts=_facts(layers))


def _is_layer(number: int, value: memoryview | int) -> bool:
    if number == _OLD_LAYER:
        raise DamagedError(
            "it has layers of Caffe's first format (V1); upgrade it with Caffe's "
            "upgrade_net_proto_binary"
        )
    return number == _LAYER and isinstance(value, memoryview)


def _facts(layers: list[_Layer]) -> Facts:
    """What the layers say of the pools and of the order of the branches."""
    bins, cells = None, {}
    for layer in layers:
        branches = [_BRANCH.fullmatch(name) for name in layer.bottoms]
        if layer.type == "Concat" and any(branches):
            bins = tuple(int(branch[1]) for branch in branches if branch)
            if layer.bottoms and branches[0]:
                raise DamagedError(
                    f"its layer {layer.name} joins {', '.join(layer.bottoms)}; the trunk was "
                    "expected first"
                )
        if not layer.pooling:
            continue
        pool, branch = layer.pooling, _BRANCH.fullmatch(layer.name)
        if branch and not layer.is_max and pool.size:
            cells[layer.name] = int(branch[1]) * pool.size
            if pool.size != pool.stride or pool.padding:
                raise DamagedError(
                    f"its pooling {layer.name} has size {pool.size}, stride {pool.stride} and "
                    f"padding {pool.padding}; cells side by side were expected"
                )
        elif layer.is_max and (pool.size, pool.stride, pool.padding) != (3, 2, 1):
            raise DamagedError(
                f"its pooling {layer.name} has size {pool.size}, stride {pool.stride} and "
                f"padding {pool.padding}; 3, 2 and 1 were expected"
            )
    if len(set(cells.values())) > 1:
        raise DamagedError(f"its poolings cover maps of different sizes: {cells}")
    settings = {layer.name: layer.convolution for layer in layers if layer.convolution}
    return Facts(settings, bins, ceil_pool=True)  # Caffe's pooling always rounds up.


def _layer(data: memoryview | int) -> _Layer:
    layer = _Layer()
    for number, value in _fields(data):
        if number in (_NAME, _TYPE, _BOTTOM):
            text = _text(value)
            if number == _BOTTOM:
                layer.bottoms.append(text)
            elif number == _NAME:
                layer.name = text
            else:
                layer.type = text
        elif number == _BLOBS:
            layer.blobs.append(_blob(value))
        elif number == _CONVOLUTION:
            layer.convolution = _setting(value, _CONVOLUTION_FIELDS, layer.name)
        elif number == _POOLING:
            layer.pooling = _setting(value, _POOLING_FIELDS, layer.name)
            layer.is_max = dict(_fields(value)).get(_METHOD, _MAX) == _MAX
    return layer


def _setting(data: memoryview | int, names: dict[str, tuple[int, ...]], layer: str) -> Setting:
    found: dict[int, list[int]] = {}
    for number, value in _fields(data):
        found.setdefault(number, []).extend(_integers(value))
    values: dict[str, int | None] = {}
    for name, numbers in names.items():
        given = {value for number in numbers for value in found.get(number, [])}
        if len(given) > 1:
            raise DamagedError(f"its layer {layer} has a {name} of {sorted(given)}, not square")
        values[name] = given.pop() if given else _DEFAULTS[name]
    if names is _CONVOLUTION_FIELDS:
        if found.get(_GROUP, [1]) != [1]:
            raise DamagedError(f"its layer {layer} is convolved in groups; PSPNet has none")
        given = set(found.get(_DILATION, [1]))
        if len(given) > 1:
            raise DamagedError(f"its layer {layer} has a dilation of {sorted(given)}, not square")
        values["dilation"] = given.pop()
    return Setting(**values)


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
                raise DamagedError("it has an array in single values; Caffe packs them")
        elif number == _DOUBLE_DATA:
            raise DamagedError("it has arrays of float64; float32 was expected")
    if shape is None:
        shape = tuple(old.get(number, 1) for number in _OLD_SHAPE)
    values = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if math.prod(shape) != values.size:
        raise DamagedError(f"it has an array of shape {shape} with {values.size:,} values")
    return values.reshape(shape)


def _fields(data: memoryview | int) -> Iterator[tuple[int, memoryview | int]]:
    """Yields number and value of a message's fields."""
    if isinstance(data, int):
        raise DamagedError("it has a number where a message was expected")
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
            raise DamagedError(f"it has a field of wire type {wire}, so it is no .caffemodel")
        left = len(data) - position
        if length > left:
            raise DamagedError(
                f"it breaks off: a field of {length:,} bytes where {left:,} are left"
            )
        yield number, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= len(data):
            raise DamagedError("it breaks off inside a number")
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise DamagedError("it has a number of more than 64 bits, so it is no .caffemodel")


def _integers(value: memoryview | int) -> list[int]:
    """The integers of a repeated field, packed or not."""
    if isinstance(value, int):
        return [value]
    numbers, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers


def _text(value: memoryview | int) -> str:
    if isinstance(value, int):
        raise DamagedError("it has a number where a name was expected")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise DamagedError("it has a name that is no text, so it is no .caffemodel") from None
