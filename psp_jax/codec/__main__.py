"""Encodes depth images as regions, and decodes them.

    python -m psp_jax.codec encode PATH... --out=coded
    python -m psp_jax.codec decode coded --out=decoded

encode takes depth images (16-bit PNG or PGM, TIFF, PFM, NPY, EXR), folders of them, `.sens` files,
and folders of recordings in any layout that the data set builder reads (see docs/data.md); every
frame becomes one `.pdr` file. decode takes those or folders of them, and writes depth and regions
as 16-bit PNGs. Frames that can't be coded are skipped and named, and the status is 1.
"""

import argparse
import functools

from psp_jax.codec import transcode
from psp_jax.io import command_line
from psp_jax.recordings import inputs


def main(arguments: argparse.Namespace) -> int:
    """Encodes or decodes every path of the command line; returns 1 if frames were skipped."""
    out = arguments.out
    if not arguments.overwrite and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"--out={out} holds files; choose another folder or add --overwrite")
    paths = arguments.paths
    if arguments.command == "encode":
        reading = inputs.reading(arguments)
        summary = transcode.encode_all(paths, out, arguments.stride, _coder(arguments), **reading)
    else:
        summary = transcode.decode_all(paths, out)
    rate = f", {8 * summary.data_bytes / summary.pixels:.4f} bpp" if summary.pixels else ""
    print(f"{summary.done} frames are in {out}: {summary.data_bytes} bytes coded{rate}")
    if summary.skipped:
        print(f"{len(summary.skipped)} skipped: {', '.join(sorted(summary.skipped))}")
    for line in inputs.lines_of(summary.unused):
        print(line)
    return 0 if summary.done and not summary.skipped else 1


def _coder(arguments: argparse.Namespace) -> transcode.Code:
    options = {"max_error_per_m": arguments.max_error, "holes": arguments.holes}
    if arguments.rmse is not None:
        return functools.partial(
            transcode.segment_and_encode_within, rmse_per_m=arguments.rmse, **options
        )
    return functools.partial(transcode.segment_and_encode, trade=arguments.trade, **options)


def parser() -> command_line.Parser:
    """Returns the parser of the command line."""
    result = command_line.Parser(prog="python -m psp_jax.codec", description=__doc__)
    commands = result.add_subparsers(dest="command", metavar="COMMAND", required=True)
    encode = commands.add_parser(
        "encode", description="Encodes depth images as .pdr streams.", help="encode depth images"
    )
    decode = commands.add_parser(
        "decode",
        description="Decodes .pdr streams to depth and region PNGs.",
        help="decode .pdr streams",
    )
    for command, out in ((encode, "coded"), (decode, "decoded")):
        command.add_argument(
            "paths", nargs="+", type=command_line.path, metavar="PATH", help="a file or a folder"
        )
        command.add_argument(
            "--out",
            type=command_line.path,
            default=out,
            help="output folder; must be new or empty (default: %(default)s)",
        )
        command.add_argument(
            "--overwrite", action="store_true", help="write into a folder that holds files"
        )
    positive = command_line.positive_float
    rate = encode.add_mutually_exclusive_group()
    rate.add_argument(
        "--trade",
        type=positive,
        default=1e-3,
        help="increase of squared error of inverse depth, in 1/m^2, accepted per bit saved "
        "(default: %(default)s)",
    )
    rate.add_argument(
        "--rmse",
        type=positive,
        help="upper bound of the RMSE of inverse depth, in 1/m; frames that can't reach it are "
        "skipped",
    )
    encode.add_argument(
        "--max_error",
        type=positive,
        help="largest error of inverse depth of any pixel, in 1/m; adds residuals",
    )
    encode.add_argument(
        "--holes",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="store the mask of pixels without a reading; --no-holes fills them with the nearest "
        "reading",
    )
    encode.add_argument(
        "--stride", type=command_line.positive_int, default=1, help="code every N-th frame of scans"
    )
    inputs.add_flags(encode)
    return result


if __name__ == "__main__":
    command_line.run(main, parser())
