"""Declares the ranges of the numbers in a dataclass where its fields are, and checks them.

learning_rate: float = ranges.number(1e-3, above=0)
"""

import dataclasses
import math
import numbers
from typing import Any

_KEY = "range"  # In the metadata of a field.
Bound = float | str | None  # A number, the name of another field of the same object, or none.


@dataclasses.dataclass(frozen=True)
class Range:
    """A range of finite numbers.

    Attributes:
        above: exclusive lower bound.
        least: inclusive lower bound.
        below: exclusive upper bound.
        most: inclusive upper bound.
    """

    above: Bound = None
    least: Bound = None
    below: Bound = None
    most: Bound = None

    def holds(self, value: float, owner: Any) -> bool:
        """Returns whether a value of a field of `owner` is in the range."""
        above, least, below, most = (_number(each, owner) for each in dataclasses.astuple(self))
        return (
            math.isfinite(value)
            and (above is None or value > above)
            and (least is None or value >= least)
            and (below is None or value < below)
            and (most is None or value <= most)
        )

    def __str__(self) -> str:
        """Describes the range, such as `above 0 and at most 1`."""
        names = {"above": "above", "least": "at least", "below": "less than", "most": "at most"}
        bounds = {names[name]: bound for name, bound in vars(self).items() if bound is not None}
        return (
            " and ".join(f"{name} {bound}" for name, bound in bounds.items()) or "a finite number"
        )


def number(default: Any = dataclasses.MISSING, **bounds: Bound) -> Any:
    """Returns a field of a dataclass whose numbers are in a range.

    Args:
        default: of the field; a number, or a tuple of numbers.
        bounds: fields of `Range`.
    """
    return dataclasses.field(default=default, metadata={_KEY: Range(**bounds)})


def declared(field: dataclasses.Field) -> Range | None:
    """Returns the range that `number` declared for a field."""
    return field.metadata.get(_KEY)


def check(tree: Any, name: str) -> None:
    """Checks the numbers of a dataclass and of the dataclasses in it, also in tuples.

    Args:
        tree: a dataclass.
        name: what the paths of its fields begin with, such as `config`.

    Raises:
        ValueError: if one is not finite, not of the type of its field, or not in its range.
    """
    for field in dataclasses.fields(tree):
        range_, value = declared(field) or Range(), getattr(tree, field.name)
        for path, item in _items(f"{name}.{field.name}", value):
            if dataclasses.is_dataclass(item):
                check(item, path)
            elif isinstance(item, numbers.Real) and not isinstance(item, bool):
                if not range_.holds(float(item), tree):
                    raise ValueError(f"{path}={item}: expected {range_}{_values(range_, tree)}")
                if field.type is int and not isinstance(item, numbers.Integral):
                    raise ValueError(f"{path}={item}: expected an integer")
            elif declared(field) and item is not None:
                raise ValueError(f"{path}={item}: expected a number, {range_}")


def _items(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, tuple | list):
        return [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return [(f"{path}[{key!r}]", item) for key, item in value.items()]
    return [(path, value)]


def _values(range_: Range, owner: Any) -> str:
    """Returns the values of the fields that bound a range, such as ` (steps=60)`."""
    fields = [bound for bound in dataclasses.astuple(range_) if isinstance(bound, str)]
    return f" ({', '.join(f'{name}={getattr(owner, name)}' for name in fields)})" * bool(fields)


def _number(bound: Bound, owner: Any) -> float | None:
    return getattr(owner, bound) if isinstance(bound, str) else bound
