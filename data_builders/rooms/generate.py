"""Renders the rooms and writes them as ScanNet's `.sens` files, with the true depth."""

import dataclasses
import functools
import io
import json
import os
import pathlib
import shutil

import cv2
import numpy as np

from data_builders.rooms import camera, render, scene, sensor, space, varied, walk, workers
from psp_jax.io import files, progress, ranges
from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import sens

VERSION = "1.0.1"  # Raise it whenever the bytes of the files change.
RECORD = "rooms.json"  # Next to the scans: the fields and the version that they were drawn with.
# ScanNet's spaces end far below, so its scans can't be confused with these. After scene9999 comes
# scene91000, so that all names begin with scene9.
FIRST_SPACE, FIRST_LONG_SPACE = 9000, 90_000
MAX_SPACES = 10_000
FRAMES_PER_PROCESS = 256  # At least: a process takes seconds to start and compile.
SCANS_OF_SPACES = (1, 2, 3, 2)  # Repeats over the spaces; two on average, as in ScanNet.
JPEG_QUALITY = (85, 93)
# Seeds of independent random streams.
_SPACE_STREAM, _PATH_STREAM, _SENSOR_STREAM = range(3)


@dataclasses.dataclass
class Rooms:
    """A set of rooms. The defaults give 96 spaces, 192 scans and 1,536 frames.

    Attributes:
        spaces: number of rooms, at least 2; they are scanned 1, 2, 3, 2, 1, ... times.
        frames_per_scan: number of frames of each scan.
        depth_height, depth_width: size of a depth image in pixels; colour has twice both.
        seed: seed of the rooms.
        ideal_depth: whether depth has neither noise nor holes, for labels of the surfaces
            themselves; colour is that of a camera in any case.
        variety: whether rooms have round and turned things, clutter, prints, more kinds of light
            and materials, and cameras of any height, tilt and field of view.
    """

    spaces: int = ranges.number(96, least=2, most=MAX_SPACES)
    frames_per_scan: int = ranges.number(8, least=1)
    depth_height: int = ranges.number(120, least=16, most=1024)
    depth_width: int = ranges.number(160, least=16, most=1024)
    seed: int = ranges.number(0, least=0)
    ideal_depth: bool = False
    variety: bool = False

    @property
    def scans(self) -> list[tuple[int, int]]:
        """Index of the space and number of the visit, of every scan."""
        return [
            (index, rescan)
            for index in range(self.spaces)
            for rescan in range(SCANS_OF_SPACES[index % len(SCANS_OF_SPACES)])
        ]

    @property
    def frames(self) -> int:
        """Number of frames of all scans."""
        return len(self.scans) * self.frames_per_scan


def generate(rooms: Rooms, directory: str | os.PathLike, *, processes: int | None = None) -> None:
    """Renders every missing scan and writes it to `directory`/scans.

    A scan is `scans/<scene>/<scene>.sens` and `<scene>_truth.npz` with `depth_mm` `[F, H, W]`
    uint16 millimetres, without holes, and `instance` `[F, H, W]` uint16: 0 ceiling, 1 floor, 2 to 5
    walls, then furniture, with the same numbers in all scans of a space. Scans of another version
    or with other fields are removed first. Two frames are unusable on purpose, as some of
    ScanNet's are: the last one of scene9000_00 has no depth, and that of scene9001_00 no pose.

    Args:
        rooms: the rooms.
        directory: output folder; it is created if necessary.
        processes: number of processes that draw, each on one core, sharing the GPU if there is
            one. By default `processes_for` the frames; 0 uses threads of this process.

    Raises:
        ValueError: if a field is out of range, or `directory` holds scene9* folders that this
            function did not write.
        OSError: if a file can't be written, or a process is killed.
    """
    ranges.check(rooms, "rooms")
    directory = pathlib.Path(directory)
    _remove_outdated(directory, rooms)
    missing = [scan for scan in rooms.scans if not _sens_path(directory, *scan).exists()]
    if not missing:
        return
    if processes is None:
        processes = processes_for(len(missing) * rooms.frames_per_scan)
    draw = functools.partial(draw_scan, rooms, directory)
    if processes:
        written = workers.in_processes(draw, missing, min(processes, len(missing)))
    else:
        written = workers.in_threads(draw, missing)
    for _ in progress.bar(written, desc="rooms", unit="scan", total=len(missing)):
        pass


def is_record_of(path: pathlib.Path, rooms: Rooms) -> bool:
    """Returns whether a `RECORD` is that of these rooms.

    Fields that a file of an older program lacks had the values of today's defaults.
    """
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        current = {"version": VERSION, **dataclasses.asdict(rooms)}
        return dataclasses.asdict(Rooms()) | stated == current
    except (OSError, ValueError, TypeError):
        return False  # It is missing or damaged.


def processes_for(frames: int) -> int:
    """Returns the number of processes that pays for so many frames; 0 for this process alone."""
    processes = min(os.cpu_count() or 1, frames // FRAMES_PER_PROCESS)
    return processes if processes > 1 else 0


def _remove_outdated(directory: pathlib.Path, rooms: Rooms) -> None:
    """Removes the scans unless `rooms.json` is that of `rooms`, and then writes it."""
    path, scans = directory / RECORD, directory / "scans"
    if is_record_of(path, rooms):
        return
    outdated = sorted(scans.glob("scene9*"))
    if path.exists():
        for folder in outdated:
            shutil.rmtree(folder)
    elif outdated:
        raise ValueError(
            f"{scans} holds {outdated[0].name}, but there is no rooms.json in {directory}; choose "
            "another directory or remove the scene9* folders"
        )
    scans.mkdir(parents=True, exist_ok=True)
    record = {"version": VERSION, **dataclasses.asdict(rooms)}
    files.write(path, json.dumps(record, indent=2) + "\n")


def scan_id(index: int, rescan: int) -> str:
    """Returns the id of a scan: the number of its space, and of the visit."""
    first = FIRST_SPACE if FIRST_SPACE + index < 10_000 else FIRST_LONG_SPACE
    return f"scene{first + index}_{rescan:02d}"


def _sens_path(directory: pathlib.Path, index: int, rescan: int) -> pathlib.Path:
    name = scan_id(index, rescan)
    return directory / "scans" / name / f"{name}.sens"


def draw_scan(rooms: Rooms, directory: pathlib.Path, scan: tuple[int, int]) -> None:
    """Renders a scan; its `.sens` file is written last and marks the scan as finished."""
    index, rescan = scan
    size = rooms.depth_height, rooms.depth_width
    color_size = size[0] * render.COLOR_SCALE, size[1] * render.COLOR_SCALE
    seed = rooms.seed, _PATH_STREAM, index, rescan
    kind, path = (varied, walk) if rooms.variety else (space, camera)
    zoom = walk.zoom(seed) if rooms.variety else 1.0
    intrinsics_depth, intrinsics_color = (camera.intrinsics(*s, zoom) for s in (size, color_size))
    room = kind.make_space((rooms.seed, _SPACE_STREAM, index))
    arranged = scene.make_scene(room, rescan)
    poses = path.trajectory(arranged, rooms.frames_per_scan, seed)
    views = render.render_frames(
        arranged, poses, intrinsics_color, intrinsics_depth, depth_size=size
    )
    frames, depths_mm, instances = [], [], []
    for k, (pose, view) in enumerate(zip(poses, views, strict=True)):
        depths_mm.append(np.round(MM_PER_M * view.depth).astype(np.uint16))
        instances.append(view.instance.astype(np.uint16))
        rng = np.random.default_rng([rooms.seed, _SENSOR_STREAM, index, rescan, k])
        capture = sensor.capture_varied if rooms.variety else sensor.capture_color
        color = capture(view.color, rng)
        if rooms.ideal_depth:
            depth_mm = depths_mm[-1]
        else:
            surface = view.cos_incidence, view.albedo, view.gloss
            focal_px = float(intrinsics_depth[0])
            depth_mm = sensor.capture_depth(view.depth, *surface, focal_px, rng)
        jpeg = _encode_color(color, quality=int(rng.integers(*JPEG_QUALITY)))
        frame = sens.EncodedFrame(pose, jpeg, sens.encode_depth(depth_mm))
        if rescan == 0 and k == rooms.frames_per_scan - 1:
            frame = _make_unusable(frame, index, size)
        frames.append(frame)

    path, truth = _sens_path(directory, index, rescan), io.BytesIO()
    np.savez_compressed(truth, depth_mm=np.stack(depths_mm), instance=np.stack(instances))
    files.write(path.with_name(f"{path.stem}_truth.npz"), truth.getvalue())
    sens.write(
        path,
        frames,
        color_size=color_size,
        depth_size=size,
        intrinsic_color=_matrix(intrinsics_color),
        intrinsic_depth=_matrix(intrinsics_depth),
    )


def _encode_color(color: np.ndarray, quality: int) -> bytes:
    bgr = cv2.cvtColor(color, cv2.COLOR_RGB2BGR)
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return jpeg.tobytes()


def _make_unusable(
    frame: sens.EncodedFrame, index: int, size: tuple[int, int]
) -> sens.EncodedFrame:
    """Removes the depth in the first space and the pose in the second."""
    if index == 0:
        return dataclasses.replace(frame, depth=sens.encode_depth(np.zeros(size, np.uint16)))
    if index == 1:
        lost = np.full((4, 4), -np.inf, np.float32)
        return dataclasses.replace(frame, camera_to_world=lost)
    return frame


def _matrix(intrinsics: np.ndarray) -> np.ndarray:
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0, cx, 0], [0, fy, cy, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
