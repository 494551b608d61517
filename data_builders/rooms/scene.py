"""Describes a room with placed furniture as arrays for the renderer, one row per surface.

The origin of the world is a lower corner of the room; z is up, lengths are in metres. Rows 0 to 5
are the inner faces of the room: ceiling, floor, the walls at x = 0, x = width, y = 0 and y = depth.
The other `layout.MAX_BOXES` rows are boxes; unused ones have size 0.
"""

from typing import NamedTuple

import numpy as np

from data_builders.rooms import layout
from data_builders.rooms.furniture import Placement
from data_builders.rooms.layout import MAX_BOXES, Pose
from data_builders.rooms.materials import Texture
from data_builders.rooms.space import Space

SHELL_ROWS = 6
FIRST_PIECE_ID = SHELL_ROWS
LAMP_COLOR = (1.0, 0.86, 0.68)
DAYLIGHT_COLOR = (0.75, 0.9, 1.15)


class Scene(NamedTuple):
    """A room with placed furniture; `S = SHELL_ROWS + MAX_BOXES`.

    Attributes:
        room_size: `[3]` float32 metres.
        center, half: `[S, 3]` float32 metres, centre and half size of a box; rows 0 to 5 hold the
            room.
        cos_sin: `[S, 2]` float32, cosine and sine of the yaw.
        albedo, second: `[S, 3]` float32 linear RGB; texture `[S]` int32; scale_m, gloss, emission
            `[S]` float32: as in `materials.Material`.
        instance: `[S]` int32; 0 ceiling, 1 floor, 2 to 5 walls, from 6 the pieces of the space.
        light_position: `[2, 3]` float32 metres; light_color `[2, 3]` float32, relative;
            light_radius_m `[2]` float32.
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


def make_scene(space: Space, rescan: int) -> Scene:
    """Places the furniture of a space; each rescan places it differently."""
    poses = layout.arrange(space, rescan)
    size = np.asarray(space.size)
    centers, halves, yaws = [size / 2] * SHELL_ROWS, [size / 2] * SHELL_ROWS, [0.0] * SHELL_ROWS
    surfaces, instances = list(space.shell), list(range(SHELL_ROWS))
    for index, pose in sorted(poses.items()):
        for box in space.pieces[index].boxes:
            centers.append(pose.to_world(box.center))
            halves.append(np.asarray(box.size) / 2)
            yaws.append(pose.yaw)
            surfaces.append(box.material)
            instances.append(FIRST_PIECE_ID + index)
    padding = SHELL_ROWS + MAX_BOXES - len(surfaces)
    centers += [np.array([0.0, 0.0, -100.0])] * padding
    halves += [np.zeros(3)] * padding
    yaws += [0.0] * padding
    surfaces += [space.shell[0]] * padding
    instances += [0] * padding
    lights = _lights(space, poses)
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
        light_position=np.array([light[0] for light in lights], np.float32),
        light_color=np.array([light[1] for light in lights], np.float32),
        light_radius_m=np.array([light[2] for light in lights], np.float32),
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
