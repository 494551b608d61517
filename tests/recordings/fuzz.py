"""Mutates `.sens` files and checks that reading them always ends with a report.

`python -m tests.recordings.fuzz --count=20000` tries more mutations than the tests do.
"""

import argparse
import dataclasses
import functools
import pathlib
import resource
import struct
import tempfile
import time
import warnings
import zlib

import numpy as np

from data_builders.scannet_frontiers import examples
from data_builders.scannet_frontiers.report import Report
from psp_jax.io import command_line
from psp_jax.partition import superpixels
from psp_jax.recordings import sens
from tests.scans import make_frame, write_scan

SIZE = (32, 48)
FRAMES = 3
RECIPE = examples.Recipe(
    1, SIZE, {"seeds": superpixels.Seeds(superpixels=12, levels=2, iterations=2)}
)
HEADER_BYTES = 12 + len("StructureSensor") + 4 * 64 + 36
ABSURD = (0, 1, 0x7F, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
MAX_SECONDS = 5.0  # An undamaged scan of this size takes some milliseconds.
MAX_GROWTH_MB = 250  # The largest image that is accepted, decoded, and some slack.


@dataclasses.dataclass
class Tally:
    """Counts over the mutations."""

    kept: int = 0
    dropped: int = 0
    untouched: int = 0
    slowest_s: float = 0.0


def whole_scan(folder: pathlib.Path) -> bytes:
    rng = np.random.default_rng(0)
    frames = [make_frame(rng, SIZE) for _ in range(FRAMES)]
    return write_scan(folder, "scene9000_00", frames, SIZE).read_bytes()


def truncate(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(len(data))) :]


def flip_bits(data: bytearray, rng: np.random.Generator) -> None:
    for at in rng.integers(len(data), size=int(rng.integers(1, 20))):
        data[at] ^= 1 << int(rng.integers(8))


def flip_header_bits(data: bytearray, rng: np.random.Generator) -> None:
    for at in rng.integers(HEADER_BYTES + 96, size=int(rng.integers(1, 4))):
        data[at] ^= 1 << int(rng.integers(8))


def set_absurd_field(data: bytearray, rng: np.random.Generator) -> None:
    """Overwrites a number of the header or of the first frame."""
    sizes_at = HEADER_BYTES + 64
    fields = [(0, "<I"), (4, "<Q"), (HEADER_BYTES - 8, "<Q"), (HEADER_BYTES - 12, "<I")]
    fields += [(HEADER_BYTES - 36 + 4 * k, "<I") for k in range(6)]
    fields += [(sizes_at + 8 * k, "<Q") for k in range(4)]
    at, kind = fields[int(rng.integers(len(fields)))]
    limit = 1 << 8 * struct.calcsize(kind)
    struct.pack_into(kind, data, at, int(rng.choice(np.array(ABSURD, object))) % limit)


def set_absurd_jpeg_size(data: bytearray, rng: np.random.Generator) -> None:
    at = data.find(b"\xff\xc0", HEADER_BYTES)
    height, width = rng.choice([0, 1, 31, 64, 9999, 65500, 65535], 2)
    struct.pack_into(">2H", data, at + 5, height, width)


@functools.cache
def bomb_of(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes << 20))


def plant_bomb(data: bytearray, rng: np.random.Generator) -> None:
    """Replaces the depth of the first frame by one that would expand to up to 64 MB."""
    color_bytes, depth_bytes = struct.unpack_from("<2Q", data, HEADER_BYTES + 64 + 16)
    at = HEADER_BYTES + 96 + color_bytes
    bomb = bomb_of(int(rng.choice([1, 8, 64])))
    data[at : at + depth_bytes] = bomb
    struct.pack_into("<Q", data, HEADER_BYTES + 64 + 24, len(bomb))


def spoil_pose(data: bytearray, rng: np.random.Generator) -> None:
    value = rng.choice([np.nan, np.inf, -np.inf, 3e38])
    struct.pack_into("<f", data, HEADER_BYTES + 4 * int(rng.integers(16)), value)


def swap_pieces(data: bytearray, rng: np.random.Generator) -> None:
    first, second = sorted(rng.integers(len(data), size=2))
    length = int(rng.integers(1, 200))
    piece = bytes(data[first : first + length])
    data[second : second + length] = piece


MUTATIONS = (
    truncate,
    flip_bits,
    flip_header_bits,
    set_absurd_field,
    set_absurd_jpeg_size,
    plant_bomb,
    spoil_pose,
    swap_pieces,
)


def fuzz(count: int, folder: pathlib.Path, seed: int = 0) -> Tally:
    """Reads `count` mutated scans; raises AssertionError if one does not end with a report."""
    whole, tally = whole_scan(folder), Tally()
    path = folder / "scene9000_00.sens"
    scan = sens.SensRecording(path)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        data = bytearray(whole)
        MUTATIONS[number % len(MUTATIONS)](data, rng)
        path.write_bytes(data)
        report, started_s = Report(), time.process_time()  # Not of other programs.
        made = list(examples.examples_of(scan, report, recipe=RECIPE))
        assert scan.count(30) <= len(data)
        taken_s = time.process_time() - started_s
        assert taken_s < MAX_SECONDS, f"mutation {number} of seed {seed} took {taken_s:.1f} s"
        assert len(made) == report.kept <= FRAMES, f"mutation {number} of seed {seed}"
        assert report.kept or report.details or not sens.read_header(path).frames, number
        for _, example in made:
            assert example["depth"].shape == SIZE and example["depth"].all()
        tally.kept += report.kept
        tally.dropped += len(report.details)
        tally.untouched += report.kept == FRAMES
        tally.slowest_s = max(tally.slowest_s, taken_s)
    return tally


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: argparse.Namespace) -> None:
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder:
        fuzz(len(MUTATIONS), pathlib.Path(folder) / "warm")
        before_mb, started = peak_mb(), time.perf_counter()
        tally = fuzz(arguments.count, pathlib.Path(folder) / "fuzz", arguments.seed)
        taken_s = time.perf_counter() - started
    print(
        f"{arguments.count} mutations in {taken_s:.0f} s, slowest {1e3 * tally.slowest_s:.0f} ms, "
        f"memory grew by {peak_mb() - before_mb:.0f} MB; {tally.kept} frames kept, "
        f"{tally.dropped} drops reported, {tally.untouched} scans with no frame lost"
    )


if __name__ == "__main__":
    parser = command_line.Parser(prog="python -m tests.recordings.fuzz", description=__doc__)
    parser.add_argument("--count", type=command_line.positive_int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    command_line.run(main, parser)
