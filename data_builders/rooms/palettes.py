"""Samples the materials of the varied rooms: more colours, prints and contrast than `materials`."""

import colorsys
import dataclasses

import numpy as np

from data_builders.rooms import materials
from data_builders.rooms.materials import Color, Material, Texture
from data_builders.rooms.prints import Print


def color(rng: np.random.Generator) -> Color:
    """Samples a linear RGB colour: white, gray, black, wood or cloth, or any saturated hue."""
    kind = rng.random()
    if kind < 0.3:
        tone = rng.choice(
            [rng.uniform(0.55, 0.85), rng.uniform(0.1, 0.5), rng.uniform(0.015, 0.07)]
        )
        warm = rng.normal(0, 0.03)
        return tone * (1 + warm), tone, tone * (1 - warm)
    if kind < 0.5:
        return materials.choose(rng, materials.WOODS + materials.CLOTHS, 0.25)
    value, saturation = rng.uniform(0.15, 0.95), rng.uniform(0.2, 1.0)
    red, green, blue = (
        0.01 + 0.84 * channel**2.2
        for channel in colorsys.hsv_to_rgb(rng.random(), saturation, value)
    )
    return red, green, blue


def plain(rng: np.random.Generator) -> Material:
    """Samples paint, plastic, lacquer or metal without a pattern."""
    base = color(rng)
    gloss = float(rng.choice([0.05, 0.2, 0.5, 0.8]))
    return Material(base, materials.shade(base, 0.9), gloss=gloss)


def white(rng: np.random.Generator) -> Material:
    """Samples white or light gray paint."""
    tone = float(rng.uniform(0.55, 0.85))
    return dataclasses.replace(materials.WHITE, albedo=(tone, tone, 0.97 * tone))


def metal(rng: np.random.Generator) -> Material:
    """Samples bright or dark metal."""
    tone = float(rng.choice([0.03, 0.12, 0.3, 0.55]))
    return Material(
        (tone, tone, tone), (1.3 * tone, 1.3 * tone, 1.3 * tone), gloss=rng.uniform(0.4, 0.9)
    )


def fabric(rng: np.random.Generator) -> Material:
    """Samples cloth: plain, striped, checked, printed."""
    kind = rng.choice(
        [Texture.CARPET, Texture.STRIPES, Print.PLAID, Print.MOTIF, Print.MARBLE, Print.CHECKS],
        p=[0.4, 0.12, 0.12, 0.14, 0.14, 0.08],
    )
    one, two = color(rng), color(rng)
    if kind == Texture.CARPET:
        return Material(one, materials.shade(one, 1.5), Texture.CARPET, 0.012, 0.02)
    scale = rng.uniform(0.1, 0.4) if kind == Print.MARBLE else rng.uniform(0.025, 0.14)
    return Material(one, two, kind, scale, 0.02)


def wood(rng: np.random.Generator) -> Material:
    """Samples a finish of furniture: wood, paint, laminate."""
    return materials.wood(rng) if rng.random() < 0.55 else (white, plain)[rng.integers(2)](rng)


def page(rng: np.random.Generator) -> Material:
    """Samples the print of a poster, a magazine or a book cover."""
    kind = rng.choice(
        [Print.PAGE, Print.PHOTO, Print.STROKES, Print.MOTIF], p=[0.65, 0.2, 0.1, 0.05]
    )
    paper = materials.choose(rng, [(0.8, 0.8, 0.78)]) if rng.random() < 0.5 else color(rng)
    return Material(paper, color(rng), kind, rng.uniform(0.05, 0.3), float(rng.choice([0.05, 0.4])))


def paper(rng: np.random.Generator) -> Material:
    """Samples a white sheet with text."""
    tone = rng.uniform(0.65, 0.85)
    return Material((tone, tone, 0.97 * tone), color(rng), Print.PAGE, 0.06, 0.05)


def label(rng: np.random.Generator) -> Material:
    """Samples a package with a printed band."""
    return Material(
        color(rng), color(rng), Print.LABEL, rng.uniform(0.02, 0.1), rng.uniform(0.1, 0.6)
    )


def vessel(rng: np.random.Generator) -> Material:
    """Samples a cup or bin with a dark inside on its upper face."""
    base = color(rng)
    return Material(base, materials.shade(base, 0.25), Print.HOLLOW, 0.05, rng.uniform(0.1, 0.6))


def screen(rng: np.random.Generator) -> Material:
    """Samples a screen: dark, or lit with windows."""
    if rng.random() < 0.45:
        return dataclasses.replace(materials.SCREEN, emission=float(rng.uniform(0.1, 0.5)))
    frame = (0.02, 0.02, 0.02) if rng.random() < 0.7 else (0.5, 0.5, 0.5)
    return Material(
        (0.3, 0.3, 0.3), frame, Print.DESKTOP, rng.uniform(0.1, 0.4), 0.5, rng.uniform(0.3, 1.2)
    )


def leaf(rng: np.random.Generator) -> Material:
    """Samples leaves."""
    green = (rng.uniform(0.02, 0.15), rng.uniform(0.1, 0.32), rng.uniform(0.02, 0.1))
    return Material(green, materials.shade(green, 1.8), Print.MARBLE, 0.06, 0.2)


def floor(rng: np.random.Generator) -> Material:
    """Samples a floor: planks, tiles, checks, carpets, concrete; matt to polished."""
    if rng.random() < 0.6:
        return dataclasses.replace(materials.floor(rng), gloss=float(rng.uniform(0, 0.8)))
    kind = rng.choice([Print.CHECKS, Print.MOTIF, Print.MARBLE, Texture.TILES, Texture.CARPET])
    one = color(rng)
    muted = materials.shade(one, rng.uniform(0.4, 2.0))
    two = color(rng) if rng.random() < 0.3 else muted
    scale = {Print.MARBLE: rng.uniform(0.2, 1.0), Texture.CARPET: 0.03}.get(
        kind, rng.uniform(0.1, 0.6)
    )
    return Material(one, two, kind, scale, rng.uniform(0, 0.7))


def wall(rng: np.random.Generator) -> Material:
    """Samples a wall: mostly light paint, else any colour, wallpaper, concrete, tiles."""
    kind = rng.random()
    if kind < 0.4:
        return white(rng)
    if kind < 0.75:
        return materials.wall(rng)
    base = color(rng)
    pattern = rng.choice([Texture.PLAIN, Print.MOTIF, Print.MARBLE, Texture.TILES, Print.SLATS])
    second = materials.shade(base, rng.uniform(0.5, 1.7))
    return Material(base, second, pattern, rng.uniform(0.08, 0.5), rng.uniform(0, 0.4))
