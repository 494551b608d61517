"""Counts the frames of a build that are kept and left out, and describes them."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from psp_jax.partition import frontier_classes

SHOWN_DETAILS = 20  # Lines printed for one split; all of them are in the metadata.


@dataclasses.dataclass
class Report:
    """Counts over scans.

    Attributes:
        frames_of: number of kept frames by scan.
        sizes: number of kept frames by the (height, width) of their depth image on disk.
        dropped: number of frames, or remainders of scans, that were left out, by reason.
        details: one line for each drop.
        notes: warnings about scans.
        missing: sum over the kept frames of the fraction of pixels without a reading.
        classes: `[16]` int64 by label set, pixels of each frontier class in the kept frames.
    """

    frames_of: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    sizes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    dropped: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    details: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    missing: float = 0.0
    classes: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Number of kept frames."""
        return sum(self.frames_of.values())

    def keep(
        self,
        scan: str,
        size: tuple[int, int],
        filled: np.ndarray,
        classes: Mapping[str, np.ndarray],
    ) -> None:
        """Counts a kept frame.

        Args:
            scan: id of its scan.
            size: (height, width) of its depth image on disk.
            filled: `[H, W]` bool, True where it had no reading.
            classes: `[H, W]` frontier classes by label set.
        """
        self.frames_of[scan] += 1
        self.sizes[size] += 1
        self.missing += float(filled.mean())
        for name, pixels in classes.items():
            self._count(name, np.bincount(pixels.ravel(), minlength=frontier_classes.CLASSES))

    def drop(self, reason: str, detail: str) -> None:
        """Counts a frame or scan that is left out; the same detail is kept once."""
        self.dropped[reason] += 1
        _append(self.details, f"{reason}: {detail}")

    def note(self, warning: str) -> None:
        """Keeps a warning about a scan, once."""
        _append(self.notes, warning)

    def add(self, other: "Report") -> None:
        """Adds the counts of other scans."""
        self.frames_of += other.frames_of
        self.sizes += other.sizes
        self.dropped += other.dropped
        for own, others in ((self.details, other.details), (self.notes, other.notes)):
            for line in others:
                _append(own, line)
        self.missing += other.missing
        for name, counts in other.classes.items():
            self._count(name, counts)

    def _count(self, name: str, counts: np.ndarray) -> None:
        self.classes[name] = self.classes.get(name, 0) + counts.astype(np.int64)

    def summary(self) -> dict:
        """Returns the report as values for JSON; shares are means over the kept frames."""
        shares = {name: counts / counts.sum() for name, counts in self.classes.items()}
        return {
            "scans": len(self.frames_of),
            "frames_kept": self.kept,
            "frames_of_scans": dict(sorted(self.frames_of.items())),
            "frames_of_sizes": {
                "x".join(map(str, size)): count for size, count in self.sizes.most_common()
            },
            "dropped": dict(self.dropped),
            "dropped_details": self.details,
            "notes": self.notes,
            "missing_depth_share": round(self.missing / max(self.kept, 1), 4),
            "class_shares": {
                name: [round(float(share), 6) for share in each] for name, each in shares.items()
            },
        }


def _append(lines: list[str], line: str) -> None:
    """Appends a line unless it is the last one: the frames of a scan repeat their reasons."""
    if not lines or lines[-1] != line:
        lines.append(line)


def lines_of(split: str, summary: dict) -> list[str]:
    """Returns the summary of one split as lines of text."""
    counts = sorted(summary["frames_of_scans"].values()) or [0]
    lines = [
        f"  {split:<10} {summary['frames_kept']:6d} frames of {summary['scans']} scans "
        f"({counts[0]} to {counts[-1]} each, median {counts[len(counts) // 2]}), "
        f"{summary['missing_depth_share']:.1%} of depth filled"
    ]
    if len(sizes := summary["frames_of_sizes"]) > 1:
        shown = ", ".join(f"{count} of {size}" for size, count in sizes.items())
        lines.append(f"    frames by the size of their depth image: {shown}")
    for name, shares in summary["class_shares"].items():
        shown = " ".join(f"{share:.2%}" for share in shares[1:])
        lines.append(
            f"    {name}: {shares[0]:.2%} interior, classes 1 to {frontier_classes.CLASSES - 1}: "
            f"{shown}"
        )
    lines += [f"    left out {count}: {why}" for why, count in sorted(summary["dropped"].items())]
    for title, details in (("left out", summary["dropped_details"]), ("note", summary["notes"])):
        lines += [f"      {title}, {detail}" for detail in details[:SHOWN_DETAILS]]
        if len(details) > SHOWN_DETAILS:
            rest = len(details) - SHOWN_DETAILS
            lines.append(f"      ... and {rest} more in metadata.json")
    return lines


def total_lines(summaries: Sequence[Mapping]) -> list[str]:
    """Returns a line on all splits, if frames were left out."""
    kept = sum(summary["frames_kept"] for summary in summaries)
    dropped: collections.Counter = collections.Counter()
    for summary in summaries:
        dropped.update(summary["dropped"])
    if not dropped:
        return []
    reasons = ", ".join(f"{count} {why}" for why, count in sorted(dropped.items()))
    return [f"  {kept} frames are used, {dropped.total()} are left out: {reasons}"]


def shared_lines(shared: Mapping[str, list[str]]) -> list[str]:
    """Warns of spaces that train shares with other splits, given by split."""
    return [
        f"  train and {split} share a room ({', '.join(spaces)}), divided by time: metrics of "
        f"{split} do not tell how well other rooms are predicted"
        for split, spaces in shared.items()
        if spaces
    ]
