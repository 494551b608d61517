import dataclasses
import enum

from psp_jax.io import dataclass_fields
from psp_jax.io.dataclass_fields import Field


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Point:
    x: int = 1


@dataclasses.dataclass
class Base:
    """A base.

    Attributes:
        width, height: of the thing, which
            may be large.
    """

    width: int = 3
    height: float = 2.5


@dataclasses.dataclass
class Inner(Base):
    """Something.

    Attributes:
        color: of the thing.

    Raises:
        color: not a description.
    """

    color: Color = Color.BLUE
    point: Point = Point()


@dataclasses.dataclass
class Outer:
    """All.

    Attributes:
        parts: in order.
        other: another, or none.
    """

    parts: tuple[Inner, ...] = (Inner(),)
    other: Inner | None = None


def test_fields_have_paths_types_values_and_descriptions():
    size = "of the thing, which may be large."
    assert list(dataclass_fields.fields(Outer(), "config")) == [
        Field("config.parts", "tuple[Inner, ...]", "(Inner)", "in order."),
        Field("config.parts[0].width", "int", "3", size),
        Field("config.parts[0].height", "float", "2.5", size),
        Field("config.parts[0].color", "red|blue", "blue", "of the thing."),
        Field("config.parts[0].point", "Point", "Point", ""),  # Frozen: a value.
        Field("config.other", "Inner | None", "None", "another, or none."),
    ]
