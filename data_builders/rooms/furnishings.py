"""Samples the furniture of the varied rooms, with what stands on it."""

import dataclasses

import numpy as np

from data_builders.rooms import clutter, furniture, palettes
from data_builders.rooms.furniture import Box, Item, Piece, Placement, box, legs
from data_builders.rooms.solids import ball, bounds, cylinder, piece, rod, scatter, tilted


def _amount(rng: np.random.Generator, most: int) -> int:
    """Samples a number of items: few, some, or as many as fit."""
    return int(rng.integers(0, 1 + rng.choice([most // 4, most, 2 * most])))


def _sized(
    parts: list[Box],
    size: tuple[float, float, float],
    placement: Placement,
    items: tuple[Item, ...] = (),
    seats: bool = False,
) -> Piece:
    return Piece(tuple(parts), size, placement, seats=seats, items=items)


def desk(rng: np.random.Generator) -> Piece:
    """Samples a desk with a computer, paper and clutter."""
    width, depth, height = rng.uniform(1.1, 1.8), rng.uniform(0.6, 0.85), rng.uniform(0.68, 0.78)
    finish, frame = palettes.wood(rng), palettes.metal(rng)
    parts = [box(0, 0, height - 0.03, width, depth, 0.03, finish)]
    if rng.random() < 0.5:
        parts += legs(width - 0.1, depth - 0.1, height - 0.03, 0.05, frame)
    else:
        for side in (-1, 1):
            parts.append(box(side * (width / 2 - 0.02), 0, 0, 0.04, depth, height - 0.03, finish))
        parts.append(box(0, 0.03 - depth / 2, 0.3, width - 0.08, 0.02, height - 0.33, finish))
    items = []
    if rng.random() < 0.75:
        x = rng.uniform(-0.25, 0.25) * width
        items.append(Item(clutter.monitor(rng), (x, -0.2 * depth, height), rng.normal(0, 0.2)))
        items.append(Item(clutter.keyboard(rng), (x, 0.25 * depth, height), rng.normal(0, 0.1)))
    area = (0.0, 0.0, width, depth)
    items = scatter(rng, clutter.ANY, _amount(rng, 14), area, top=height, taken=items)
    placement = Placement.WALL if rng.random() < 0.7 else Placement.FREE
    return _sized(parts, (width, depth, height), placement, items, seats=True)


def table(rng: np.random.Generator) -> Piece:
    """Samples a dining table, a coffee table or a round table with clutter."""
    low = rng.random() < 0.4
    height = rng.uniform(0.35, 0.5) if low else rng.uniform(0.68, 0.78)
    finish = palettes.wood(rng)
    if rng.random() < 0.35:
        radius = rng.uniform(0.3, 0.65)
        parts = [
            cylinder((0, 0, height - 0.03), radius, 0.03, finish),
            cylinder((0, 0, 0.03), 0.04, height - 0.06, palettes.metal(rng)),
            cylinder((0, 0, 0), 0.5 * radius, 0.03, palettes.metal(rng)),
        ]
        width = depth = 1.4 * radius
        size = (2 * radius, 2 * radius, height)
    else:
        width, depth = rng.uniform(0.7, 1.9), rng.uniform(0.5, 1.0)
        parts = legs(width, depth, height - 0.04, rng.uniform(0.04, 0.09), finish)
        parts.append(box(0, 0, height - 0.04, width, depth, 0.04, finish))
        if rng.random() < 0.25:  # a tablecloth with hanging sides
            cover = palettes.fabric(rng)
            parts.append(box(0, 0, height, width + 0.01, depth + 0.01, 0.003, cover))
            for side in (-1, 1):
                drop, y = rng.uniform(0.1, 0.25), side * (depth / 2 + 0.008)
                parts.append(box(0, y, height - drop, width, 0.006, drop, cover))
        size = (width, depth, height)
    area = (0.0, 0.0, width, depth)
    items = scatter(rng, clutter.ANY, _amount(rng, 12), area, top=height + 0.003)
    return _sized(parts, size, Placement.FREE, items, seats=not low)


def swivel_chair(rng: np.random.Generator) -> Piece:
    """Samples an office chair on five feet."""
    cover, frame = palettes.fabric(rng), palettes.metal(rng)
    seat = rng.uniform(0.42, 0.52)
    parts = [
        ball((0, 0, seat - 0.05), (0.5, 0.48, 0.14), cover),
        cylinder((0, 0, 0.1), 0.03, seat - 0.1, frame),
        tilted((0, -0.2, seat + 0.1), (0.42, 0.05, rng.uniform(0.35, 0.6)), 0.2, cover),
        tilted((0, -0.23, seat), (0.06, 0.02, 0.3), 0.1, frame),
    ]
    for k in range(5):
        x, y = 0.28 * np.cos(1.257 * k), 0.28 * np.sin(1.257 * k)
        parts.append(rod((0, 0, 0.12), (x, y, 0.07), 0.04, frame))
        parts.append(ball((x, y, 0), (0.05, 0.05, 0.06), frame))
    return _sized(parts, (0.58, 0.58, 1.0), Placement.SEAT)


def chair(rng: np.random.Generator) -> Piece:
    """Samples a chair with a leaning back, or a stool."""
    frame, cover = palettes.wood(rng), palettes.plain(rng)
    seat, width = rng.uniform(0.42, 0.5), rng.uniform(0.38, 0.48)
    thick = 0.03
    if rng.random() < 0.25:
        parts = [cylinder((0, 0, seat - 0.05), width / 2.2, 0.05, cover)]
        for k in range(4):
            x, y = 0.8 * np.cos(0.8 + 1.57 * k), 0.8 * np.sin(0.8 + 1.57 * k)
            reach = width / 2.2
            end = (0.7 * reach * x, 0.7 * reach * y, seat - 0.05)
            parts.append(rod((reach * x, reach * y, 0.01), end, thick, frame))
        return _sized(parts, (width, width, seat), Placement.SEAT)
    parts = legs(width, width, seat - 0.04, thick, frame)
    parts.append(box(0, 0, seat - 0.04, width, width, 0.04, cover))
    lean, height = rng.uniform(0.05, 0.25), rng.uniform(0.15, 0.3)
    for side in (-1, 1):
        hinge = (side * (width / 2 - 0.02), 0.02 - width / 2, seat)
        parts.append(tilted(hinge, (0.025, 0.025, 0.45), lean, frame))
    hinge = (0, -width / 2 - 0.2 * np.sin(lean), seat + 0.44 - height)
    parts.append(tilted(hinge, (width, 0.025, height), lean, cover))
    return _sized(parts, (width, width + 0.12, seat + 0.45), Placement.SEAT)


def _book_row(rng: np.random.Generator, width: float, tall: float) -> list[Box]:
    """Makes upright books next to each other, the last one leaning; their x starts at 0."""
    parts, x = [], 0.0
    size = rng.uniform(0.7, 1) * tall
    while x < width - 0.06:
        thick, height = rng.uniform(0.02, 0.07), min(tall, size * rng.uniform(0.8, 1.1))
        deep = rng.uniform(0.13, 0.2)
        finish = palettes.page(rng) if rng.random() < 0.5 else palettes.label(rng)
        lean = 0.0
        if x > 0.1 and rng.random() < 0.12:
            lean = rng.uniform(0.1, 0.3)
            thick = 0.025
            height = 0.9 * height
        across = thick * np.cos(lean) + height * np.sin(lean)
        if x + across > width:
            break
        center = (x + across / 2, 0.0, (height * np.cos(lean) + thick * np.sin(lean)) / 2)
        parts.append(Box(center, (thick, deep, height), finish, None, (0.0, 0.0, -lean)))
        x += across + 0.001
    return parts


def shelf(rng: np.random.Generator) -> Piece:
    """Samples an open shelf with books and objects."""
    width, depth = rng.uniform(0.6, 1.2), rng.uniform(0.26, 0.4)
    boards = int(rng.integers(2, 6))
    pitch = rng.uniform(0.3, 0.4)
    height, finish, thick = 0.06 + boards * pitch, palettes.wood(rng), 0.025
    side = (width - thick) / 2
    parts = [
        box(-side, 0, 0, thick, depth, height, finish),
        box(side, 0, 0, thick, depth, height, finish),
        box(0, 0, height - thick, width, depth, thick, finish),
    ]
    if rng.random() < 0.7:
        parts.append(box(0, (0.015 - depth) / 2, 0, width, 0.015, height, finish))
    inner, items = width - 2 * thick, ()
    for level in range(boards):
        bottom = 0.04 + level * pitch
        parts.append(box(0, 0, bottom, inner, depth, thick, finish))
        free, kind = pitch - thick - 0.03, rng.random()
        area = (0.0, 0.0, inner, depth)
        if kind < 0.45:
            row = _book_row(rng, inner * rng.uniform(0.3, 0.95), free)
            if row:
                middle = bounds(row)[0] / 2
                row = [_moved(part, -middle) for part in row[:12]]
                used = bounds(row)[0]
                x = rng.choice([-1, 1]) * (inner - used) / 2
                items = (*items, Item(piece(row), (float(x), 0.02, bottom + thick), 0.0))
        elif kind < 0.85:
            count = _amount(rng, 5)
            items += scatter(rng, clutter.ANY, count, area, top=bottom + thick, room=free)
    return _sized(parts, (width, depth, height), Placement.WALL, items)


def _moved(part: Box, x: float) -> Box:
    return dataclasses.replace(part, center=(part.center[0] + x, *part.center[1:]))


def drawers(rng: np.random.Generator) -> Piece:
    """Samples a chest, a cabinet or a wardrobe with fronts and handles, and clutter on it."""
    width, depth = rng.uniform(0.4, 1.5), rng.uniform(0.38, 0.6)
    height = rng.choice([rng.uniform(0.45, 1.0), rng.uniform(0.45, 1.0), rng.uniform(1.6, 2.2)])
    finish = palettes.wood(rng)
    front = finish if rng.random() < 0.6 else palettes.wood(rng)
    handle, face = palettes.metal(rng), depth / 2 - 0.02
    parts = [box(0, -0.01, 0, width, depth - 0.02, height, finish)]
    columns = 1 if width < 0.6 else 2
    rows = int(rng.integers(1, 5)) if height < 1.2 else 1
    leaf, pitch = width / columns, (height - 0.06) / rows
    for column in range(columns):
        for row in range(rows):
            x, z = (column + 0.5) * leaf - width / 2, 0.05 + row * pitch
            parts.append(box(x, face + 0.01, z, leaf - 0.008, 0.02, pitch - 0.008, front))
            if rows > 1:
                parts.append(box(x, face + 0.03, z + 0.6 * pitch, 0.12, 0.02, 0.012, handle))
            else:
                x += leaf * (0.4 if column == 0 else -0.4)
                parts.append(box(x, face + 0.03, 0.5 * height, 0.015, 0.02, 0.14, handle))
    area, items = (0.0, -0.02, width - 0.04, depth - 0.06), ()
    if height < 1.2:
        items = scatter(rng, clutter.ANY, _amount(rng, 8), area, top=height)
    elif rng.random() < 0.3:
        items = scatter(rng, (clutter.package, clutter.open_carton), 2, area, top=height, room=0.4)
    return _sized(parts, (width, depth + 0.04, height), Placement.WALL, items)


def counter(rng: np.random.Generator) -> Piece:
    """Samples a kitchen counter with fronts and dishes."""
    width, depth, height = rng.uniform(1.4, 2.6), 0.6, rng.uniform(0.86, 0.94)
    front, handle = palettes.wood(rng), palettes.metal(rng)
    parts = [
        box(0, -0.02, 0.1, width, depth - 0.06, height - 0.14, front),
        box(0, -0.06, 0, width, depth - 0.12, 0.1, palettes.plain(rng)),
        box(0, 0, height - 0.04, width, depth, 0.04, palettes.floor(rng)),
    ]
    leaves = round(width / 0.6)
    for k in range(leaves):
        x = (k + 0.5) * width / leaves - width / 2
        parts.append(
            box(x, depth / 2 - 0.045, 0.12, width / leaves - 0.01, 0.02, height - 0.18, front)
        )
        parts.append(box(x, depth / 2 - 0.025, height - 0.14, 0.2, 0.02, 0.015, handle))
    kinds = (clutter.bowl, clutter.cup, clutter.bottle, clutter.can, clutter.package)
    items = scatter(rng, kinds, _amount(rng, 14), (0.0, 0.0, width, depth), top=height)
    return _sized(parts, (width, depth, height), Placement.WALL, items)


def sofa(rng: np.random.Generator) -> Piece:
    """Samples a sofa or armchair with round arms and cushions."""
    base = furniture.sofa(rng)
    cover, other = palettes.fabric(rng), palettes.fabric(rng)
    swap = {part.material: cover for part in base.boxes[:4]}
    parts = [
        dataclasses.replace(part, material=swap.get(part.material, other)) for part in base.boxes
    ]
    width, depth, height = base.size
    if rng.random() < 0.5:
        seats = range(4, len(parts))
        for k in seats:  # soft seats
            x, y, _ = parts[k].center
            wide, deep, _ = parts[k].size
            parts[k] = ball((x, y, 0.24), (1.15 * wide, 1.1 * deep, 0.26), parts[k].material)
    arm = base.boxes[2]
    if rng.random() < 0.5:
        for side in (-1, 1):
            x = side * abs(arm.center[0])
            start, end = (x, -depth / 2, 0.6), (x, depth / 2, 0.6)
            parts.append(rod(start, end, arm.size[0], cover))
    for _ in range(rng.integers(0, 4)):
        x, size = rng.uniform(-0.35, 0.35) * (width - 0.4), rng.uniform(0.35, 0.5)
        pillow = palettes.fabric(rng)
        center = (float(x), -depth / 2 + 0.36, 0.42 + size / 2)
        parts.append(
            Box(
                center,
                (size, 0.18, size),
                pillow,
                (1.0, 0.0, -1.0),
                (rng.normal(0, 0.2), 0.35, 0.0),
            )
        )
    return _sized(parts, (width, depth, height), Placement.WALL)


def bed(rng: np.random.Generator) -> Piece:
    """Samples a bed with pillows, a crumpled cover and clutter."""
    width, depth = rng.uniform(0.9, 1.8), rng.uniform(1.95, 2.1)
    finish, cover = palettes.wood(rng), palettes.fabric(rng)
    parts = [
        box(0, 0.03, 0.05, width, depth - 0.06, 0.25, finish),
        box(0, 0.03 - depth / 2, 0, width, 0.06, rng.uniform(0.5, 1.1), finish),
        box(0, 0.04, 0.30, width - 0.04, depth - 0.1, 0.18, palettes.white(rng)),
        box(0, 0.3, 0.44, width + 0.03, depth - 0.7, 0.07, cover),
    ]
    for _ in range(rng.integers(2, 6)):
        x, y = rng.uniform(-0.3, 0.3) * width, rng.uniform(-0.1, 0.7)
        size = rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.6), rng.uniform(0.1, 0.3)
        parts.append(ball((x, y, 0.5 - 0.5 * size[2]), size, cover, rng.uniform(0, 3)))
    for k in range(1 if width < 1.3 else 2):
        x = 0 if width < 1.3 else (k - 0.5) * 0.45 * width
        parts.append(ball((x, 0.35 - depth / 2, 0.45), (0.65, 0.42, 0.2), palettes.fabric(rng)))
    kinds = (clutter.book, clutter.cloth, clutter.toy, clutter.laptop)
    items = scatter(rng, kinds, 2, (0.0, 0.75, 0.7 * width, 0.4), top=0.51)
    return _sized(parts, (width, depth, 1.0), Placement.WALL, items)
