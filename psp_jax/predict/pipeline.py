"""Predicts the frames of images, videos and recordings and writes their results.

Three stages overlap: threads read the frames, the network predicts batches of frames of one size,
and threads decode and write the results.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import tqdm

from psp_jax.batch import Prediction
from psp_jax.io import progress
from psp_jax.predict import films, frames, outputs, viewer
from psp_jax.predict.frames import Film, Frame
from psp_jax.predict.plan import Plan
from psp_jax.predict.predictor import Predictor

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class _Loaded(NamedTuple):
    frame: Frame
    film: Film | None
    image: np.ndarray
    prepared: np.ndarray


class _End(NamedTuple):
    """Follows the last frame of a film."""

    film: Film


class _Done(NamedTuple):
    frame: Frame
    film: Film | None
    pictures: films.Pictures | None


class _Failure(NamedTuple):
    frame: Frame
    film: Film | None
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
        predictor: the model.
        folder: the folder of results.
        plan: the files that are written.
        batch_size: maximum number of images in a batch.
        workers: number of threads that read, decode and write.
    """

    predictor: Predictor
    folder: outputs.Folder
    plan: Plan
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
        films_written = films.Films(self.folder, self.plan)
        with progress.bar(desc="predict", unit="frame", total=total) as bar:
            try:
                unfinished = self._unfinished(sequences, films_written, summary, bar)
                loaded = _map(pool, self._load, unfinished, ahead)
                predicted = self._predict(loaded, batch_size)
                for item in _map(pool, self._write, predicted, ahead):
                    try:
                        if isinstance(item, _End):
                            films_written.end(item.film)
                            continue
                        if isinstance(item, _Failure):
                            summary.skip(item.frame, item.error)
                        else:
                            summary.predicted.append(item.frame.name)
                        if item.film is not None:
                            pictures = item.pictures if isinstance(item, _Done) else None
                            films_written.take(item.film, pictures)
                    except ValueError as error:
                        assert item.film is not None  # Only a film refuses an item.
                        summary.skip(item.film.frame, error)
                    bar.update()
            finally:
                pool.shutdown(cancel_futures=True)
                films_written.discard()
        return summary

    def _unfinished(
        self,
        sequences: Sequence[frames.FrameSequence],
        films_written: films.Films,
        summary: Summary,
        bar: tqdm.tqdm,
    ) -> Iterator[tuple[Frame, Film | None, frames.Read] | _End]:
        names = set()

        def is_unfinished(frame: Frame, film: Film | None, needs_film: bool) -> bool:
            try:
                if frame.name in names:
                    raise ValueError("the name of another input; choose another --out for it")
                names.add(frame.name)
                if needs_film or not self.folder.holds(frame, self.plan.files_of(frame, film)):
                    self.folder.check(self.plan.files_of(frame, film))
                    return True
                summary.present.append(frame.name)
            except ValueError as error:
                summary.skip(frame, error)
            bar.update()
            return False

        for sequence in sequences:
            film, needs_film = sequence.film, False
            if film is not None:
                try:
                    needs_film = films_written.begin(film)
                except ValueError as error:
                    summary.skip(film.frame, error)
                    bar.update(sequence.count)
                    continue
                if not needs_film and not self.plan.files_of(film.frame, film):
                    summary.present.append(film.frame.name)
                    bar.update(sequence.count)
                    continue
            wanted = functools.partial(is_unfinished, film=film, needs_film=needs_film)
            for frame, read in sequence.frames(wanted):
                yield frame, film, read
            if film is not None and needs_film:
                yield _End(film)

    def _load(
        self, item: tuple[Frame, Film | None, frames.Read] | _End
    ) -> _Loaded | _Failure | _End:
        if isinstance(item, _End):
            return item
        frame, film, read = item
        try:
            image = read()
            return _Loaded(frame, film, image, self.predictor.prepare(image))
        except (ValueError, OSError) as error:
            return _Failure(frame, film, error)

    def _predict(
        self, loaded: Iterable[_Loaded | _Failure | _End], batch_size: int
    ) -> Iterator[tuple[_Loaded, Prediction] | _Failure | _End]:
        """Predicts images of one size in batches; the last batch of a size is padded."""
        waiting: dict[tuple[int, ...], list[_Loaded]] = collections.defaultdict(list)

        def predict(batch: list[_Loaded]) -> Iterator[tuple[_Loaded, Prediction]]:
            prepared = [item.prepared for item in batch]
            return zip(batch, self.predictor.run(prepared, pad_to=batch_size), strict=True)

        for item in loaded:
            if isinstance(item, _End):
                for shape in list(waiting):
                    yield from predict(waiting.pop(shape))
            if not isinstance(item, _Loaded):
                yield item
                continue
            batch = waiting[item.prepared.shape]
            batch.append(item)
            if len(batch) == batch_size:
                yield from predict(waiting.pop(item.prepared.shape))
        for batch in waiting.values():
            yield from predict(batch)

    def _write(
        self, item: tuple[_Loaded, Prediction] | _Failure | _End
    ) -> "_Done | _Failure | _End":
        """Decodes a frame and writes its files; an OSError ends the pipeline."""
        if isinstance(item, _Failure | _End):
            return item
        (frame, film, image, _), prediction = item
        plan = self.plan
        chosen = plan.frame_outputs if film else plan.outputs
        try:
            source = None if film else pathlib.Path(frame.path)  # Only photos state a focal length.
            result = self.predictor.decode(prediction, image, name=frame.name, source=source)
            result = dataclasses.replace(result, with_bar=plan.with_bar, fov_deg=plan.fov_deg)
            contents = result.files(chosen)
            if plan.with_page:
                contents |= viewer.frame(result)
            if contents:
                self.folder.finish(frame, contents)
        except ValueError as error:
            return _Failure(frame, film, error)
        # Not the result itself, whose arrays take much memory.
        return _Done(frame, film, films.pictures_of(result, plan) if film else None)


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
