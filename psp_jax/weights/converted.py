"""Reads and writes converted weights: safetensors with a description of the network as JSON.

The JSON is in the metadata of the file, so that the file is complete, and in a .json file next to
it for people to read.
"""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from psp_jax.io import files
from psp_jax.models.architecture import Architecture, StemConvolution
from psp_jax.weights.archive import Archive, DamagedError, without_prefix
from psp_jax.weights.matching import Match
from psp_jax.weights.network import NetworkSpec, flatten, unflatten

KIND = "safetensors"
FORMAT = "psp_jax.weights 1"
_METADATA = "psp_jax"


def write(path: pathlib.Path, result: Match, source: pathlib.Path) -> None:
    """Writes matched weights, and their JSON next to them."""
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    card = {
        "format": FORMAT,
        "source": {"family": result.source, "file": source.name, "sha256": digest},
        "network": dataclasses.asdict(result.network),
    }
    text = json.dumps(card, indent=2)
    save(path, flatten(result.variables), metadata={_METADATA: text})
    files.write(path.with_suffix(".json"), text + "\n")


def save(path: pathlib.Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None):
    """Writes a .safetensors file atomically."""
    files.write(path, safetensors.numpy.save(arrays, metadata))


def read_raw(path: pathlib.Path) -> Archive:
    """Reads a .safetensors file with PyTorch's names.

    Raises:
        DamagedError: if the file is damaged.
    """
    arrays, _ = _read(path)
    return Archive(path, KIND, without_prefix(arrays), output_first=True)


def read(path: pathlib.Path) -> Match | None:
    """Reads a file that `write` wrote; returns None for other .safetensors files.

    Raises:
        DamagedError: if the file is damaged, or the JSON next to it belongs to another one.
    """
    arrays, metadata = _read(path)
    if _METADATA not in metadata:
        return None
    card, network = _parse(metadata[_METADATA], "its metadata")
    json_path = path.with_suffix(".json")
    if json_path.is_file():
        other, _ = _parse(json_path.read_text(encoding="utf-8", errors="replace"), json_path.name)
        if other != card:
            fields = [key for key in card if card[key] != other.get(key)]
            raise DamagedError(
                f"{json_path.name} next to it belongs to another file: {', '.join(fields)}"
            )
    if {name: array.shape for name, array in arrays.items()} != network.shapes():
        raise DamagedError("its arrays are not those of the network in its metadata")
    return Match(card["source"]["family"], network, unflatten(arrays))


def _read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    # The library compares all offsets with the size of the file before it allocates memory.
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (safetensors.SafetensorError, OSError, TypeError) as error:
        raise DamagedError(f"its safetensors is damaged ({error})") from None


def _parse(text: str, source: str) -> tuple[dict[str, Any], NetworkSpec]:
    """Parses the JSON of converted weights and the network in it."""
    try:
        card = json.loads(text)
        if card["format"] != FORMAT:
            raise DamagedError(f"{source} has format {card['format']!r}, expected {FORMAT!r}")
        return card, _network(card["network"])
    except DamagedError:
        raise
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise DamagedError(f"{source} does not describe a network ({error!r})") from None


def _network(plain: dict[str, Any]) -> NetworkSpec:
    """Makes the network of parsed JSON.

    Raises:
        TypeError, KeyError: if a field is missing, unknown or of another type.
    """
    fields = dict(plain)
    variant = dict(fields.pop("architecture"))
    stem = tuple(StemConvolution(**each) for each in variant.pop("stem"))
    values: Any = {name: tuple(v) if isinstance(v, list) else v for name, v in variant.items()}
    network = NetworkSpec(architecture=Architecture(stem=stem, **values), **fields)
    like = NetworkSpec(50, 64, 3, 1, False, Architecture())
    for value, expected in ((network, like), (network.architecture, like.architecture)):
        for field in dataclasses.fields(expected):
            kind, got = type(getattr(expected, field.name)), getattr(value, field.name)
            if not isinstance(got, kind):
                raise TypeError(f"{field.name}: expected {kind.__name__}, got {got!r}")
    return network
