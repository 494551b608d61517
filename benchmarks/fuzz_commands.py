"""Runs the commands on random folders, and checks what they promise for any of them.

Run `python -m benchmarks.fuzz_commands [--trees=300] [--seed=0]`. A tree holds images, depth
images, videos, recordings and coded depth, some of them damaged, beside files of other kinds, under
unusual names, with links and earlier outputs. A command then runs on it twice. There must be no
traceback, no input may change, an error has one line and status 2, predict must use or name every
image, video and recording, and the second run must give the outputs of the first. Ends with status
1 otherwise, and prints the seed of each such tree.
"""

import argparse
import collections
import contextlib
import dataclasses
import io
import os
import pathlib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import av
import cv2
import jax
import numpy as np

import data_builders.scannet_frontiers.__main__ as builder_program
import psp_jax.codec.__main__ as codec_program
import psp_jax.predict.__main__ as predict_program
from benchmarks import damage
from configs import depth_mse
from data_builders import sources
from data_builders.rooms import generate
from psp_jax import codec, experiment, explore, train
from psp_jax.io import command_line
from psp_jax.models import resnet, segmenter
from psp_jax.partition import frontier_classes
from psp_jax.recordings import scan_ids

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


def _encoded(suffix: str, pixels: np.ndarray) -> bytes:
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
        return _encoded(".png", np.concatenate([photo(rng), alpha], -1))

    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    return {
        "jpeg": (".jpg", lambda rng: _encoded(".jpg", photo(rng))),
        "JPEG": (".JPG", lambda rng: _encoded(".jpg", photo(rng)) + b"tail"),
        "png": (".png", lambda rng: _encoded(".png", photo(rng))),
        "transparent png": (".png", rgba),
        "depth": (".png", lambda rng: _encoded(".png", depth(rng))),
        "small depth": (".png", lambda rng: _encoded(".png", depth(rng)[:20, :20])),
        "video": (".avi", film),
        "recording": (".sens", lambda rng: recording),
        "coded depth": (".pdr", coded),
        "pointer": (".jpg", lambda rng: pointer),
        "web page": (".png", lambda rng: b"<!doctype html><html>"),
        "text": (".txt", lambda rng: b"notes"),
        "icons": (".db", lambda rng: b"icons"),
        "list": (".json", lambda rng: b'{"settings": {}}'),
    }


def plant(root: pathlib.Path, rng: np.random.Generator, every: dict) -> None:
    """Fills a folder at random."""
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


def plant_recordings(root: pathlib.Path, rng: np.random.Generator, recording: bytes) -> None:
    """Adds recordings, mostly enough for a data set; one may be damaged."""
    for number in range(rng.integers(2, 7)):
        path = root / f"walk{number}.sens"
        path.write_bytes(recording)
        if rng.random() < 0.1:
            [damage.flip, damage.truncate, damage.empty][rng.integers(3)](path, rng)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Returns the content of the regular files of a folder by their names."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = pathlib.Path(parent, name)
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                found[os.path.relpath(path, folder)] = path.read_bytes()
    return found


def call(program, arguments: list[str], scratch: pathlib.Path) -> tuple[int, str]:
    """Runs a command as its own process would; returns its status and what it printed."""
    output = io.StringIO()
    tempfile.tempdir = str(scratch)  # Where unexpected errors leave their traceback.
    argv, sys.argv = sys.argv, [program.__name__, *arguments]
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            command_line.run(program.main, program.parser())
    except SystemExit as done:
        return int(done.code or 0), output.getvalue()
    finally:
        sys.argv, tempfile.tempdir = argv, None


@dataclasses.dataclass(frozen=True)
class Setup:
    """What the commands need: a recording, and a finished run with its config."""

    recording: bytes
    config: experiment.Experiment
    workdir: pathlib.Path


def prepare(root: pathlib.Path) -> Setup:
    """Draws rooms and trains a run for two steps."""
    jax.config.update("jax_compilation_cache_dir", str(root / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    rooms = generate.Rooms(spaces=3, frames_per_scan=3, depth_height=SIZE[0], depth_width=SIZE[1])
    config = depth_mse.get_config("rooms")
    config.data.source = sources.EmbeddedRooms(str(root / "data"), rooms)
    config.data.batch_size = 2
    config.model = segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.0)
    config.phases = (dataclasses.replace(config.phases[0], steps=2, warmup_steps=0),)
    config.checkpoint_every, config.pictures = 1, 1
    train.run(config, str(root / "run"))
    recording = next((root / "data").rglob("*.sens")).read_bytes()
    return Setup(recording, config, root / "run")


def of_inputs(tree: pathlib.Path, rng: np.random.Generator, setup: Setup) -> list[str]:
    """Runs a random command on a random folder; returns what is wrong."""
    given, scratch = tree / "in", tree / "scratch"
    scratch.mkdir(parents=True)
    plant(given, rng, kinds(setup.recording))
    out = [tree / "result", given / "result", given, given / "out"][rng.integers(4)]
    program, arguments = [
        (predict_program, [f"--workdir={setup.workdir}", "--page"]),
        (codec_program, ["encode", "--overwrite"]),
        (codec_program, ["decode", "--overwrite"]),
        (explore, ["--frames=2"]),
        (builder_program, ["--name=own", "--size=32x48", "--num_workers=1"]),
    ][rng.integers(5)]
    if program is builder_program:
        plant_recordings(given, rng, setup.recording)
        arguments = [*arguments, f"--manual_dir={given}", f"--data_dir={out}"]
    else:
        arguments = [*arguments, str(given), f"--out={out}"]
    before, wrong = contents(given), []
    results = []
    for _ in range(2):
        status, output = call(program, arguments, scratch)
        wrong += _wrong_with(status, output, scratch)
        after = contents(given)
        wrong += [f"{name} changed" for name, data in before.items() if after.get(name) != data]
        results.append((status, contents(tree)))
        if program is predict_program and status < 2:
            made = results[-1][1].keys() - {f"in/{name}" for name in before}
            wrong += _unaccounted(before, made, output)
    same = results[0][0] == results[1][0] and results[0][1].keys() == results[1][1].keys()
    if not same:
        differ = sorted(results[0][1].keys() ^ results[1][1].keys())[:5]
        wrong.append(f"again: status {results[1][0]} after {results[0][0]}, files {differ}")
    return [f"{program.__name__} {' '.join(arguments)}: {each}" for each in wrong]


def _unaccounted(given: Iterable[str], made: Iterable[str], output: str) -> list[str]:
    """Returns the inputs of predict, in `in`, that have no output and are not named or counted."""
    paths = [pathlib.PurePath(name) for name in given]
    counted = sum(int(count) - 1 for count in re.findall(r"^(\d+) not used, such as", output, re.M))
    used = {
        part
        for name in made
        for part in (*pathlib.PurePath(name).parts, pathlib.PurePath(name).stem)
    }
    # A photograph and a depth image of one name are a recording with the name of their folder.
    numbered = {re.sub(r"/\d{6}\.\w+$", "", name) for name in made}
    recordings = {pathlib.PurePath(name).name for name in numbered - set(made)}
    missing = [
        f"{path} is neither used nor named"
        for path in paths
        if path.suffix.lower() in (".jpg", ".png", ".avi", ".sens")
        and not any(part.startswith(".") for part in path.parts)  # Hidden.
        and not {path.stem, scan_ids.clean(path.stem)} & used
        and scan_ids.clean(path.parent.name or "in") not in recordings
        and path.name not in output
        and not (path.parent.name and f"{path.parent}: " in output)
    ]
    return missing if len(missing) > counted else []


def _wrong_with(status: int, output: str, scratch: pathlib.Path) -> list[str]:
    wrong = [path.read_text() for path in scratch.glob("psp_jax_*.txt")]
    if status not in (0, 1, 2) or "Traceback" in output:
        wrong.append(f"status {status}: {output[-500:]}")
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    if status == 2 and len(errors) != 1:
        wrong.append(f"status 2 with {len(errors)} errors")
    return wrong


def of_workdir(tree: pathlib.Path, rng: np.random.Generator, setup: Setup) -> list[str]:
    """Damages a finished run at random and repeats its command; returns what is wrong."""
    workdir = tree / "run"
    shutil.copytree(setup.workdir, workdir)
    every = sorted(path for path in workdir.rglob("*") if path.is_file())
    for _ in range(rng.integers(1, 4)):
        path = every[rng.integers(len(every))]
        way = [*damage.WAYS.values()][rng.integers(len(damage.WAYS))]
        if path.is_file() and path.stat().st_size:
            way(path, rng)
        (path.parent / f"Thumbs{rng.integers(9)}.db").write_bytes(b"icons")
    before, output = damage.contents(workdir), io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            state = train.run(setup.config, str(workdir))
    except (ValueError, OSError) as error:
        changed = [n for n, data in damage.contents(workdir).items() if before.get(n) != data]
        changed = [name for name in changed if pathlib.Path(name).name not in (".lock",)]
        return [f"refused, but changed {changed}: {error}"] if changed else []
    except Exception as error:  # What no command may show.
        return [f"unexpected {error!r}"]
    finally:
        strays = [path.name for path in workdir.rglob("Thumbs*.db")]
    wrong = [] if int(state.step) == 2 and strays else ["the run ended elsewhere"]
    return wrong + (["trained again"] if "resuming" not in output.getvalue() else [])


def main(arguments: argparse.Namespace) -> int:
    """Runs all trees and prints the number of failures."""
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        with contextlib.redirect_stdout(io.StringIO()):
            setup = prepare(root)
        for number in range(arguments.first, arguments.first + arguments.trees):
            rng = np.random.default_rng((arguments.seed, number))
            check = of_workdir if rng.random() < 0.15 else of_inputs
            tree = root / "tree"
            try:
                wrong = check(tree, rng, setup)
            finally:
                _remove(tree)
            counts[check.__name__] += 1
            counts["failed"] += bool(wrong)
            for each in dict.fromkeys(wrong):
                print(f"--seed={arguments.seed} --first={number} --trees=1: {each}", flush=True)
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    return 1 if counts["failed"] else 0


def _remove(tree: pathlib.Path) -> None:
    for parent, folders, _ in os.walk(tree):
        for name in folders:
            with contextlib.suppress(OSError):
                os.chmod(os.path.join(parent, name), 0o700)
    shutil.rmtree(tree, ignore_errors=True)


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m benchmarks.fuzz_commands", description=__doc__)
    parser.add_argument("--trees", type=command_line.positive_int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first tree")
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
