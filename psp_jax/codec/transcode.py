"""Codes depth images as regions, and back.

    python -m psp_jax.codec encode PATH... --out=coded
    python -m psp_jax.codec decode coded --out=decoded

encode takes depth PNGs (16 bit, millimetres, 0 for no reading), folders of them, `.sens` files, and
folders of scans in any layout that the data set builder reads; every frame becomes one `.pdr`
file. decode takes those or folders of them, and writes depth and regions as 16-bit PNGs. As
`explore`, this program reads people's own files with the builder's readers.
"""

import dataclasses
import itertools
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import cv2
import numpy as np
import tqdm
from absl import flags

from psp_jax import codec
from psp_jax.io.units import MM_PER_M
from psp_jax.partition import fill, smoothing
from psp_jax.recordings import images, layouts, recording, sens

_OUT = flags.DEFINE_string("out", "coded", "Folder of the results; new or empty.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Write into a folder that holds files.")
_TRADE = flags.DEFINE_float(
    "trade",
    1e-3,
    "Squared error of inverse depth, in 1/m^2, that a bit may save: smaller is finer.",
)
_RMSE = flags.DEFINE_float(
    "rmse", None, "Instead of --trade: RMSE of inverse depth, in 1/m, that no frame exceeds."
)
_MAX_ERROR = flags.DEFINE_float(
    "max_error", None, "Largest error of inverse depth of any pixel, in 1/m; adds residuals."
)
_HOLES = flags.DEFINE_bool(
    "holes", True, "Keep which pixels have no reading; without, they get the nearest one."
)
_STRIDE = flags.DEFINE_integer("stride", 1, "Codes every so many frames of a scan.")

SUFFIX = ".pdr"
MAX_STREAM_BYTES = 256 << 20
# Trades that --rmse chooses from, the coarsest first: half-octave steps.
TRADES = tuple(2.0**-exponent for exponent in np.arange(4.0, 20.5, 0.5))
Read = Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of the frames.

    Attributes:
        done: frames written.
        data_bytes: bytes of all streams.
        pixels: pixels of all frames.
        skipped: why a frame was left out, by its name.
    """

    done: int
    data_bytes: int
    pixels: int
    skipped: dict[str, str]


def frames(path: pathlib.Path, stride: int) -> tuple[int, Iterator[tuple[str, Read]]]:
    """Lists the frames of a file or folder: their number, and names with what reads them.

    Raises:
        ValueError: if the file is no depth image or scan.
        FileNotFoundError: if there is nothing to read.
    """
    if path.suffix == ".png" and path.is_file():
        return 1, iter([(path.stem, lambda: images.decode_depth_png(path.read_bytes()))])
    if path.suffix == ".sens" and path.is_file():
        scan = sens.SensRecording(path)
        return scan.count(stride), _scan_frames(scan, stride)
    if path.is_dir():
        found = sorted(path.glob("**/depth/*.png")) or sorted(path.glob("*.png"))
        if found and not any(path.glob("**/scene*_*")):
            names = [str(image.relative_to(path).with_suffix("")) for image in found]
            reads = [
                lambda image=image: images.decode_depth_png(image.read_bytes()) for image in found
            ]
            return len(found), zip(names, reads, strict=True)
        scans = layouts.survey(path).recordings
        parts = [_scan_frames(scan, stride) for scan in scans]
        return sum(scan.count(stride) for scan in scans), itertools.chain.from_iterable(parts)
    raise FileNotFoundError(f"{path}: a .png, a .sens or a folder of them was expected")


def _scan_frames(scan: recording.Recording, stride: int) -> Iterator[tuple[str, Read]]:
    """Yields the frames of a scan; where the rest can't be read, one whose reading says so."""
    try:
        for frame in scan.frames(stride):
            yield f"{scan.id}/{frame.index:06d}", frame.read_depth
    except (ValueError, OSError) as error:
        message = f"the rest of {scan.path} can't be read: {error}"

        def fail() -> np.ndarray:
            raise ValueError(message)

        yield f"{scan.id}/...", fail


def cut_and_encode(
    depth_mm: np.ndarray, *, trade: float, max_error_per_m: float | None = None
) -> bytes:
    """Cuts a depth image into planar regions and codes it.

    Args:
        depth_mm: `[H, W]` uint16 millimetres; 0 marks no reading.
        trade: squared error of inverse depth, in 1/m^2, that a bit or a crack edge may save.
        max_error_per_m: bound of the error of every pixel's inverse depth, or None.

    Raises:
        ValueError: if there is no reading at all, or the image is too small to cut.
    """
    filled_mm, _ = fill.fill_nearest(depth_mm)
    labels = smoothing.Smoothed(trade=trade)(filled_mm)
    return codec.encode(depth_mm, labels, trade=trade, max_error_per_m=max_error_per_m)


def cut_and_encode_within(
    depth_mm: np.ndarray, *, rmse_per_m: float, max_error_per_m: float | None = None
) -> bytes:
    """Does the same with the coarsest of `TRADES` that keeps the RMSE of inverse depth in bounds.

    Raises:
        ValueError: as `cut_and_encode` does, or if even the finest is too coarse.
    """
    filled_mm, _ = fill.fill_nearest(depth_mm)
    fine = smoothing.Smoothed().base(filled_mm)
    low, high = 0, len(TRADES)  # Coarser than low is too coarse; high is fine enough, or none is.
    while low < high:
        middle = (low + high) // 2
        trade = TRADES[middle]
        labels = smoothing.smooth(fine, filled_mm, trade=trade)
        if codec.measured_rmse_per_m(depth_mm, labels, trade=trade) <= rmse_per_m:
            high = middle
        else:
            low = middle + 1
    if high == len(TRADES):
        raise ValueError(
            f"an RMSE of {rmse_per_m} per metre is out of reach of regions; "
            "--max_error bounds every pixel instead"
        )
    trade = TRADES[high]
    labels = smoothing.smooth(fine, filled_mm, trade=trade)
    return codec.encode(depth_mm, labels, trade=trade, max_error_per_m=max_error_per_m)


def describe(name: str, depth_mm: np.ndarray, stream: bytes) -> str:
    """Says in a line what a stream makes of a frame: it is decoded for that."""
    found_mm, labels = codec.decode(stream)
    seen = depth_mm > 0
    inverse, found = MM_PER_M / depth_mm[seen], MM_PER_M / found_mm[seen]
    rmse_per_m = float(np.sqrt(np.mean((found - inverse) ** 2)))
    rmse_mm = float(np.sqrt(np.mean((found_mm[seen].astype(float) - depth_mm[seen]) ** 2)))
    psnr = "inf"
    if rmse_per_m > 0:
        psnr = f"{20 * np.log10(max(np.ptp(inverse), 1e-9) / rmse_per_m):.1f}"
    return (
        f"{name}: {labels.max() + 1} regions, {len(stream)} bytes, "
        f"{8 * len(stream) / depth_mm.size:.4f} bpp, RMSE {rmse_mm:.1f} mm, "
        f"{rmse_per_m:.5f} 1/m, PSNR {psnr} dB"
    )


def encode_all(
    paths: Sequence[pathlib.Path], out: pathlib.Path, stride: int, code: Callable[..., bytes]
) -> Summary:
    """Codes every frame of every path into `out` with a line each; what fails is skipped."""
    found = [frames(path, stride) for path in paths]
    done, data_bytes, pixels, skipped = 0, 0, 0, {}
    written: set[pathlib.Path] = set()
    with _progress(sum(count for count, _ in found), "encode") as progress:
        for name, read in itertools.chain.from_iterable(part for _, part in found):
            target = out / f"{name}{SUFFIX}"
            try:
                if target in written:
                    raise ValueError("another frame has that name; encode it to another folder")
                depth_mm = read()
                if not depth_mm.any():
                    raise ValueError("no reading at all")
                stream = code(depth_mm)
                _write(target, stream)
            except ValueError as error:
                skipped[name] = str(error)
                progress.write(f"{name}: skipped, {error}")
            else:
                written.add(target)
                done, data_bytes = done + 1, data_bytes + len(stream)
                pixels += depth_mm.size
                progress.write(describe(name, depth_mm, stream))
            progress.update()
    return Summary(done, data_bytes, pixels, skipped)


def decode_all(paths: Sequence[pathlib.Path], out: pathlib.Path) -> Summary:
    """Decodes every stream of every path to `out`/depth and `out`/regions."""
    found = [pair for path in paths for pair in _streams(path)]
    done, data_bytes, pixels, skipped = 0, 0, 0, {}
    with _progress(len(found), "decode") as progress:
        for name, path in found:
            try:
                if path.stat().st_size > MAX_STREAM_BYTES:
                    raise ValueError(f"larger than {MAX_STREAM_BYTES} bytes")
                target = out / "depth" / f"{name}.png"
                data = path.read_bytes()
                depth_mm, labels = codec.decode(data)
                _write(target, _png(depth_mm))
                regions = int(labels.max()) + 1
                if regions > 65535:
                    progress.write(f"{name}: {regions} regions don't fit a 16-bit PNG: only depth")
                else:
                    _write(out / "regions" / f"{name}.png", _png(labels.astype(np.uint16)))
            except ValueError as error:
                skipped[name] = str(error)
                progress.write(f"{name}: skipped, {error}")
            else:
                done, data_bytes = done + 1, data_bytes + len(data)
                pixels += depth_mm.size
                height, width = depth_mm.shape
                progress.write(f"{name}: {height}x{width}, {regions} regions, {len(data)} bytes")
            progress.update()
    return Summary(done, data_bytes, pixels, skipped)


def _streams(path: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    if path.is_file():
        return [(path.stem, path)]
    if path.is_dir():
        found = sorted(path.glob(f"**/*{SUFFIX}"))
        if found:
            return [(str(file.relative_to(path).with_suffix("")), file) for file in found]
    raise FileNotFoundError(f"{path}: a {SUFFIX} file or a folder of them was expected")


def _progress(total: int, what: str) -> tqdm.tqdm:
    interval_s = 0.1 if sys.stderr.isatty() else 10
    return tqdm.tqdm(total=total, unit="frame", desc=what, mininterval=interval_s)


def _png(pixels: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", pixels)
    assert done
    return data.tobytes()


def _write(path: pathlib.Path, data: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def _coder() -> Callable[..., bytes]:
    """The way to code a frame that the flags ask for."""
    if _MAX_ERROR.value is not None and not _MAX_ERROR.value > 0:
        raise ValueError(f"--max_error={_MAX_ERROR.value}: more than 0 was expected")
    rmse_per_m = _RMSE.value
    if rmse_per_m is not None and not rmse_per_m > 0:
        raise ValueError(f"--rmse={rmse_per_m}: more than 0 was expected")
    if not _TRADE.value > 0:
        raise ValueError(f"--trade={_TRADE.value}: more than 0 was expected")

    def code(depth_mm: np.ndarray) -> bytes:
        if not _HOLES.value:
            depth_mm, _ = fill.fill_nearest(depth_mm)
        if rmse_per_m is None:
            return cut_and_encode(depth_mm, trade=_TRADE.value, max_error_per_m=_MAX_ERROR.value)
        return cut_and_encode_within(
            depth_mm, rmse_per_m=rmse_per_m, max_error_per_m=_MAX_ERROR.value
        )

    return code


def main(argv: list[str]) -> None:
    """Codes or decodes every path of the command line."""
    try:
        if len(argv) < 3 or argv[1] not in ("encode", "decode"):
            raise ValueError("encode PATH... or decode PATH... was expected")
        if _STRIDE.value < 1:
            raise ValueError(f"--stride={_STRIDE.value}: at least 1 was expected")
        code = _coder()
        paths, out = [pathlib.Path(path) for path in argv[2:]], pathlib.Path(_OUT.value)
        if not _OVERWRITE.value and out.is_dir() and any(out.iterdir()):
            raise ValueError(f"--out={out} holds files; choose another folder or add --overwrite")
        if argv[1] == "encode":
            summary = encode_all(paths, out, _STRIDE.value, code)
        else:
            summary = decode_all(paths, out)
    except (ValueError, OSError) as error:
        _fail(str(error))
    rate = f", {8 * summary.data_bytes / summary.pixels:.4f} bpp" if summary.pixels else ""
    print(f"{summary.done} frames are in {out}: {summary.data_bytes} bytes coded{rate}")
    if summary.skipped:
        print(f"{len(summary.skipped)} skipped: {', '.join(sorted(summary.skipped))}")
    if not summary.done:
        sys.exit(1)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; what is wrong with them ends the program in one line."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(" ".join(str(error).split()))


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
