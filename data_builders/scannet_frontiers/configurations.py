"""Configurations of the data set, and their variants for the flags of the command line."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from data_builders.scannet_frontiers import examples, reading, splits
from psp_jax.partition import planar, superpixels
from psp_jax.recordings import recording

# Without noise, `trade` can be smaller. Watershed is as good a start as SLIC there, and is in plain
# OpenCV.
PLANAR_IDEAL_ROOMS = planar.Planar(superpixels.Watershed(region_px=3), trade=1e-4)
_THESIS_SIZE = (480, 640)
LAPTOP_SIZE = (120, 160)
# Of the 200 superpixels that the thesis asks for, OpenCV lays a grid of 192 on 480x640 pixels.
_THESIS_SUPERPIXELS, _THESIS_LEVELS = 192, 4
_MIN_CELL_PX = 4  # Of fewer pixels, a plane fits nearly any.
MAX_FRAMES = 10_000  # Of a set whose stride is chosen for it.
_STRIDES = (1, 2, 5, 10, 30)


def segmentations_at(size: tuple[int, int]) -> dict[str, superpixels.Superpixels]:
    """Returns both label sets for images of (height, width), as they are at 480x640 and smaller.

    With s, the square root of the number of pixels over that of 480x640: SEEDS get 192 s
    superpixels, since the boundaries between them grow with the side of the image and not with its
    area, and halve their blocks so that the smallest stay about 5 pixels wide. The cells of planar
    regions are 14 s pixels wide, at least 4. Their `trade` is 0.001 s, since the error of a region
    shrinks with its area, and its boundary with its side.
    """
    height, width = size
    scale = math.sqrt(height * width / math.prod(_THESIS_SIZE))
    # The side of a superpixel changes with the root of `scale`, and a level doubles blocks.
    levels = _THESIS_LEVELS + round(math.log2(scale) / 2)
    base = dataclasses.replace(
        planar.FINE, region_px=max(round(planar.FINE.region_px * scale), _MIN_CELL_PX)
    )
    return {
        "seeds": superpixels.Seeds(
            superpixels=max(round(_THESIS_SUPERPIXELS * scale), 10), levels=max(levels, 2)
        ),
        "planar": planar.Planar(base, trade=planar.Planar().trade * scale),
    }


@dataclasses.dataclass(kw_only=True)
class FrontierConfig(tfds.core.BuilderConfig):
    """A configuration of the data set.

    Attributes:
        frame_stride: every `frame_stride`-th frame of a scan becomes an example.
        size: (height, width) in pixels that the depth images are resized to.
        color_scale: colour is resized to `color_scale` times `size`.
        segmentations: segmentation of the filled depth by label set; all are made in one pass.
        split: assigns scans to splits.
        sample: selects a fixed number of images; None takes all.
        limit_scans: maximum number of scans per split, the first by id; None takes all.
        crop: whether images of other proportions are cropped at the centre, instead of left out.
        reading: options of `reading.survey`.
    """

    frame_stride: int = 30  # One frame a second: ScanNet records 30.
    size: tuple[int, int] = (480, 640)
    segmentations: Mapping[str, superpixels.Superpixels] = dataclasses.field(
        default_factory=lambda: {"seeds": superpixels.Seeds()}
    )
    split: splits.Splitter = splits.HashSplit()
    sample: splits.Sample | None = None
    limit_scans: int | None = None
    color_scale: int = 1
    crop: bool = False
    reading: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def recipe(self) -> examples.Recipe:
        """Selects the frames and describes their labels."""
        return examples.Recipe(
            *(self.frame_stride, self.size, dict(self.segmentations), self.color_scale, self.crop),
            tolerant=reading.TOLERANT in self.reading,
        )


_BOTH_LABEL_SETS = {"seeds": superpixels.Seeds(), "planar": planar.Planar()}
# The thesis counts 917, 390 and 198 scans.
_THESIS_SPLIT = splits.HashSplit((917, 390, 198), splits.scannet_scans())
CONFIGS = (
    FrontierConfig(
        name="thesis",
        description="ScanNet, one frame a second, SEEDS, 61/26/13 of the scans, whole spaces.",
        split=_THESIS_SPLIT,
    ),
    FrontierConfig(
        name="thesis_small",
        description="As many images as the thesis trained on, spread over the same scans.",
        split=_THESIS_SPLIT,
        sample=splits.Sample((4326, 1879, 981), _THESIS_SPLIT, splits.scannet_scans()),
    ),
    FrontierConfig(
        name="official_v2",
        description="ScanNet, one frame a second, SEEDS, the benchmark's 1201/312/100 scans.",
        split=splits.official_lists(),
    ),
    FrontierConfig(
        name="planar",
        description="As thesis, but planar regions of inverse depth instead of SEEDS.",
        split=_THESIS_SPLIT,
        segmentations={"planar": planar.Planar()},
    ),
    FrontierConfig(
        name="thesis_planar",
        description="As thesis, with both SEEDS and planar regions, in one pass over the scans.",
        split=_THESIS_SPLIT,
        segmentations=_BOTH_LABEL_SETS,
    ),
    FrontierConfig(
        name="found",
        description="Any scans at 480x640, 60/25/15 by the spaces that are there; both labels.",
        segmentations=_BOTH_LABEL_SETS,
    ),
    FrontierConfig(
        name="rooms",
        description="The embedded procedural rooms at a quarter of ScanNet's size.",
        frame_stride=1,
        size=LAPTOP_SIZE,
        segmentations=segmentations_at(LAPTOP_SIZE),
    ),
)


def named(name: str) -> FrontierConfig:
    """Returns the configuration with a name.

    Raises:
        ValueError: if there is none.
    """
    for config in CONFIGS:
        if config.name == name:
            return config
    names = ", ".join(config.name for config in CONFIGS)
    raise ValueError(f"configuration: expected one of {names}, got {name!r}")


def own(
    name: str,
    *,
    size: tuple[int, int],
    frame_stride: int,
    split: splits.Splitter,
    crop: bool = False,
    color_scale: int = 1,
    reading: Mapping[str, Any] | None = None,
) -> FrontierConfig:
    """Returns the configuration of a set of any recordings, with both label sets.

    Args:
        name: its name.
        size, frame_stride, split, crop, color_scale, reading: see `FrontierConfig`.

    Raises:
        ValueError: if the name is taken or can't be that of a folder, or see `check`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name):
        raise ValueError(f"--name={name}: expected letters, digits, _ and -")
    if name in {config.name for config in CONFIGS} or name.startswith("rooms"):
        raise ValueError(f"--name={name} is taken by a configuration of this program")
    config = FrontierConfig(
        name=name,
        description=f"Recordings of the user at {size[0]}x{size[1]}, both labels.",
        frame_stride=frame_stride,
        size=size,
        segmentations=segmentations_at(size),
        split=split,
        crop=crop,
        color_scale=color_scale,
        reading=dict(reading or {}),
    )
    check(config)
    return config


def check(config: FrontierConfig) -> None:
    """Tries the segmentations at the size of a configuration.

    Raises:
        ValueError: if the images are too small for one of them, or OpenCV lacks it.
    """
    if not hasattr(cv2, "ximgproc"):
        raise ValueError(
            "this OpenCV has no superpixels: pip uninstall opencv-python opencv-python-headless, "
            "then pip install --force-reinstall opencv-contrib-python-headless"
        )
    height, width = config.size
    slope = np.linspace(1000, 3000, height * width).astype(np.uint16).reshape(config.size)
    for segment in config.segmentations.values():
        try:
            segment(slope)
        except ValueError as error:
            raise ValueError(f"--size={height}x{width}: {error}") from None


def stride_of(recordings: Sequence[recording.Recording]) -> int:
    """Returns the smallest stride, of 1, 2, 5, 10 and 30, that leaves at most `MAX_FRAMES`."""
    for stride in _STRIDES[:-1]:
        if sum(scan.count(stride) for scan in recordings) <= MAX_FRAMES:
            return stride
    return _STRIDES[-1]


def split_by_files(config: FrontierConfig, split: splits.FileSplit) -> FrontierConfig:
    """Returns the configuration with the user's own split, named by a digest of the lists.

    Raises:
        ValueError: if a configuration with a sample gets lists with a line that is not a scan id,
            or with a space in two of them.
        OSError: if a list can't be read.
    """
    digest = splits.hash_of(repr(split.lines()))[:8]
    sample = config.sample
    if sample is not None:
        sample = dataclasses.replace(sample, split=split, listed=tuple(split.listed()))
    return dataclasses.replace(
        config, name=f"{config.name}_files_{digest}", split=split, sample=sample
    )


def limited(config: FrontierConfig, scans: int) -> FrontierConfig:
    """Returns the configuration with at most `scans` scans per split, under its own name.

    Raises:
        ValueError: if `scans` is less than 1.
    """
    if scans < 1:
        raise ValueError(f"scans per split: expected at least 1, got {scans}")
    return dataclasses.replace(config, name=f"{config.name}_limit_{scans}", limit_scans=scans)
