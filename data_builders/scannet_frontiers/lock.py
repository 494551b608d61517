"""One build of a data set at a time, so that what a killed one left behind can be told apart."""

import contextlib
import fcntl
import os
import pathlib
import shutil
from collections.abc import Iterator

# TFDS writes to `incomplete.XXXXXX_VERSION` beside the folder of the version, and renames it.
_LEFT_BEHIND = "incomplete.*_*"


@contextlib.contextmanager
def sole_build(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other builds out of the folder of a configuration, and tidies it first.

    The lock goes with the process, however that ends. File systems without locks keep nobody out,
    and there nothing is tidied.

    Raises:
        OSError: if another process is building there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another process is building {folder}; wait for it, or end it"
            raise OSError(message) from None
        except OSError:
            yield
            return
        for path in folder.glob(_LEFT_BEHIND):
            shutil.rmtree(path, ignore_errors=True)
        yield
    finally:
        os.close(handle)
