"""Measures what coded depth costs where the decoder has the RGB image, against where it has not.

    python -m benchmarks.given_rgb [RUN] [--of=captures|rooms] [--frames=FOLDER] [--native]

A run predicts the edges between regions from RGB; they are side information for the partition. The
depth of every frame is reduced to the size of the predictions (nearest pixel), segmented into
planar regions, coded twice, with and without the prediction, and decoded again. RUN is a workdir or
an exported model, by default the one that ships; captures are the frames of
`benchmarks/real_photos.py`. The rooms are drawn into `--rooms` unless they are there; no shipped
network was trained on them.
"""

import argparse
import pathlib
from collections.abc import Iterator

import numpy as np
import tabulate

import psp_jax
from benchmarks import real_photos
from benchmarks.real_photos import Frame
from data_builders.rooms import generate
from psp_jax import codec
from psp_jax.batch import Prediction
from psp_jax.evaluation.predicted_image import PredictedImage
from psp_jax.io import command_line
from psp_jax.io.units import MM_PER_M
from psp_jax.partition import frontier_classes
from psp_jax.predict.predictor import Predictor
from psp_jax.recordings import images, inputs

ROOMS = generate.Rooms(spaces=12, frames_per_scan=2, seed=3)
MAX_ERROR_PER_M = 0.01
COLUMNS = ("regions", "partition", "given RGB", "patches", "holes", "residuals")


def drawn_frames(folder: pathlib.Path) -> Iterator[Frame]:
    """Draws rooms, unless they are there, and yields their frames."""
    generate.generate(ROOMS, folder)
    for scan in inputs.find_depth(folder).recordings:
        for frame in scan.frames(1):
            yield Frame("drawn rooms", images.decode_rgb(frame.read_color()), frame.read_depth())


def measure(predictor: Predictor, frame: Frame) -> dict[str, float]:
    """Codes a frame; returns its number of regions, and bits by part.

    Raises:
        SystemExit: if the stream with side information decodes to another partition.
    """
    (prediction,) = predictor.run([predictor.prepare(frame.rgb)])
    example = real_photos.truth_of(frame, _size(prediction))
    edges = predictor.calibration(PredictedImage(example, prediction).edge_logits)
    logits = edges.across, edges.along
    labels = frontier_classes.decode_exact(np.asarray(example.frontier))
    depth_mm = np.round(np.asarray(example.depth) * MM_PER_M).astype(np.uint16)
    alone = codec.encode_parts(depth_mm, labels, max_error_per_m=MAX_ERROR_PER_M)
    given = codec.encode_parts(
        depth_mm, labels, max_error_per_m=MAX_ERROR_PER_M, edge_logits=logits
    )
    if not np.array_equal(codec.decode(given.stream, edge_logits=logits)[1], labels):
        raise SystemExit(f"{frame.source}: a frame decodes to another partition")
    parts = alone.partition + alone.patches + alone.residuals + alone.holes
    sizes = (alone.partition, given.partition, alone.patches, alone.holes, alone.residuals)
    bits = dict(zip(COLUMNS[1:], (8.0 * size for size in sizes), strict=True))
    return {"regions": labels.max() + 1.0, **bits, "header": 8.0 * (len(alone.stream) - parts)}


def _size(prediction: Prediction) -> tuple[int, int]:
    assert prediction.edges is not None
    return prediction.edges.shape[0], prediction.edges.shape[1]


def row(frames: list[dict[str, float]]) -> list[float]:
    """Returns the mean bits, and what is left of partition, frame, and frame with residuals."""
    mean = {name: float(np.mean([frame[name] for frame in frames])) for name in frames[0]}
    saved = mean["partition"] - mean["given RGB"]
    whole = mean["partition"] + mean["patches"] + mean["holes"] + mean["header"]
    wholes = (mean["partition"], whole, whole + mean["residuals"])
    return [mean[name] for name in COLUMNS] + [1 - saved / whole for whole in wholes]


def main(arguments: argparse.Namespace) -> None:
    """Prints a table with a row for each source, and their mean."""
    predictor = psp_jax.load(arguments.run, size="native" if arguments.native else None)
    if not predictor.predicts_edges:
        raise ValueError(f"{arguments.run}: expected a run that predicts edges")
    frames = (
        drawn_frames(arguments.rooms)
        if arguments.of == "rooms"
        else real_photos.read_frames(arguments.frames, real_photos.FRAMES_PER_SOURCE)
    )
    by_source: dict[str, list[dict[str, float]]] = {}
    skipped = 0
    for frame in frames:
        if frame.depth_mm.any():
            by_source.setdefault(frame.source, []).append(measure(predictor, frame))
        else:
            skipped += 1
    if skipped:
        print(f"left out, without any reading: {skipped} frames")
    rows = [[source, len(of), *row(of)] for source, of in by_source.items()]
    if len(rows) > 1:
        rows.append(["mean", len(rows), *np.mean([one[2:] for one in rows], axis=0)])
    print("bits of a frame; / : given RGB over without, of the partition, the frame, and the frame")
    print(f"with residuals that bound the error of inverse depth by {MAX_ERROR_PER_M:g} 1/m")
    headers = ["source", "frames", *COLUMNS, "/ partition", "/ frame", "/ with residuals"]
    formats = ("", ".0f", *[".0f"] * len(COLUMNS), ".3f", ".3f", ".3f")
    print(tabulate.tabulate(rows, headers, floatfmt=formats), flush=True)


if __name__ == "__main__":
    parser = command_line.Parser(prog="python -m benchmarks.given_rgb", description=__doc__)
    path = command_line.path
    parser.add_argument("run", nargs="?", type=path, help="workdir or exported model")
    parser.add_argument("--of", choices=("captures", "rooms"), default="captures")
    parser.add_argument("--frames", type=path, default=real_photos.DEFAULT_FRAMES)
    parser.add_argument("--rooms", type=path, default=pathlib.Path("data/rooms_given_rgb"))
    parser.add_argument(
        "--native", action="store_true", help="predict at the size of the image, not of training"
    )
    command_line.run(main, parser)
