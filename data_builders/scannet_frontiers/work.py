"""One scan's share of a build: its examples, written to a file that marks the scan as finished.

A build that died is started again with the same command and finds these files. They are removed
when it has succeeded.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import pickle
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from data_builders.scannet_frontiers import examples
from data_builders.scannet_frontiers.report import Report
from psp_jax.partition import frontier_classes
from psp_jax.recordings import recording

_FORMAT = "2"  # Raise it whenever the files are written in another way.


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be done for one scan; picklable.

    Attributes:
        scan: the recording.
        recipe: how frames become examples.
        quota: examples wanted; None wants all.
        folder: where the files of finished scans go.
        version: version of the data set.
    """

    scan: recording.Scan
    recipe: examples.Recipe
    quota: int | None
    folder: str
    version: str

    @functools.cached_property
    def path(self) -> pathlib.Path:
        """The file, whose name changes with the scan's files and with the recipe.

        It is looked up once, and goes with the job to other processes: a scan that changes while
        it is read is found changed by the next build.
        """
        try:
            stamp = self.scan.stamp()
        except OSError as error:
            stamp = str(error)
        key = (_FORMAT, self.version, self.scan.id, stamp, self.recipe, self.quota)
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return pathlib.Path(self.folder) / f"{self.scan.id}-{digest}.examples"

    def run(self) -> None:
        """Writes the file unless it is there; whatever the scan holds, it ends with a report."""
        path, report = self.path, Report()
        if path.exists():
            return
        with _Partial(path) as file:
            kwargs = {"recipe": self.recipe, "quota": self.quota}
            try:
                for key, example in examples.examples_of(self.scan, report, **kwargs):
                    pickle.dump((key, compress(example)), file)
            except (cv2.error, MemoryError) as error:
                report.drop("damaged scan, rest left out", f"{self.scan.id}: {error}")
            pickle.dump(report, file)

    def give_up(self, why: str) -> None:
        """Writes the file of a scan that can't be worked on at all."""
        report = Report()
        report.drop("unreadable scan", f"{self.scan.id}: {why}")
        with _Partial(self.path) as file:
            pickle.dump(report, file)

    def records(self) -> Iterator[tuple[str, dict]]:
        """Yields the finished `(key, example)`, arrays compressed."""
        yield from (item for item in self._items() if not isinstance(item, Report))

    def report(self) -> Report:
        """Returns the report of the finished scan."""
        return next(item for item in self._items() if isinstance(item, Report))

    def _items(self) -> Iterator[tuple[str, dict] | Report]:
        with open(self.path, "rb") as file:
            while True:
                item = pickle.load(file)
                yield item
                if isinstance(item, Report):
                    return


class _Partial:
    """A file that appears under its name when it is whole."""

    def __init__(self, path: pathlib.Path):
        # Two builds of the same data set must not write into each other's file.
        self._path, self._partial = path, path.with_suffix(f".{os.getpid()}.partial")

    def __enter__(self):
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._partial, "wb")
        return self._file

    def __exit__(self, kind, *unused) -> None:
        self._file.close()
        if kind is None:
            os.replace(self._partial, self._path)
        else:
            self._partial.unlink()


def compress(example: dict) -> dict:
    """Turns the large arrays of an example into zlib streams, as they are stored."""
    return {
        name: zlib.compress(_bytes_of(value)) if is_compressed(name) else value
        for name, value in example.items()
    }


def is_compressed(name: str) -> bool:
    """Tells whether records hold a feature as a zlib stream: the arrays of a value a pixel."""
    return name in ("depth", "filled") or name.startswith(frontier_classes.FEATURE_PREFIX)


def _bytes_of(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()
