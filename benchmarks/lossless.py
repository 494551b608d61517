"""Compares lossless and near-lossless coding of captured depth: regions, RVL and image codecs.

Run `python -m benchmarks.lossless [FOLDER] [--frames=N]`, with FOLDER as of `benchmarks/coding.py`.
Holes are kept by all. The first table is of exact millimetres. In the others the inverse depth of
no pixel errs by more than a bound: regions add residuals for it, and the other codecs code inverse
depth that is rounded to steps of twice the bound, without loss. All bytes are of real streams,
decoded again, on one thread.
"""

import argparse
import functools
import time
from collections.abc import Callable

import cv2
import imagecodecs
import numba
import numpy as np
import tabulate

from benchmarks import labels as label_benchmark
from benchmarks import rvl
from psp_jax import codec
from psp_jax.codec import transcode
from psp_jax.io import command_line
from psp_jax.io.units import MM_PER_M

BOUNDS_PER_M = (0.02, 0.01, 0.005, 0.002)
TRADES = (1e-3, 1e-4)  # Of the regions below the residuals; the default first.
ROUNDING = 1e-9  # Of computing inverse depth in float64.
Codec = tuple[Callable[[np.ndarray], bytes], Callable[[bytes, tuple[int, int]], np.ndarray]]
LOSSLESS: dict[str, Codec] = {
    "PNG": (
        lambda image: cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes(),
        lambda data, _: np.asarray(
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        ),
    ),
    "RVL": (rvl.encode, rvl.decode),
    "RVL + Zstandard": (
        lambda image: imagecodecs.zstd_encode(rvl.encode(image), level=19),
        lambda data, shape: rvl.decode(imagecodecs.zstd_decode(data), shape),
    ),
    "JPEG-LS": (imagecodecs.jpegls_encode, lambda data, _: imagecodecs.jpegls_decode(data)),
    "JPEG 2000": (
        lambda image: imagecodecs.jpeg2k_encode(image, level=0, codecformat="j2k", reversible=True),
        lambda data, _: imagecodecs.jpeg2k_decode(data),
    ),
    "JPEG XL": (
        lambda image: imagecodecs.jpegxl_encode(
            image, lossless=True, effort=7, usecontainer=False, numthreads=1
        ),
        lambda data, _: imagecodecs.jpegxl_decode(data),
    ),
}
# Bits per pixel, and CPU milliseconds to encode and to decode.
Row = tuple[float, float, float]


def measure(
    image: np.ndarray, encode: Callable[[np.ndarray], bytes], decode: Callable[[bytes], np.ndarray]
) -> tuple[Row, np.ndarray]:
    """Codes an image; returns its row and the decoded image."""
    began_s = time.process_time()
    data = encode(image)
    middle_s = time.process_time()
    decoded = decode(data)
    ended_s = time.process_time()
    return (8 * len(data) / image.size, 1e3 * (middle_s - began_s), 1e3 * (ended_s - middle_s)), (
        decoded.reshape(image.shape)
    )


def without_loss(image: np.ndarray, name: str) -> Row:
    """Returns the row of a lossless codec on `[H, W]` uint16.

    Raises:
        SystemExit: if the decoded image differs.
    """
    encode, decode = LOSSLESS[name]
    row, decoded = measure(image, encode, lambda data: decode(data, image.shape))
    if not np.array_equal(decoded, image):
        raise SystemExit(f"{name} decodes to another image")
    return row


def inverse_per_m(depth_mm: np.ndarray) -> np.ndarray:
    """Returns inverse depth in 1/m as float64; 0 where there is no reading."""
    return np.where(depth_mm > 0, MM_PER_M / np.maximum(depth_mm, 1), 0.0)


def as_regions(depth_mm: np.ndarray, trade: float, bound_per_m: float) -> tuple[Row, np.ndarray]:
    """Codes a frame as regions with residuals; returns the row, segmentation included, and depth.

    Raises:
        SystemExit: if a pixel errs by more than the bound and the rounding to whole millimetres.
    """
    row, decoded_mm = measure(
        depth_mm,
        functools.partial(
            transcode.segment_and_encode, trade=trade, max_error_per_m=bound_per_m, holes=True
        ),
        lambda data: codec.decode(data)[0],
    )
    error = np.abs(inverse_per_m(decoded_mm) - inverse_per_m(depth_mm))
    nearest_mm = np.maximum(np.minimum(decoded_mm, depth_mm).astype(float), 1)
    allowed = bound_per_m + 0.5 * MM_PER_M / nearest_mm**2 + ROUNDING
    if (error > allowed).any() or np.any((decoded_mm == 0) != (depth_mm == 0)):
        raise SystemExit(f"regions err by {error.max():.4g} 1/m, more than {bound_per_m:g}")
    return row, decoded_mm


def exact(depth_mm: np.ndarray, trade: float) -> Row:
    """Codes a frame as regions with residuals that leave every millimetre as it is.

    Raises:
        SystemExit: if the decoded frame differs.
    """
    most_mm = float(depth_mm.max())
    half_mm = MM_PER_M / most_mm - MM_PER_M / (most_mm + 0.5)
    row, decoded_mm = as_regions(depth_mm, trade, 0.99 * half_mm)
    if not np.array_equal(decoded_mm, depth_mm):
        raise SystemExit("regions decode to another image")
    return row


def rounded(depth_mm: np.ndarray, bound_per_m: float) -> np.ndarray:
    """Returns `[H, W]` uint16 steps of inverse depth, each twice the bound, from 1; 0 for holes."""
    steps = np.round(inverse_per_m(depth_mm) / (2 * bound_per_m))
    least = steps[depth_mm > 0].min()
    return np.where(depth_mm > 0, steps - least + 1, 0).astype(np.uint16)


def print_table(title: str, rows: dict[str, list[Row]]) -> None:
    """Prints the means of the rows, and the size against that of RVL, frame by frame."""
    base = np.array(rows["RVL"])[:, 0]
    cells = [
        [name, *np.mean(of_codec, axis=0), np.exp(np.mean(np.log(np.array(of_codec)[:, 0] / base)))]
        for name, of_codec in rows.items()
    ]
    headers = [title, "bits/pixel", "encode ms", "decode ms", "bytes / RVL's"]
    print(tabulate.tabulate(cells, headers, floatfmt=("", ".4f", ".0f", ".0f", ".3f")), flush=True)
    print()


def main(arguments: argparse.Namespace) -> None:
    """Prints the tables of the captures."""
    cv2.setNumThreads(1)
    numba.set_num_threads(1)
    sources = label_benchmark.captures(arguments.folder).values()
    frames_mm = [frame for source in sources for frame in source]
    if not frames_mm:
        raise FileNotFoundError(f"{arguments.folder}: expected SOURCE/depth/*.png of 480x640 in it")
    if arguments.frames:
        chosen = np.linspace(0, len(frames_mm) - 1, min(arguments.frames, len(frames_mm)))
        frames_mm = [frames_mm[int(index)] for index in chosen]
    print(f"{len(frames_mm)} frames of 480x640\n")
    as_regions(frames_mm[0], TRADES[0], BOUNDS_PER_M[0])  # Compiles.
    table = {name: [without_loss(frame, name) for frame in frames_mm] for name in LOSSLESS}
    table |= {f"regions, {t:g}": [exact(frame, t) for frame in frames_mm] for t in TRADES}
    print_table("exact", table)
    for bound in BOUNDS_PER_M:
        images = [rounded(frame, bound) for frame in frames_mm]
        table = {name: [without_loss(image, name) for image in images] for name in LOSSLESS}
        for trade in TRADES:
            rows = [as_regions(frame, trade, bound)[0] for frame in frames_mm]
            table[f"regions, {trade:g}"] = rows
        print_table(f"within {bound:g} 1/m", table)


if __name__ == "__main__":
    parser = command_line.Parser(prog="python -m benchmarks.lossless", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=command_line.path, default=label_benchmark.DEFAULT_FOLDER
    )
    parser.add_argument("--frames", type=command_line.positive_int, help="number, evenly spread")
    command_line.run(main, parser)
