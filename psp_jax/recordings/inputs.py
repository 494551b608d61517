"""Finds the inputs of a command line: recordings, images and videos, and what is not used.

Every command takes the same flags: `add_flags` defines them and `reading` reads them.
"""

import argparse
import dataclasses
import glob
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from psp_jax.io import command_line, files
from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import (
    depth_images,
    depth_units,
    diagnosis,
    file_frames,
    images,
    layouts,
    nyu,
    pairs,
    recognition,
    recording,
    sens,
)

_GRAY_16 = (b"\x10\x00", b"\x10\x04")  # Bits of a channel and kind of a PNG.
_NO_DEPTH = "no depth image: expected 16-bit gray PNG or PGM, TIFF, PFM, NPY or EXR"
_NO_COLOR = "a depth image"


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The inputs of a command.

    Attributes:
        recordings: recordings of any layout.
        depths: depth images outside recordings, by name; their colour may be known.
        colors: colour images outside recordings, by name.
        videos: videos, by name.
        unused: by path, why a file or folder that looks like an input is not used.
        notes: lines for the user, such as the units of depth.
    """

    recordings: tuple[recording.Recording, ...] = ()
    depths: Mapping[str, file_frames.FileFrame] = dataclasses.field(default_factory=dict)
    colors: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    videos: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    unused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how recordings are read."""
    group = parser.add_argument_group("recordings")
    group.add_argument(
        "--layout",
        choices=(layouts.AUTO, *layouts.LAYOUTS),
        default=layouts.AUTO,
        help="layout of the recordings in folders (default: the first that recognises a folder)",
    )
    group.add_argument(
        "--color_glob", help="pattern of colour files below a folder, such as '*/rgb/*.png'"
    )
    group.add_argument(
        "--depth_glob", help="pattern of the depth files that belong to them by their names"
    )
    group.add_argument(
        "--depth_scale",
        type=command_line.positive_float,
        metavar="UNITS_PER_METRE",
        help="units of depth per metre: 1000 for millimetres, 5000 for TUM, 1 for metres (default: "
        "those of the layout, or chosen by a test and printed)",
    )


def add_color_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flag that says how colour images are read, for `image_faults.POLICY`."""
    parser.add_argument(
        "--tolerant",
        action="store_true",
        help="read JPEGs that are truncated or lost blocks, gray where they are damaged",
    )


def reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the flags of `add_flags` as keyword arguments of `layouts.survey`."""
    names = ("layout", "color_glob", "depth_glob", "depth_scale")
    return {name: getattr(arguments, name) for name in names}


def find_depth(path: pathlib.Path, **reading: Any) -> Inputs:
    """Finds the depth in a file or folder.

    Args:
        path: a depth image, a `.sens`, a `.mat` or `.h5` of NYU Depth v2, or a folder in any
            layout.
        reading: keyword arguments of `layouts.survey`.

    Raises:
        ValueError: if the file is something else.
        FileNotFoundError: if there is none.
    """
    scale = reading.get("depth_scale")
    if path.is_dir():
        survey = layouts.survey(path, may_be_empty=True, **reading)
        depths = [file for file in survey.loose if is_depth(file)]
        useful = {os.fspath(above) for file in depths for above in file.parents[:2]}
        others = {above: why for above, why in survey.refused.items() if above not in useful}
        for file in sorted({*survey.loose} - {*depths}):
            if file.suffix.lower() in images.SUFFIXES:
                if os.fspath(file.parent) not in others:  # Its folder is reported.
                    others[os.fspath(file)] = _NO_DEPTH
            elif file.suffix.lower() in diagnosis.VIDEO_SUFFIXES:
                others[os.fspath(file)] = "a video, which has no depth"
        frames, unused, notes = _loose_depths(path.resolve(), depths, scale)
        if not survey.recordings and not frames:
            raise FileNotFoundError(layouts.nothing(path, unused | others))
        return Inputs(
            survey.recordings, frames, unused=unused | others, notes=(*survey.notes, *notes)
        )
    if not path.exists():
        raise FileNotFoundError(f"expected a depth image, a recording or a folder, got {path}")
    if scans := recordings_in(path, scale):
        return _measured(path, scans, scale)
    if path.suffix.lower() not in depth_images.SUFFIXES or not is_depth(path):
        raise ValueError(f"{path}: expected a depth image, .sens, .mat or .h5; {_NO_DEPTH}")
    if found := layouts.frame_of(path, scale):
        return Inputs(depths={path.stem: found[0]}, notes=found[1])
    frames, unused, notes = _loose_depths(path.parent, [path], scale)
    for reason in unused.values():
        raise ValueError(f"{path}: {reason}")
    return Inputs(depths=frames, notes=notes)


def find_color(folder: pathlib.Path, **reading: Any) -> Inputs:
    """Finds recordings, images and videos in a folder.

    If some images are in folders named color, colour or rgb, only those are taken.

    Raises:
        FileNotFoundError: if there is none.
    """
    survey = layouts.survey(folder, may_be_empty=True, **reading)
    root, unused = folder.resolve(), dict(survey.refused)
    pictures = [file for file in survey.loose if file.suffix.lower() in images.SUFFIXES]
    if any(_is_color_folder(file.parent) for file in pictures):
        others = [file for file in pictures if not _is_color_folder(file.parent)]
        unused |= dict.fromkeys(map(os.fspath, others), "images beside a folder of colour")
        pictures = [file for file in pictures if _is_color_folder(file.parent)]
    depths = {file for file in pictures if is_depth(file)}
    unused |= dict.fromkeys(map(os.fspath, sorted(depths)), _NO_COLOR)
    colors = _named(root, [file for file in pictures if file not in depths])
    videos = _named(root, [f for f in survey.loose if f.suffix.lower() in diagnosis.VIDEO_SUFFIXES])
    if not (survey.recordings or colors or videos):
        raise FileNotFoundError(f"{folder} holds no image, video or recording")
    for file in (*colors.values(), *videos.values()):  # The folder is of use after all.
        for above in file.parents[:2]:
            unused.pop(os.fspath(above), None)
    return Inputs(survey.recordings, {}, colors, videos, unused, survey.notes)


def recordings_in(path: pathlib.Path, scale: float | None) -> tuple[recording.Recording, ...]:
    """Returns the recordings of a `.sens`, or of a file of NYU Depth v2; none of other files.

    Raises:
        ValueError: if a `.mat` or `.h5` is something else.
    """
    if path.suffix.lower() == ".sens":
        return (sens.SensRecording(path, depth_scale=scale),)
    if path.suffix.lower() in (".mat", *nyu.SUFFIXES):
        scenes = nyu.scenes_of(path, scale)
        if not scenes:
            raise ValueError(
                f"{path}: expected images and depths, as in nyu_depth_v2_labeled.mat, or rgb and "
                "depth, as in the .h5 files of TFDS's nyu_depth_v2"
            )
        return scenes
    return ()


def path_of(frame: recording.Frame, scan: recording.Recording) -> pathlib.Path:
    """Returns the file that holds the colour of a frame, or else the path of its recording."""
    is_file = isinstance(frame, (file_frames.FileFrame, nyu.Frame))
    return frame.path if is_file else scan.path


def expanded(text: str) -> list[pathlib.Path]:
    """Returns the path, or the paths that match it as a pattern such as `photos/*.jpg`.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = files.local_path(text)
    if path.exists():
        return [path]
    if not glob.has_magic(str(path)):
        raise FileNotFoundError(f"{path} does not exist")
    names = sorted(glob.glob(str(path), recursive=True))
    if not names:
        raise FileNotFoundError(f"nothing matches {str(path)!r}")
    return [pathlib.Path(name) for name in names]


def is_depth(path: pathlib.Path) -> bool:
    """Returns whether a file looks like a depth image, by folder and header."""
    suffix = path.suffix.lower()
    if suffix not in depth_images.SUFFIXES:
        return False
    if suffix in (".pgm", ".pfm", ".npy", ".exr") or _is_depth_folder(path.parent):
        return True
    try:
        with path.open("rb") as file:
            head = file.read(26)
            if suffix == ".png":
                return head[24:26] in _GRAY_16
            return images.is_deep(head + file.read(images.MAX_FILE_BYTES))
    except (recording.Damaged, OSError):
        return False


def lines_of(unused: Mapping[str, str]) -> list[str]:
    """Counts what is not used, a line for each reason with an example."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in unused.items():
        by_reason.setdefault(reason, []).append(path)
    return [
        f"{len(paths)} not used, {'such as ' if len(paths) > 1 else ''}{paths[0]}: {reason}"
        for reason, paths in by_reason.items()
    ]


def _measured(
    path: pathlib.Path, scans: Sequence[recording.Recording], scale: float | None
) -> Inputs:
    """Checks the units of the recordings of a file."""
    recognised = recognition.Recognised(scans)
    try:
        found = recognition.measured(recognised, recognition.MEASURED, scale)
    except recording.Damaged as error:
        raise ValueError(f"{path}: {error}") from None
    notes = tuple(depth_units.lines_of(found.choices))
    return Inputs(tuple(found.recordings), unused=found.refused, notes=notes)


def _loose_depths(
    root: pathlib.Path, paths: Sequence[pathlib.Path], scale: float | None
) -> tuple[dict[str, file_frames.FileFrame], dict[str, str], tuple[str, ...]]:
    """Makes frames of depth images, with units chosen for each folder.

    Returns:
        Frames by name, reasons by path of those that are not used, and notes.
    """
    by_folder: dict[pathlib.Path, list[pathlib.Path]] = {}
    for path in paths:
        by_folder.setdefault(path.parent, []).append(path)
    used, unused, choices = {}, {}, []
    for group in by_folder.values():
        try:
            if scale is None:
                choice = depth_units.choose(group)
            else:
                choice = depth_units.measure(group, scale, is_given=True)
            units = choice.units_per_m
            choices.append(choice)
        except depth_units.Implausible as error:
            unused |= dict.fromkeys(map(os.fspath, group), str(error))
            continue
        except recording.Damaged:
            units = scale or MM_PER_M  # None can be read; reading each says why.
        for name, path in _named(root, group).items():
            used[name] = file_frames.FileFrame(
                len(used), {"depth": path}, units, correct=depth_images.without_largest
            )
    return used, unused, tuple(depth_units.lines_of(choices))


def _named(root: pathlib.Path, paths: Sequence[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Names files by their path below a folder without suffix, with it where that is not unique."""
    result: dict[str, pathlib.Path] = {}
    for path in paths:
        name = path.relative_to(root).with_suffix("").as_posix()
        result[name if name not in result else path.relative_to(root).as_posix()] = path
    return result


def _is_color_folder(folder: pathlib.Path) -> bool:
    return folder.name.lower() in pairs.COLOR_FOLDERS[:3]


def _is_depth_folder(folder: pathlib.Path) -> bool:
    return folder.name.lower() in pairs.DEPTH_FOLDERS
