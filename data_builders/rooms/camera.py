"""Simulates the hand-held camera: its intrinsics, and its trajectory through a room."""

from collections.abc import Sequence

import numpy as np

from data_builders.rooms.scene import SHELL_ROWS, Scene

# Focal lengths and principal point, in pixels, of ScanNet's depth at 640x480 (scene0000_00).
REFERENCE_WIDTH, REFERENCE_HEIGHT = 640, 480
REFERENCE_INTRINSICS = (577.59, 578.73, 318.9, 242.7)

CLEARANCE_M = 0.5  # The sensor reads nothing nearer than 0.4 m.
FAR_M = 5.2  # Little of a frame should lie beyond; the sensor reads up to 5 m.
NEAR_POSES, RANDOM_POSES = (
    16,
    16,
)  # Candidates per frame: near the last pose, and in the whole room.
PREVIEW_SIZE = (7, 10)  # Rows and columns of the rays that rate a candidate.


def intrinsics(height: int, width: int, zoom: float = 1.0) -> np.ndarray:
    """Returns `[4]` float32 focal lengths and principal point (fx, fy, cx, cy) in pixels.

    The focal lengths are `zoom` times those of the reference.

    Images of the same aspect ratio have the same field of view; pixel centres scale as
    c' = (c + 0.5) s - 0.5.
    """
    fx, fy, cx, cy = REFERENCE_INTRINSICS
    scale = width / REFERENCE_WIDTH
    center_y = (cy + 0.5) * height / REFERENCE_HEIGHT - 0.5
    return np.array(
        [zoom * fx * scale, zoom * fy * scale, (cx + 0.5) * scale - 0.5, center_y], np.float32
    )


def pose_of(
    position: np.ndarray,
    yaw: float | np.ndarray,
    pitch: float | np.ndarray,
    roll: float | np.ndarray,
) -> np.ndarray:
    """Returns poses, camera to world: camera x right, y down, z forward.

    Args:
        position: `[..., 3]` metres.
        yaw, pitch, roll: `[...]` radians.

    Returns:
        `[..., 4, 4]`.
    """
    forward = np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    level = np.stack([np.sin(yaw), -np.cos(yaw), np.zeros_like(yaw)])
    down = np.cross(forward, level, axis=0)
    axes = np.cos(roll) * level + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * level
    columns = np.stack([*axes, forward, np.moveaxis(position, -1, 0)], axis=1)  # [3, 4, ...]
    pose = np.zeros((*np.shape(yaw), 4, 4))
    pose[..., :3, :] = np.moveaxis(columns, (0, 1), (-2, -1))
    pose[..., 3, 3] = 1
    return pose


def trajectory(scene: Scene, frames: int, seed: Sequence[int]) -> np.ndarray:
    """Samples the poses of a scan; pose k does not depend on the number of frames.

    Args:
        scene: the scene.
        frames: number of poses.
        seed: seed of the random numbers.

    Returns:
        `[frames, 4, 4]` float32 camera to world, metres.
    """
    scene, poses, last = _without_unused_boxes(scene), [], None
    turn = 1 if np.random.default_rng([*seed, 0]).random() < 0.5 else -1
    for k in range(frames):
        rng = np.random.default_rng([*seed, 1, k])
        last = _next_pose(scene, last, turn, rng)
        poses.append(pose_of(last[:3], *last[3:]))
    return np.array(poses, np.float32).reshape(frames, 4, 4)


def _without_unused_boxes(scene: Scene) -> Scene:
    """Leaves out the boxes of size 0, which come last, except one."""
    end = SHELL_ROWS + max(np.count_nonzero(scene.half[SHELL_ROWS:, 0]), 1)
    return scene._replace(
        center=scene.center[:end], half=scene.half[:end], cos_sin=scene.cos_sin[:end]
    )


def _next_pose(
    scene: Scene, last: np.ndarray | None, turn: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns the candidate (x, y, z, yaw, pitch, roll) of the lowest cost."""
    target_m = rng.uniform(2.0, 3.1)
    candidates = _random_poses(scene, rng)
    cost = np.full(len(candidates), 0.3)
    if last is not None:
        near = np.repeat(last[None], NEAR_POSES, axis=0)
        near[:, :2] += rng.normal(0, 0.35, (NEAR_POSES, 2))
        near[:, 2] = np.clip(near[:, 2] + rng.normal(0, 0.06, NEAR_POSES), 1.2, 1.7)
        near[:, 3] += turn * np.radians(rng.uniform(22, 65, NEAR_POSES))
        near[:, 4:] = candidates[:NEAR_POSES, 4:]
        candidates = np.concatenate([near, candidates])
        cost = np.concatenate([np.zeros(NEAR_POSES), cost])
    cost = cost + _collision_cost(scene, candidates[:, :3])
    height, width = PREVIEW_SIZE
    fx, fy, cx, cy = intrinsics(height, width)
    rows, columns = np.mgrid[:height, :width].reshape(2, -1)
    rays = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones(rows.size)])
    rated = np.flatnonzero(cost < 1)  # A view can only add to it.
    if len(rated):
        poses = pose_of(candidates[rated, :3], *candidates[rated, 3:].T)
        depth_m, row = _cast(scene, poses, rays)
        cost[rated] += _view_costs(depth_m, scene.instance[row], target_m)
    return candidates[np.argmin(cost)]


def _random_poses(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    width, depth, _ = scene.room_size
    x = rng.uniform(CLEARANCE_M, width - CLEARANCE_M, RANDOM_POSES)
    y = rng.uniform(CLEARANCE_M, depth - CLEARANCE_M, RANDOM_POSES)
    z = np.clip(rng.normal(1.45, 0.12, RANDOM_POSES), 1.2, 1.7)
    yaw = np.arctan2(depth / 2 - y, width / 2 - x) + rng.normal(0, 0.9, RANDOM_POSES)
    pitch = np.radians(np.clip(rng.normal(-15, 8, RANDOM_POSES), -30, 5))
    roll = np.radians(rng.normal(0, 2.5, RANDOM_POSES))
    return np.stack([x, y, z, yaw, pitch, roll], axis=1)


def _collision_cost(scene: Scene, positions: np.ndarray) -> np.ndarray:
    """Returns a cost above 10 for each position `[N, 3]` too close to a surface, else 0."""
    center, half = scene.center[SHELL_ROWS:], scene.half[SHELL_ROWS:]
    cos, sin = scene.cos_sin[SHELL_ROWS:].T
    x, y, z = np.moveaxis(positions[:, None] - center, -1, 0)
    local = np.stack([cos * x + sin * y, cos * y - sin * x, z], axis=-1)
    gap = np.linalg.norm(np.maximum(np.abs(local) - half, 0), axis=-1).min(axis=1)
    to_walls = np.minimum(positions, scene.room_size - positions).min(axis=1)
    gap = np.minimum(gap, to_walls)
    return np.where(gap < CLEARANCE_M, 20 - gap, 0.0)


def _cast(scene: Scene, poses: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Casts `[3, R]` camera rays from `[N, 4, 4]` poses.

    Returns:
        Depth in metres and row of the surface, both `[N, R]`.
    """
    direction = np.moveaxis(poses[:, :3, :3] @ rays, 1, 0)  # [3, N, R]
    direction = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    origin = poses[:, :3, 3].T[..., None]  # [3, N, 1]
    room = scene.room_size[:, None, None]
    wall = (np.where(direction > 0, room, 0) - origin) / direction
    axis, depth_m = wall.argmin(axis=0), wall.min(axis=0)
    ahead = np.take_along_axis(direction, axis[None], axis=0)[0] > 0
    row = np.where(axis == 2, 1 - ahead, 2 + 2 * axis + ahead)
    dx, dy, dz = direction
    for box in range(SHELL_ROWS, len(scene.center)):
        cos, sin = scene.cos_sin[box]
        hx, hy, hz = scene.half[box]
        x, y, z = origin - scene.center[box, :, None, None]
        to_x, to_y, to_z = 1 / (cos * dx + sin * dy), 1 / (cos * dy - sin * dx), 1 / dz
        x, y, z = -(cos * x + sin * y) * to_x, -(cos * y - sin * x) * to_y, -z * to_z
        rx, ry, rz = hx * np.abs(to_x), hy * np.abs(to_y), hz * np.abs(to_z)
        near = np.maximum(np.maximum(x - rx, y - ry), z - rz)
        far = np.minimum(np.minimum(x + rx, y + ry), z + rz)
        closer = (near < far) & (near > 0) & (near < depth_m)
        depth_m, row = np.where(closer, near, depth_m), np.where(closer, box, row)
    return depth_m, row


def _view_costs(depth_m: np.ndarray, instance: np.ndarray, target_m: float) -> np.ndarray:
    """Returns the costs `[N]` of views `[N, R]`.

    High for a median depth off the target, far or close pixels, a dominant object, little floor
    and little furniture.
    """
    counts = [np.bincount(each, minlength=instance.max() + 1) for each in instance]
    shares = np.stack(counts) / instance.shape[1]
    off = np.abs(np.median(depth_m, axis=1) - target_m)
    far, close = (depth_m > FAR_M).mean(axis=1), (depth_m < 0.7).mean(axis=1)
    single = np.maximum(0, shares.max(axis=1) - 0.4)
    bare = np.maximum(0, 0.35 - shares[:, SHELL_ROWS:].sum(axis=1))
    floorless = np.maximum(0, 0.15 - shares[:, 1])
    return off + 5 * far + 3 * close + 2 * single + 2 * bare + 3 * floorless
