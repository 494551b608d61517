"""Runs the jobs of a build: one by one, in processes or with Apache Beam, always in order."""

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
    """Runs jobs."""

    def __call__(self, jobs: Sequence[work.Job]) -> Iterator[work.Job]:
        """Yields every job, in order, once it is finished."""
        ...


def serially(jobs: Sequence[work.Job]) -> Iterator[work.Job]:
    """Runs one job at a time, in this process and on one thread.

    OpenCV's threads make small images slower; `Processes` uses more cores.
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
    """Runs several jobs at a time, each in a separate process.

    A job that kills its process, such as by a crash of a decoder, is retried alone and given up
    if that fails too: no scan can stop a build.
    """

    def __init__(self, count: int):
        """Takes the number of processes, at least 1."""
        if count < 1:
            raise ValueError(f"worker processes: expected at least 1, got {count}")
        self._count = count

    def __call__(self, jobs: Sequence[work.Job]) -> Iterator[work.Job]:
        """Yields every job, in order, once it is finished."""
        waiting = collections.deque(jobs)
        while waiting:
            yield from self._until_one_dies(waiting)

    def _until_one_dies(self, waiting: collections.deque[work.Job]) -> Iterator[work.Job]:
        running: collections.deque[tuple[work.Job, concurrent.futures.Future]] = collections.deque()
        with _executor(self._count) as executor:
            while waiting or running:
                # A few jobs ahead of the writer keep all processes busy; more would fill the disk.
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
        # Any of the running jobs may have killed it.
        for job, _ in running:
            _run_alone(job)
            yield job


class Beam:
    """Runs the jobs as an Apache Beam pipeline, on this machine or on a cluster.

    The pipeline writes the files of the jobs, so its workers must see the scans and `data_dir`
    under the same paths as this process, as on a shared file system. This process writes the
    records, a few percent of the work.
    """

    def __init__(self, runner: str, options: Sequence[str] = (), *, workers: int = 1):
        """Checks and stores the options of the pipeline.

        Args:
            runner: Beam's name of the runner, such as `DirectRunner` or `FlinkRunner`.
            options: its options without dashes, such as `flink_master=host:8081`.
            workers: processes of the DirectRunner; other runners have options for it.

        Raises:
            ValueError: if apache-beam is not installed, or `workers` are given for another runner.
        """
        if importlib.util.find_spec("apache_beam") is None:
            raise ValueError("--beam_runner needs apache-beam: pip install 'psp_jax[beam]'")
        self._runner, self._options = runner, beam_options(runner, options, workers)

    def __call__(self, jobs: Sequence[work.Job]) -> Iterator[work.Job]:
        """Yields every job, in order, once all are finished."""
        import apache_beam as beam  # pyright: ignore[reportMissingImports]
        from apache_beam.options import pipeline_options  # pyright: ignore[reportMissingImports]

        options = pipeline_options.PipelineOptions(self._options)
        with beam.Pipeline(runner=self._runner, options=options) as pipeline:
            # Without the reshuffle, Beam would run neighbours on the same worker.
            _ = pipeline | beam.Create(list(jobs)) | beam.Reshuffle() | beam.Map(work.Job.run)
        yield from jobs


def beam_options(runner: str, options: Sequence[str], workers: int) -> list[str]:
    """Returns the command line of a Beam pipeline.

    Raises:
        ValueError: if `workers` are given for another runner than the DirectRunner.
    """
    arguments = [f"--{option}" for option in options]
    if workers == 1:
        return arguments
    if runner != "DirectRunner":
        raise ValueError(
            f"--num_workers={workers} is for processes on this machine; for {runner} use "
            f"--beam_options=parallelism={workers} (Flink) or num_workers={workers} (Dataflow)"
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
    # JAX and OpenCV have threads, whose state a forked process must not inherit.
    context = multiprocessing.get_context("spawn")
    executor = concurrent.futures.ProcessPoolExecutor(count, context, initializer=_set_up)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _set_up() -> None:
    """Configures a worker process."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent process handles it.
