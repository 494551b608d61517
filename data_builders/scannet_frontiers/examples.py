"""From the frames of a scan to examples: decoded, aligned, filled and labelled."""

import collections
import dataclasses
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from data_builders.scannet_frontiers import layout, sens, splits
from psp_jax.partition import fill, frontier, superpixels

JPEG_QUALITY = 95


@dataclasses.dataclass
class Report:
    """What became of the scans and frames of a build.

    Attributes:
        scans: scans of which at least one frame was kept.
        kept: frames kept.
        dropped: frames or rests of scans that were not, counted by reason.
        details: one line for each drop.
        missing, interior: sums over the kept frames of the share of pixels without a reading and
            of the share of pixels of class 0.
    """

    scans: int = 0
    kept: int = 0
    dropped: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    details: list[str] = dataclasses.field(default_factory=list)
    missing: float = 0.0
    interior: float = 0.0

    def drop(self, reason: str, detail: str) -> None:
        """Counts one drop."""
        self.dropped[reason] += 1
        self.details.append(f"{reason}: {detail}")

    def summary(self) -> dict:
        """Returns the report as plain values, shares as means over the kept frames."""
        frames = max(self.kept, 1)
        return {
            "scans": self.scans,
            "frames_kept": self.kept,
            "dropped": dict(self.dropped),
            "dropped_details": self.details,
            "missing_depth_share": round(self.missing / frames, 4),
            "interior_share": round(self.interior / frames, 4),
        }


def examples_of(
    scan: layout.Scan,
    report: Report,
    *,
    frame_stride: int,
    size: tuple[int, int],
    cut: superpixels.Superpixels,
    on_frame: Callable[[], object] = lambda: None,
) -> Iterator[tuple[str, dict]]:
    """Yields `(key, example)` of every `frame_stride`-th frame of a scan that can be used.

    Args:
        scan: the recording.
        report: counts what is kept and what is not.
        frame_stride: frames from one example to the next, by index: the timestamps of many scans
            are zero or garbage.
        size: (height, width) in pixels that the depth images must have.
        cut: makes regions of the filled depth.
        on_frame: called after every frame that was looked at.
    """
    kept_before = report.kept
    try:
        with sens.Reader(scan.path) as reader:
            if reader.header.depth_size != size:
                found, wanted = (
                    "x".join(map(str, reader.header.depth_size)),
                    "x".join(map(str, size)),
                )
                report.drop("other depth size", f"{scan.id} has {found}, not {wanted}")
                return
            for frame in reader.frames(frame_stride):
                example = _example(scan, frame, reader.header, cut, report)
                if example is not None:
                    yield f"{scan.id}_{frame.index:06d}", example
                on_frame()
    except sens.SensError as error:
        report.drop("damaged scan, rest left out", f"{scan.id}: {error}")
    finally:
        report.scans += report.kept > kept_before


def _example(
    scan: layout.Scan,
    frame: sens.Frame,
    header: sens.Header,
    cut: superpixels.Superpixels,
    report: Report,
) -> dict | None:
    name = f"{scan.id} frame {frame.index}"
    if not np.isfinite(frame.camera_to_world).all():
        return report.drop("invalid pose", name)
    try:
        depth_mm = sens.decode_depth(frame.depth, header)
    except sens.SensError as error:
        return report.drop("undecodable depth", f"{name}: {error}")
    if not depth_mm.any():
        return report.drop("no depth at all", name)
    image = _aligned_jpeg(frame.color, header)
    if image is None:
        return report.drop("undecodable colour", name)
    filled_mm, filled = fill.fill_nearest(depth_mm)
    classes = frontier.encode(cut(filled_mm))
    report.kept += 1
    report.missing += float(filled.mean())
    report.interior += float((classes == 0).mean())
    return {
        "image": image,
        "depth": filled_mm,
        "filled": filled,
        "frontier": classes,
        "scene_id": scan.id,
        "space_id": splits.space_of(scan.id),
        "frame_index": frame.index,
        "intrinsics": header.intrinsic_depth[:3, :3],
        "pose": frame.camera_to_world,
    }


def _aligned_jpeg(color: bytes, header: sens.Header) -> bytes | None:
    """Resizes a JPEG to depth's grid; None if it can't be decoded or has another size.

    ScanNet's depth is registered to its colour: the two grids differ by a plain scaling, and the
    extrinsics of the header must not be applied.
    """
    pixels = cv2.imdecode(np.frombuffer(color, np.uint8), cv2.IMREAD_COLOR) if color else None
    if pixels is None or pixels.shape[:2] != header.color_size:
        return None
    if header.color_size == header.depth_size:
        return color
    height, width = header.depth_size
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    encoded, data = cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes() if encoded else None
