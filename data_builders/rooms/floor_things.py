"""Samples what stands and lies on the floors of the varied rooms, next to the furniture."""

import dataclasses

import numpy as np

from data_builders.rooms import clutter, materials, palettes
from data_builders.rooms.furniture import Piece, Placement, box
from data_builders.rooms.materials import Material
from data_builders.rooms.solids import ball, cylinder, piece, scatter


def floor_lamp(rng: np.random.Generator) -> Piece:
    """Samples a lamp on a stand."""
    height, radius = rng.uniform(1.3, 1.8), rng.uniform(0.14, 0.24)
    base, pole = palettes.metal(rng), palettes.plain(rng)
    glow = 1.5 if rng.random() < 0.5 else 0.0
    shade = Material(base.albedo, base.second, emission=glow)
    shade = dataclasses.replace(shade, albedo=palettes.white(rng).albedo)
    return piece(
        [
            cylinder((0, 0, 0), 0.9 * radius, 0.025, pole),
            cylinder((0, 0, 0.02), 0.014, height - 0.2, pole),
            cylinder((0, 0, height - 0.28), radius, 0.28, shade, rng.uniform(0.5, 1.4)),
        ],
        Placement.FREE,
    )


def floor_plant(rng: np.random.Generator) -> Piece:
    """Samples a plant as high as furniture."""
    grown = clutter.plant(rng, rng.uniform(2.0, 4.0))
    return dataclasses.replace(grown, placement=Placement.FREE)


def bin_(rng: np.random.Generator) -> Piece:
    """Samples a bin or basket."""
    radius, height = rng.uniform(0.1, 0.2), rng.uniform(0.25, 0.5)
    finish = palettes.vessel(rng)
    return piece(
        [cylinder((0, 0, 0), radius, height, finish, rng.uniform(1, 1.35))], Placement.FREE
    )


def bag(rng: np.random.Generator) -> Piece:
    """Samples a backpack or a bag."""
    cover, pocket = palettes.fabric(rng), palettes.plain(rng)
    w, d, h = rng.uniform(0.28, 0.36), rng.uniform(0.14, 0.24), rng.uniform(0.38, 0.5)
    return piece(
        [
            ball((0, 0, -0.08), (1.15 * w, 1.3 * d, h + 0.1), cover),
            box(0, 0, 0, 0.85 * w, 0.85 * d, 0.7 * h, cover),
            ball((0, 0.4 * d, 0.02), (0.8 * w, 0.7 * d, 0.5 * h), pocket),
            box(0, -0.1 * d, h - 0.01, 0.08, 0.02, 0.05, pocket),
        ],
        Placement.FREE,
    )


def cartons(rng: np.random.Generator) -> Piece:
    """Samples boxes on the floor, one on top of the other."""
    width, depth, height = rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.5), rng.uniform(0.2, 0.5)
    finish = palettes.label(rng) if rng.random() < 0.3 else materials.carton(rng)
    parts = [box(0, 0, 0, width, depth, height, finish)]
    if rng.random() < 0.5:  # a printed sheet on the front
        size = 0.6 * width, 0.002, 0.5 * height
        parts.append(box(0, depth / 2 + 0.001, 0.3 * height, *size, palettes.page(rng)))
    kinds = (clutter.package, clutter.open_carton, clutter.book, clutter.cloth)
    items = scatter(rng, kinds, 2, (0.0, 0.0, width, depth), top=height)
    return Piece(tuple(parts), (width, depth + 0.01, height), Placement.FREE, items=items)


def on_floor(rng: np.random.Generator) -> Piece:
    """Samples one small object that lies on the floor."""
    kinds = (*clutter.ANY, clutter.sphere, clutter.toy, clutter.cloth, clutter.open_carton)
    chosen = kinds[rng.integers(len(kinds))](rng)
    return dataclasses.replace(chosen, placement=Placement.FREE)


def rug(rng: np.random.Generator) -> Piece:
    """Samples a patterned rug, square or round."""
    kinds = (palettes.fabric, palettes.floor, palettes.page)
    finish = kinds[rng.integers(3)](rng)
    scale = rng.uniform(0.08, 0.4)
    finish = dataclasses.replace(finish, scale_m=scale, gloss=0.0)
    if rng.random() < 0.3:
        return piece([cylinder((0, 0, 0), rng.uniform(0.5, 1.0), 0.008, finish)], Placement.FLAT)
    width, depth = rng.uniform(0.6, 2.4), rng.uniform(0.5, 1.7)
    return piece([box(0, 0, 0, width, depth, 0.008, finish)], Placement.FLAT)
