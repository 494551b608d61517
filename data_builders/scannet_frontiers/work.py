"""Processes a scan: writes its examples to a file, which marks the scan as finished.

An interrupted build resumes from these files. A successful build removes them.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import pickle
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import cv2

from data_builders.scannet_frontiers import examples
from data_builders.scannet_frontiers.report import Report
from psp_jax.partition import frontier_classes
from psp_jax.recordings import image_faults, recording

_FORMAT = "3"  # Raise it whenever the content of the files changes.


@dataclasses.dataclass(frozen=True)
class Job:
    """The work on one scan, or on a part of a long one; picklable.

    Attributes:
        scan: the recording.
        recipe: selects the frames and describes their labels.
        quota: number of examples; None takes all.
        folder: folder of the files of finished scans.
        version: version of the data set.
        space: the space of the scan; empty takes it from the id.
        span: positions of the first frame and behind the last, at the stride of the recipe; None
            takes all.
    """

    scan: recording.Recording
    recipe: examples.Recipe
    quota: int | None
    folder: str
    version: str
    space: str = ""
    span: tuple[int, int] | None = None

    @functools.cached_property
    def path(self) -> pathlib.Path:
        """The file of the finished scan, named by a digest of the scan's files and the recipe.

        The digest is computed once and sent to other processes with the job: if the scan changes
        while it is read, the next build notices.
        """
        try:
            stamp = self.scan.stamp()
        except OSError as error:
            stamp = str(error)
        key = (_FORMAT, self.version, self.scan.id, stamp, self.recipe, self.quota)
        key += (self.space, self.span)
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return pathlib.Path(self.folder) / f"{self.scan.id}-{digest}.examples"

    def count(self) -> int:
        """Returns the number of frames that it reads at most."""
        frames = self.scan.count(self.recipe.frame_stride)
        if self.span is not None:
            frames = max(min(frames, self.span[1]) - self.span[0], 0)
        return frames if self.quota is None else min(frames, self.quota)

    def run(self) -> None:
        """Writes the file unless it exists. It ends with a report, even if the scan is damaged."""
        path, report = self.path, Report()
        if path.exists():
            return
        image_faults.POLICY.tolerant = self.recipe.tolerant  # Perhaps in another process.
        with _complete_file(path) as file:
            made = examples.examples_of(
                self.scan,
                report,
                recipe=self.recipe,
                space=self.space,
                quota=self.quota,
                span=self.span,
            )
            try:
                for key, example in made:
                    pickle.dump((key, compress(example)), file)
            except (cv2.error, MemoryError) as error:
                report.drop("damaged scan, rest left out", f"{self.scan.id}: {error}")
            pickle.dump(report, file)

    def give_up(self, why: str) -> None:
        """Writes the file of a scan that can't be processed, with the reason."""
        report = Report()
        report.drop("unreadable scan", f"{self.scan.id}: {why}")
        with _complete_file(self.path) as file:
            pickle.dump(report, file)

    def records(self) -> Iterator[tuple[str, dict]]:
        """Yields `(key, example)` of the finished scan, with compressed arrays."""
        yield from (item for item in self.items() if not isinstance(item, Report))

    def report(self) -> Report:
        """Returns the report of the finished scan."""
        return next(item for item in self.items() if isinstance(item, Report))

    def items(self) -> Iterator[tuple[str, dict] | Report]:
        """Yields the records and then the report of the finished scan, reading its file once."""
        with open(self.path, "rb") as file:
            while True:
                item = pickle.load(file)
                yield item
                if isinstance(item, Report):
                    return


@contextlib.contextmanager
def _complete_file(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file that is renamed to `path` once it is complete.

    It is written piece by piece, unlike with `io.files.write`: a scan may not fit the memory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two builds of the same data set must not write to the same file.
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def compress(example: dict) -> dict:
    """Compresses the arrays that records hold as zlib streams: those with a value per pixel."""
    return {
        name: zlib.compress(value.tobytes())
        if name in ("depth", "filled") or name.startswith(frontier_classes.FEATURE_PREFIX)
        else value
        for name, value in example.items()
    }
