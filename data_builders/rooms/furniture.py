"""Samples furniture; a piece is a group of boxes.

In the frame of a piece, the origin is the centre of its footprint on the floor, +z is up, and its
front faces +y. All lengths are in metres.
"""

import dataclasses
import enum
from collections.abc import Callable

import numpy as np

from data_builders.rooms import materials
from data_builders.rooms.materials import Material


class Placement(enum.Enum):
    """Kind of place for a piece."""

    WALL = enum.auto()  # on the floor, its back to a wall
    FREE = enum.auto()  # anywhere on the floor
    SEAT = enum.auto()  # on the floor, at a table if there is one
    TOP = enum.auto()  # on a table or a cabinet
    MOUNTED = enum.auto()  # on a wall, above the floor by `height_m`
    FLAT = enum.auto()  # under everything: rugs
    CEILING = enum.auto()  # under the ceiling: lamps
    FIXED = enum.auto()  # part of the building, at the pose in the space


@dataclasses.dataclass(frozen=True)
class Box:
    """A box, or a round solid in it; only varied rooms have round and turned ones.

    Attributes:
        center: its middle, in metres, in the frame of its piece.
        size: full size along its own axes, metres.
        material: its surface.
        conic: coefficients of a round solid, as `shapes.frustum` returns; None for a box.
        turn: yaw, pitch and roll from the axes of the piece, as in `solids.rotation`.
    """

    center: tuple[float, float, float]
    size: tuple[float, float, float]
    material: Material
    conic: tuple[float, float, float] | None = None
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Item:
    """A piece that stands on another one: middle of its base in the frame of that one, and yaw."""

    piece: "Piece"
    place: tuple[float, float, float]
    yaw: float


@dataclasses.dataclass(frozen=True)
class Piece:
    """A piece of furniture.

    Attributes:
        boxes: its boxes.
        size: bounding width, depth and height in metres.
        placement: kind of place.
        height_m: height of the lower edge above the floor, for mounted pieces.
        carries: whether smaller pieces may stand on it.
        seats: whether chairs are placed at it.
        items: what stands on it.
    """

    boxes: tuple[Box, ...]
    size: tuple[float, float, float]
    placement: Placement
    height_m: float = 0.0
    carries: bool = False
    seats: bool = False
    items: tuple[Item, ...] = ()

    def count(self) -> int:
        """Returns the number of boxes, those of its items included."""
        return len(self.boxes) + sum(item.piece.count() for item in self.items)


def box(
    x: float, y: float, bottom: float, width: float, depth: float, height: float, material: Material
) -> Box:
    """Makes a box from the middle of its base and its full size."""
    return Box((x, y, bottom + height / 2), (width, depth, height), material)


def legs(width: float, depth: float, height: float, thick: float, material: Material) -> list[Box]:
    """Makes four legs flush with the corners of a `width` x `depth` top."""
    x, y = (width - thick) / 2, (depth - thick) / 2
    return [
        box(side * x, end * y, 0, thick, thick, height, material)
        for side in (-1, 1)
        for end in (-1, 1)
    ]


def table(rng: np.random.Generator) -> Piece:
    """Samples a dining table."""
    width, depth, height = rng.uniform(1.1, 1.9), rng.uniform(0.75, 1.0), rng.uniform(0.70, 0.78)
    finish, thick = materials.wood(rng), rng.uniform(0.03, 0.05)
    boxes = legs(width - 0.06, depth - 0.06, height - thick, rng.uniform(0.05, 0.09), finish)
    boxes.append(box(0, 0, height - thick, width, depth, thick, finish))
    return Piece(tuple(boxes), (width, depth, height), Placement.FREE, carries=True, seats=True)


def coffee_table(rng: np.random.Generator) -> Piece:
    """Samples a low table."""
    width, depth, height = rng.uniform(0.7, 1.2), rng.uniform(0.5, 0.7), rng.uniform(0.35, 0.48)
    finish = materials.wood(rng)
    boxes = [*legs(width, depth, height - 0.04, 0.06, finish)]
    boxes.append(box(0, 0, height - 0.04, width, depth, 0.04, finish))
    return Piece(tuple(boxes), (width, depth, height), Placement.FREE, carries=True)


def desk(rng: np.random.Generator) -> Piece:
    """Samples a desk on two side panels with a row of drawers."""
    width, depth, height = rng.uniform(1.2, 1.6), rng.uniform(0.6, 0.8), rng.uniform(0.70, 0.76)
    finish = materials.wood(rng)
    side = (width - 0.04) / 2
    boxes = (
        box(0, 0, height - 0.04, width, depth, 0.04, finish),
        box(-side, 0, 0, 0.04, depth - 0.04, height - 0.04, finish),
        box(side - 0.2, 0, 0, 0.44, depth - 0.04, height - 0.04, finish),
        box(-0.22, 0.04 - depth / 2, 0.3, width - 0.48, 0.03, height - 0.34, finish),
    )
    return Piece(boxes, (width, depth, height), Placement.WALL, carries=True, seats=True)


def chair(rng: np.random.Generator) -> Piece:
    """Samples a chair."""
    width, depth, seat = rng.uniform(0.40, 0.48), rng.uniform(0.42, 0.48), rng.uniform(0.42, 0.47)
    height = rng.uniform(0.80, 0.98)
    frame = materials.wood(rng) if rng.random() < 0.7 else materials.METAL
    cover = materials.cloth(rng) if rng.random() < 0.5 else frame
    boxes = legs(width, depth, seat - 0.05, 0.04, frame)
    boxes.append(box(0, 0, seat - 0.05, width, depth, 0.05, cover))
    boxes.append(box(0, 0.02 - depth / 2, seat, width, 0.04, height - seat, cover))
    return Piece(tuple(boxes), (width, depth, height), Placement.SEAT)


def shelf(rng: np.random.Generator) -> Piece:
    """Samples a bookcase: sides, back, boards, and books on most boards."""
    width, depth, height = rng.uniform(0.7, 1.1), rng.uniform(0.28, 0.36), rng.uniform(1.2, 2.0)
    finish, thick, boards = materials.wood(rng), 0.025, int(rng.integers(3, 5))
    side = (width - thick) / 2
    boxes = [
        box(-side, 0, 0, thick, depth, height, finish),
        box(side, 0, 0, thick, depth, height, finish),
        box(0, (0.015 - depth) / 2, 0, width - 2 * thick, 0.015, height, finish),
        box(0, 0.01, height - thick, width - 2 * thick, depth - 0.02, thick, finish),
    ]
    pitch = (height - thick - 0.05) / boards
    for level in range(boards):
        bottom = 0.05 + level * pitch
        boxes.append(box(0, 0.01, bottom, width - 2 * thick, depth - 0.02, thick, finish))
        if rng.random() < 0.75:
            share, tall = rng.uniform(0.5, 1.0), min(pitch - 0.06, rng.uniform(0.22, 0.3))
            free = (width - 2 * thick) * (1 - share) / 2
            row = (width - 2 * thick) * share - 0.01
            shift = free * rng.choice([-1, 1])
            place = (shift, -0.03, bottom + thick, row, depth - 0.12, tall)
            boxes.append(box(*place, materials.books(rng)))
    return Piece(tuple(boxes), (width, depth, height), Placement.WALL)


def sofa(rng: np.random.Generator) -> Piece:
    """Samples a sofa or an armchair: base, back, arms, and one cushion a seat."""
    seats = int(rng.integers(1, 4))
    arm, depth, height = rng.uniform(0.14, 0.22), rng.uniform(0.8, 0.95), rng.uniform(0.75, 0.9)
    inner = seats * rng.uniform(0.55, 0.65)
    width = inner + 2 * arm
    cover = materials.cloth(rng)
    pillow = cover if rng.random() < 0.5 else materials.cloth(rng)
    back = 0.2
    boxes = [
        box(0, 0, 0.05, inner, depth, 0.25, cover),
        box(0, (back - depth) / 2, 0.30, inner, back, height - 0.30, cover),
        box(-(width - arm) / 2, 0, 0.05, arm, depth, 0.55, cover),
        box((width - arm) / 2, 0, 0.05, arm, depth, 0.55, cover),
    ]
    for seat in range(seats):
        x = inner * ((seat + 0.5) / seats - 0.5)
        boxes.append(box(x, back / 2, 0.30, inner / seats - 0.015, depth - back, 0.14, pillow))
    return Piece(tuple(boxes), (width, depth, height), Placement.WALL)


def bed(rng: np.random.Generator) -> Piece:
    """Samples a bed with its head at the wall."""
    width, depth, height = rng.uniform(0.95, 1.7), rng.uniform(2.0, 2.1), rng.uniform(0.8, 1.1)
    finish, cover = materials.wood(rng), materials.cloth(rng)
    boxes = [
        box(0, 0.03, 0.08, width, depth - 0.06, 0.22, finish),
        box(0, 0.03 - depth / 2, 0, width, 0.06, height, finish),
        box(0, 0.04, 0.30, width - 0.04, depth - 0.1, 0.2, materials.WHITE),
        box(0, 0.3, 0.50, width - 0.02, depth - 0.66, 0.04, cover),
        box(0, 0.32 - depth / 2, 0.50, width * 0.75, 0.4, 0.1, materials.WHITE),
    ]
    return Piece(tuple(boxes), (width, depth, height), Placement.WALL)


def cabinet(rng: np.random.Generator) -> Piece:
    """Samples a cupboard or wardrobe with two doors and handles."""
    tall = rng.random() < 0.35
    width, depth = rng.uniform(0.8, 1.4), rng.uniform(0.4, 0.6)
    height = rng.uniform(1.8, 2.1) if tall else rng.uniform(0.6, 0.95)
    finish, front = materials.wood(rng), materials.wood(rng)
    leaf, face = width / 2 - 0.025, depth / 2 - 0.03
    boxes = [box(0, -0.015, 0, width, depth - 0.03, height, finish)]
    for side in (-1, 1):
        boxes.append(box(side * width / 4, face + 0.01, 0.06, leaf, 0.02, height - 0.1, front))
        boxes.append(
            box(side * 0.06, face + 0.025, height * 0.55, 0.015, 0.01, 0.14, materials.METAL)
        )
    return Piece(tuple(boxes), (width, depth, height), Placement.WALL, carries=not tall)


def carton(rng: np.random.Generator) -> Piece:
    """Samples a cardboard box on the floor."""
    width, depth, height = rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.45), rng.uniform(0.2, 0.5)
    boxes = (box(0, 0, 0, width, depth, height, materials.carton(rng)),)
    return Piece(boxes, (width, depth, height), Placement.FREE, carries=False)


def parcel(rng: np.random.Generator) -> Piece:
    """Samples a small object that stands on furniture."""
    width, depth, height = rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.22), rng.uniform(0.05, 0.28)
    finish = materials.carton(rng) if rng.random() < 0.4 else materials.cloth(rng)
    return Piece(
        (box(0, 0, 0, width, depth, height, finish),), (width, depth, height), Placement.TOP
    )


def monitor(rng: np.random.Generator) -> Piece:
    """Samples a computer monitor on a foot."""
    width, height = rng.uniform(0.45, 0.62), rng.uniform(0.40, 0.48)
    boxes = (
        box(0, 0, 0, 0.22, 0.16, 0.015, materials.METAL),
        box(0, -0.02, 0.015, 0.05, 0.03, 0.115, materials.METAL),
        box(0, 0, 0.13, width, 0.03, height - 0.13, materials.SCREEN),
    )
    return Piece(boxes, (width, 0.16, height), Placement.TOP)


def rug(rng: np.random.Generator) -> Piece:
    """Samples a rug."""
    width, depth = rng.uniform(1.2, 2.2), rng.uniform(0.9, 1.6)
    boxes = (box(0, 0, 0, width, depth, 0.008, materials.rug(rng)),)
    return Piece(boxes, (width, depth, 0.008), Placement.FLAT)


def _mounted(size: tuple[float, float, float], height_m: float, material: Material) -> Piece:
    return Piece((box(0, 0, 0, *size, material),), size, Placement.MOUNTED, height_m)


def door(rng: np.random.Generator) -> Piece:
    """Samples a closed door in its frame."""
    width, height, finish = rng.uniform(0.8, 0.95), rng.uniform(2.0, 2.1), materials.door(rng)
    boxes = (
        box(0, 0, 0, width, 0.05, height, finish),
        box(0.4 * width, 0.045, 1.0, 0.12, 0.04, 0.025, materials.METAL),
    )
    return Piece(boxes, (width, 0.13, height), Placement.MOUNTED)


def window(rng: np.random.Generator) -> Piece:
    """Samples a window: a bright pane with bars."""
    size = (rng.uniform(0.9, 1.6), 0.04, rng.uniform(0.9, 1.2))
    return _mounted(size, rng.uniform(0.85, 1.0), materials.WINDOW)


def picture(rng: np.random.Generator) -> Piece:
    """Samples a picture or poster."""
    size = (rng.uniform(0.35, 1.0), 0.025, rng.uniform(0.35, 0.8))
    return _mounted(size, rng.uniform(1.25, 1.5), materials.picture(rng))


def television(rng: np.random.Generator) -> Piece:
    """Samples a flat screen on the wall."""
    width = rng.uniform(0.8, 1.2)
    return _mounted((width, 0.06, 0.58 * width), rng.uniform(1.0, 1.2), materials.SCREEN)


def lamp(rng: np.random.Generator) -> Piece:
    """Samples a flat ceiling lamp."""
    size = (rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.4), 0.05)
    return Piece((box(0, 0, 0, *size, materials.LAMP),), size, Placement.CEILING)


Maker = Callable[[np.random.Generator], Piece]

# Furniture by type of room, in order of importance; the last pieces may not fit.
SETS: tuple[tuple[Maker, ...], ...] = (
    (sofa, coffee_table, shelf, sofa, rug, television, picture, cabinet, parcel, picture, carton),
    (desk, monitor, chair, shelf, desk, monitor, chair, carton, cabinet, picture, parcel, carton),
    (table, chair, chair, chair, chair, cabinet, parcel, rug, picture, parcel, shelf, picture),
    (bed, cabinet, shelf, rug, chair, parcel, picture, carton, picture, desk, monitor),
    (shelf, shelf, carton, carton, table, chair, carton, parcel, cabinet, carton, picture, carton),
)
