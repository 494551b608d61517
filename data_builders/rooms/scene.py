"""Describes a room with placed furniture as arrays for the renderer, one row per surface.

The origin of the world is a lower corner of the room; z is up, lengths are in metres. Rows 0 to 5
are the inner faces of the room: ceiling, floor, the walls at x = 0, x = width, y = 0 and y = depth.
The other `space.max_boxes` rows are boxes; unused ones have size 0. Varied rooms have round and
turned solids as well, which come after the boxes.
"""

from typing import NamedTuple

import numpy as np

from data_builders.rooms import layout, lighting, solids
from data_builders.rooms.furniture import Box, Item, Placement
from data_builders.rooms.layout import Pose
from data_builders.rooms.lighting import Masks
from data_builders.rooms.materials import Texture
from data_builders.rooms.shapes import Solids
from data_builders.rooms.space import Space

SHELL_ROWS = 6
FIRST_PIECE_ID = SHELL_ROWS
LAMP_COLOR = (1.0, 0.86, 0.68)
DAYLIGHT_COLOR = (0.75, 0.9, 1.15)


class Scene(NamedTuple):
    """A room with placed furniture; `S = SHELL_ROWS + space.max_boxes`.

    Attributes:
        room_size: `[3]` float32 metres.
        center, half: `[S, 3]` float32 metres, centre and half size of a box; rows 0 to 5 hold the
            room.
        cos_sin: `[S, 2]` float32, cosine and sine of the yaw.
        albedo, second: `[S, 3]` float32 linear RGB; texture `[S]` int32; scale_m, gloss, emission
            `[S]` float32: as in `materials.Material`.
        instance: `[S]` int32; 0 ceiling, 1 floor, 2 to 5 walls, from 6 the pieces of the space.
        light_position: `[L, 3]` float32 metres; light_color `[L, 3]` float32, relative;
            light_radius_m `[L]` float32; L is 2, in varied rooms `lighting.LIGHTS`.
        solids: the round and turned solids of a varied room, else None.
        masks: limits of the lights of a varied room, else None.
    """

    room_size: np.ndarray
    center: np.ndarray
    half: np.ndarray
    cos_sin: np.ndarray
    albedo: np.ndarray
    second: np.ndarray
    texture: np.ndarray
    scale_m: np.ndarray
    gloss: np.ndarray
    emission: np.ndarray
    instance: np.ndarray
    light_position: np.ndarray
    light_color: np.ndarray
    light_radius_m: np.ndarray
    solids: Solids | None = None
    masks: Masks | None = None


def make_scene(space: Space, rescan: int) -> Scene:
    """Places the furniture of a space; each rescan places it differently."""
    poses = layout.arrange(space, rescan)
    size = np.asarray(space.size)
    centers, halves, yaws = [size / 2] * SHELL_ROWS, [size / 2] * SHELL_ROWS, [0.0] * SHELL_ROWS
    surfaces, instances = list(space.shell), list(range(SHELL_ROWS))
    placed = _placed(space, poses, rescan)
    for box, pose, instance in placed:
        centers.append(pose.to_world(box.center))
        halves.append(np.asarray(box.size) / 2)
        yaws.append(pose.yaw)
        surfaces.append(box.material)
        instances.append(instance)
    padding = SHELL_ROWS + space.max_boxes - len(surfaces)
    centers += [np.array([0.0, 0.0, -100.0])] * padding
    halves += [np.zeros(3)] * padding
    yaws += [0.0] * padding
    surfaces += [space.shell[0]] * padding
    instances += [0] * padding
    if space.varied:
        rng = np.random.default_rng([*space.seed, 5])
        positions, colors, radii, masks = lighting.sample(space, poses, rng)
    else:
        positions, colors, radii = zip(*_lights(space, poses), strict=True)
        masks = None
    return Scene(
        room_size=size.astype(np.float32),
        center=np.array(centers, np.float32),
        half=np.array(halves, np.float32),
        cos_sin=np.stack([np.cos(yaws), np.sin(yaws)], axis=1).astype(np.float32),
        albedo=np.array([m.albedo for m in surfaces], np.float32),
        second=np.array([m.second for m in surfaces], np.float32),
        texture=np.array([m.texture for m in surfaces], np.int32),
        scale_m=np.array([m.scale_m for m in surfaces], np.float32),
        gloss=np.array([m.gloss for m in surfaces], np.float32),
        emission=np.array([m.emission for m in surfaces], np.float32),
        instance=np.array(instances, np.int32),
        light_position=np.array(positions, np.float32),
        light_color=np.array(colors, np.float32),
        light_radius_m=np.array(radii, np.float32),
        solids=_solids(space, np.array(halves), placed) if space.varied else None,
        masks=masks,
    )


def _placed(space: Space, poses: dict[int, Pose], rescan: int) -> list[tuple[Box, Pose, int]]:
    """Returns each box with the pose and the instance of its piece, the round ones last."""
    placed = [
        (box, pose, FIRST_PIECE_ID + index)
        for index, pose in sorted(poses.items())
        for box in space.pieces[index].boxes
    ]
    if not space.varied:
        return placed
    rng = np.random.default_rng([*space.seed, 3, rescan])
    instance = FIRST_PIECE_ID + len(space.pieces)
    for index, piece in enumerate(space.pieces):
        for item in piece.items:
            stays = rescan == 0 or rng.random() > 0.2
            if index in poses and stays:
                pose = _on(poses[index], item)
                placed += [(box, pose, instance) for box in item.piece.boxes]
            instance += 1
    return sorted(placed, key=lambda part: part[0].conic is not None)


def _on(host: Pose, item: Item) -> Pose:
    x, y, z = host.to_world(item.place)
    return Pose(float(x), float(y), float(z), host.yaw + item.yaw)


def _solids(space: Space, halves: np.ndarray, placed: list[tuple[Box, Pose, int]]) -> Solids:
    count = len(halves)
    rows = np.arange(SHELL_ROWS, SHELL_ROWS + len(placed))
    axes = np.tile(np.eye(3), (count, 1, 1))
    conic, radius = np.zeros((count, 3)), np.full(count, -1.0)
    for row, (box, pose, _) in zip(rows, placed, strict=True):
        yaw, pitch, roll = box.turn
        axes[row] = solids.rotation((pose.yaw + yaw, pitch, roll)).T
        conic[row] = box.conic or (0, 0, 0)
    radius[rows] = np.linalg.norm(halves[rows], axis=1)
    keys = np.random.default_rng([*space.seed, 4]).integers(0, 2**20, count)
    return Solids(
        to_unit=(axes / np.maximum(halves, 1e-6)[:, :, None]).astype(np.float32),
        conic=conic.astype(np.float32),
        radius_m=radius.astype(np.float32),
        key=keys.astype(np.int32),
        first_round=np.array(SHELL_ROWS + sum(box.conic is None for box, _, _ in placed), np.int32),
    )


def _lights(space: Space, poses: dict[int, Pose]) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Returns two lights (position, colour, radius): a lamp, and a window, a lamp or a dim fill."""
    lamps, windows = [], []
    for index, pose in sorted(poses.items()):
        piece = space.pieces[index]
        if piece.placement == Placement.CEILING:
            below = pose.to_world((0.0, 0.0, -0.08))
            lamps.append((below, np.array(LAMP_COLOR), 0.18))
        elif piece.boxes[0].material.texture == Texture.WINDOW:
            inside = pose.to_world((0.0, 0.2, 0.6 * piece.size[2]))
            windows.append((inside, 0.8 * np.array(DAYLIGHT_COLOR), 0.4))
    lights = lamps[:1] + windows[:1] + lamps[1:]
    middle = np.array([0.4, 0.6, 0.9]) * space.size
    return (lights + [(middle, 0.3 * np.array(LAMP_COLOR), 0.3)] * 2)[:2]
