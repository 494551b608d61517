"""Reads Keras' HDF5 files in a separate process.

The HDF5 library crashes on some damaged files (1 of 400 with a few random bytes, h5py 3.16), which
must not end a training run.
"""

import io
import json
import os
import pathlib
import resource
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from psp_jax.weights.archive import DamagedError

Named = dict[tuple[str, str], np.ndarray]  # By layer and leaf.

PROGRAM = "import sys; from psp_jax.weights import hdf5; hdf5.main(sys.argv[1])"
TIME_LIMIT_S = 300  # The largest files take seconds.
_MEMORY_BYTES = 8 << 30  # Address space that libraries reserve beyond the arrays.
_ERRORS = (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
_REFUSED = 3  # Exit status for a damaged file; the reason is on stderr.


def read_in_subprocess(path: pathlib.Path) -> tuple[Named, str]:
    """Calls `read` in another process.

    Raises:
        DamagedError: see `read`; also if the process crashes.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", PROGRAM, str(path)]
    try:
        result = subprocess.run(command, capture_output=True, env=environment, timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise DamagedError(f"reading its HDF5 takes more than {TIME_LIMIT_S} s") from None
    if result.returncode == _REFUSED:
        raise DamagedError(result.stderr.decode(errors="replace").strip())
    if result.returncode:
        raise DamagedError(f"its HDF5 crashes the library (status {result.returncode})")
    stream = io.BytesIO(result.stdout)
    names, config = json.loads(stream.readline())
    arrays = {tuple(name): np.lib.format.read_array(stream, allow_pickle=False) for name in names}
    return arrays, config


def main(path: str) -> None:
    """Writes the result of `read` to stdout."""
    limit = _MEMORY_BYTES + 4 * os.stat(path).st_size
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        arrays, config = read(pathlib.Path(path))
    except DamagedError as error:
        print(error, file=sys.stderr)
        sys.exit(_REFUSED)
    output = sys.stdout.buffer
    output.write(json.dumps((list(arrays), config)).encode() + b"\n")
    for array in arrays.values():
        np.lib.format.write_array(output, array, allow_pickle=False)


def read(path: pathlib.Path) -> tuple[Named, str]:
    """Returns the arrays of a file and the JSON of its model, empty if there is none.

    Raises:
        DamagedError: if the file is damaged, refers to other files, or is of another backend.
    """
    size = path.stat().st_size
    arrays, total = {}, 0
    try:
        with h5py.File(path, "r") as file:
            root: Any = _child(file, "model_weights") if "model_weights" in file else file
            backend = text(root.attrs.get("backend", "tensorflow"))
            if backend != "tensorflow":
                raise DamagedError(
                    f"its Keras backend is {backend!r}, whose kernels may be flipped; save it with "
                    "the backend tensorflow"
                )
            for layer, weight, data in _datasets(root):
                total += data.nbytes
                if total > size:
                    raise DamagedError(f"its arrays claim {total:,} bytes of a file of {size:,}")
                arrays[layer, weight.rpartition("/")[2].partition(":")[0]] = data[()]
            config = text(file.attrs.get("model_config", ""))
    except DamagedError:
        raise
    except (MemoryError, *_ERRORS) as error:
        reason = " ".join(str(error).split()) or repr(error)
        raise DamagedError(f"its HDF5 is damaged ({reason})") from None
    if not arrays:
        raise DamagedError("it has no layers with weights")
    return arrays, config


def _datasets(root: Any) -> Iterator[tuple[str, str, Any]]:
    """Yields layer, name and data set of every weight."""
    for layer in _names(root, "layer_names"):
        group = _child(root, layer)
        for weight in _names(group, "weight_names"):
            data = group
            for name in weight.split("/"):
                data = _child(data, name)
            if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
                raise DamagedError(f"its {layer}/{weight} is not a data set in the file")
            if data.dtype.kind not in "fiu":
                raise DamagedError(f"its {layer}/{weight} has type {data.dtype}, expected numbers")
            yield layer, weight, data


def _child(parent: Any, name: str) -> Any:
    if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        raise DamagedError(f"its {name} is missing or a link")
    return parent[name]


def _names(group: Any, attribute: str) -> list[str]:
    """Reads a list of names, which Keras splits into numbered pieces beyond 64 kB."""
    pieces = []
    if attribute in group.attrs:
        pieces.append(group.attrs[attribute])
    while f"{attribute}{len(pieces)}" in group.attrs:
        pieces.append(group.attrs[f"{attribute}{len(pieces)}"])
    if not pieces:
        raise DamagedError(f"its {group.name} has no {attribute}")
    return [text(name) for piece in pieces for name in np.ravel(piece)]


def text(value: Any) -> str:
    """Returns text that HDF5 or a pickle may have stored as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
