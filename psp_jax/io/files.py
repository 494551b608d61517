"""Local paths, and files that are there whole or not at all."""

import os
import pathlib
import re

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
PARTIAL = ".partial"  # Suffix of a file that is being written.


def write(path: str | os.PathLike, content: bytes | str, *, durable: bool = False) -> None:
    """Writes a file atomically: readers see the old content or the new, never a part of it.

    Args:
        path: the file; its folder is made if it does not exist.
        content: bytes, or text that is encoded as UTF-8, with escapes for the names of files that
            are not.
        durable: whether to wait until the disk holds it.

    Raises:
        OSError: if it can't be written; the old file is as it was.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(_encoded(content) if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _encoded(text: str) -> bytes:
    """Encodes as UTF-8, with escapes for what Python's names of files can't express in it."""
    try:
        raw = text.encode(errors="surrogateescape")  # In some locales all names have surrogates.
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace")
    return raw.decode(errors="backslashreplace").encode()


def unused(path: pathlib.Path) -> pathlib.Path:
    """Returns the first of a path, `NAME-2.SUFFIX`, `NAME-3.SUFFIX`, ... that does not exist."""
    candidate, number = path, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def keep_copy(path: pathlib.Path) -> pathlib.Path:
    """Copies a file to `unused` of its path, and returns that."""
    target = unused(path)
    write(target, path.read_bytes())
    return target


def local_path(path: str | os.PathLike) -> pathlib.Path:
    """Expands `~` in a path, and environment variables unless the path exists as it is.

    Raises:
        ValueError: if it is a URL, such as `gs://bucket/run`: only local files are supported.
    """
    text = os.path.expanduser(os.fspath(path))
    if _URL.match(text):
        raise ValueError(f"expected a local path, got the URL {text}; mount or copy it first")
    return pathlib.Path(text if os.path.lexists(text) else os.path.expandvars(text))


def utf8_path(path: str | os.PathLike, what: str) -> pathlib.Path:
    """Returns `local_path` of a path that libraries get, which take only names in UTF-8.

    Args:
        path: the path.
        what: what it is, for the message.

    Raises:
        ValueError: as `local_path` does.
        OSError: if the name is not UTF-8.
    """
    local = local_path(path)
    try:
        os.path.abspath(local).encode()
    except UnicodeEncodeError:
        raise OSError(
            f"the name of the {what} {os.path.abspath(local)} is not UTF-8, as its libraries need "
            "it; rename it, or set LC_ALL to a locale with UTF-8, such as C.UTF-8"
        ) from None
    return local
