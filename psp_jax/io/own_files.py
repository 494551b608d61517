"""Lists the files that a program writes into a folder, so that it replaces no others."""

import os
import pathlib

from psp_jax.io import files

FILE = "psp_jax_files.txt"  # Within the folder: a name per line.
PREDICTED = "psp_jax_results.jsonl"  # The list of predict, which holds more; see `predict.written`.


def is_listed(folder: pathlib.Path) -> bool:
    """Returns whether a folder holds files that these programs wrote."""
    return any((folder / name).is_file() for name in (FILE, PREDICTED))


def listed(folder: pathlib.Path) -> frozenset[pathlib.Path]:
    """Returns a folder, resolved, and the files in it that `OwnFiles` lists."""
    path = folder.resolve()
    return frozenset({path, *(path / name for name in _names(path))})


def _names(folder: pathlib.Path) -> set[str]:
    path = folder / FILE
    text = path.read_bytes().decode(errors="surrogateescape") if path.is_file() else ""
    return set(text.splitlines())


class OwnFiles:
    """The files in an output folder that these programs wrote."""

    def __init__(self, folder: pathlib.Path):
        """Reads the list of a folder, which need not exist."""
        self.folder = folder
        self._names = _names(folder)

    def path(self, name: str) -> pathlib.Path:
        """Returns the path of a file to write, and lists it.

        Raises:
            FileExistsError: if there is such a file that is not listed.
        """
        path = self.folder / name
        if name in self._names:
            return path
        if os.path.lexists(path):
            raise FileExistsError(
                f"{path} exists, and is not listed in {FILE} as written by this program; choose "
                "another output folder, or move the file"
            )
        self._names.add(name)
        lines = "".join(f"{each}\n" for each in sorted(self._names))
        files.write(self.folder / FILE, lines.encode(errors="surrogateescape"))
        return path

    def write(self, name: str, content: bytes | str) -> None:
        """Writes a file, as `files.write` does; raises FileExistsError as `path` does."""
        files.write(self.path(name), content)
