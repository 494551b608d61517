"""Reads the list of the files that this program wrote into a folder of results.

The first line holds the settings of the results, every other line a frame with the sizes of its
files. Of several lines of a frame the last counts.
"""

import json
import pathlib
from typing import Any

from psp_jax.io import own_files

FILE = own_files.PREDICTED
RECORD = ("name", "source", "changed_ns", "files")  # Fields of the line of a frame.


def read(folder: pathlib.Path) -> tuple[Any, list[dict[str, Any]]]:
    """Returns the settings, None if there is no list, and the records in the order written.

    Raises:
        ValueError: if the file is not such a list.
    """
    path = folder / FILE
    try:
        head, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        settings = json.loads(head)["settings"]
    except (FileNotFoundError, NotADirectoryError):
        return None, []
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete it or choose another --out"
        ) from None
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # A killed program left this line unfinished.
        if isinstance(record, dict) and set(RECORD) <= record.keys():
            names = [name for name in record["files"] if _is_inside(name)]
            record["files"] = {name: int(record["files"][name]) for name in names}
            records.append(record)
    return settings, records


def listed(folder: pathlib.Path) -> frozenset[pathlib.Path]:
    """Returns a folder, resolved, and the files in it that its list names."""
    _, records = read(folder)
    path = folder.resolve()
    return frozenset({path, *(path / name for record in records for name in record["files"])})


def _is_inside(name: str) -> bool:
    path = pathlib.PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
