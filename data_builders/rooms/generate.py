"""Write the rooms to disk as ScanNet's own `.sens` files, with the truth beside them."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Callable

import cv2
import numpy as np

from data_builders.rooms import camera, render, scene, sensor, space
from psp_jax.io import files, progress
from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import sens

VERSION = "1.0.0"  # Raise it whenever other bytes would be written.
FIRST_SPACE = 9000  # ScanNet ends far below, so nobody takes these scans for its own.
MAX_SPACES = 1000
SCANS_OF_SPACES = (1, 2, 3, 2)  # Rescans as unevenly spread as in ScanNet; a mean of two.
JPEG_QUALITY = (85, 93)
# Streams of random numbers, so that more of one thing changes nothing about another.
_SPACE_STREAM, _PATH_STREAM, _SENSOR_STREAM = range(3)


@dataclasses.dataclass
class Rooms:
    """What is drawn. The defaults give 96 spaces, 192 scans and 1,536 frames.

    Attributes:
        spaces: number of rooms, at least 2; they are scanned 1, 2, 3, 2, 1, ... times.
        frames_per_scan: number of frames of each scan.
        depth_height, depth_width: pixels of a depth image; colour has twice as many each way.
        seed: another seed gives other rooms.
    """

    spaces: int = 96
    frames_per_scan: int = 8
    depth_height: int = 120
    depth_width: int = 160
    seed: int = 0


def generate(rooms: Rooms, directory: str | os.PathLike) -> None:
    """Write every scan that is not there yet to `directory`/scans.

    Each scan is `scans/<scene>/<scene>.sens` and `<scene>_truth.npz` with `depth_mm` `[F, H, W]`
    uint16, without holes, and `instance` `[F, H, W]` uint16 (0 ceiling, 1 floor, 2 to 5 walls, then
    furniture, numbered alike in all scans of a space). Scans made under another version or other
    fields are removed first. Two frames are bad on purpose, as some of ScanNet's are: the last one
    of scene9000_00 has no depth at all, and the last one of scene9001_00 a pose of -inf.

    Args:
        rooms: what to draw.
        directory: made if it does not exist.

    Raises:
        ValueError: if a field is out of range, or `directory` holds scene9* folders of unknown
            origin.
    """
    check(rooms)
    directory = pathlib.Path(directory)
    _claim(directory, {"version": VERSION, **dataclasses.asdict(rooms)})
    missing = [
        (index, rescan)
        for index in range(rooms.spaces)
        for rescan in range(SCANS_OF_SPACES[index % len(SCANS_OF_SPACES)])
        if not _sens_path(directory, index, rescan).exists()
    ]
    if not missing:
        return
    frames = len(missing) * rooms.frames_per_scan
    with progress.bar(desc="rooms", unit="frame", total=frames) as bar:
        lock = threading.Lock()

        def count() -> None:
            with lock:
                bar.update()

        # NumPy and XLA release the interpreter lock, so threads fill the cores.
        with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
            jobs = [pool.submit(_write_scan, rooms, directory, *scan, count) for scan in missing]
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def check(rooms: Rooms) -> None:
    """Raise ValueError, naming the field, if it has a value that can't be drawn."""
    if not 2 <= rooms.spaces <= MAX_SPACES:
        raise ValueError(f"spaces is {rooms.spaces}; 2 to {MAX_SPACES} were expected")
    if rooms.frames_per_scan < 1:
        raise ValueError(f"frames_per_scan is {rooms.frames_per_scan}; at least 1 was expected")
    for name in ("depth_height", "depth_width"):
        size = getattr(rooms, name)
        if not 16 <= size <= 1024:
            raise ValueError(f"{name} is {size}; 16 to 1024 were expected")
    if rooms.seed < 0:
        raise ValueError(f"seed is {rooms.seed}; 0 or more was expected")


def _claim(directory: pathlib.Path, record: dict[str, object]) -> None:
    """Leave `rooms.json` equal to `record`, and no scans made under any other."""
    path, scans = directory / "rooms.json", directory / "scans"
    stale = sorted(scans.glob("scene9*"))
    if path.exists():
        try:
            found = json.loads(path.read_text())
        except ValueError:
            found = None  # The run that wrote it was cut off, or another version was at work.
        if found == record:
            return
        for folder in stale:
            shutil.rmtree(folder)
    elif stale:
        raise ValueError(
            f"{scans} holds {stale[0].name} but no rooms.json says who made it; "
            "choose another directory or remove the scene9* folders"
        )
    scans.mkdir(parents=True, exist_ok=True)
    files.write(path, json.dumps(record, indent=2) + "\n")


def _sens_path(directory: pathlib.Path, index: int, rescan: int) -> pathlib.Path:
    name = f"scene{FIRST_SPACE + index}_{rescan:02d}"
    return directory / "scans" / name / f"{name}.sens"


def _write_scan(
    rooms: Rooms, directory: pathlib.Path, index: int, rescan: int, count: Callable[[], None]
) -> None:
    """Draw one scan; its `.sens` appears last and whole, which marks the scan as finished."""
    size = rooms.depth_height, rooms.depth_width
    color_size = size[0] * render.COLOR_SCALE, size[1] * render.COLOR_SCALE
    lens_depth, lens_color = camera.lens(*size), camera.lens(*color_size)
    room = space.make_space((rooms.seed, _SPACE_STREAM, index))
    arranged = scene.make_scan(room, rescan)
    seed = rooms.seed, _PATH_STREAM, index, rescan
    frames, depths_mm, instances = [], [], []
    for k, pose in enumerate(camera.path(arranged, rooms.frames_per_scan, seed)):
        view = render.render(arranged, pose, lens_color, lens_depth, depth_size=size)
        rng = np.random.default_rng([rooms.seed, _SENSOR_STREAM, index, rescan, k])
        frame = _capture(view, pose, k, float(lens_depth[0]), rng)
        if rescan == 0 and k == rooms.frames_per_scan - 1:
            frame = _spoil(frame, index, size)
        frames.append(frame)
        depths_mm.append(np.round(MM_PER_M * view.depth).astype(np.uint16))
        instances.append(view.instance.astype(np.uint16))
        count()

    path = _sens_path(directory, index, rescan)
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = path.with_name(f"{path.stem}_truth.npz")
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        np.savez_compressed(file, depth_mm=np.stack(depths_mm), instance=np.stack(instances))
    os.replace(partial, truth)
    sens.write(
        partial,
        frames,
        color_size=color_size,
        depth_size=size,
        intrinsic_color=_matrix(lens_color),
        intrinsic_depth=_matrix(lens_depth),
    )
    os.replace(partial, path)


def _capture(
    view: render.View, pose: np.ndarray, k: int, focal_px: float, rng: np.random.Generator
) -> sens.EncodedFrame:
    color = sensor.capture_color(view.color, rng)
    depth_mm = sensor.capture_depth(
        view.depth, view.cos_incidence, view.albedo, view.gloss, focal_px, rng
    )
    quality = int(rng.integers(*JPEG_QUALITY))
    bgr = cv2.cvtColor(color, cv2.COLOR_RGB2BGR)
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return sens.EncodedFrame(pose, jpeg.tobytes(), sens.encode_depth(depth_mm))


def _spoil(frame: sens.EncodedFrame, index: int, size: tuple[int, int]) -> sens.EncodedFrame:
    """Blank the depth in the first space and lose the pose in the second."""
    if index == 0:
        return dataclasses.replace(frame, depth=sens.encode_depth(np.zeros(size, np.uint16)))
    if index == 1:
        lost = np.full((4, 4), -np.inf, np.float32)
        return dataclasses.replace(frame, camera_to_world=lost)
    return frame


def _matrix(lens: np.ndarray) -> np.ndarray:
    fx, fy, cx, cy = lens
    return np.array([[fx, 0, cx, 0], [0, fy, cy, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
