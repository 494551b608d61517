"""Predicts the frames of images, videos and recordings and writes their results.

Three stages overlap: threads read the frames, the network predicts batches of frames of one size,
and threads decode and write the results.
"""

import collections
import concurrent.futures
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
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


class _Predicted(NamedTuple):
    frame: Frame
    image: np.ndarray
    prediction: Prediction


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


class Pipeline:
    """Predicts the frames that a folder of results lacks."""

    def __init__(
        self,
        predictor: Predictor,
        folder: outputs.Folder,
        *,
        file_format: str,
        with_page: bool,
        batch_size: int,
        workers: int,
    ):
        """Takes everything but the frames.

        Args:
            predictor: the run.
            folder: folder of the results.
            file_format: a key of `outputs.FORMATS`.
            with_page: whether the files of the page are written too.
            batch_size: maximum number of images in a batch.
            workers: number of threads that read, decode and write.
        """
        self._predictor, self._folder, self._with_page = predictor, folder, with_page
        self._encode = outputs.FORMATS[file_format]
        self._batch_size, self._workers = batch_size, workers
        self._names: set[str] = set()
        self.summary = Summary()

    def run(self, sequences: list[frames.FrameSequence]) -> Summary:
        """Predicts all frames that are not finished.

        Raises:
            OSError: if results can't be written.
        """
        total = sum(sequence.count for sequence in sequences)
        self._batch_size = min(self._batch_size, total)
        ahead = self._batch_size + self._workers
        pool = concurrent.futures.ThreadPoolExecutor(self._workers)
        with progress.bar(desc="predict", unit="frame", total=total) as bar:
            try:
                loaded = _map(pool, self._load, self._unfinished(sequences, bar), ahead)
                predicted = self._predict(self._successes(loaded, bar))
                written = _map(pool, self._write, predicted, ahead)
                for name in self._successes(written, bar):
                    self.summary.predicted.append(name)
                    bar.update()
            finally:
                pool.shutdown(cancel_futures=True)
        return self.summary

    def _unfinished(
        self, sequences: list[frames.FrameSequence], bar: tqdm.tqdm
    ) -> Iterator[tuple[Frame, frames.Read]]:
        def wanted(frame: Frame) -> bool:
            is_wanted = self._is_unfinished(frame)
            bar.update(not is_wanted)
            return is_wanted

        for sequence in sequences:
            yield from sequence.frames(wanted)

    def _is_unfinished(self, frame: Frame) -> bool:
        try:
            if frame.name in self._names:
                raise ValueError("another frame has the same name; use another folder of results")
            self._names.add(frame.name)
            page_files = viewer.files_of(frame.name) if self._with_page else ()
            is_present = self._folder.holds(frame, page_files)
        except ValueError as error:
            self._skip(_Failure(frame, error))
            return False
        if is_present:
            self.summary.present.append(frame.name)
        return not is_present

    def _load(self, item: tuple[Frame, frames.Read]) -> _Loaded | _Failure:
        frame, read = item
        try:
            image = read()
            return _Loaded(frame, image, self._predictor.prepare(image))
        except (ValueError, OSError) as error:
            return _Failure(frame, error)

    def _predict(self, loaded: Iterable[_Loaded]) -> Iterator[_Predicted]:
        """Predicts images of one size in batches; the last batch of a size is padded."""
        waiting: dict[tuple[int, ...], list[_Loaded]] = collections.defaultdict(list)
        for item in loaded:
            same = waiting[item.prepared.shape]
            same.append(item)
            if len(same) == self._batch_size:
                yield from self._predict_batch(waiting.pop(item.prepared.shape))
        for same in waiting.values():
            yield from self._predict_batch(same)

    def _predict_batch(self, same: list[_Loaded]) -> Iterator[_Predicted]:
        prepared = [item.prepared for item in same]
        predictions = self._predictor.run(prepared, pad_to=self._batch_size)
        for item, prediction in zip(same, predictions, strict=True):
            yield _Predicted(item.frame, item.image, prediction)

    def _write(self, item: _Predicted) -> str | _Failure:
        """Decodes and writes a frame, and returns its name; an OSError ends the pipeline."""
        frame, image, prediction = item
        try:
            decoded = self._predictor.decode(prediction, image.shape[:2])
            regions = outputs.measure(decoded)
            contents = self._encode(frame.name, image, decoded)
            if regions:
                contents |= outputs.as_table(frame.name, regions)
            if self._with_page:
                contents |= viewer.frame(frame.name, image, decoded, regions)
        except ValueError as error:
            return _Failure(frame, error)
        self._folder.finish(frame, contents)
        return frame.name

    def _successes(self, results: Iterable[_Out | _Failure], bar: tqdm.tqdm) -> Iterator[_Out]:
        for result in results:
            if isinstance(result, _Failure):
                self._skip(result)
                bar.update()
            else:
                yield result

    def _skip(self, failure: _Failure) -> None:
        frame, error = failure
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        self.summary.failed.append(f"{frame.source}: {reason}")
        tqdm.tqdm.write(f"skipped {self.summary.failed[-1]}", file=sys.stderr)


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
