"""Samples spaces: rooms with their materials and furniture, before the furniture is placed."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_builders.rooms import furniture, materials
from data_builders.rooms.furniture import Piece
from data_builders.rooms.materials import Material

MAX_BOXES = 64
MAX_FLOOR_SHARE = 0.36


@dataclasses.dataclass(frozen=True)
class Space:
    """A room and its furniture.

    Attributes:
        seed: seed of the random numbers.
        size: width, depth and height in metres.
        shell: materials of the ceiling, the floor and the four walls.
        pieces: the furniture.
        spares: indices of the pieces that only appear in rescans.
        building: x, y, z in metres and yaw of the first pieces, which are parts of the building.
        max_boxes: most boxes that are placed; scenes are padded to it.
        max_floor_share: most of the floor that furniture covers; more leaves the camera nowhere
            to walk.
        varied: whether the room is one of `varied.make_space`.
    """

    seed: tuple[int, ...]
    size: tuple[float, float, float]
    shell: tuple[Material, ...]
    pieces: tuple[Piece, ...]
    spares: frozenset[int]
    building: tuple[tuple[float, float, float, float], ...] = ()
    max_boxes: int = MAX_BOXES
    max_floor_share: float = MAX_FLOOR_SHARE
    varied: bool = False


def make_space(seed: int | Sequence[int]) -> Space:
    """Samples a room: its size, materials and furniture."""
    seed = (seed,) if isinstance(seed, int) else tuple(seed)
    rng = np.random.default_rng([*seed, 0])
    width, depth = np.sort(rng.uniform(3.0, 6.5, 2))[:: rng.choice([-1, 1])]
    size = (float(width), float(min(depth, 24.0 / width + 1.0)), float(rng.uniform(2.4, 3.0)))
    paint = materials.wall(rng)
    walls = [paint] * 4
    if rng.random() < 0.4:
        walls[rng.integers(4)] = materials.wall(rng)
    shell = (materials.WHITE, materials.floor(rng), *walls)

    fixed = [furniture.lamp(rng), furniture.door(rng), furniture.lamp(rng)][: 2 + (max(size) > 4.5)]
    fixed += [furniture.window(rng) for _ in range(rng.choice(3, p=[0.2, 0.5, 0.3]))]
    theme = furniture.SETS[rng.integers(len(furniture.SETS))]
    movable = [make(rng) for make in theme]
    spares = [furniture.carton(rng), furniture.chair(rng), furniture.parcel(rng)]
    pieces = (*fixed, *movable, *spares)
    return Space(
        seed, size, shell, pieces, frozenset(range(len(pieces) - len(spares), len(pieces)))
    )
