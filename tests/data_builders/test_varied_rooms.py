"""Tests of the varied rooms: exact depth of all solids, and plausible arrangements."""

import numpy as np
import pytest

from data_builders.rooms import (
    camera,
    generate,
    layout,
    render,
    scene,
    shapes,
    solids,
    space,
    varied,
    walk,
)
from data_builders.rooms.prints import Print
from psp_jax.recordings import sens

SIZE = (24, 32)
ROOM = np.array([5, 4, 2.5], np.float32)
TILT = (0.7, 0.4, -0.3)


def rendered(arranged, pose, size=SIZE, zoom=1.0):
    color_size = size[0] * render.COLOR_SCALE, size[1] * render.COLOR_SCALE
    intrinsics = (
        camera.intrinsics(color_size[0], color_size[1], zoom),
        camera.intrinsics(size[0], size[1], zoom),
    )
    return render.render(arranged, pose.astype(np.float32), *intrinsics, depth_size=size)


def camera_rays(size, zoom=1.0):
    fx, fy, cx, cy = camera.intrinsics(size[0], size[1], zoom).astype(np.float64)
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones(size)], axis=-1)


def room_with(center, full_size, conic=None, turn=(0.0, 0.0, 0.0)):
    """Returns a room of 5 x 4 x 2.5 m with one solid."""
    arranged = scene.make_scene(varied.make_space(0), 0)
    assert arranged.solids is not None
    count, row = len(arranged.half), scene.SHELL_ROWS
    half = np.zeros((count, 3), np.float32)
    middle = np.full((count, 3), -100, np.float32)
    middle[:row] = half[:row] = ROOM / 2
    middle[row], half[row] = center, np.array(full_size) / 2
    axes = np.tile(np.eye(3), (count, 1, 1))
    axes[row] = solids.rotation(turn).T
    conics = np.zeros((count, 3), np.float32)
    conics[row] = conic or (0, 0, 0)
    radius = np.full(count, -1, np.float32)
    radius[row] = np.linalg.norm(half[row])
    parts = arranged.solids._replace(
        to_unit=(axes / np.maximum(half, 1e-6)[:, :, None]).astype(np.float32),
        conic=conics,
        radius_m=radius,
        first_round=np.int32(row + (conic is None)),
    )
    return arranged._replace(room_size=ROOM, center=middle, half=half, solids=parts)


def depth_of_empty_room(pose, rays):
    directions = rays @ pose[:3, :3].T
    bounds = np.where(directions > 0, ROOM, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_planes = (bounds - pose[:3, 3]) / directions
    return np.where(directions == 0, np.inf, to_planes).min(axis=-1)


def marched_depth(pose, rays, inside, step_m=0.002):
    """Finds the first point of each ray where `inside(points)` holds, by steps and bisection."""
    flat = (rays @ pose[:3, :3].T).reshape(-1, 3)
    depth = np.full(len(flat), np.inf)
    for t in np.arange(0.3, 4.5, step_m):
        new = np.isinf(depth) & inside(pose[:3, 3] + t * flat)
        depth[new] = t
    low, high = depth - step_m, depth.copy()
    hit = np.isfinite(depth)
    for _ in range(25):
        middle = (low + high) / 2
        within = inside(pose[:3, 3] + np.where(hit, middle, 0)[:, None] * flat)
        low, high = np.where(within, low, middle), np.where(within, middle, high)
    return np.where(hit, high, np.inf).reshape(rays.shape[:2])


CENTER, FULL = np.array([2.6, 2.0, 1.2]), np.array([0.5, 0.7, 0.9])
KINDS = {
    "box": (None, lambda u: np.all(np.abs(u) <= 1, axis=1)),
    "ellipsoid": (shapes.ellipsoid(), lambda u: (u * u).sum(axis=1) <= 1),
    "cylinder": (
        shapes.frustum(1.0),
        lambda u: (np.hypot(u[:, 0], u[:, 1]) <= 1) & (np.abs(u[:, 2]) <= 1),
    ),
    "frustum": (
        shapes.frustum(0.4),
        lambda u: (np.hypot(u[:, 0], u[:, 1]) <= 0.7 - 0.3 * u[:, 2]) & (np.abs(u[:, 2]) <= 1),
    ),
    "cone": (
        shapes.frustum(0.0),
        lambda u: (np.hypot(u[:, 0], u[:, 1]) <= 0.5 - 0.5 * u[:, 2]) & (np.abs(u[:, 2]) <= 1),
    ),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("view", ["level", "above", "below"])
def test_depth_of_a_solid_equals_marching_along_the_rays(name, view):
    conic, filled = KINDS[name]
    turn = (0.0, 0.0, 0.0) if view == "level" else TILT
    pitch = {"level": 0.0, "above": -0.9, "below": 0.7}[view]
    forward = np.array([np.cos(pitch), 0.0, np.sin(pitch)])
    pose = camera.pose_of(CENTER - 1.4 * forward, 0.0, pitch, 0.1)
    arranged = room_with(CENTER, FULL, conic, turn)
    axes = solids.rotation(turn).T

    expected = marched_depth(
        pose, camera_rays(SIZE), lambda p: filled((p - CENTER) @ axes.T / (FULL / 2))
    )
    expected = np.minimum(expected, depth_of_empty_room(pose, camera_rays(SIZE)))
    off = np.abs(rendered(arranged, pose).depth - expected)

    # Marching misses chords shorter than its step.
    assert np.mean(off > 1e-3) < 0.01
    assert np.median(off) < 1e-4


def test_the_angle_of_incidence_on_a_ball_follows_from_its_centre():
    arranged = room_with(CENTER, (0.8, 0.8, 0.8), shapes.ellipsoid())
    pose = camera.pose_of(np.array([1.0, 2.0, 1.2]), 0.0, 0.0, 0.0)
    view, rays = rendered(arranged, pose), camera_rays(SIZE)
    ball = view.depth < 1.6
    points = rays * view.depth[..., None]
    normals = (points - [0, 0, 1.6]) / 0.4
    cosine = -(normals * rays).sum(axis=-1) / np.linalg.norm(rays, axis=-1)
    assert ball.sum() > 30
    np.testing.assert_allclose(view.cos_incidence[ball], cosine[ball], atol=1e-3)


def test_skipping_distant_solids_changes_no_pixel():
    arranged = scene.make_scene(varied.make_space(5), 0)
    assert arranged.solids is not None
    everywhere = np.where(arranged.solids.radius_m > 0, 100, -1).astype(np.float32)
    no_skips = arranged._replace(solids=arranged.solids._replace(radius_m=everywhere))
    for pose in walk.trajectory(arranged, 2, (5,)):
        view, expected = rendered(arranged, pose), rendered(no_skips, pose)
        np.testing.assert_array_equal(view.depth, expected.depth)
        np.testing.assert_array_equal(view.instance, expected.instance)
        np.testing.assert_allclose(view.color, expected.color, atol=1e-5)


@pytest.mark.parametrize("kind", Print)
def test_a_print_changes_colour_and_no_depth(kind):
    plain = room_with(CENTER, FULL, shapes.frustum(1.0))
    printed = plain._replace(
        texture=np.full_like(plain.texture, kind), scale_m=np.full_like(plain.scale_m, 0.1)
    )
    pose = camera.pose_of(np.array([0.8, 2.0, 1.6]), 0.0, -0.2, 0.0)
    view, expected = rendered(printed, pose), rendered(plain, pose)
    np.testing.assert_array_equal(view.depth, expected.depth)
    assert np.abs(view.color - expected.color).mean() > 0.005
    assert np.isfinite(view.color).all()


def test_things_stay_inside_the_room_and_stand_on_their_hosts():
    for seed in range(12):
        room = varied.make_space(seed)
        arranged = scene.make_scene(room, seed % 3)
        assert arranged.solids is not None
        rows = np.flatnonzero(arranged.solids.radius_m > 0)
        axes = np.linalg.inv(arranged.solids.to_unit[rows])  # columns: half axes
        reach = np.abs(axes).sum(axis=2)
        assert np.all(arranged.center[rows] + reach < arranged.room_size + 0.45)
        inside = arranged.center[rows]
        assert np.all(inside > -0.02) and np.all(inside < arranged.room_size + 0.02)
        for piece in room.pieces:
            for item in piece.items:
                x, y, z = item.place
                assert abs(x) <= piece.size[0] / 2 and abs(y) <= piece.size[1] / 2
                below = [b for b in piece.boxes if b.center[2] + b.size[2] / 2 <= z + 0.011]
                top = max(b.center[2] + b.size[2] / 2 for b in below)
                assert abs(top - z) < 0.012


def test_varied_pieces_do_not_collide():
    for seed in range(6):
        room = varied.make_space(seed)
        poses = layout.arrange(room, 0)
        for index, pose in poses.items():
            if index >= len(room.building):
                others = {i: p for i, p in poses.items() if i != index}
                assert layout._fits(room, others, index, pose)


def test_a_varied_scan_is_written_with_its_own_field_of_view(tmp_path):
    rooms = generate.Rooms(
        spaces=2, frames_per_scan=2, depth_height=24, depth_width=32, variety=True
    )
    generate.generate(rooms, tmp_path)
    focal = {
        float(sens.read_header(path).intrinsic_depth[0, 0])
        for path in tmp_path.glob("scans/*/*.sens")
    }
    assert len(focal) == 3


def test_default_rooms_have_no_solids():
    assert scene.make_scene(space.make_space(0), 0).solids is None
