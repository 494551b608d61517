"""TFDS builder of `scannet_frontiers`. Neither building nor reading imports TensorFlow."""

import contextlib
import fcntl
import functools
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders.scannet_frontiers import configurations, pool, report, splits, work
from psp_jax.io import manifest, progress
from psp_jax.partition import frontier_classes
from psp_jax.recordings import layouts, scan_ids

HOMEPAGE = "http://www.scan-net.org"
SHOWN = 5  # Printed of longer lists; all of them are in metadata.json.


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
        """
        super().__init__(file_format=file_format or "array_record", **kwargs)
        self._runner = runner
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
        survey = layouts.survey(os.fspath(dl_manager.manual_dir))
        jobs, unlisted = self.jobs(survey)
        self._metadata["scans_in_no_split"] = unlisted
        self._metadata["folders_not_read"] = survey.refused
        all_jobs = [job for members in jobs.values() for job in members]
        finished = sum(job.path.exists() for job in all_jobs)
        if finished:
            print(f"{finished} of {len(all_jobs)} scans were finished by an interrupted build")
        # One runner for all splits: starting processes takes longer than building a small split.
        done = self._runner(all_jobs)
        return {
            name: self._generate_examples(name, members, done) for name, members in jobs.items()
        }

    def _generate_examples(
        self, split: str, jobs: Sequence[work.Job], done: Iterator[work.Job]
    ) -> Iterator[tuple[str, dict]]:
        total = report.Report()
        counts = [job.scan.count(self.config.frame_stride) for job in jobs]
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
        self._metadata[f"report_{split}"] = total.summary()

    def jobs(self, survey: layouts.Survey) -> tuple[dict[str, list[work.Job]], list[str]]:
        """Returns one job per scan by split, and the ids of the scans that belong to no split.

        Raises:
            ValueError: if a space is in two splits, or a split has no scans.
        """
        config, scans = self.config, survey.recordings
        split_of = config.split([scan.id for scan in scans])
        splits.check_disjoint(split_of)
        quotas = config.sample.quotas() if config.sample else {}
        jobs: dict[str, list[work.Job]] = {name: [] for name in splits.SPLITS}
        version = str(self.version)
        for scan in scans:
            members = jobs.get(split_of.get(scan.id, ""), [])
            if config.limit_scans is None or len(members) < config.limit_scans:
                quota = quotas.get(scan.id)
                folder = os.fspath(self._work)
                members.append(work.Job(scan, config.recipe, quota, folder, version))
        unlisted = [scan.id for scan in scans if scan.id not in split_of]
        empty = [name for name, members in jobs.items() if not members]
        if empty:
            spaces = len({scan_ids.space_of(scan.id) for scan in scans})
            raise ValueError(
                f"no scans for {' and '.join(empty)}: found {len(scans)} scans of {spaces} spaces, "
                f"{len(unlisted)} of them in no split. {_advice(spaces)}"
            )
        return jobs, unlisted

    def remove_work(self) -> None:
        """Removes the files of finished scans, which an interrupted build would resume from."""
        shutil.rmtree(self._work, ignore_errors=True)
        for folder in self._work.parents[:3]:
            # Other builds may have files there.
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _advice(spaces: int) -> str:
    """Tells the user how to fill an empty split."""
    if spaces < len(splits.SPLITS):
        return "At least three spaces are needed, one for each split"
    return (
        "For few scans, --config=found splits the spaces that are there, and "
        "--split_files=train.txt,validation.txt,test.txt uses your own lists of scan ids"
    )


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Locks the folder of a configuration and removes the leftovers of killed builds.

    The lock ends with the process. On a file system without locks nothing is locked or removed.

    Raises:
        OSError: if another process is building there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # TFDS writes to `incomplete.XXXXXX_VERSION` next to the folder of the version.
        leftovers = list(folder.glob("incomplete.*_*"))
    except BlockingIOError:
        os.close(handle)
        raise OSError(f"another process is building {folder}; wait for it or end it") from None
    except OSError:
        leftovers = []
    try:
        for path in leftovers:
            shutil.rmtree(path, ignore_errors=True)
        yield
    finally:
        os.close(handle)


def build(builder: Builder, *, manual_dir: str) -> None:
    """Builds the data set unless it exists.

    An interrupted build is resumed: finished scans are not read again, and incomplete files of
    TFDS are removed.

    Args:
        builder: the builder of the data set.
        manual_dir: folder of the recordings, in any layout of `layouts`.

    Raises:
        FileNotFoundError: if there are no recordings in `manual_dir`.
        ValueError: if a space is in two splits, or a split is empty.
        OSError: if another process is building it.
    """
    builder.jobs(layouts.survey(manual_dir))  # Fails before TFDS creates folders.
    tfds.disable_progress_bar()  # It shows no total; `_generate_examples` has its own bar.
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    with _locked(pathlib.Path(builder.data_path).parent):
        folder = pathlib.Path(builder.data_path)
        new = not folder.exists()
        builder.download_and_prepare(download_config=config)
        builder.remove_work()
        if new:
            manifest.write(folder)


def describe(builder: Builder) -> str:
    """Returns the report of a finished build as lines of text."""
    metadata = builder.info.metadata
    assert isinstance(metadata, dict)
    lines = [f"{builder.info.full_name} in {builder.data_path}"]
    for split in splits.SPLITS:
        lines += report.lines_of(split, metadata[f"report_{split}"])
    unlisted = metadata["scans_in_no_split"]
    if unlisted:
        shown = ", ".join(unlisted[:SHOWN]) + (" ..." if len(unlisted) > SHOWN else "")
        lines.append(f"  {len(unlisted)} scans are in no split: {shown}")
    refused = metadata["folders_not_read"]
    lines += [f"  not read, {path}: {why}" for path, why in list(refused.items())[:SHOWN]]
    if len(refused) > SHOWN:
        lines.append(f"  ... and {len(refused) - SHOWN} more folders, all in metadata.json")
    return "\n".join(lines)
