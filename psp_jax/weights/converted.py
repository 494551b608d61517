"""The package's own weight files: safetensors with the network and its architecture as JSON.

The JSON is in the file's metadata, so that the file is whole by itself, and beside it for people.
"""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from psp_jax.models.architecture import Architecture, StemConvolution
from psp_jax.state import Variables
from psp_jax.weights.archive import Archive, DamagedError, without_prefix
from psp_jax.weights.matching import Match
from psp_jax.weights.network import Network, flatten, unflatten

KIND = "safetensors"
FORMAT = "psp_jax.weights 1"
_METADATA = "psp_jax"


def write(path: pathlib.Path, found: Match, source: pathlib.Path) -> None:
    """Writes a match that fits, and its JSON beside it."""
    card = {
        "format": FORMAT,
        "source": {"family": found.source, "file": source.name, "sha256": _digest(source)},
        "network": network_to_plain(found.network),
    }
    text = json.dumps(card, indent=2)
    save(path, flatten(found.variables), metadata={_METADATA: text})
    path.with_suffix(".json").write_text(text + "\n")


def save(path: pathlib.Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None):
    """Writes a .safetensors file as whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(safetensors.numpy.save(arrays, metadata))
    partial.replace(path)


def read_raw(path: pathlib.Path) -> Archive:
    """Reads a .safetensors file of PyTorch's names.

    Raises:
        DamagedError: if the file is damaged.
    """
    arrays, _ = _read(path)
    return Archive(path, KIND, without_prefix(arrays), output_first=True)


def read(path: pathlib.Path) -> tuple[Network, Variables] | None:
    """Reads a file that `write` wrote; None if it is another's .safetensors.

    Raises:
        DamagedError: if the file is damaged, or the JSON beside it is of another one.
    """
    arrays, metadata = _read(path)
    if _METADATA not in metadata:
        return None
    card = _card(metadata[_METADATA], "its metadata")
    beside = path.with_suffix(".json")
    if beside.is_file():
        other = _card(beside.read_text(errors="replace"), beside.name)
        if other != card:
            fields = [key for key in card if card[key] != other.get(key)]
            raise DamagedError(f"{beside.name} beside it is another file's: {', '.join(fields)}")
    network = network_from_plain(card["network"])
    shapes = network.shapes()
    if {name: array.shape for name, array in arrays.items()} != shapes:
        raise DamagedError("its arrays are not those of the network in its metadata")
    return network, unflatten(arrays)


def _read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    # The library checks every offset against the file's size before it takes any memory.
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (safetensors.SafetensorError, OSError, TypeError) as error:
        raise DamagedError(f"its safetensors is damaged ({error})") from None


def _card(text: str, source: str) -> dict[str, Any]:
    try:
        card = json.loads(text)
        if card["format"] != FORMAT:
            raise DamagedError(f"{source} is {card['format']!r}; {FORMAT!r} was expected")
        network_from_plain(card["network"])
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"{source} is no description of a network ({error!r})") from None
    return card


def network_to_plain(network: Network) -> dict[str, Any]:
    """Returns the network as what JSON can hold."""
    return json.loads(json.dumps(dataclasses.asdict(network)))


def network_from_plain(plain: dict[str, Any]) -> Network:
    """Undoes `network_to_plain`.

    Raises:
        TypeError, KeyError: if a field is missing or unknown.
    """
    fields = dict(plain)
    own = dict(fields.pop("architecture"))
    stem = tuple(StemConvolution(**each) for each in own.pop("stem"))
    values: Any = {name: tuple(v) if isinstance(v, list) else v for name, v in own.items()}
    network = Network(architecture=Architecture(stem=stem, **values), **fields)
    for value, like in (
        (network, Network(50, 64, 3, 1, False, Architecture())),
        (network.architecture, Architecture()),
    ):
        for field in dataclasses.fields(like):
            kind = type(getattr(like, field.name))
            if not isinstance(getattr(value, field.name), kind):
                raise TypeError(
                    f"{field.name} is {getattr(value, field.name)!r}, no {kind.__name__}"
                )
    return network


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
