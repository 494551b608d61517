"""Intersects rays with turned boxes, ellipsoids, cylinders and cones, tile by tile.

A solid is described in its unit frame, where its bounding box is [-1, 1]^3. A box fills it. A round
solid is the part of x^2 + y^2 + a z^2 + b z + c <= 0 inside. Each tile of the image tests only the
solids near its rays, so the cost hardly depends on the number of small objects in a room.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

CURVED = 3  # Face of a point on a round side; 0 to 2 are the axes across plane faces.
SOLIDS_PER_KERNEL = 4  # On a GPU.
TILE_PX = 80  # Longest edge of a tile; it divides 240x320 pixels into 12 tiles.


class Solids(NamedTuple):
    """Solids of a scene; `S` as in `scene.Scene`, unused rows come last.

    Attributes:
        to_unit: `[S, 3, 3]` float32, from world offsets to the unit frame.
        conic: `[S, 3]` float32, the coefficients a, b, c of a round solid; 0 for boxes.
        radius_m: `[S]` float32, of the bounding sphere; negative for the room and unused rows.
        key: `[S]` int32, seeds of the patterns.
        first_round: int32, the first row that is not a box.
    """

    to_unit: np.ndarray
    conic: np.ndarray
    radius_m: np.ndarray
    key: np.ndarray
    first_round: np.ndarray


def ellipsoid() -> tuple[float, float, float]:
    """Returns the conic of an ellipsoid."""
    return 1.0, 0.0, -1.0


def frustum(top: float) -> tuple[float, float, float]:
    """Returns the conic of a cone cut at `top` of its lower radius: 1 a cylinder, 0 a cone."""
    middle, slope = (1 + top) / 2, (1 - top) / 2  # radius = middle - slope z
    return -slope * slope, 2 * middle * slope, -middle * middle


def fold(
    solids: Solids,
    center: jax.Array,
    origin: jax.Array,
    rays: jax.Array,
    *,
    reach: jax.Array,
    step: Callable,
    start: Any,
    size: tuple[int, int],
) -> Any:
    """Folds (state, row, near, far) over the solids; a ray is in a solid from near to far.

    Args:
        solids: the solids.
        center: `[S, 3]` their centres.
        origin: `[3]` or `[3, R]` start of the rays, metres.
        rays: `[3, R]` directions.
        reach: `[R]` ray parameter behind which hits do not matter.
        step: the function that is folded.
        start: its initial state, a tree of `[R]`.
        size: height and width of the image; R = height * width.
    """
    if jax.default_backend() != "cpu":
        return _fold_all(solids, center, origin, rays, step, start)
    table = _table(solids, center)

    def test(intersect: Callable) -> Callable:
        return lambda state, row, origin, rays: step(
            state, row, *intersect(*_in_unit(table[row], origin, rays))
        )

    return fold_near(
        jnp.asarray(center),
        jnp.asarray(solids.radius_m),
        origin,
        rays,
        reach=reach,
        steps=((jnp.asarray(solids.first_round), test(_in_box)), (len(table), test(_in_round))),
        start=start,
        size=size,
    )


def fold_near(
    center: jax.Array,
    radius_m: jax.Array,
    origin: jax.Array,
    rays: jax.Array,
    *,
    reach: jax.Array,
    steps: Sequence[tuple[jax.Array | int, Callable]],
    start: Any,
    size: tuple[int, int],
) -> Any:
    """Folds over the solids near the rays of each tile of an image.

    Args:
        center: `[S, 3]` centres of the solids.
        radius_m: `[S]` radii of their bounding spheres; negative for solids to skip.
        origin, rays, reach, start, size: as for `fold`.
        steps: pairs of a row and a function that is folded over the solids before that row and
            after the previous pair: (state, row, origin, rays) -> state, all of a tile.
    """
    if origin.ndim == 1:
        origin = jnp.broadcast_to(origin[:, None], rays.shape)
    origins, directions = _to_tiles(origin, size), _to_tiles(rays, size)
    ends = _to_tiles(origin + reach[None] * rays, size)
    near = _near_tiles(center, radius_m, origins, ends)  # [T, S]
    order = jnp.argsort(~near, axis=1, stable=True)
    rows = jnp.arange(len(center))
    counts = [jnp.count_nonzero(near & (rows < last), axis=1) for last, _ in steps]

    def tile(of):
        order, counts, origin, rays, state = of
        first = 0
        for count, (_, step) in zip(counts, steps, strict=True):

            def body(i: jax.Array, state, step: Callable = step):
                return step(state, order[i], origin, rays)

            state = lax.fori_loop(first, count, body, state)
            first = count
        return state

    states = jax.tree.map(lambda leaf: _to_tiles(leaf, size), start)
    states = lax.map(tile, (order, counts, origins, directions, states))
    return jax.tree.map(lambda leaf: _from_tiles(leaf, size), states)


def _fold_all(
    solids: Solids,
    center: jax.Array,
    origin: jax.Array,
    rays: jax.Array,
    step: Callable,
    start: Any,
) -> Any:
    """Folds over all solids for all rays, as `fold` does.

    A loop of known length runs on a GPU without asking the host, and unrolled with few kernels;
    that costs less than choosing the solids near each tile.
    """
    table = _table(solids, center)
    origin = origin[:, None] if origin.ndim == 1 else origin

    def body(row: jax.Array, state):
        given = _in_unit(table[row], origin, rays)
        is_box, exists = row < solids.first_round, solids.radius_m[row] > 0
        near, far = (
            jnp.where(is_box, of_box, of_round)
            for of_box, of_round in zip(_in_box(*given), _in_round(*given), strict=True)
        )
        return step(state, row, near, jnp.where(exists, far, -jnp.inf))

    return lax.fori_loop(0, len(table), body, start, unroll=SOLIDS_PER_KERNEL)


def _table(solids: Solids, center: jax.Array) -> jax.Array:
    """Returns `[S, 15]` centres, matrices to the unit frame, and conics."""
    matrices = jnp.asarray(solids.to_unit).reshape(len(center), 9)
    return jnp.concatenate([jnp.asarray(center), matrices, jnp.asarray(solids.conic)], axis=1)


def _in_unit(
    values: jax.Array, origin: jax.Array, rays: jax.Array
) -> tuple[list[jax.Array], list[jax.Array], tuple[jax.Array, ...]]:
    """Returns origins and directions in the unit frame of a row of the table, and its conic."""
    # By axis, so that XLA compiles one kernel; whole arrays take four times as long.
    x, y, z = (origin[axis] - values[axis] for axis in range(3))
    p = [values[k] * x + values[k + 1] * y + values[k + 2] * z for k in (3, 6, 9)]
    x, y, z = rays[0], rays[1], rays[2]
    d = [values[k] * x + values[k + 1] * y + values[k + 2] * z for k in (3, 6, 9)]
    return p, d, (values[12], values[13], values[14])


def _in_slab(p: jax.Array, d: jax.Array) -> tuple[jax.Array, jax.Array]:
    inverse = 1 / jnp.where(jnp.abs(d) < 1e-9, 1e-9, d)
    middle, reach = -p * inverse, jnp.abs(inverse)
    return middle - reach, middle + reach


def _in_box(p: list, d: list, _: tuple) -> tuple[jax.Array, jax.Array]:
    spans = [_in_slab(*axis) for axis in zip(p, d, strict=True)]
    near = jnp.maximum(jnp.maximum(spans[0][0], spans[1][0]), spans[2][0])
    far = jnp.minimum(jnp.minimum(spans[0][1], spans[1][1]), spans[2][1])
    return near, far


def _in_round(p: list, d: list, conic: tuple) -> tuple[jax.Array, jax.Array]:
    a, b, c = conic
    # Float32 is exact enough from the point of the ray that is nearest to the centre.
    shift = -(p[0] * d[0] + p[1] * d[1] + p[2] * d[2]) / (d[0] ** 2 + d[1] ** 2 + d[2] ** 2)
    x, y, z = (p[axis] + shift * d[axis] for axis in range(3))
    square = d[0] * d[0] + d[1] * d[1] + a * d[2] * d[2]
    square = jnp.where(jnp.abs(square) < 1e-9, 1e-9, square)
    linear = x * d[0] + y * d[1] + (a * z + b / 2) * d[2]
    constant = x * x + y * y + (a * z + b) * z + c
    inside = linear * linear - square * constant
    root = jnp.sqrt(jnp.maximum(inside, 0))
    one, two = (-linear - root) / square, (-linear + root) / square
    low, high = jnp.minimum(one, two), jnp.maximum(one, two)
    # A ray steeper than a cone is in it before the first root, or, downwards, after the second.
    steep, up = square < 0, d[2] > 0
    near = jnp.where(steep, jnp.where(up, -jnp.inf, high), low)
    far = jnp.where(steep, jnp.where(up, low, jnp.inf), high)
    bottom, top = _in_slab(z, d[2])
    near, far = jnp.maximum(near, bottom) + shift, jnp.minimum(far, top) + shift
    return jnp.where(inside < 0, jnp.inf, near), jnp.where(inside < 0, -jnp.inf, far)


def _near_tiles(
    center: jax.Array, radius_m: jax.Array, origins: jax.Array, ends: jax.Array
) -> jax.Array:
    """Returns `[T, S]` bool: whether a solid's bounding sphere may touch a segment of the tile.

    The segments lie in the hull of a sphere of radius r0 around their starts and one of radius r1
    around their ends. The distance to its axis minus its radius is convex along the axis.
    """
    first, first_radius = _ball(origins)
    last, last_radius = _ball(ends)
    axis = last - first  # [T, 3]
    length = jnp.maximum(jnp.sqrt((axis * axis).sum(axis=1)), 1e-6)[:, None]
    offset = center[None] - first[:, None]  # [T, S, 3]
    along = (offset * axis[:, None]).sum(axis=2) / length  # [T, S]
    away = jnp.sqrt(jnp.maximum((offset * offset).sum(axis=2) - along * along, 0))
    growth = jnp.clip((last_radius - first_radius)[:, None] / length, -0.99, 0.99)
    place = along + away * growth / jnp.sqrt(1 - growth * growth)
    place = jnp.clip(place, 0, length)
    gap = jnp.sqrt((along - place) ** 2 + away * away)
    radius = first_radius[:, None] + (last_radius - first_radius)[:, None] * place / length
    # The margin covers rounding.
    return (gap < radius + radius_m[None] + 0.01) & (radius_m[None] > 0)


def _ball(points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns centre `[T, 3]` and radius `[T]` of a sphere around the points `[T, 3, N]`."""
    middle = (points.min(axis=2) + points.max(axis=2)) / 2
    offset = points - middle[:, :, None]
    return middle, jnp.sqrt((offset * offset).sum(axis=1).max(axis=1))


def _tile(size: tuple[int, int]) -> tuple[int, int]:
    height, width = (
        max(edge for edge in range(1, min(TILE_PX, pixels) + 1) if pixels % edge == 0)
        for pixels in size
    )
    return height, width


def _to_tiles(values: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Reorders `[..., R]` to `[T, ..., N]`."""
    (height, width), (tall, wide), lead = size, _tile(size), values.shape[:-1]
    grid = values.reshape(*lead, height // tall, tall, width // wide, wide)
    grid = jnp.moveaxis(grid, (-4, -2), (0, 1))
    return grid.reshape(-1, *lead, tall * wide)


def _from_tiles(values: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Reverses `_to_tiles` for `[T, N]`."""
    (height, width), (tall, wide) = size, _tile(size)
    grid = values.reshape(height // tall, width // wide, tall, wide)
    return grid.transpose(0, 2, 1, 3).reshape(-1)


def surface(
    solids: Solids, offset: jax.Array, half: jax.Array, row: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Describes points on solids.

    Args:
        solids: the solids.
        offset: `[3, R]` world offsets of the points from the centres of their solids.
        half: `[3, R]` half sizes.
        row: `[R]` rows of the solids.

    Returns:
        `[3, R]` point in the frame of the solid, metres; `[3, R]` outward normal in the world;
        `[R]` int32 face: the axis across a plane face, or `CURVED`.
    """
    m = jnp.asarray(solids.to_unit).reshape(-1, 9).T[:, row]
    a, b, c = jnp.asarray(solids.conic).T[:, row]
    # Written out: XLA would repeat the lookups in each sum over an axis.
    m, a, b, c = lax.optimization_barrier((m, a, b, c))
    unit = [m[k] * offset[0] + m[k + 1] * offset[1] + m[k + 2] * offset[2] for k in (0, 3, 6)]
    x, y, z = unit
    outside = [(jnp.abs(unit[k]) - 1) * half[k] for k in range(3)]
    axis = jnp.where(
        outside[0] >= jnp.maximum(outside[1], outside[2]),
        0,
        jnp.where(outside[1] >= outside[2], 1, 2),
    )
    cap = (a <= 0) & (jnp.abs(z) - 1 > (x * x + y * y + (a * z + b) * z + c) / 2)
    face = jnp.where(c != 0, jnp.where(cap, 2, CURVED), axis)
    curved = face == CURVED
    slope = [
        jnp.where(curved, curve, jnp.where(face == k, jnp.sign(unit[k]), 0))
        for k, curve in enumerate((x, y, a * z + b / 2))
    ]
    normal = [m[k] * slope[0] + m[k + 3] * slope[1] + m[k + 6] * slope[2] for k in range(3)]
    squared = normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2
    scale = 1 / jnp.sqrt(jnp.maximum(squared, 1e-12))
    local = jnp.stack([unit[k] * half[k] for k in range(3)])
    return local, jnp.stack([scale * part for part in normal]), face
