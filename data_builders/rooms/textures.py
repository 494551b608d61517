"""Procedural textures: compute the reflectance of a surface at a point.

Arrays have one value per ray, `[R]` or `[3, R]`; lengths are in metres. Patterns fade out where
their features are smaller than a pixel, to avoid aliasing.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from data_builders.rooms.materials import Texture

SKIRTING_M = 0.09
SKIRTING_ALBEDO = 0.62
RAYS_PER_PART = 1280  # Few textures meet in so many neighbouring pixels, and the rest is skipped.


class ShadingPoint(NamedTuple):
    """The surface points hit by rays.

    Attributes:
        u, v: `[R]` metres from the lower left corner of the face; v is up on upright faces.
        width, height: `[R]` metres, size of the face along u and v.
        upright: `[R]` bool, False for horizontal faces.
        pixel_m: `[R]` metres, size of a pixel on the surface.
        key: `[R]` int32, id of the surface.
        wall: `[R]` bool, True for walls of the room.
        albedo, second: `[3, R]` linear RGB; texture `[R]` int32; scale_m `[R]` metres: as in
            `materials.Material`.
    """

    u: jax.Array
    v: jax.Array
    width: jax.Array
    height: jax.Array
    upright: jax.Array
    pixel_m: jax.Array
    key: jax.Array
    wall: jax.Array
    albedo: jax.Array
    second: jax.Array
    texture: jax.Array
    scale_m: jax.Array

    @property
    def wall_base(self) -> jax.Array:
        """`[R]` bool, True on skirting boards."""
        return self.wall & (self.v < SKIRTING_M)


# Cell sizes of the coarse and fine noise of each texture, along and across, as multiples of its
# scale. Two noise fields per ray are far cheaper than two for every texture.
_COARSE_AND_FINE_CELLS = {
    Texture.PLAIN: (8, 8, 1, 1),
    Texture.WOOD: (16, 2.7, 4, 0.2),
    Texture.PLANKS: (6, 1, 2, 0.1),
    Texture.TILES: (0.3, 0.3, 0.1, 0.1),
    Texture.CARPET: (6, 6, 1, 1),
    Texture.BRICK: (1, 1, 0.2, 0.2),
    Texture.STRIPES: (1, 1, 0.2, 0.2),
    Texture.BOOKS: (1, 1, 1, 1),
    Texture.PICTURE: (1, 0.5, 1.4, 0.7),
    Texture.WINDOW: (0.4, 0.4, 0.1, 0.1),
    Texture.SCREEN: (1, 1, 1, 1),
    Texture.DOOR: (1, 1, 4, 0.2),
    Texture.CARTON: (6, 6, 1, 1),
}


def reflectance(spot: ShadingPoint) -> jax.Array:
    """Returns the reflectance `[3, R]`, linear RGB from 0 to 1."""
    if jax.default_backend() != "cpu":
        return _reflectance(spot)
    rays = spot.u.size
    part = max(size for size in range(1, min(RAYS_PER_PART, rays) + 1) if rays % size == 0)
    parts = jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:-1], -1, part), spot)
    parts = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -2, 0), parts)
    return jnp.moveaxis(lax.map(_reflectance, parts), 0, 1).reshape(3, -1)


def _reflectance(spot: ShadingPoint) -> jax.Array:
    coarse, fine = _fields(spot)
    shares = {
        Texture.PLAIN: lambda: 0.35 * coarse + 0.35 * fine,
        Texture.WOOD: lambda: _grain(spot, coarse, fine),
        Texture.PLANKS: lambda: _planks(spot, fine),
        Texture.TILES: lambda: _tiles(spot, coarse),
        Texture.CARPET: lambda: 0.2 + 0.6 * coarse + 0.8 * fine,
        Texture.BRICK: lambda: _bricks(spot, fine),
        Texture.STRIPES: lambda: _stripes(spot, fine),
        Texture.DOOR: lambda: _panels(spot, fine),
        Texture.CARTON: lambda: _carton(spot, coarse),
    }
    share = jnp.zeros_like(spot.u)
    for kind, pattern in shares.items():
        share = _where(spot.texture == kind, pattern, share)
    color = spot.albedo + (spot.second - spot.albedo) * share[None]
    images = {
        Texture.BOOKS: lambda: _books(spot),
        Texture.PICTURE: lambda: _picture(spot, coarse, fine),
        Texture.WINDOW: lambda: _window(spot, coarse),
        Texture.SCREEN: lambda: _screen(spot),
    }
    for kind, image in images.items():
        color = _where(spot.texture == kind, image, color)
    return jnp.where(spot.wall_base[None], SKIRTING_ALBEDO, color)


def _where(chosen: jax.Array, pattern: Callable[[], jax.Array], otherwise: jax.Array) -> jax.Array:
    """Returns the pattern where it is chosen; a CPU computes it only if it is chosen somewhere."""
    if jax.default_backend() != "cpu":
        return jnp.where(chosen, pattern(), otherwise)
    return lax.cond(
        chosen.any(), lambda: jnp.where(chosen, pattern(), otherwise), lambda: otherwise
    )


def _fields(spot: ShadingPoint) -> tuple[jax.Array, jax.Array]:
    """Returns coarse noise in 0 to 1, and fine noise in -0.5 to 0.5 that is 0 below pixel size."""
    cells = jnp.array([_COARSE_AND_FINE_CELLS[kind] for kind in Texture], jnp.float32)
    along, across, fine_along, fine_across = cells.T[:, spot.texture] * spot.scale_m[None]
    turned = _lengthwise(spot) & (spot.height > spot.width)
    x, y = jnp.where(turned, spot.v, spot.u), jnp.where(turned, spot.u, spot.v)
    coarse = noise(x / along, y / across, spot.key)
    fine = noise(x / fine_along, y / fine_across, spot.key + 101) - 0.5
    return coarse, fine * fades(jnp.minimum(fine_along, fine_across), spot)


def _lengthwise(spot: ShadingPoint) -> jax.Array:
    """Returns where fibres run along the longer side of the face instead of u."""
    return (spot.texture == Texture.WOOD) | (spot.texture == Texture.DOOR)


def hashed(x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
    """Returns pseudo-random numbers in [0, 1) of integers x, y and key."""
    bits = (
        x.astype(jnp.int32).astype(jnp.uint32) * jnp.uint32(0x9E3779B1)
        ^ y.astype(jnp.int32).astype(jnp.uint32) * jnp.uint32(0x85EBCA77)
        ^ key.astype(jnp.uint32) * jnp.uint32(0xC2B2AE3D)
    )
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x2C1B3C6D)
    bits = (bits ^ (bits >> 12)) * jnp.uint32(0x297A2D39)
    return ((bits ^ (bits >> 15)) >> 8).astype(jnp.float32) / 2**24


def noise(x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
    """Returns value noise in [0, 1] with features of size 1."""
    column, row = jnp.floor(x), jnp.floor(y)
    fx, fy = x - column, y - row
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    top = hashed(column, row, key) * (1 - fx) + hashed(column + 1, row, key) * fx
    bottom = hashed(column, row + 1, key) * (1 - fx) + hashed(column + 1, row + 1, key) * fx
    return top * (1 - fy) + bottom * fy


def fades(feature_m: jax.Array, spot: ShadingPoint) -> jax.Array:
    """Returns the fraction of a feature's contrast that a pixel resolves, 0 to 1."""
    return jnp.clip(feature_m / spot.pixel_m - 0.5, 0, 1)


def line(offset_m: jax.Array, width_m: jax.Array | float, spot: ShadingPoint) -> jax.Array:
    """Returns how much of a pixel, 0 to 1, a line at `offset_m` covers."""
    reach = jnp.maximum(width_m, spot.pixel_m)
    return jnp.clip(1 - jnp.abs(offset_m) / reach, 0, 1) * jnp.minimum(width_m / reach * 1.5, 1)


def _joints(
    x: jax.Array, pitch_m: jax.Array | float, width_m: float, spot: ShadingPoint
) -> jax.Array:
    """Returns how much of a pixel, 0 to 1, lines every `pitch_m` along x cover."""
    cell = x / pitch_m
    return line((cell - jnp.round(cell)) * pitch_m, width_m, spot)


def _grain(spot: ShadingPoint, coarse: jax.Array, fine: jax.Array) -> jax.Array:
    """Returns rings warped by noise, and fibres, along the longer side of the face."""
    across = jnp.where(spot.height > spot.width, spot.u, spot.v)
    rings = 0.5 * jnp.sin(jnp.pi * (across / spot.scale_m + 5 * coarse))
    return 0.5 + 0.6 * rings * fades(spot.scale_m, spot) + 0.5 * fine


def _planks(spot: ShadingPoint, fine: jax.Array) -> jax.Array:
    row = jnp.floor(spot.v / spot.scale_m)
    x = spot.u + 1.3 * hashed(row, row, spot.key)
    tone = hashed(jnp.floor(x / 1.3), row, spot.key)
    gaps = jnp.maximum(_joints(spot.v, spot.scale_m, 0.006, spot), _joints(x, 1.3, 0.006, spot))
    return 0.3 + 0.75 * tone + 0.4 * fine + 1.2 * gaps


def _tiles(spot: ShadingPoint, coarse: jax.Array) -> jax.Array:
    column, row = jnp.floor(spot.u / spot.scale_m), jnp.floor(spot.v / spot.scale_m)
    grout = jnp.maximum(
        _joints(spot.u, spot.scale_m, 0.008, spot), _joints(spot.v, spot.scale_m, 0.008, spot)
    )
    return 0.25 * hashed(column, row, spot.key) + 0.2 * coarse + grout


def _bricks(spot: ShadingPoint, fine: jax.Array) -> jax.Array:
    row = jnp.floor(spot.v / spot.scale_m)
    x = spot.u + 1.5 * spot.scale_m * jnp.mod(row, 2)
    tone = hashed(jnp.floor(x / (3 * spot.scale_m)), row, spot.key)
    mortar = jnp.maximum(
        _joints(spot.v, spot.scale_m, 0.01, spot), _joints(x, 3 * spot.scale_m, 0.01, spot)
    )
    return (0.45 * (tone - 0.4)) * fades(spot.scale_m, spot) + 0.3 * fine + 0.9 * mortar


def _stripes(spot: ShadingPoint, fine: jax.Array) -> jax.Array:
    wave = jnp.sin(2 * jnp.pi * spot.u / spot.scale_m)
    return 0.5 + 0.5 * jnp.clip(2.5 * wave, -1, 1) * fades(spot.scale_m / 2, spot) + 0.2 * fine


def _panels(spot: ShadingPoint, fine: jax.Array) -> jax.Array:
    """Returns two inset panels and a frame."""
    x = jnp.abs(spot.u / spot.width - 0.5) * spot.width
    y = jnp.abs(jnp.mod(2 * spot.v / spot.height, 1) - 0.5) * spot.height / 2
    side, end = x - 0.32 * spot.width, y - 0.20 * spot.height
    outline = line(jnp.maximum(side, end), 0.012, spot)
    frame = line(x - spot.width / 2, 0.03, spot)
    return 0.3 * fine + jnp.maximum(outline, frame)


def _carton(spot: ShadingPoint, coarse: jax.Array) -> jax.Array:
    """Returns tape along the middle, and a printed mark on upright faces."""
    tape = jnp.abs(spot.v - spot.height / 2 * ~spot.upright) < 0.025
    mark = (jnp.abs(spot.u / spot.width - 0.7) < 0.12) & (
        jnp.abs(spot.v / spot.height - 0.6) < 0.12
    )
    return 0.25 * coarse + jnp.where(spot.upright, 0.8 * mark, 0.45 * tape)


def hue(phase: jax.Array, brightness: jax.Array) -> jax.Array:
    """Returns `[3, R]` muted colours of all hues."""
    angles = 2 * jnp.pi * (phase[None] + jnp.array([[0.0], [0.33], [0.67]]))
    return brightness[None] * (0.55 + 0.4 * jnp.cos(angles))


def _books(spot: ShadingPoint) -> jax.Array:
    """Returns book spines of all colours and heights in front of a dark background."""
    x = spot.u / spot.scale_m
    x = x + 0.35 * jnp.sin(1.7 * x)  # thick and thin ones
    number = jnp.floor(x)
    tone, tint = hashed(number, number, spot.key), hashed(number, number + 1, spot.key)
    color = hue(tint, 0.08 + 0.6 * tone)
    color = 0.6 * color + 0.4 * (0.1 + 0.6 * tone)[None]
    title = jnp.abs(spot.v / spot.height - 0.35 - 0.3 * tint) < 0.06
    color = jnp.where(title[None], 0.7 * color + 0.2, color)
    gap = line((x - jnp.round(x)) * spot.scale_m, 0.003, spot)
    above = spot.v / spot.height > 0.72 + 0.28 * jnp.mod(7 * tone, 1)
    pages = jnp.where(above[None], 0.05, color * (1 - 0.8 * gap[None]))
    return jnp.where(spot.upright[None], pages, 0.5 * color + 0.2)


def _frame(spot: ShadingPoint, width_m: float) -> jax.Array:
    """Returns 1 in the border of the face and 0 inside."""
    to_side = jnp.minimum(spot.u, spot.width - spot.u)
    to_end = jnp.minimum(spot.v, spot.height - spot.v)
    return jnp.clip(0.5 + (width_m - jnp.minimum(to_side, to_end)) / spot.pixel_m, 0, 1)


def _picture(spot: ShadingPoint, coarse: jax.Array, fine: jax.Array) -> jax.Array:
    """Returns a blurred landscape of random colours in a frame."""
    tint = coarse + hashed(spot.key, spot.key, spot.key)
    scene = 0.7 * hue(tint, 0.5 + 0.75 * fine) + 0.3 * spot.albedo
    frame = _frame(spot, 0.025)
    return scene * (1 - frame[None]) + spot.second * frame[None]


def _window(spot: ShadingPoint, coarse: jax.Array) -> jax.Array:
    """Returns sky over trees behind a frame and bars."""
    green = jnp.clip(2.5 * (0.45 - spot.v / spot.height) + 0.5 * coarse, 0, 1)
    leaves = jnp.array([[0.25], [0.35], [0.18]])
    outside = spot.albedo * (1 - green[None]) + leaves * green[None]
    upright = line(spot.u - spot.width / 2, 0.035, spot)
    level = line(spot.v - 0.66 * spot.height, 0.03, spot)
    bars = jnp.maximum(jnp.maximum(upright, level), _frame(spot, 0.05))
    return outside * (1 - bars[None]) + 0.35 * spot.second * bars[None]


def _screen(spot: ShadingPoint) -> jax.Array:
    """Returns a dark panel in a black bezel; some screens show a page."""
    lit = hashed(spot.key, spot.key, spot.key) < 0.4
    lines = jnp.where(jnp.mod(spot.v, 0.04) < 0.015, 0.35, 0.6) * fades(jnp.float32(0.02), spot)
    page = jnp.where(lit & (jnp.abs(spot.u / spot.width - 0.45) < 0.3), lines, 0.05)
    shine = spot.second * (0.3 + spot.v / spot.height)[None]
    return jnp.where((_frame(spot, 0.02) > 0.5)[None], spot.albedo, shine + page[None])
