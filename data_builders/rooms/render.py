"""A ray caster for boxes in a room: colour, depth, surface and instance of every pixel.

Rays keep a forward component of one, so the ray parameter is depth: metres along the optical axis.
Arrays over rays are component-first, `[3, R]`, and the loop over boxes is the outer one: each turn
is one pass of vector instructions over all rays. Tracing, painting and shading are compiled apart:
in one program XLA recomputes each in the loops of the next, at twice the cost.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from data_builders.rooms import textures
from data_builders.rooms.scene import SHELL_ROWS, Scene

COLOR_SCALE = 2  # Colour has this many times the rows and columns of depth.
OFFSET_M = 0.002  # Secondary rays start this far off the surface, to miss it.
OCCLUSION_M = 0.7  # Boxes farther than this do not dim the ambient light.
CORNER_M = 0.25  # Width of the dark seam where walls, floor and ceiling meet.
# Four neighbouring pixels sample a lamp in four places; a 3x3 blur then makes the shadow soft.
LAMP_POINTS = ((-0.7, -0.3, 0.0), (0.3, -0.7, 0.2), (0.7, 0.3, 0.0), (-0.3, 0.7, -0.2))
# And the sky above them in four, the corners of a tetrahedron.
SKY_POINTS = ((0.58, 0.58, 0.58), (-0.58, -0.58, 0.58), (-0.58, 0.58, -0.58), (0.58, -0.58, -0.58))


class View(NamedTuple):
    """What a camera sees; colour has `COLOR_SCALE` times the size of the rest.

    color: `[2H, 2W, 3]` float32 linear RGB, open above.
    depth: `[H, W]` float32 metres along the optical axis, never 0.
    instance: `[H, W]` int32, see `Scene.instance`.
    cos_incidence: `[H, W]` float32, cosine between the ray and the surface normal, 0 to 1.
    albedo: `[H, W]` float32 reflectance, mean of RGB; gloss `[H, W]` float32.
    """

    color: np.ndarray
    depth: np.ndarray
    instance: np.ndarray
    cos_incidence: np.ndarray
    albedo: np.ndarray
    gloss: np.ndarray


class _Hit(NamedTuple):
    rays: jax.Array  # [3, R] world directions, depth as their parameter
    depth: jax.Array  # [R] metres
    row: jax.Array  # [R] int32, row of the scene
    point: jax.Array  # [3, R] metres, world
    normal: jax.Array  # [3, R] towards the viewer
    cos_incidence: jax.Array  # [R]


def render(
    scene: Scene,
    camera_to_world: np.ndarray,
    lens_color: np.ndarray,
    lens_depth: np.ndarray,
    *,
    depth_size: tuple[int, int],
) -> View:
    """Draw one frame.

    Args:
        scene: arrays of one scene.
        camera_to_world: `[4, 4]` float32, metres; camera x right, y down, z forward.
        lens_color, lens_depth: `[4]` float32 fx, fy, cx, cy in pixels of the two grids.
        depth_size: rows and columns of the depth grid.

    Returns:
        the view.
    """
    hit, spot = _look(scene, camera_to_world, lens_depth, size=depth_size)
    albedo = _paint(spot)
    fine = COLOR_SCALE * depth_size[0], COLOR_SCALE * depth_size[1]
    fine_hit, fine_spot = _look(scene, camera_to_world, lens_color, size=fine)
    color = np.asarray(_shade(scene, fine_hit, _paint(fine_spot), size=fine))
    row = np.asarray(hit.row).reshape(depth_size)
    return View(
        color=np.ascontiguousarray(color.reshape(3, *fine).transpose(1, 2, 0)),
        depth=np.asarray(hit.depth).reshape(depth_size),
        instance=scene.instance[row],
        cos_incidence=np.asarray(hit.cos_incidence).reshape(depth_size),
        albedo=np.asarray(albedo).mean(axis=0).reshape(depth_size),
        gloss=scene.gloss[row],
    )


@jax.jit
def _paint(spot: textures.Spot) -> jax.Array:
    return jnp.clip(textures.paint(spot), 0.005, 0.95)


def _rays(pose: jax.Array, lens: jax.Array, height: int, width: int) -> jax.Array:
    """Return `[3, R]` world directions through pixel centres, one metre long along the axis."""
    fx, fy, cx, cy = lens
    x = jnp.tile((jnp.arange(width) - cx) / fx, height)[None]
    y = jnp.repeat((jnp.arange(height) - cy) / fy, width)[None]
    directions = pose[:3, :1] * x + pose[:3, 1:2] * y + pose[:3, 2:3]
    return _nonzero(directions)


def _nonzero(directions: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(directions) < 1e-7, 1e-7, directions)


def _over_boxes(scene: Scene, origin: jax.Array, rays: jax.Array, fold: Callable, start: object):
    """Fold (state, row, near, far) over all boxes; near and far bound the ray inside the box."""
    x0, y0, z0 = origin[0], origin[1], origin[2]
    boxes = jax.tree.map(jnp.asarray, (scene.center, scene.half, scene.cos_sin))

    def step(row: jax.Array, state):
        (cx, cy, cz), (hx, hy, hz), (cos, sin) = (array[row] for array in boxes)
        px, py, pz = x0 - cx, y0 - cy, z0 - cz
        dx, dy, dz = cos * rays[0] + sin * rays[1], cos * rays[1] - sin * rays[0], rays[2]
        middle_x, reach_x = -(cos * px + sin * py) / dx, hx / jnp.abs(dx)
        middle_y, reach_y = -(cos * py - sin * px) / dy, hy / jnp.abs(dy)
        middle_z, reach_z = -pz / dz, hz / jnp.abs(dz)
        near = jnp.maximum(jnp.maximum(middle_x - reach_x, middle_y - reach_y), middle_z - reach_z)
        far = jnp.minimum(jnp.minimum(middle_x + reach_x, middle_y + reach_y), middle_z + reach_z)
        return fold(state, row, near, far)

    # Boxes without extent come last and are never hit.
    end = SHELL_ROWS + jnp.count_nonzero(scene.half[SHELL_ROWS:, 0])
    return lax.fori_loop(SHELL_ROWS, end, step, start)


@functools.partial(jax.jit, static_argnames="size")
def _look(
    scene: Scene, camera_to_world: jax.Array, lens: jax.Array, *, size: tuple[int, int]
) -> tuple[_Hit, textures.Spot]:
    """Find what the ray of each pixel meets first."""
    origin, rays = camera_to_world[:3, 3], _rays(camera_to_world, lens, *size)
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
    depth, row = _over_boxes(scene, origin, rays, nearest, start)
    return _surface(scene, origin, rays, depth, row, focal_px=lens[0])


def _surface(
    scene: Scene,
    origin: jax.Array,
    rays: jax.Array,
    depth: jax.Array,
    row: jax.Array,
    *,
    focal_px: jax.Array,
) -> tuple[_Hit, textures.Spot]:
    """Describe the points `depth` along the rays, on the surfaces `row`."""
    point = origin[:, None] + depth[None] * rays
    cos, sin = jnp.asarray(scene.cos_sin).T[:, row]
    half = jnp.asarray(scene.half).T[:, row]
    x, y, z = point - jnp.asarray(scene.center).T[:, row]
    local = jnp.stack([cos * x + sin * y, cos * y - sin * x, z])
    axis = jnp.argmax(jnp.abs(local) - half, axis=0)  # the face is where the point is not inside
    u_axis, v_axis = jnp.where(axis == 0, 1, 0), jnp.where(axis == 2, 1, 2)

    def pick(values: jax.Array, of: jax.Array) -> jax.Array:
        return jnp.where(of == 0, values[0], jnp.where(of == 1, values[1], values[2]))

    inside_out = jnp.where(row < SHELL_ROWS, -1.0, 1.0)
    sign = jnp.sign(pick(local, axis)) * inside_out
    normal = jnp.stack(
        [
            jnp.where(axis == 0, cos, jnp.where(axis == 1, -sin, 0)) * sign,
            jnp.where(axis == 0, sin, jnp.where(axis == 1, cos, 0)) * sign,
            jnp.where(axis == 2, sign, 0),
        ]
    )
    length = jnp.sqrt((rays * rays).sum(axis=0))
    cos_incidence = jnp.clip(-(rays * normal).sum(axis=0) / length, 0, 1)
    corner = local + half
    spot = textures.Spot(
        u=pick(corner, u_axis),
        v=pick(corner, v_axis),
        width=2 * pick(half, u_axis),
        height=2 * pick(half, v_axis),
        upright=axis != 2,
        pixel_m=depth / focal_px / jnp.maximum(cos_incidence, 0.05),
        key=row,
        wall=(row >= 2) & (row < SHELL_ROWS),
        albedo=jnp.asarray(scene.albedo).T[:, row],
        second=jnp.asarray(scene.second).T[:, row],
        texture=scene.texture[row],
        scale_m=scene.scale_m[row],
    )
    return _Hit(rays, depth, row, point, normal, cos_incidence), spot


@functools.partial(jax.jit, static_argnames="size")
def _shade(scene: Scene, hit: _Hit, albedo: jax.Array, *, size: tuple[int, int]) -> jax.Array:
    """Return `[3, R]` light towards the camera: ambient, two lamps with shadows, own light."""
    start = hit.point + OFFSET_M * hit.normal
    facing_up = 0.5 + 0.5 * hit.normal[2]
    ambient = (0.20 + 0.12 * facing_up) * _openness(scene, hit, start, size)
    light = ambient[None] * jnp.array([[1.0], [0.97], [0.93]])
    highlight = jnp.zeros_like(hit.depth)
    mirrored = hit.rays - 2 * _dot(hit.rays, hit.normal)[None] * hit.normal
    mirrored = mirrored / jnp.sqrt(_dot(mirrored, mirrored))[None]
    for lamp in range(len(scene.light_position)):
        middle = scene.light_position[lamp][:, None]
        points = scene.light_radius_m[lamp] * _by_pixel(jnp.asarray(LAMP_POINTS), size)

        def passes(seen, row, near, far):
            return jnp.where((near < far) & (far > 0) & (near < 1), 0.0, seen)

        towards = _nonzero(middle + points - start)
        seen = _over_boxes(scene, start, towards, passes, jnp.ones_like(hit.depth))
        reaches = _blur(seen, size)
        towards = middle - start
        squared = _dot(towards, towards)
        towards = towards / jnp.sqrt(squared)[None]
        falls = jnp.maximum(_dot(towards, hit.normal), 0) / (squared + 0.6) * reaches
        light = light + 3.6 * scene.light_color[lamp][:, None] * falls[None]
        glint = jnp.maximum(_dot(mirrored, towards), 0) ** 40
        highlight = highlight + 0.5 * glint * reaches * scene.light_color[lamp].mean()
    gloss, emission = scene.gloss[hit.row], scene.emission[hit.row]
    return albedo * (light + emission[None]) + (gloss * gloss * highlight)[None]


def _openness(scene: Scene, hit: _Hit, start: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Return the share of ambient light that reaches each point past boxes and room corners."""
    sky = 0.98 * _by_pixel(jnp.asarray(SKY_POINTS), size)
    towards = _nonzero(OCCLUSION_M * (hit.normal + sky))

    def nearest(state, row, near, far):
        enters = jnp.maximum(near, 0)
        return jnp.where((near < far) & (far > 0), jnp.minimum(enters, state), state)

    reach = _over_boxes(scene, start, towards, nearest, jnp.ones_like(hit.depth))
    gaps = jnp.concatenate([hit.point, scene.room_size[:, None] - hit.point])
    # On a wall one gap is zero and would darken all of it; the seams are the other ones.
    seams = 1 - 0.3 * jnp.exp(-jnp.maximum(gaps, 0) / CORNER_M)
    corners = jnp.prod(jnp.where(gaps < 0.001, 1, seams), axis=0)
    return (0.1 + 0.9 * _blur(reach, size)) * corners


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return (a * b).sum(axis=0)


def _by_pixel(points: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Deal four points `[4, 3]` out to the pixels of each 2x2 block: `[3, R]`."""
    height, width = size
    return jnp.tile(points.T.reshape(3, 2, 2), (1, height // 2, width // 2)).reshape(3, -1)


def _blur(values: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Average over 3x3 pixels, weights 1 2 1: any two neighbours weigh the same in total."""
    grid = jnp.pad(values.reshape(size), 1, mode="edge")
    grid = (grid[:-2] + 2 * grid[1:-1] + grid[2:]) / 4
    return ((grid[:, :-2] + 2 * grid[:, 1:-1] + grid[:, 2:]) / 4).reshape(-1)
