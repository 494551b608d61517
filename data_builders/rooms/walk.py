"""Simulates the camera in a varied room: any height, tilt and field of view, and close-ups."""

from collections.abc import Sequence

import numpy as np

from data_builders.rooms import camera
from data_builders.rooms.scene import SHELL_ROWS, Scene
from data_builders.rooms.shapes import Solids

FIELDS_OF_VIEW = (45, 80)  # Horizontal, degrees: tablets, webcams and phones.
CLEARANCE_M = 0.3  # To the bounding boxes of things.
FAR_M = 6.0
POSES, RATED_POSES = 48, 12  # Candidates per frame; those whose view is rated.
HEIGHT_M = (0.3, 2.2)


def zoom(seed: Sequence[int]) -> float:
    """Samples the focal length of a scan, relative to `camera.intrinsics`."""
    half = np.radians(np.random.default_rng([*seed, 2]).uniform(*FIELDS_OF_VIEW)) / 2
    focal, *_ = camera.REFERENCE_INTRINSICS
    return float(camera.REFERENCE_WIDTH / (2 * np.tan(half)) / focal)


def trajectory(scene: Scene, frames: int, seed: Sequence[int]) -> np.ndarray:
    """Samples the poses of a scan; pose k does not depend on the number of frames.

    Args:
        scene: the scene; it must have solids.
        frames: number of poses.
        seed: seed of the random numbers; `zoom` of the same seed gives the field of view.

    Returns:
        `[frames, 4, 4]` float32 camera to world, metres.
    """
    height, width = camera.PREVIEW_SIZE
    fx, fy, cx, cy = camera.intrinsics(height, width, zoom(seed))
    rows, columns = np.mgrid[:height, :width].reshape(2, -1)
    rays = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones(rows.size)])
    best = []
    for k in range(frames):
        rng = np.random.default_rng([*seed, 1, k])
        candidates, target_m = _candidates(scene, rng)
        cost = _collision_cost(scene, candidates[:, :3])
        order = np.argsort(cost, kind="stable")[:RATED_POSES]
        poses, cost = camera.pose_of(candidates[order, :3], *candidates[order, 3:].T), cost[order]
        for i in np.flatnonzero(cost < 1):
            depth_m, row = _cast(scene, poses[i], rays)
            cost[i] += _view_cost(depth_m, scene.instance[row], target_m)
        best.append(poses[np.argmin(cost)])
    return np.array(best, np.float32).reshape(frames, 4, 4)


def _solids(scene: Scene) -> Solids:
    assert scene.solids is not None
    return scene.solids


def _candidates(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Returns poses (x, y, z, yaw, pitch, roll) that look at things, or anywhere; and a depth."""
    used = np.flatnonzero(_solids(scene).radius_m > 0)
    close = rng.random() < 0.4
    target_m = (
        float(np.exp(rng.uniform(np.log(0.6), np.log(1.6)))) if close else rng.uniform(1.6, 4)
    )
    pitch = np.radians(np.clip(rng.normal(-14, 16, POSES), -60, 20))
    if close:
        pitch = np.radians(np.clip(rng.normal(-32, 14, POSES), -60, 0))
    yaw, roll = (
        rng.uniform(-np.pi, np.pi, POSES),
        np.radians(np.clip(rng.normal(0, 4, POSES), -12, 12)),
    )
    width, depth, height = scene.room_size
    if len(used):
        aim = scene.center[rng.choice(used, POSES)] + rng.normal(0, 0.1, (POSES, 3))
    else:
        aim = rng.uniform(0, 1, (POSES, 3)) * scene.room_size
    away = target_m * rng.uniform(0.8, 1.4, POSES)
    forward = np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], 1)
    position = aim - away[:, None] * forward
    if not close:  # anywhere in the room, its middle ahead
        free = rng.random(POSES) < 0.5
        x, y = (rng.uniform(CLEARANCE_M, side - CLEARANCE_M, POSES) for side in (width, depth))
        z = np.clip(rng.normal(1.4, 0.35, POSES), *HEIGHT_M)
        position = np.where(free[:, None], np.stack([x, y, z], 1), position)
        ahead = np.arctan2(depth / 2 - y, width / 2 - x) + rng.normal(0, 0.9, POSES)
        yaw = np.where(free, ahead, yaw)
    low, high = HEIGHT_M[0], min(HEIGHT_M[1], height - 0.2)
    position[:, 2] = np.clip(position[:, 2], low, high)
    return np.stack([*position.T, yaw, pitch, roll], axis=1), float(target_m)


def _collision_cost(scene: Scene, positions: np.ndarray) -> np.ndarray:
    """Returns a cost above 10 for each position `[N, 3]` too close to a surface, else 0."""
    to_walls = np.minimum(positions, scene.room_size - positions).min(axis=1)
    gap = to_walls
    used = _solids(scene).radius_m > 0
    if used.any():
        offset = positions[:, None] - scene.center[used]  # [N, S, 3]
        unit = np.einsum("sij,nsj->nsi", _solids(scene).to_unit[used], offset)
        outside = np.maximum(np.abs(unit) - 1, 0) * scene.half[used]
        gap = np.minimum(gap, np.linalg.norm(outside, axis=-1).min(axis=1))
    return np.where(gap < CLEARANCE_M, 20 - gap, 0.0)


def _cast(scene: Scene, pose: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Casts `[3, R]` camera rays at bounding boxes; returns depth `[R]` and the row `[R]`."""
    direction = pose[:3, :3] @ rays
    direction = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    origin = pose[:3, 3]
    wall = (np.where(direction > 0, scene.room_size[:, None], 0) - origin[:, None]) / direction
    axis, depth_m = wall.argmin(axis=0), wall.min(axis=0)
    ahead = np.take_along_axis(direction, axis[None], axis=0)[0] > 0
    row = np.where(axis == 2, 1 - ahead, 2 + 2 * axis + ahead)
    used = np.flatnonzero(_solids(scene).radius_m > 0)
    if not len(used):
        return depth_m, row
    # One product for all axes of all solids, [3, S, R]; float32 is enough to rate a view.
    axes = _solids(scene).to_unit[used].transpose(1, 0, 2)  # [3, S, 3]
    start = (axes * (origin - scene.center[used]).astype(np.float32)).sum(axis=2)[..., None]
    along = axes.reshape(-1, 3) @ direction.astype(np.float32)
    along = along.reshape(3, len(used), -1)
    inverse = 1 / np.where(np.abs(along) < 1e-9, np.float32(1e-9), along)
    middle, reach = -start * inverse, np.abs(inverse)
    (x0, y0, z0), (x1, y1, z1) = middle - reach, middle + reach
    near, far = np.maximum(np.maximum(x0, y0), z0), np.minimum(np.minimum(x1, y1), z1)
    near = np.where((near < far) & (near > 0), near, np.float32(np.inf))
    nearest = near.min(axis=0)
    return np.minimum(nearest, depth_m), np.where(nearest < depth_m, used[near.argmin(axis=0)], row)


def _view_cost(depth_m: np.ndarray, instance: np.ndarray, target_m: float) -> float:
    """Returns the cost of a view: its depth off the target, too far, too close, too empty."""
    shares = np.bincount(instance, minlength=SHELL_ROWS) / instance.size
    off = abs(float(np.log(np.median(depth_m) / target_m)))
    far, close = np.mean(depth_m > FAR_M), np.mean(depth_m < 0.4)
    single, bare = max(0.0, shares.max() - 0.55), max(0.0, 0.2 - shares[SHELL_ROWS:].sum())
    return float(off + 3 * far + 4 * close + 2 * single + 2 * bare)
