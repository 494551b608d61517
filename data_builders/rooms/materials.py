"""Samples surface materials: colours, texture and gloss."""

import dataclasses
import enum

import numpy as np

Color = tuple[float, float, float]


class Texture(enum.IntEnum):
    """Patterns of `textures.reflectance`."""

    PLAIN = 0
    WOOD = 1
    PLANKS = 2
    TILES = 3
    CARPET = 4
    BRICK = 5
    STRIPES = 6
    BOOKS = 7
    PICTURE = 8
    WINDOW = 9
    SCREEN = 10
    DOOR = 11
    CARTON = 12


@dataclasses.dataclass(frozen=True)
class Material:
    """A surface material.

    Attributes:
        albedo, second: linear RGB reflectances, 0 to 1, that the texture mixes.
        texture: the pattern, a `Texture`, or a `prints.Print` in varied rooms.
        scale_m: size of the pattern's repeating feature in metres.
        gloss: 0 matt to 1 mirror-like; controls highlights and missing depth readings.
        emission: emitted light relative to the albedo; only lamps, windows and screens have any.
    """

    albedo: Color
    second: Color
    texture: enum.IntEnum = Texture.PLAIN
    scale_m: float = 0.03
    gloss: float = 0.1
    emission: float = 0.0


WOODS = [(0.50, 0.31, 0.16), (0.62, 0.44, 0.26), (0.30, 0.17, 0.09), (0.70, 0.55, 0.37)]
CLOTHS = [
    (0.16, 0.22, 0.36),
    (0.42, 0.12, 0.10),
    (0.30, 0.32, 0.30),
    (0.48, 0.42, 0.33),
    (0.14, 0.28, 0.20),
    (0.55, 0.36, 0.14),
    (0.10, 0.10, 0.12),
]
PAINTS = [
    (0.78, 0.76, 0.72),
    (0.74, 0.70, 0.60),
    (0.62, 0.70, 0.74),
    (0.68, 0.74, 0.64),
    (0.76, 0.64, 0.56),
    (0.52, 0.57, 0.64),
]
TILES = [(0.62, 0.60, 0.56), (0.45, 0.46, 0.47), (0.60, 0.44, 0.34)]
METAL = Material((0.22, 0.22, 0.23), (0.30, 0.30, 0.31), gloss=0.6)
WHITE = Material((0.80, 0.80, 0.78), (0.72, 0.72, 0.70), gloss=0.15)
SCREEN = Material((0.02, 0.02, 0.025), (0.05, 0.07, 0.10), Texture.SCREEN, 0.1, 0.95, 0.4)
WINDOW = Material((0.75, 0.85, 1.00), (0.80, 0.80, 0.78), Texture.WINDOW, 0.5, 0.7, 1.6)
LAMP = Material((1.0, 0.97, 0.90), (1.0, 0.97, 0.90), gloss=0.0, emission=2.5)


def choose(rng: np.random.Generator, colors: list[Color], spread: float = 0.12) -> Color:
    """Samples one of `colors` and varies its brightness by `spread`, and its hue less."""
    base = np.asarray(colors[rng.integers(len(colors))])
    varied = base * rng.normal(1, spread) * rng.normal(1, spread / 4, 3)
    red, green, blue = np.clip(varied, 0.02, 0.85)
    return float(red), float(green), float(blue)


def shade(color: Color, factor: float) -> Color:
    """Returns `color` times `factor`, at most 0.9."""
    red, green, blue = (min(0.9, factor * channel) for channel in color)
    return red, green, blue


def wood(rng: np.random.Generator) -> Material:
    """Samples wood with a visible grain or, with probability 1/4, a painted board."""
    if rng.random() < 0.25:
        color = choose(rng, [WHITE.albedo, (0.35, 0.36, 0.38)])
        return dataclasses.replace(WHITE, albedo=color, second=shade(color, 0.88))
    color = choose(rng, WOODS)
    gloss = rng.uniform(0.05, 0.45)
    return Material(color, shade(color, 0.55), Texture.WOOD, rng.uniform(0.02, 0.04), gloss)


def cloth(rng: np.random.Generator) -> Material:
    """Samples fabric for seats, beds and cushions: plain or striped."""
    color = choose(rng, CLOTHS, 0.2)
    if rng.random() < 0.4:
        other = shade(color, 1.9) if rng.random() < 0.5 else choose(rng, CLOTHS)
        return Material(color, other, Texture.STRIPES, rng.uniform(0.05, 0.14), 0.02)
    return Material(color, shade(color, 1.5), Texture.CARPET, 0.012, 0.02)


def carton(rng: np.random.Generator) -> Material:
    """Samples corrugated cardboard."""
    color = choose(rng, [(0.52, 0.37, 0.22), (0.58, 0.44, 0.28)])
    return Material(color, shade(color, 0.6), Texture.CARTON, 0.02, 0.05)


def rug(rng: np.random.Generator) -> Material:
    """Samples a rug: broad stripes or deep pile."""
    color, other = choose(rng, CLOTHS, 0.2), choose(rng, PAINTS + CLOTHS)
    if rng.random() < 0.6:
        return Material(color, other, Texture.STRIPES, rng.uniform(0.2, 0.5), 0.0)
    return Material(color, other, Texture.CARPET, 0.05, 0.0)


def picture(rng: np.random.Generator) -> Material:
    """Samples a framed picture or a poster."""
    frame = choose(rng, [*WOODS, (0.04, 0.04, 0.04), (0.7, 0.7, 0.7)])
    return Material(
        choose(rng, PAINTS + CLOTHS), frame, Texture.PICTURE, rng.uniform(0.1, 0.4), 0.3
    )


def books(rng: np.random.Generator) -> Material:
    """Samples a row of books."""
    return Material(choose(rng, CLOTHS), (0.03, 0.03, 0.03), Texture.BOOKS, rng.uniform(0.03, 0.05))


def door(rng: np.random.Generator) -> Material:
    """Samples a panelled door."""
    color = choose(rng, [*WOODS, WHITE.albedo, WHITE.albedo])
    return Material(color, shade(color, 0.6), Texture.DOOR, 0.1, 0.25)


def floor(rng: np.random.Generator) -> Material:
    """Samples a floor: planks, tiles or carpet."""
    kind = rng.choice([Texture.PLANKS, Texture.TILES, Texture.CARPET], p=[0.5, 0.25, 0.25])
    if kind == Texture.PLANKS:
        color = choose(rng, WOODS)
        return Material(color, shade(color, 0.6), kind, rng.uniform(0.09, 0.2), rng.uniform(0, 0.5))
    if kind == Texture.TILES:
        color = choose(rng, TILES)
        return Material(
            color, shade(color, 0.45), kind, rng.uniform(0.25, 0.6), rng.uniform(0, 0.6)
        )
    color = choose(rng, CLOTHS + TILES)
    return Material(color, shade(color, 1.6), Texture.CARPET, 0.025, 0.0)


def wall(rng: np.random.Generator) -> Material:
    """Samples a wall finish: paint, striped wallpaper or brick."""
    kind = rng.choice([Texture.PLAIN, Texture.STRIPES, Texture.BRICK], p=[0.65, 0.2, 0.15])
    if kind == Texture.BRICK:
        color = choose(rng, [(0.48, 0.24, 0.17), (0.70, 0.68, 0.64)])
        return Material(color, shade(color, 1.5), kind, 0.075, 0.02)
    color = choose(rng, PAINTS)
    if kind == Texture.STRIPES:
        return Material(color, shade(color, 0.84), kind, rng.uniform(0.12, 0.3), 0.05)
    return Material(color, shade(color, 0.93), kind, 0.05, 0.05)
