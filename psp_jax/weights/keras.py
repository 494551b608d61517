"""Weights of PSPNet-Keras-tensorflow: .npy of its converter, .h5 of Keras 2, without Keras."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from psp_jax.weights import pickles
from psp_jax.weights.archive import Archive, Bounded, DamagedError, Facts, Setting

KIND_NPY = "Keras .npy"
KIND_H5 = "Keras .h5"
_NORM_SUFFIX = "_bn"
_MAX_JSON_BYTES = 64 << 20
_KERAS_EPSILON = 1e-3  # Of a BatchNormalization whose JSON does not say.


def read_npy(path: pathlib.Path) -> Archive:
    """Reads a pickled dict of dicts of arrays, by layer and leaf, running nothing.

    Raises:
        DamagedError: if the file is damaged, or anything in it would have to be run.
    """
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, _, kind = np.lib.format.read_array_header_1_0(file)
            else:
                shape, _, kind = np.lib.format.read_array_header_2_0(file)
        except ValueError as error:
            raise DamagedError(f"its .npy header is damaged ({error})") from None
        if shape or not kind.hasobject:
            raise DamagedError(
                f"it is one array of shape {shape} and type {kind}; a dict of layers was expected"
            )
        stream = Bounded(file)
        held = pickles.load(stream, pickles.plain_globals(stream.size))
    held = held.value if isinstance(held, pickles.Array) else held
    layers = held[0] if isinstance(held, list) and len(held) == 1 else held
    if not isinstance(layers, dict):
        raise DamagedError(f"it holds a {type(layers).__name__}; a dict of layers was expected")
    arrays = {}
    for layer, leaves in layers.items():
        if not isinstance(leaves, dict):
            raise DamagedError(f"its layer {_name(layer)} is no dict of arrays")
        for leaf, array in leaves.items():
            value = array.value if isinstance(array, pickles.Array) else None
            if not isinstance(value, np.ndarray):
                raise DamagedError(f"its {_name(layer)}.{_name(leaf)} is no array of numbers")
            arrays[f"{_layer(_name(layer))}.{_name(leaf)}"] = value
    return Archive(path, KIND_NPY, _flat_norms(arrays), output_first=False)


def read_h5(path: pathlib.Path) -> Archive:
    """Reads what `save_weights` or `save` of Keras 2 wrote, and the JSON beside it if there is one.

    Raises:
        DamagedError: if the file is damaged, reaches outside itself, or is of another backend.
    """
    size = path.stat().st_size
    try:
        with h5py.File(path, "r") as file:
            root: Any = _group(file, "model_weights") if "model_weights" in file else file
            backend = _name(root.attrs.get("backend", "tensorflow"))
            if backend != "tensorflow":
                raise DamagedError(
                    f"it was saved by Keras on {backend}, whose kernels may be flipped; save it "
                    "on tensorflow"
                )
            arrays, total = {}, 0
            for layer, weight, data in _datasets(root):
                total += data.nbytes
                if total > size:
                    raise DamagedError(
                        f"its arrays claim {total:,} bytes and more of a file of {size:,}"
                    )
                leaf = weight.rpartition("/")[2].partition(":")[0]
                arrays[f"{_layer(layer)}.{leaf}"] = data[()]
            config = file.attrs.get("model_config")
    except (KeyError, OSError, RuntimeError, TypeError, UnicodeDecodeError) as error:
        raise DamagedError(f"its HDF5 is damaged ({error})") from None
    if not arrays:
        raise DamagedError("it has no layers with weights, as Keras would name them")
    beside = path.with_suffix(".json")
    if config is not None:
        facts = _facts(_name(config), f"{path.name}'s model_config")
    elif beside.is_file():
        if beside.stat().st_size > _MAX_JSON_BYTES:
            raise DamagedError(f"{beside.name} beside it is too long for a model")
        facts = _facts(beside.read_text(errors="replace"), beside.name)
    else:
        facts = Facts()
    return Archive(path, KIND_H5, _flat_norms(arrays), output_first=False, facts=facts)


def _datasets(root: Any) -> Iterator[tuple[str, str, Any]]:
    """Yields layer, weight name and data set of every weight."""
    for layer in _names(root, "layer_names"):
        group = _group(root, layer)
        for weight in _names(group, "weight_names"):
            parent = group
            *above, last = weight.split("/")
            for name in above:
                parent = _group(parent, name)
            if not isinstance(parent.get(last, getlink=True), h5py.HardLink):
                raise DamagedError(f"its {layer}/{weight} is a link out of its place")
            data = parent[last]
            if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
                raise DamagedError(f"its {layer}/{weight} is no data set of its own")
            if data.dtype.kind not in "fiu":
                raise DamagedError(f"its {layer}/{weight} is of type {data.dtype}, not of numbers")
            yield layer, weight, data


def _group(parent: Any, name: str) -> Any:
    if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        raise DamagedError(f"its {name} is a link out of its place")
    if not isinstance(parent[name], h5py.Group):
        raise DamagedError(f"its {name} is no group")
    return parent[name]


def _names(group: Any, attribute: str) -> list[str]:
    """Reads a list of names, which Keras cuts into numbered pieces beyond 64 kB."""
    pieces = []
    if attribute in group.attrs:
        pieces.append(group.attrs[attribute])
    while f"{attribute}{len(pieces)}" in group.attrs:
        pieces.append(group.attrs[f"{attribute}{len(pieces)}"])
    if not pieces:
        raise DamagedError(f"its {group.name} has no {attribute}, as Keras would write them")
    return [_name(name) for piece in pieces for name in np.ravel(piece)]


def _facts(text: str, source: str) -> Facts:
    """Reads strides, dilations and epsilon of a model's JSON."""
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
        raise DamagedError(f"{source} is no JSON of a Keras model ({error!r})") from None
    if len(epsilons) > 1:
        raise DamagedError(f"{source} has batch norms with epsilons of {sorted(epsilons)}")
    return Facts(settings, epsilon=epsilons.pop() if epsilons else None)


def _side(value: Any, name: str) -> int:
    sides = set(value) if isinstance(value, list) else {value}
    if len(sides) != 1:
        raise ValueError(f"{name} is not square: {value}")
    return int(sides.pop())


def _flat_norms(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Drops the axes of length 1 that the converter leaves around what is per channel."""
    return {
        name: array if name.endswith((".weights", ".kernel")) else array.reshape(-1)
        for name, array in arrays.items()
    }


def _layer(name: str) -> str:
    """Gives a batch norm its Caffe name."""
    if name.endswith(_NORM_SUFFIX):
        return name.removesuffix(_NORM_SUFFIX) + "/bn"
    return name


def _name(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
