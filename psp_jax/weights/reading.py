"""Any weight file, by what it begins with: its arrays, and the network that they make."""

import dataclasses
import pathlib

from psp_jax.models.architecture import Architecture
from psp_jax.state import Variables
from psp_jax.weights import caffe, converted, keras, matching, names, torch_file
from psp_jax.weights.archive import Archive, DamagedError
from psp_jax.weights.matching import Match
from psp_jax.weights.network import Network

FORMATS = ".caffemodel, .npy, .h5, .pth, .pt, .safetensors"
_HEAD_BYTES = 16


@dataclasses.dataclass(frozen=True)
class Weights:
    """Variables and what they are of.

    Attributes:
        network: what they make.
        variables: NumPy arrays.
        notes: what was decided in reading them and has to be said.
    """

    network: Network
    variables: Variables
    notes: tuple[str, ...] = ()


def open_archive(path: pathlib.Path) -> Archive:
    """Reads the arrays of a file under its own names.

    Raises:
        ValueError: if the file is damaged, dangerous or of no known format.
        OSError: if it can't be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
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
            f"{path} is no weight file: it begins with {head[:4]!r}, as none of {FORMATS} does"
        )
    try:
        return reader(path)
    except DamagedError as error:
        raise ValueError(f"{path} is refused: {error}") from None


def match(path: pathlib.Path, stated: Architecture | None = None) -> Match:
    """Lays a foreign file beside the network that its arrays make; see `matching.match`."""
    return matching.match(open_archive(path), stated)


def load(path: pathlib.Path, stated: Architecture | None = None) -> Weights:
    """Reads a converted or a foreign file strictly.

    Args:
        path: the file.
        stated: the architecture that the weights are made for, for files that do not say it; of
            others it has to be theirs.

    Raises:
        ValueError: if the file is damaged, dangerous, of another architecture, or its arrays are not
            all and only those of a network.
        OSError: if it can't be read.
    """
    own = read_converted(path)
    if own is not None:
        free = () if own.network.channels else names.OF_HEADS
        chosen = matching.reconcile(path, own.network.architecture, stated, free)
        network = dataclasses.replace(own.network, architecture=chosen)
        return dataclasses.replace(own, network=network)
    found = match(path, stated)
    check(path, found)
    return Weights(found.network, found.variables, tuple(found.notes))


def read_converted(path: pathlib.Path) -> Weights | None:
    """Reads a file of the package's own; None if it is another's."""
    with path.open("rb") as file:
        if file.read(_HEAD_BYTES)[8:9] != b"{":
            return None
    try:
        own = converted.read(path)
    except DamagedError as error:
        raise ValueError(f"{path} is refused: {error}") from None
    return None if own is None else Weights(*own)


def check(path: pathlib.Path, found: Match) -> None:
    """Raises ValueError unless all and only the network's arrays are there."""
    if found.problems:
        raise ValueError(
            f"{path} is refused as a {found.network.describe()}: {'; '.join(found.problems)}"
        )
