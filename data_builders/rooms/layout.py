"""Places furniture in a room: samples poses until nothing collides."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_builders.rooms.furniture import Piece, Placement
from data_builders.rooms.space import Space

DOORWAY_M = 0.8  # Kept clear in front of doors.
TRIES = 40  # Poses sampled before a piece is left out.

# Tables are placed before their chairs, and shelves before the pictures next to them.
_ORDER = [
    Placement.CEILING,
    Placement.WALL,
    Placement.FREE,
    Placement.FLAT,
    Placement.SEAT,
    Placement.TOP,
    Placement.MOUNTED,
    Placement.FIXED,
]


@dataclasses.dataclass(frozen=True)
class Pose:
    """Pose of a piece: the centre of its base in metres, and its yaw in radians."""

    x: float
    y: float
    z: float
    yaw: float

    def to_world(self, local: Sequence[float]) -> np.ndarray:
        """Transforms a point (x, y, z) from the frame of the piece to the world."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        x, y, z = local
        return np.array([self.x + cos * x - sin * y, self.y + sin * x + cos * y, self.z + z])


class _Footprint(NamedTuple):
    corners: np.ndarray  # [4, 2] metres
    yaw: float
    bottom: float
    top: float


def arrange(space: Space, rescan: int) -> dict[int, Pose]:
    """Samples the poses of the furniture, at most `space.max_boxes` boxes, by index of the piece.

    A rescan keeps mounted pieces and moves, drops and adds furniture.
    """
    poses = _first_layout(space)
    if rescan > 0:
        poses = _rearrange(space, poses, np.random.default_rng([*space.seed, 1, rescan]))
    return poses


def _first_layout(space: Space) -> dict[int, Pose]:
    rng = np.random.default_rng([*space.seed, 1, 0])
    poses = _building(space)
    for index in _placing_order(space):
        if index not in space.spares and index not in poses:
            _add(space, poses, index, _sample_pose(space, poses, index, rng))
    return poses


def _building(space: Space) -> dict[int, Pose]:
    return {index: Pose(*pose) for index, pose in enumerate(space.building)}


def _rearrange(space: Space, before: dict[int, Pose], rng: np.random.Generator) -> dict[int, Pose]:
    """Keeps mounted pieces, shifts or drops furniture, and places chairs and small items again."""
    poses = _building(space)
    for index in _placing_order(space):
        if index in poses:
            continue
        piece, old = space.pieces[index], before.get(index)
        mounted = piece.placement in (Placement.CEILING, Placement.MOUNTED)
        if mounted and old is not None and _fits(space, poses, index, old):
            _add(space, poses, index, old)
            continue
        if mounted or rng.random() < (0.4 if index in space.spares else 0.12):
            continue
        pose = None
        if old is not None and piece.placement in (Placement.WALL, Placement.FREE, Placement.FLAT):
            pose = _shift(space, poses, index, old, rng)
        _add(space, poses, index, pose or _sample_pose(space, poses, index, rng))
    return poses


def _placing_order(space: Space) -> list[int]:
    """Returns the indices of the pieces, doors and windows first."""

    def rank(index: int) -> tuple[bool, int]:
        piece = space.pieces[index]
        building = piece.placement == Placement.MOUNTED and piece.height_m < 1.01
        return not building, _ORDER.index(piece.placement)

    return sorted(range(len(space.pieces)), key=rank)


def _add(space: Space, poses: dict[int, Pose], index: int, pose: Pose | None) -> None:
    """Adds a piece unless it has no pose, or exceeds the limits on boxes or covered floor."""
    if pose is None:
        return
    pieces = [space.pieces[i] for i in poses] + [space.pieces[index]]
    standing = [
        p for p in pieces if p.placement in (Placement.WALL, Placement.FREE, Placement.SEAT)
    ]
    floor_m2 = sum(p.size[0] * p.size[1] for p in standing)
    if sum(p.count() for p in pieces) > space.max_boxes:
        return
    if floor_m2 > space.max_floor_share * space.size[0] * space.size[1]:
        return
    poses[index] = pose


def _sample_pose(
    space: Space, poses: dict[int, Pose], index: int, rng: np.random.Generator
) -> Pose | None:
    for _ in range(TRIES):
        pose = _propose(space, poses, space.pieces[index], rng)
        if pose is not None and _fits(space, poses, index, pose):
            return pose
    return None


def _shift(
    space: Space, poses: dict[int, Pose], index: int, old: Pose, rng: np.random.Generator
) -> Pose | None:
    """Samples a pose near the old one; a piece at a wall moves along the wall."""
    against_wall = space.pieces[index].placement == Placement.WALL
    for attempt in range(TRIES // 4):
        if attempt == 0 and rng.random() < 0.3:
            pose = old
        elif against_wall:
            along = rng.uniform(-0.8, 0.8)
            x, y = old.x + along * np.cos(old.yaw), old.y + along * np.sin(old.yaw)
            pose = Pose(x, y, old.z, old.yaw)
        else:
            x, y = old.x + rng.normal(0, 0.35), old.y + rng.normal(0, 0.35)
            pose = Pose(x, y, old.z, old.yaw + rng.normal(0, 0.3))
        if _fits(space, poses, index, pose):
            return pose
    return None


def _propose(
    space: Space, poses: dict[int, Pose], piece: Piece, rng: np.random.Generator
) -> Pose | None:
    """Samples a pose for the placement of the piece; it may collide."""
    width, depth, height = space.size
    if piece.placement in (Placement.WALL, Placement.MOUNTED):
        gap = 0.0 if piece.placement == Placement.MOUNTED else rng.uniform(0.03, 0.06)
        return _at_wall(space, piece, gap, rng)
    if piece.placement == Placement.CEILING:
        x, y = rng.uniform(0.3, 0.7, 2) * (width, depth)
        return Pose(x, y, height - piece.size[2], rng.choice([0, np.pi / 2]))
    if piece.placement == Placement.TOP:
        hosts = [(space.pieces[i], pose) for i, pose in poses.items() if space.pieces[i].carries]
        if not hosts:
            return None
        host, pose = hosts[rng.integers(len(hosts))]
        spare = np.maximum(np.subtract(host.size[:2], piece.size[:2]) / 2 - 0.06, 0)
        x, y, _ = pose.to_world((*rng.uniform(-spare, spare), 0.0))
        return Pose(x, y, host.size[2], pose.yaw + rng.normal(0, 0.25))
    tables = [(space.pieces[i], pose) for i, pose in poses.items() if space.pieces[i].seats]
    if piece.placement == Placement.SEAT and tables:
        return _at_table(*tables[rng.integers(len(tables))], piece, rng)
    quarter = rng.integers(4) * np.pi / 2
    turn = 0.0 if piece.placement == Placement.FLAT else rng.normal(0, 0.4)
    return Pose(rng.uniform(0, width), rng.uniform(0, depth), 0.0, quarter + turn)


def _at_wall(space: Space, piece: Piece, gap: float, rng: np.random.Generator) -> Pose:
    """Samples a pose with the back at a wall and the front facing the room."""
    width, depth, _ = space.size
    inward = rng.integers(4)  # 0: +x, 1: +y, 2: -x, 3: -y
    back = gap + piece.size[1] / 2
    x = (back, rng.uniform(0, width), width - back, rng.uniform(0, width))[inward]
    y = (rng.uniform(0, depth), back, rng.uniform(0, depth), depth - back)[inward]
    return Pose(x, y, piece.height_m, (inward - 1) * np.pi / 2)


def _at_table(host: Piece, pose: Pose, seat: Piece, rng: np.random.Generator) -> Pose:
    """Samples a pose of a chair that faces a side of a table, or the front of a desk."""
    side = 0 if host.placement == Placement.WALL else rng.integers(4)  # 0: +y, 1: -x, 2: -y, 3: +x
    along, across = host.size[:2] if side % 2 == 0 else host.size[1::-1]
    slide = rng.uniform(-0.5, 0.5) * max(along - seat.size[0], 0)
    away = across / 2 + seat.size[1] / 2 + rng.uniform(0.04, 0.3)
    cos, sin = np.cos(side * np.pi / 2), np.sin(side * np.pi / 2)
    x, y, _ = pose.to_world((slide * cos - away * sin, slide * sin + away * cos, 0.0))
    turn = side * np.pi / 2 + np.pi + rng.normal(0, 0.25)
    return Pose(x, y, 0.0, pose.yaw + turn)


def _footprint(piece: Piece, pose: Pose, margin_m: float) -> _Footprint:
    x, y = piece.size[0] / 2 + margin_m, piece.size[1] / 2 + margin_m
    front = y + DOORWAY_M if piece.placement == Placement.MOUNTED and piece.height_m == 0 else y
    local = np.array([[-x, -y], [x, -y], [x, front], [-x, front]])
    cos, sin = np.cos(pose.yaw), np.sin(pose.yaw)
    corners = local @ np.array([[cos, sin], [-sin, cos]]) + (pose.x, pose.y)
    # A rug may lie under legs and feet: it is too thin to be visible there.
    bottom = -1.0 if piece.placement == Placement.FLAT else pose.z
    return _Footprint(corners, pose.yaw, bottom, bottom + piece.size[2])


def _fits(space: Space, poses: dict[int, Pose], index: int, pose: Pose) -> bool:
    """Returns whether the piece lies in the room and collides with no other piece."""
    piece = space.pieces[index]
    own = _footprint(piece, pose, 0.01)
    inside = _footprint(piece, pose, -1e-6).corners
    if np.any(inside < 0) or np.any(inside > space.size[:2]) or own.top > space.size[2] + 1e-6:
        return False
    near = (
        (space.pieces[i], other)
        for i, other in poses.items()
        if math.hypot(other.x - pose.x, other.y - pose.y)
        < _radius_m(piece) + _radius_m(space.pieces[i])
    )
    return not any(_collide(own, _footprint(*other, 0.0)) for other in near)


def _radius_m(piece: Piece) -> float:
    """Returns the radius of a circle around the footprint, with a margin."""
    door = piece.placement == Placement.MOUNTED and piece.height_m == 0
    return math.hypot(*piece.size[:2]) / 2 + (DOORWAY_M if door else 0.0) + 0.02


def _collide(one: _Footprint, two: _Footprint) -> bool:
    """Tests two upright boxes by separating axes: z, and the sides of both."""
    if one.bottom >= two.top - 1e-6 or two.bottom >= one.top - 1e-6:
        return False
    for yaw in (one.yaw, one.yaw + np.pi / 2, two.yaw, two.yaw + np.pi / 2):
        axis = np.array([np.cos(yaw), np.sin(yaw)])
        a, b = one.corners @ axis, two.corners @ axis
        if a.max() <= b.min() or b.max() <= a.min():
            return False
    return True
