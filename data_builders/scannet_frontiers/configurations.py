"""Ways to prepare the data, and changes to them that the command line asks for."""

import dataclasses
from collections.abc import Mapping

import tensorflow_datasets as tfds

from data_builders.scannet_frontiers import examples, splits
from psp_jax.partition import planar, superpixels

# Sides are a quarter of ScanNet's, so the cells are smaller, and so is what an edge may save: the
# errors of a region shrink with its area, its frontier with its side.
PLANAR_ROOMS = planar.Planar(
    superpixels.Slic(region_px=4, ruler=20.0, iterations=5), trade=planar.Planar().trade / 4
)


@dataclasses.dataclass(kw_only=True)
class FrontierConfig(tfds.core.BuilderConfig):
    """One way to prepare the data.

    Attributes:
        frame_stride: frames of a scan from one example to the next.
        size: (height, width) of the depth images in pixels; colour is resized to it.
        cuts: what makes regions of the filled depth, by the name of the label set; one pass over
            the scans writes them all.
        split: assigns scans to splits.
        sample: takes a fixed number of images instead of all; None takes all.
        limit_scans: scans of each split to use at most, the first by id; None uses all.
    """

    frame_stride: int = 30  # One frame a second: ScanNet records 30.
    size: tuple[int, int] = (480, 640)
    segmentations: Mapping[str, superpixels.Superpixels] = dataclasses.field(
        default_factory=lambda: {"seeds": superpixels.Seeds()}
    )
    split: splits.Splitter = splits.HashSplit()
    sample: splits.Sample | None = None
    limit_scans: int | None = None

    @property
    def recipe(self) -> examples.Recipe:
        """How frames become examples."""
        return examples.Recipe(self.frame_stride, self.size, dict(self.segmentations))


# The thesis counts 917, 390 and 198 scans.
_THESIS_SPLIT = splits.HashSplit((917, 390, 198), splits.scannet_scans())
CONFIGS = (
    FrontierConfig(
        name="thesis",
        description="ScanNet, one frame a second, SEEDS, 60/25/15 by space.",
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
        segmentations={"seeds": superpixels.Seeds(), "planar": planar.Planar()},
    ),
    FrontierConfig(
        name="found",
        description="Any scans at 480x640, 60/25/15 by the spaces that are there; both labels.",
        segmentations={"seeds": superpixels.Seeds(), "planar": planar.Planar()},
    ),
    FrontierConfig(
        name="rooms",
        description="The embedded procedural rooms at a quarter of ScanNet's size.",
        frame_stride=1,
        size=(120, 160),
        segmentations={
            # Regions as large, in pixels, as 192 are at 640x480 would leave 12; frontiers grow
            # with the side, not with the area, so 48 keep a useful number of both.
            "seeds": superpixels.Seeds(superpixels=48, levels=3),
            "planar": PLANAR_ROOMS,
        },
    ),
)


def named(name: str) -> FrontierConfig:
    """Returns the configuration of that name.

    Raises:
        ValueError: if there is none.
    """
    for config in CONFIGS:
        if config.name == name:
            return config
    names = ", ".join(config.name for config in CONFIGS)
    raise ValueError(f"configuration {name!r}: one of {names} was expected")


def split_by_files(config: FrontierConfig, split: splits.FileSplit) -> FrontierConfig:
    """Returns the configuration with the user's own lists, under a name that changes with them.

    Raises:
        ValueError: if a space is in two lists, or a line is no scan id.
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
    """Returns the configuration with at most so many scans in each split, under its own name.

    Raises:
        ValueError: if it is not at least one.
    """
    if scans < 1:
        raise ValueError(f"{scans} scans in each split; at least 1 was expected")
    return dataclasses.replace(config, name=f"{config.name}_limit_{scans}", limit_scans=scans)
