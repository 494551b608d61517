"""Predicts the frames of images, videos and recordings and writes their results.

Three stages overlap: threads read the frames, the network predicts batches of frames of one size,
and threads decode and write the results.
"""

import collections
import concurrent.futures
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import tqdm

from psp_jax.batch import Prediction
from psp_jax.io import progress
from psp_jax.predict import frames, outputs, viewer
from psp_jax.predict.frames import Frame
from psp_jax.predict.predictor import Predictor

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class _Loaded(NamedTuple):
    frame: Frame
    image: np.ndarray
    prepared: np.ndarray


class _Failure(NamedTuple):
    frame: Frame
    error: Exception


@dataclasses.dataclass
class Summary:
    """Results of a pipeline.

    Attributes:
        predicted: names of the frames predicted now.
        present: names of the frames that were finished before.
        failed: a line for each frame that was skipped, with the reason.
    """

    predicted: list[str] = dataclasses.field(default_factory=list)
    present: list[str] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)

    def skip(self, frame: Frame, error: Exception) -> None:
        """Adds a frame that can't be predicted, and prints it above the progress bar."""
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        self.failed.append(f"{frame.source}: {reason}")
        tqdm.tqdm.write(f"skipped {self.failed[-1]}", file=sys.stderr)


@dataclasses.dataclass
class Pipeline:
    """Predicts the frames that a folder of results lacks.

    Attributes:
        predictor: the run.
        folder: the folder of results.
        encode: makes the files of a frame, such as `outputs.as_pngs`.
        with_page: whether to make the files of the page, too.
        batch_size: maximum number of images in a batch.
        workers: number of threads that read, decode and write.
    """

    predictor: Predictor
    folder: outputs.Folder
    encode: outputs.Encode
    with_page: bool
    batch_size: int
    workers: int

    def run(self, sequences: Sequence[frames.FrameSequence]) -> Summary:
        """Predicts all frames that are not finished.

        Raises:
            OSError: if results can't be written.
        """
        summary = Summary()
        total = sum(sequence.count for sequence in sequences)
        batch_size = min(self.batch_size, total)
        ahead = batch_size + self.workers
        pool = concurrent.futures.ThreadPoolExecutor(self.workers)
        with progress.bar(desc="predict", unit="frame", total=total) as bar:
            try:
                loaded = _map(pool, self._load, self._unfinished(sequences, summary, bar), ahead)
                predicted = self._predict(_successes(loaded, summary, bar), batch_size)
                for name in _successes(_map(pool, self._write, predicted, ahead), summary, bar):
                    summary.predicted.append(name)
                    bar.update()
            finally:
                pool.shutdown(cancel_futures=True)
        return summary

    def _unfinished(
        self, sequences: Sequence[frames.FrameSequence], summary: Summary, bar: tqdm.tqdm
    ) -> Iterator[tuple[Frame, frames.Read]]:
        names = set()

        def is_unfinished(frame: Frame) -> bool:
            try:
                if frame.name in names:
                    raise ValueError("the name of another input; choose another --out for it")
                names.add(frame.name)
                page_files = viewer.files_of(frame.name) if self.with_page else ()
                if not self.folder.holds(frame, page_files):
                    return True
                summary.present.append(frame.name)
            except ValueError as error:
                summary.skip(frame, error)
            bar.update()
            return False

        for sequence in sequences:
            yield from sequence.frames(is_unfinished)

    def _load(self, item: tuple[Frame, frames.Read]) -> _Loaded | _Failure:
        frame, read = item
        try:
            image = read()
            return _Loaded(frame, image, self.predictor.prepare(image))
        except (ValueError, OSError) as error:
            return _Failure(frame, error)

    def _predict(
        self, loaded: Iterable[_Loaded], batch_size: int
    ) -> Iterator[tuple[_Loaded, Prediction]]:
        """Predicts images of one size in batches; the last batch of a size is padded."""
        waiting: dict[tuple[int, ...], list[_Loaded]] = collections.defaultdict(list)

        def predict(batch: list[_Loaded]) -> Iterator[tuple[_Loaded, Prediction]]:
            prepared = [item.prepared for item in batch]
            return zip(batch, self.predictor.run(prepared, pad_to=batch_size), strict=True)

        for item in loaded:
            batch = waiting[item.prepared.shape]
            batch.append(item)
            if len(batch) == batch_size:
                yield from predict(waiting.pop(item.prepared.shape))
        for batch in waiting.values():
            yield from predict(batch)

    def _write(self, item: tuple[_Loaded, Prediction]) -> str | _Failure:
        """Decodes and writes a frame, and returns its name; an OSError ends the pipeline."""
        (frame, image, _), prediction = item
        try:
            decoded = self.predictor.decode(prediction, image.shape[:2])
            regions = outputs.measure(decoded)
            contents = self.encode(frame.name, image, decoded)
            if regions:
                contents |= outputs.as_table(frame.name, regions)
            if self.with_page:
                contents |= viewer.frame(frame.name, image, decoded, regions)
        except ValueError as error:
            return _Failure(frame, error)
        self.folder.finish(frame, contents)
        return frame.name


def _map(
    pool: concurrent.futures.Executor,
    function: Callable[[_In], _Out],
    items: Iterable[_In],
    ahead: int,
) -> Iterator[_Out]:
    """Maps items in threads, in order; at most `ahead` results wait to be taken."""
    waiting: collections.deque[concurrent.futures.Future[_Out]] = collections.deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _successes(
    results: Iterable[_Out | _Failure], summary: Summary, bar: tqdm.tqdm
) -> Iterator[_Out]:
    for result in results:
        if isinstance(result, _Failure):
            summary.skip(*result)
            bar.update()
        else:
            yield result
