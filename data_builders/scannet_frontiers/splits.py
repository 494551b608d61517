"""Which scan belongs to which split. A space never lies in two splits.

ScanNet's 1,513 scans show only 707 spaces: `sceneXXXX_YY` is visit YY to space XXXX. A random split
of scans would test on rooms seen in training, so everything here assigns whole spaces. Sequences of
7-Scenes are `SPACE_seq-NN`, such as `chess_seq-01`.
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
    """What assigns scans to splits."""

    def __call__(self, scans: Iterable[str]) -> dict[str, str]:
        """Maps the ids of the scans at hand to splits; ids left out belong to none."""
        ...


@dataclasses.dataclass(frozen=True)
class HashSplit:
    """Cumulates scans over the spaces in the order of their SHA-256 and cuts at the fractions.

    A space goes where the middle of its scans falls. Of three spaces or more, each split gets one.

    Attributes:
        fractions: shares of the scans in train, validation and test; they are normalised.
        listed: ids of all scans of the data set, so that a partial download is split as the whole
            one is; empty splits the scans at hand.
    """

    fractions: tuple[float, float, float] = (0.6, 0.25, 0.15)
    listed: tuple[str, ...] = ()

    def __call__(self, scans: Iterable[str]) -> dict[str, str]:
        """Maps scan ids to splits; scans that are not in `listed` belong to none."""
        scans = sorted(scans)
        scans_in = Counter(space_of(scan) for scan in self.listed or scans)
        order = sorted(scans_in, key=hash_of)
        share, total = sum(self.fractions), sum(scans_in.values())
        cuts = [self.fractions[0] / share, (self.fractions[0] + self.fractions[1]) / share]
        counts, cumulated = [0, 0], 0  # Spaces before either cut.
        for space in order:
            middle = (cumulated + scans_in[space] / 2) / total
            counts = [count + (middle < cut) for count, cut in zip(counts, cuts, strict=True)]
            cumulated += scans_in[space]
        if len(order) >= len(SPLITS):
            first = min(max(counts[0], 1), len(order) - 2)
            counts = [first, min(max(counts[1], first + 1), len(order) - 1)]
        split_of = {space: SPLITS[sum(i >= c for c in counts)] for i, space in enumerate(order)}
        return {scan: split_of[space_of(scan)] for scan in scans if space_of(scan) in split_of}


@dataclasses.dataclass(frozen=True)
class FileSplit:
    """Splits that are listed in files, one scan id to a line; `#` starts a comment.

    Attributes:
        train, validation, test: the files.
    """

    train: str
    validation: str
    test: str

    def __call__(self, scans: Iterable[str]) -> dict[str, str]:
        """Maps scan ids to splits; scans that are in no list belong to none.

        Raises:
            ValueError: if a line is no scan id, or a space is in two lists: in the lists, not only
                among `scans`, so that a partial download fails as the whole would.
        """
        listed = self.listed()
        return {scan: listed[scan] for scan in sorted(scans) if scan in listed}

    def listed(self) -> dict[str, str]:
        """Returns the split of every scan in the files.

        Raises:
            ValueError: as calling it does.
        """
        split_of: dict[str, str] = {}
        for split, path in zip(SPLITS, (self.train, self.validation, self.test), strict=True):
            for scan in _lines_of(path):
                if not is_scan_id(scan):
                    raise ValueError(f"{path}: {scan!r} is no scan id of the form {FORMS}")
                if split_of.setdefault(scan, split) != split:
                    raise ValueError(
                        f"space {space_of(scan)} is both in {split_of[scan]} and in {split} "
                        f"(scan {scan} is in both lists)"
                    )
        check_disjoint(split_of)
        return split_of


@dataclasses.dataclass(frozen=True)
class Sample:
    """So many images in each split, spread as evenly over its scans as whole numbers allow.

    How many a scan gives follows from the full list, and which ones from their keys alone, so that
    a partial download gives a part of the same images.

    Attributes:
        images: wanted in train, validation and test.
        split: assigns the listed scans to splits.
        listed: ids of all scans.
    """

    images: tuple[int, int, int]
    split: Splitter
    listed: tuple[str, ...]

    def quotas(self) -> dict[str, int]:
        """Returns how many images each listed scan gives; they sum up to `images`."""
        split_of, quota_of = self.split(self.listed), {}
        for split, images in zip(SPLITS, self.images, strict=True):
            members = sorted((s for s in split_of if split_of[s] == split), key=hash_of)
            share, rest = divmod(images, max(len(members), 1))
            quota_of |= {scan: share + (rank < rest) for rank, scan in enumerate(members)}
        return quota_of


def hash_of(text: str) -> str:
    """Returns the SHA-256 of a text: an order that looks random and never changes."""
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
