"""Digests of the files of a folder: what was written is what is read."""

import concurrent.futures
import fnmatch
import hashlib
import os
import pathlib

FILE = "SHA256SUMS"  # As sha256sum writes it: `sha256sum -c SHA256SUMS` in the folder checks, too.


def write(folder: pathlib.Path) -> None:
    """Lists every file of a folder with its SHA-256 in the folder's `SHA256SUMS`, atomically."""
    names = _files(folder, "*")
    partial = folder / f".{FILE}"
    with partial.open("w") as file:
        file.writelines(map(_line, _digests(folder, names), names))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / FILE)


def damage(folder: pathlib.Path, only: str = "*", *, strays: bool = True) -> list[str]:
    """Lists in words what is not as `write` found it; empty for a sound folder.

    Files whose names begin with a dot, as file managers leave them, are not looked at.

    Args:
        folder: that `write` was given.
        only: pattern of the names that are looked at.
        strays: whether a file that is not listed counts as damage.
    """
    try:
        text = (folder / FILE).read_bytes().decode(errors="replace")
    except OSError as error:
        return [f"{FILE} can't be read: {error.strerror}"]
    listed = [line for line in text.splitlines(keepends=True) if fnmatch.fnmatch(_name(line), only)]
    known = set(map(_name, listed))
    names = [name for name in _files(folder, only) if strays or name in known]
    try:
        lines = dict(zip(names, map(_line, _digests(folder, names), names), strict=True))
    except OSError as error:
        return [f"{error.filename} can't be read: {error.strerror}"]
    if sorted(lines.values()) == sorted(listed):
        return []
    changed = [name for name in names if name in known and lines[name] not in listed]
    return [f"{name} is not the file that was written" for name in changed] + [
        f"{name!r} is missing" for name in sorted(known - set(names))
    ] + [f"{name} is not in {FILE}" for name in names if name not in known] or [
        f"{FILE} is not the file that was written"
    ]


def _files(folder: pathlib.Path, only: str) -> list[str]:
    found = (path for path in folder.rglob(only) if path.is_file())
    names = (path.relative_to(folder) for path in found)
    return sorted(
        str(name) for name in names if name.name != FILE and not name.name.startswith(".")
    )


def _line(digest: str, name: str) -> str:
    return f"{digest}  {name}\n"


def _name(line: str) -> str:
    return line.partition("  ")[2].rstrip("\n")


def _digests(folder: pathlib.Path, names: list[str]) -> list[str]:
    def digest(name: str) -> str:
        with (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(digest, names))
