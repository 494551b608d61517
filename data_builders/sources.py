"""Data sets as fields of a config: what is prepared before training, and how."""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Mapping

from data_builders.rooms import generate
from psp_jax.partition import superpixels

DATASET = "scannet_frontiers"


@dataclasses.dataclass
class ScanNet:
    """ScanNet, prepared beforehand by its builder.

    Attributes:
        data_dir: folder of the prepared data sets.
        config: builder configuration.
        version: version of the data set.
    """

    data_dir: str = "data"
    config: str = "thesis"
    version: str = "3.0.0"

    def segmentations(self) -> Mapping[str, superpixels.Superpixels]:
        """Returns what made the labels, by label set; none for a configuration of one's own."""
        from data_builders.scannet_frontiers import configurations

        known = {config.name: config.segmentations for config in configurations.CONFIGS}
        return known.get(self.config, {})

    def size(self) -> tuple[int, int] | None:
        """Returns the (height, width) of the images; None if only a missing data set says it."""
        from data_builders.scannet_frontiers import configurations

        for config in configurations.CONFIGS:
            if config.name == self.config:
                return config.size
        features = self._directory() / "features.json"
        if not features.exists():
            return None
        depth = json.loads(features.read_text())["featuresDict"]["features"]["depth"]
        height, width = depth["tensor"]["shape"]["dimensions"]
        return int(height), int(width)

    def check(self) -> None:
        """Raises FileNotFoundError, with what to do, unless the data set is there."""
        directory = self._directory()
        if not (directory / "dataset_info.json").exists():
            raise FileNotFoundError(
                f"data set {DATASET}/{self.config}/{self.version} is not in {self.data_dir}. "
                "Request ScanNet at http://www.scan-net.org (its terms of use are there), then run "
                f"python -m data_builders.{DATASET} --config={self.config} "
                f"--manual_dir=FOLDER_OF_scans --data_dir={self.data_dir}"
            )

    def prepare(self) -> str:
        """Returns the folder of the data set."""
        self.check()
        return os.fspath(self._directory())

    def _directory(self) -> pathlib.Path:
        return pathlib.Path(self.data_dir) / DATASET / self.config / self.version


@dataclasses.dataclass
class EmbeddedRooms:
    """Procedural rooms, drawn and prepared the first time they are needed.

    Attributes:
        data_dir: folder of the prepared data sets; the scans go to `rooms/` in it, or to a folder
            named by the fields that are not the defaults, such as `rooms_spaces_9/`: experiments
            on different rooms keep their own.
        rooms: what is drawn.
    """

    data_dir: str = "data"
    rooms: generate.Rooms = dataclasses.field(default_factory=generate.Rooms)

    def segmentations(self) -> Mapping[str, superpixels.Superpixels]:
        """Returns what made the labels, by label set."""
        from data_builders.scannet_frontiers import configurations

        return configurations.named("rooms").segmentations

    def size(self) -> tuple[int, int]:
        """Returns the (height, width) of the images."""
        return self.rooms.depth_height, self.rooms.depth_width

    def check(self) -> None:
        """Raises ValueError or OSError if the rooms can't be drawn or written."""
        generate.check(self.rooms)
        try:
            pathlib.Path(self.data_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"config.data.source.data_dir={self.data_dir} can't be written"
            raise OSError(f"{message}: {error.strerror}") from None
        if not os.access(self.data_dir, os.W_OK):
            raise OSError(f"config.data.source.data_dir={self.data_dir} can't be written")

    def prepare(self) -> str:
        """Draws the rooms and builds the data set unless both are there, returns its folder."""
        self.check()
        from data_builders.scannet_frontiers import configurations
        from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset

        scans = pathlib.Path(self.data_dir) / self._name()
        generate.generate(self.rooms, scans)
        size = (self.rooms.depth_height, self.rooms.depth_width)
        config = configurations.named("rooms")
        if config.name != self._name():
            config = dataclasses.replace(config, name=self._name(), size=size)
        builder = dataset.Builder(config=config, data_dir=self.data_dir)
        directory = pathlib.Path(builder.data_path)
        # The record of what was drawn goes with the data set, so that rooms drawn by another
        # version replace it.
        drawn, built_from = scans / "rooms.json", directory / "rooms.json"
        if not built_from.exists() or built_from.read_bytes() != drawn.read_bytes():
            shutil.rmtree(directory, ignore_errors=True)
            dataset.build(builder, manual_dir=os.fspath(scans))
            shutil.copyfile(drawn, built_from)
            print(dataset.describe(builder))
        return os.fspath(directory)

    def _name(self) -> str:
        fields = dataclasses.asdict(self.rooms).items()
        defaults = dataclasses.asdict(generate.Rooms())
        return "_".join(["rooms", *(f"{k}_{v}" for k, v in fields if v != defaults[k])])
