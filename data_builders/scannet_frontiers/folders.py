"""The folders of data sets: locks them, and tells those that the builder wrote from others."""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
from collections.abc import Iterator

from data_builders.scannet_frontiers import fingerprint

# TFDS builds in such a folder and then renames it.
_INCOMPLETE = re.compile(r"incomplete\.[A-Z0-9]{6}_[0-9.]+")


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Waits for other builds in the folder of a configuration, and locks it.

    The leftovers of killed builds are removed. The lock ends with the process. On a file system
    without locks nothing is locked or removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process, which is building {folder}", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            yield
            return
        for path in folder.iterdir():
            if _INCOMPLETE.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        yield
    finally:
        os.close(handle)


def is_built(folder: pathlib.Path, made_from: dict, overwrite: bool) -> bool:
    """Returns whether a data set is there; False for another one that may be overwritten.

    Raises:
        ValueError: if another one is there that may not be overwritten.
        OSError: if the folder holds something else.
    """
    if not folder.exists():
        return False
    there = fingerprint.read(folder)
    changes = fingerprint.differences(there, made_from)
    if not changes:
        if there["manual_dir"] != made_from["manual_dir"]:
            print(f"{folder} was made from the same files in {there['manual_dir']}")
        return True
    if not overwrite:
        raise ValueError(
            f"{folder} was made from other data or with other settings ({'; '.join(changes)}); "
            "pass another --name, or --overwrite to build it again"
        )
    return False


def remove(folder: pathlib.Path) -> None:
    """Removes a data set; raises OSError if its folder holds other files."""
    if foreign := fingerprint.foreign_files(folder):
        raise OSError(
            f"{folder} can't be overwritten: it holds {foreign[0]}, which is no part of the data "
            "set; move it away"
        )
    shutil.rmtree(folder)
