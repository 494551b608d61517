"""Writes small recordings for the tests, and configures their data set."""

import pathlib

import cv2
import numpy as np

from data_builders.scannet_frontiers import configurations
from psp_jax.partition import planar, superpixels
from psp_jax.recordings import sens

SIZE = (48, 64)


def make_frame(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> sens.EncodedFrame:
    """Makes a slanted plane with a box in front; brightness falls with depth, for learning."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    slope_x, slope_y = rng.uniform(-10, 10, 2)
    depth = rng.uniform(1500, 3500) + slope_x * columns + slope_y * rows
    top, left = rng.integers(8, height // 2), rng.integers(8, width // 2)
    depth[top : top + 16, left : left + 20] *= 0.6
    depth = np.clip(depth, 400, 6000).astype(np.uint16)
    gray = np.clip(300 - depth / 16, 0, 255).astype(np.uint8)
    color = cv2.resize(gray, (2 * width, 2 * height), interpolation=cv2.INTER_NEAREST)
    color = np.stack([color, 255 - color, color // 2], axis=-1)
    depth[:3] = 0
    depth[:, :4] = 0
    pose = np.eye(4, dtype=np.float32)
    pose[:3, 3] = rng.normal(size=3)
    jpeg = cv2.imencode(".jpg", color)[1].tobytes()
    return sens.EncodedFrame(pose, jpeg, sens.encode_depth(depth))


def write_scan(
    root: pathlib.Path, scan: str, frames: list[sens.EncodedFrame], size: tuple[int, int] = SIZE
) -> pathlib.Path:
    """Writes frames to the path that ScanNet's download script would use."""
    path = root / "scans" / scan / f"{scan}.sens"
    path.parent.mkdir(parents=True)
    height, width = size
    camera = np.array(
        [[width, 0, width / 2, 0], [0, width, height / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    sens.write(
        path,
        frames,
        color_size=(2 * height, 2 * width),
        depth_size=size,
        intrinsic_color=camera,
        intrinsic_depth=camera,
    )
    return path


def small_config() -> configurations.FrontierConfig:
    """Returns a builder configuration at the size of the tests."""
    return configurations.FrontierConfig(
        name="small",
        frame_stride=1,
        size=SIZE,
        segmentations={
            "seeds": superpixels.Seeds(superpixels=20, levels=2),
            "planar": planar.Planar(superpixels.Slic(region_px=8, ruler=20.0)),
        },
    )
