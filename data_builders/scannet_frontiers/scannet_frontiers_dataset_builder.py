"""TFDS builder of `scannet_frontiers`. Neither building nor reading imports TensorFlow."""

import functools
import json
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders.scannet_frontiers import (
    configurations,
    fingerprint,
    folders,
    pool,
    reading,
    report,
    shuffling,
    splits,
    work,
)
from psp_jax.io import manifest, progress
from psp_jax.partition import frontier_classes
from psp_jax.recordings import inputs, layouts, recording

HOMEPAGE = "http://www.scan-net.org"
SHOWN = 5  # Printed of longer lists; all of them are in metadata.json.
# A killed build repeats at most as many frames per process.
FRAMES_PER_JOB = 256
SHARED_SPACES = "shared_spaces"  # Key of the metadata: by split, its spaces that train has too.


class Compressed(tfds.features.Tensor):
    """A zlib tensor whose examples have been compressed by the worker processes.

    Compression takes a third of the time of an example, and TFDS would do it in its single
    process. The data set and its `features.json` are those of a plain `tfds.features.Tensor`.
    """

    def encode_example(self, example_data: bytes) -> bytes:
        """Returns the zlib stream unchanged."""
        return example_data

    def to_proto(self):
        """Describes the plain tensor, for readers."""
        shape: Any = self.shape  # TFDS types it as a tree of anything.
        plain = tfds.features.Tensor(
            shape=shape, dtype=self.numpy_dtype, encoding="zlib", doc=self.doc
        )
        return plain.to_proto()


class Builder(tfds.core.GeneratorBasedBuilder):
    """RGB, filled depth and frontier classes of ScanNet or of other RGB-D recordings."""

    VERSION = tfds.core.Version("3.0.0")
    RELEASE_NOTES = {
        "1.0.0": "First version.",
        "2.0.0": "One feature for each label set.",
        "3.0.0": "A checksum of every JPEG; planar frontiers where the planes meet.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    Request ScanNet at {HOMEPAGE} (terms of use apply: non-commercial research and education),
    download the .sens files with the script they send you, and pass the folder that holds
    scans/sceneXXXX_YY/sceneXXXX_YY.sens as --manual_dir. Exports of them are read too.
    """
    BUILDER_CONFIGS = list(configurations.CONFIGS)

    def __init__(
        self, *, runner: pool.Runner = pool.serially, file_format: str | None = None, **kwargs
    ):
        """Creates the builder.

        Args:
            runner: processes the scans.
            file_format: TFDS file format; None for array_record.
            **kwargs: arguments of every TFDS builder.

        The attribute `runner` can be replaced before the build.
        """
        absl_log = logging.getLogger("absl")
        level = absl_log.level
        absl_log.setLevel(logging.ERROR)  # TFDS warns of every configuration that it doesn't list.
        try:
            super().__init__(file_format=file_format or "array_record", **kwargs)
        finally:
            absl_log.setLevel(level)
        self.runner = runner
        # Read here because TFDS changes `data_path` during the build.
        name, config, version = pathlib.Path(self.data_path).parts[-3:]
        self._work = pathlib.Path(self.data_path).parents[2] / "work" / name / config / version

    @property
    def config(self) -> configurations.FrontierConfig:
        """The builder configuration."""
        assert isinstance(self.builder_config, configurations.FrontierConfig)
        return self.builder_config

    def _info(self) -> tfds.core.DatasetInfo:
        height, width = self.config.size
        image_shape = (*self.config.recipe.color_size, 3)
        tensor = functools.partial(Compressed, shape=(height, width), encoding="zlib")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=image_shape, encoding_format="jpeg"),
                    # A JPEG with flipped bits decodes to another image without an error.
                    "image_crc32": tfds.features.Scalar(
                        np.int64, doc="CRC-32 of the bytes of the JPEG."
                    ),
                    "depth": tensor(dtype=np.uint16, doc="Millimetres, holes filled."),
                    "filled": tensor(dtype=np.bool_, doc="True where depth had no reading."),
                    **{
                        frontier_classes.FEATURE_PREFIX + name: tensor(
                            dtype=np.uint8, doc=f"Class 0 to 15: {segment}"
                        )
                        for name, segment in self.config.segmentations.items()
                    },
                    "scene_id": tfds.features.Text(),
                    "space_id": tfds.features.Text(),
                    "frame_index": tfds.features.Scalar(np.int32),
                    "intrinsics": tfds.features.Tensor(shape=(3, 3), dtype=np.float32),
                    "pose": tfds.features.Tensor(
                        shape=(4, 4), dtype=np.float32, doc="Camera to world, metres."
                    ),
                }
            ),
            supervised_keys=("image", "depth"),
            homepage=HOMEPAGE,
            metadata=tfds.core.MetadataDict(),
        )

    @property
    def _metadata(self) -> dict:
        metadata = self.info.metadata
        assert isinstance(metadata, dict)
        return metadata

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        manual_dir = os.fspath(dl_manager.manual_dir)
        survey = self.survey(manual_dir)
        print(*survey.notes, sep="\n")
        jobs, unlisted = self.jobs(survey)
        self._metadata["scans_in_no_split"] = unlisted
        self._metadata["notes"] = list(survey.notes)
        self._metadata["folders_not_read"] = survey.unused()
        self._metadata[fingerprint.KEY] = self.made_from(survey, manual_dir)
        self._metadata[SHARED_SPACES] = _shared_spaces(jobs)
        all_jobs = [job for members in jobs.values() for job in members]
        finished = sum(job.path.exists() for job in all_jobs)
        if finished:
            print(f"{finished} of {len(all_jobs)} scans were finished by an interrupted build")
        # One runner for all splits: starting processes takes longer than building a small split.
        done = self.runner(all_jobs)
        return {
            name: self._generate_examples(name, members, done) for name, members in jobs.items()
        }

    def _generate_examples(
        self, split: str, jobs: Sequence[work.Job], done: Iterator[work.Job]
    ) -> Iterator[tuple[str, dict]]:
        total = report.Report()
        counts = [job.count() for job in jobs]
        with progress.bar(desc=split, unit="frame", total=sum(counts)) as bar:
            for expected, count in zip(jobs, counts, strict=True):
                job = next(done)
                assert job is expected, "jobs are finished in order"
                for item in job.items():
                    if isinstance(item, report.Report):
                        total.add(item)
                    else:
                        yield item
                bar.update(count)
        if not total.kept:
            why = "; ".join(total.details[:SHOWN]) or "their recordings have no frames"
            raise ValueError(f"no frame of the scans for {split} can be used: {why}")
        self._metadata[f"report_{split}"] = total.summary()

    def survey(self, manual_dir: str) -> layouts.Survey:
        """Finds the recordings; raises FileNotFoundError if there are none."""
        return reading.survey(manual_dir, self.config.reading)

    def made_from(self, survey: layouts.Survey, manual_dir: str) -> dict:
        """Describes what the data set is made from."""
        return fingerprint.of(self.config, survey, manual_dir=manual_dir, version=str(self.version))

    def jobs(self, survey: layouts.Survey) -> tuple[dict[str, list[work.Job]], list[str]]:
        """Returns the jobs by split, and the ids of the scans that belong to no split.

        Raises:
            ValueError: if a space is in two splits, a split has no scans, or a scan has too few
                frames to be divided.
        """
        config, scans = self.config, {scan.id: scan for scan in survey.recordings}
        counts = {id: scan.count(config.frame_stride) for id, scan in scans.items()}
        pieces = splits.pieces_of(config.split, counts)
        quotas = config.sample.quotas() if config.sample else {}
        jobs: dict[str, list[work.Job]] = {}
        for name in splits.SPLITS:
            members = [piece for piece in pieces if piece.split == name]
            jobs[name] = [
                job
                for piece in members[: config.limit_scans]
                for job in self._jobs_of(piece, scans[piece.scan], counts, quotas)
            ]
        listed = {piece.scan for piece in pieces}
        unlisted = [id for id in scans if id not in listed]
        if empty := [name for name, members in jobs.items() if not members]:
            spaces = len({config.split.space_of(id) for id in scans})
            raise ValueError(
                f"no scans for {' and '.join(empty)}: found {len(scans)} scans of {spaces} spaces, "
                f"{len(unlisted)} of them in no split. For few scans, --config=found splits the "
                "spaces that are there, and --split_files=train.txt,validation.txt,test.txt uses "
                "your own lists of scan ids"
            )
        return jobs, unlisted

    def _jobs_of(
        self,
        piece: splits.Piece,
        scan: recording.Recording,
        counts: dict[str, int],
        quotas: dict[str, int],
    ) -> list[work.Job]:
        """Returns one job, or several for a long piece without a quota."""
        config, quota = self.config, quotas.get(scan.id)
        space = config.split.space_of(scan.id)
        make = functools.partial(
            *(work.Job, scan, config.recipe, quota, os.fspath(self._work), str(self.version)),
            space,
        )
        start, stop = piece.frames or (0, counts[scan.id])
        if quota is not None or stop - start <= FRAMES_PER_JOB:
            return [make(piece.frames)]
        starts = range(start, stop, FRAMES_PER_JOB)
        return [make((first, min(first + FRAMES_PER_JOB, stop))) for first in starts]

    def _log_download_bytes(self) -> None:
        """Prints nothing: TFDS would announce a download of unknown size."""

    def _log_download_done(self) -> None:
        """Prints nothing: `describe` reports the build."""

    def remove_work(self) -> None:
        """Removes the files of finished scans, which an interrupted build would resume from."""
        for path in [*self._work.glob("*.examples"), *self._work.glob("*.partial")]:
            path.unlink(missing_ok=True)
        for folder in (self._work, *self._work.parents[:3]):
            # Other builds may have files there.
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def fresh(self) -> "Builder":
        """Returns a builder that has read nothing of an existing data set."""
        return Builder(
            runner=self.runner,
            file_format=self.info.file_format and self.info.file_format.value,
            config=self.config,
            data_dir=self.data_path.parents[2],
        )


def _shared_spaces(jobs: dict[str, list[work.Job]]) -> dict[str, list[str]]:
    """Returns the spaces of validation and test that train has too."""
    spaces = {name: {job.space for job in members} for name, members in jobs.items()}
    return {name: sorted(spaces[name] & spaces["train"]) for name in splits.SPLITS[1:]}


def build(builder: Builder, *, manual_dir: str, overwrite: bool = False) -> None:
    """Builds the data set unless it exists.

    An interrupted build is resumed: finished scans are not read again, and incomplete files of
    TFDS are removed. If another process is building the same data set, this waits for it.

    Args:
        builder: the builder of the data set.
        manual_dir: folder of the recordings, in any layout of `layouts`.
        overwrite: whether a data set that was made from other data, or with other settings, is
            built again.

    Raises:
        FileNotFoundError: if there are no recordings in `manual_dir`.
        ValueError: if a space is in two splits, a split is empty, or the data set exists but was
            made from other data or with other settings.
        OSError: if its folder holds something else.
    """
    survey = builder.survey(manual_dir)
    builder.jobs(survey)  # Fails before TFDS creates folders.
    folder, made_from = pathlib.Path(builder.data_path), builder.made_from(survey, manual_dir)
    if folders.is_built(folder, made_from, overwrite):
        return
    tfds.disable_progress_bar()  # It shows no total; `_generate_examples` has its own bar.
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    with folders.locked(folder.parent):
        if folders.is_built(
            folder, made_from, overwrite
        ):  # By the process that this one waited for.
            return
        if folder.exists():
            folders.remove(folder)
            builder = builder.fresh()
        with shuffling.on_disk():
            builder.download_and_prepare(download_config=config)
        builder.remove_work()
        manifest.write(folder)


def describe(builder: Builder) -> str:
    """Returns the report of a finished build as lines of text."""
    folder = pathlib.Path(builder.data_path)
    metadata = json.loads((folder / "metadata.json").read_text())
    lines = [f"{builder.info.full_name} in {folder}"]
    summaries = {split: metadata[f"report_{split}"] for split in splits.SPLITS}
    for split, summary in summaries.items():
        lines += report.lines_of(split, summary)
    lines += report.total_lines([*summaries.values()])
    lines += report.shared_lines(metadata.get(SHARED_SPACES, {}))
    unlisted = metadata["scans_in_no_split"]
    if unlisted:
        shown = ", ".join(unlisted[:SHOWN]) + (" ..." if len(unlisted) > SHOWN else "")
        lines.append(f"  {len(unlisted)} scans are in no split: {shown}")
    lines += [f"  {line}" for line in metadata.get("notes", ())]
    lines += [f"  {line}" for line in inputs.lines_of(metadata["folders_not_read"])]
    return "\n".join(lines)
