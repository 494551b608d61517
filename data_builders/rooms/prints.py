"""Prints and patterns of the varied rooms: strong edges in colour that are none in depth.

Arrays are as in `textures`; `texture` holds values of `Print`, which continue those of `Texture`.
"""

import enum

import jax
import jax.numpy as jnp
from jax import lax

from data_builders.rooms import textures
from data_builders.rooms.textures import ShadingPoint, fades, hashed, hue, line, noise


class Print(enum.IntEnum):
    """Patterns in addition to `materials.Texture`."""

    PAGE = 20  # columns of text, photographs and blocks of colour: magazines, posters, notices
    PHOTO = 21  # noise of several scales in many colours
    MARBLE = 22  # noise of several scales between two colours
    CHECKS = 23
    MOTIF = 24  # discs, diamonds or squares in a grid: wallpaper, carpets, cloth
    KEYS = 25  # keyboards
    DESKTOP = 26  # a lit screen with windows
    LABEL = 27  # a band around bottles, cans and packages
    SLATS = 28  # narrow grooves: shutters, radiators, drawers
    HOLLOW = 29  # a dark inside of cups and bins on their upper face
    STROKES = 30  # few thick lines: drawings, cables, tape
    PLAID = 31


def reflectance(spot: ShadingPoint) -> jax.Array:
    """Returns the reflectance `[3, R]` of prints and of the patterns of `textures`."""
    # Without the barrier XLA would repeat the noise in each pattern that uses it.
    color, rough, vivid = lax.optimization_barrier(
        (textures.reflectance(spot), _clouds(spot), _photo(spot))
    )
    shares = {
        Print.MARBLE: jnp.clip(2.2 * rough - 0.6, 0, 1),
        Print.CHECKS: _checks(spot),
        Print.MOTIF: _motif(spot),
        Print.KEYS: _keys(spot),
        Print.SLATS: _slats(spot),
        Print.HOLLOW: _hollow(spot),
        Print.STROKES: _strokes(spot, rough),
        Print.PLAID: _plaid(spot),
    }
    share = jnp.zeros_like(spot.u)
    for kind, pattern in shares.items():
        share = jnp.where(spot.texture == kind, pattern, share)
    mixed = spot.albedo + (spot.second - spot.albedo) * share[None]
    color = jnp.where((spot.texture >= Print.PAGE)[None] & ~spot.wall_base[None], mixed, color)
    images = {
        Print.PAGE: _page(spot, vivid),
        Print.PHOTO: vivid,
        Print.DESKTOP: _desktop(spot, vivid),
        Print.LABEL: _label(spot, vivid),
    }
    for kind, image in images.items():
        color = jnp.where((spot.texture == kind)[None], image, color)
    stains = noise(spot.u / 0.9, spot.v / 0.7, spot.key + 7)
    dirt = hashed(spot.key, spot.key, spot.key + 8)  # Some surfaces are spotless.
    return color * (1 + dirt * (0.3 * (stains - 0.5) + 0.12 * (rough - 0.5)))[None]


def _clouds(spot: ShadingPoint) -> jax.Array:
    """Returns noise of four scales, from `scale_m` down, in 0 to 1."""
    total, weight = jnp.zeros_like(spot.u), 1.0
    for octave in range(4):
        size_m = spot.scale_m / 2.3**octave
        wave = noise(spot.u / size_m, spot.v / size_m, spot.key + 31 * octave) - 0.5
        total, weight = total + weight * wave * fades(size_m, spot), 0.62 * weight
    return jnp.clip(0.5 + total, 0, 1)


def _photo(spot: ShadingPoint) -> jax.Array:
    """Returns an image with soft and hard edges in the colours of a few random hues."""
    size_m = spot.scale_m
    x, y = spot.u / size_m, spot.v / size_m
    one = noise(x, y, spot.key + 3)
    two = noise(2.7 * x + one, 2.7 * y - one, spot.key + 5)
    detail = noise(9 * x, 9 * y, spot.key + 9) - 0.5
    # A threshold gives the outlines of things.
    object_ = jnp.clip(40 * (one - 0.52), 0, 1) * fades(size_m / 4, spot)
    tone = jnp.clip(0.15 + 0.75 * two + 0.5 * detail * fades(size_m / 9, spot), 0, 1)
    tint = hashed(spot.key, spot.key, spot.key + 1)
    back = hue(tint + 0.3 * two, 0.15 + 1.1 * tone)
    front = hue(tint + 0.4 + 0.2 * two, 0.1 + 0.9 * (1 - tone))
    gray = (hashed(spot.key, spot.key, spot.key + 2) < 0.25)[None]
    image = back + (front - back) * object_[None]
    return jnp.where(gray, image.mean(axis=0)[None], image)


def _text(spot: ShadingPoint, pitch_m: jax.Array) -> jax.Array:
    """Returns 1 on letters: words of random length on lines every `pitch_m`."""
    row = jnp.floor(spot.v / pitch_m)
    inside = jnp.mod(spot.v / pitch_m, 1) < 0.6
    letter = hashed(jnp.floor(spot.u / (0.28 * pitch_m)), row, spot.key) < 0.62
    word = hashed(jnp.floor(spot.u / (2.2 * pitch_m)), row, spot.key + 17) < 0.85
    seen = fades(0.28 * pitch_m, spot)
    return jnp.where(word, seen * (inside & letter) + (1 - seen) * 0.37, 0.0)


def _page(spot: ShadingPoint, vivid: jax.Array) -> jax.Array:
    """Returns cells of text, titles, photographs and colour within a margin."""
    key = spot.key
    kind = hashed(key, key, key + 40)
    columns = 1 + jnp.floor(2.6 * hashed(key, key, key + 41))
    rows = 2 + jnp.floor(4 * hashed(key, key, key + 42))
    x, y = spot.u / spot.width * 1.12 - 0.06, spot.v / spot.height * 1.12 - 0.06
    column, row = jnp.floor(x * columns), jnp.floor(y * rows)
    fx, fy = x * columns - column, y * rows - row
    cell = hashed(column, row, key + 43)
    full = kind < 0.35  # a photograph all over, with a title
    margin = (x < 0) | (x > 1) | (y < 0) | (y > 1)
    gutter = (jnp.abs(fx - 0.5) > 0.46) | (jnp.abs(fy - 0.5) > 0.44)
    short = jnp.minimum(spot.width, spot.height)
    title, small = _text(spot, 0.11 * short), _text(spot, 0.025 * short)
    ink = jnp.where(cell < 0.25, title, small)[None]
    paper = spot.albedo
    dark = jnp.where(paper.mean(axis=0, keepdims=True) > 0.3, 0.04, 0.85)
    text = paper + (dark - paper) * ink
    block = jnp.where((cell < 0.75)[None], text, spot.second)
    block = jnp.where((cell > 0.55)[None] & (cell < 0.85)[None], vivid, block)
    block = jnp.where((gutter | margin)[None], paper, block)
    band = (row == rows - 1) & (cell < 0.8)
    cover = jnp.where(band[None], vivid + (spot.second - vivid) * title[None], vivid)
    return jnp.where(full[None], cover, block)


def _label(spot: ShadingPoint, vivid: jax.Array) -> jax.Array:
    """Returns a printed band with a title on a plain package."""
    low = 0.15 + 0.25 * hashed(spot.key, spot.key, spot.key + 50)
    band = (spot.v / spot.height > low) & (spot.v / spot.height < low + 0.45) & spot.upright
    wide = jnp.maximum(jnp.minimum(spot.width, spot.height), 0.04)
    ink = _text(spot, 0.28 * wide)
    photo = (hashed(spot.key, spot.key, spot.key + 51) < 0.4)[None]
    ground = jnp.where(photo, vivid, spot.second)
    return jnp.where(band[None], ground + (0.85 - ground) * ink[None], spot.albedo)


def _desktop(spot: ShadingPoint, vivid: jax.Array) -> jax.Array:
    """Returns a screen with two windows of text in front of a picture, in a dark bezel."""
    x, y, key = spot.u / spot.width, spot.v / spot.height, spot.key
    image = 0.6 * vivid
    for k in range(2):
        left, low, wide, tall = (
            base + span * hashed(key, key, key + 60 + 4 * k + i)
            for i, (base, span) in enumerate(((0.03, 0.4), (0.08, 0.35), (0.3, 0.4), (0.25, 0.35)))
        )
        inside = (x > left) & (x < left + wide) & (y > low) & (y < low + tall)
        bar = y > low + tall - 0.05
        tone = jnp.where(hashed(key, key, key + 70 + k) < 0.6, 0.85, 0.06)
        page = tone + (0.45 - tone) * _text(spot, jnp.float32(0.012))
        image = jnp.where(inside[None], jnp.where(bar, 0.25, page)[None], image)
    bezel = jnp.minimum(
        jnp.minimum(spot.u, spot.width - spot.u), jnp.minimum(spot.v, spot.height - spot.v)
    )
    return jnp.where(((bezel < 0.015) | ~spot.upright)[None], spot.second, image)


def _cells(spot: ShadingPoint) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    column, row = jnp.floor(spot.u / spot.scale_m), jnp.floor(spot.v / spot.scale_m)
    return column, row, spot.u / spot.scale_m - column - 0.5, spot.v / spot.scale_m - row - 0.5


def _checks(spot: ShadingPoint) -> jax.Array:
    column, row, _, _ = _cells(spot)
    seen = fades(spot.scale_m, spot)
    return 0.5 + (jnp.mod(column + row, 2) - 0.5) * seen


def _motif(spot: ShadingPoint) -> jax.Array:
    column, row, x, y = _cells(spot)
    kind = hashed(spot.key, spot.key, spot.key + 80)
    disc = jnp.sqrt(x * x + y * y)
    diamond, square = jnp.abs(x) + jnp.abs(y), jnp.maximum(jnp.abs(x), jnp.abs(y))
    away = jnp.where(kind < 0.4, disc, jnp.where(kind < 0.7, diamond, square))
    size = 0.2 + 0.25 * hashed(spot.key, spot.key, spot.key + 81)
    ring = hashed(spot.key, spot.key, spot.key + 82) < 0.5
    away = jnp.where(ring, jnp.abs(away - size / 1.5) * 2.5, away)
    sharp = jnp.clip((size - away) * spot.scale_m / spot.pixel_m + 0.5, 0, 1)
    some = jnp.where(hashed(column, row, spot.key) < 0.9, sharp, 0.0)
    seen = fades(spot.scale_m / 3, spot)
    return some * seen + (1 - seen) * 0.3


def _keys(spot: ShadingPoint) -> jax.Array:
    _, row, x, y = _cells(spot)
    x = jnp.mod(spot.u / spot.scale_m + 0.3 * jnp.mod(row, 3), 1) - 0.5
    cap = (jnp.abs(x) < 0.4) & (jnp.abs(y) < 0.4)
    inside = (jnp.abs(spot.u - spot.width / 2) < spot.width / 2 - 0.01) & (
        jnp.abs(spot.v - spot.height / 2) < spot.height / 2 - 0.01
    )
    seen = fades(spot.scale_m / 2, spot)
    return jnp.where(inside & ~spot.upright, cap * seen + 0.64 * (1 - seen), 0.0)


def _slats(spot: ShadingPoint) -> jax.Array:
    across = jnp.where(hashed(spot.key, spot.key, spot.key + 90) < 0.5, spot.u, spot.v)
    cell = across / spot.scale_m
    offset = (cell - jnp.round(cell)) * spot.scale_m
    return line(offset, 0.12 * spot.scale_m, spot)


def _hollow(spot: ShadingPoint) -> jax.Array:
    x, y = spot.u / spot.width - 0.5, spot.v / spot.height - 0.5
    inside = jnp.clip((0.43 - jnp.sqrt(x * x + y * y)) * spot.width / spot.pixel_m + 0.5, 0, 1)
    return jnp.where(spot.upright, 0.0, inside)


def _strokes(spot: ShadingPoint, rough: jax.Array) -> jax.Array:
    level = noise(spot.u / spot.scale_m, spot.v / spot.scale_m, spot.key + 95)
    width = 0.02 + 0.03 * hashed(spot.key, spot.key, spot.key + 96)
    drawn = jnp.abs(jnp.mod(4 * level, 1) - 0.5) < 4 * width
    return jnp.where(drawn, 1.0, 0.15 * rough) * fades(spot.scale_m / 12, spot)


def _plaid(spot: ShadingPoint) -> jax.Array:
    column, row, x, y = _cells(spot)
    bands = 0.45 * (jnp.mod(column, 2) + jnp.mod(row, 2))
    thin = (jnp.abs(x) < 0.06) | (jnp.abs(y) < 0.06)
    seen = fades(spot.scale_m / 2, spot)
    return 0.45 + (jnp.where(thin, 1.0, bands) - 0.45) * seen
