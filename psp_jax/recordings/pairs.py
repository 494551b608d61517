"""Any folder of colour and depth files: two sub-folders, or two patterns of names in one folder."""

import dataclasses
import fnmatch
import functools
import os
import pathlib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence

from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import (
    association,
    cameras,
    depth_images,
    depth_units,
    file_frames,
    images,
    listing,
    scan_ids,
)
from psp_jax.recordings.recognition import Recognised
from psp_jax.recordings.recording import Calibration, Damaged

COLOR_FOLDERS = ("rgb", "color", "colour", "image", "images")
DEPTH_FOLDERS = ("depth", "depths")
FOLDERS = (*COLOR_FOLDERS, *DEPTH_FOLDERS)
POSE_FOLDERS = ("pose", "poses")
INTRINSICS = (
    *("intrinsics_depth.txt", "intrinsic_depth.txt", "camera_intrinsic.json"),
    *("intrinsics.txt", "intrinsic.txt", "camera_matrix.csv", "intrinsics.json"),
)
# A folder of depth among several, and what recognises the recordings of it.
Part = tuple[pathlib.Path, Callable[[], Recognised | None]]
_SCAN = re.compile(r"scene\d{4}_\d{2}(?=_\d)", re.ASCII)  # scene0000_00_000000.png
_INDEX = re.compile(r"\d{1,9}", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Pairs(file_frames.FileRecording):
    """Colour and depth files that belong together by their names.

    Attributes:
        color_folder, depth_folder: where they are; equal, if words in the names distinguish them.
        color_glob: pattern of the names of colour images, or empty.
        depth_glob: that of depth images, or empty.
        scan: beginning of the names of one scan of ScanNet among several, or empty.
    """

    color_folder: pathlib.Path = pathlib.Path()
    depth_folder: pathlib.Path = pathlib.Path()
    color_glob: str = ""
    depth_glob: str = ""
    scan: str = ""

    def calibration(self) -> Calibration:
        """Reads the intrinsics of the depth camera, if a file beside the images holds them."""
        size = self.first_size("depth")
        folder = listing.read(self.path)
        path = folder.file(*INTRINSICS)
        if path is None and (nested := folder.folder("intrinsic", "intrinsics")):
            path = listing.read(nested).file(*INTRINSICS)
        if path is None:
            return Calibration(None, size)
        try:
            matrix = cameras.read_intrinsics(path)
        except Damaged as error:
            return Calibration(None, size, note=f"{self.id} has no intrinsics: {error}")
        # They may belong to the colour camera; the principal point tells.
        sizes = (size, self.first_size("color"))
        stated = min(sizes, key=lambda each: abs(each[1] / 2 - matrix[0, 2]))
        return Calibration(cameras.resized(matrix, stated, size), size)

    def units_per_m(self) -> float:
        """Returns 1000; `recognise` has chosen `depth_scale` already."""
        return MM_PER_M

    def by_index(self) -> dict[int, file_frames.Files]:
        """Lists the matched files; the index is their number, or their position."""
        pairs = association.match(*self.candidates())
        numbers = [self._number(depth) for _, depth in pairs]
        if None in numbers or len(set(numbers)) < len(numbers):
            numbers = list(range(len(pairs)))
        poses = self._poses()
        files = {
            number: {"color": color, "depth": depth}
            | ({"pose": poses[key]} if (key := association.key_of(depth)) in poses else {})
            for number, (color, depth) in zip(numbers, pairs, strict=True)
            if number is not None
        }
        return dict(sorted(files.items()))

    def correct(self) -> file_frames.Correct:
        """Returns `depth_images.without_largest`."""
        return depth_images.without_largest

    def candidates(self) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
        """Lists the colour and the depth files, matched or not."""
        colors = _files(self.color_folder, images.SUFFIXES, self.color_glob, self.scan)
        depths = _files(self.depth_folder, depth_images.SUFFIXES, self.depth_glob, self.scan)
        if self.color_folder == self.depth_folder and not (self.color_glob and self.depth_glob):
            return _told_apart(colors, depths)
        return colors, depths

    def _number(self, path: pathlib.Path) -> int | None:
        key = association.key_of(path)
        if self.scan:
            key = association.key_of(path.with_name(path.name[len(self.scan) :]))
        return int(key) if _INDEX.fullmatch(key) else None

    def _poses(self) -> dict[str, pathlib.Path]:
        """Lists files of 16 numbers by key; none if the first is of another kind."""
        folder = listing.read(self.path).folder(*POSE_FOLDERS)
        paths = listing.read(folder).having((".txt",)) if folder else []
        try:
            for path in paths[:1]:
                file_frames.read_matrix(path)
        except (Damaged, OSError):
            return {}
        return {association.key_of(path): path for path in paths}


def recognise(folder: listing.Listing, id: str, scale: float | None) -> Recognised | None:
    """Returns the recordings of a folder with colour and depth in two sub-folders, or together."""
    color, depth = folder.folder(*COLOR_FOLDERS), folder.folder(*DEPTH_FOLDERS)
    if color and depth:
        if found := _in_folders(id, folder.path, color, depth, scale):
            return found
        return _in_nested(color, depth, scale)
    if color or depth:
        return None
    return _in_folders(id, folder.path, folder.path, folder.path, scale)


def recognise_globs(
    root: pathlib.Path, id: str, color_glob: str, depth_glob: str, scale: float | None
) -> Recognised:
    """Returns the recordings of the files that match two patterns, relative to a folder.

    Each pair of folders whose paths differ only where the patterns do is one recording.

    Raises:
        Damaged: if a pattern matches nothing, or no colour belongs to any depth.
    """
    folders = []
    for glob in (color_glob, depth_glob):
        groups: dict[tuple[str, ...], pathlib.Path] = {}
        literal = {part for part in pathlib.PurePath(glob).parts[:-1]}
        for path in _globbed(root, glob):
            parts = path.parent.relative_to(root).parts
            groups.setdefault(tuple(p for p in parts if p not in literal), path.parent)
        if not groups:
            raise Damaged(f"nothing in it matches {glob!r}")
        folders.append(groups)
    colors, depths = folders
    shared = sorted(colors.keys() & depths.keys())
    if not shared:
        raise Damaged(f"no folder of {color_glob!r} belongs to one of {depth_glob!r}")
    names = [pathlib.PurePath(glob).name for glob in (color_glob, depth_glob)]
    several: list[Part] = []
    for key in shared:
        name = scan_ids.clean("_".join(key)) if key else id
        path = pathlib.Path(os.path.commonpath([colors[key], depths[key]]))
        empty = Pairs(name, path, scale, colors[key], depths[key], *names)
        several.append((depths[key], functools.partial(_checked, empty)))
    if not (joined := _joined(several)):
        raise Damaged(f"no file of {color_glob!r} belongs to one of {depth_glob!r} by its name")
    return joined


def _in_folders(
    id: str, path: pathlib.Path, color: pathlib.Path, depth: pathlib.Path, scale: float | None
) -> Recognised | None:
    """Makes one recording, or one for each scan of ScanNet that the names mention."""
    whole = Pairs(id, path, scale, color, depth)
    colors, depths = whole.candidates()
    if not colors or not depths:
        return None
    scans = [match[0] if (match := _SCAN.match(file.name)) else "" for file in depths]
    if all(scans):
        parts = [dataclasses.replace(whole, id=scan, scan=scan) for scan in sorted(set(scans))]
        return _joined([(depth / each.id, functools.partial(_checked, each)) for each in parts])
    part = _checked(whole)
    if part is None and color != depth:
        raise Damaged(
            f"no colour file belongs to a depth file by stem, time or number: "
            f"{colors[0].name} and {depths[0].name}"
        )
    return part


def _in_nested(color: pathlib.Path, depth: pathlib.Path, scale: float | None) -> Recognised | None:
    """Makes a recording of each pair of equally named folders in `rgb/` and `depth/`."""
    parts: list[Part] = []
    depths = listing.read(depth)
    for each in listing.read(color).folders:
        if partner := depths.folder(each.name.lower()):
            id = scan_ids.clean(each.name)
            make = functools.partial(_in_folders, id, partner, each, partner, scale)
            parts.append((partner, make))
    return _joined(parts)


def _checked(pairs: Pairs) -> Recognised | None:
    """Matches the files and chooses the units; notes what has no partner."""
    colors, depths = pairs.candidates()
    matched = pairs.by_index()
    if not matched:
        return None
    choices = ()
    if pairs.depth_scale is None:
        choice = depth_units.choose([files["depth"] for files in matched.values()])
        pairs, choices = dataclasses.replace(pairs, depth_scale=choice.units_per_m), (choice,)
    unpaired = len(colors) - len(matched), len(depths) - len(matched)
    if pairs.color_folder == pairs.depth_folder and not pairs.color_glob:
        unpaired = 0, 0  # `leftovers` names them.
    return Recognised((pairs,), choices, unpaired)


def _joined(parts: Sequence[Part]) -> Recognised | None:
    """Recognises several recordings, without those that can't be read.

    Raises:
        Damaged: if none can be read, for the reason of the first.
    """
    made, refused = [], {}
    for path, make in parts:
        try:
            part = make()
        except Damaged as error:
            refused[os.fspath(path)] = str(error)
        else:
            made += [part] if part else []
    if not made:
        for path, reason in refused.items():
            raise Damaged(f"{os.path.basename(path)}: {reason}")
        return None
    for part in made:
        refused |= part.refused
    unpaired = [sum(counts) for counts in zip(*(part.unpaired for part in made), strict=True)]
    return Recognised(
        [each for part in made for each in part.recordings],
        [choice for part in made for choice in part.choices],
        (unpaired[0], unpaired[1]),
        refused,
    )


def _files(
    folder: pathlib.Path, suffixes: tuple[str, ...], glob: str, scan: str
) -> list[pathlib.Path]:
    content = listing.read(folder)
    if glob:
        return [path for path in content.files if fnmatch.fnmatchcase(path.name, glob)]
    return [path for path in content.having(suffixes) if path.name.startswith(scan)]


def _told_apart(
    colors: list[pathlib.Path], depths: list[pathlib.Path]
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Separates the files of one folder: by a word such as depth, or JPEG beside PNG."""
    named = [path for path in depths if association.has_depth_word(path)]
    if named:
        keys = {association.key_of(path) for path in named}
        return [
            path
            for path in colors
            if not association.has_depth_word(path) and association.key_of(path) in keys
        ], named
    by_suffix = defaultdict(list)
    for path in colors:
        by_suffix[path.suffix.lower() in (".jpg", ".jpeg")].append(path)
    stems = {path.stem for path in by_suffix[True]}
    return by_suffix[True], [path for path in depths if path.stem in stems]


def _globbed(root: pathlib.Path, glob: str) -> list[pathlib.Path]:
    try:
        return sorted(path for path in root.glob(glob) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise Damaged(f"the pattern {glob!r} can't be used: {error}") from None
