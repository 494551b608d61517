"""Predicts depth, frontier classes and regions of images, videos and scans with a trained run.

    python -m psp_jax.predict --workdir=runs/frontier_edges photos film.mp4 --out=predicted

takes JPEGs and PNGs, videos, `.sens` files, folders of them (if they hold folders named `color`,
what is in those) and quoted patterns such as "photos/**/*.jpg". Of each frame it writes, at its own
size, below the folder of results:

    depth/NAME.png     16 bits, millimetres, if the run predicts depth
    classes/NAME.png   8 bits, frontier classes 0 to 15
    regions/NAME.png   16 bits, the number of each pixel's region
    overlay/NAME.png   the regions' outlines over the image
    tables/NAME.csv    area, mean depth and neighbours of every region
    arrays/NAME.npz    with --format=npz, depth_m, edges, classes and regions instead of the PNGs
    page/index.html    with --page, a page of all frames that any browser opens from disk

Interrupted, the same command goes on with the frames that are missing; frames whose file has
changed since are predicted again. What can't be read is skipped and named, and the status is 1.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tqdm

from psp_jax import experiment
from psp_jax.io import command_line
from psp_jax.predict import frames, outputs, predictor, viewer

Formatter = Callable[[str, np.ndarray, predictor.ImagePrediction], outputs.Files]
Waiting = collections.deque[tuple[frames.Frame, concurrent.futures.Future]]
FORMATS: dict[str, Formatter] = {"png": outputs.as_pngs, "npz": outputs.as_arrays}


@dataclasses.dataclass
class Summary:
    """What became of the frames.

    Attributes:
        done: names of the frames predicted now.
        there: names of those that were finished before.
        failed: lines that say why others were left out.
    """

    done: list[str] = dataclasses.field(default_factory=list)
    there: list[str] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)


class Job:
    """Predicts frames: others are read, cut and written while the network runs."""

    def __init__(
        self,
        predict: predictor.Predictor,
        folder: outputs.Folder,
        formatter: Formatter,
        *,
        with_page: bool,
        batch_size: int,
        workers: int,
    ):
        """Takes everything but the frames.

        Args:
            predict: the run.
            folder: where the results go.
            formatter: makes the files of a frame.
            with_page: whether they are shown on a page too.
            batch_size: images that the network sees at once.
            workers: threads that read, cut and write.
        """
        self._predict, self._folder, self._formatter = predict, folder, formatter
        self._with_page, self._batch_size, self._workers = with_page, batch_size, workers
        self._met: set[str] = set()
        self.summary = Summary()

    def run(self, recordings: list[frames.Recording]) -> Summary:
        """Predicts all frames but those that are there.

        Raises:
            OSError: if results can't be written.
        """
        total = sum(recording.count for recording in recordings)
        self._batch_size = min(self._batch_size, total)
        waiting: dict[tuple[int, ...], list] = collections.defaultdict(list)
        finishing: Waiting = collections.deque()
        pool = concurrent.futures.ThreadPoolExecutor(self._workers)
        interval_s = 0.1 if sys.stderr.isatty() else 10
        with tqdm.tqdm(total=total, unit="frame", desc="predict", mininterval=interval_s) as bar:
            try:
                for frame, image, prepared in self._read(recordings, pool, bar):
                    same = waiting[prepared.shape]
                    same.append((frame, image, prepared))
                    if len(same) == self._batch_size:
                        finishing += self._infer(waiting.pop(prepared.shape), pool)
                    while len(finishing) > self._batch_size + self._workers:
                        self._collect(*finishing.popleft(), bar)
                for same in waiting.values():
                    finishing += self._infer(same, pool)
                while finishing:
                    self._collect(*finishing.popleft(), bar)
            finally:
                pool.shutdown(cancel_futures=True)
        return self.summary

    def _read(
        self,
        recordings: list[frames.Recording],
        pool: concurrent.futures.Executor,
        bar: tqdm.tqdm,
    ) -> Iterator[tuple[frames.Frame, np.ndarray, np.ndarray]]:
        """Yields the frames to predict with their images, as they are and as the network's."""
        ahead: Waiting = collections.deque()
        for recording in recordings:
            for frame in recording.frames(self._is_wanted):
                if frame.read is None:
                    bar.update()
                    continue
                ahead.append((frame, pool.submit(self._prepared, frame.read)))
                if len(ahead) > self._batch_size + self._workers:
                    yield from self._settled(*ahead.popleft(), bar)
        while ahead:
            yield from self._settled(*ahead.popleft(), bar)

    def _is_wanted(self, frame: frames.Frame) -> bool:
        """Tells whether a frame has still to be predicted, and counts it if not."""
        try:
            if frame.name in self._met:
                raise ValueError("another frame has that name; predict it into another folder")
            self._met.add(frame.name)
            is_there = self._folder.holds(
                frame, viewer.files_of(frame.name) if self._with_page else ()
            )
        except ValueError as error:
            self._fail(frame, error)
            return False
        if is_there:
            self.summary.there.append(frame.name)
        return not is_there

    def _prepared(self, read: Callable[[], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        image = read()
        return image, self._predict.prepare(image)

    def _settled(
        self, frame: frames.Frame, future: concurrent.futures.Future, bar: tqdm.tqdm
    ) -> Iterator[tuple[frames.Frame, np.ndarray, np.ndarray]]:
        try:
            yield (frame, *future.result())
        except (ValueError, OSError) as error:
            self._fail(frame, error)
            bar.update()

    def _infer(self, same: list, pool: concurrent.futures.Executor) -> list[tuple]:
        """Runs the network on images of one size, and has the rest done."""
        outputs = self._predict.run([each[2] for each in same], pad_to=self._batch_size)
        return [
            (frame, pool.submit(self._finished, frame, image, output))
            for (frame, image, _), output in zip(same, outputs, strict=True)
        ]

    def _finished(
        self, frame: frames.Frame, image: np.ndarray, output: predictor.Output
    ) -> ValueError | None:
        """Cuts an output, and writes it or returns why that can't be."""
        try:
            found = self._predict.finish(output, image.shape[:2])
            regions = outputs.measure(found)
            written = self._formatter(frame.name, image, found)
            if regions:
                written |= outputs.as_table(frame.name, regions)
            if self._with_page:
                written |= viewer.frame(frame.name, image, found, regions)
        except ValueError as error:
            return error
        self._folder.finish(frame, written)  # What can't be written ends the command.
        return None

    def _collect(
        self, frame: frames.Frame, future: concurrent.futures.Future, bar: tqdm.tqdm
    ) -> None:
        error = future.result()
        if error is None:
            self.summary.done.append(frame.name)
        else:
            self._fail(frame, error)
        bar.update()

    def _fail(self, frame: frames.Frame, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        self.summary.failed.append(f"{frame.source}: {reason}")
        tqdm.tqdm.write(f"skipped {self.summary.failed[-1]}", file=sys.stderr)


def settings_of(
    workdir: pathlib.Path, predict: predictor.Predictor, file_format: str
) -> dict[str, Any]:
    """Returns what makes results what they are, for `outputs.Folder`."""
    config = (workdir / experiment.CONFIG_FILE).read_bytes()
    return {
        "run": predict.config.name,
        "config_sha256": hashlib.sha256(config).hexdigest(),
        "step": predict.step,
        "calibration": dataclasses.asdict(predict.calibrated) if predict.is_calibrated else None,
        "size": list(predict.size),
        "format": file_format,
    }


def main() -> None:
    """Predicts the frames of the command line."""
    parser = _parser()
    arguments = parser.parse_intermixed_args()
    try:
        _check(arguments)
        recordings = frames.find(arguments.inputs, arguments.stride)
        predict = predictor.Predictor(arguments.workdir, size=arguments.size)
        folder = outputs.Folder(
            arguments.out,
            settings_of(arguments.workdir, predict, arguments.format),
            overwrite=arguments.overwrite,
        )
        for line in _notes(predict):
            print(line)
        job = Job(
            predict,
            folder,
            FORMATS[arguments.format],
            with_page=arguments.page,
            batch_size=arguments.batch_size,
            workers=arguments.workers,
        )
        summary = job.run(recordings)
        if arguments.page:
            shown = sorted({*summary.done, *summary.there})
            folder.write(viewer.index(shown, title=f"{predict.config.name}, step {predict.step}"))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with what is missing", file=sys.stderr)
        sys.exit(130)
    there = f", {len(summary.there)} were there already" if summary.there else ""
    print(f"{len(summary.done)} frames predicted{there}; results are in {arguments.out}")
    if arguments.page and (summary.done or summary.there):
        print(f"open {arguments.out / viewer.INDEX_FILE} in a browser")
    if summary.failed:
        print(f"{len(summary.failed)} skipped:", *summary.failed, sep="\n  ")
        sys.exit(1)


def _notes(predict: predictor.Predictor) -> Iterator[str]:
    """Says what is not as it should be."""
    if predict.predicts_edges and not predict.is_calibrated:
        yield (
            "the run has no calibration.json, so its frontiers are decoded as they are; "
            "python -m psp_jax.calibrate makes one"
        )
    if not predict.predicts_edges and predict.cut is None:
        yield (
            "no regions: what made the labels is not known, since their data set was built with "
            "a configuration of its own"
        )


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m psp_jax.predict", description=__doc__)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image, video, .sens or folder")
    parser.add_argument(
        "--workdir", required=True, type=pathlib.Path, help="folder of a trained run"
    )
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of the results")
    parser.add_argument("--format", choices=FORMATS, default="png", help="default: %(default)s")
    parser.add_argument("--page", action="store_true", help="make a page that shows all frames")
    parser.add_argument(
        "--overwrite", action="store_true", help="delete results that --out holds first"
    )
    parser.add_argument(
        "--stride", type=int, default=1, help="take every so many frames of videos and scans"
    )
    parser.add_argument(
        "--batch_size", type=int, default=4, help="images at once (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=min(os.cpu_count() or 1, 8),
        help="threads that read, cut and write (default: %(default)s)",
    )
    parser.add_argument(
        "--size", type=_size, help="HEIGHTxWIDTH of the training, where the run can't tell"
    )
    return parser


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text}: HEIGHTxWIDTH was expected, such as 480x640")
    return int(height), int(width)


def _check(arguments: argparse.Namespace) -> None:
    for name in ("stride", "batch_size", "workers"):
        value = getattr(arguments, name)
        if value < 1:
            raise ValueError(f"--{name}={value}: at least 1 was expected")


if __name__ == "__main__":
    main()
