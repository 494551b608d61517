"""Digests of the files of a folder, in the format of `sha256sum`."""

import concurrent.futures
import contextlib
import fnmatch
import hashlib
import os
import pathlib
import re

from psp_jax.io import files

FILE = "SHA256SUMS"  # `sha256sum -c SHA256SUMS` in the folder checks it, too.
_COUNT = re.compile(r"# ([0-9]+) files")
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write(folder: pathlib.Path) -> None:
    """Lists every file of a folder with its SHA-256 in the folder's `SHA256SUMS`, atomically."""
    digests = _digests(folder, _names(folder, "*"))
    lines = [f"# {len(digests)} files\n"]  # So that a truncated list is noticed.
    lines += [f"{digest}  {name}\n" for name, digest in digests.items()]
    files.write(folder / FILE, "".join(lines), durable=True)


def damage(folder: pathlib.Path, pattern: str = "*", *, ignore: str = "") -> list[str]:
    """Describes every listed file that is missing or changed; empty for an intact folder.

    Other files, as file managers and virus scanners leave them, are no damage; see `unlisted`.

    Args:
        folder: the folder that `write` was given.
        pattern: glob pattern of the names that are checked.
        ignore: glob pattern of those among them that are not.
    """
    try:
        every = _listed(folder)
    except OSError as error:
        return [f"{FILE} can't be read: {error.strerror}"]
    except ValueError:
        return [f"{FILE} is damaged"]
    listed = {
        name: digest
        for name, digest in every.items()
        if fnmatch.fnmatch(name, pattern) and not fnmatch.fnmatch(name, ignore)
    }
    there = [name for name in listed if (folder / name).is_file()]
    try:
        digests = _digests(folder, there)
    except OSError as error:
        return [f"{error.filename} can't be read: {error.strerror}"]
    changed = [name for name, digest in digests.items() if digest != listed[name]]
    return [
        *(f"{name} is not the file that was written" for name in changed),
        *(f"{name!r} is missing" for name in listed if name not in digests),
    ]


def unlisted(folder: pathlib.Path) -> list[str]:
    """Returns the names of the files that `write` did not list, for an intact folder."""
    listed = _listed(folder)
    return [name for name in _names(folder, "*") if name not in listed]


def remove(folder: pathlib.Path) -> None:
    """Removes the files that `write` listed, and the folder unless it holds others."""
    for name in _listed(folder):
        (folder / name).unlink(missing_ok=True)
    (folder / FILE).unlink()
    for path, *_ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # It holds other files.
            os.rmdir(path)


def _listed(folder: pathlib.Path) -> dict[str, str]:
    """Reads the digests by name; raises ValueError if the list is damaged."""
    *lines, rest = (folder / FILE).read_bytes().decode(errors="replace").split("\n")
    count = _COUNT.fullmatch(lines[0]) if lines else None
    matches = [_LINE.fullmatch(line) for line in lines[1 if count else 0 :]]
    if rest or not matches or None in matches or (count and int(count[1]) != len(matches)):
        raise ValueError(f"{folder / FILE} is damaged")
    return {match[2]: match[1] for match in matches if match}


def _names(folder: pathlib.Path, pattern: str) -> list[str]:
    paths = (path for path in folder.rglob(pattern) if path.is_file())
    names = (path.relative_to(folder) for path in paths)
    return sorted(
        str(name) for name in names if name.name != FILE and not name.name.startswith(".")
    )


def _digests(folder: pathlib.Path, names: list[str]) -> dict[str, str]:
    def digest(name: str) -> str:
        with (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(digest, names), strict=True))
