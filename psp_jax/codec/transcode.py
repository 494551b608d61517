"""Reads depth images, codes them as regions and decodes them: the work of the command line."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from psp_jax import codec
from psp_jax.io import image_kinds, own_files, progress
from psp_jax.io.units import MM_PER_M
from psp_jax.partition import fill, smoothing
from psp_jax.recordings import inputs, listing, recording

SUFFIX = ".pdr"
MAX_STREAM_BYTES = 256 << 20
MAX_REGIONS = 1 << 16  # Of a 16-bit PNG.
# Trades to choose from for a bound of the RMSE, the coarsest first: half-octave steps.
TRADES = tuple(2.0**-exponent for exponent in np.arange(4.0, 20.5, 0.5))
Code = Callable[[np.ndarray], bytes]  # Codes `[H, W]` uint16 millimetres.


@dataclasses.dataclass(frozen=True)
class Summary:
    """The result of coding or decoding many frames.

    Attributes:
        done: number of frames written.
        data_bytes: bytes of all streams.
        pixels: pixels of all frames.
        skipped: why a frame was skipped, by its file, or its name in a recording.
        unused: why a file or folder that looks like an input was not used, by its path.
    """

    done: int
    data_bytes: int
    pixels: int
    skipped: dict[str, str]
    unused: dict[str, str] = dataclasses.field(default_factory=dict)


class DepthFrame(NamedTuple):
    """A frame to code: its name, what reads its millimetres, and what messages call it."""

    name: str
    read: Callable[[], np.ndarray]
    source: str


def frames(found: inputs.Inputs, stride: int) -> tuple[int, Iterator[DepthFrame]]:
    """Lists the frames of inputs: their number, and each of them."""
    loose = [
        DepthFrame(name, frame.read_depth, os.fspath(frame.files["depth"]))
        for name, frame in found.depths.items()
    ]
    parts = [_scan_frames(scan, stride) for scan in found.recordings]
    count = len(loose) + sum(scan.count(stride) for scan in found.recordings)
    return count, itertools.chain(loose, *parts)


def _scan_frames(scan: recording.Recording, stride: int) -> Iterator[DepthFrame]:
    """Yields the frames of a scan; the last one raises where the rest can't be read."""
    try:
        for frame in scan.frames(stride):
            name = f"{scan.id}/{frame.index:06d}"
            yield DepthFrame(name, frame.read_depth, name)
    except (ValueError, OSError) as error:
        message = f"the rest of {scan.path} can't be read: {error}"

        def fail() -> np.ndarray:
            raise ValueError(message)

        yield DepthFrame(f"{scan.id}/...", fail, f"{scan.id}/...")


def segment_and_encode(
    depth_mm: np.ndarray, *, trade: float, max_error_per_m: float | None = None, holes: bool = True
) -> bytes:
    """Segments a depth image into planar regions and codes it.

    Args:
        depth_mm: `[H, W]` uint16 millimetres; 0 marks no reading.
        trade: increase of squared error of inverse depth, in 1/m^2, accepted per bit saved.
        max_error_per_m: bound of the error of every pixel's inverse depth, or None.
        holes: whether to code which pixels have no reading; they get the nearest reading without.

    Raises:
        ValueError: if there is no reading at all, or the image is too small to segment.
    """
    filled_mm, _ = fill.fill_nearest(depth_mm)
    labels = smoothing.Smoothed(trade=trade)(filled_mm)
    coded_mm = depth_mm if holes else filled_mm
    return codec.encode(coded_mm, labels, trade=trade, max_error_per_m=max_error_per_m)


def segment_and_encode_within(
    depth_mm: np.ndarray,
    *,
    rmse_per_m: float,
    max_error_per_m: float | None = None,
    holes: bool = True,
) -> bytes:
    """Does the same with the coarsest of `TRADES` whose RMSE of inverse depth is in bounds.

    Raises:
        ValueError: as `segment_and_encode` does, or if even the finest is too coarse.
    """
    filled_mm, _ = fill.fill_nearest(depth_mm)
    coded_mm = depth_mm if holes else filled_mm
    fine = smoothing.Smoothed().base(filled_mm)
    low, high = 0, len(TRADES)  # Coarser than low is too coarse; high is fine enough, or none is.
    while low < high:
        middle = (low + high) // 2
        labels = smoothing.smooth(fine, filled_mm, trade=TRADES[middle])
        rmse = codec.measured_rmse_per_m(coded_mm, labels, trade=TRADES[middle])
        low, high = (low, middle) if rmse <= rmse_per_m else (middle + 1, high)
    if high == len(TRADES):
        raise ValueError(
            f"the finest regions exceed an RMSE of {rmse_per_m} 1/m; use a larger --rmse, or "
            "--max_error without --rmse"
        )
    labels = smoothing.smooth(fine, filled_mm, trade=TRADES[high])
    return codec.encode(coded_mm, labels, trade=TRADES[high], max_error_per_m=max_error_per_m)


def describe(name: str, depth_mm: np.ndarray, stream: bytes) -> str:
    """Decodes a stream and returns one line with its size and errors."""
    decoded_mm, labels = codec.decode(stream)
    seen = depth_mm > 0
    inverse, decoded = MM_PER_M / depth_mm[seen], MM_PER_M / decoded_mm[seen]
    rmse_per_m = float(np.sqrt(np.mean((decoded - inverse) ** 2)))
    rmse_mm = float(np.sqrt(np.mean((decoded_mm[seen].astype(float) - depth_mm[seen]) ** 2)))
    psnr = "inf"
    if rmse_per_m > 0:
        psnr = f"{20 * np.log10(max(np.ptp(inverse), 1e-9) / rmse_per_m):.1f}"
    return (
        f"{name}: {labels.max() + 1} regions, {len(stream)} bytes, "
        f"{8 * len(stream) / depth_mm.size:.4f} bpp, RMSE {rmse_mm:.1f} mm, "
        f"{rmse_per_m:.5f} 1/m, PSNR {psnr} dB"
    )


def encode_all(
    paths: Sequence[pathlib.Path], out: pathlib.Path, stride: int, code: Code, **reading: Any
) -> Summary:
    """Encodes every frame of every path into `out`, skipping frames that fail.

    Args:
        paths: files and folders, see `inputs.find_depth`.
        out: folder of the streams.
        stride: takes every N-th frame of recordings.
        code: codes a frame.
        reading: keyword arguments of `layouts.survey`.
    """
    found = [inputs.find_depth(path, results=own_files.listed(out), **reading) for path in paths]
    for note in (note for each in found for note in each.notes):
        print(note)
    listed, own = [frames(each, stride) for each in found], own_files.OwnFiles(out)
    done, data_bytes, pixels, skipped = 0, 0, 0, {}
    written: set[pathlib.Path] = set()
    total = sum(count for count, _ in listed)
    with progress.bar(desc="encode", unit="frame", total=total) as bar:
        for name, read, source in itertools.chain.from_iterable(part for _, part in listed):
            target = out / f"{name}{SUFFIX}"
            try:
                if target in written:
                    raise ValueError("another frame has that name; encode it to another folder")
                depth_mm = read()
                if not depth_mm.any():
                    raise ValueError("no reading at all")
                stream = code(depth_mm)
                own.write(f"{name}{SUFFIX}", stream)
            except (ValueError, OSError) as error:
                skipped[source] = str(error)
                bar.write(f"{source}: skipped, {error}")
            else:
                written.add(target)
                done, data_bytes = done + 1, data_bytes + len(stream)
                pixels += depth_mm.size
                bar.write(describe(name, depth_mm, stream))
            bar.update()
    unused = {path: reason for each in found for path, reason in each.unused.items()}
    return Summary(done, data_bytes, pixels, skipped, unused)


def decode_all(paths: Sequence[pathlib.Path], out: pathlib.Path) -> Summary:
    """Decodes every stream of every path to `out`/depth and `out`/regions."""
    unused: dict[str, str] = {}
    listed = [pair for path in paths for pair in _streams(path, unused)]
    own = own_files.OwnFiles(out)
    done, data_bytes, pixels, skipped = 0, 0, 0, {}
    with progress.bar(desc="decode", unit="frame", total=len(listed)) as bar:
        for name, path in listed:
            try:
                if path.stat().st_size > MAX_STREAM_BYTES:
                    raise ValueError(f"larger than {MAX_STREAM_BYTES} bytes")
                data = path.read_bytes()
                depth_mm, labels = codec.decode(data)
                own.write(f"depth/{name}.png", _png(depth_mm, image_kinds.DEPTH))
                regions = int(labels.max()) + 1
                if regions > MAX_REGIONS:
                    bar.write(f"{name}: {regions} regions don't fit a 16-bit PNG: only depth")
                else:
                    numbers = labels.astype(np.uint16)
                    own.write(f"regions/{name}.png", _png(numbers, image_kinds.REGIONS))
            except (ValueError, OSError) as error:
                skipped[os.fspath(path)] = str(error)
                bar.write(f"{path}: skipped, {error}")
            else:
                done, data_bytes = done + 1, data_bytes + len(data)
                pixels += depth_mm.size
                height, width = depth_mm.shape
                bar.write(f"{name}: {height}x{width}, {regions} regions, {len(data)} bytes")
            bar.update()
    return Summary(done, data_bytes, pixels, skipped, unused)


def _streams(path: pathlib.Path, unused: dict[str, str]) -> list[tuple[str, pathlib.Path]]:
    """Lists the streams of a path with their names; adds folders that can't be read to `unused`."""
    if path.is_file():
        return [(path.stem, path)]
    if path.is_dir():
        streams, walk = [], listing.Walk(path)
        for folder in walk:
            streams += folder.having((SUFFIX,))
            walk.enter(folder.folders)
        unused |= walk.skipped
        if streams:
            return [(str(file.relative_to(path).with_suffix("")), file) for file in streams]
    raise FileNotFoundError(f"{path}: expected a {SUFFIX} file or a folder of them")


def _png(pixels: np.ndarray, holds: str) -> bytes:
    done, data = cv2.imencode(".png", pixels)
    assert done
    return image_kinds.mark(data.tobytes(), holds)
