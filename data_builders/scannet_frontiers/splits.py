"""Assigns scans to splits; a space is never in two splits.

ScanNet's 1,513 scans show only 707 spaces: `sceneXXXX_YY` is visit YY to space XXXX. A random split
of scans would test on rooms seen in training, so whole spaces are assigned. Sequences of 7-Scenes
are `SPACE_seq-NN`, such as `chess_seq-01`.
"""

import dataclasses
import hashlib
import importlib.resources
import os
import pathlib
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from psp_jax.recordings.scan_ids import FORMS, is_scan_id, space_of

SPLITS = ("train", "validation", "test")


class Splitter(Protocol):
    """Assigns scans to splits."""

    def __call__(self, scans: Iterable[str]) -> dict[str, str]:
        """Returns the split by scan id; scans of no split are left out."""
        ...


@dataclasses.dataclass(frozen=True)
class HashSplit:
    """Sorts spaces by their SHA-256, and divides their cumulated scans at the given fractions.

    A space belongs to the split that contains the middle of its scans. With three spaces or more,
    every split gets at least one.

    Attributes:
        fractions: fractions of the scans in train, validation and test; they are normalised.
        listed: ids of all scans of the data set, so that a partial download gets the same split
            as the complete one; if empty, only the given scans count.
    """

    fractions: tuple[float, float, float] = (0.6, 0.25, 0.15)
    listed: tuple[str, ...] = ()

    def __call__(self, scans: Iterable[str]) -> dict[str, str]:
        """Returns the split by scan id; scans that are not in `listed` are left out."""
        scans = sorted(scans)
        scans_in = Counter(space_of(scan) for scan in self.listed or scans)
        order = sorted(scans_in, key=hash_of)
        train, validation, _ = self.fractions
        whole, total = sum(self.fractions), sum(scans_in.values())
        limits = [train / whole, (train + validation) / whole]
        counts, cumulated = [0, 0], 0  # Spaces before either limit.
        for space in order:
            middle = (cumulated + scans_in[space] / 2) / total
            counts = [count + (middle < limit) for count, limit in zip(counts, limits, strict=True)]
            cumulated += scans_in[space]
        if len(order) >= len(SPLITS):
            first = min(max(counts[0], 1), len(order) - 2)
            counts = [first, min(max(counts[1], first + 1), len(order) - 1)]
        split_of = {space: SPLITS[sum(i >= c for c in counts)] for i, space in enumerate(order)}
        return {scan: split_of[space_of(scan)] for scan in scans if space_of(scan) in split_of}


@dataclasses.dataclass(frozen=True)
class FileSplit:
    """Reads the splits from files with one scan id per line; `#` starts a comment.

    Attributes:
        train, validation, test: paths of the files.
    """

    train: str
    validation: str
    test: str

    def __call__(self, scans: Iterable[str]) -> dict[str, str]:
        """Returns the split by scan id; scans that are in no list are left out.

        Raises:
            ValueError: if a line is not a scan id, or a space is in two lists, even if `scans`
                lacks it: a partial download fails like the complete one.
        """
        listed = self.listed()
        return {scan: listed[scan] for scan in sorted(scans) if scan in listed}

    def listed(self) -> dict[str, str]:
        """Returns the split of every scan in the files.

        Raises:
            ValueError: if a line is not a scan id, or a space is in two lists.
        """
        split_of: dict[str, str] = {}
        for split, path in zip(SPLITS, (self.train, self.validation, self.test), strict=True):
            for scan in _lines_of(path):
                if not is_scan_id(scan):
                    raise ValueError(f"{path}: expected a scan id {FORMS}, got {scan!r}")
                if split_of.setdefault(scan, split) != split:
                    raise ValueError(
                        f"space {space_of(scan)} is both in {split_of[scan]} and in {split} "
                        f"(scan {scan} is in both lists)"
                    )
        check_disjoint(split_of)
        return split_of


@dataclasses.dataclass(frozen=True)
class Sample:
    """Takes a fixed number of images per split, spread evenly over its scans.

    The number per scan follows from the complete list, and the choice from the keys alone, so
    that a partial download gets a subset of the same images.

    Attributes:
        images: number of images in train, validation and test.
        split: assigns the listed scans to splits.
        listed: ids of all scans.
    """

    images: tuple[int, int, int]
    split: Splitter
    listed: tuple[str, ...]

    def quotas(self) -> dict[str, int]:
        """Returns the number of images by scan; they sum up to `images`."""
        split_of, quota_of = self.split(self.listed), {}
        for split, images in zip(SPLITS, self.images, strict=True):
            members = sorted((s for s in split_of if split_of[s] == split), key=hash_of)
            share, rest = divmod(images, max(len(members), 1))
            quota_of |= {scan: share + (rank < rest) for rank, scan in enumerate(members)}
        return quota_of


def hash_of(text: str) -> str:
    """Returns the SHA-256 of a text, for an order that looks random and never changes."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_disjoint(split_of: dict[str, str]) -> None:
    """Raises ValueError if a space is in two splits, naming it."""
    seen: dict[str, str] = {}
    for scan, split in sorted(split_of.items()):
        space = space_of(scan)
        if seen.setdefault(space, split) != split:
            raise ValueError(
                f"space {space} is both in {seen[space]} and in {split} (scan {scan}); "
                "all scans of a space belong in one split"
            )


def scannet_scans() -> tuple[str, ...]:
    """Lists ScanNet's 1,513 labelled scans (v2 train and validation together)."""
    lists = official_lists()
    return tuple(sorted([*_lines_of(lists.train), *_lines_of(lists.validation)]))


def official_lists() -> FileSplit:
    """Returns ScanNet's own v2 lists: 1,201, 312 and 100 scans."""
    folder = str(importlib.resources.files("data_builders.scannet_frontiers") / "splits")
    names = ("scannetv2_train.txt", "scannetv2_val.txt", "scannetv2_test.txt")
    return FileSplit(*(os.path.join(folder, name) for name in names))


def _lines_of(path: str) -> list[str]:
    lines = pathlib.Path(path).read_text().splitlines()
    return [text for line in lines if (text := line.partition("#")[0].strip())]
