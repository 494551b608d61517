"""What a weight file holds, before anyone knows what network it is of."""

import dataclasses
import io
import pathlib
from typing import BinaryIO, TypeVar

import numpy as np

T = TypeVar("T")

_PREFIX = "module."


class DamagedError(ValueError):
    """A file breaks off, contradicts itself or asks for what no weight file needs."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a file says that a convolution is applied; None where it does not say.

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
class Facts:
    """What a file says about its network beside the arrays; empty for most formats.

    Attributes:
        settings: by the file's name of a convolution.
        bins: cells per side of the pyramid's branches in the order of their concatenation.
        ceil_pool: whether the pooling of the stem rounds up.
        epsilon: of the batch norms.
    """

    settings: dict[str, Setting] = dataclasses.field(default_factory=dict)
    bins: tuple[int, ...] | None = None
    ceil_pool: bool | None = None
    epsilon: float | None = None


@dataclasses.dataclass(frozen=True)
class Archive:
    """Arrays under the file's own names.

    Attributes:
        path: the file.
        kind: the format, in words.
        arrays: by `layer.leaf`, such as `conv6.weights`.
        output_first: whether kernels are `[O, I, k, k]` rather than `[k, k, I, O]`.
        facts: what the file says beside the arrays.
    """

    path: pathlib.Path
    kind: str
    arrays: dict[str, np.ndarray]
    output_first: bool
    facts: Facts = Facts()


def without_prefix(named: dict[str, T]) -> dict[str, T]:
    """Drops the `module.` that PyTorch puts before every name of a model on several GPUs.

    Raises:
        DamagedError: if a name is there with and without it.
    """
    stripped: dict[str, T] = {}
    for name, value in named.items():
        while name.startswith(_PREFIX):
            name = name.removeprefix(_PREFIX)
        if name in stripped:
            raise DamagedError(f"it holds {name} with and without {_PREFIX!r}")
        stripped[name] = value
    return stripped


class Bounded:
    """A file that refuses to read past its end, before any memory is taken for it."""

    def __init__(self, file: BinaryIO):
        """Wraps a seekable file at its current position."""
        self._file = file
        position = file.tell()
        self.size = file.seek(0, io.SEEK_END)
        file.seek(position)

    def read(self, count: int) -> bytes:
        """Reads exactly so many bytes."""
        left = self.size - self._file.tell()
        if not 0 <= count <= left:
            raise DamagedError(
                f"it breaks off: a length of {count:,} bytes where {left:,} are left"
            )
        return self._file.read(count)

    def readline(self) -> bytes:
        """Reads a line."""
        return self._file.readline()

    def tell(self) -> int:
        """Returns the position."""
        return self._file.tell()
