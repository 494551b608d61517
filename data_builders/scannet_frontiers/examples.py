"""Turns the frames of a scan into examples: decodes, aligns, fills and labels them."""

import dataclasses
import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping

import cv2
import numpy as np

from data_builders.scannet_frontiers import fitting, splits
from data_builders.scannet_frontiers.report import Report
from psp_jax.partition import fill, frontier_classes, superpixels
from psp_jax.recordings import image_faults, images, recording

JPEG_QUALITY = 95
_UNKNOWN_POSE = np.full((4, 4), np.nan, np.float32)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Selects the frames of a scan and describes their labels.

    Attributes:
        frame_stride: every `frame_stride`-th frame is used, by index: the timestamps of many
            scans are zero or garbage.
        size: (height, width) in pixels of the examples; depth images are resized to it.
        segmentations: segmentation of the filled depth by label set, at that size.
        color_scale: colour is resized to `color_scale` times the height and width of depth.
        crop: whether images of other proportions are cropped at the centre, instead of left out.
        tolerant: whether damaged JPEGs are used, gray where they are damaged.
    """

    frame_stride: int
    size: tuple[int, int]
    segmentations: Mapping[str, superpixels.Superpixels]
    color_scale: int = 1
    crop: bool = False
    tolerant: bool = False

    @property
    def color_size(self) -> tuple[int, int]:
        """(height, width) of the colour images in pixels."""
        return self.color_scale * self.size[0], self.color_scale * self.size[1]


def examples_of(
    scan: recording.Recording,
    report: Report,
    *,
    recipe: Recipe,
    space: str = "",
    quota: int | None = None,
    span: tuple[int, int] | None = None,
) -> Iterator[tuple[str, dict]]:
    """Yields `(key, example)` of every usable frame of a scan.

    Damaged files raise no error: the report counts what can't be used.

    Args:
        scan: the recording.
        report: counts the frames that are kept and those that are left out.
        recipe: which frames are used, and how.
        space: the space of the scan; empty takes it from the id.
        quota: number of examples, chosen by the hash of their keys; an unusable frame is replaced
            by the next one. None takes all.
        span: positions of the first frame and behind the last, of those at the stride of the
            recipe. None takes all.
    """
    try:
        calibration = scan.calibration()
    except (recording.Damaged, OSError) as error:
        return report.drop("unreadable scan", f"{scan.id}: {error}")
    intrinsics = calibration.intrinsic_depth
    if intrinsics is not None and not np.isfinite(intrinsics).all():
        return report.drop("invalid intrinsics", scan.id)
    if calibration.note:
        report.note(calibration.note)
    source = _Source(scan, space or splits.Spaces()(scan.id), calibration, recipe)
    frames = _frames_of(scan, recipe.frame_stride, report, span)
    if quota is not None:
        frames = sorted(frames, key=lambda frame: splits.hash_of(_key_of(scan, frame)))
    kept = 0
    for frame in frames:
        if kept == quota:
            break
        example = _example(source, frame, report)
        if example is not None:
            kept += 1
            yield _key_of(scan, frame), example


@dataclasses.dataclass(frozen=True)
class _Source:
    """What the frames of a scan have in common."""

    scan: recording.Recording
    space: str
    calibration: recording.Calibration
    recipe: Recipe


def _key_of(scan: recording.Recording, frame: recording.Frame) -> str:
    return f"{scan.id}_{frame.index:06d}"


def _frames_of(
    scan: recording.Recording, stride: int, report: Report, span: tuple[int, int] | None
) -> Iterable[recording.Frame]:
    start, stop = span or (0, None)
    position = 0
    try:
        for frame in itertools.islice(scan.frames(stride), stop):
            if position >= start:
                yield frame
            position += 1
    except (recording.Damaged, OSError) as error:
        if position >= start:  # Otherwise the damage is reported with the frames before it.
            report.drop("damaged scan, rest left out", f"{scan.id}: {error}")


def _example(source: _Source, frame: recording.Frame, report: Report) -> dict | None:
    scan, recipe = source.scan, source.recipe
    name = f"{scan.id} frame {frame.index}"
    reason = "invalid pose"
    try:
        camera_to_world = frame.read_pose()
        if camera_to_world is not None and not np.isfinite(camera_to_world).all():
            return report.drop(reason, name)
        reason = "undecodable depth"
        depth_mm = frame.read_depth()
        if not depth_mm.any():
            return report.drop("no depth at all", name)
        reason = "undecodable colour"
        color = frame.read_color()
        pixels = images.decode_color(color, source.calibration.color_size)
    except (recording.Damaged, OSError) as error:
        return report.drop(reason, f"{name}: {error}")
    try:
        fit = fitting.fit(
            depth_mm.shape,
            pixels.shape[:2],
            recipe.size,
            color_size=recipe.color_size,
            crop=recipe.crop,
        )
        image = _jpeg(color, pixels, fit)
    except fitting.OtherProportions as error:
        return report.drop("other proportions", f"{scan.id}: {error}")
    except recording.Damaged as error:
        return report.drop(reason, f"{name}: {error}")
    size, depth_mm = depth_mm.shape, fit.depth(depth_mm)
    if not depth_mm.any():
        return report.drop("no depth at all", name)
    filled_mm, filled = fill.fill_nearest(depth_mm)
    classes = {
        label_set: frontier_classes.encode(segment(filled_mm))
        for label_set, segment in recipe.segmentations.items()
    }
    report.keep(scan.id, size, filled, classes)
    return {
        "image": image,
        "image_crc32": zlib.crc32(image),
        "depth": filled_mm,
        "filled": filled,
        **{frontier_classes.FEATURE_PREFIX + name: pixels for name, pixels in classes.items()},
        "scene_id": scan.id,
        "space_id": source.space,
        "frame_index": frame.index,
        "intrinsics": _intrinsics(source.calibration, size, fit),
        "pose": _UNKNOWN_POSE if camera_to_world is None else camera_to_world,
    }


def _intrinsics(
    calibration: recording.Calibration, size: fitting.Size, fit: fitting.Fit
) -> np.ndarray:
    """Returns the camera matrix of the fitted depth; NaN if it is not known for its size."""
    if calibration.intrinsic_depth is None or calibration.depth_size != size:
        return np.full((3, 3), np.nan, np.float32)
    return fit.intrinsics(calibration.intrinsic_depth, size)


def _jpeg(color: bytes, pixels: np.ndarray, fit: fitting.Fit) -> bytes:
    """Resizes the colour image; an intact JPEG that has the size already is returned as it is.

    ScanNet's depth is registered to its colour: the two grids differ by a scaling only, and the
    extrinsics in the header must not be applied.
    """
    if images.shape_of(color) == images.Shape(fit.color_size, 3, is_jpeg=True) and not (
        image_faults.POLICY.tolerant and image_faults.damage_of(color)
    ):
        return color
    encoded, data = cv2.imencode(
        ".jpg", fit.color(pixels), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not encoded:
        raise recording.Damaged("OpenCV can't encode the resized image")
    return data.tobytes()
