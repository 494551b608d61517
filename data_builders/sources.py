"""Data sets for experiments; see `psp_jax.experiment.Source`."""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Mapping

from data_builders.rooms import generate
from psp_jax.io import files
from psp_jax.partition import superpixels

DATASET = "scannet_frontiers"


@dataclasses.dataclass
class ScanNet:
    """ScanNet, built beforehand with `python -m data_builders.scannet_frontiers`.

    Attributes:
        data_dir: folder of the prepared data sets.
        config: builder configuration.
        version: version of the data set.
    """

    data_dir: str = "data"
    config: str = "thesis"
    version: str = "3.0.0"

    def segmentations(self) -> Mapping[str, superpixels.Superpixels]:
        """Returns the segmentation by label set; empty if the configuration is not known."""
        config = self._known_config()
        return config.segmentations if config else {}

    def size(self) -> tuple[int, int] | None:
        """Returns (height, width) in pixels; None if it is only stated in a missing data set."""
        config, features = self._known_config(), self._directory() / "features.json"
        if config:
            return config.size
        if not features.exists():
            return None
        depth = json.loads(features.read_text())["featuresDict"]["features"]["depth"]
        height, width = depth["tensor"]["shape"]["dimensions"]
        return int(height), int(width)

    def check(self) -> None:
        """Raises FileNotFoundError, with instructions, unless the data set exists."""
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

    def _known_config(self):
        from data_builders.scannet_frontiers import configurations

        return next((c for c in configurations.CONFIGS if c.name == self.config), None)

    def _directory(self) -> pathlib.Path:
        return files.local_path(self.data_dir) / DATASET / self.config / self.version


@dataclasses.dataclass
class EmbeddedRooms:
    """Procedural rooms, rendered and prepared when they are first used.

    Attributes:
        data_dir: folder of the prepared data sets. The scans go to its folder `rooms/`, or to one
            named after the fields that differ from the defaults, such as `rooms_spaces_9/`, so
            that experiments on different rooms do not overwrite each other's.
        rooms: the rooms.
    """

    data_dir: str = "data"
    rooms: generate.Rooms = dataclasses.field(default_factory=generate.Rooms)

    def segmentations(self) -> Mapping[str, superpixels.Superpixels]:
        """Returns the segmentation by label set."""
        from data_builders.scannet_frontiers import configurations

        return configurations.named("rooms").segmentations

    def size(self) -> tuple[int, int]:
        """Returns (height, width) in pixels."""
        return self.rooms.depth_height, self.rooms.depth_width

    def check(self) -> None:
        """Raises ValueError or OSError if the rooms can't be rendered or written."""
        generate.check(self.rooms)
        message = f"config.data.source.data_dir={self.data_dir} can't be written"
        try:
            files.local_path(self.data_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"{message}: {error.strerror}") from None
        if not os.access(files.local_path(self.data_dir), os.W_OK):
            raise OSError(message)

    def prepare(self) -> str:
        """Renders the rooms and builds the data set unless they exist; returns its folder."""
        self.check()
        from data_builders.scannet_frontiers import configurations
        from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset

        scans = files.local_path(self.data_dir) / self._name()
        generate.generate(self.rooms, scans)
        config = configurations.named("rooms")
        if config.name != self._name():
            config = dataclasses.replace(config, name=self._name(), size=self.size())
        builder = dataset.Builder(config=config, data_dir=files.local_path(self.data_dir))
        directory = pathlib.Path(builder.data_path)
        # The data set holds a copy of rooms.json, so that it is rebuilt for a new version of rooms.
        record, built_from = (scans / "rooms.json").read_bytes(), directory / "rooms.json"
        if not built_from.exists() or built_from.read_bytes() != record:
            shutil.rmtree(directory, ignore_errors=True)
            dataset.build(builder, manual_dir=os.fspath(scans))
            files.write(built_from, record)
            print(dataset.describe(builder))
        return os.fspath(directory)

    def _name(self) -> str:
        fields = dataclasses.asdict(self.rooms).items()
        defaults = dataclasses.asdict(generate.Rooms())
        return "_".join(["rooms", *(f"{k}_{v}" for k, v in fields if v != defaults[k])])
