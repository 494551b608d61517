"""Describes a build without doing it: scans, frames, size and time."""

import itertools
import time

from data_builders.scannet_frontiers import examples, splits, work
from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from data_builders.scannet_frontiers.report import Report
from psp_jax.recordings import inputs

PROBED_SCANS = 3  # Processed for the estimate, spread over all scans: spaces differ in cost.
PROBED_FRAMES = 4  # Per scan.


def describe(builder: dataset.Builder, *, manual_dir: str, workers: int) -> str:
    """Returns the scans, the frames, and the expected size and time as text.

    Args:
        builder: the builder of the data set.
        manual_dir: folder of the recordings.
        workers: number of worker processes.

    Raises:
        FileNotFoundError: if there are no recordings.
        ValueError: if a space is in two splits, or a split is empty.
    """
    survey = builder.survey(manual_dir)
    jobs, unlisted = builder.jobs(survey)
    lines, all_jobs, frames = [f"{builder.info.full_name}, to {builder.data_path}"], [], 0
    for split in splits.SPLITS:
        counts = [job.count() for job in jobs[split]]
        scans = len({job.scan.id for job in jobs[split]})
        lines.append(f"  {split:<10} {sum(counts):6d} frames of {scans} scans")
        lines += [
            f"    {job.scan.id} {count:6d} frames  {job.scan.path}"
            for job, count in zip(jobs[split], counts, strict=True)
        ]
        all_jobs += jobs[split]
        frames += sum(counts)
    lines += [f"  {note}" for note in survey.notes]
    lines += [f"  {line}" for line in inputs.lines_of(survey.unused())]
    if unlisted:
        lines.append(f"  in no split: {' '.join(unlisted)}")
    finished = sum(job.path.exists() for job in all_jobs)
    if finished:
        lines.append(f"  {finished} scans were finished by an interrupted build")
    return "\n".join([*lines, _estimate(all_jobs, frames, workers)])


def _estimate(jobs: list[work.Job], frames: int, workers: int) -> str:
    """Extrapolates size and time from a few frames."""
    made, taken_s, stored_bytes = 0, 0.0, 0
    # The first frame also compiles and loads.
    next(examples.examples_of(jobs[0].scan, Report(), recipe=jobs[0].recipe), None)
    for job in jobs[:: -(-len(jobs) // PROBED_SCANS)]:
        started = time.perf_counter()
        probed = examples.examples_of(job.scan, Report(), recipe=job.recipe, span=job.span)
        for _, example in itertools.islice(probed, PROBED_FRAMES):
            compressed = work.compress(example)
            stored_bytes += sum(len(v) for v in compressed.values() if isinstance(v, bytes))
            made += 1
        taken_s += time.perf_counter() - started
    if not made:
        return "  no estimate: none of the probed frames can be used"
    total_mb = frames * stored_bytes / made / 1e6
    total_min = frames * taken_s / made / 60 / workers
    return (
        f"  total      {frames:6d} frames: about {total_mb:.0f} MB, and twice as much again during "
        f"the build; about {total_min:.1f} minutes with --num_workers={workers} "
        f"({1e3 * taken_s / made:.0f} ms per frame, measured on {made})"
    )
