"""Which scan belongs to which split. A space never lies in two splits.

ScanNet's 1,513 scans show only 707 spaces: `sceneXXXX_YY` is visit YY to space XXXX. A random split
of scans would test on rooms seen in training, so everything here assigns whole spaces.
"""

import dataclasses
import hashlib
import importlib.resources
import re
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

SPLITS = ("train", "validation", "test")
_SCAN_ID = re.compile(r"scene\d{4}_\d{2}")


class Splitter(Protocol):
    """What assigns scans to splits."""

    def __call__(self, scans: Iterable[str]) -> dict[str, str]:
        """Maps the ids of the scans at hand to splits; ids left out belong to none."""
        ...


def space_of(scan: str) -> str:
    """Returns the space `sceneXXXX` of the scan `sceneXXXX_YY`.

    Raises:
        ValueError: if the id has another form.
    """
    if not _SCAN_ID.fullmatch(scan):
        raise ValueError(f"scan id {scan!r}: the form sceneXXXX_YY was expected")
    return scan.partition("_")[0]


@dataclasses.dataclass(frozen=True)
class HashSplit:
    """Cumulates scans over the spaces in the order of their SHA-256 and cuts at the fractions.

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
        order = sorted(scans_in, key=lambda space: hashlib.sha256(space.encode()).hexdigest())
        total, cumulated, split_of = sum(scans_in.values()), 0, {}
        share = sum(self.fractions)
        cuts = [self.fractions[0] / share, (self.fractions[0] + self.fractions[1]) / share]
        for space in order:
            # The space goes where the middle of its scans falls.
            position = (cumulated + scans_in[space] / 2) / total
            split_of[space] = SPLITS[sum(position >= cut for cut in cuts)]
            cumulated += scans_in[space]
        return {scan: split_of[space_of(scan)] for scan in scans if space_of(scan) in split_of}


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
    folder = importlib.resources.files("data_builders.scannet_frontiers") / "splits"
    names = ("scannetv2_train.txt", "scannetv2_val.txt")
    return tuple(sorted(line for name in names for line in (folder / name).read_text().split()))
