"""Measures the time to decode training examples, and the bytes of a strided read.

`python -m benchmarks.reading --frames=FOLDER` uses real captures (`*/color/NAME.{png,jpg}` and
`*/depth/NAME.png`, uint16 millimetres); without it, synthetic frames. Stages are timed on one
thread, whole batches by several threads and processes.
"""

import argparse
import dataclasses
import os
import pathlib
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import grain
import numpy as np
import tabulate
from absl import flags

from data_builders import sources
from psp_jax import batch, cache, data, experiment
from psp_jax.io import command_line
from psp_jax.partition import fill, frontier_classes, superpixels
from psp_jax.recordings import depth_images, images, sens

SIZES = ((480, 640), (240, 320))
JPEG_QUALITY = 95
# The alternative format: 16-bit and 8-bit PNG with OpenCV's defaults.
ARRAYS = {"depth": np.dtype(np.uint16), "filled": np.dtype(bool), "frontier": np.dtype(np.uint8)}
DATA = experiment.Data(source=sources.EmbeddedRooms())  # With the defaults of every config.
SENS_FRAMES, STRIDE = 301, 30
IMAGE_SIZE, LABEL_SIZE, BATCH_SIZE = (240, 320), (120, 160), 64
CACHED_IMAGES, CACHED_S = 1024, 5
WORKERS = (1, 2, 4)


def main(arguments: argparse.Namespace) -> None:
    """Prints the tables."""
    cv2.setNumThreads(1)
    cached_table()
    pairs = captures(arguments.frames) if arguments.frames else synthetic()
    kind = "captures" if arguments.frames else "synthetic frames"
    for size in SIZES:
        read_table([resized(*pair, size) for pair in pairs], size, arguments.rounds, kind)
    workers_table([resized(*pair, SIZES[0]) for pair in pairs])
    with tempfile.TemporaryDirectory() as folder:
        strided_read(pathlib.Path(folder) / "long.sens", [resized(*p, SIZES[0]) for p in pairs])


def captures(folder: pathlib.Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Reads the pairs whose depth is 480x640: `[H, W, 3]` uint8 BGR, `[H, W]` uint16 mm."""
    pairs = []
    captured = (p for p in folder.glob("*/depth/*.png") if not p.parts[-3].endswith("_SYNTH"))
    for path in sorted(captured):
        depth = depth_images.decode(path.read_bytes())
        colors = sorted((path.parents[1] / "color").glob(f"{path.stem}.*"))
        if depth.shape == SIZES[0] and colors and depth.any():
            pairs.append((images.decode_color(colors[0].read_bytes(), None), depth))
    if not pairs:
        raise FileNotFoundError(f"--frames={folder}: found no pairs with depth of 480x640")
    return pairs


def synthetic() -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns six noisy planes with boxes."""
    pairs = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        rows, columns = np.mgrid[0:480, 0:640]
        depth = 1500 + 2 * rows + rng.uniform(-2, 2) * columns
        for _ in range(12):
            top, left = rng.integers(0, 400), rng.integers(0, 560)
            depth[top : top + 120, left : left + 120] *= rng.uniform(0.7, 1)
        depth += cv2.GaussianBlur(rng.normal(0, 30, depth.shape), (0, 0), 3)
        gray = np.clip(depth / 16 + rng.normal(0, 4, depth.shape), 0, 255).astype(np.uint8)
        depth[rng.random(depth.shape) < 0.05] = 0
        pairs.append((np.stack([gray, 255 - gray, gray // 2], -1), depth.astype(np.uint16)))
    return pairs


def resized(
    color: np.ndarray, depth_mm: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Resizes a pair: colour by area, depth by the nearest pixel."""
    shape = (size[1], size[0])
    color = cv2.resize(color, shape, interpolation=cv2.INTER_AREA)
    return color, cv2.resize(depth_mm, shape, interpolation=cv2.INTER_NEAREST)


def read_table(
    pairs: list[tuple[np.ndarray, np.ndarray]], size: tuple[int, int], rounds: int, kind: str
) -> None:
    """Prints the time of each stage from a record to a training example."""
    tensor_s: dict[str, list[float]] = {}
    naive_s: dict[str, list[float]] = {}
    tensor_bytes = naive_bytes = 0
    for color, depth in pairs:
        filled_mm, filled = fill.fill_nearest(depth)
        classes = frontier_classes.encode(superpixels.Seeds()(filled_mm))
        arrays = {"depth": filled_mm, "filled": filled, "frontier": classes}
        jpeg = cv2.imencode(".jpg", color, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
        tensors = {name: zlib.compress(array.tobytes()) for name, array in arrays.items()}
        pngs = {
            name: cv2.imencode(".png", array.astype(np.uint8) if name == "filled" else array)[1]
            for name, array in arrays.items()
        }
        tensor_bytes += len(jpeg) + sum(map(len, tensors.values()))
        naive_bytes += len(jpeg) + sum(map(len, pngs.values()))
        record = {"image": decode_rgb(jpeg), "frontier_seeds": classes, **arrays}
        rng = np.random.default_rng(0)
        # Alternated, so that other work on the machine affects both formats equally.
        for _ in range(rounds):
            for seconds in (tensor_s, naive_s):
                timed(seconds, "image", lambda jpeg=jpeg: decode_rgb(jpeg))
                timed(seconds, "augment", lambda r=record, g=rng: augment(r, g))
            for name in ARRAYS:
                kwargs = {"name": name, "size": size}
                timed(tensor_s, name, lambda t=tensors[name], k=kwargs: decode_tensor(t, **k))
                timed(naive_s, name, lambda p=pngs[name]: cv2.imdecode(p, cv2.IMREAD_UNCHANGED))
    count = len(pairs)
    print(f"{size[0]}x{size[1]}, {count} {kind}, {rounds} rounds, ms on one core, medians:")
    totals = [
        report("zlib tensors + JPEG", tensor_s, tensor_bytes / count),
        report("PNG + JPEG", naive_s, naive_bytes / count),
    ]
    augment_ms = 1e3 * float(np.median(tensor_s["augment"]))
    ratio = (totals[1] - augment_ms) / (totals[0] - augment_ms)
    print(f"  ratio of decoding times without augmentation {ratio:.2f} (expected: at least 1.25)\n")


def decode_rgb(jpeg: bytes) -> np.ndarray:
    """Decodes as TFDS does without TensorFlow."""
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def augment(record: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Augments a decoded record as training does."""
    names = ("image", "depth", "filled", "frontier_seeds")
    mirrored = [rng.random() < DATA.flip_probability]
    stacked = {name: batch.stack_mirrored([record[name]], mirrored) for name in names}
    data.example_of(stacked, DATA)


def decode_tensor(stream: bytes, *, name: str, size: tuple[int, int]) -> np.ndarray:
    """Decodes as TFDS does."""
    return np.frombuffer(zlib.decompress(stream), ARRAYS[name]).reshape(size)


def timed(seconds: dict[str, list[float]], stage: str, call: Callable[[], object]) -> None:
    """Adds the time of one call to its stage."""
    started = time.perf_counter()
    call()
    seconds.setdefault(stage, []).append(time.perf_counter() - started)


def report(title: str, seconds: dict[str, list[float]], size_bytes: float) -> float:
    """Prints the stages of a format and returns their sum in ms."""
    stages_ms = {stage: 1e3 * float(np.median(values)) for stage, values in seconds.items()}
    total_ms = sum(stages_ms.values())
    shares = ", ".join(f"{k} {v:.2f} ({v / total_ms:.0%})" for k, v in stages_ms.items())
    print(
        f"  {title:<20} {total_ms:6.2f} ms, {1e3 / total_ms:4.0f} per second, "
        f"{size_bytes / 1e3:.0f} kB: {shares}"
    )
    return total_ms


class Generated:
    """As many records of random values as a prepared split of that size would have."""

    def __init__(self, count: int):
        """Draws nothing yet."""
        self._count = count

    def __len__(self) -> int:
        """Returns the number of records."""
        return self._count

    def __getitem__(self, index: int) -> dict[str, object]:
        """Draws a record: colour of 240x320, labels of 120x160."""
        rng, size = np.random.default_rng(index), LABEL_SIZE
        return {
            "image": rng.integers(0, 256, (*IMAGE_SIZE, 3), np.uint8),
            "depth": rng.integers(500, 9000, size, np.uint16),
            "filled": rng.random(size) < 0.1,
            "frontier_seeds": rng.integers(0, 16, size, np.uint8),
            "space_id": b"", "scene_id": b"", "frame_index": index,
        }  # fmt: skip


def cached_table() -> None:
    """Prints how many examples a second a full cache gives."""
    examples = cache.Cached(Generated(CACHED_IMAGES), DATA.labels)
    for index in range(len(examples)):
        examples[index]
    for threads in (1, 2):
        config = dataclasses.replace(DATA, batch_size=BATCH_SIZE, threads=threads)
        batches = data.train_batches(examples, config, seed=0, first_step=0)
        next(batches)
        started_s, started_cpu_s, count = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - started_s < CACHED_S:
            next(batches)
            count += BATCH_SIZE
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
        print(
            f"cached, batches of {BATCH_SIZE}, {threads} threads: {count / wall_s:.0f} examples per"
            f" second, {count / cpu_s:.0f} per second of a core (expected: at least 5000)"
        )


class Encoded:
    """A split of 480x640 that decodes its records as a prepared one does."""

    def __init__(self, pairs: list[tuple[np.ndarray, np.ndarray]]):
        """Encodes the pairs."""
        self._streams = []
        for color, depth in pairs:
            filled_mm, filled = fill.fill_nearest(depth)
            classes = frontier_classes.encode(superpixels.Seeds()(filled_mm))
            arrays = {"depth": filled_mm, "filled": filled, "frontier": classes}
            jpeg = cv2.imencode(".jpg", color, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
            tensors = {name: zlib.compress(array.tobytes()) for name, array in arrays.items()}
            self._streams.append((jpeg.tobytes(), tensors))

    def __len__(self) -> int:
        """Returns the number of records, of which many are the same."""
        return CACHED_IMAGES

    def __getitem__(self, index: int) -> dict[str, object]:
        """Decodes a record."""
        jpeg, tensors = self._streams[index % len(self._streams)]
        decoded: dict[str, object] = {
            name: decode_tensor(stream, name=name, size=SIZES[0])
            for name, stream in tensors.items()
        }
        return decoded | {"image": decode_rgb(jpeg), "frontier_seeds": decoded["frontier"]}


@dataclasses.dataclass(frozen=True)
class ReadBatch:
    """Reads a batch of examples by its number, every other one mirrored."""

    examples: Encoded
    size: int

    def __call__(self, number: int) -> batch.Batch:
        """Returns the batch."""
        first = number * self.size
        chosen = [((first + row) % len(self.examples), row % 2 == 0) for row in range(self.size)]
        return data.read_batch(chosen, examples=self.examples, data=DATA)


def workers_table(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Prints how many examples of 480x640 a second are decoded, by threads and by processes."""
    flags.FLAGS.mark_as_parsed()  # Grain's processes read one of absl's.
    examples, rows, size = Encoded(pairs), [], BATCH_SIZE // 4
    for kind, number in [(kind, n) for n in WORKERS for kind in ("threads", "processes")]:
        batches: Any = grain.MapDataset.source(range(10**6)).map(ReadBatch(examples, size))
        threads = number if kind == "threads" else 1
        batches = batches.to_iter_dataset(grain.ReadOptions(threads, max(2, threads)))
        if kind == "processes":
            batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=number))
        iterator, count = iter(batches), 0
        for _ in range(2 * number):  # Until every process has started.
            next(iterator)
        started_s = time.perf_counter()
        while time.perf_counter() - started_s < CACHED_S:
            next(iterator)
            count += size
        rows.append((kind, number, count / (time.perf_counter() - started_s)))
        del iterator  # Ends its processes.
    print(f"examples of {SIZES[0]} from records to batches of {size}, {os.cpu_count()} cores:")
    print(tabulate.tabulate(rows, ("workers", "number", "per second"), floatfmt=".0f"))


def strided_read(path: pathlib.Path, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Prints the bytes read of a file for every 30th frame, and the peak memory."""
    frames = []
    for color, depth in pairs:
        jpeg = cv2.imencode(".jpg", cv2.resize(color, (1296, 968)))[1].tobytes()
        frames.append(sens.EncodedFrame(np.eye(4), jpeg, sens.encode_depth(depth)))
    sizes = {"color_size": (968, 1296), "depth_size": SIZES[0]}
    many = [frames[index % len(frames)] for index in range(SENS_FRAMES)]
    sens.write(path, many, **sizes, intrinsic_color=np.eye(4), intrinsic_depth=np.eye(4))
    del frames, many
    before_bytes, count = read_by_this_process(), 0
    tracemalloc.start()
    for frame in sens.SensRecording(path).frames(STRIDE):
        frame.read_color()
        frame.read_depth()
        count += 1
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    touched, size = read_by_this_process() - before_bytes, os.path.getsize(path)
    print(
        f".sens of {size / 1e6:.0f} MB, {SENS_FRAMES} frames, stride {STRIDE}: {count} frames "
        f"and {touched / 1e6:.2f} MB read, 1/{size / touched:.1f} of the file (expected: at most "
        f"1/20); peak memory {peak_mb:.1f} MB"
    )


def read_by_this_process() -> int:
    """Returns the total bytes returned by the read calls of this process (Linux)."""
    lines = pathlib.Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument("--frames", type=pathlib.Path, help="folder of real captures")
    parser.add_argument(
        "--rounds", type=command_line.positive_int, default=15, help="repetitions of each frame"
    )
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
