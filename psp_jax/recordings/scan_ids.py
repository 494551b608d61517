"""Ids of scans: `sceneXXXX_YY` is visit YY to space XXXX, `chess_seq-01` a 7-Scenes sequence.

Recordings of other sources are named after their folder, and each is a space by itself.
"""

import re

_SCANNET_ID = re.compile(r"scene\d{4,5}_\d{2}", re.ASCII)
_SEQUENCE_ID = re.compile(r"[A-Za-z0-9_-]{1,100}_seq-\d{1,4}", re.ASCII)
_OTHER = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)
MAX_LENGTH = 100
FORMS = "sceneXXXX_YY or SPACE_seq-NN"


def is_scannet_id(name: str) -> bool:
    """Returns whether a name has the form sceneXXXX_YY."""
    return _SCANNET_ID.fullmatch(name) is not None


def is_scan_id(name: str) -> bool:
    """Returns whether a name has the form sceneXXXX_YY or SPACE_seq-NN."""
    return is_scannet_id(name) or _SEQUENCE_ID.fullmatch(name) is not None


def clean(name: str) -> str:
    """Turns the name of a file or folder into an id: other characters become hyphens."""
    return _OTHER.sub("-", name)[-MAX_LENGTH:].strip("-") or "recording"


def space_of(scan: str) -> str:
    """Returns the space of a scan id: everything before the last underscore.

    Raises:
        ValueError: if the id has another form.
    """
    if not is_scan_id(scan):
        raise ValueError(f"scan id: expected the form {FORMS}, got {scan!r}")
    return scan.rpartition("_")[0]
