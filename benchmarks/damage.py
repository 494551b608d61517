"""Damages files, for `benchmarks.faults` and the tests."""

import os
import pathlib

import numpy as np


def flip(path: pathlib.Path, rng: np.random.Generator) -> bool:
    """Flips a random bit; returns False if the file is empty."""
    data = bytearray(path.read_bytes())
    if data:
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
    return bool(data)


def truncate(path: pathlib.Path, rng: np.random.Generator) -> bool:
    """Truncates the file at a random position; returns False if it was empty."""
    size = path.stat().st_size
    if size:
        os.truncate(path, int(rng.integers(size)))
    return bool(size)


def empty(path: pathlib.Path, rng: np.random.Generator) -> bool:
    """Empties the file; returns False if it was empty."""
    size = path.stat().st_size
    os.truncate(path, 0)
    return bool(size)


def zero(path: pathlib.Path, rng: np.random.Generator) -> bool:
    """Zeros a non-zero block of 512 bytes, as a lost sector; returns False if there is none."""
    content = np.fromfile(path, np.uint8)
    used = np.flatnonzero(content)
    if used.size:
        start = rng.choice(used) // 512 * 512
        content[start : start + 512] = 0
        content.tofile(path)
    return bool(used.size)


def delete(path: pathlib.Path, rng: np.random.Generator) -> bool:
    """Deletes the file."""
    path.unlink()
    return True


WAYS = {"flip": flip, "truncate": truncate, "empty": empty, "zero": zero, "delete": delete}


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Returns the bytes of every file in a folder by name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
