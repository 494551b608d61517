"""Keeps a folder of results that can be resumed and holds nothing by accident.

`psp_jax_results.jsonl` in the folder lists what this program wrote there. Its first line holds the
settings of the results, every other line a frame and the sizes of its files. Only files of this
list are ever replaced or deleted. A line is written before its files, which are written atomically;
a frame is finished once all of them have their size.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Collection, Mapping
from typing import Any

from psp_jax.io import files
from psp_jax.predict import written
from psp_jax.predict.frames import Frame

Files = dict[str, bytes]  # Contents by path below the folder of results.


class Folder:
    """A folder of results of one model with one set of options."""

    def __init__(
        self,
        path: pathlib.Path,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        inputs: Collection[pathlib.Path] = (),
    ):
        """Opens a folder to resume its results, to replace them, or to start from nothing.

        Args:
            path: created with the first result.
            settings: everything that the results depend on, as JSON values.
            overwrite: whether results are replaced: those of other settings are deleted, those of
                these settings when their frames are predicted again.
            inputs: resolved paths of files that are never written.

        Raises:
            ValueError: if it holds results of other settings that are not to be replaced, or is no
                folder.
        """
        self.path, self._inputs = path, frozenset(inputs)
        self._lock = threading.Lock()
        self._settings = json.loads(json.dumps(settings))
        if path.exists() and not path.is_dir():
            raise ValueError(f"--out={path}: expected a folder, got a file")
        stored, records = written.read(path)
        self._lines: list[dict[str, Any]] = []
        # By name and source: a photo and a film may have one name, and other files.
        self._records: dict[str, dict[str, dict[str, Any]]] = {}
        # A killed program may have left a file of the last record of a frame or of an earlier one.
        self._sizes: dict[str, set[int]] = {}
        for record in records:
            self._add(record)
        if stored is not None and stored != self._settings:
            if not overwrite:
                raise ValueError(_other_settings(path, stored, self._settings))
            self._delete()
        self._resumed = {} if overwrite else {n: dict(each) for n, each in self._records.items()}
        self._is_open = False

    def holds(self, frame: Frame, required: Collection[str]) -> bool:
        """Returns whether all files of a frame are there, the `required` ones among them.

        Raises:
            ValueError: if one belongs to another frame of the same name.
        """
        self._check_name(frame, required)
        record = self._resumed.get(frame.name, {}).get(self._relative(frame))
        if record is None:
            return False
        is_whole = set(required) <= record["files"].keys() and all(
            self._has(name, size) for name, size in record["files"].items()
        )
        return is_whole and record["changed_ns"] == frame.changed_ns

    def finish(self, frame: Frame, contents: Files) -> None:
        """Writes the files of a frame; safe to call from several threads.

        Raises:
            ValueError: if one is an input, or was there and is not listed; nothing is written then.
            OSError: if a file can't be written.
        """
        self.start(frame, {name: len(data) for name, data in contents.items()})
        for name, data in contents.items():
            files.write(self.path / name, data)

    def start(self, frame: Frame, sizes: Mapping[str, int]) -> None:
        """Lists files that are about to be written; see `finish`."""
        self.check(sizes)
        self._check_name(frame, sizes)
        record = {
            "name": frame.name,
            "source": self._relative(frame),
            "changed_ns": frame.changed_ns,
            "files": dict(sizes),
        }
        with self._lock:
            earlier = self._records.get(frame.name, {}).get(record["source"])
            if earlier and earlier["changed_ns"] == frame.changed_ns:
                record["files"] = earlier["files"] | record["files"]
            if record == earlier:
                return
            self._add(record)
            if self._is_open:
                with (self.path / written.FILE).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
            else:
                self._write_list()

    def check(self, names: Collection[str]) -> None:
        """Raises ValueError if a file must not be written."""
        for name in names:
            path = self.path / name
            if self._inputs & {path.resolve(), path.parent.resolve() / path.name}:
                raise ValueError(f"{path} is an input; choose another --out")
            if os.path.lexists(path) and not self._is_own(name):
                raise ValueError(
                    f"{path} exists and this program did not write it; move it or choose another "
                    "--out"
                )

    def _check_name(self, frame: Frame, names: Collection[str]) -> None:
        """Raises ValueError if another frame of the same name has one of the files."""
        source = self._relative(frame)
        for other, record in list(self._records.get(frame.name, {}).items()):
            if other != source and not record["files"].keys().isdisjoint(names):
                raise ValueError(
                    f"{self.path} already holds results of this name from {other}; choose "
                    "another --out"
                )

    def _is_own(self, name: str) -> bool:
        path = self.path / name
        if path.is_symlink() or not path.is_file():
            return False
        return path.stat().st_size in self._sizes.get(name, ())

    def _has(self, name: str, size: int) -> bool:
        path = self.path / name
        return path.is_file() and path.stat().st_size == size

    def _add(self, record: dict[str, Any]) -> None:
        self._lines.append(record)
        self._records.setdefault(record["name"], {})[record["source"]] = record
        for name, size in record["files"].items():
            self._sizes.setdefault(name, set()).add(size)

    def _relative(self, frame: Frame) -> str:
        """Returns a source relative to the folder, so that both can be moved together."""
        if "://" in frame.path:
            return frame.source
        path = pathlib.Path(os.path.relpath(frame.path, self.path.resolve()))
        return dataclasses.replace(frame, path=path.as_posix()).source

    def _write_list(self) -> None:
        """Writes the list, so that no new line is appended to an unfinished one."""
        digest = hashlib.sha256(json.dumps(self._settings).encode()).hexdigest()
        head = json.dumps({"settings": self._settings, "sha256": digest})
        lines = [head, *map(json.dumps, self._lines)]
        files.write(self.path / written.FILE, "".join(f"{line}\n" for line in lines))
        self._is_open = True

    def _delete(self) -> None:
        """Deletes the listed files that are as they were written, and their empty folders."""
        for name in self._sizes:
            path = self.path / name
            if self._is_own(name):
                path.unlink()
            for folder in path.parents:
                if folder == self.path or not folder.is_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()
        self._lines, self._records, self._sizes = [], {}, {}
        self._write_list()


def _other_settings(path: pathlib.Path, stored: Any, settings: Mapping[str, Any]) -> str:
    old: dict[str, Any] = stored if isinstance(stored, dict) else {}
    names = sorted(name for name in {**old, **settings} if old.get(name) != settings.get(name))
    changes = "; ".join(f"{name}: {old.get(name)} -> {settings.get(name)}" for name in names)
    return (
        f"--out={path} holds results of other settings ({changes}); choose another folder or add "
        "--overwrite"
    )
