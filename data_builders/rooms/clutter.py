"""Samples small objects that stand on furniture, shelves and floors."""

import numpy as np

from data_builders.rooms import materials, palettes
from data_builders.rooms.furniture import Box, Piece, box
from data_builders.rooms.solids import ball, cylinder, piece, rod, tilted

FLAT_M = 0.003  # Thickness of paper.


def book(rng: np.random.Generator) -> Piece:
    """Samples a pile of one to four books or magazines."""
    parts, bottom = [], 0.0
    width, depth = rng.uniform(0.14, 0.24), rng.uniform(0.19, 0.31)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 4])):
        thick, scale = rng.choice([0.004, 0.012, 0.03, 0.045]), rng.uniform(0.8, 1)
        yaw = float(rng.normal(0, 0.15))
        parts.append(
            Box(
                (0, 0, bottom + thick / 2),
                (scale * width, scale * depth, thick),
                palettes.page(rng),
                None,
                (yaw, 0.0, 0.0),
            )
        )
        bottom += thick
    return piece(parts)


def sheet(rng: np.random.Generator) -> Piece:
    """Samples a sheet of paper."""
    wide = rng.choice([0.21, 0.15, 0.1])
    return piece([box(0, 0, 0, wide, 1.41 * wide, FLAT_M, palettes.paper(rng))])


def bottle(rng: np.random.Generator) -> Piece:
    """Samples a bottle."""
    radius, height = rng.uniform(0.025, 0.05), rng.uniform(0.16, 0.32)
    body, cap = palettes.label(rng), palettes.plain(rng)
    waist = rng.uniform(0.5, 0.7) * height
    neck = 0.8 * height - waist
    return piece(
        [
            cylinder((0, 0, 0), radius, waist, body),
            cylinder((0, 0, waist), radius, neck, body, 0.4),
            cylinder((0, 0, waist + neck), 0.4 * radius, 0.2 * height, cap),
        ]
    )


def can(rng: np.random.Generator) -> Piece:
    """Samples a can, a jar, or a roll of tape."""
    radius, height = rng.uniform(0.03, 0.06), rng.choice([0.03, 0.09, 0.12, 0.17])
    finish = palettes.label(rng) if rng.random() < 0.6 else palettes.vessel(rng)
    return piece([cylinder((0, 0, 0), radius, height, finish)])


def cup(rng: np.random.Generator) -> Piece:
    """Samples a mug or a glass."""
    radius, height, finish = rng.uniform(0.03, 0.045), rng.uniform(0.07, 0.13), palettes.vessel(rng)
    parts = [cylinder((0, 0, 0), radius, height, finish, rng.uniform(1.0, 1.3))]
    if rng.random() < 0.6:
        parts.append(box(1.3 * radius, 0, 0.25 * height, radius, 0.01, 0.5 * height, finish))
    return piece(parts)


def bowl(rng: np.random.Generator) -> Piece:
    """Samples a bowl with fruit, or a plate."""
    radius, finish = rng.uniform(0.07, 0.14), palettes.vessel(rng)
    if rng.random() < 0.4:
        return piece([cylinder((0, 0, 0), 0.7 * radius, 0.02, finish, 1.5)])
    height = rng.uniform(0.05, 0.09)
    parts = [cylinder((0, 0, 0), 0.55 * radius, height, finish, 1.8)]
    for _ in range(rng.integers(0, 4)):
        size = rng.uniform(0.05, 0.08)
        x, y = rng.uniform(-0.5, 0.5, 2) * radius
        parts.append(ball((x, y, height - 0.02), (size, size, size), palettes.plain(rng)))
    return piece(parts)


def sphere(rng: np.random.Generator) -> Piece:
    """Samples a ball."""
    size = rng.choice([0.06, 0.12, 0.2, 0.24])
    finish = (palettes.plain, palettes.fabric, palettes.page)[rng.integers(3)](rng)
    return piece([ball((0, 0, 0), (size, size, size), finish)])


def globe(rng: np.random.Generator) -> Piece:
    """Samples a globe on a foot."""
    size = rng.uniform(0.2, 0.32)
    return piece(
        [
            cylinder((0, 0, 0), 0.35 * size, 0.02, palettes.plain(rng)),
            cylinder((0, 0, 0.02), 0.012, 0.06, palettes.metal(rng)),
            ball((0, 0, 0.07), (size, size, size), palettes.page(rng)),
        ]
    )


def package(rng: np.random.Generator) -> Piece:
    """Samples a printed box: cereal, a parcel, a game."""
    size = rng.uniform(0.06, 0.3), rng.uniform(0.04, 0.2), rng.uniform(0.03, 0.3)
    kinds = [palettes.label, palettes.label, palettes.page, palettes.plain, materials.carton]
    return piece([box(0, 0, 0, *size, kinds[rng.integers(len(kinds))](rng))])


def open_carton(rng: np.random.Generator) -> Piece:
    """Samples a cardboard box with two open lids."""
    width, depth, height = rng.uniform(0.2, 0.45, 3)
    finish = materials.carton(rng) if rng.random() < 0.7 else palettes.label(rng)
    inside = palettes.vessel(rng)
    parts = [box(0, 0, 0, width, depth, height, finish)]
    parts.append(box(0, 0, height, width - 0.02, depth - 0.02, 0.002, inside))
    for yaw in (0.0, np.pi):
        sign = 1 if yaw == 0.0 else -1
        lid = (width, 0.006, depth / 2)
        hinge = (0, -sign * depth / 2, height)
        parts.append(tilted(hinge, lid, rng.uniform(0.1, 1.3), finish, yaw))
    return piece(parts)


def laptop(rng: np.random.Generator) -> Piece:
    """Samples an open laptop."""
    width, depth = rng.uniform(0.3, 0.38), rng.uniform(0.21, 0.26)
    case = palettes.metal(rng)
    keys = materials.Material(case.albedo, (0.02, 0.02, 0.02), palettes.Print.KEYS, 0.019, 0.2)
    size = (width, 0.008, depth)
    lean = rng.uniform(0.05, 0.5)
    return piece(
        [
            box(0, 0, 0, width, depth, 0.018, keys),
            tilted((0, -depth / 2, 0.018), size, lean, palettes.screen(rng)),
            tilted((0, -depth / 2 - 0.006, 0.016), (width, 0.003, depth), lean, case),
        ]
    )


def keyboard(rng: np.random.Generator) -> Piece:
    """Samples a keyboard with a mouse."""
    base = palettes.plain(rng)
    dark = base.albedo[1] > 0.3
    caps = materials.shade(base.albedo, 0.5 if dark else 3.0)
    keys = materials.Material(base.albedo, caps, palettes.Print.KEYS, 0.019, 0.2)
    width = rng.uniform(0.3, 0.46)
    return piece(
        [
            box(-0.05, 0, 0, width, 0.15, 0.022, keys),
            ball((width / 2 + 0.03, 0, -0.015), (0.06, 0.1, 0.05), palettes.plain(rng)),
        ]
    )


def monitor(rng: np.random.Generator) -> Piece:
    """Samples a monitor, tilted a little."""
    width, height = rng.uniform(0.4, 0.65), rng.uniform(0.28, 0.4)
    case, foot = palettes.plain(rng), rng.uniform(0.06, 0.14)
    lean = rng.uniform(-0.05, 0.25)
    return piece(
        [
            cylinder((0, 0, 0), 0.11, 0.015, case),
            box(0, -0.03, 0.015, 0.05, 0.03, foot + 0.1, case),
            tilted((0, 0, foot), (width, 0.02, height), lean, palettes.screen(rng)),
            tilted((0, -0.016, foot + 0.01), (width - 0.03, 0.012, height - 0.02), lean, case),
        ]
    )


def lamp(rng: np.random.Generator) -> Piece:
    """Samples a table lamp with a lit or dark shade."""
    height, radius = rng.uniform(0.3, 0.55), rng.uniform(0.08, 0.16)
    shade = palettes.plain(rng)
    glow = 1.2 if rng.random() < 0.4 else 0.0
    shade = materials.Material(shade.albedo, shade.second, shade.texture, 0.05, 0.05, glow)
    return piece(
        [
            cylinder((0, 0, 0), 0.6 * radius, 0.02, palettes.metal(rng)),
            cylinder((0, 0, 0.02), 0.012, 0.6 * height, palettes.metal(rng)),
            cylinder((0, 0, 0.62 * height), radius, 0.38 * height, shade, rng.uniform(0.4, 0.9)),
        ]
    )


def plant(rng: np.random.Generator, scale: float = 1.0) -> Piece:
    """Samples a plant in a pot: a crown of ellipsoids, or long leaves."""
    pot, tall = scale * rng.uniform(0.05, 0.09), scale * rng.uniform(0.08, 0.15)
    green = palettes.leaf(rng)
    parts = [cylinder((0, 0, 0), pot, tall, palettes.vessel(rng), 1.3)]
    for k in range(rng.integers(6, 11)):
        yaw, rise = 2.4 * k + rng.normal(0, 0.3), rng.uniform(0.15, 1.2)
        length = scale * rng.uniform(0.14, 0.32)
        out = 0.5 * length * np.array([np.sin(yaw) * np.sin(rise), -np.cos(yaw) * np.sin(rise)])
        center = (float(out[0]), float(out[1]), tall + 0.5 * length * np.cos(rise))
        size = (scale * rng.uniform(0.04, 0.1), scale * 0.015, length)
        parts.append(Box(center, size, green, (1.0, 0.0, -1.0), (float(yaw), float(rise), 0.0)))
    return piece(parts)


def toy(rng: np.random.Generator) -> Piece:
    """Samples a sitting soft toy."""
    s, fur = rng.uniform(0.15, 0.35), palettes.fabric(rng)
    parts = [
        ball((0, 0, 0), (0.6 * s, 0.5 * s, 0.65 * s), fur),
        ball((0, 0.02 * s, 0.55 * s), (0.45 * s, 0.42 * s, 0.42 * s), fur),
    ]
    for side in (-1, 1):
        parts.append(ball((side * 0.17 * s, 0, 0.87 * s), (0.16 * s, 0.08 * s, 0.16 * s), fur))
        parts.append(ball((side * 0.2 * s, 0.32 * s, 0), (0.2 * s, 0.45 * s, 0.2 * s), fur))
    return piece(parts)


def cloth(rng: np.random.Generator) -> Piece:
    """Samples folded or crumpled cloth."""
    finish = palettes.fabric(rng)
    width, depth, height = rng.uniform(0.2, 0.45), rng.uniform(0.15, 0.35), rng.uniform(0.03, 0.12)
    if rng.random() < 0.4:
        return piece([box(0, 0, 0, width, depth, 0.6 * height, finish)])
    parts = []
    for _ in range(rng.integers(2, 5)):
        x, y = rng.normal(0, 0.15, 2) * (width, depth)
        size = width * rng.uniform(0.5, 0.9), depth * rng.uniform(0.5, 0.9), 2 * height
        parts.append(ball((x, y, -rng.uniform(0.3, 0.9) * height), size, finish, rng.uniform(0, 3)))
    return piece(parts)


def pens(rng: np.random.Generator) -> Piece:
    """Samples a cup of pens."""
    height = rng.uniform(0.08, 0.11)
    parts = [cylinder((0, 0, 0), 0.04, height, palettes.vessel(rng))]
    for _ in range(rng.integers(2, 6)):
        x, y, dx, dy = rng.uniform(-0.02, 0.02, 4)
        end = (x + dx, y + dy, height + rng.uniform(0.04, 0.09))
        parts.append(rod((x, y, 0.02), end, 0.009, palettes.plain(rng)))
    return piece(parts)


def gadget(rng: np.random.Generator) -> Piece:
    """Samples a flat device: a phone, a remote control, a calculator."""
    size = rng.uniform(0.05, 0.16), rng.uniform(0.09, 0.22), rng.uniform(0.008, 0.05)
    finish = palettes.plain(rng)
    keys = materials.Material(
        finish.albedo, palettes.color(rng), palettes.Print.KEYS, 0.015, finish.gloss
    )
    return piece([box(0, 0, 0, *size, keys if rng.random() < 0.5 else finish)])


def cable(rng: np.random.Generator) -> Piece:
    """Samples a cable that winds over a surface."""
    finish, thick = palettes.plain(rng), rng.uniform(0.006, 0.014)
    points, yaw = [np.zeros(2)], rng.uniform(0, 2 * np.pi)
    bend = rng.normal(0, 0.7)
    for _ in range(rng.integers(4, 9)):
        yaw += bend + rng.normal(0, 0.3)
        points.append(points[-1] + 0.09 * np.array([np.cos(yaw), np.sin(yaw)]))
    points = np.array(points) - (np.max(points, axis=0) + np.min(points, axis=0)) / 2
    height = thick / 2
    return piece(
        [
            rod((*start, height), (*end, height), thick, finish)
            for start, end in zip(points[:-1], points[1:], strict=True)
        ]
    )


def stand(rng: np.random.Generator) -> Piece:
    """Samples upright sheets or folders that lean on each other, on a base."""
    finish, width = palettes.plain(rng), rng.uniform(0.15, 0.25)
    parts = [box(0, 0, 0, width, 0.2, 0.01, finish)]
    for k in range(rng.integers(2, 5)):
        height, lean = rng.uniform(0.12, 0.28), rng.uniform(0.1, 0.4)
        hinge = (rng.normal(0, 0.01), 0.09 - 0.045 * k, 0.01)
        parts.append(tilted(hinge, (width, 0.004, height), lean, palettes.page(rng)))
    return piece(parts)


SMALL = (
    book, book, book, sheet, sheet, bottle, can, cup, cup, bowl, package, package, gadget, pens,
)  # fmt: skip
ANY = (*SMALL, sphere, globe, open_carton, lamp, plant, toy, cloth, laptop, cable, stand)
