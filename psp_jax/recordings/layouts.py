"""Finds the recordings in a folder and recognises the layout of each by its files.

`LAYOUTS` are tried in their order in every folder, from the one that is named downwards, so that a
sequence, its parent and the root of the data set give the same recordings.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from psp_jax.io import own_files
from psp_jax.recordings import (
    arkit,
    depth_units,
    diagnosis,
    file_frames,
    leftovers,
    listing,
    nyu,
    pairs,
    posed_images,
    recognition,
    recording,
    scan_ids,
    sens,
    sensreader,
    seven_scenes,
    sun,
    tum,
)
from psp_jax.recordings.recognition import Recognised

# Recognises the recordings of one folder, given its content, an id made of its name, and units of
# depth per metre or None. Raises Damaged where it is this layout, but can't be read.
Recognise = Callable[[listing.Listing, str, float | None], Recognised | None]


@dataclasses.dataclass(frozen=True)
class Layout:
    """A layout.

    Attributes:
        recognise: recognises the recordings of one folder.
        units: units of its depth, for the user.
    """

    recognise: Recognise
    units: str


_MM = "depth in millimetres"
# The first that recognises a folder is used: closest to the sensor first, most general last.
LAYOUTS: Mapping[str, Layout] = {
    "sens": Layout(sens.recognise, "depth in units of their headers"),
    "sensreader_flat": Layout(sensreader.recognise_flat, "depth in units of _info.txt"),
    "7scenes": Layout(seven_scenes.recognise, _MM),
    "sensreader": Layout(sensreader.recognise_folders, _MM),
    "tum": Layout(tum.recognise, "depth at 5000 units per metre"),
    "nyu": Layout(nyu.recognise, "depth in metres"),
    "sunrgbd": Layout(sun.recognise, _MM),
    "posed_images": Layout(posed_images.recognise, _MM),
    "arkitscenes": Layout(arkit.recognise, _MM),
    "pairs": Layout(pairs.recognise, "units of depth chosen by a test"),
}
AUTO = "auto"
_RESULTS = "the output folder, or one of an earlier command; name it to read it"
_EXPECTED = (
    "expected the layouts {} of docs/data.md; name other files with --color_glob='*/rgb/*.png' "
    "--depth_glob='*/depth/*.png'; of ScanNet, download the .sens files (--type .sens)"
)
# Names of folders that say nothing about the recording in them, alone or at all.
_NUMBERED = re.compile(r"(seq(uence)?[-_]?)?\d{1,5}", re.IGNORECASE)
_GENERIC = {"frames", "keyframes", "rgbd", "export", "exported", "capture"}


@dataclasses.dataclass(frozen=True)
class Survey:
    """The contents of a folder.

    Attributes:
        recordings: the recordings that can be read, in the order of their ids.
        refused: by path, why a folder or file that looks like a recording is not read.
        notes: lines for the user: layouts with the units of their depth, files without a pair.
        loose: files in the folders that are no recording.
    """

    recordings: tuple[recording.Recording, ...]
    refused: dict[str, str]
    notes: tuple[str, ...] = ()
    loose: tuple[pathlib.Path, ...] = ()

    def unused(self) -> dict[str, str]:
        """Returns, by path, why a folder, image or video is not read."""
        outside = map(os.fspath, leftovers.outside(self.loose, self.refused))
        return self.refused | dict.fromkeys(outside, "no part of a recording")


def survey(
    root: str | os.PathLike,
    *,
    layout: str = AUTO,
    color_glob: str | None = None,
    depth_glob: str | None = None,
    depth_scale: float | None = None,
    results: Collection[pathlib.Path] = (),
    may_be_empty: bool = False,
) -> Survey:
    """Finds every recording in a folder; it may also be the folder of a single recording.

    Args:
        root: the folder.
        layout: one of `LAYOUTS`, or `AUTO` for the first that recognises each folder.
        color_glob: pattern of the colour images relative to `root`; files that match it and
            `depth_glob` belong together by their names. Both patterns or none; they imply the
            layout pairs.
        depth_glob: pattern of the depth images.
        depth_scale: units of depth per metre, instead of those of the layouts.
        results: resolved paths of the output folder and its files, which are not read, like other
            folders of results; `root` itself may be one.
        may_be_empty: whether a folder without recordings has a survey, too.

    Raises:
        FileNotFoundError: if there is none, with its content and the expected layouts.
        ValueError: if an option is wrong.
    """
    root = pathlib.Path(root).resolve()  # A relative path may lack the names of its last folders.
    if layout != AUTO and layout not in LAYOUTS:
        raise ValueError(f"--layout: expected {AUTO}, {', '.join(LAYOUTS)}, got {layout}")
    if bool(color_glob) != bool(depth_glob):
        raise ValueError("--color_glob and --depth_glob: expected both or none, got one")
    search = _Search({layout: LAYOUTS[layout]} if layout != AUTO else LAYOUTS, depth_scale)
    if color_glob and depth_glob:
        if layout not in (AUTO, "pairs"):
            raise ValueError(f"--color_glob: expected --layout=pairs, got {layout}")
        search.match(root, color_glob, depth_glob)
    else:
        search.walk(root, results)
    found = Survey(search.unique(), search.refused, search.notes(), tuple(search.loose))
    if not (found.recordings or may_be_empty):
        raise FileNotFoundError(nothing(root, found.refused))
    return found


def frame_of(
    path: pathlib.Path, depth_scale: float | None
) -> tuple[file_frames.FileFrame, tuple[str, ...]] | None:
    """Returns the frame whose depth is a file, if a folder around it is a recording, and notes."""
    path = path.resolve()
    # The folder of depth images is in the folder of the recording, or is it.
    for folder in path.parents[: 2 if "depth" in path.parent.name.lower() else 1]:
        search = _Search(LAYOUTS, depth_scale)
        with contextlib.suppress(recording.Damaged, OSError):
            search.add_folder(listing.read(folder))
        for scan in search.unique():
            if isinstance(scan, file_frames.FileRecording):
                for frame in scan.frames(1):
                    if frame.files.get("depth") == path:
                        return frame, search.notes()
    return None


def nothing(root: str | os.PathLike, refused: Mapping[str, str]) -> str:
    """Names what a folder without recordings holds instead, and what to do."""
    root = os.fspath(pathlib.Path(root).resolve())
    seen = more = ""
    for path, reason in refused.items():
        seen = f": {reason}" if path == root else f": {path}: {reason}"
        more = f" (and {len(refused) - 1} others)" if len(refused) > 1 else ""
        break
    return f"no recordings in {root}{seen}{more}; {_EXPECTED.format(', '.join(LAYOUTS))}"


class _Search:
    """Collects the recordings below a folder."""

    def __init__(self, layouts: Mapping[str, Layout], depth_scale: float | None):
        self.layouts = layouts
        self.depth_scale = depth_scale
        self.found: dict[str, list[recording.Recording]] = {name: [] for name in layouts}
        self.refused: dict[str, str] = {}
        self.choices: list[depth_units.Choice] = []
        self.unpaired = [0, 0]
        self.loose: list[pathlib.Path] = []

    def match(self, root: pathlib.Path, color_glob: str, depth_glob: str) -> None:
        """Adds the files that match two patterns."""
        try:
            recognised = pairs.recognise_globs(
                root, id_of(root), color_glob, depth_glob, self.depth_scale
            )
        except (recording.Damaged, OSError) as error:
            self.refused[os.fspath(root)] = str(error)
        else:
            self._add("pairs", recognised)

    def walk(self, root: pathlib.Path, results: Collection[pathlib.Path] = ()) -> None:
        """Adds the recordings of a folder and of those below it, except for results."""
        walk = listing.Walk(root)
        reported: set[pathlib.Path] = set()  # With the folder above them.
        for folder in walk:
            is_result = folder.path in results or own_files.is_listed(folder.path)
            if folder.path != root and is_result:
                self.refused[os.fspath(folder.path)] = _RESULTS
                continue
            if root in results:
                folder = leftovers.without_results(folder, results)
            self.refused |= leftovers.unreadable(folder)
            try:
                is_whole = self.add_folder(folder)
                reason = "" if is_whole else diagnosis.content_of(folder)
                if is_whole:
                    unused = map(os.fspath, leftovers.of(folder, self._within(folder)))
                    self.refused = dict.fromkeys(unused, leftovers.REASON) | self.refused
            except (recording.Damaged, OSError) as error:
                is_whole, reason = False, str(error)
            if not is_whole:
                recorded = {scan.path for part in self.found.values() for scan in part}
                self.loose += [path for path in folder.files if path not in recorded]
                if reason and folder.path not in reported:
                    self.refused[os.fspath(folder.path)] = reason
                    reported.update(path for path in folder.folders if diagnosis.holds_images(path))
                walk.enter(folder.folders)
        self.refused |= walk.skipped
        if not self.refused and not any(self.found.values()):
            self.refused[os.fspath(root)] = "no images in it or below"

    def unique(self) -> tuple[recording.Recording, ...]:
        """Returns the recordings in the order of their ids.

        A scan of ScanNet or 7-Scenes in two places is read once, from the first layout. Others that
        share an id get the names of folders above them that differ.
        """
        chosen: dict[str, recording.Recording] = {}
        others: list[recording.Recording] = []
        for scan in (each for part in self.found.values() for each in part):
            if not scan_ids.is_scan_id(scan.id):
                others.append(scan)
            elif (first := chosen.setdefault(scan.id, scan)) is not scan:
                self.refused[os.fspath(scan.path)] = f"{scan.id} is read from {first.path}"
        return tuple(sorted([*chosen.values(), *_renamed(others)], key=lambda scan: scan.id))

    def notes(self) -> tuple[str, ...]:
        """Describes the layouts that were found."""
        units = f"depth at {self.depth_scale:g} units per metre" if self.depth_scale else ""
        return (
            *(
                f"layout {name}: {len(scans)} {_plural('recording', len(scans))}, "
                f"{units or self.layouts[name].units}"
                for name, every in self.found.items()
                if (scans := [each for each in every if os.fspath(each.path) not in self.refused])
            ),
            *depth_units.lines_of(self.choices),
            *(
                f"{count} {kind} {_plural('file', count)} without a partner not used"
                for kind, count in zip(("colour", "depth"), self.unpaired, strict=True)
                if count
            ),
        )

    def add_folder(self, folder: listing.Listing) -> bool:
        """Adds the recordings of a folder.

        Returns whether the whole folder is a recording, so that nothing else is in it.
        """
        id = id_of(folder.path)
        damage: recording.Damaged | None = None
        for name, layout in self.layouts.items():
            try:
                recognised = layout.recognise(folder, id, self.depth_scale)
                if recognised and (left := recognition.MEASURED - len(self.found[name])) > 0:
                    recognised = recognition.measured(recognised, left, self.depth_scale)
            except recording.Damaged as error:
                damage = damage or error  # It may still be another layout.
                continue
            if recognised:
                self._add(name, recognised)
                # Files, such as `.sens`, share the folder with others, but for a scan's own.
                own = folder.path.name
                return any(
                    scan.path not in folder.files or scan.path.stem == own
                    for scan in recognised.recordings
                )
        if damage:
            raise damage
        return False

    def _within(self, folder: listing.Listing) -> list[recording.Recording]:
        every = (scan for scans in self.found.values() for scan in scans)
        return [scan for scan in every if folder.path in (scan.path, *scan.path.parents)]

    def _add(self, layout: str, recognised: Recognised) -> None:
        self.found[layout] += recognised.recordings
        self.refused |= recognised.refused
        self.choices += recognised.choices
        self.unpaired = [a + b for a, b in zip(self.unpaired, recognised.unpaired, strict=True)]


def id_of(folder: pathlib.Path) -> str:
    """Makes an id of the name of a folder, with that of its parent where it is only a number.

    ScanNet's folders have the ids of their scans; `chess/seq-01` of 7-Scenes becomes
    `chess_seq-01`, and `office/frames` becomes `office`.
    """
    parent = folder.parent
    if folder.name.lower() in _GENERIC and parent.name:
        return id_of(parent)
    if _NUMBERED.fullmatch(folder.name) and parent.name:
        return scan_ids.clean(f"{scan_ids.clean(parent.name)}_{folder.name}")
    return scan_ids.clean(folder.name)


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _renamed(recordings: list[recording.Recording]) -> list[recording.Recording]:
    """Makes ids unique by the names of the folders above that differ, or by numbers."""
    result: list[Any] = list(recordings)
    above = [
        [folder.name for folder in scan.path.parents if folder.name.lower() not in pairs.FOLDERS]
        for scan in recordings
    ]
    for level in range(listing.MAX_LEVELS):
        groups: dict[str, list[int]] = {}
        for position, scan in enumerate(result):
            groups.setdefault(scan.id, []).append(position)
        for positions in groups.values():
            names = [above[each][level] for each in positions if level < len(above[each])]
            if len(set(names)) > 1 and len(names) == len(positions):
                for position, name in zip(positions, names, strict=True):
                    id = scan_ids.clean(f"{name}_{result[position].id}")
                    result[position] = dataclasses.replace(result[position], id=id)
    taken: set[str] = set()
    for position, scan in enumerate(result):
        number, id = 1, scan.id
        while id in taken:
            number += 1
            id = f"{scan.id[:90]}_{number}"
        taken.add(id)
        if number > 1:
            result[position] = dataclasses.replace(scan, id=id)
    return result
