"""Finds what the folder of a recording holds besides the recording."""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Iterable, Iterator, Sequence

from psp_jax.recordings import (
    depth_images,
    diagnosis,
    file_frames,
    images,
    listing,
    pairs,
    recording,
)

REASON = "in the folder of a recording that does not use it"
_IMAGES = {*images.SUFFIXES, *depth_images.SUFFIXES}
_SUFFIXES = {*_IMAGES, *diagnosis.VIDEO_SUFFIXES, ".sens"}


def of(folder: listing.Listing, scans: Sequence[recording.Recording]) -> Iterator[pathlib.Path]:
    """Yields the images, videos and folders of them that recordings do not use.

    Colour next to colour without depth, in a sub-folder, is left out: `Recognised.unpaired` counts
    it. So are links, and the sub-folders of layouts that define what is in them.
    """
    used = {scan.path for scan in scans}
    for scan in scans:
        if isinstance(scan, file_frames.FileRecording):
            used |= {path for files in scan.by_index().values() for path in files.values()}
    yield from (path for path in folder.having(tuple(_SUFFIXES)) if path not in used)
    if all(isinstance(scan, pairs.Pairs) for scan in scans):
        parents = {path.parent for path in used}
        yield from _unused_folders(
            folder, parents | {up for path in parents for up in path.parents}
        )


def without_results(folder: listing.Listing, results: Collection[pathlib.Path]) -> listing.Listing:
    """Leaves out the files of a folder that are results, and folders that hold nothing else."""
    made = {parent for path in results for parent in path.parents}

    def is_input(path: pathlib.Path) -> bool:
        return path not in made or any(
            each not in results for each in path.rglob("*") if not each.is_dir()
        )

    return dataclasses.replace(
        folder,
        files=tuple(path for path in folder.files if path not in results),
        folders=tuple(filter(is_input, folder.folders)),
    )


def unreadable(folder: listing.Listing) -> dict[str, str]:
    """Returns, by path, why archives in a folder, and broken links, are not read."""
    archives = {
        path: diagnosis.CONTAINERS[path.suffix.lower()]
        for path in folder.having(tuple(diagnosis.CONTAINERS))
    }
    links = (path for path in folder.broken if path.suffix.lower() in (*_SUFFIXES, ""))
    return {os.fspath(path): why for path, why in archives.items()} | {
        os.fspath(path): _reason_of(path) for path in links
    }


def _reason_of(link: pathlib.Path) -> str:
    if "/annex/objects/" in os.readlink(link):
        return "a broken link; run git annex get"
    return "a broken link"


def outside(files: Iterable[pathlib.Path], reported: Collection[str]) -> Iterator[pathlib.Path]:
    """Yields the images and videos among files that no recording holds.

    Args:
        files: the files.
        reported: paths of folders whose images were reported.
    """
    for path in files:
        suffix = path.suffix.lower()
        is_reported = suffix in _IMAGES and os.fspath(path.parent) in reported
        if suffix in _SUFFIXES and not is_reported:
            yield path


def _unused_folders(folder: listing.Listing, used: set[pathlib.Path]) -> Iterator[pathlib.Path]:
    for path in folder.folders:
        if path.is_symlink():
            continue
        try:
            inner = listing.read(path)
        except OSError:
            yield path
            continue
        if path in used:
            yield from _unused_folders(inner, used)
        elif inner.having(tuple(_SUFFIXES)) or inner.folders:
            yield path
