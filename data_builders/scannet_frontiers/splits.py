"""Assigns scans to splits; a space is never in two splits.

ScanNet's 1,513 scans show only 707 spaces: `sceneXXXX_YY` is visit YY to space XXXX. A random split
of scans would test on rooms seen in training, so whole spaces are assigned. Sequences of 7-Scenes
are `SPACE_seq-NN`, such as `chess_seq-01`. Any other recording is a space for itself.
"""

import codecs
import dataclasses
import hashlib
import importlib.resources
import os
import pathlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from psp_jax.recordings import scan_ids

SPLITS = ("train", "validation", "test")
FRACTIONS = (0.6, 0.25, 0.15)  # The thesis's, of 1,505 scans: 917, 390 and 198.
# Share of the frames of a recording that is left out between two splits: neighbours in time show
# nearly the same image.
GAP_FRACTION = 0.05


@dataclasses.dataclass(frozen=True)
class Spaces:
    """Tells the space of a scan from its id.

    Attributes:
        pattern: regular expression that is searched in the id; its first group, or else the whole
            match, is the space. Empty: `scene0000` of `scene0000_01`, `chess` of `chess_seq-01`,
            and the id itself otherwise.
    """

    pattern: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError if `pattern` is no regular expression."""
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(
                f"--space_regex={self.pattern}: expected a regular expression, {error}"
            ) from None

    def __call__(self, scan: str) -> str:
        """Returns the space; raises ValueError if `pattern` does not match the id."""
        if not self.pattern:
            return scan_ids.space_of(scan) if scan_ids.is_scan_id(scan) else scan
        match = re.search(self.pattern, scan)
        if not match:
            raise ValueError(f"--space_regex={self.pattern} does not match the recording {scan!r}")
        return match[1] if match.re.groups and match[1] else match[0]


class Splitter(Protocol):
    """Assigns scans to splits."""

    @property
    def space_of(self) -> Spaces:
        """Tells the space of a scan."""
        ...

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
        space_of: tells the space of a scan.
    """

    fractions: tuple[float, float, float] = FRACTIONS
    listed: tuple[str, ...] = ()
    space_of: Spaces = Spaces()

    def __call__(self, scans: Iterable[str]) -> dict[str, str]:
        """Returns the split by scan id; scans that are not in `listed` are left out."""
        scans, space_of = sorted(scans), self.space_of
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
        train, validation, test: paths of the files, in UTF-8 or UTF-16.
        space_of: tells the space of a scan.
    """

    train: str
    validation: str
    test: str
    space_of: Spaces = Spaces()

    def __call__(self, scans: Iterable[str]) -> dict[str, str]:
        """Returns the split by scan id; scans that are in no list are left out.

        Raises:
            ValueError: if a line is neither one of `scans` nor the id of a scan of ScanNet or
                7-Scenes, or a space is in two lists, even if `scans` lacks it: a partial download
                fails like the complete one.
        """
        scans = sorted(scans)
        listed = self.listed(scans)
        return {scan: listed[scan] for scan in scans if scan in listed}

    def listed(self, known: Iterable[str] = ()) -> dict[str, str]:
        """Returns the split of every scan in the files.

        Args:
            known: ids of any form that a line may have.

        Raises:
            ValueError: if a line is not a scan id, or a space is in two lists.
        """
        split_of: dict[str, str] = {}
        known = set(known)
        for split, path in zip(SPLITS, (self.train, self.validation, self.test), strict=True):
            for scan in _lines_of(path):
                if not scan_ids.is_scan_id(scan) and scan not in known:
                    raise ValueError(
                        f"{path}: expected a scan id {scan_ids.FORMS}, or that of a recording in "
                        f"the folder, got {scan!r}"
                    )
                if split_of.setdefault(scan, split) != split:
                    raise ValueError(
                        f"space {self.space_of(scan)} is both in {split_of[scan]} and in {split} "
                        f"(scan {scan} is in both lists)"
                    )
        check_disjoint(split_of, self.space_of)
        return split_of

    def lines(self) -> dict[str, list[str]]:
        """Returns the ids in each list, unchecked; raises OSError if one can't be read."""
        return {split: _lines_of(getattr(self, split)) for split in SPLITS}


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


@dataclasses.dataclass(frozen=True)
class Piece:
    """The part of a scan that belongs to one split.

    Attributes:
        scan: id of the scan.
        split: name of the split.
        frames: positions of the first frame and behind the last, among the frames of the scan that
            are used; None for all.
    """

    scan: str
    split: str
    frames: tuple[int, int] | None = None


def pieces_of(split: Splitter, frames: Mapping[str, int]) -> list[Piece]:
    """Assigns scans to splits, whole ones if there are three spaces or more.

    A `HashSplit` of fewer spaces, all of them given, divides scans by time instead. Of two spaces,
    the one with fewer frames, or the later by hash, is the test split, and the other is divided in
    train and validation. A single space is divided in all three, so that train and test share it.

    Args:
        split: assigns scans to splits.
        frames: number of frames by scan.

    Raises:
        ValueError: if a space is in two splits, or a scan has too few frames to be divided.
    """
    if isinstance(split, HashSplit) and not split.listed:
        spaces = {scan: split.space_of(scan) for scan in sorted(frames)}
        count = Counter({space: 0 for space in spaces.values()})
        for scan, space in spaces.items():
            count[space] += frames[scan]
        if len(count) < len(SPLITS):
            larger, *others = sorted(count, key=lambda space: (-count[space], hash_of(space)))
            shares = split.fractions[: len(SPLITS) - len(others)]
            pieces = [Piece(scan, "test") for scan, space in spaces.items() if space in others]
            for scan in (scan for scan, space in spaces.items() if space == larger):
                pieces += _by_time(scan, frames[scan], shares)
            return pieces
    split_of = split(frames)
    check_disjoint(split_of, split.space_of)
    return [Piece(scan, split_of[scan]) for scan in sorted(split_of)]


def _by_time(scan: str, frames: int, shares: tuple[float, ...]) -> list[Piece]:
    """Divides the frames of a scan in splits, in order, and leaves a gap between two of them."""
    gap = max(round(GAP_FRACTION * frames), 1)
    rest = frames - gap * (len(shares) - 1)
    if rest < len(shares):
        needed = 2 * len(shares) - 1
        raise ValueError(
            f"{scan} has {frames} frames: expected at least {needed} to divide it in "
            f"{', '.join(SPLITS[: len(shares)])} with a gap between them"
        )
    pieces, start = [], 0
    for index, split in enumerate(SPLITS[: len(shares)]):
        left = len(shares) - index - 1
        end = rest if not left else round(rest * sum(shares[: index + 1]) / sum(shares))
        end = min(max(end, start + 1), rest - left)
        pieces.append(Piece(scan, split, (start + index * gap, end + index * gap)))
        start = end
    return pieces


def check_disjoint(split_of: Mapping[str, str], space_of: Spaces = Spaces()) -> None:
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
    train, validation, test = (os.path.join(folder, name) for name in names)
    return FileSplit(train, validation, test)


def _lines_of(path: str) -> list[str]:
    lines = _text_of(path).splitlines()
    return [text for line in lines if (text := line.partition("#")[0].strip())]


def _text_of(path: str) -> str:
    """Reads UTF-8, or UTF-16 with a byte order mark, as editors of Windows write them."""
    content = pathlib.Path(path).read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a list of ids in UTF-8 or UTF-16") from None
