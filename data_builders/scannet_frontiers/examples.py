"""From the frames of a scan to examples: decoded, aligned, filled and labelled."""

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
    """How the frames of a scan become examples.

    Attributes:
        frame_stride: frames from one example to the next, by index: the timestamps of many scans
            are zero or garbage.
        size: (height, width) in pixels that the depth images must have.
        cuts: what makes regions of the filled depth, by the name of the label set.
    """

    frame_stride: int
    size: tuple[int, int]
    segmentations: Mapping[str, superpixels.Superpixels]


def examples_of(
    scan: recording.Scan, report: Report, *, recipe: Recipe, quota: int | None = None
) -> Iterator[tuple[str, dict]]:
    """Yields `(key, example)` of every frame of a scan that is wanted and can be used.

    Nothing that the files hold stops it: what can't be used is counted in the report.

    Args:
        scan: the recording.
        report: counts what is kept and what is not.
        recipe: which frames, and what is made of them.
        quota: the number of examples wanted, chosen by the hash of their keys, where a bad frame
            is replaced by the next one; None wants all.
    """
    try:
        with scan.open() as opened:
            if not np.isfinite(opened.intrinsic_depth).all():
                report.drop("invalid intrinsics", scan.id)
                return
            if opened.depth_size != recipe.size:
                sizes = ("x".join(map(str, size)) for size in (opened.depth_size, recipe.size))
                report.drop("other depth size", "{} has {}, not {}".format(scan.id, *sizes))
                return
            if opened.note:
                report.notes.append(opened.note)
            frames = _frames_of(scan, opened, recipe.frame_stride, report)
            if quota is not None:
                frames = sorted(frames, key=lambda frame: splits.hash_of(key_of(scan, frame)))
            kept = 0
            for frame in frames:
                if kept == quota:
                    break
                example = _example(scan, frame, opened, recipe, report)
                if example is not None:
                    kept += 1
                    yield key_of(scan, frame), example
    except (recording.Damaged, OSError) as error:
        report.drop("unreadable scan", f"{scan.id}: {error}")


def key_of(scan: recording.Scan, frame: recording.Frame) -> str:
    """Returns the key of an example."""
    return f"{scan.id}_{frame.index:06d}"


def _frames_of(
    scan: recording.Scan, opened: recording.Recording, stride: int, report: Report
) -> Iterable[recording.Frame]:
    try:
        yield from opened.frames(stride)
    except (recording.Damaged, OSError) as error:
        report.drop("damaged scan, rest left out", f"{scan.id}: {error}")


def _example(
    scan: recording.Scan,
    frame: recording.Frame,
    opened: recording.Recording,
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
        image = _aligned_jpeg(frame.read_color(), opened.color_size, recipe.size)
    except (recording.Damaged, OSError) as error:
        return report.drop(reason, f"{name}: {error}")
    filled_mm, filled = fill.fill_nearest(depth_mm)
    classes = {
        name: frontier_classes.encode(cut(filled_mm)) for name, cut in recipe.segmentations.items()
    }
    report.keep(scan.id, filled, classes)
    return {
        "image": image,
        "image_crc32": zlib.crc32(image),
        "depth": filled_mm,
        "filled": filled,
        **{
            frontier_classes.FEATURE_PREFIX + name: label_set for name, label_set in classes.items()
        },
        "scene_id": scan.id,
        "space_id": scan_ids.space_of(scan.id),
        "frame_index": frame.index,
        "intrinsics": opened.intrinsic_depth,
        "pose": camera_to_world,
    }


def _aligned_jpeg(
    color: bytes, color_size: tuple[int, int] | None, depth_size: tuple[int, int]
) -> bytes:
    """Resizes a JPEG or PNG to depth's grid.

    ScanNet's depth is registered to its colour: the two grids differ by a plain scaling, and the
    extrinsics of the header must not be applied.
    """
    pixels = images.decode_color(color, color_size)
    shape = images.shape_of(color)
    if shape == images.Shape(depth_size, 3, is_jpeg=True):
        return color
    height, width = depth_size
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    encoded, data = cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise recording.Damaged("OpenCV can't encode the resized image")
    return data.tobytes()
