"""Data sets for experiments; see `psp_jax.experiment.Source`."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping

from data_builders.rooms import generate, render
from psp_jax.io import files, ranges
from psp_jax.partition import planar, superpixels

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
        config = self._known_config()
        return config.size if config else self._stated_size("depth")

    @property
    def color_scale(self) -> int:
        """Rows of an image per row of its labels."""
        config = self._known_config()
        if config:
            return config.color_scale
        labels, image = self._stated_size("depth"), self._stated_size("image")
        return image[0] // labels[0] if labels and image else 1

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

    def _stated_size(self, feature: str) -> tuple[int, int] | None:
        """Reads (height, width) of a feature from the data set; None if it does not exist."""
        path = self._directory() / "features.json"
        if not path.exists():
            return None
        stated = json.loads(path.read_text(encoding="utf-8"))["featuresDict"]["features"][feature]
        height, width = stated["image" if feature == "image" else "tensor"]["shape"]["dimensions"][
            :2
        ]
        return int(height), int(width)

    def _known_config(self):
        from data_builders.scannet_frontiers import configurations

        return next((c for c in configurations.CONFIGS if c.name == self.config), None)

    def _directory(self) -> pathlib.Path:
        return files.utf8_path(self.data_dir, "data_dir") / DATASET / self.config / self.version


@dataclasses.dataclass
class EmbeddedRooms:
    """Procedural rooms, rendered and prepared when they are first used.

    Attributes:
        data_dir: folder of the prepared data sets. The scans go to its folder `rooms/`, or to one
            named after the fields that differ from the defaults, such as `rooms_spaces_9/`, so
            that experiments on different rooms do not overwrite each other's.
        rooms: the rooms.
        label_sets: which labels are made: `seeds`, `planar`, or `surfaces`, the regions of
            `Planar()`. With ideal depth, `configurations.PLANAR_IDEAL_ROOMS` makes `planar`.
        color_scale: images have `color_scale` times the height and width of depth, 1 or 2.
        fractions: fractions of the scans in train, validation and test; whole rooms.
    """

    data_dir: str = "data"
    rooms: generate.Rooms = dataclasses.field(default_factory=generate.Rooms)
    label_sets: tuple[str, ...] = ("seeds", "planar")
    color_scale: int = ranges.number(1, least=1, most=render.COLOR_SCALE)
    fractions: tuple[float, float, float] = ranges.number((0.6, 0.25, 0.15), above=0)

    def segmentations(self) -> Mapping[str, superpixels.Superpixels]:
        """Returns the segmentation by label set."""
        return self._config().segmentations

    def size(self) -> tuple[int, int]:
        """Returns (height, width) in pixels."""
        return self.rooms.depth_height, self.rooms.depth_width

    def check(self) -> None:
        """Raises ValueError or OSError if the rooms can't be rendered or written.

        A data set that exists is only read.
        """
        ranges.check(self, "config.data.source")
        if self._is_prepared():
            return
        message = f"config.data.source.data_dir={self.data_dir} can't be written"
        try:
            files.local_path(self.data_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"{message}: {error.strerror}") from None
        if not os.access(files.local_path(self.data_dir), os.W_OK):
            raise OSError(message)

    def prepare(self) -> str:
        """Renders the rooms and builds the data set unless it exists; returns its folder.

        If another process prepares the same rooms, this waits for it. Many frames are drawn and
        labelled by several processes. After an interruption, scans that are drawn or labelled are
        not repeated.
        """
        self.check()
        if not self._is_prepared():
            from data_builders.scannet_frontiers import folders

            scans = files.local_path(self.data_dir) / self._rooms_name()
            with folders.locked(scans):
                if not self._is_prepared():  # By the process that this one waited for.
                    self._prepare(scans)
        return os.fspath(self._directory())

    def _prepare(self, scans: pathlib.Path) -> None:
        from data_builders.scannet_frontiers import pool
        from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset

        generate.generate(self.rooms, scans)
        processes = generate.processes_for(self.rooms.frames)
        builder = dataset.Builder(
            config=self._config(),
            data_dir=files.local_path(self.data_dir),
            runner=pool.Processes(processes) if processes else pool.serially,
        )
        dataset.build(builder, manual_dir=os.fspath(scans), overwrite=True)
        # The data set holds a copy, so that it is rebuilt for a new version of the rooms.
        record = (scans / generate.RECORD).read_bytes()
        files.write(self._directory() / generate.RECORD, record)
        print(dataset.describe(builder))

    def _is_prepared(self) -> bool:
        return generate.is_record_of(self._directory() / generate.RECORD, self.rooms)

    def _directory(self) -> pathlib.Path:
        from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset

        version = str(dataset.Builder.VERSION)
        return files.utf8_path(self.data_dir, "data_dir") / DATASET / self._config().name / version

    def _config(self):
        """Returns the builder configuration; raises ValueError for a field out of range."""
        from data_builders.scannet_frontiers import configurations, splits

        config = configurations.named("rooms")
        known = {**config.segmentations, "surfaces": planar.Planar()}
        if self.rooms.ideal_depth:
            known["planar"] = configurations.PLANAR_IDEAL_ROOMS
        unknown = [name for name in self.label_sets if name not in known]
        if unknown or not self.label_sets:
            raise ValueError(f"label_sets: expected some of {tuple(known)}, got {self.label_sets}")
        fields = {
            "label_sets": tuple(self.label_sets),
            "color_scale": self.color_scale,
            "fractions": tuple(self.fractions),
        }
        train, validation, test = self.fractions
        fractions = float(train), float(validation), float(test)
        name = _named(self._rooms_name(), fields, EmbeddedRooms())
        if name == config.name:
            return config
        return dataclasses.replace(
            config,
            name=name,
            size=self.size(),
            segmentations={name: known[name] for name in self.label_sets},
            color_scale=self.color_scale,
            split=splits.HashSplit(fractions),
        )

    def _rooms_name(self) -> str:
        return _named("rooms", dataclasses.asdict(self.rooms), generate.Rooms())


def _named(name: str, fields: Mapping[str, object], defaults: object) -> str:
    """Appends the fields that differ from the defaults to a name."""
    for field, value in fields.items():
        if value != getattr(defaults, field):
            text = "_".join(map(str, value)) if isinstance(value, tuple) else str(value)
            name += f"_{field}" if value is True else f"_{field}_{text}"
    return name
