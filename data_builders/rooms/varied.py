"""Samples varied spaces: rooms, corridors, halls and homes, more or less full of things."""

from collections.abc import Sequence

import numpy as np

from data_builders.rooms import fittings, floor_things, furnishings, palettes
from data_builders.rooms.furniture import Maker
from data_builders.rooms.space import Space

MAX_BOXES = 224  # Scenes are padded to it, so that the renderer is compiled once.
MAX_FLOOR_SHARE = 0.42

# Furniture by type of room; each piece is sampled with its weight.
_LIVING = (
    (furnishings.sofa, 2), (furnishings.table, 2), (furnishings.shelf, 2), (floor_things.rug, 1),
    (floor_things.floor_lamp, 1), (floor_things.floor_plant, 1), (furnishings.drawers, 1),
    (furnishings.chair, 1), (floor_things.on_floor, 2),
)  # fmt: skip
_OFFICE = (
    (furnishings.desk, 5), (furnishings.swivel_chair, 3), (furnishings.shelf, 2),
    (furnishings.drawers, 2), (floor_things.cartons, 1), (floor_things.bag, 1),
    (floor_things.bin_, 1), (floor_things.on_floor, 1), (floor_things.floor_plant, 1),
)  # fmt: skip
_DINING = (
    (furnishings.table, 3), (furnishings.chair, 5), (furnishings.counter, 2),
    (furnishings.drawers, 2), (floor_things.bin_, 1), (floor_things.rug, 1), (floor_things.bag, 1),
)  # fmt: skip
_BEDROOM = (
    (furnishings.bed, 2), (furnishings.drawers, 3), (floor_things.rug, 1), (furnishings.desk, 1),
    (floor_things.bag, 1), (floor_things.on_floor, 3), (furnishings.shelf, 1),
    (furnishings.chair, 1),
)  # fmt: skip
_STORE = (
    (floor_things.cartons, 5), (furnishings.shelf, 3), (floor_things.on_floor, 5),
    (furnishings.drawers, 1), (furnishings.table, 1), (floor_things.bin_, 1),
    (floor_things.floor_lamp, 1),
)  # fmt: skip
_CORRIDOR = (
    (furnishings.drawers, 2), (floor_things.cartons, 1), (floor_things.floor_plant, 1),
    (floor_things.rug, 1), (furnishings.chair, 1), (floor_things.bin_, 1), (floor_things.bag, 1),
)  # fmt: skip
_WALLS = (
    (fittings.poster, 5), (fittings.picture, 4), (fittings.small_things, 4),
    (fittings.wall_shelf, 2), (fittings.radiator, 2), (fittings.curtain, 2), (fittings.pipe, 2),
    (fittings.television, 1), (fittings.door, 1),
)  # fmt: skip
_SETS = (_LIVING, _OFFICE, _OFFICE, _DINING, _BEDROOM, _STORE)


def make_space(seed: int | Sequence[int]) -> Space:
    """Samples a varied room: its size, building parts, materials and furniture."""
    seed = (seed,) if isinstance(seed, int) else tuple(seed)
    rng = np.random.default_rng([*seed, 2])
    size, corridor = _size(rng)
    paint = palettes.wall(rng)
    walls = [paint if rng.random() < 0.75 else palettes.wall(rng) for _ in range(4)]
    roof = palettes.white(rng) if rng.random() < 0.85 else palettes.wall(rng)
    shell = (roof, palettes.floor(rng), *walls)

    building = []
    kind = rng.random()
    if kind < 0.3 and size[0] > 4.2:
        building = fittings.partition(rng, size, paint)
    elif kind < 0.5 and not corridor and min(size[:2]) > 3.2:
        building = fittings.block(rng, size, paint)
    fixed = [part for part, _ in building]
    fixed += [fittings.ceiling_lamp(rng) for _ in range(rng.integers(1, 4))]
    fixed += [fittings.door(rng) for _ in range(rng.integers(1, 5 if corridor else 3))]
    fixed += [fittings.window(rng) for _ in range(rng.choice(3, p=[0.35, 0.4, 0.25]))]
    area, density = size[0] * size[1], rng.choice([0.25, 0.6, 1.0, 1.5])
    theme = _CORRIDOR if corridor else _SETS[rng.integers(len(_SETS))]
    movable = _sample(theme, round(density * min(area, 30.0) * 0.7) + 1, rng)
    movable += _sample(_WALLS, int(rng.integers(1, 12)), rng)
    spares = _sample(theme, 3, rng)
    pieces = (*fixed, *movable, *spares)
    return Space(
        seed,
        size,
        shell,
        pieces,
        frozenset(range(len(pieces) - len(spares), len(pieces))),
        building=tuple(pose for _, pose in building),
        max_boxes=MAX_BOXES,
        max_floor_share=MAX_FLOOR_SHARE,
        varied=True,
    )


def _sample(kinds: Sequence[tuple[Maker, int]], count: int, rng: np.random.Generator) -> list:
    weights = np.array([weight for _, weight in kinds], float)
    chosen = rng.choice(len(kinds), count, p=weights / weights.sum())
    return [kinds[index][0](rng) for index in chosen]


def _size(rng: np.random.Generator) -> tuple[tuple[float, float, float], bool]:
    """Samples width, depth and height, and whether the room is a corridor."""
    kind, height = rng.random(), rng.uniform(2.3, 3.0)
    if kind < 0.13:
        sides, height = (rng.uniform(5, 9), rng.uniform(1.5, 2.4)), rng.uniform(2.2, 2.8)
    elif kind < 0.25:
        sides, height = rng.uniform(6, 9, 2), rng.uniform(2.6, 4.2)
    elif kind < 0.4:
        sides = rng.uniform(2.4, 3.4, 2)
    else:
        sides = rng.uniform(3.0, 6.5, 2)
    sides = [float(side) for side in sides]
    if rng.random() < 0.5:
        sides.reverse()
    return (sides[0], sides[1], float(height)), kind < 0.13
