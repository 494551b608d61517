"""Arrays and settings of a weight file under the file's own names."""

import dataclasses
import io
import pathlib
from typing import BinaryIO, TypeVar

import numpy as np

T = TypeVar("T")

_PREFIX = "module."


class DamagedError(ValueError):
    """A file is incomplete, contradicts itself, or requests something no weight file needs."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Settings of a convolution; None for those that the file does not state.

    Attributes:
        size: rows and columns of the kernel.
        stride: pixels from one output to the next.
        dilation: pixels from one tap to the next.
        padding: zeros on every side.
    """

    size: int | None = None
    stride: int | None = None
    dilation: int | None = None
    padding: int | None = None


@dataclasses.dataclass(frozen=True)
class Archive:
    """Content of a weight file; most formats state nothing about the network.

    Attributes:
        path: the file.
        kind: name of the format in messages.
        arrays: arrays by `layer.leaf`, such as `conv6.weights`.
        output_first: whether kernels are `[O, I, k, k]`; otherwise they are `[k, k, I, O]`.
        settings: settings of the convolutions by the file's names.
        bins: cells per side of the pyramid's branches in the order of their concatenation.
        ceil_pool: whether the pooling of the stem rounds its size up.
        epsilon: epsilon of the batch norms.
    """

    path: pathlib.Path
    kind: str
    arrays: dict[str, np.ndarray]
    output_first: bool
    settings: dict[str, Setting] = dataclasses.field(default_factory=dict)
    bins: tuple[int, ...] | None = None
    ceil_pool: bool | None = None
    epsilon: float | None = None


def without_prefix(named: dict[str, T]) -> dict[str, T]:
    """Removes the prefix `module.`, which PyTorch adds to the names of a model on several GPUs.

    Raises:
        DamagedError: if a name exists with and without it.
    """
    stripped: dict[str, T] = {}
    for name, value in named.items():
        while name.startswith(_PREFIX):
            name = name.removeprefix(_PREFIX)
        if name in stripped:
            raise DamagedError(f"it has {name} with and without {_PREFIX!r}")
        stripped[name] = value
    return stripped


class Bounded:
    """A file that refuses to read beyond its end, before it allocates memory."""

    def __init__(self, file: BinaryIO):
        """Wraps a seekable file at its current position."""
        self._file = file
        position = file.tell()
        self.size = file.seek(0, io.SEEK_END)
        file.seek(position)

    def read(self, count: int) -> bytes:
        """Reads exactly `count` bytes."""
        left = self.size - self._file.tell()
        if not 0 <= count <= left:
            raise DamagedError(f"it is truncated: expected {count:,} more bytes, got {left:,}")
        return self._file.read(count)

    def readline(self) -> bytes:
        """Reads a line."""
        return self._file.readline()

    def tell(self) -> int:
        """Returns the position."""
        return self._file.tell()
