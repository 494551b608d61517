"""Reads any weight file, by its first bytes, into the variables of a network."""

import dataclasses
import pathlib

from psp_jax.io import contents
from psp_jax.models.architecture import Architecture
from psp_jax.weights import caffe, converted, keras, matching, names, torch_file
from psp_jax.weights.archive import Archive, DamagedError
from psp_jax.weights.matching import Match

FORMATS = ".caffemodel, .npy, .h5, .pth, .pt, .safetensors"
_HEAD_BYTES = 256


def open_archive(path: pathlib.Path) -> Archive:
    """Reads the arrays of a file under its own names.

    Raises:
        ValueError: if the file is damaged, dangerous or of an unknown format.
        OSError: if it can't be read.
    """
    head = _head(path)
    if what := contents.placeholder(head):
        raise ValueError(f"{path} is {what}")
    if head.startswith(b"\x89HDF"):
        reader = keras.read_h5
    elif head.startswith(b"\x93NUMPY"):
        reader = keras.read_npy
    elif head[8:9] == b"{":
        reader = converted.read_raw
    elif head.startswith((b"PK", b"\x80")) or path.suffix in (".pth", ".pt", ".tar"):
        reader = torch_file.read
    elif path.suffix == ".caffemodel" or head.startswith((b"\x0a", b"\x12", b"\xa2\x06")):
        reader = caffe.read
    else:
        raise ValueError(
            f"{path} is not a weight file: it starts with {head[:4]!r}; expected one of {FORMATS}"
        )
    try:
        return reader(path)
    except DamagedError as error:
        raise ValueError(f"{path} is refused: {error}") from None


def load(path: pathlib.Path, stated: Architecture | None = None) -> Match:
    """Reads a converted or a published file; every array has to fit.

    Args:
        path: the file.
        stated: the architecture variant of the weights. It is needed for files that do not
            determine theirs; otherwise it has to be theirs.

    Raises:
        ValueError: if the file is damaged, dangerous or of another variant, or if its arrays are
            not exactly those of a network.
        OSError: if it can't be read.
    """
    result = read_converted(path)
    if result is not None:
        free = () if result.network.channels else names.HEAD_FIELDS
        chosen = matching.reconcile(path, result.network.architecture, stated, free)
        network = dataclasses.replace(result.network, architecture=chosen)
        return dataclasses.replace(result, network=network)
    result = matching.match(open_archive(path), stated)
    check(path, result)
    return result


def read_converted(path: pathlib.Path) -> Match | None:
    """Reads a file that `convert` wrote; returns None for others."""
    if _head(path)[8:9] != b"{":
        return None
    try:
        return converted.read(path)
    except DamagedError as error:
        raise ValueError(f"{path} is refused: {error}") from None


def check(path: pathlib.Path, result: Match) -> None:
    """Raises ValueError unless the file's arrays are exactly the network's."""
    if result.problems:
        raise ValueError(
            f"{path} is refused as a {result.network.describe()}: {'; '.join(result.problems)}"
        )


def _head(path: pathlib.Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)
