"""Describes what a data set is made from, so that no other one is taken for it.

The description is stored in the `metadata.json` of the data set, which also marks its folder as
one that the builder wrote.
"""

import json
import pathlib
import re
from typing import Any

import cv2

from data_builders.scannet_frontiers.configurations import FrontierConfig
from psp_jax.io import dataclass_json, manifest
from psp_jax.io.version import __version__
from psp_jax.recordings import layouts

KEY = "made_from"  # Of the metadata.
DATASET = "scannet_frontiers"
# Stored for the reader, but no reason to build the data set again.
_INCIDENTAL = ("manual_dir", "psp_jax", "opencv")
_WRITTEN = re.compile(rf"{DATASET}-.*|(dataset_info|features|metadata|rooms)\.json|{manifest.FILE}")
_SHOWN = 3


def of(config: FrontierConfig, survey: layouts.Survey, *, manual_dir: str, version: str) -> dict:
    """Returns the description of a data set, as values for JSON.

    Args:
        config: its configuration.
        survey: the recordings.
        manual_dir: their folder.
        version: of the data set.
    """
    sample = config.sample
    made_from = {
        "manual_dir": manual_dir,
        "version": version,
        "psp_jax": __version__,
        "opencv": cv2.__version__,
        "scans": {scan.id: f"{type(scan).__name__} {scan.stamp()}" for scan in survey.recordings},
        "size": config.size,
        "frame_stride": config.frame_stride,
        "color_scale": config.color_scale,
        "crop": config.crop,
        "labels": dict(config.segmentations),
        "split": config.split,
        "images": sample.images if sample else None,
        "limit_scans": config.limit_scans,
        "reading": {name: repr(value) for name, value in config.reading.items()},
    }
    if lines := getattr(config.split, "lines", None):  # The lists, not only their paths.
        made_from["lists"] = lines()
    return json.loads(json.dumps(dataclass_json.to_plain(made_from)))


def read(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the description that a data set was stored with; empty if it has none.

    Raises:
        OSError: if the builder did not write the folder.
    """
    try:
        info = json.loads((folder / "dataset_info.json").read_text())
        metadata = json.loads((folder / "metadata.json").read_text())
    except (OSError, ValueError):
        info, metadata = {}, {}
    if info.get("name") != DATASET:
        raise OSError(
            f"{folder} is there, but is no data set of this program; move it, or pass another "
            "--name or --data_dir"
        )
    return metadata.get(KEY, {})


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Lists how two descriptions differ; empty if the data sets are the same."""
    if not there:
        return ["its source is unknown, since an older version built it"]
    lines = []
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name), here.get(name)
        if old == new or name in _INCIDENTAL:
            continue
        if name == "scans" and isinstance(old, dict) and isinstance(new, dict):
            lines += _scan_differences(old, new)
        else:
            lines.append(f"{name}: {_short(old)} -> {_short(new)}")
    if lines and there.get("manual_dir") != here.get("manual_dir"):
        lines.insert(0, f"manual_dir: {there.get('manual_dir')} -> {here.get('manual_dir')}")
    return lines[:_SHOWN] + [f"and {len(lines) - _SHOWN} more"] * (len(lines) > _SHOWN)


def foreign_files(folder: pathlib.Path) -> list[str]:
    """Returns the names in the folder of a data set that the builder does not write."""
    return sorted(path.name for path in folder.iterdir() if not _WRITTEN.fullmatch(path.name))


def _scan_differences(old: dict[str, str], new: dict[str, str]) -> list[str]:
    groups = {
        "more": sorted(new.keys() - old.keys()),
        "fewer": sorted(old.keys() - new.keys()),
        "changed": sorted(id for id in new.keys() & old.keys() if old[id] != new[id]),
    }
    return [f"{len(ids)} {what} scans, such as {ids[0]}" for what, ids in groups.items() if ids]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
