"""Scores runs on real photographs with depth that no run was trained on.

    python -m benchmarks.real_photos RUN ... --frames=../shared/rgbd

`FRAMES/SOURCE/color/NAME.{png,jpg}` belongs to `FRAMES/SOURCE/depth/NAME.png`, uint16 millimetres,
0 where the sensor had no reading. At most six frames of a source count, evenly spaced; sources that
end in `_SYNTH` are rendered and left out. Scores are averaged over the frames of a source, then
over the sources.

Colour is reduced to the grid of depth and both are cropped to the middle 4:3. Depth is compared at
the depth's size, where 0 < depth < 10 m, multiplied by the ratio of the medians; a flat wall at the
median depth is the baseline. Regions are compared at the size of the run's labels with the planar
regions of the depth (nearest pixel, holes filled, pixels with a reading count), beside SEEDS and
SLIC of the colours with as many regions.
"""

import argparse
import dataclasses
import json
import pathlib
import time
from collections.abc import Iterator

import cv2
import numpy as np
import tabulate

import psp_jax
from psp_jax.batch import Batch, Prediction
from psp_jax.evaluation import partition_scores, plots
from psp_jax.evaluation.predicted_image import PredictedImage
from psp_jax.io import command_line, files
from psp_jax.io.units import MM_PER_M
from psp_jax.partition import fill, frontier_classes, planar
from psp_jax.predict import drawing
from psp_jax.predict.predictor import Predictor

DEFAULT_FRAMES = pathlib.Path(__file__).parents[2] / "shared" / "rgbd"
FRAMES_PER_SOURCE = 6
MAX_DEPTH_M = 10.0
ASPECT = 4 / 3
TRUTH = planar.Planar()
BASELINES = {name: partition_scores.BASELINES[name] for name in ("SEEDS on RGB", "SLIC on RGB")}
REGION_COLUMNS = ("ari", "vi_bits", "f_1px", "f_2px", "discontinuity_recall", "regions")
COLUMNS = ("abs_rel", "delta1", "flat_abs_rel", "flat_delta1", *REGION_COLUMNS, "bits_ratio")
COLUMNS += tuple(f"{name}: {column}" for name in BASELINES for column in ("ari", "f_1px"))
SHEET_WIDTH = 320  # Pixels of an image in the sheet of pictures.


@dataclasses.dataclass(frozen=True)
class Frame:
    """A photograph with its depth.

    Attributes:
        source: who captured it, and how.
        rgb: `[H, W, 3]` uint8.
        depth_mm: `[H, W]` uint16 millimetres, 0 where there is no reading.
    """

    source: str
    rgb: np.ndarray
    depth_mm: np.ndarray


def read_frames(folder: pathlib.Path, per_source: int) -> Iterator[Frame]:
    """Yields the frames of every captured source.

    Raises:
        FileNotFoundError: if there is none.
    """
    sources = [path for path in sorted(folder.glob("*/depth")) if "_SYNTH" not in path.parts[-2]]
    if not sources:
        raise FileNotFoundError(f"--frames={folder}: expected SOURCE/color and SOURCE/depth in it")
    for depth in sources:
        paths = sorted(depth.glob("*.png"))
        chosen = np.linspace(0, len(paths) - 1, min(per_source, len(paths))).round().astype(int)
        for path in (paths[index] for index in chosen):
            (color,) = (depth.parent / "color").glob(f"{path.stem}.*")
            depth_mm = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
            bgr = np.asarray(cv2.imread(str(color)))
            if bgr.shape[:2] != depth_mm.shape:
                bgr = cv2.resize(bgr, depth_mm.shape[::-1], interpolation=cv2.INTER_AREA)
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            yield Frame(depth.parts[-2], _middle(rgb), _middle(depth_mm))


def _middle(image: np.ndarray) -> np.ndarray:
    """Crops an image to its middle of width : height = 4 : 3."""
    height, width = image.shape[:2]
    rows, columns = min(height, round(width / ASPECT)), min(width, round(height * ASPECT))
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(image[top : top + rows, left : left + columns])


def aligned_errors(predicted_m: np.ndarray, depth_mm: np.ndarray) -> tuple[float, float]:
    """Returns AbsRel and delta < 1.25 of `[H, W]` depth in metres whose median is aligned."""
    known = (depth_mm > 0) & (depth_mm < MM_PER_M * MAX_DEPTH_M)
    truth, predicted = depth_mm[known] / MM_PER_M, predicted_m[known].astype(np.float64)
    predicted *= np.median(truth) / np.median(predicted)
    ratio = np.maximum(predicted / truth, truth / predicted)
    return float(np.mean(np.abs(predicted - truth) / truth)), float(np.mean(ratio < 1.25))


def truth_of(frame: Frame, size: tuple[int, int]) -> Batch:
    """Makes the example of a frame, without a batch axis, with labels at (height, width) `size`."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for old, new in zip(frame.depth_mm.shape, size, strict=True)
    )
    filled_mm, holes = fill.fill_nearest(frame.depth_mm[rows][:, columns])
    depth_m = filled_mm.astype(np.float32) / np.float32(MM_PER_M)
    return Batch(
        image=cv2.resize(frame.rgb, size[::-1], interpolation=cv2.INTER_AREA),
        depth=np.where(holes, np.float32(0), depth_m),
        filled_depth=depth_m,
        frontier=frontier_classes.encode(TRUTH(filled_mm)),
        filled=holes,
        valid=np.ones((), bool),
    )


class SourceScores:
    """Collects the scores of one run on the frames of one source."""

    def __init__(self, predictor: Predictor):
        """Starts empty."""
        self._predictor, self._depth = predictor, []
        calibrated = predictor.calibration if predictor.predicts_edges else None
        self._partitions = partition_scores.PartitionScores(
            calibrated, predictor.segment, baselines=BASELINES
        )

    def add(self, frame: Frame) -> np.ndarray:
        """Predicts and scores a frame; returns its row of the sheet of pictures."""
        predictor = self._predictor
        (prediction,) = predictor.run([predictor.prepare(frame.rgb)])
        decoded = predictor.decode(prediction, frame.rgb)
        if decoded.depth_m is not None:
            flat = np.ones_like(decoded.depth_m)
            errors = (aligned_errors(depth, frame.depth_mm) for depth in (decoded.depth_m, flat))
            self._depth.append([value for pair in errors for value in pair])
        example = truth_of(frame, _size(prediction))
        image = PredictedImage(example, prediction)
        regions = next(iter(self._partitions.add([image])[0].values()), None)
        shown = [image.rgb, drawing.coloured_depth(np.asarray(example.filled_depth))]
        shown.append(plots.outlined(image.rgb, image.true_labels))
        shown += [] if regions is None else [plots.outlined(image.rgb, regions)]
        shown += (
            []
            if prediction.depth is None
            else [drawing.coloured_depth(np.asarray(prediction.depth))]
        )
        height = round(SHEET_WIDTH / ASPECT)
        return np.hstack([cv2.resize(panel, (SHEET_WIDTH, height)) for panel in shown])

    def result(self) -> dict[str, float]:
        """Returns the mean scores by the names of `COLUMNS`, as far as the run predicts them."""
        scores = (
            dict(zip(COLUMNS, np.mean(self._depth, axis=0), strict=False)) if self._depth else {}
        )
        result = self._partitions.result()
        partitions = dict(result["partitions"])
        first = next((name for name in partitions if name not in BASELINES), None)
        if first is not None:
            scores |= {column: partitions[first][column] for column in REGION_COLUMNS}
            for name in BASELINES:
                scores |= {f"{name}: {c}": partitions[name][c] for c in ("ari", "f_1px")}
        if "coding" in result:
            scores["bits_ratio"] = result["coding"]["ratio"]
        return {name: float(value) for name, value in scores.items()}


def _size(prediction: Prediction) -> tuple[int, int]:
    array = prediction.edges if prediction.depth is None else prediction.depth
    assert array is not None
    return array.shape[0], array.shape[1]


def measure(
    predictor: Predictor, frames: list[Frame]
) -> tuple[dict[str, dict[str, float]], list[np.ndarray]]:
    """Scores a run; returns the scores by source, their `mean`, and the rows of a sheet."""
    by_source: dict[str, SourceScores] = {}
    rows = []
    for frame in frames:
        scores = by_source.setdefault(frame.source, SourceScores(predictor))
        rows.append(scores.add(frame))
    results = {source: scores.result() for source, scores in by_source.items()}
    names = [name for name in COLUMNS if any(name in row for row in results.values())]
    mean = {name: float(np.nanmean([row[name] for row in results.values()])) for name in names}
    return {**results, "mean": mean}, rows


def main(arguments: argparse.Namespace) -> None:
    """Measures the runs and writes `NAME.json` and a sheet of pictures `NAME.jpg` of each."""
    frames = list(read_frames(arguments.frames, arguments.per_source))
    means = {}
    for run in arguments.runs:
        start = time.monotonic()
        results, rows = measure(psp_jax.load(run, flip=arguments.flip), frames)
        name = run.resolve().name
        print(f"{name}: {len(frames)} frames, {time.monotonic() - start:.0f} s", flush=True)
        _print({source: scores for source, scores in results.items()})
        means[name] = results["mean"]
        arguments.out.mkdir(parents=True, exist_ok=True)
        files.write(arguments.out / f"{name}.json", json.dumps(results, indent=2) + "\n")
        sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
        files.write(arguments.out / f"{name}.jpg", cv2.imencode(".jpg", sheet)[1].tobytes())
    if len(means) > 1:
        _print(means)


def _print(rows: dict[str, dict[str, float]]) -> None:
    names = [name for name in COLUMNS if any(name in row for row in rows.values())]
    cells = [[title, *(row.get(name) for name in names)] for title, row in rows.items()]
    print(tabulate.tabulate(cells, headers=["", *names], floatfmt=".3f"), flush=True)


def _parser() -> command_line.Parser:
    parser = command_line.Parser(
        prog="python -m benchmarks.real_photos", description=__doc__.partition("\n")[0]
    )
    path, count = command_line.path, command_line.positive_int
    parser.add_argument(
        "runs", nargs="+", type=path, help="workdirs of runs, exported models, or `pretrained`"
    )
    parser.add_argument("--flip", action="store_true", help="average over mirror images")
    parser.add_argument("--frames", type=path, default=DEFAULT_FRAMES, help="folder of sources")
    parser.add_argument("--out", type=path, default=pathlib.Path("real_photos"), help="results")
    parser.add_argument(
        "--per_source", type=count, default=FRAMES_PER_SOURCE, help="frames of a source at most"
    )
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
