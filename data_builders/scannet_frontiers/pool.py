"""Jobs of many scans: one by one, in processes or through Beam; the order stays the same."""

import collections
import concurrent.futures
import contextlib
import importlib.util
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

import cv2

from data_builders.scannet_frontiers import work


class Runner(Protocol):
    """What does jobs."""

    def __call__(self, jobs: Sequence[work.Job]) -> Iterator[work.Job]:
        """Yields every job, in order, once it is done."""
        ...


def serially(jobs: Sequence[work.Job]) -> Iterator[work.Job]:
    """Does one job at a time, in this process and on one thread.

    OpenCV's threads make small images slower, and a build of several processes is what uses cores.
    """
    for job in jobs:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            job.run()
        finally:
            cv2.setNumThreads(threads)
        yield job


class Processes:
    """Does several jobs at a time, each in a process of its own.

    A job that kills its process, as a decoder that crashes would, is tried again alone and given
    up if it does so again: no single scan can stop a build.
    """

    def __init__(self, count: int):
        """Takes the number of processes, at least 1."""
        if count < 1:
            raise ValueError(f"{count} worker processes; at least 1 was expected")
        self._count = count

    def __call__(self, jobs: Sequence[work.Job]) -> Iterator[work.Job]:
        """Yields every job, in order, once it is done."""
        waiting = collections.deque(jobs)
        while waiting:
            yield from self._until_one_dies(waiting)

    def _until_one_dies(self, waiting: collections.deque[work.Job]) -> Iterator[work.Job]:
        running: collections.deque[tuple[work.Job, concurrent.futures.Future]] = collections.deque()
        with _executor(self._count) as executor:
            while waiting or running:
                # A few jobs ahead keep all processes busy without finishing far ahead of the
                # writer, which would only fill the disk.
                while waiting and len(running) < 4 * self._count:
                    job = waiting.popleft()
                    running.append((job, executor.submit(job.run)))
                job, future = running[0]
                try:
                    future.result()
                except BrokenProcessPool:
                    break
                running.popleft()
                yield job
        # All that were running may be to blame.
        for job, _ in running:
            _run_alone(job)
            yield job


class Beam:
    """Does the jobs as an Apache Beam pipeline: on this machine, or on a cluster.

    What the pipeline produces are the files of the jobs, so its workers must see the scans and
    `data_dir` under the same paths as this process, as on a shared file system. The records are
    written by this process, a few percent of the work.
    """

    def __init__(self, runner: str, options: Sequence[str] = (), *, workers: int = 1):
        """Takes Beam's name of the runner, and its options as on a command line but for the dashes.

        Args:
            runner: such as `DirectRunner` or `FlinkRunner`.
            options: such as `flink_master=host:8081` or `parallelism=32`.
            workers: processes of the DirectRunner; the others are told by their own options.

        Raises:
            ValueError: if apache-beam is not installed, or `workers` are asked of another runner.
        """
        if importlib.util.find_spec("apache_beam") is None:
            raise ValueError("--beam_runner needs apache-beam: pip install 'psp_jax[beam]'")
        self._runner, self._options = runner, beam_options(runner, options, workers)

    def __call__(self, jobs: Sequence[work.Job]) -> Iterator[work.Job]:
        """Yields every job, in order, once all are done."""
        import apache_beam as beam  # pyright: ignore[reportMissingImports]
        from apache_beam.options import pipeline_options  # pyright: ignore[reportMissingImports]

        options = pipeline_options.PipelineOptions(self._options)
        with beam.Pipeline(runner=self._runner, options=options) as pipeline:
            # Reshuffled, because Beam would keep neighbours on one worker.
            _ = pipeline | beam.Create(list(jobs)) | beam.Reshuffle() | beam.Map(work.Job.run)
        yield from jobs


def beam_options(runner: str, options: Sequence[str], workers: int) -> list[str]:
    """Returns the command line of a Beam pipeline.

    Raises:
        ValueError: if `workers` are asked of another runner than the DirectRunner.
    """
    arguments = [f"--{option}" for option in options]
    if workers == 1:
        return arguments
    if runner != "DirectRunner":
        raise ValueError(
            f"--num_workers={workers} counts processes of this machine; {runner} is told by "
            f"its own options, such as --beam_options=parallelism={workers} (Flink) or "
            f"--beam_options=num_workers={workers} (Dataflow)"
        )
    return [*arguments, f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"]


def _run_alone(job: work.Job) -> None:
    with _executor(1) as executor:
        try:
            executor.submit(job.run).result()
        except BrokenProcessPool:
            job.give_up("reading it kills the process")


@contextlib.contextmanager
def _executor(count: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    # JAX and OpenCV have threads, which a forked process would inherit in an undefined state.
    context = multiprocessing.get_context("spawn")
    executor = concurrent.futures.ProcessPoolExecutor(count, context, initializer=_settle)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _settle() -> None:
    """Makes a process of its own one worker among several."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent decides when to stop.
