"""Reads the weights of PSPNet-Keras-tensorflow, .npy and .h5, without Keras."""

import json
import pathlib
import re
import struct
from typing import Any

import numpy as np

from psp_jax.weights import hdf5, pickles
from psp_jax.weights.archive import Archive, Bounded, DamagedError, Setting

KIND_NPY = "Keras .npy"
KIND_H5 = "Keras .h5"
_MAX_JSON_BYTES = 64 << 20
_MAX_HEADER_BYTES = 10_000
_LONG = struct.Struct("<I")
_KERAS_EPSILON = 1e-3  # Default of BatchNormalization.


def read_npy(path: pathlib.Path) -> Archive:
    """Reads a pickled dict of dicts of arrays, by layer and leaf, without running code.

    Raises:
        DamagedError: if the file is damaged, or its pickle would run code.
    """
    with path.open("rb") as file:
        _check_header(Bounded(file))
        stream = Bounded(file)
        content = pickles.load(stream, pickles.numpy_globals(stream.size))
    content = content.value if isinstance(content, pickles.Array) else content
    layers = content[0] if isinstance(content, list) and len(content) == 1 else content
    if not isinstance(layers, dict):
        raise DamagedError(f"expected a dict of layers, got a {type(layers).__name__}")
    arrays = {}
    for layer, leaves in layers.items():
        layer = hdf5.text(layer)
        if not isinstance(leaves, dict):
            raise DamagedError(f"its layer {layer} is not a dict of arrays")
        for leaf, array in leaves.items():
            leaf = hdf5.text(leaf)
            value = array.value if isinstance(array, pickles.Array) else None
            if not isinstance(value, np.ndarray):
                raise DamagedError(f"its {layer}.{leaf} is not an array of numbers")
            arrays[f"{_layer(layer)}.{leaf}"] = value
    return Archive(path, KIND_NPY, _flat_norms(arrays), output_first=False)


def _check_header(stream: Bounded) -> None:
    """Reads the header before the pickle and checks that it is of one Python object."""
    *_, major, _ = stream.read(8)
    (length,) = struct.unpack("<H", stream.read(2)) if major == 1 else _LONG.unpack(stream.read(4))
    header = stream.read(min(length, _MAX_HEADER_BYTES)).decode("latin1")
    descr = re.search(r"'descr': *'([^']*)'", header)
    shape = re.search(r"'shape': *(\([\d, L]*\))", header)
    if descr is None or shape is None:
        raise DamagedError(f"its .npy header is damaged: {header[:40]!r}")
    if (descr[1], shape[1]) != ("|O", "()"):
        raise DamagedError(
            f"expected a dict of layers, got one array of shape {shape[1]} and type {descr[1]}"
        )


def read_h5(path: pathlib.Path) -> Archive:
    """Reads a file of Keras 2's `save_weights` or `save`, and the model's JSON next to it, if any.

    Raises:
        DamagedError: if the file is damaged, refers to other files, or is of another backend.
    """
    named, config = hdf5.read_in_subprocess(path)
    arrays = {f"{_layer(layer)}.{leaf}": value for (layer, leaf), value in named.items()}
    json_path = path.with_suffix(".json")
    settings, epsilon = {}, None
    if config:
        settings, epsilon = _settings(config, f"{path.name}'s model_config")
    elif json_path.is_file():
        if json_path.stat().st_size > _MAX_JSON_BYTES:
            raise DamagedError(f"{json_path.name} next to it is too large for a model")
        settings, epsilon = _settings(
            json_path.read_text(encoding="utf-8", errors="replace"), json_path.name
        )
    return Archive(path, KIND_H5, _flat_norms(arrays), False, settings, epsilon=epsilon)


def _settings(text: str, source: str) -> tuple[dict[str, Setting], float | None]:
    """Reads strides, dilations and epsilon from a model's JSON."""
    try:
        config = json.loads(text)["config"]
        layers = config if isinstance(config, list) else config["layers"]
        settings: dict[str, Setting] = {}
        epsilons: set[float] = set()
        for layer in layers:
            kind, own = layer["class_name"], layer["config"]
            name = own.get("name", layer.get("name"))
            if kind in ("Conv2D", "Convolution2D"):
                settings[_layer(name)] = Setting(
                    size=_side(own["kernel_size"], name),
                    stride=_side(own.get("strides", 1), name),
                    dilation=_side(own.get("dilation_rate", 1), name),
                )
            elif kind == "BatchNormalization":
                epsilons.add(float(own.get("epsilon", _KERAS_EPSILON)))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise DamagedError(f"{source} is not the JSON of a Keras model ({error!r})") from None
    if len(epsilons) > 1:
        raise DamagedError(f"{source} has batch norms with different epsilons: {sorted(epsilons)}")
    return settings, epsilons.pop() if epsilons else None


def _side(value: Any, name: str) -> int:
    sides = set(value) if isinstance(value, list) else {value}
    if len(sides) != 1:
        raise ValueError(f"{name} is not square: {value}")
    return int(sides.pop())


def _flat_norms(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes the axes of length 1 that the converter adds to arrays with a value per channel."""
    return {
        name: array if name.endswith((".weights", ".kernel")) else array.reshape(-1)
        for name, array in arrays.items()
    }


def _layer(name: str) -> str:
    """Returns the Caffe name of a layer."""
    return re.sub("_bn$", "/bn", name)
