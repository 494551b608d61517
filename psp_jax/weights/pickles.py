"""Reads pickles without running code.

Python's own unpickler imports and calls any function that a file names. This one knows only values
and the few globals that it is given. A pickle that names another one is refused, or gets an
`Opaque` in its place, which does nothing.
"""

import math
import pickletools
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from psp_jax.weights.archive import Bounded, DamagedError

Globals = Mapping[str, Any]  # Full name -> replacement; a method `build` of it sets its state.
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


class Opaque:
    """Stands for a global that is not known, for what it returns, and for its instances.

    Attributes:
        name: full name of the global.
    """

    def __init__(self, name: str):
        """Takes the name."""
        self.name = name

    def __call__(self, *unused: Any) -> "Opaque":
        """Returns another one; nothing is run."""
        return Opaque(self.name)

    def refuse(self) -> NoReturn:
        """Raises DamagedError with the name."""
        raise DamagedError(
            f"its pickle asks for {self.name}, which is not allowed because it could run any code; "
            "nothing was run"
        )


def load(
    stream: Bounded,
    known: Globals,
    persistent: Persistent | None = None,
    *,
    with_opaque: bool = False,
) -> Any:
    """Reads one pickle.

    Args:
        stream: positioned at the pickle; afterwards behind it.
        known: replacements of the globals that are allowed; callable ones may be called.
        persistent: returns objects that are stored outside the pickle.
        with_opaque: whether other globals become `Opaque`, instead of an error.

    Raises:
        DamagedError: if the pickle is truncated, or uses a global or an operation that is not
            allowed.
    """
    machine = _Machine(known, persistent, with_opaque)
    try:
        for operation, argument, _ in pickletools.genops(stream):  # pyright: ignore
            if operation.name == "STOP":
                return machine.stack.pop()
            machine.step(operation.name, argument)
    except DamagedError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DamagedError(f"its pickle is damaged ({error})") from None
    raise DamagedError("its pickle is truncated")


class _Machine:
    def __init__(self, known: Globals, persistent: Persistent | None, with_opaque: bool):
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []  # Stacks below the marks.
        self._memo: dict[int, Any] = {}
        self._known, self._persistent, self._with_opaque = known, persistent, with_opaque

    def step(self, name: str, argument: Any) -> None:
        """Performs one operation."""
        stack = self.stack
        if _VALUES.fullmatch(name):
            stack.append(argument)
            return
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "MARK":
                self._below.append(stack)
                self.stack = []
            case "POP":
                stack.pop()
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "GLOBAL":
                stack.append(self._global(argument.replace(" ", ".", 1)))
            case "INST":
                kind = self._global(argument.replace(" ", ".", 1))
                arguments, self.stack = stack, self._below.pop()
                self.stack.append(kind(*arguments))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(self._global(f"{module}.{attribute}"))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                if not callable(function) or not isinstance(arguments, tuple):
                    raise DamagedError(f"its pickle calls {type(function).__name__}")
                stack.append(function(*arguments))
            case "BUILD":
                state = stack.pop()
                if hasattr(stack[-1], "build"):  # The attributes of dicts are not needed.
                    stack[-1].build(state)
            case "BINPERSID" | "PERSID" if self._persistent:
                stack.append(self._persistent(stack.pop() if name == "BINPERSID" else argument))
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name]())
            case _:
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
            raise DamagedError(f"its pickle uses {name}, which is not allowed")
        if name == "TUPLE":
            self.stack.append(tuple(items))
        elif name == "LIST":
            self.stack.append(items)
        elif name == "DICT":
            self.stack.append(_set({}, items))
        elif name in ("SETITEM", "SETITEMS"):
            _set(self.stack[-1], items)
        elif name in ("APPEND", "APPENDS"):
            if isinstance(self.stack[-1], list):
                self.stack[-1].extend(items)
            elif not isinstance(self.stack[-1], Opaque):
                raise DamagedError("its pickle appends to something that is not a list")

    def _global(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        if not self._with_opaque:
            Opaque(name).refuse()
        return Opaque(name)


def _set(target: Any, items: list[Any]) -> Any:
    if isinstance(target, Opaque):
        return target
    if not isinstance(target, dict) or len(items) % 2:
        raise DamagedError("its pickle sets items of something that is not a dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | bytes | int | float | Opaque | None):
            raise DamagedError(f"its pickle has a {type(key).__name__} as a key")
        target[key] = value
    return target


def numpy_globals(size: int) -> dict[str, Any]:
    """Returns replacements of the globals in pickles of dicts and NumPy arrays.

    Args:
        size: bytes of the file; text in it is converted to at most as many bytes.
    """
    left = size

    def encode(text: str, encoding: str) -> bytes:
        nonlocal left
        left -= len(text)
        if left < 0 or encoding not in ("latin1", "latin-1"):
            raise DamagedError("its pickle converts text to more bytes than the file has")
        return text.encode("latin1")

    def array(shape: Any, kind: Any, fortran_order: bool, data: Any) -> Array:
        result = Array(encode)
        result.build((1, shape, kind, fortran_order, data))
        return result

    known = {
        "collections.OrderedDict": lambda pairs=(): _set({}, [x for k, v in pairs for x in (k, v)]),
        "_codecs.encode": encode,
        "numpy.ndarray": "numpy.ndarray",
        "numpy.dtype": Kind,
    }
    for module in ("numpy.core", "numpy._core"):
        known |= {
            f"{module}.multiarray._reconstruct": lambda *unused: Array(encode),
            f"{module}.multiarray.scalar": lambda kind, data: array(
                (), kind, False, data
            ).value.item(),
            f"{module}.numeric._frombuffer": lambda data, kind, shape, order: array(
                shape, kind, order == "F", bytes(data)
            ),
        }
    return known


class Kind:
    """Replacement of a NumPy dtype."""

    def __init__(self, code: Any, *unused: Any):
        """Reads a code such as `f4`."""
        code = _text(code)
        if not isinstance(code, str) or not re.fullmatch(
            r"[<>|=]?(b1|[iu][1248]|f[248]|O8?)", code
        ):
            raise DamagedError(f"its pickle has an array of type {code!r}, expected numbers")
        self._code, self._order = code.lstrip("<>|="), "<"

    def build(self, state: Any) -> None:
        """Sets the byte order; structured types are refused."""
        if any(state[2:5]):
            raise DamagedError("its pickle has an array of structures, expected numbers")
        self._order = ">" if _text(state[1]) == ">" else "<"

    @property
    def holds_objects(self) -> bool:
        """Whether the elements are Python objects."""
        return self._code.startswith("O")

    @property
    def dtype(self) -> np.dtype:
        """The dtype of numbers."""
        return np.dtype(self._order + self._code)


class Array:
    """Replacement of a NumPy array; `value` is the array, or a list if its elements are objects."""

    def __init__(self, encode: Callable[[str, str], bytes]):
        """Creates an empty one; `encode` converts the strings of Python 2 to bytes."""
        self.value: Any = None
        self._encode = encode

    def build(self, state: Any) -> None:
        """Sets version, shape, dtype, whether the order is Fortran's, and the elements."""
        _, shape, kind, fortran_order, data = state
        count = math.prod(shape)
        if not isinstance(kind, Kind) or any(size < 0 for size in shape):
            raise DamagedError(f"its pickle has an array of shape {shape}")
        if kind.holds_objects:
            if not isinstance(data, list) or len(data) != count:
                raise DamagedError("its pickle has an array of objects of another length")
            self.value = data
            return
        data = self._encode(data, "latin1") if isinstance(data, str) else data
        if count * kind.dtype.itemsize != len(data):
            raise DamagedError(f"its pickle has an array of shape {shape} in {len(data):,} bytes")
        flat = np.frombuffer(data, kind.dtype)
        self.value = flat.reshape(shape, order="F" if fortran_order else "C")


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value
