"""Samples what hangs on walls and ceilings of the varied rooms, and parts of the building."""

import dataclasses

import numpy as np

from data_builders.rooms import clutter, furniture, materials, palettes
from data_builders.rooms.furniture import Box, Piece, Placement, box
from data_builders.rooms.materials import Material
from data_builders.rooms.prints import Print
from data_builders.rooms.solids import cylinder, piece, scatter


def _mounted(parts: list[Box], height_m: float, items: tuple = ()) -> Piece:
    """Hangs parts at a wall; they are moved so that the last of them touches it."""
    low = min(part.center[1] - part.size[1] / 2 for part in parts)
    high = max(part.center[1] + part.size[1] / 2 for part in parts)
    width = 2 * max(abs(part.center[0]) + part.size[0] / 2 for part in parts)
    height = max(part.center[2] + part.size[2] / 2 for part in parts)
    shift = -(low + high) / 2
    parts = [
        dataclasses.replace(p, center=(p.center[0], p.center[1] + shift, p.center[2]))
        for p in parts
    ]
    items = tuple(
        dataclasses.replace(i, place=(i.place[0], i.place[1] + shift, i.place[2])) for i in items
    )
    return Piece(
        tuple(parts), (width, high - low, height), Placement.MOUNTED, height_m, items=items
    )


def poster(rng: np.random.Generator) -> Piece:
    """Samples one to five posters or notices, as thin as paper, next to each other."""
    parts, x = [], 0.0
    count, scale = rng.choice([1, 1, 1, 2, 3, 5]), rng.choice([0.3, 0.6, 1.0])
    for _ in range(count):
        width, height = scale * rng.uniform(0.5, 1.1), scale * rng.uniform(0.5, 1.2)
        parts.append(
            box(x + width / 2, 0, rng.uniform(0, 0.1), width, 0.003, height, palettes.page(rng))
        )
        x += width + rng.uniform(0.01, 0.1)
    parts = [dataclasses.replace(p, center=(p.center[0] - x / 2, *p.center[1:])) for p in parts]
    return _mounted(parts, rng.uniform(0.5, 1.4))


def picture(rng: np.random.Generator) -> Piece:
    """Samples a picture in a frame, or a white board."""
    width, height, frame = rng.uniform(0.25, 1.3), rng.uniform(0.25, 0.9), palettes.plain(rng)
    if rng.random() < 0.25:
        inner = palettes.white(rng) if rng.random() < 0.5 else palettes.paper(rng)
    else:
        inner = palettes.page(rng)
    edge, thick = rng.uniform(0.01, 0.05), rng.uniform(0.01, 0.03)
    parts = [
        box(0, 0, 0, width, thick, height, frame),
        box(0, thick / 2, edge, width - 2 * edge, 0.003, height - 2 * edge, inner),
    ]
    return _mounted(parts, rng.uniform(1.02, 1.5))


def wall_shelf(rng: np.random.Generator) -> Piece:
    """Samples a board on a wall with objects on it."""
    width, depth = rng.uniform(0.5, 1.4), rng.uniform(0.18, 0.3)
    parts = [box(0, 0, 0, width, depth, 0.025, palettes.wood(rng))]
    items = scatter(rng, clutter.ANY, 6, (0.0, 0.0, width, depth), top=0.025, room=0.4)
    hung = _mounted(parts, rng.uniform(1.1, 1.6), items)
    return dataclasses.replace(hung, size=(width, depth, 0.35))


def small_things(rng: np.random.Generator) -> Piece:
    """Samples a clock, a switch, a socket, a thermostat or a sign."""
    kind = rng.random()
    if kind < 0.3:
        radius = rng.uniform(0.1, 0.18)
        face = dataclasses.replace(palettes.page(rng), texture=Print.HOLLOW)
        disc = cylinder((0, 0, 0), radius, 0.03, face)
        disc = dataclasses.replace(disc, center=(0.0, 0.0, radius), turn=(0.0, -np.pi / 2, 0.0))
        size = (2 * radius, 0.03, 2 * radius)
        return Piece((disc,), size, Placement.MOUNTED, rng.uniform(1.6, 1.9))
    size = rng.uniform(0.07, 0.3), rng.uniform(0.008, 0.08), rng.uniform(0.07, 0.3)
    finish = palettes.white(rng) if rng.random() < 0.5 else palettes.label(rng)
    return _mounted([box(0, 0, 0, *size, finish)], rng.choice([0.3, 1.05, 1.4]))


def radiator(rng: np.random.Generator) -> Piece:
    """Samples a radiator of plates or columns under a window."""
    width, height, finish = rng.uniform(0.6, 1.6), rng.uniform(0.4, 0.7), palettes.white(rng)
    if rng.random() < 0.5:
        grooved = Material(
            finish.albedo, materials.shade(finish.albedo, 0.55), Print.SLATS, 0.04, 0.2
        )
        return _mounted([box(0, 0, 0, width, 0.09, height, grooved)], 0.12)
    count = min(10, int(width / 0.08))
    parts = [box((k - count / 2) * 0.08, 0, 0, 0.06, 0.12, height, finish) for k in range(count)]
    return _mounted(parts, 0.12)


def curtain(rng: np.random.Generator) -> Piece:
    """Samples a curtain: a row of cylinders as its folds, and a rail."""
    cover = palettes.fabric(rng)
    pitch, count = rng.uniform(0.08, 0.13), int(rng.integers(5, 10))
    height = rng.uniform(1.8, 2.2)
    parts = [
        cylinder(
            ((k - (count - 1) / 2) * pitch, rng.uniform(-0.015, 0.015), 0),
            pitch * rng.uniform(0.5, 0.65),
            height,
            cover,
        )
        for k in range(count)
    ]
    parts.append(box(0, 0, height, count * pitch + 0.2, 0.03, 0.03, palettes.metal(rng)))
    return _mounted(parts, 0.06)


def pipe(rng: np.random.Generator) -> Piece:
    """Samples a pipe or a cable duct along a wall."""
    radius, height = rng.uniform(0.015, 0.06), rng.uniform(1.2, 2.3)
    finish = palettes.white(rng) if rng.random() < 0.6 else palettes.metal(rng)
    return _mounted([cylinder((0, 0, 0), radius, height, finish)], 0.02)


def television(rng: np.random.Generator) -> Piece:
    """Samples a screen on a wall."""
    width = rng.uniform(0.6, 1.4)
    return _mounted([box(0, 0, 0, width, 0.05, 0.58 * width, palettes.screen(rng))], 1.05)


def door(rng: np.random.Generator) -> Piece:
    """Samples a closed door with a frame; many are as white as the wall."""
    width, height = rng.uniform(0.75, 0.95), rng.uniform(1.98, 2.1)
    kinds = (palettes.white, palettes.white, materials.door, palettes.wood)
    leaf = kinds[rng.integers(4)](rng)
    frame = palettes.white(rng) if rng.random() < 0.6 else palettes.wood(rng)
    deep, edge = rng.uniform(0.02, 0.06), rng.uniform(0.05, 0.1)
    parts = [box(0, 0, 0, width, 0.02, height, leaf)]
    for side in (-1, 1):
        parts.append(box(side * (width + edge) / 2, 0, 0, edge, deep, height, frame))
    parts.append(box(0, 0, height, width + 2 * edge, deep, edge, frame))
    knob = (0.42 * width * rng.choice([-1, 1]), deep / 2 + 0.02, 1.0)
    parts.append(box(*knob, 0.12, 0.04, 0.025, palettes.metal(rng)))
    if rng.random() < 0.3:  # a notice on the door
        parts.append(box(0, 0.012, 1.3, 0.21, 0.003, 0.3, palettes.page(rng)))
    return _mounted(parts, 0.0)


def window(rng: np.random.Generator) -> Piece:
    """Samples a window with a sill, or a shutter."""
    base = furniture.window(rng)
    width, _, height = base.size
    glow = float(rng.choice([0.1, 1.0, 1.6, 3.0]))
    pane = dataclasses.replace(materials.WINDOW, emission=glow)
    if rng.random() < 0.25:
        tone = palettes.white(rng).albedo
        pane = Material(tone, materials.shade(tone, 0.6), Print.SLATS, 0.05, 0.1, 0.5)
    parts = [box(0, 0, 0.03, width, 0.03, height, pane)]
    parts.append(box(0, 0.05, 0, width + 0.1, 0.15, 0.03, palettes.white(rng)))
    return _mounted(parts, base.height_m)


def ceiling_lamp(rng: np.random.Generator) -> Piece:
    """Samples a panel, a tube, a ball or a shade under the ceiling."""
    kind, glow = rng.random(), dataclasses.replace(materials.LAMP, emission=rng.uniform(1.0, 4.0))
    if kind < 0.4:
        size = rng.choice([0.3, 0.6, 1.2]), rng.choice([0.15, 0.3, 0.6]), 0.04
        return piece([box(0, 0, 0, *size, glow)], Placement.CEILING)
    drop, radius = rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.2)
    cord = cylinder((0, 0, radius), 0.01, drop + radius, palettes.plain(rng))
    shade = cylinder((0, 0, 0), radius, 0.2, dataclasses.replace(glow, emission=0.8), 0.5)
    return piece([shade, cord], Placement.CEILING)


def partition(
    rng: np.random.Generator, size: tuple[float, float, float], paint: Material
) -> list[tuple[Piece, tuple[float, float, float, float]]]:
    """Samples a wall with an open doorway: pieces and their poses (x, y, z, yaw)."""
    width, depth, height = size
    thick, gap, door_m = rng.uniform(0.08, 0.2), rng.uniform(0.8, 1.4), rng.uniform(2.0, 2.2)
    x = rng.uniform(0.55, 0.75) * width
    low = rng.uniform(0.1, 0.9) * (depth - gap)
    frame = palettes.white(rng) if rng.random() < 0.6 else palettes.wood(rng)
    walls = []
    for start, end in ((0.0, low), (low + gap, depth)):
        walls.append((box(0, 0, 0, thick, end - start, height, paint), (start + end) / 2, 0.0))
    walls.append((box(0, 0, 0, thick, gap, height - door_m, paint), low + gap / 2, door_m))
    for y in (low + 0.02, low + gap - 0.02):
        walls.append((box(0, 0, 0, thick + 0.05, 0.04, door_m, frame), y, 0.0))
    return [
        (piece([part], Placement.FIXED), (float(x), float(y), float(bottom), 0.0))
        for part, y, bottom in walls
    ]


def block(
    rng: np.random.Generator, size: tuple[float, float, float], paint: Material
) -> list[tuple[Piece, tuple[float, float, float, float]]]:
    """Samples an inner corner, a column, or beams: pieces and their poses (x, y, z, yaw)."""
    width, depth, height = size
    kind = rng.random()
    if kind < 0.5:  # a room in the shape of an L
        w, d = rng.uniform(0.2, 0.45) * width, rng.uniform(0.2, 0.45) * depth
        x, y = rng.choice([w / 2, width - w / 2]), rng.choice([d / 2, depth - d / 2])
        return [(piece([box(0, 0, 0, w, d, height, paint)], Placement.FIXED), (x, y, 0.0, 0.0))]
    if kind < 0.75:
        side = rng.uniform(0.25, 0.5)
        x, y = rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * depth
        column = box(0, 0, 0, side, side, height, paint)
        if rng.random() < 0.4:
            column = cylinder((0, 0, 0), side / 2, height, paint)
        return [(piece([column], Placement.FIXED), (x, y, 0.0, 0.0))]
    beam = palettes.wood(rng)
    tall, count = rng.uniform(0.1, 0.25), int(rng.integers(2, 5))
    part = box(0, 0, 0, rng.uniform(0.1, 0.25), depth, tall, beam)
    return [
        (piece([part], Placement.FIXED), ((k + 0.5) * width / count, depth / 2, height - tall, 0.0))
        for k in range(count)
    ]
