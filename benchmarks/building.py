"""Compares the times of building the procedural rooms with one and with two worker processes.

`python -m benchmarks.building [--rooms=FOLDER]` renders the default rooms unless FOLDER holds
them, then alternates the build command with `--num_workers=1` and `=2`, and prints the ratio of
the times and a digest of the decoded examples.
"""

import argparse
import hashlib
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders.rooms import generate
from data_builders.scannet_frontiers import splits
from psp_jax.io import command_line

MIN_RATIO = 1.6


def main(arguments: argparse.Namespace) -> None:
    """Prints the times of all builds and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        rooms = arguments.rooms or pathlib.Path(folder) / "rooms"
        generate.generate(generate.Rooms(), rooms)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        digests = set()
        for round_number in range(arguments.rounds):
            # Alternated, so that other work on the machine affects both equally.
            for workers in (1, 2) if round_number % 2 == 0 else (2, 1):
                data_dir = pathlib.Path(folder) / f"{round_number}-{workers}"
                seconds[workers].append(build_s(rooms, data_dir, workers))
                print(f"{workers} workers: {seconds[workers][-1]:.1f} s", flush=True)
                digests.add(digest_of(data_dir))
    ratio = statistics.median(seconds[1]) / statistics.median(seconds[2])
    print(f"2 workers are {ratio:.2f} times as fast as 1 (expected: at least {MIN_RATIO})")
    print(f"SHA-256 of the decoded examples, equal in all builds: {', '.join(sorted(digests))}")


def build_s(rooms: pathlib.Path, data_dir: pathlib.Path, workers: int) -> float:
    """Returns the wall time of the command that builds the rooms."""
    command = [sys.executable, "-m", "data_builders.scannet_frontiers", "--config=rooms"]
    flags = [f"--manual_dir={rooms}", f"--data_dir={data_dir}", f"--num_workers={workers}"]
    started = time.perf_counter()
    subprocess.run([*command, *flags], check=True, capture_output=True)
    return time.perf_counter() - started


def digest_of(data_dir: pathlib.Path) -> str:
    """Returns the SHA-256 of all decoded examples in order; the bytes of shards may differ."""
    (directory,) = (data_dir / "scannet_frontiers" / "rooms").iterdir()
    builder: Any = tfds.builder_from_directory(directory)
    digest = hashlib.sha256()
    for split in splits.SPLITS:
        for example in builder.as_data_source(split):
            for name in sorted(example):
                digest.update(name.encode() + np.asarray(example[name]).tobytes())
    return digest.hexdigest()


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m benchmarks.building", description=__doc__)
    parser.add_argument("--rooms", type=pathlib.Path, help="folder of rendered rooms")
    parser.add_argument(
        "--rounds", type=command_line.positive_int, default=2, help="builds per number of workers"
    )
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
