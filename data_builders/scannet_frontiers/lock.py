"""Locks a data set during its build, so that leftovers of killed builds can be removed safely."""

import contextlib
import fcntl
import os
import pathlib
import shutil
from collections.abc import Iterator

# TFDS writes to `incomplete.XXXXXX_VERSION` next to the folder of the version, and renames it.
_LEFTOVERS = "incomplete.*_*"


@contextlib.contextmanager
def sole_build(folder: pathlib.Path) -> Iterator[None]:
    """Locks the folder of a configuration and removes the leftovers of killed builds.

    The lock ends with the process. On a file system without locks nothing is locked or removed.

    Raises:
        OSError: if another process is building there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another process is building {folder}; wait for it or end it") from None
        except OSError:
            yield
            return
        for path in folder.glob(_LEFTOVERS):
            shutil.rmtree(path, ignore_errors=True)
        yield
    finally:
        os.close(handle)
