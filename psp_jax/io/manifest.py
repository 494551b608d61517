"""Digests of the files of a folder, in the format of `sha256sum`."""

import concurrent.futures
import fnmatch
import hashlib
import pathlib
import re

from psp_jax.io import files

FILE = "SHA256SUMS"  # `sha256sum -c SHA256SUMS` in the folder checks it, too.
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write(folder: pathlib.Path) -> None:
    """Lists every file of a folder with its SHA-256 in the folder's `SHA256SUMS`, atomically."""
    digests = _digests(folder, _names(folder, "*"))
    lines = (f"{digest}  {name}\n" for name, digest in digests.items())
    files.write(folder / FILE, "".join(lines), durable=True)


def damage(folder: pathlib.Path, pattern: str = "*", *, strays: bool = True) -> list[str]:
    """Describes every difference from what `write` listed; empty for an intact folder.

    Files whose names begin with a dot, as file managers leave them, are ignored.

    Args:
        folder: the folder that `write` was given.
        pattern: glob pattern of the names that are checked.
        strays: whether a file that is not listed counts as damage.
    """
    try:
        lines = (folder / FILE).read_bytes().decode(errors="replace").split("\n")
    except OSError as error:
        return [f"{FILE} can't be read: {error.strerror}"]
    matches = [_LINE.fullmatch(line) for line in lines[:-1]]
    if lines[-1] or None in matches:
        return [f"{FILE} is damaged"]
    every = {match[2]: match[1] for match in matches if match}
    listed = {name: each for name, each in every.items() if fnmatch.fnmatch(name, pattern)}
    names = _names(folder, pattern)
    try:
        digests = _digests(folder, [name for name in names if name in listed])
    except OSError as error:
        return [f"{error.filename} can't be read: {error.strerror}"]
    changed = [name for name, digest in digests.items() if digest != listed[name]]
    missing = sorted(listed.keys() - set(names))
    unlisted = [name for name in names if strays and name not in listed]
    return [
        *(f"{name} is not the file that was written" for name in changed),
        *(f"{name!r} is missing" for name in missing),
        *(f"{name} is not in {FILE}" for name in unlisted),
    ]


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
