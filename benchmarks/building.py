"""Measures builds: their speed with two worker processes, and the memory of large ones.

`python -m benchmarks.building [--rooms=FOLDER]` renders the default rooms unless FOLDER holds
them, then alternates the build command with `--num_workers=1` and `=2`, and prints the ratio of
the times and a digest of the decoded examples.

`python -m benchmarks.building --pairs=10000` writes one recording of a tenth of that many pairs of
colour and depth at 120x160, and one of all of them, builds both, and prints the seconds and the
largest memory of a process. Then it builds the large one again, kills that build after half
of the time, and prints the seconds that the same command needs to finish it.
"""

import argparse
import hashlib
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from data_builders.rooms import generate
from data_builders.scannet_frontiers import splits
from psp_jax.io import command_line

MIN_RATIO = 1.6


def main(arguments: argparse.Namespace) -> None:
    """Prints the times of all builds and their ratio."""
    if arguments.pairs:
        measure_pairs(arguments.pairs)
        return
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


def measure_pairs(pairs: int) -> None:
    """Prints time and memory of builds of pairs, and the time that an interrupted one needs."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for count in (max(pairs // 10, 5), pairs):
            write_pairs(folder / str(count) / "scene9000_00", count)
            seconds, peak_mb = run_own(folder / str(count), folder / f"data-{count}")
            print(f"{count} pairs: {seconds:.1f} s, at most {peak_mb:.0f} MB", flush=True)
        scans, data_dir = folder / str(pairs), folder / "interrupted"
        run_own(scans, data_dir, kill_after_s=seconds / 2)
        finished = len(list(data_dir.rglob("*.examples")))
        rest_s, _ = run_own(scans, data_dir)
        print(
            f"killed after {seconds / 2:.1f} s with {finished} parts finished: {rest_s:.1f} s more"
        )


def write_pairs(folder: pathlib.Path, count: int) -> None:
    """Writes a recording of noisy slopes, in the layout of SensReader's exports."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:120, :160]
    for kind in ("color", "depth", "pose"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        depth = 1500 + rng.uniform(-9, 9) * rows + rng.uniform(-6, 6) * columns
        depth += rng.normal(0, 5, depth.shape) + 300 * (columns > rng.integers(160))
        color = rng.integers(0, 255, (15, 20, 3), np.uint8)
        color = cv2.resize(color, (160, 120))
        cv2.imwrite(str(folder / "depth" / f"{index}.png"), depth.astype(np.uint16))
        cv2.imwrite(str(folder / "color" / f"{index}.jpg"), color)
        np.savetxt(folder / "pose" / f"{index}.txt", np.eye(4))


def run_own(
    scans: pathlib.Path, data_dir: pathlib.Path, *, kill_after_s: float | None = None
) -> tuple[float, float]:
    """Runs the command on a set of pairs; returns its seconds and its largest memory in MB."""
    command = [sys.executable, "-m", "data_builders.scannet_frontiers", "--name=pairs"]
    flags = [f"--manual_dir={scans}", f"--data_dir={data_dir}", "--frame_stride=1"]
    started = time.perf_counter()
    process = subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        process.kill()
    _, status, usage = os.wait4(process.pid, 0)
    if status and kill_after_s is None:
        raise OSError(f"the build ended with status {status}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


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
        "--pairs", type=command_line.positive_int, help="measure builds of so many pairs instead"
    )
    parser.add_argument(
        "--rounds", type=command_line.positive_int, default=2, help="builds per number of workers"
    )
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
