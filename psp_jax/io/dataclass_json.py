"""Trees of dataclasses as JSON, with the names of their classes."""

import dataclasses
import importlib
from collections.abc import Sequence
from typing import Any

_TYPE = "type"  # Key that names the class of an object.


def to_plain(value: Any) -> Any:
    """Turns a tree of dataclasses into dicts and lists that JSON can hold."""
    if dataclasses.is_dataclass(value):
        kind = type(value)
        fields = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {_TYPE: f"{kind.__module__}.{kind.__qualname__}", **fields}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def from_plain(value: Any, *, packages: Sequence[str]) -> Any:
    """Rebuilds the tree; lists become tuples.

    Args:
        value: what `to_plain` returned.
        packages: the only packages whose classes may be instantiated.

    Raises:
        ValueError: if it names a class of another package.
        AttributeError, ImportError, KeyError, TypeError: if a class or a field does not exist.
    """
    if isinstance(value, dict) and _TYPE in value:
        module, _, name = value[_TYPE].rpartition(".")
        if module.split(".")[0] not in packages:
            raise ValueError(f"{value[_TYPE]} is no class of {' or '.join(packages)}")
        kind = getattr(importlib.import_module(module), name)
        fields = {key: item for key, item in value.items() if key != _TYPE}
        return kind(**{key: from_plain(item, packages=packages) for key, item in fields.items()})
    if isinstance(value, dict):
        return {key: from_plain(item, packages=packages) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(from_plain(item, packages=packages) for item in value)
    return value


def flatten(value: Any) -> dict[str, Any]:
    """Returns the leaves of a tree of dataclasses by their dotted names."""
    return _flatten(to_plain(value), "")


def _flatten(value: Any, prefix: str) -> dict[str, Any]:
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, child in items:
        flat |= _flatten(child, f"{prefix}.{key}" if prefix else str(key))
    return flat
