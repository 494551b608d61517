"""Turns the frames of a scan into examples: decodes, aligns, fills and labels them."""

import dataclasses
import zlib
from collections.abc import Iterable, Iterator, Mapping

import cv2
import numpy as np

from data_builders.scannet_frontiers import splits
from data_builders.scannet_frontiers.report import Report
from psp_jax.partition import fill, frontier_classes, superpixels
from psp_jax.recordings import images, recording, scan_ids

JPEG_QUALITY = 95


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Selects the frames of a scan and describes their labels.

    Attributes:
        frame_stride: every `frame_stride`-th frame is used, by index: the timestamps of many
            scans are zero or garbage.
        size: (height, width) in pixels that the depth images must have.
        segmentations: segmentation of the filled depth by label set.
        color_scale: colour is resized to `color_scale` times the height and width of depth.
    """

    frame_stride: int
    size: tuple[int, int]
    segmentations: Mapping[str, superpixels.Superpixels]
    color_scale: int = 1

    @property
    def color_size(self) -> tuple[int, int]:
        """(height, width) of the colour images in pixels."""
        return self.color_scale * self.size[0], self.color_scale * self.size[1]


def examples_of(
    scan: recording.Recording, report: Report, *, recipe: Recipe, quota: int | None = None
) -> Iterator[tuple[str, dict]]:
    """Yields `(key, example)` of every usable frame of a scan.

    Damaged files raise no error: the report counts what can't be used.

    Args:
        scan: the recording.
        report: counts the frames that are kept and those that are left out.
        recipe: which frames are used, and how.
        quota: number of examples, chosen by the hash of their keys; an unusable frame is replaced
            by the next one. None takes all.
    """
    try:
        calibration = scan.calibration()
    except (recording.Damaged, OSError) as error:
        return report.drop("unreadable scan", f"{scan.id}: {error}")
    if not np.isfinite(calibration.intrinsic_depth).all():
        return report.drop("invalid intrinsics", scan.id)
    if calibration.depth_size != recipe.size:
        sizes = ("x".join(map(str, size)) for size in (calibration.depth_size, recipe.size))
        return report.drop("other depth size", "{} has {}, not {}".format(scan.id, *sizes))
    if calibration.note:
        report.notes.append(calibration.note)
    frames = _frames_of(scan, recipe.frame_stride, report)
    if quota is not None:
        frames = sorted(frames, key=lambda frame: splits.hash_of(_key_of(scan, frame)))
    kept = 0
    for frame in frames:
        if kept == quota:
            break
        example = _example(scan, frame, calibration, recipe, report)
        if example is not None:
            kept += 1
            yield _key_of(scan, frame), example


def _key_of(scan: recording.Recording, frame: recording.Frame) -> str:
    return f"{scan.id}_{frame.index:06d}"


def _frames_of(scan: recording.Recording, stride: int, report: Report) -> Iterable[recording.Frame]:
    try:
        yield from scan.frames(stride)
    except (recording.Damaged, OSError) as error:
        report.drop("damaged scan, rest left out", f"{scan.id}: {error}")


def _example(
    scan: recording.Recording,
    frame: recording.Frame,
    calibration: recording.Calibration,
    recipe: Recipe,
    report: Report,
) -> dict | None:
    name = f"{scan.id} frame {frame.index}"
    reason = "invalid pose"
    try:
        camera_to_world = frame.read_pose()
        if not np.isfinite(camera_to_world).all():
            return report.drop(reason, name)
        reason = "undecodable depth"
        depth_mm = frame.read_depth()
        if depth_mm.shape != recipe.size:
            return report.drop(reason, f"{name}: {depth_mm.shape} pixels, not {recipe.size}")
        if not depth_mm.any():
            return report.drop("no depth at all", name)
        reason = "undecodable colour"
        image = _aligned_jpeg(frame.read_color(), calibration.color_size, recipe.color_size)
    except (recording.Damaged, OSError) as error:
        return report.drop(reason, f"{name}: {error}")
    filled_mm, filled = fill.fill_nearest(depth_mm)
    classes = {
        label_set: frontier_classes.encode(segment(filled_mm))
        for label_set, segment in recipe.segmentations.items()
    }
    report.keep(scan.id, filled, classes)
    return {
        "image": image,
        "image_crc32": zlib.crc32(image),
        "depth": filled_mm,
        "filled": filled,
        **{frontier_classes.FEATURE_PREFIX + name: pixels for name, pixels in classes.items()},
        "scene_id": scan.id,
        "space_id": scan_ids.space_of(scan.id),
        "frame_index": frame.index,
        "intrinsics": calibration.intrinsic_depth,
        "pose": camera_to_world,
    }


def _aligned_jpeg(
    color: bytes, color_size: tuple[int, int] | None, new_size: tuple[int, int]
) -> bytes:
    """Resizes a JPEG or PNG to the grid of the depth image, or a multiple of it.

    ScanNet's depth is registered to its colour: the two grids differ by a scaling only, and the
    extrinsics in the header must not be applied.
    """
    pixels = images.decode_color(color, color_size)
    shape = images.shape_of(color)
    if shape == images.Shape(new_size, 3, is_jpeg=True):
        return color
    height, width = new_size
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    encoded, data = cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise recording.Damaged("OpenCV can't encode the resized image")
    return data.tobytes()
