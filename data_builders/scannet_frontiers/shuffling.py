"""Orders the records of a split on disk, in memory that does not grow with them.

TFDS's own `Shuffler` holds up to 1 GB of records, and beyond writes them to a thousand files, for
which it needs TensorFlow. This one gives the same order from one file and an index.
"""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from tensorflow_datasets.core import hashing, shuffle


class DiskShuffler:
    """Stores records in a file, and yields them in the order of the hashes of their keys."""

    def __init__(
        self,
        dirpath: Any,
        hash_salt: Any,
        disable_shuffling: bool = False,
        ignore_duplicates: bool = False,
    ):
        """Takes the arguments of `tensorflow_datasets.core.shuffle.Shuffler`."""
        if disable_shuffling or ignore_duplicates:
            raise ValueError("expected records to be shuffled, and all of them to be kept")
        pathlib.Path(dirpath).mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=dirpath)  # Vanishes with the process.
        self._hasher = hashing.Hasher(hash_salt)
        self._index: list[tuple[int, int, int]] = []  # Hash, offset, length.
        self.size = 0

    @property
    def num_examples(self) -> int:
        """The number of records."""
        return len(self._index)

    @property
    def bucket_lengths(self) -> list[int]:
        """The number of records by file, of which there is one."""
        return [len(self._index)]

    def add(self, key: Any, data: bytes) -> bool:
        """Stores a record."""
        self._index.append((self._hasher.hash_key(key), self.size, len(data)))
        self._file.write(data)
        self.size += len(data)
        return True

    def close(self) -> None:
        """Deletes the file."""
        self._file.close()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yields hash and record, in the order of hashes.

        Raises:
            DuplicatedKeysError: if two records have the same key.
        """
        previous: tuple[int, bytes] | None = None
        for hkey, offset, length in sorted(self._index):
            self._file.seek(offset)
            data = self._file.read(length)
            if previous and previous[0] == hkey:
                raise shuffle.DuplicatedKeysError(data, previous[1])
            previous = hkey, data
            yield previous


@contextlib.contextmanager
def on_disk() -> Iterator[None]:
    """Makes TFDS order records with `DiskShuffler`."""
    original, shufflers = shuffle.Shuffler, []

    def make(*args: Any, **kwargs: Any) -> DiskShuffler:
        shufflers.append(DiskShuffler(*args, **kwargs))
        return shufflers[-1]

    module: Any = shuffle
    module.Shuffler = make
    try:
        yield
    finally:
        module.Shuffler = original
        for each in shufflers:
            each.close()
