"""TFDS builder of `scannet_frontiers`. Neither building nor reading imports TensorFlow."""

import dataclasses
import functools
import os
import sys
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from data_builders.scannet_frontiers import examples, layout, sens, splits
from psp_jax.partition import superpixels

HOMEPAGE = "http://www.scan-net.org"


@dataclasses.dataclass(kw_only=True)
class FrontierConfig(tfds.core.BuilderConfig):
    """One way to prepare the data.

    Attributes:
        frame_stride: frames of a scan from one example to the next.
        size: (height, width) of the depth images in pixels; colour is resized to it.
        cut: makes regions of the filled depth.
        split: assigns scans to splits.
    """

    frame_stride: int = 30  # One frame a second: ScanNet records 30.
    size: tuple[int, int] = (480, 640)
    cut: superpixels.Superpixels = superpixels.Seeds()
    split: splits.Splitter = splits.HashSplit()


class Builder(tfds.core.GeneratorBasedBuilder):
    """RGB, filled depth and frontier classes of ScanNet, or of scans in its format."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    Request ScanNet at {HOMEPAGE} (terms of use apply: non-commercial research and education),
    download the .sens files with the script they send you, and pass the folder that holds
    scans/sceneXXXX_YY/sceneXXXX_YY.sens as --manual_dir.
    """
    BUILDER_CONFIGS = [
        FrontierConfig(
            name="thesis",
            description="ScanNet, one frame a second, SEEDS, 60/25/15 by space.",
            # The thesis counts 917, 390 and 198 scans.
            split=splits.HashSplit((917, 390, 198), splits.scannet_scans()),
        ),
        FrontierConfig(
            name="rooms",
            description="The embedded procedural rooms at a quarter of ScanNet's size.",
            frame_stride=1,
            size=(120, 160),
            # Regions as large, in pixels, as 192 are at 640x480 would leave 12; frontiers grow
            # with the side, not with the area, so 48 keep a useful number of both.
            cut=superpixels.Seeds(superpixels=48, levels=3),
        ),
    ]

    def __init__(self, *, file_format: str | None = None, **kwargs):
        """Takes the arguments of every TFDS builder; the format defaults to array_record."""
        super().__init__(file_format=file_format or "array_record", **kwargs)

    @property
    def config(self) -> FrontierConfig:
        """The configuration that this builder was made with."""
        assert isinstance(self.builder_config, FrontierConfig)
        return self.builder_config

    def _info(self) -> tfds.core.DatasetInfo:
        height, width = self.config.size
        tensor = functools.partial(tfds.features.Tensor, shape=(height, width), encoding="zlib")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(height, width, 3), encoding_format="jpeg"),
                    "depth": tensor(dtype=np.uint16, doc="Millimetres, holes filled."),
                    "filled": tensor(dtype=np.bool_, doc="True where depth had no reading."),
                    "frontier": tensor(dtype=np.uint8, doc="Class 0 to 15."),
                    "scene_id": tfds.features.Text(),
                    "space_id": tfds.features.Text(),
                    "frame_index": tfds.features.Scalar(np.int32),
                    "intrinsics": tfds.features.Tensor(shape=(3, 3), dtype=np.float32),
                    "pose": tfds.features.Tensor(
                        shape=(4, 4), dtype=np.float32, doc="Camera to world, metres."
                    ),
                }
            ),
            supervised_keys=("image", "depth"),
            homepage=HOMEPAGE,
            metadata=tfds.core.MetadataDict(),
        )

    @property
    def _metadata(self) -> dict:
        metadata = self.info.metadata
        assert isinstance(metadata, dict)
        return metadata

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        scans = layout.find_scans(os.fspath(dl_manager.manual_dir))
        split_of = self.config.split([scan.id for scan in scans])
        splits.check_disjoint(split_of)
        unlisted = [scan.id for scan in scans if scan.id not in split_of]
        self._metadata["scans_in_no_split"] = unlisted
        chosen = {name: [s for s in scans if split_of.get(s.id) == name] for name in splits.SPLITS}
        empty = [name for name, members in chosen.items() if not members]
        if empty:
            raise ValueError(
                f"no scans for {' and '.join(empty)}: {len(scans)} scans were found, "
                f"{len(unlisted)} of them in no split; more spaces are needed"
            )
        return {name: self._generate_examples(name, members) for name, members in chosen.items()}

    def _generate_examples(
        self, split: str, scans: list[layout.Scan]
    ) -> Iterator[tuple[str, dict]]:
        config, report = self.config, examples.Report()
        total = sum(_frames_to_read(scan, config.frame_stride) for scan in scans)
        interval_s = 0.1 if sys.stderr.isatty() else 10
        with tqdm.tqdm(total=total, desc=split, unit="frame", mininterval=interval_s) as bar:
            for scan in scans:
                yield from examples.examples_of(
                    scan,
                    report,
                    frame_stride=config.frame_stride,
                    size=config.size,
                    cut=config.cut,
                    on_frame=bar.update,
                )
        self._metadata[f"report_{split}"] = report.summary()


def config_named(name: str) -> FrontierConfig:
    """Returns the configuration of that name.

    Raises:
        ValueError: if there is none.
    """
    for config in Builder.BUILDER_CONFIGS:
        if config.name == name:
            return config
    names = ", ".join(config.name for config in Builder.BUILDER_CONFIGS)
    raise ValueError(f"configuration {name!r}: one of {names} was expected")


def build(builder: Builder, *, manual_dir: str) -> None:
    """Builds the data set of a builder unless it is there already.

    Args:
        builder: made with the configuration and the `data_dir` wanted.
        manual_dir: folder that holds `scans/`.

    Raises:
        FileNotFoundError: if there are no scans in `manual_dir`.
    """
    layout.find_scans(manual_dir)
    # TFDS draws bars without an end for the same work.
    tfds.disable_progress_bar()
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )


def describe(builder: Builder) -> str:
    """Returns the report of a finished build as text."""
    metadata = builder.info.metadata
    assert isinstance(metadata, dict)
    lines = [f"{builder.info.full_name} in {builder.data_path}"]
    for split in splits.SPLITS:
        report = metadata[f"report_{split}"]
        lines.append(
            f"  {split:<10} {report['frames_kept']:6d} frames of {report['scans']} scans, "
            f"{report['missing_depth_share']:.1%} of depth filled, "
            f"{report['interior_share']:.1%} interior pixels"
        )
        lines += [f"    left out, {detail}" for detail in report["dropped_details"]]
    unlisted = metadata["scans_in_no_split"]
    if unlisted:
        shown = ", ".join(unlisted[:5]) + (" ..." if len(unlisted) > 5 else "")
        lines.append(f"  {len(unlisted)} scans are in no split: {shown}")
    return "\n".join(lines)


def _frames_to_read(scan: layout.Scan, stride: int) -> int:
    try:
        with sens.Reader(scan.path) as reader:
            return -(-reader.header.frames // stride)
    except (sens.SensError, OSError):
        return 0  # It is reported when its turn comes.
