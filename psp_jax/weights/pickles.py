"""A pickle machine that runs nothing.

Python's own unpickler imports and calls whatever a file names. This one reads the same operations
but knows only plain values and the few globals handed to it; any other is refused by its name
before anything is done with it.
"""

import math
import pickletools
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from psp_jax.weights.archive import Bounded, DamagedError

Globals = Mapping[str, Any]  # Full name -> what stands in for it.
Persistent = Callable[[Any], Any]

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_VALUES = re.compile(r"(BIN)?INT[12]?|LONG[14]?|(BIN)?FLOAT|\w*(STRING|UNICODE|BYTES)8?|BYTEARRAY8")
_IGNORED = ("PROTO", "FRAME")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Buildable(Protocol):
    """A stand-in whose state follows after it."""

    def build(self, state: Any) -> None:
        """Takes the state."""
        ...


def load(stream: Bounded, known: Globals, persistent: Persistent | None = None) -> Any:
    """Reads one pickle.

    Args:
        stream: positioned at the pickle; afterwards just behind it.
        known: stand-ins of the globals that may be named; the callable ones may be called.
        persistent: resolves references to what is stored outside the pickle.

    Raises:
        DamagedError: if the pickle breaks off, or names or does what it must not.
    """
    machine = _Machine(known, persistent)
    try:
        for operation, argument, _ in pickletools.genops(stream):  # pyright: ignore
            if operation.name == "STOP":
                return machine.stack.pop()
            machine.step(operation.name, argument)
    except DamagedError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DamagedError(f"its pickle is damaged ({error})") from None
    raise DamagedError("its pickle breaks off")


class _Machine:
    def __init__(self, known: Globals, persistent: Persistent | None):
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []  # Stacks below the marks.
        self._memo: dict[int, Any] = {}
        self._known, self._persistent = known, persistent

    def step(self, name: str, argument: Any) -> None:
        """Performs one operation."""
        stack = self.stack
        if _VALUES.fullmatch(name):
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _IGNORED:
            pass
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "MARK":
            self._below.append(stack)
            self.stack = []
        elif name == "POP":
            stack.pop()
        elif name in _TUPLES:
            items = stack[-_TUPLES[name] :]
            stack[-_TUPLES[name] :] = [tuple(items)]
        elif name in ("GLOBAL", "INST"):
            stack.append(self._global(argument.replace(" ", ".", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(self._global(f"{module}.{attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            if not callable(function) or not isinstance(arguments, tuple):
                raise DamagedError(f"its pickle calls {type(function).__name__}")
            stack.append(function(*arguments))
        elif name == "BUILD":
            state = stack.pop()
            if hasattr(stack[-1], "build"):  # Attributes of dicts say nothing about weights.
                stack[-1].build(state)
        elif name in ("BINPERSID", "PERSID") and self._persistent:
            stack.append(self._persistent(stack.pop() if name == "BINPERSID" else argument))
        else:
            self._collect(name)

    def _collect(self, name: str) -> None:
        """Performs the operations that put items into containers."""
        if name == "SETITEM":
            value, key = self.stack.pop(), self.stack.pop()
            items = [key, value]
        elif name == "APPEND":
            items = [self.stack.pop()]
        elif name in ("SETITEMS", "APPENDS", "TUPLE", "LIST", "DICT", "POP_MARK"):
            items, self.stack = self.stack, self._below.pop()
        else:
            raise DamagedError(f"its pickle uses {name}, which no weight file needs")
        if name == "TUPLE":
            self.stack.append(tuple(items))
        elif name == "LIST":
            self.stack.append(items)
        elif name == "DICT":
            self.stack.append({})
        if name in ("APPEND", "APPENDS"):
            if not isinstance(self.stack[-1], list):
                raise DamagedError("its pickle appends to what is no list")
            self.stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS", "DICT"):
            _set(self.stack[-1], items)

    def _global(self, name: str) -> Any:
        if name not in self._known:
            raise DamagedError(
                f"its pickle asks for {name}, which no weight file needs and which could do "
                "anything; nothing of it was run"
            )
        return self._known[name]


def _set(target: Any, items: list[Any]) -> None:
    if not isinstance(target, dict) or len(items) % 2:
        raise DamagedError("its pickle sets items of what is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | bytes | int | float | None):
            raise DamagedError(f"its pickle has a {type(key).__name__} for a key")
        target[key] = value


def _ordered_dict(pairs: Any = ()) -> dict:
    made: dict = {}
    _set(made, [item for key, value in pairs for item in (key, value)])
    return made


def plain_globals(size: int) -> dict[str, Any]:
    """Stand-ins of what Python and NumPy name in pickles of dicts and arrays.

    Args:
        size: bytes of the file; no more are made from text in it.
    """
    left = size

    def encode(text: str, encoding: str) -> bytes:
        nonlocal left
        left -= len(text)
        if left < 0 or encoding not in ("latin1", "latin-1"):
            raise DamagedError("its pickle makes more bytes than the file has")
        return text.encode("latin1")

    def new_array(*unused: Any) -> Array:
        return Array(encode)

    def scalar(kind: Any, data: Any) -> Any:
        array = Array(encode)
        array.build((1, (), kind, False, data))
        return array.value.item()

    def from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> Array:
        array = Array(encode)
        array.build((1, shape, kind, order == "F", bytes(data)))
        return array

    known = {
        "collections.OrderedDict": _ordered_dict,
        "_codecs.encode": encode,
        "numpy.ndarray": "numpy.ndarray",
        "numpy.dtype": Kind,
    }
    for module in ("numpy.core", "numpy._core"):
        known[f"{module}.multiarray._reconstruct"] = new_array
        known[f"{module}.multiarray.scalar"] = scalar
        known[f"{module}.numeric._frombuffer"] = from_buffer
    return known


class Kind:
    """Stand-in of a NumPy dtype."""

    def __init__(self, code: Any, *unused: Any):
        """Takes a code such as `f4`."""
        code = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not re.fullmatch(
            r"[<>|=]?(b1|[iu][1248]|f[248]|O8?)", code
        ):
            raise DamagedError(f"its pickle has an array of type {code!r}, not of numbers")
        self._code, self._order = code.lstrip("<>|="), "<"

    def build(self, state: Any) -> None:
        """Takes the byte order; fields of structures are refused."""
        if any(state[2:5]):
            raise DamagedError("its pickle has an array of structures, not of numbers")
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        self._order = ">" if order == ">" else "<"

    @property
    def holds_objects(self) -> bool:
        """Whether the elements are Python objects."""
        return self._code.startswith("O")

    @property
    def dtype(self) -> np.dtype:
        """The dtype of numbers."""
        return np.dtype(self._order + self._code)


class Array:
    """Stand-in of a NumPy array; `value` is the array, or a list if its elements are objects."""

    def __init__(self, encode: Callable[[str, str], bytes]):
        """Makes an empty one; `encode` makes bytes of Python 2's strings."""
        self.value: Any = None
        self._encode = encode

    def build(self, state: Any) -> None:
        """Takes version, shape, dtype, whether columns come first, and the elements."""
        _, shape, kind, columns_first, data = state
        count = math.prod(shape)
        if not isinstance(kind, Kind) or any(size < 0 for size in shape):
            raise DamagedError(f"its pickle has an array of shape {shape}")
        if kind.holds_objects:
            if not isinstance(data, list) or len(data) != count:
                raise DamagedError("its pickle has an array of objects without its objects")
            self.value = data
            return
        data = self._encode(data, "latin1") if isinstance(data, str) else data
        if count * kind.dtype.itemsize != len(data):
            raise DamagedError(f"its pickle has an array of shape {shape} in {len(data):,} bytes")
        flat = np.frombuffer(data, kind.dtype)
        self.value = flat.reshape(shape, order="F" if columns_first else "C")
