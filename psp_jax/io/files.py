"""Files that are there whole or not at all."""

import os
import pathlib

PARTIAL = ".partial"  # Suffix of a file that is being written.


def write(path: str | os.PathLike, content: bytes | str, *, durable: bool = False) -> None:
    """Writes a file atomically: readers see the old content or the new, never a part of it.

    Args:
        path: the file; its folder is made if it does not exist.
        content: bytes, or text that is encoded as UTF-8.
        durable: whether to wait until the disk holds it.

    Raises:
        OSError: if it can't be written; the old file is as it was.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
