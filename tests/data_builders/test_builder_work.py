"""Tests builds in several processes, interrupted builds, and the flags."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders.scannet_frontiers import configurations, pool, splits, work
from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from psp_jax.recordings import sens
from tests import programs
from tests.scans import make_frame, small_config, write_scan


def digest_of(directory: pathlib.Path) -> str:
    """Returns the SHA-256 of all decoded examples in order; the bytes of shards may differ."""
    builder: Any = tfds.builder_from_directory(directory)
    digest = hashlib.sha256()
    for split in splits.SPLITS:
        for example in builder.as_data_source(split):
            for name in sorted(example):
                digest.update(name.encode() + np.asarray(example[name]).tobytes())
    return digest.hexdigest()


def built(folder, scans_dir, runner=pool.serially, config=None) -> dataset.Builder:
    builder = dataset.Builder(config=config or small_config(), data_dir=folder, runner=runner)
    dataset.build(builder, manual_dir=str(scans_dir))
    return builder


@pytest.fixture(scope="session")
def expected(data_dir) -> str:
    return digest_of(data_dir / "scannet_frontiers" / "small" / "3.0.0")


def test_several_processes_build_the_same_as_one(tmp_path, scans_dir, expected):
    builder = built(tmp_path, scans_dir, pool.Processes(2))
    assert digest_of(pathlib.Path(builder.data_path)) == expected
    assert not (tmp_path / "work").exists()


def test_beam_builds_the_same_as_one_process(tmp_path, scans_dir, expected):
    pytest.importorskip("apache_beam")
    command = [
        sys.executable,
        "-m",
        __spec__.name,
        "--beam",
        tmp_path,
        scans_dir,
    ]
    # In a separate process: Beam warns about its dependencies, and warnings are errors here.
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert digest_of(tmp_path / "scannet_frontiers" / "small" / "3.0.0") == expected


@pytest.mark.parametrize(
    ("runner", "options"),
    [
        ("FlinkRunner", ["flink_master=host:8081", "parallelism=32"]),
        ("SparkRunner", ["spark_master_url=spark://host:7077", "environment_type=LOOPBACK"]),
        ("DataflowRunner", ["project=p", "region=r", "temp_location=gs://b/t", "num_workers=9"]),
    ],
)
def test_options_of_clusters_reach_beam(runner, options):
    assert pool.beam_options(runner, options, 1) == [f"--{option}" for option in options]
    with pytest.raises(ValueError, match=f"--num_workers=2 .* {runner}"):
        pool.beam_options(runner, options, 2)


def test_the_direct_runner_takes_worker_processes():
    options = pool.beam_options("DirectRunner", ["no_save_main_session"], 2)
    assert options[0] == "--no_save_main_session"
    assert set(options[1:]) == {"--direct_num_workers=2", "--direct_running_mode=multi_processing"}


def test_beam_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs apache-beam"):
        pool.Beam("DirectRunner")


def test_an_interrupted_build_does_not_repeat_finished_scans(
    tmp_path, scans_dir, expected, monkeypatch
):
    done = []

    def dies(jobs):
        for job in jobs:
            if len(done) == 7:
                raise KeyboardInterrupt
            job.run()
            done.append(job.scan.id)
            yield job

    with pytest.raises(KeyboardInterrupt):
        built(tmp_path, scans_dir, dies)
    original, redone = work.examples.examples_of, []

    def noted(scan, report, **kwargs):
        redone.append(scan.id)
        return original(scan, report, **kwargs)

    monkeypatch.setattr(work.examples, "examples_of", noted)
    builder = built(tmp_path, scans_dir)
    assert len(done) == 7 and len(redone) == 13 and not set(done) & set(redone)
    assert digest_of(pathlib.Path(builder.data_path)) == expected
    assert not (tmp_path / "work").exists()


def test_a_second_build_waits_for_the_first_and_removes_its_leftovers_if_it_is_killed(
    tmp_path, scans_dir
):
    """SIGKILL can't be caught."""
    command = [sys.executable, "-m", __spec__.name, "--hang", tmp_path, scans_dir]
    first = subprocess.Popen(command, stdout=subprocess.PIPE)
    command[3] = "--wait"
    folder = tmp_path / "scannet_frontiers" / "small"
    try:
        assert first.stdout and b"hanging\n" in iter(first.stdout.readline, b"")
        (left,) = folder.glob("incomplete.*")
        (folder / "incomplete.notes").mkdir()  # Not of TFDS.
        second = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert second.stdout
            waiting = next(x for x in iter(second.stdout.readline, b"") if b"waiting" in x)
            assert b"another process" in waiting and left.exists()
            first.kill()
            second.communicate(timeout=60)
            assert not second.returncode
        finally:
            second.kill()
            second.communicate()
    finally:
        first.kill()
        first.communicate()
    names = sorted(path.name for path in folder.iterdir())
    assert names == [str(dataset.Builder.VERSION), "incomplete.notes"]


def test_the_file_of_a_finished_scan_depends_on_scan_recipe_quota_and_version(tmp_path):
    rng = np.random.default_rng(0)
    path = write_scan(tmp_path, "scene9000_00", [make_frame(rng)])
    scan, recipe = sens.SensRecording(path), small_config().recipe
    job = work.Job(scan, recipe, None, str(tmp_path), "1.0.0")
    others = [
        work.Job(scan, recipe, 3, str(tmp_path), "1.0.0"),
        work.Job(scan, recipe, None, str(tmp_path), "2.0.0"),
        work.Job(scan, configurations.named("thesis").recipe, None, str(tmp_path), "1.0.0"),
    ]
    assert len({job.path, *(other.path for other in others)}) == 4
    os.utime(path, ns=(0, 0))
    assert work.Job(scan, recipe, None, str(tmp_path), "1.0.0").path != job.path


class Crash(sens.SensRecording):
    """A scan that kills the process that reads it."""

    def calibration(self):
        os._exit(1)


def test_a_scan_that_kills_its_process_is_given_up_and_the_others_are_built(tmp_path):
    rng, jobs = np.random.default_rng(0), []
    for space in range(9000, 9004):
        scan = f"scene{space}_00"
        path = write_scan(tmp_path, scan, [make_frame(rng)])
        kind = Crash if space == 9001 else sens.SensRecording
        recipe = small_config().recipe
        jobs.append(work.Job(kind(path), recipe, None, str(tmp_path / "work"), "1.0.0"))
    assert list(pool.Processes(2)(jobs)) == jobs
    assert [len(list(job.records())) for job in jobs] == [1, 0, 1, 1]
    assert jobs[1].report().details == [
        "unreadable scan: scene9001_00: reading it kills the process"
    ]


def test_a_sample_takes_the_requested_number_of_images(tmp_path, scans_dir):
    config = small_config()
    listed = tuple(sorted(path.name for path in (scans_dir / "scans").iterdir()))
    config.sample = splits.Sample((7, 5, 3), config.split, listed)
    builder = built(tmp_path, scans_dir, config=config)
    counts = [builder.info.splits[name].num_examples for name in splits.SPLITS]
    assert counts == [7, 5, 3]


def test_a_bad_frame_of_a_sample_is_replaced(tmp_path):
    rng = np.random.default_rng(0)
    path = write_scan(tmp_path, "scene9000_00", [make_frame(rng) for _ in range(6)])
    recipe = small_config().recipe
    job = work.Job(sens.SensRecording(path), recipe, 3, str(tmp_path / "work"), "1.0.0")
    job.run()
    keys = [key for key, _ in job.records()]
    data = bytearray(path.read_bytes())
    first = job.scan.id + "_"
    frame = list(sens.SensRecording(path).frames(1))[int(keys[0].removeprefix(first))]
    data[frame.offset : frame.offset + 2] = b"xx"
    path.write_bytes(data)
    job = work.Job(job.scan, recipe, 3, str(tmp_path / "work"), "1.0.0")
    job.run()
    others = [key for key, _ in job.records()]
    assert len(others) == 3 and keys[0] not in others and others[:2] == keys[1:]


def run(*arguments: str) -> str:
    done = programs.run("data_builders.scannet_frontiers", "--config=rooms", *arguments)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def room_scans(tmp_path_factory) -> pathlib.Path:
    """Ten spaces of two frames at the size of the rooms."""
    root, rng = tmp_path_factory.mktemp("rooms"), np.random.default_rng(0)
    for space in range(9000, 9010):
        frames = [make_frame(rng, (120, 160)) for _ in range(2)]
        write_scan(root, f"scene{space}_00", frames, (120, 160))
    return root


def test_a_dry_run_describes_the_build_and_writes_nothing(tmp_path, room_scans):
    data_dir = tmp_path / "data"
    text = run(f"--manual_dir={room_scans}", f"--data_dir={data_dir}", "--dry_run")
    assert "total          20 frames: about" in text and "minutes with --num_workers=1" in text
    assert text.count("     2 frames  ") == 10
    assert not list(data_dir.rglob("*.array_record*"))


def test_own_lists_and_a_limit_on_the_command_line(tmp_path, room_scans):
    lists = {"train": range(9000, 9004), "validation": range(9004, 9006), "test": [9006]}
    for split, spaces in lists.items():
        lines = ["# a comment", *(f"scene{space}_00" for space in spaces)]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    files = ",".join(str(tmp_path / f"{split}.txt") for split in lists)
    common = (f"--manual_dir={room_scans}", f"--data_dir={tmp_path}", f"--split_files={files}")
    text = run(*common, "--limit_scans=3", "--num_workers=2")
    assert "scannet_frontiers/rooms_files_" in text and "_limit_3/3.0.0" in text
    assert "6 frames of 3 scans" in text and "4 frames of 2 scans" in text
    assert "2 frames of 1 scans" in text
    assert "3 scans are in no split: scene9007_00, scene9008_00, scene9009_00" in text
    shutil.copyfile(tmp_path / "train.txt", tmp_path / "test.txt")
    done = programs.run("data_builders.scannet_frontiers", *common)
    assert done.returncode == 2
    assert "space scene9000 is both in train and in test" in done.stderr


def hangs(jobs):
    """Hangs after the first scan."""
    jobs[0].run()
    yield jobs[0]
    print("hanging", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    # "--beam", "--hang" or "--wait", the folder of the data sets and that of the scans.
    if sys.argv[1] == "--beam":
        runner = pool.Beam("DirectRunner", workers=2)
    else:
        runner = hangs if sys.argv[1] == "--hang" else pool.serially
    built(pathlib.Path(sys.argv[2]), sys.argv[3], runner)
