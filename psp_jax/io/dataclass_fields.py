"""Describes the fields of a tree of dataclasses: names, types, values and documentation."""

import dataclasses
import enum
import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

from psp_jax.io import ranges


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a tree of dataclasses.

    Attributes:
        name: its path, such as `config.phases[0].steps`.
        kind: its type, such as `int`, with the range that it declares; the values of an enum.
        value: its value; the name of the class of a dataclass.
        description: from the section `Attributes` of the class; empty if it is not there.
    """

    name: str
    kind: str
    value: str
    description: str


def fields(tree: Any, name: str) -> Iterator[Field]:
    """Yields the fields of a dataclass, of the dataclasses in it, and of those in tuples.

    Frozen dataclasses are values: their fields are left out.

    Args:
        tree: a dataclass.
        name: what the paths begin with.
    """
    described = descriptions(type(tree))
    types = typing.get_type_hints(type(tree))
    for field in dataclasses.fields(tree):
        value, path = getattr(tree, field.name), f"{name}.{field.name}"
        kind, description = _kind(types[field.name]), described.get(field.name, "")
        if range_ := ranges.declared(field):
            kind = f"{kind}, {range_}"
        yield Field(path, kind, _shown(value), description)
        for index, inner in enumerate(value) if isinstance(value, tuple) else [("", value)]:
            if dataclasses.is_dataclass(inner) and not _is_frozen(inner):
                yield from fields(inner, path if index == "" else f"{path}[{index}]")


def descriptions(kind: type) -> dict[str, str]:
    """Returns the sections `Attributes` of a class and its bases, in one line by attribute."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        found |= _attributes(inspect.cleandoc(each.__doc__ or ""))
    return found


def _attributes(docstring: str) -> dict[str, str]:
    _, _, section = docstring.partition("Attributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line.strip() and not line.startswith(" "):
            break  # Another section.
        if match := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def _is_frozen(value: Any) -> bool:
    return type(value).__dataclass_params__.frozen


def _kind(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "|".join(str(member.value) for member in kind)
    if isinstance(kind, type) and not typing.get_args(kind):
        return kind.__name__
    return re.sub(r"[\w.]+\.(\w+)", r"\1", str(kind))


def _shown(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        return f"({', '.join(map(_shown, value))})"
    return type(value).__name__ if dataclasses.is_dataclass(value) else repr(value)
