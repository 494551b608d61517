"""Time of building the embedded rooms with one worker process and with two.

`python -m benchmarks.building [--rooms=FOLDER]` draws the default rooms unless FOLDER holds them,
then runs the build's own command line with `--num_workers=1` and `=2` in turns, as a user would,
and prints the ratio of the times and a digest of the decoded examples.
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

BAR = 1.6


def main() -> None:
    """Prints the times of all runs and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=pathlib.Path, help="folder of drawn rooms")
    parser.add_argument("--rounds", type=int, default=2, help="builds with each number of workers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rooms = arguments.rooms or pathlib.Path(folder) / "rooms"
        generate.generate(generate.Rooms(), rooms)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        digests = set()
        for round_number in range(arguments.rounds):
            # Other work on the machine troubles both alike.
            for workers in (1, 2) if round_number % 2 == 0 else (2, 1):
                data_dir = pathlib.Path(folder) / f"{round_number}-{workers}"
                seconds[workers].append(build_s(rooms, data_dir, workers))
                print(f"{workers} workers: {seconds[workers][-1]:.1f} s", flush=True)
                digests.add(digest_of(data_dir))
    ratio = statistics.median(seconds[1]) / statistics.median(seconds[2])
    print(f"2 workers are {ratio:.2f} times as fast as 1 (bar {BAR})")
    print(f"SHA-256 of the decoded examples: {' but '.join(sorted(digests))} in all builds")


def build_s(rooms: pathlib.Path, data_dir: pathlib.Path, workers: int) -> float:
    """Returns the wall time of the command that builds the rooms."""
    command = [sys.executable, "-m", "data_builders.scannet_frontiers", "--config=rooms"]
    flags = [f"--manual_dir={rooms}", f"--data_dir={data_dir}", f"--num_workers={workers}"]
    started = time.perf_counter()
    subprocess.run([*command, *flags], check=True, capture_output=True)
    return time.perf_counter() - started


def digest_of(data_dir: pathlib.Path) -> str:
    """Hashes all decoded examples in order; the bytes of shards may differ."""
    (directory,) = (data_dir / "scannet_frontiers" / "rooms").iterdir()
    builder: Any = tfds.builder_from_directory(directory)
    digest = hashlib.sha256()
    for split in splits.SPLITS:
        for example in builder.as_data_source(split):
            for name in sorted(example):
                digest.update(name.encode() + np.asarray(example[name]).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
