"""Where scans lie on disk. Every layout that holds depth is recognised by what is in its folders.

A scan folder is looked at once: the first layout of `LAYOUTS` that recognises it reads it, and
what none of them reads is refused by name, with what to get instead.
"""

import dataclasses
import os
import pathlib
import re

from psp_jax.recordings import exported, recording, scan_ids, sens_file

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
    "scans/sceneXXXX_YY/sceneXXXX_YY.sens, an export of SensReader with color/ and depth/, "
    "scannet_frames_25k/, or SPACE/seq-NN/ with frame-000000.depth.png as in 7-Scenes was "
    "expected. ScanNet is requested at http://www.scan-net.org (terms of "
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
    for id, folder in _scan_folders(root):
        try:
            entries = set(os.listdir(folder))
        except OSError as error:
            refused[os.fspath(folder)] = f"what can't be listed: {error.strerror}"
            continue
        scan = next((s for layout in LAYOUTS if (s := layout(id, folder, entries))), None)
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


def _scan_folders(root: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """Lists the folders that are named as a scan is, with their ids."""
    root = root.resolve()  # For the names of a relative path's last parts.
    if id := _id_of(root):
        return [(id, root)]
    places = [place for name in FOLDERS if (place := root / name).is_dir()]
    found: dict[pathlib.Path, str] = {}
    for place in places:
        for folder in sorted(place.iterdir()):
            if not folder.is_dir():
                continue
            inner = [folder] if _id_of(folder) else sorted(folder.glob("seq-*"))
            found |= {f: id for f in inner if (id := _id_of(f)) and f.is_dir()}
    return [(id, folder) for folder, id in found.items()]


def _id_of(folder: pathlib.Path) -> str:
    """Returns the id of a scan whose folder has such a name, or an empty text.

    ScanNet's folders are called as their scans are; a sequence of 7-Scenes is `chess/seq-01` and
    gets the id `chess_seq-01`.
    """
    if scan_ids.is_scannet_id(folder.name):
        return folder.name
    space = re.sub(r"[^A-Za-z0-9_-]", "-", folder.parent.name)
    id = f"{space}_{folder.name}"
    return id if scan_ids.is_scan_id(id) else ""


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
