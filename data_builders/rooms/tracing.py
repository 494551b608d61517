"""Casts rays at boxes in a room, and textures and shades the points that they hit.

The forward component of a ray is 1, so the ray parameter is depth: metres along the optical axis.
Arrays over rays are `[3, R]`, and the outer loop is over boxes: each iteration is one vectorised
pass over all rays. Casting, texturing and shading are compiled separately: in one program XLA
recomputes each of them in the loops of the next, at twice the cost.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from data_builders.rooms import lighting, prints, shapes, textures
from data_builders.rooms.scene import SHELL_ROWS, Scene

BOXES_PER_KERNEL = 2  # On a GPU.
OFFSET_M = 0.002  # Secondary rays start this far off the surface, so that they do not hit it.
OCCLUSION_M = 0.7  # Boxes farther than this do not dim the ambient light.
CORNER_M = 0.25  # Width of the dark seams between walls, floor and ceiling.
# The pixels of a 2x2 block sample four points of a lamp; a 3x3 blur then gives soft shadows.
LAMP_POINTS = ((-0.7, -0.3, 0.0), (0.3, -0.7, 0.2), (0.7, 0.3, 0.0), (-0.3, 0.7, -0.2))
# They sample ambient light in four directions, the corners of a tetrahedron.
SKY_POINTS = ((0.58, 0.58, 0.58), (-0.58, -0.58, 0.58), (-0.58, 0.58, -0.58), (0.58, -0.58, -0.58))


class Hit(NamedTuple):
    """The points that rays hit."""

    rays: jax.Array  # [3, R] world directions, depth as their parameter
    depth: jax.Array  # [R] metres
    row: jax.Array  # [R] int32, row of the scene
    point: jax.Array  # [3, R] metres, world
    normal: jax.Array  # [3, R] towards the viewer
    cos_incidence: jax.Array  # [R]


@jax.jit
def reflectance(spot: textures.ShadingPoint) -> jax.Array:
    """Returns the `[3, R]` reflectance of boxes."""
    return jnp.clip(textures.reflectance(spot), 0.005, 0.95)


@jax.jit
def printed(spot: textures.ShadingPoint) -> jax.Array:
    """Returns the `[3, R]` reflectance of varied things, with their prints."""
    return jnp.clip(prints.reflectance(spot), 0.005, 0.95)


def _rays(pose: jax.Array, intrinsics: jax.Array, height: int, width: int) -> jax.Array:
    """Returns `[3, R]` world directions through pixel centres, with a depth of 1."""
    fx, fy, cx, cy = intrinsics
    x = jnp.tile((jnp.arange(width) - cx) / fx, height)[None]
    y = jnp.repeat((jnp.arange(height) - cy) / fy, width)[None]
    directions = pose[:3, :1] * x + pose[:3, 1:2] * y + pose[:3, 2:3]
    return _nonzero(directions)


def _nonzero(directions: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(directions) < 1e-7, 1e-7, directions)


def _over_boxes(
    scene: Scene,
    origin: jax.Array,
    rays: jax.Array,
    fold: Callable,
    start: Any,
    *,
    reach: jax.Array | float = 1.0,
    size: tuple[int, int],
):
    """Folds (state, row, near, far) over all boxes; a ray is in the box from near to far.

    Hits beyond `reach` must not change the state.
    """
    reach = jnp.broadcast_to(jnp.asarray(reach), rays.shape[1:])
    if scene.solids is not None:
        return shapes.fold(
            scene.solids,
            jnp.asarray(scene.center),
            origin,
            rays,
            reach=reach,
            step=fold,
            start=start,
            size=size,
        )
    center, half, cos_sin = jax.tree.map(jnp.asarray, (scene.center, scene.half, scene.cos_sin))

    def step(state, row: jax.Array, origin: jax.Array, rays: jax.Array):
        (cx, cy, cz), (hx, hy, hz), (cos, sin) = center[row], half[row], cos_sin[row]
        px, py, pz = origin[0] - cx, origin[1] - cy, origin[2] - cz
        dx, dy, dz = cos * rays[0] + sin * rays[1], cos * rays[1] - sin * rays[0], rays[2]
        middle_x, reach_x = -(cos * px + sin * py) / dx, hx / jnp.abs(dx)
        middle_y, reach_y = -(cos * py - sin * px) / dy, hy / jnp.abs(dy)
        middle_z, reach_z = -pz / dz, hz / jnp.abs(dz)
        near = jnp.maximum(jnp.maximum(middle_x - reach_x, middle_y - reach_y), middle_z - reach_z)
        far = jnp.minimum(jnp.minimum(middle_x + reach_x, middle_y + reach_y), middle_z + reach_z)
        return fold(state, row, near, far)

    if jax.default_backend() != "cpu":
        # A loop of known length runs without asking the host, and unrolled with few kernels.
        return lax.fori_loop(
            SHELL_ROWS,
            len(half),
            lambda row, state: step(state, row, origin, rays),
            start,
            unroll=BOXES_PER_KERNEL,
        )
    # The room itself comes first and is not tested; unused boxes of size 0 come last.
    tested = (jnp.arange(len(half)) >= SHELL_ROWS) & (half[:, 0] > 0)
    radius_m = jnp.where(tested, jnp.sqrt((half * half).sum(axis=1)), -1.0)
    return shapes.fold_near(
        center,
        radius_m,
        origin,
        rays,
        reach=reach,
        steps=((len(half), step),),
        start=start,
        size=size,
    )


@functools.partial(jax.jit, static_argnames="size")
def cast(
    scene: Scene, camera_to_world: jax.Array, intrinsics: jax.Array, *, size: tuple[int, int]
) -> tuple[Hit, textures.ShadingPoint]:
    """Finds the nearest surface along the ray of each pixel."""
    origin, rays = camera_to_world[:3, 3], _rays(camera_to_world, intrinsics, *size)
    room = scene.room_size[:, None]
    to_walls = (jnp.where(rays > 0, room, 0) - origin[:, None]) / rays
    axis = jnp.argmin(to_walls, axis=0)
    ahead = jnp.take_along_axis(rays, axis[None], axis=0)[0] > 0
    # Rows: ceiling 0, floor 1, then low and high wall of x and of y.
    shell = jnp.where(axis == 2, 1 - ahead, 2 + 2 * axis + ahead)

    def nearest(state, row, near, far):
        depth, best = state
        closer = (near < far) & (near > 0) & (near < depth)
        return jnp.where(closer, near, depth), jnp.where(closer, row, best)

    start = to_walls.min(axis=0), shell.astype(jnp.int32)
    depth, row = _over_boxes(scene, origin, rays, nearest, start, reach=start[0], size=size)
    return _surface(scene, origin, rays, depth, row, focal_px=intrinsics[0])


def _surface(
    scene: Scene,
    origin: jax.Array,
    rays: jax.Array,
    depth: jax.Array,
    row: jax.Array,
    *,
    focal_px: jax.Array,
) -> tuple[Hit, textures.ShadingPoint]:
    """Describes the points at `depth` along the rays, on the surfaces `row`."""
    point = origin[:, None] + depth[None] * rays
    half = jnp.asarray(scene.half).T[:, row]
    offset = point - jnp.asarray(scene.center).T[:, row]
    if scene.solids is None:
        local, normal, axis = _box_surface(scene, offset, half, row)
    else:
        # Without the barriers XLA would repeat the lookups for each of their uses.
        offset, half = lax.optimization_barrier((offset, half))
        local, normal, axis = shapes.surface(scene.solids, offset, half, row)
        local, normal, axis = lax.optimization_barrier((local, normal, axis))
    normal = jnp.where(row < SHELL_ROWS, -1.0, 1.0) * normal
    length = jnp.sqrt((rays * rays).sum(axis=0))
    cos_incidence = jnp.clip(-(rays * normal).sum(axis=0) / length, 0, 1)
    u_axis, v_axis = jnp.where(axis == 0, 1, 0), jnp.where(axis == 2, 1, 2)
    corner = local + half
    u, width = _pick(corner, u_axis), 2 * _pick(half, u_axis)
    if scene.solids is not None:
        radius, rounded = jnp.sqrt(half[0] * half[1]), axis == shapes.CURVED
        around = jnp.arctan2(local[1] / half[1], local[0] / half[0]) + jnp.pi
        u, width = jnp.where(rounded, radius * around, u), jnp.where(rounded, 6.3 * radius, width)
    spot = textures.ShadingPoint(
        u=u,
        v=_pick(corner, v_axis),
        width=width,
        height=2 * _pick(half, v_axis),
        upright=axis != 2,
        pixel_m=depth / focal_px / jnp.maximum(cos_incidence, 0.05),
        key=row if scene.solids is None else jnp.asarray(scene.solids.key)[row],
        wall=(row >= 2) & (row < SHELL_ROWS),
        albedo=jnp.asarray(scene.albedo).T[:, row],
        second=jnp.asarray(scene.second).T[:, row],
        texture=scene.texture[row],
        scale_m=scene.scale_m[row],
    )
    return Hit(rays, depth, row, point, normal, cos_incidence), spot


def _box_surface(
    scene: Scene, offset: jax.Array, half: jax.Array, row: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns point in the frame of its box, outward normal, and axis of the normal there."""
    cos, sin = jnp.asarray(scene.cos_sin).T[:, row]
    x, y, z = offset
    local = jnp.stack([cos * x + sin * y, cos * y - sin * x, z])
    axis = jnp.argmax(jnp.abs(local) - half, axis=0)  # the face is where the point is not inside
    sign = jnp.sign(_pick(local, axis))
    normal = jnp.stack(
        [
            jnp.where(axis == 0, cos, jnp.where(axis == 1, -sin, 0)) * sign,
            jnp.where(axis == 0, sin, jnp.where(axis == 1, cos, 0)) * sign,
            jnp.where(axis == 2, sign, 0),
        ]
    )
    return local, normal, axis


def _pick(values: jax.Array, of: jax.Array) -> jax.Array:
    return jnp.where(of == 0, values[0], jnp.where(of == 1, values[1], values[2]))


@functools.partial(jax.jit, static_argnames="size")
def shade(scene: Scene, hit: Hit, albedo: jax.Array, *, size: tuple[int, int]) -> jax.Array:
    """Returns `[3, R]` radiance: ambient light, two lamps with shadows, and emission."""
    start = hit.point + OFFSET_M * hit.normal
    facing_up = 0.5 + 0.5 * hit.normal[2]
    ambient = (0.20 + 0.12 * facing_up) * _openness(scene, hit, start, size)
    tint = jnp.array([1.0, 0.97, 0.93]) if scene.masks is None else scene.masks.ambient
    light = ambient[None] * tint[:, None]
    highlight = jnp.zeros_like(hit.depth)
    mirrored = hit.rays - 2 * _dot(hit.rays, hit.normal)[None] * hit.normal
    mirrored = mirrored / jnp.sqrt(_dot(mirrored, mirrored))[None]

    def add(lamp: jax.Array | int, sums: tuple[jax.Array, jax.Array]):
        light, highlight = sums
        falls, glint = _shine(scene, hit, start, mirrored, lamp, size)
        light = light + 3.6 * scene.light_color[lamp][:, None] * falls[None]
        return light, highlight + 0.5 * glint * scene.light_color[lamp].mean()

    sums = light, highlight
    if scene.masks is None:
        for lamp in range(len(scene.light_position)):
            sums = add(lamp, sums)
    else:
        lit = jnp.count_nonzero(jnp.asarray(scene.light_color)[:, 0])  # Black lights come last.
        sums = lax.fori_loop(0, lit, add, sums)
    light, highlight = sums
    gloss, emission = scene.gloss[hit.row], scene.emission[hit.row]
    return albedo * (light + emission[None]) + (gloss * gloss * highlight)[None]


def _shine(
    scene: Scene,
    hit: Hit,
    start: jax.Array,
    mirrored: jax.Array,
    lamp: jax.Array | int,
    size: tuple[int, int],
) -> tuple[jax.Array, jax.Array]:
    """Returns the light `[R]` of a lamp on matt surfaces, and its mirror image on glossy ones."""
    middle = scene.light_position[lamp][:, None]
    points = scene.light_radius_m[lamp] * _by_pixel(jnp.asarray(LAMP_POINTS), size)

    def passes(seen, row, near, far):
        return jnp.where((near < far) & (far > 0) & (near < 1), 0.0, seen)

    towards = _nonzero(middle + points - start)
    seen = jnp.ones_like(hit.depth)
    if scene.masks is not None:
        seen, inside = lighting.passes(scene.masks, lamp, start, towards)
        towards = inside * towards
    seen = _over_boxes(scene, start, towards, passes, seen, size=size)
    reaches = _blur(seen, size)
    towards = middle - start
    squared = _dot(towards, towards)
    towards = towards / jnp.sqrt(squared)[None]
    falls = jnp.maximum(_dot(towards, hit.normal), 0) / (squared + 0.6) * reaches
    glint = jnp.maximum(_dot(mirrored, towards), 0) ** 40
    return falls, glint * reaches


def _openness(scene: Scene, hit: Hit, start: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Returns the fraction of ambient light that boxes and room corners leave at each point."""
    sky = 0.98 * _by_pixel(jnp.asarray(SKY_POINTS), size)
    towards = _nonzero(OCCLUSION_M * (hit.normal + sky))

    def nearest(state, row, near, far):
        enters = jnp.maximum(near, 0)
        return jnp.where((near < far) & (far > 0), jnp.minimum(enters, state), state)

    reach = _over_boxes(scene, start, towards, nearest, jnp.ones_like(hit.depth), size=size)
    gaps = jnp.concatenate([hit.point, scene.room_size[:, None] - hit.point])
    # The gap to the own wall is 0 and would darken all of it.
    seams = 1 - 0.3 * jnp.exp(-jnp.maximum(gaps, 0) / CORNER_M)
    corners = jnp.prod(jnp.where(gaps < 0.001, 1, seams), axis=0)
    return (0.1 + 0.9 * _blur(reach, size)) * corners


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return (a * b).sum(axis=0)


def _by_pixel(points: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Assigns four points `[4, 3]` to the pixels of each 2x2 block: `[3, R]`."""
    height, width = size
    return jnp.tile(points.T.reshape(3, 2, 2), (1, height // 2, width // 2)).reshape(3, -1)


def _blur(values: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Averages over 3x3 pixels with weights 1 2 1, so that all four samples count the same."""
    grid = jnp.pad(values.reshape(size), 1, mode="edge")
    grid = (grid[:-2] + 2 * grid[1:-1] + grid[2:]) / 4
    return ((grid[:, :-2] + 2 * grid[:, 1:-1] + grid[:, 2:]) / 4).reshape(-1)
