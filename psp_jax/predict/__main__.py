"""Predicts depth, frontier classes and regions of images, videos and recordings.

    python -m psp_jax.predict --workdir=runs/frontier_edges photos film.mp4 --out=predicted

Takes JPEGs and PNGs, videos, `.sens` files, folders of them (of a folder with folders named
`color`, only the images in those) and quoted patterns such as "photos/**/*.jpg". For each frame it
writes, at the size of the frame, below the folder of results:

    depth/NAME.png     16 bits, millimetres, if the run predicts depth
    classes/NAME.png   8 bits, frontier classes 0 to 15
    regions/NAME.png   16 bits, the number of each pixel's region
    overlay/NAME.png   outlines of the regions over the image
    tables/NAME.csv    area, mean depth and neighbours of every region
    arrays/NAME.npz    with --format=npz: depth_m, edges, classes and regions instead of the PNGs
    page/index.html    with --page: a page of all frames that any browser opens from disk

After an interruption the same command predicts the missing frames, and those whose files have
changed. Files that can't be read are skipped and listed; the status is then 1.
"""

import argparse
import dataclasses
import hashlib
import os
import pathlib
from typing import Any

from psp_jax import experiment
from psp_jax.io import command_line
from psp_jax.predict import frames, outputs, viewer
from psp_jax.predict.pipeline import Pipeline
from psp_jax.predict.predictor import Predictor


def main(arguments: argparse.Namespace) -> int:
    """Predicts the frames of the command line; returns 1 if some were skipped."""
    sequences = frames.find(arguments.inputs, arguments.stride)
    predictor = Predictor(arguments.workdir, size=arguments.size)
    settings = settings_of(arguments.workdir, predictor, arguments.format)
    folder = outputs.Folder(arguments.out, settings, overwrite=arguments.overwrite)
    _warn(predictor)
    summary = Pipeline(
        predictor,
        folder,
        outputs.FORMATS[arguments.format],
        with_page=arguments.page,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
    ).run(sequences)
    names = sorted({*summary.predicted, *summary.present})
    present = f", {len(summary.present)} already present" if summary.present else ""
    print(f"{len(summary.predicted)} frames predicted{present}; the results are in {arguments.out}")
    if arguments.page:
        folder.write(viewer.index(names, title=f"{predictor.config.name}, step {predictor.step}"))
        if names:
            print(f"open {arguments.out / viewer.INDEX_FILE} in a browser")
    if summary.failed:
        print(f"{len(summary.failed)} skipped:", *summary.failed, sep="\n  ")
    return 1 if summary.failed else 0


def settings_of(workdir: pathlib.Path, predictor: Predictor, file_format: str) -> dict[str, Any]:
    """Returns everything that results depend on, for `outputs.Folder`."""
    config = (workdir / experiment.CONFIG_FILE).read_bytes()
    calibration = predictor.calibration if predictor.is_calibrated else None
    return {
        "run": predictor.config.name,
        "config_sha256": hashlib.sha256(config).hexdigest(),
        "step": predictor.step,
        "calibration": None if calibration is None else dataclasses.asdict(calibration),
        "size": list(predictor.size),
        "format": file_format,
    }


def _warn(predictor: Predictor) -> None:
    if predictor.predicts_edges and not predictor.is_calibrated:
        print(
            "the run has no calibration.json, so its edges are decoded without calibration; "
            "python -m psp_jax.calibrate writes one"
        )
    if not predictor.predicts_edges and predictor.segment is None:
        print(
            "no regions are predicted: the algorithm of the training labels is not known, since "
            "their data set was built with a custom configuration"
        )


def parser() -> command_line.Parser:
    """Returns the parser of the command line."""
    positive_int = command_line.positive_int
    parser = command_line.Parser(prog="python -m psp_jax.predict", description=__doc__)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image, video, .sens or folder")
    parser.add_argument(
        "--workdir",
        required=True,
        type=command_line.path,
        help="folder of the run",
    )
    parser.add_argument(
        "--out", required=True, type=command_line.path, help="folder of the results"
    )
    parser.add_argument(
        "--format", choices=outputs.FORMATS, default="png", help="default: %(default)s"
    )
    parser.add_argument("--page", action="store_true", help="make a page that shows all frames")
    parser.add_argument(
        "--overwrite", action="store_true", help="first delete earlier results in --out"
    )
    parser.add_argument(
        "--stride", type=positive_int, default=1, help="take every N-th frame of videos and .sens"
    )
    parser.add_argument(
        "--batch_size", type=positive_int, default=4, help="images per batch (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=positive_int,
        default=min(os.cpu_count() or 1, 8),
        help="threads that read, decode and write (default: number of CPU cores, at most 8)",
    )
    parser.add_argument(
        "--size",
        type=_size,
        help="HEIGHTxWIDTH of the training images; needed only if their data set no longer exists",
    )
    return parser


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, such as 480x640, got {text!r}")
    return int(height), int(width)


if __name__ == "__main__":
    command_line.run(main, parser(), resumes=True)
