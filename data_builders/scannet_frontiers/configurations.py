"""Configurations of the data set, and their variants for the flags of the command line."""

import dataclasses
from collections.abc import Mapping

import tensorflow_datasets as tfds

from data_builders.scannet_frontiers import examples, splits
from psp_jax.partition import planar, superpixels

# Images have a quarter of ScanNet's sides, so cells are smaller, and so is `trade`: the errors of a
# region shrink with its area, its boundary with its side.
PLANAR_ROOMS = planar.Planar(
    superpixels.Slic(region_px=4, ruler=20.0, iterations=5), trade=planar.Planar().trade / 4
)
# Without noise, `trade` can be smaller. Watershed is as good a start as SLIC there, and is in plain
# OpenCV.
PLANAR_IDEAL_ROOMS = planar.Planar(superpixels.Watershed(region_px=3), trade=1e-4)


@dataclasses.dataclass(kw_only=True)
class FrontierConfig(tfds.core.BuilderConfig):
    """A configuration of the data set.

    Attributes:
        frame_stride: every `frame_stride`-th frame of a scan becomes an example.
        size: (height, width) of the depth images in pixels.
        color_scale: colour is resized to `color_scale` times `size`.
        segmentations: segmentation of the filled depth by label set; all are made in one pass.
        split: assigns scans to splits.
        sample: selects a fixed number of images; None takes all.
        limit_scans: maximum number of scans per split, the first by id; None takes all.
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

    @property
    def recipe(self) -> examples.Recipe:
        """Selects the frames and describes their labels."""
        return examples.Recipe(
            self.frame_stride, self.size, dict(self.segmentations), self.color_scale
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
        size=(120, 160),
        segmentations={
            # The region size of 192 superpixels at 640x480 would leave 12. Boundaries grow with
            # the side, not with the area, so 48 keep a useful number of both.
            "seeds": superpixels.Seeds(superpixels=48, levels=3),
            "planar": PLANAR_ROOMS,
        },
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


def split_by_files(config: FrontierConfig, split: splits.FileSplit) -> FrontierConfig:
    """Returns the configuration with the user's own split, named by a digest of the lists.

    Raises:
        ValueError: if a space is in two lists, or a line is not a scan id.
        OSError: if a list can't be read.
    """
    digest = splits.hash_of(repr(sorted(split.listed().items())))[:8]
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
