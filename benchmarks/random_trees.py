"""Fills folders at random with images, depth images, videos, recordings and other files."""

import io
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import av
import cv2
import numpy as np

from benchmarks import damage
from psp_jax import codec
from psp_jax.partition import frontier_classes

SIZE = (64, 96)
FOLDERS = (
    "color",
    "depth",
    "a b",
    "é 你",
    b"caf\xe9",
    "12:30",
    "scans",
    ".hidden",
    "-x",
    "%d",
    "out",
)
NAMES = (
    "0",
    "000001",
    "photo",
    "a b",
    "é 你",
    b"caf\xe9",
    "12:30 talk",
    "._photo",
    "-v",
    "a%03d",
    "x.y",
)
Write = Callable[[np.random.Generator], bytes]


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    """Encodes an image."""
    return cv2.imencode(suffix, pixels)[1].tobytes()


def photo(rng: np.random.Generator) -> np.ndarray:
    """Draws blocks of random colours."""
    return np.kron(rng.integers(0, 255, (4, 6, 3)), np.ones((16, 16, 1), int)).astype(np.uint8)


def depth(rng: np.random.Generator) -> np.ndarray:
    """Draws blocks of random depth, millimetres."""
    return np.kron(rng.integers(1, 5, (4, 6)) * 900, np.ones((16, 16), int)).astype(np.uint16)


def film(rng: np.random.Generator) -> bytes:
    """Encodes an AVI of six frames."""
    data = io.BytesIO()
    with av.open(data, "w", format="avi") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        for _ in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(photo(rng), format="rgb24")))
        container.mux(stream.encode(None))
    return data.getvalue()


def coded(rng: np.random.Generator) -> bytes:
    """Codes a depth image."""
    depth_mm = depth(rng)
    return codec.encode(depth_mm, frontier_classes.split_connected(depth_mm), trade=1e-3)


def kinds(recording: bytes) -> dict[str, tuple[str, Write]]:
    """Returns suffix and content of every kind of file."""

    def rgba(rng: np.random.Generator) -> bytes:
        alpha = rng.integers(0, 256, (*SIZE, 1)).astype(np.uint8)
        return encoded(".png", np.concatenate([photo(rng), alpha], -1))

    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    return {
        "jpeg": (".jpg", lambda rng: encoded(".jpg", photo(rng))),
        "JPEG": (".JPG", lambda rng: encoded(".jpg", photo(rng)) + b"tail"),
        "png": (".png", lambda rng: encoded(".png", photo(rng))),
        "transparent png": (".png", rgba),
        "depth": (".png", lambda rng: encoded(".png", depth(rng))),
        "small depth": (".png", lambda rng: encoded(".png", depth(rng)[:20, :20])),
        "video": (".avi", film),
        "recording": (".sens", lambda rng: recording),
        "coded depth": (".pdr", coded),
        "pointer": (".jpg", lambda rng: pointer),
        "web page": (".png", lambda rng: b"<!doctype html><html>"),
        "text": (".txt", lambda rng: b"notes"),
        "icons": (".db", lambda rng: b"icons"),
        "list": (".json", lambda rng: b'{"settings": {}}'),
    }


def plant(
    root: pathlib.Path,
    rng: np.random.Generator,
    every: dict[str, tuple[str, Write]],
    results: Sequence[pathlib.Path] = (),
) -> None:
    """Fills a folder at random with files of `every` kind, and perhaps with results of commands."""
    folders = [root]
    for _ in range(rng.integers(0, 5)):
        name = os.fsdecode(FOLDERS[rng.integers(len(FOLDERS))])
        folders.append(folders[rng.integers(len(folders))] / name)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(rng.integers(0, 4)):
            suffix, write = every[list(every)[rng.integers(len(every))]]
            path = folder / (os.fsdecode(NAMES[rng.integers(len(NAMES))]) + suffix)
            if path.exists() or path.is_symlink():
                continue
            if rng.random() < 0.08:
                path.symlink_to(
                    [root, folder / "nowhere", *folders][rng.integers(len(folders) + 2)]
                )
                continue
            path.write_bytes(write(rng))
            if rng.random() < 0.2 and path.stat().st_size:
                ways = [damage.flip, damage.truncate, damage.empty, damage.zero]
                ways[rng.integers(len(ways))](path, rng)
            if rng.random() < 0.05:
                path.chmod(0)
    if results and rng.random() < 0.3:
        _plant_results(folders[rng.integers(len(folders))], rng, results)


def _plant_results(
    folder: pathlib.Path, rng: np.random.Generator, results: Sequence[pathlib.Path]
) -> None:
    """Copies the results of a command, or one file of them."""
    source = results[int(rng.integers(len(results)))]
    if rng.random() < 0.5:
        shutil.copytree(source, folder / f"earlier {source.name}")
        return
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    path = paths[rng.integers(len(paths))]
    shutil.copy(path, folder / f"copy{path.suffix}")


def plant_recordings(root: pathlib.Path, rng: np.random.Generator, recording: bytes) -> None:
    """Adds recordings, mostly enough for a data set; one may be damaged."""
    for number in range(rng.integers(2, 7)):
        path = root / f"walk{number}.sens"
        path.write_bytes(recording)
        if rng.random() < 0.1:
            [damage.flip, damage.truncate, damage.empty][rng.integers(3)](path, rng)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Returns the content of the files of a folder, and the targets of links, by their names."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = pathlib.Path(parent, name)
            if path.is_symlink():
                found[os.path.relpath(path, folder)] = b"-> " + os.fsencode(os.readlink(path))
            elif path.is_file() and os.access(path, os.R_OK):
                found[os.path.relpath(path, folder)] = path.read_bytes()
    return found
