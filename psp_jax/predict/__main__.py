"""Predicts depth and regions of images, videos and recordings.

    python -m psp_jax.predict photo.jpg
    python -m psp_jax.predict photos film.mp4 --out=results --page
    python -m psp_jax.predict photo.jpg --workdir=runs/frontier_edges --size=240x320 --flip
    python -m psp_jax.predict --camera=0 --frames=50

Takes images of any format, videos, RGB-D recordings in any layout of docs/data.md, folders of them
(of a folder with folders named `color` or `rgb`, only the images in those) and quoted patterns such
as "photos/**/*.jpg". For each image it writes, at its size and as far as the model predicts it,
below the folder of results:

    overlay/NAME.jpg        boundaries of the regions over the image
    region_colors/NAME.jpg  the regions in distinct colours
    depth_color/NAME.png    depth, near bright and far dark
    depth/NAME.png          16 bits, millimetres
    regions/NAME.png        16 bits, the number of each pixel's region

and, with --outputs=overlay,classes,... or --outputs=all, also

    classes/NAME.png        8 bits, frontier classes 0 to 15
    tables/NAME.csv         area, mean depth and neighbours of every region
    arrays/NAME.npz         depth_m, edges, classes and regions
    point_cloud/NAME.ply    coloured points; also with --point_cloud

Of a video, overlay and depth_color become films, such as overlay/NAME.mp4; the other outputs are
written if --outputs names them, pictures as films and data for every frame. So it is for --camera,
which takes the next frames of a camera, or of a stream such as rtsp://HOST/PATH. With --page,
page/index.html shows everything in any browser.

After an interruption the same command predicts the missing frames, and those whose files have
changed. Nothing is overwritten that this program did not write. The status is 0 if all was
predicted, 1 if some frames failed, which are listed, and 2 if nothing was started.
"""

import argparse
import dataclasses
import hashlib
import json
import os
from typing import Any

from psp_jax.evaluation import views
from psp_jax.io import command_line, dataclass_json
from psp_jax.predict import frames, outputs, results, viewer
from psp_jax.predict.pipeline import Pipeline, Summary
from psp_jax.predict.plan import Plan
from psp_jax.predict.predictor import Predictor
from psp_jax.recordings import image_faults, inputs
from psp_jax.runtime import accelerator, compile_cache

ALL = "all"
CAMERA_FRAMES = 100


def main(arguments: argparse.Namespace) -> int:
    """Predicts the frames of the command line; returns 1 if some were skipped."""
    compile_cache.enable()
    accelerator.warn_of_unused_gpus()
    image_faults.POLICY.tolerant = arguments.tolerant
    reading = inputs.reading(arguments)
    if not (arguments.inputs or arguments.camera):
        raise ValueError("expected an INPUT (image, video, recording or folder) or --camera")
    if arguments.frames and not arguments.camera:
        raise ValueError("--frames bounds the frames of --camera, which is missing")
    sequences = frames.find(arguments.inputs, arguments.stride, arguments.out, **reading)
    if arguments.camera:
        count = arguments.frames or CAMERA_FRAMES
        sequences.append(frames.live(arguments.camera, count, arguments.stride))
    predictor = Predictor(
        arguments.workdir,
        size=arguments.size,
        tiles=arguments.tiles,
        flip=arguments.flip,
        scales=arguments.scales,
    )
    plan = plan_of(arguments, predictor)
    folder = outputs.Folder(
        arguments.out,
        settings_of(predictor, plan),
        overwrite=arguments.overwrite,
        inputs=frozenset().union(*(sequence.sources for sequence in sequences)),
    )
    _warn(predictor)
    pipeline = Pipeline(predictor, folder, plan, arguments.batch_size, arguments.workers)
    summary = pipeline.run(sequences)
    names = sorted({*summary.predicted, *summary.present})
    if arguments.page and names:
        page = viewer.index(names, title=f"{predictor.config.name}, step {predictor.step}")
        folder.finish(frames.Frame(viewer.NAME, str(arguments.out), 0), page)
    status = _report(arguments, summary)
    unused = {path: why for sequence in sequences for path, why in sequence.unused.items()}
    for line in inputs.lines_of(unused):
        print(line)
    return status


def _report(arguments: argparse.Namespace, summary: Summary) -> int:
    done, out = summary.predicted, arguments.out
    noun = "frame" if len(done) == 1 else "frames"
    present = f", {len(summary.present)} already present" if summary.present else ""
    print(f"{len(done)} {noun} predicted{present}; the results are in {out}")
    if arguments.page and (out / viewer.INDEX_FILE).exists():
        print(f"open {out / viewer.INDEX_FILE} in a browser")
    if summary.failed:
        print(f"{len(summary.failed)} skipped:", *summary.failed, sep="\n  ")
    return 1 if summary.failed else 0


def plan_of(arguments: argparse.Namespace, predictor: Predictor) -> Plan:
    """Returns the files that the command line asks for.

    Raises:
        ValueError: if it asks for an output that the model does not predict.
    """
    predicts = {
        None: True,
        "depth_m": predictor.predicts_depth,
        "regions": predictor.predicts_regions,
    }
    possible = [name for name, output in results.OUTPUTS.items() if predicts[output.needs]]
    asked = arguments.outputs
    if asked is None:
        chosen = [name for name in results.DEFAULT if name in possible]
    elif ALL in asked:
        chosen = possible
    else:
        chosen = [name for name in results.OUTPUTS if name in asked]
    if arguments.point_cloud and "point_cloud" not in chosen:
        chosen.append("point_cloud")
    if missing := [name for name in chosen if name not in possible]:
        raise ValueError(
            f"--outputs={','.join(missing)}: this model does not predict it; expected some of "
            f"{', '.join(possible)}"
        )
    pictures = [name for name in chosen if name in results.PICTURES]
    if asked is None:  # The colours of regions would change from frame to frame.
        pictures = [name for name in pictures if name != "region_colors"]
    of_frames = tuple(name for name in chosen if name not in results.PICTURES)
    return Plan(
        outputs=tuple(chosen),
        frame_outputs=of_frames if asked is not None or arguments.point_cloud else (),
        film_pictures=tuple(pictures),
        with_page=arguments.page,
        with_bar=arguments.colorbar,
        fov_deg=arguments.fov,
    )


def settings_of(predictor: Predictor, plan: Plan) -> dict[str, Any]:
    """Returns everything that the contents of results depend on, for `outputs.Folder`."""
    config = json.dumps(dataclass_json.to_plain(predictor.config))
    calibration = predictor.calibration if predictor.is_calibrated else None
    return {
        "model": predictor.config.name,
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "step": predictor.step,
        "calibration": None if calibration is None else dataclasses.asdict(calibration),
        "trained_size": predictor.size,
        **dataclasses.asdict(predictor.views),
        "colorbar": plan.with_bar,
        "fov": plan.fov_deg,
    }


def _warn(predictor: Predictor) -> None:
    if predictor.predicts_edges and not predictor.is_calibrated:
        print(
            "the model has no calibration.json, so its edges are decoded without calibration; "
            "python -m psp_jax.calibrate writes one"
        )
    if not predictor.predicts_regions:
        print(
            "no regions are predicted: the algorithm of the training labels is not known, since "
            "their data set was built with a custom configuration"
        )


def parser() -> command_line.Parser:
    """Returns the parser of the command line."""
    positive_int, path = command_line.positive_int, command_line.path
    parser = command_line.Parser(prog="python -m psp_jax.predict", description=__doc__)
    add = parser.add_argument
    add("inputs", nargs="*", metavar="INPUT", help="image, video, recording or folder")
    add("--camera", metavar="N|URL", help="number of a camera, or a URL of a stream, to read from")
    add(
        "--frames",
        type=positive_int,
        metavar="N",
        help=f"frames that are taken of --camera (default: {CAMERA_FRAMES})",
    )
    add(
        "--workdir",
        type=path,
        help="folder of a run or of an exported model (default: the model that ships)",
    )
    add("--out", type=path, default="predicted", help="folder of the results (%(default)s)")
    add(
        "--outputs",
        type=_outputs,
        metavar="NAME,...",
        help=f"what is written: {', '.join(results.OUTPUTS)}, or {ALL} "
        f"(default: {','.join(results.DEFAULT)})",
    )
    add("--page", action="store_true", help="make a page that shows all frames")
    add("--point_cloud", action="store_true", help="also write PLY files of coloured points")
    add("--fov", type=_fov, metavar="DEGREES", help="horizontal field of view, for --point_cloud")
    add("--colorbar", action="store_true", help="add a bar of depths to pictures of depth")
    add(
        "--overwrite",
        action="store_true",
        help="predict again, and delete earlier results of other settings in --out",
    )
    add(
        "--stride",
        type=positive_int,
        default=1,
        help="take every N-th frame of videos and recordings",
    )
    add(
        "--size",
        type=_size,
        metavar=f"HEIGHTxWIDTH|{views.NATIVE}",
        help="pixels of the prediction, at the image's aspect ratio (default: as in training)",
    )
    add("--tiles", action="store_true", help="predict in overlapping tiles of the training size")
    views.add_flags(parser)
    add(
        "--batch_size", type=positive_int, default=4, help="images per batch (default: %(default)s)"
    )
    add(
        "--workers",
        type=positive_int,
        default=min(os.cpu_count() or 1, 8),
        help="threads that read, decode and write (default: number of CPU cores, at most 8)",
    )
    inputs.add_flags(parser)
    inputs.add_color_flags(parser)
    return parser


def _size(text: str) -> tuple[int, int] | str:
    if text == views.NATIVE:
        return text
    height, cross, width = text.partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"expected HEIGHTxWIDTH, such as 480x640, or {views.NATIVE}, got {text!r}"
        )
    return int(height), int(width)


def _fov(text: str) -> float:
    value = command_line.positive_float(text)
    if value >= 180:
        raise argparse.ArgumentTypeError(f"expected degrees below 180, got {text!r}")
    return value


def _outputs(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in (*results.OUTPUTS, ALL):
            raise argparse.ArgumentTypeError(
                f"expected some of {', '.join((*results.OUTPUTS, ALL))}, got {name!r}"
            )
    return names


if __name__ == "__main__":
    command_line.run(main, parser(), resumes=True)
