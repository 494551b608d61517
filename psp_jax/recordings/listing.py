"""Lists folders: hidden files are ignored, names compare in lower case, and links never loop."""

import collections
import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

MAX_LEVELS = 8  # SUN RGB-D has six levels of folders.
_NUMBER = re.compile(r"\d+", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Listing:
    """The content of a folder.

    Attributes:
        path: the folder.
        files, folders: paths in it, in the order of their names; numbers compare by value.
        broken: broken symbolic links in it.
    """

    path: pathlib.Path
    files: tuple[pathlib.Path, ...]
    folders: tuple[pathlib.Path, ...]
    broken: tuple[pathlib.Path, ...] = ()

    def file(self, *names: str) -> pathlib.Path | None:
        """Returns the first file that has one of these names, given in lower case."""
        return _first(self._files_by_name, names)

    def folder(self, *names: str) -> pathlib.Path | None:
        """Returns the first folder that has one of these names, given in lower case."""
        return _first(self._folders_by_name, names)

    def having(self, suffixes: Sequence[str]) -> list[pathlib.Path]:
        """Returns the files with these suffixes, given in lower case with their dot."""
        return [path for path in self.files if path.suffix.lower() in suffixes]

    @functools.cached_property
    def _files_by_name(self) -> dict[str, pathlib.Path]:
        return {path.name.lower(): path for path in reversed(self.files)}

    @functools.cached_property
    def _folders_by_name(self) -> dict[str, pathlib.Path]:
        return {path.name.lower(): path for path in reversed(self.folders)}


def read(folder: pathlib.Path) -> Listing:
    """Lists a folder.

    Raises:
        OSError: if it can't be listed.
    """
    files, folders, broken = [], [], []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: order(entry.name)):
            if entry.name.startswith("."):  # Hidden, and macOS' copies of attributes (._name).
                continue
            path = pathlib.Path(entry.path)
            try:
                if entry.is_dir():
                    folders.append(path)
                elif entry.is_file():
                    files.append(path)
                elif not path.exists():
                    broken.append(path)
            except OSError:  # A link to itself.
                broken.append(path)
    return Listing(folder, tuple(files), tuple(folders), tuple(broken))


def is_empty(folder: pathlib.Path) -> bool:
    """Returns whether a folder holds nothing, without listing all of it."""
    with os.scandir(folder) as entries:
        return not any(not entry.name.startswith(".") for entry in entries)


def order(name: str) -> tuple[tuple[int, str], ...]:
    """Returns a key that sorts 2 before 10, and is total."""
    lower = name.lower()
    parts = zip(
        [0, *map(int, (n[:18] for n in _NUMBER.findall(lower)))], _NUMBER.split(lower), strict=True
    )
    return (*parts, (0, name))


class Walk:
    """Lists a folder and those of its sub-folders that `enter` names, level by level.

    Attributes:
        skipped: by path, why a folder was not listed.
    """

    def __init__(self, root: pathlib.Path):
        """Starts at a folder, which is listed first."""
        self.skipped: dict[str, str] = {}
        self._queue = collections.deque([(root, 0)])
        self._seen: dict[tuple[int, int], pathlib.Path] = {}

    def __iter__(self) -> Iterator[Listing]:
        """Yields listings of folders, each folder once."""
        while self._queue:
            folder, level = self._queue.popleft()
            try:
                stat = folder.stat()
                first = self._seen.setdefault((stat.st_dev, stat.st_ino), folder)
                if first is not folder:
                    self.skipped[os.fspath(folder)] = f"the same folder as {first}"
                    continue
                self._level = level
                yield read(folder)
            except OSError as error:
                self.skipped[os.fspath(folder)] = f"it can't be listed: {error.strerror}"

    def enter(self, folders: Sequence[pathlib.Path]) -> None:
        """Adds folders of the current listing; links come last, so that names are the real ones."""
        if self._level < MAX_LEVELS:
            ordered = sorted(folders, key=os.path.islink)
            self._queue += [(folder, self._level + 1) for folder in ordered]
        else:
            reason = f"more than {MAX_LEVELS} levels below the folder that was named"
            self.skipped.update((os.fspath(folder), reason) for folder in folders)


def _first(named: dict[str, pathlib.Path], names: Sequence[str]) -> pathlib.Path | None:
    return next((named[name] for name in names if name in named), None)
