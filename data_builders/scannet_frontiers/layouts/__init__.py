"""Where scans lie on disk. Every layout that holds depth is recognised by what is in its folders.

A scan folder is looked at once: the first layout of `LAYOUTS` that recognises it reads it, and
what none of them reads is refused by name, with what to get instead.
"""

import dataclasses
import os
import pathlib

from data_builders.scannet_frontiers import recording, splits
from data_builders.scannet_frontiers.layouts import exported, sens_file

# Folders of scan folders, looked into in this order; the root itself may be one too.
FOLDERS = (
    "scans",
    "scans_test",
    "exported",
    "posed_images",
    "scannet_frames_25k",
    "scannet_frames_test",
    "tasks/scannet_frames_25k",
    "tasks/scannet_frames_test",
    "train",
    "val",
    "test",
    ".",
)
# The nearest to the sensor first: a scan that is there twice is read from the earlier one.
LAYOUTS = (sens_file.recognise, exported.recognise_flat, exported.recognise_folders)
WANTED = (
    "scans/sceneXXXX_YY/sceneXXXX_YY.sens, an export of SensReader with color/ and depth/, or "
    "scannet_frames_25k/ was expected. ScanNet is requested at http://www.scan-net.org (terms of "
    "use apply); its script fetches the .sens files with --type .sens"
)
_CLOUDS = (".ply", ".pth", ".npy", ".npz", ".bin", ".pcd", ".las")
_NO_CLOUD = "a mesh or point cloud without frames"
_NO_DEPTH = "posed images without a depth/ folder"


@dataclasses.dataclass(frozen=True)
class Survey:
    """What lies under a folder.

    Attributes:
        scans: the scans that can be read, in the order of their ids.
        refused: why a folder that looks like a scan can't be read, by its path.
    """

    scans: tuple[recording.Scan, ...]
    refused: dict[str, str]


def survey(root: str | os.PathLike) -> Survey:
    """Finds every scan under a folder, in whatever layouts they are.

    Raises:
        FileNotFoundError: if there is none, with what was found and what was looked for.
    """
    root = pathlib.Path(root)
    scans: dict[str, recording.Scan] = {}
    refused: dict[str, str] = {}
    for folder in _scan_folders(root):
        try:
            entries = set(os.listdir(folder))
        except OSError as error:
            refused[os.fspath(folder)] = f"what can't be listed: {error.strerror}"
            continue
        scan = next((s for layout in LAYOUTS if (s := layout(folder, entries))), None)
        if scan is None:
            refused[os.fspath(folder)] = _what_else(folder, entries)
        elif scan.id in scans:
            refused[os.fspath(folder)] = f"{scan.id} is read from {scans[scan.id].path}"
        else:
            scans[scan.id] = scan
    # A partial download leaves folders with a mesh alone beside those that have all.
    if not scans:
        raise FileNotFoundError(f"no scans under {root}: {_first_found(root, refused)}{WANTED}")
    return Survey(tuple(scans[id] for id in sorted(scans)), refused)


def _first_found(root: pathlib.Path, refused: dict[str, str]) -> str:
    """Names one thing that is there instead of frames."""
    for path, what in refused.items():
        return f"{path} holds {what}; "
    if (root / "tf3d").is_dir():
        return "tf3d/ holds TFRecords of another schema; "
    clouds = [path.name for path in sorted(root.iterdir()) if path.suffix in _CLOUDS]
    return f"{clouds[0]} is {_NO_CLOUD}; " if clouds else ""


def _scan_folders(root: pathlib.Path) -> list[pathlib.Path]:
    if splits.is_scan_id(root.resolve().name):
        return [root.resolve()]
    places = [place for name in FOLDERS if (place := root / name).is_dir()]
    return [
        folder
        for place in places
        for folder in sorted(place.iterdir())
        if splits.is_scan_id(folder.name) and folder.is_dir()
    ]


def _what_else(folder: pathlib.Path, entries: set[str]) -> str:
    """Says what a scan folder holds that no layout reads."""
    nested = {p.name for p in (folder / "frames").iterdir()} if "frames" in entries else set()
    suffixes = {os.path.splitext(name)[1].lower() for name in entries}
    if not entries:
        return "nothing"
    if suffixes & {".jpg", ".jpeg", ".png"} or "color" in entries | nested:
        return _NO_DEPTH
    if suffixes & set(_CLOUDS):
        return _NO_CLOUD
    if ".sens" in suffixes:
        return f"a .sens of another name than {folder.name}.sens"
    return "no frames"
