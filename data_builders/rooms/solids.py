"""Makes the parts of the varied furniture: round and turned solids, and what stands on them.

Frames and units are those of `furniture`. A part is made from the middle of its base.
"""

from collections.abc import Sequence

import numpy as np

from data_builders.rooms import shapes
from data_builders.rooms.furniture import Box, Item, Maker, Piece, Placement
from data_builders.rooms.materials import Material

Base = tuple[float, float, float]  # x, y and height of the middle of a base
TRIES = 12  # Places sampled before an item is left out.


def cylinder(at: Base, radius: float, height: float, material: Material, top: float = 1.0) -> Box:
    """Makes an upright cylinder, or a cone whose upper radius is `top` times `radius`.

    With `top` above 1 the solid is wider above.
    """
    x, y, bottom = at
    wide, turned = 2 * radius * max(top, 1), (0.0, np.pi if top > 1 else 0.0, 0.0)
    conic = shapes.frustum(min(top, 1 / top))
    return Box((x, y, bottom + height / 2), (wide, wide, height), material, conic, turned)


def ball(at: Base, size: tuple[float, float, float], material: Material, yaw: float = 0.0) -> Box:
    """Makes an ellipsoid."""
    x, y, bottom = at
    return Box((x, y, bottom + size[2] / 2), size, material, shapes.ellipsoid(), (yaw, 0.0, 0.0))


def rod(start: Base, end: Base, thick: float, material: Material) -> Box:
    """Makes a thin cylinder between two points."""
    a, b = np.asarray(start), np.asarray(end)
    dx, dy, dz = b - a
    length = float(np.linalg.norm(b - a))
    turn = (float(np.arctan2(dx, -dy)), float(np.arccos(np.clip(dz / length, -1, 1))), 0.0)
    x, y, z = (float(value) for value in (a + b) / 2)
    return Box((x, y, z), (thick, thick, length), material, shapes.frustum(1.0), turn)


def tilted(
    hinge: Base, size: tuple[float, float, float], angle: float, material: Material, yaw: float = 0
) -> Box:
    """Makes an upright box whose lower edge lies at `hinge`, leaning back by `angle`.

    `angle` 0 is upright and pi / 2 lies towards -y; then the box is turned by `yaw`.
    """
    width, thick, height = size
    y, z = -height / 2 * np.sin(angle), height / 2 * np.cos(angle)
    z += thick / 2 * np.sin(abs(angle))
    center = (hinge[0] - y * np.sin(yaw), hinge[1] + y * np.cos(yaw), hinge[2] + z)
    return Box(center, (width, thick, height), material, None, (float(yaw), float(angle), 0.0))


def rotation(turn: Sequence[float]) -> np.ndarray:
    """Returns `[3, 3]`, part to piece: turns about y by roll, then x by pitch, then z by yaw."""
    yaw, pitch, roll = turn
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    about_y = np.array(
        [[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]]
    )
    return about_z @ about_x @ about_y


def scatter(
    rng: np.random.Generator,
    makers: Sequence[Maker],
    count: int,
    area: tuple[float, float, float, float],
    *,
    top: float,
    room: float = 1.0,
    taken: Sequence[Item] = (),
) -> tuple[Item, ...]:
    """Places items on a horizontal surface without overlap.

    Args:
        rng: random numbers.
        makers: kinds of items.
        count: number of items to try.
        area: centre x and y, width and depth of the surface.
        top: its height.
        room: free height above it.
        taken: items that already stand there; they come first in the result.
    """
    x, y, width, depth = area
    items = list(taken)
    for _ in range(count):
        piece = makers[int(rng.integers(len(makers)))](rng)
        for _ in range(TRIES):
            yaw = rng.choice([rng.normal(0, 0.2), rng.uniform(-np.pi, np.pi)])
            reach = _reach(piece, yaw)
            spare = np.array([width, depth]) / 2 - reach
            if piece.size[2] > room or np.any(spare < 0):
                break
            place = rng.uniform(-spare, spare) + (x, y)
            item = Item(piece, (float(place[0]), float(place[1]), top), float(yaw))
            if not any(_overlap(item, other) for other in items):
                items.append(item)
                break
    return tuple(items)


def _reach(piece: Piece, yaw: float) -> np.ndarray:
    cos, sin = abs(np.cos(yaw)), abs(np.sin(yaw))
    width, depth = piece.size[:2]
    return np.array([cos * width + sin * depth, sin * width + cos * depth]) / 2


def _overlap(one: Item, two: Item) -> bool:
    """Compares the axis-aligned rectangles around two items."""
    gap = np.abs(np.subtract(one.place[:2], two.place[:2]))
    return bool(np.all(gap < _reach(one.piece, one.yaw) + _reach(two.piece, two.yaw)))


def bounds(parts: Sequence[Box]) -> tuple[float, float, float]:
    """Returns width, depth and height of a box, centred at the origin, around the parts."""
    reach, high = np.zeros(2), 0.0
    for part in parts:
        around = np.abs(rotation(part.turn)) @ np.asarray(part.size) / 2
        reach = np.maximum(reach, np.abs(part.center[:2]) + around[:2])
        high = max(high, part.center[2] + around[2])
    return float(2 * reach[0]), float(2 * reach[1]), float(high)


def piece(
    parts: Sequence[Box], placement: Placement = Placement.TOP, items: tuple[Item, ...] = ()
) -> Piece:
    """Makes a piece of the size of its parts."""
    return Piece(tuple(parts), bounds(parts), placement, items=items)
