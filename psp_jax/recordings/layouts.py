"""Finds the recordings in a folder and recognises the layout of each by its files.

Supported are ScanNet's `.sens` files, the exports of SensReader's Python and C++ tools,
`scannet_frames_25k`, and the sequences of 7-Scenes. A scan folder that no layout recognises is
reported with the reason and with what to download instead.
"""

import dataclasses
import os
import pathlib
import re

from psp_jax.recordings import exported, recording, scan_ids, sens

# Folders of scan folders, searched in this order; "." is the given folder itself.
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
# In order of preference: closest to the sensor first.
LAYOUTS = (sens.recognise, exported.recognise_flat, exported.recognise_folders)
EXPECTED = (
    "expected scans/sceneXXXX_YY/sceneXXXX_YY.sens, an export of SensReader with color/ and "
    "depth/, scannet_frames_25k/, or SPACE/seq-NN/ with frame-000000.depth.png as in 7-Scenes. "
    "Request ScanNet at http://www.scan-net.org (terms of use apply) and download the .sens files "
    "with the option --type .sens of its script"
)
_CLOUDS = (".ply", ".pth", ".npy", ".npz", ".bin", ".pcd", ".las")
_NO_CLOUD = "a mesh or point cloud without frames"
_NO_DEPTH = "posed images without a depth/ folder"


@dataclasses.dataclass(frozen=True)
class Survey:
    """The contents of a folder.

    Attributes:
        recordings: the recordings that can be read, in the order of their ids.
        refused: by path, why a folder with the name of a scan can't be read.
    """

    recordings: tuple[recording.Recording, ...]
    refused: dict[str, str]


def survey(root: str | os.PathLike) -> Survey:
    """Finds every recording in a folder; it may also be the folder of a single scan.

    Raises:
        FileNotFoundError: if there is none, with its content and the expected layouts.
    """
    root = pathlib.Path(root)
    recordings: dict[str, recording.Recording] = {}
    refused: dict[str, str] = {}
    for id, folder in _scan_folders(root):
        try:
            entries = set(os.listdir(folder))
        except OSError as error:
            refused[os.fspath(folder)] = f"the folder can't be listed: {error.strerror}"
            continue
        scan = next((s for layout in LAYOUTS if (s := layout(id, folder, entries))), None)
        if scan is None:
            refused[os.fspath(folder)] = _content_of(folder, entries)
        elif scan.id in recordings:
            refused[os.fspath(folder)] = f"{scan.id} is read from {recordings[scan.id].path}"
        else:
            recordings[scan.id] = scan
    if not recordings:
        raise FileNotFoundError(f"no recordings in {root}: {_first_found(root, refused)}{EXPECTED}")
    return Survey(tuple(recordings[id] for id in sorted(recordings)), refused)


def _first_found(root: pathlib.Path, refused: dict[str, str]) -> str:
    """Names one item that the folder holds instead of frames."""
    for path, reason in refused.items():
        return f"{path}: {reason}; "
    if (root / "tf3d").is_dir():
        return "tf3d/ holds TFRecords of another schema; "
    clouds = [path.name for path in sorted(root.iterdir()) if path.suffix in _CLOUDS]
    return f"{clouds[0]} is {_NO_CLOUD}; " if clouds else ""


def _scan_folders(root: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """Lists ids and paths of the folders that have the name of a scan."""
    root = root.resolve()  # A relative path may lack the names of its last folders.
    if id := _id_of(root):
        return [(id, root)]
    ids: dict[pathlib.Path, str] = {}
    for parent in (root / name for name in FOLDERS if (root / name).is_dir()):
        for folder in sorted(path for path in parent.iterdir() if path.is_dir()):
            candidates = [folder] if _id_of(folder) else sorted(folder.glob("seq-*"))
            ids |= {path: id for path in candidates if (id := _id_of(path)) and path.is_dir()}
    return [(id, folder) for folder, id in ids.items()]


def _id_of(folder: pathlib.Path) -> str:
    """Returns the id of the scan in a folder, judged by its name, or an empty string.

    ScanNet's folders have the ids of their scans; `chess/seq-01` of 7-Scenes becomes
    `chess_seq-01`.
    """
    if scan_ids.is_scannet_id(folder.name):
        return folder.name
    space = re.sub(r"[^A-Za-z0-9_-]", "-", folder.parent.name)
    id = f"{space}_{folder.name}"
    return id if scan_ids.is_scan_id(id) else ""


def _content_of(folder: pathlib.Path, entries: set[str]) -> str:
    """Describes a scan folder that no layout recognises."""
    nested = {p.name for p in (folder / "frames").iterdir()} if "frames" in entries else set()
    suffixes = {os.path.splitext(name)[1].lower() for name in entries}
    if not entries:
        return "an empty folder"
    if suffixes & {".jpg", ".jpeg", ".png"} or "color" in entries | nested:
        return _NO_DEPTH
    if suffixes & set(_CLOUDS):
        return _NO_CLOUD
    if ".sens" in suffixes:
        return f"a .sens file with another name than {folder.name}.sens"
    return "no frames"
