"""The hand-held scanner: its lens, and its path through an arranged room."""

from collections.abc import Sequence

import numpy as np

from data_builders.rooms.scene import SHELL_ROWS, Scene

# Focal lengths and centre, in pixels, of ScanNet's depth images at 640x480 (scene0000_00).
REFERENCE_WIDTH, REFERENCE_HEIGHT = 640, 480
REFERENCE_LENS = (577.59, 578.73, 318.9, 242.7)

CLEARANCE_M = 0.5  # The sensor reads nothing nearer than 0.4 m.
FAR_M = 5.2  # Little of a frame should lie beyond; the sensor ends at 5 m.
STEPS, ELSEWHERE = 16, 16  # Poses proposed a frame: a step away, and anywhere in the room.
PREVIEW = (7, 10)  # Rays, down and across, that judge a proposal.


def lens(height: int, width: int) -> np.ndarray:
    """Return `[4]` float32 focal lengths and centre (fx, fy, cx, cy) in pixels of a grid.

    Grids of the same aspect see the same cone; pixel centres scale as c' = (c + 0.5) s - 0.5.
    """
    fx, fy, cx, cy = REFERENCE_LENS
    scale = width / REFERENCE_WIDTH
    center_y = (cy + 0.5) * height / REFERENCE_HEIGHT - 0.5
    return np.array([fx * scale, fy * scale, (cx + 0.5) * scale - 0.5, center_y], np.float32)


def look(position: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return `[4, 4]` camera to world: camera x right, y down, z forward; angles in radians."""
    forward = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    level = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, level)
    pose = np.eye(4)
    pose[:3, 0] = np.cos(roll) * level + np.sin(roll) * down
    pose[:3, 1] = np.cos(roll) * down - np.sin(roll) * level
    pose[:3, 2] = forward
    pose[:3, 3] = position
    return pose


def path(scene: Scene, frames: int, seed: Sequence[int]) -> np.ndarray:
    """Walk through the room; frame k does not depend on how many follow.

    Args:
        scene: the arranged room.
        frames: number of poses.
        seed: the numbers the path is a function of, beside the scene.

    Returns:
        `[frames, 4, 4]` float32 camera to world, metres.
    """
    poses, before = [], None
    turn = 1 if np.random.default_rng([*seed, 0]).random() < 0.5 else -1
    for k in range(frames):
        rng = np.random.default_rng([*seed, 1, k])
        before = _step(scene, before, turn, rng)
        poses.append(look(before[:3], *before[3:]))
    return np.array(poses, np.float32).reshape(frames, 4, 4)


def _step(
    scene: Scene, before: np.ndarray | None, turn: int, rng: np.random.Generator
) -> np.ndarray:
    """Choose the next (x, y, z, yaw, pitch, roll): the proposal that shows the room best."""
    target_m = rng.uniform(2.0, 3.1)
    proposals = _anywhere(scene, rng)
    cost = np.full(len(proposals), 0.3)
    if before is not None:
        near = np.repeat(before[None], STEPS, axis=0)
        near[:, :2] += rng.normal(0, 0.35, (STEPS, 2))
        near[:, 2] = np.clip(near[:, 2] + rng.normal(0, 0.06, STEPS), 1.2, 1.7)
        near[:, 3] += turn * np.radians(rng.uniform(22, 65, STEPS))
        near[:, 4:] = proposals[:STEPS, 4:]
        proposals = np.concatenate([near, proposals])
        cost = np.concatenate([np.zeros(STEPS), cost])
    cost = cost + _crowding(scene, proposals[:, :3])
    height, width = PREVIEW
    fx, fy, cx, cy = lens(height, width)
    rows, columns = np.mgrid[:height, :width].reshape(2, -1)
    rays = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones(rows.size)])
    for i in np.argsort(cost, kind="stable"):
        if cost[i] < 1:
            depth_m, row = _preview(scene, look(proposals[i, :3], *proposals[i, 3:]), rays)
            cost[i] += _dullness(depth_m, scene.instance[row], target_m)
    return proposals[np.argmin(cost)]


def _anywhere(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    width, depth, _ = scene.room_size
    x = rng.uniform(CLEARANCE_M, width - CLEARANCE_M, ELSEWHERE)
    y = rng.uniform(CLEARANCE_M, depth - CLEARANCE_M, ELSEWHERE)
    z = np.clip(rng.normal(1.45, 0.12, ELSEWHERE), 1.2, 1.7)
    yaw = np.arctan2(depth / 2 - y, width / 2 - x) + rng.normal(0, 0.9, ELSEWHERE)
    pitch = np.radians(np.clip(rng.normal(-15, 8, ELSEWHERE), -30, 5))
    roll = np.radians(rng.normal(0, 2.5, ELSEWHERE))
    return np.stack([x, y, z, yaw, pitch, roll], axis=1)


def _crowding(scene: Scene, positions: np.ndarray) -> np.ndarray:
    """Return a cost above 10 for each position `[N, 3]` that is too near to a surface."""
    center, half = scene.center[SHELL_ROWS:], scene.half[SHELL_ROWS:]
    cos, sin = scene.cos_sin[SHELL_ROWS:].T
    x, y, z = np.moveaxis(positions[:, None] - center, -1, 0)
    local = np.stack([cos * x + sin * y, cos * y - sin * x, z], axis=-1)
    gap = np.linalg.norm(np.maximum(np.abs(local) - half, 0), axis=-1).min(axis=1)
    to_walls = np.minimum(positions, scene.room_size - positions).min(axis=1)
    gap = np.minimum(gap, to_walls)
    return np.where(gap < CLEARANCE_M, 20 - gap, 0.0)


def _preview(scene: Scene, pose: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cast `[3, R]` camera rays; return depth `[R]` in metres and the surface row `[R]`."""
    direction = pose[:3, :3] @ rays
    direction = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    origin = pose[:3, 3]
    wall = (np.where(direction > 0, scene.room_size[:, None], 0) - origin[:, None]) / direction
    axis = wall.argmin(axis=0)
    ahead = np.take_along_axis(direction, axis[None], axis=0)[0] > 0
    shell = np.where(axis == 2, 1 - ahead, 2 + 2 * axis + ahead)
    cos, sin = scene.cos_sin[SHELL_ROWS:].T[..., None]
    x, y, z = (origin - scene.center[SHELL_ROWS:]).T[..., None]
    start = np.stack([cos * x + sin * y, cos * y - sin * x, z])
    dx, dy, dz = direction[:, None]
    inverse = 1 / np.stack([cos * dx + sin * dy, cos * dy - sin * dx, dz + 0 * cos])
    reach = scene.half[SHELL_ROWS:].T[..., None] * np.abs(inverse)
    near = (-start * inverse - reach).max(axis=0)
    far = (-start * inverse + reach).min(axis=0)
    near = np.where((near < far) & (near > 0), near, np.inf)
    box = near.argmin(axis=0)
    depth_m = np.minimum(near.min(axis=0), wall.min(axis=0))
    return depth_m, np.where(near.min(axis=0) < wall.min(axis=0), SHELL_ROWS + box, shell)


def _dullness(depth_m: np.ndarray, instance: np.ndarray, target_m: float) -> float:
    """Cost of a view: off the wanted depth, far, close, one big thing, no floor, no furniture."""
    shares = np.bincount(instance, minlength=SHELL_ROWS) / instance.size
    off = abs(float(np.median(depth_m)) - target_m)
    far, close = np.mean(depth_m > FAR_M), np.mean(depth_m < 0.7)
    single, bare = max(0.0, shares.max() - 0.4), max(0.0, 0.35 - shares[SHELL_ROWS:].sum())
    floorless = max(0.0, 0.15 - shares[1])
    cost = off + 5 * far + 3 * close + 2 * single + 2 * bare + 3 * floorless
    return float(cost)
