"""Decodes coded depth images that were damaged at random.

Run `python -m benchmarks.fuzz_coding [--streams=20000] [--seed=0]`. Streams of random
partitions and depth are truncated, spliced, overwritten and bit-flipped; three of four get a
matching checksum, as an attacker's would. Every one has to decode to an image or be refused with
ValueError, soon.
"""

import collections
import re
import resource
import struct
import time
import zlib

import numpy as np

from psp_jax import codec
from psp_jax.codec import stream as container
from psp_jax.io import command_line
from psp_jax.partition import frontier_classes

# A stream that takes longer fails; some of them claim to be large images.
MOST_S, MOST_S_PER_PIXEL = 2.0, 3e-6


def make(rng: np.random.Generator) -> bytes:
    """Codes a random image with random options."""
    height, width = rng.integers(1, 60, 2)
    block = int(rng.integers(1, 12))
    drawn = rng.integers(0, rng.integers(1, 8), (height // block + 1, width // block + 1))
    labels = np.kron(drawn, np.ones((block, block), int))[:height, :width]
    depth = rng.integers(300, 8000) + rng.normal(0, 40, labels.shape).cumsum(axis=1)
    depth_mm = np.clip(depth, 1, 65535).astype(np.uint16)
    if rng.random() < 0.3 and depth_mm.size > 1:
        depth_mm.reshape(-1)[1:][rng.random(depth_mm.size - 1) < 0.2] = 0
    return codec.encode(
        depth_mm,
        frontier_classes.split_connected(labels),
        trade=10.0 ** rng.uniform(-9, 0),
        max_error_per_m=None if rng.random() < 0.5 else 10.0 ** rng.uniform(-6, 0),
    )


def damage(rng: np.random.Generator, stream: bytes) -> bytes:
    """Changes a stream in one of several ways."""
    body = bytearray(stream[:-4])
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(len(body)))
        way = rng.integers(5)
        if way == 0:
            body[at] ^= 1 << rng.integers(8)
        elif way == 1:
            body[at] = rng.integers(256)
        elif way == 2:
            body[at : at + 8] = rng.bytes(rng.integers(1, 12))
        elif way == 3:
            body = body[: max(at, 1)]
        else:
            body[4:8] = struct.pack("<HH", *rng.integers(0, 200, 2))  # Height and width.
    if rng.random() < 0.25:
        return bytes(body) + stream[-4:]
    return bytes(body) + struct.pack("<I", zlib.crc32(body))


def main() -> None:
    """Damages and decodes."""
    parser = command_line.Parser(prog="python -m benchmarks.fuzz_coding", description=__doc__)
    parser.add_argument("--streams", type=command_line.positive_int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse()
    rng = np.random.default_rng(arguments.seed)
    ends, slowest_s = collections.Counter(), 0.0
    for _ in range(20):
        codec.decode(make(rng))  # Compiles all parts.
    for index in range(arguments.streams):
        stream = damage(rng, make(rng))
        began_s = time.perf_counter()
        try:
            codec.decode(stream)
            ends["decoded"] += 1
        except ValueError as error:
            ends["refused: " + re.sub(r"[0-9]+", "N", str(error))[-60:]] += 1
        took_s = time.perf_counter() - began_s
        slowest_s = max(slowest_s, took_s)
        height, width = struct.unpack_from("<HH", stream.ljust(8, b"\0"), 4)
        pixels = min(height * width, container.MAX_PIXELS)
        if took_s > MOST_S + MOST_S_PER_PIXEL * pixels:
            raise SystemExit(f"stream {index} of seed {arguments.seed} took {took_s:.1f} s")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{arguments.streams} streams, none crashed; slowest {slowest_s:.3f} s, {peak_mb:.0f} MB")
    for end, count in ends.most_common():
        print(f"{count:8} {end}")


if __name__ == "__main__":
    main()
