"""Tests of the procedural rooms."""

import dataclasses
import json
import os
from typing import Any

import jax
import numpy as np
import pytest

from data_builders.rooms import (
    camera,
    generate,
    layout,
    render,
    scene,
    sensor,
    space,
    varied,
    walk,
    workers,
)
from psp_jax.recordings import images, scan_ids, sens
from tests import programs

SIZE = (24, 32)
COLOR_SIZE = (48, 64)
SMALL: dict[str, Any] = {"spaces": 3, "frames_per_scan": 2, "depth_height": 24, "depth_width": 32}
SCANS = ["9000_00", "9001_00", "9001_01", "9002_00", "9002_01", "9002_02"]


def rendered(arranged, pose, size=SIZE):
    color_size = size[0] * render.COLOR_SCALE, size[1] * render.COLOR_SCALE
    intrinsics = camera.intrinsics(*color_size), camera.intrinsics(*size)
    return render.render(arranged, pose.astype(np.float32), *intrinsics, depth_size=size)


def camera_rays(size):
    fx, fy, cx, cy = camera.intrinsics(*size).astype(np.float64)
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones(size)], axis=-1)


def room_with_boxes(*boxes):
    """Returns a room of 5 x 4 x 2.5 m with axis-aligned boxes, each ((center), (size))."""
    arranged = scene.make_scene(space.make_space(0), 0)
    size = np.array([5, 4, 2.5], np.float32)
    center, half = arranged.center.copy(), np.zeros_like(arranged.half)
    center[: scene.SHELL_ROWS] = half[: scene.SHELL_ROWS] = size / 2
    for row, (middle, full) in enumerate(boxes, scene.SHELL_ROWS):
        center[row], half[row] = middle, np.array(full) / 2
    yaw_zero = np.tile(np.array([1, 0], np.float32), (len(center), 1))
    return arranged._replace(room_size=size, center=center, half=half, cos_sin=yaw_zero)


def depth_of_empty_room(pose, rays):
    directions = rays @ pose[:3, :3].T
    bounds = np.where(directions > 0, [5, 4, 2.5], 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_planes = (bounds - pose[:3, 3]) / directions
    return np.where(directions == 0, np.inf, to_planes).min(axis=-1)


def brute_force_depth(arranged, pose, rays):
    """Intersects each ray with each of the six rectangles of each box, in float64."""
    directions = (rays @ pose[:3, :3].T).reshape(-1, 3)
    depth = np.full(len(directions), np.inf)
    rows = [0, *range(scene.SHELL_ROWS, len(arranged.half))]  # row 0 is the room itself
    for row in rows:
        cos, sin = arranged.cos_sin[row].astype(np.float64)
        axes = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        center, half = arranged.center[row].astype(np.float64), arranged.half[row]
        if not half.any():
            continue
        for axis in range(3):
            for side in (-1, 1):
                point = center + side * half[axis] * axes[axis]
                t = ((point - pose[:3, 3]) @ axes[axis]) / (directions @ axes[axis])
                offsets = (pose[:3, 3] + t[:, None] * directions - center) @ axes.T
                others = [other for other in range(3) if other != axis]
                within = np.all(np.abs(offsets[:, others]) <= half[others] + 1e-9, axis=1)
                depth = np.where(within & (t > 1e-9), np.minimum(depth, t), depth)
    return depth.reshape(rays.shape[:2])


def test_depth_of_an_empty_room_is_the_distance_to_its_planes():
    pose = camera.pose_of(np.array([1.3, 1.7, 1.5]), 0.4, -0.3, 0.05)
    view = rendered(room_with_boxes(), pose)
    np.testing.assert_allclose(view.depth, depth_of_empty_room(pose, camera_rays(SIZE)), atol=1e-4)


def test_depth_is_along_the_optical_axis_and_boxes_occlude():
    pose = camera.pose_of(np.array([1.0, 2.0, 1.2]), 0.0, 0.0, 0.0)
    view = rendered(room_with_boxes(((3.0, 2.0, 1.2), (1.0, 0.6, 0.5))), pose)
    across, down, _ = np.moveaxis(camera_rays(SIZE), -1, 0)
    front = (abs(across * 1.5) < 0.3) & (abs(down * 1.5) < 0.25)  # the face is 1.5 m ahead
    assert front.sum() > 20
    np.testing.assert_allclose(view.depth[front], 1.5, atol=1e-5)
    empty = depth_of_empty_room(pose, camera_rays(SIZE))
    np.testing.assert_allclose(view.depth[~front], empty[~front], atol=1e-4)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_depth_equals_a_brute_force_over_all_rectangles(seed):
    arranged = scene.make_scene(space.make_space(seed), seed % 2)
    pose = camera.trajectory(arranged, 2, (seed,))[1].astype(np.float64)
    view = rendered(arranged, pose)
    expected = brute_force_depth(arranged, pose, camera_rays(SIZE))
    np.testing.assert_allclose(view.depth, expected, atol=1e-4)


def test_floor_pixels_lie_at_height_zero_and_ceiling_pixels_at_the_rooms_height():
    for seed in range(3):
        room = space.make_space(seed)
        arranged = scene.make_scene(room, 0)
        for pose in camera.trajectory(arranged, 3, (seed,)):
            view = rendered(arranged, pose)
            points = camera_rays(SIZE) * view.depth[..., None]
            height_m = points @ pose[:3, :3].T[:, 2] + pose[2, 3]
            assert view.instance.max() < scene.FIRST_PIECE_ID + len(room.pieces)
            np.testing.assert_allclose(height_m[view.instance == 1], 0, atol=1e-4)
            np.testing.assert_allclose(height_m[view.instance == 0], room.size[2], atol=1e-4)
            assert np.all(height_m[view.instance > 1] > -1e-4)


def test_depth_and_color_grids_share_one_cone_by_the_pixel_center_rule():
    depth, color = camera.intrinsics(*SIZE), camera.intrinsics(*COLOR_SIZE)
    np.testing.assert_allclose(color[:2], 2 * depth[:2], rtol=1e-6)
    np.testing.assert_allclose(color[2:], (depth[2:] + 0.5) * 2 - 0.5, rtol=1e-6)


def test_rescans_share_the_shell_and_differ_in_furniture():
    for seed in range(4):
        room = space.make_space(seed)
        first, second = scene.make_scene(room, 0), scene.make_scene(room, 1)
        np.testing.assert_array_equal(first.room_size, second.room_size)
        shell = slice(0, scene.SHELL_ROWS)
        np.testing.assert_array_equal(first.albedo[shell], second.albedo[shell])
        np.testing.assert_array_equal(first.texture[shell], second.texture[shell])
        poses, moved = layout.arrange(room, 0), layout.arrange(room, 1)
        assert set(poses) & set(moved), "no piece is in both scans"
        assert poses != moved


def test_furniture_stays_in_the_room_and_the_camera_out_of_the_furniture():
    for seed in range(6):
        arranged = scene.make_scene(space.make_space(seed), seed % 3)
        rows = np.flatnonzero(arranged.half[:, 0] > 0)
        cos, sin = np.abs(arranged.cos_sin[rows]).T
        x, y, z = arranged.half[rows].T
        reach = np.stack([cos * x + sin * y, sin * x + cos * y, z], axis=1)
        assert np.all(arranged.center[rows] - reach > -1e-4)
        assert np.all(arranged.center[rows] + reach < arranged.room_size + 1e-4)
        for pose in camera.trajectory(arranged, 4, (seed,)):
            offset = pose[:3, 3] - arranged.center[scene.SHELL_ROWS :]
            (cos, sin), (x, y, z) = arranged.cos_sin[scene.SHELL_ROWS :].T, offset.T
            local = np.abs(np.stack([cos * x + sin * y, cos * y - sin * x, z], axis=1))
            gap = np.maximum(local - arranged.half[scene.SHELL_ROWS :], 0)
            assert np.linalg.norm(gap, axis=1).min() >= 0.4


def test_a_path_does_not_depend_on_how_many_frames_follow():
    arranged = scene.make_scene(space.make_space(5), 0)
    long, short = camera.trajectory(arranged, 4, (5,)), camera.trajectory(arranged, 2, (5,))
    np.testing.assert_array_equal(long[:2], short)


def test_missing_depth_is_a_tenth_or_so_and_readings_are_near_the_truth():
    size, shares = (120, 160), []
    for seed in range(8):
        arranged = scene.make_scene(space.make_space(seed), 0)
        view = rendered(arranged, camera.trajectory(arranged, 1, (seed,))[0], size)
        rng = np.random.default_rng(seed)
        focal_px = float(camera.intrinsics(*size)[0])
        surface = view.cos_incidence, view.albedo, view.gloss
        depth_mm = sensor.capture_depth(view.depth, *surface, focal_px, rng)
        assert depth_mm.dtype == np.uint16
        read = depth_mm > 0
        assert not read[:2].any() and not read[-1].any()
        assert not read[:, :2].any() and not read[:, -1].any()
        errors_m = np.abs(depth_mm / 1000 - view.depth)[read]
        assert np.median(errors_m) < 0.03
        shares.append(1 - read.mean())
    assert 0.05 < np.median(shares) < 0.15
    assert np.mean([0.04 < share < 0.25 for share in shares]) > 0.7


def test_color_is_neither_black_nor_white():
    arranged = scene.make_scene(space.make_space(3), 0)
    view = rendered(arranged, camera.trajectory(arranged, 1, (3,))[0])
    color = sensor.capture_color(view.color, np.random.default_rng(0))
    assert color.shape == (*COLOR_SIZE, 3) and color.dtype == np.uint8
    assert 70 < color.mean() < 190
    assert color.std() > 15


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    directory = tmp_path_factory.mktemp("rooms")
    generate.generate(generate.Rooms(**SMALL), directory)
    return directory


def contents(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def times(directory):
    return {path.name: path.stat().st_mtime_ns for path in directory.rglob("scene*.*")}


def test_every_scan_is_a_readable_sens_file_with_its_truth(generated):
    assert sorted(path.name for path in (generated / "scans").iterdir()) == [
        f"scene{scan}" for scan in SCANS
    ]
    for folder in (generated / "scans").iterdir():
        with np.load(folder / f"{folder.name}_truth.npz") as arrays:
            truth = dict(arrays)
        assert truth["depth_mm"].shape == truth["instance"].shape == (2, *SIZE)
        assert truth["depth_mm"].dtype == truth["instance"].dtype == np.uint16
        assert truth["depth_mm"].min() > 0
        scan = sens.SensRecording(folder / f"{folder.name}.sens")
        calibration = scan.calibration()
        assert (calibration.depth_size, calibration.color_size) == (SIZE, COLOR_SIZE)
        assert len(list(scan.frames(1))) == 2


def test_one_frame_has_no_depth_and_one_no_pose(generated):
    empty, lost = [], []
    for path in sorted((generated / "scans").rglob("*.sens")):
        for frame in sens.SensRecording(path).frames(1):
            if not frame.read_depth().any():
                empty.append((path.stem, frame.index))
            if not np.isfinite(frame.read_pose()).all():
                lost.append((path.stem, frame.index))
    assert empty == [("scene9000_00", 1)]
    assert lost == [("scene9001_00", 1)]


def test_a_run_is_deterministic_and_resumes_without_redoing_finished_scans(generated, tmp_path):
    generate.generate(generate.Rooms(**SMALL), tmp_path)
    assert contents(tmp_path) == contents(generated)
    before = times(tmp_path)
    (tmp_path / "scans/scene9002_01/scene9002_01.sens").unlink()
    generate.generate(generate.Rooms(**SMALL), tmp_path)
    assert contents(tmp_path) == contents(generated)
    changed = {name for name, time in times(tmp_path).items() if before[name] != time}
    assert changed == {"scene9002_01.sens", "scene9002_01_truth.npz"}


def test_a_process_draws_the_same_bytes_as_threads(generated, tmp_path):
    generate.generate(generate.Rooms(**SMALL), tmp_path, processes=1)
    assert contents(tmp_path) == contents(generated)


@pytest.mark.slow  # It compiles the programs of a GPU for a CPU.
@pytest.mark.parametrize(("kind", "path"), [(space, camera), (varied, walk)])
def test_many_frames_in_one_call_are_the_same_pictures(kind, path, monkeypatch):
    arranged = scene.make_scene(kind.make_space(4), 0)
    poses = path.trajectory(arranged, 3, (4,))
    one_by_one = [rendered(arranged, pose) for pose in poses]
    monkeypatch.setattr(render, "FRAMES_PER_CALL", 2)
    jax.clear_caches()  # The programs of a CPU have other loops.
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    intrinsics = camera.intrinsics(*COLOR_SIZE), camera.intrinsics(*SIZE)
    together = list(render.render_frames(arranged, poses, *intrinsics, depth_size=SIZE))
    assert len(together) == len(one_by_one)
    for view, expected in zip(together, one_by_one, strict=True):
        for image, values in zip(view, expected, strict=True):
            np.testing.assert_allclose(image, values, atol=1e-5)


def test_ideal_depth_is_the_truth_and_colour_that_of_a_camera(generated, tmp_path):
    rooms = dataclasses.replace(generate.Rooms(**SMALL), spaces=2, ideal_depth=True)
    generate.generate(rooms, tmp_path)
    name = "scans/scene9001_01/scene9001_01"
    with np.load(tmp_path / f"{name}_truth.npz") as arrays:
        truth = arrays["depth_mm"]
    ideal, noisy = (sens.SensRecording(folder / f"{name}.sens") for folder in (tmp_path, generated))
    frames = list(ideal.frames(1))
    np.testing.assert_array_equal([frame.read_depth() for frame in frames], truth)
    for frame, other in zip(frames, noisy.frames(1), strict=True):
        color, expected = (
            images.decode_color(each.read_color(), COLOR_SIZE).astype(int)
            for each in (frame, other)
        )
        assert np.abs(color - expected).mean() < 4  # JPEGs of two qualities


def test_rooms_of_a_file_without_the_newest_fields_are_kept(tmp_path):
    rooms = dataclasses.replace(generate.Rooms(**SMALL), spaces=2, frames_per_scan=1)
    generate.generate(rooms, tmp_path)
    record = json.loads((tmp_path / "rooms.json").read_text())
    del record["ideal_depth"]
    (tmp_path / "rooms.json").write_text(json.dumps(record))
    before = times(tmp_path)
    generate.generate(rooms, tmp_path)
    assert times(tmp_path) == before


def test_ten_thousand_spaces_have_ids_of_scans():
    scans = generate.Rooms(spaces=generate.MAX_SPACES).scans
    ids = [generate.scan_id(*scan) for scan in scans]
    assert len(set(ids)) == len(ids) == 2 * generate.MAX_SPACES
    assert all(scan_ids.is_scannet_id(each) and each.startswith("scene9") for each in ids)
    assert ids[0] == "scene9000_00" and {"scene9999_01", "scene91000_00"} <= set(ids)


def test_a_killed_worker_is_an_error_of_one_line():
    with pytest.raises(OSError, match="one of 2 processes that draw was killed"):
        list(workers.in_processes(os._exit, [3], 2))


def test_another_version_or_other_fields_are_rebuilt(tmp_path, monkeypatch):
    rooms = dataclasses.replace(generate.Rooms(**SMALL), spaces=2, frames_per_scan=1)
    generate.generate(rooms, tmp_path)
    before = times(tmp_path)
    monkeypatch.setattr(generate, "VERSION", "0.0.0")
    generate.generate(rooms, tmp_path)
    after = times(tmp_path)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)
    first = contents(tmp_path)
    rooms.seed = 1
    generate.generate(rooms, tmp_path)
    second = contents(tmp_path)
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_scans_of_unknown_origin_are_not_deleted(tmp_path):
    (tmp_path / "scans/scene9000_00").mkdir(parents=True)
    with pytest.raises(ValueError, match="no rooms.json"):
        generate.generate(generate.Rooms(**SMALL), tmp_path)
    assert (tmp_path / "scans/scene9000_00").exists()


@pytest.mark.parametrize(
    "field", [{"spaces": 1}, {"frames_per_scan": 0}, {"depth_width": 8}, {"seed": -1}]
)
def test_values_out_of_range_are_named(field, tmp_path):
    with pytest.raises(ValueError, match=next(iter(field))):
        generate.generate(generate.Rooms(**{**SMALL, **field}), tmp_path)


def test_errors_of_the_command_line_are_one_line(tmp_path):
    result = programs.run("data_builders.rooms", f"--directory={tmp_path}", "--spaces=1")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1:] == result.stderr.splitlines()
    assert "spaces=1: expected at least 2 and at most 10000" in result.stderr
