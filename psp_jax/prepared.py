"""Prepared data sets on disk, by name: `data/scannet_frontiers/NAME/VERSION`.

`python -m data_builders.scannet_frontiers --name=NAME` builds them.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from psp_jax.experiment import Experiment
from psp_jax.io import dataclass_json, files
from psp_jax.partition import superpixels

DATASET = "scannet_frontiers"


@dataclasses.dataclass
class Prepared:
    """A prepared data set of any recordings; a source of an experiment.

    Attributes:
        name: its name.
        data_dir: folder of the prepared data sets.
    """

    name: str = ""
    data_dir: str = "data"

    def segmentations(self) -> Mapping[str, superpixels.Superpixels]:
        """Returns the segmentation by label set; empty if the data set is missing."""
        labels = self._made_from().get("labels", {})
        try:
            return dataclass_json.from_plain(labels, packages=("psp_jax",))
        except (ValueError, AttributeError, ImportError, KeyError, TypeError):
            return {}  # It was built by a newer version.

    def size(self) -> tuple[int, int] | None:
        """Returns (height, width) in pixels; None if the data set is missing."""
        size = self._made_from().get("size")
        return None if size is None else (int(size[0]), int(size[1]))

    @property
    def color_scale(self) -> int:
        """Rows of an image per row of its labels; 1 if the data set is missing."""
        return self._made_from().get("color_scale", 1)

    def check(self) -> None:
        """Raises FileNotFoundError, with instructions, unless the data set exists."""
        self._directory()

    def prepare(self) -> str:
        """Returns the folder of the data set."""
        return os.fspath(self._directory())

    def _made_from(self) -> dict[str, Any]:
        """Returns what the builder stored of its source; empty if the data set is missing."""
        try:
            path = self._directory() / "metadata.json"
            return json.loads(path.read_text()).get("made_from", {})
        except (OSError, ValueError):
            return {}

    def _directory(self) -> pathlib.Path:
        """Returns the folder of the newest version."""
        sets = files.utf8_path(self.data_dir, "data_dir") / DATASET
        found = {path.parent.parent.name for path in sets.glob("*/*/dataset_info.json")}
        if self.name in found:
            versions = (path.parent for path in (sets / self.name).glob("*/dataset_info.json"))
            return max(versions, key=_number)
        there = f"there is {', '.join(sorted(found))}" if found else "there is none"
        raise FileNotFoundError(
            f"expected the name of a data set in {sets}, got {self.name!r}; {there}. Build one "
            f"with python -m data_builders.{DATASET} --manual_dir=FOLDER --name=NAME "
            f"--data_dir={self.data_dir}, and name it with --config.data.source.name=NAME"
        )


def fitted(config: Experiment) -> Experiment:
    """Fits an experiment to a prepared data set, and prints what it changes.

    A batch holds at most the images of the train split, and there are at most as many threads as
    cores. Experiments on other sources are returned as they are.

    Raises:
        FileNotFoundError: if the data set does not exist.
    """
    source = config.data.source
    if not isinstance(source, Prepared):
        return config
    info = json.loads((pathlib.Path(source.prepare()) / "dataset_info.json").read_text())
    (train,) = (split for split in info["splits"] if split["name"] == "train")
    images = max(round(config.data.train_fraction * sum(map(int, train["shardLengths"]))), 1)
    batch_size = min(config.data.batch_size, images)
    threads = min(config.data.threads, os.cpu_count() or 1)
    if batch_size < config.data.batch_size:
        print(f"batches of {batch_size} images, since the train split has no more")
    data = dataclasses.replace(config.data, batch_size=batch_size, threads=threads)
    return dataclasses.replace(config, data=data)


def _number(version: pathlib.Path) -> tuple[int, ...]:
    return tuple(int(part) for part in version.name.split(".") if part.isdecimal())
