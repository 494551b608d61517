import dataclasses
import re
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders.scannet_frontiers import configurations, examples, report, splits
from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from psp_jax.partition import fill, frontier_classes
from psp_jax.recordings import sens
from tests import programs
from tests.scans import SIZE, make_frame, small_config, write_scan


def read(data_dir, split):
    builder: Any = tfds.builder_from_directory(data_dir / "scannet_frontiers" / "small" / "3.0.0")
    return list(builder.as_data_source(split))


def test_examples_hold_the_frames_of_the_files(data_dir, scans_dir):
    examples = [example for split in splits.SPLITS for example in read(data_dir, split)]
    assert len(examples) == 60
    for example in examples[::9]:
        scan = example["scene_id"].decode()
        recording = sens.SensRecording(scans_dir / "scans" / scan / f"{scan}.sens")
        frame = list(recording.frames(1))[example["frame_index"]]
        filled_mm, filled = fill.fill_nearest(frame.read_depth())
        np.testing.assert_array_equal(example["depth"], filled_mm)
        np.testing.assert_array_equal(example["filled"], filled)
        np.testing.assert_array_equal(
            example["intrinsics"], recording.calibration().intrinsic_depth
        )
        np.testing.assert_array_equal(example["pose"], frame.read_pose())
        assert example["space_id"].decode() == scan[:9]
        for name, segment in small_config().segmentations.items():
            expected = frontier_classes.encode(segment(filled_mm))
            np.testing.assert_array_equal(example[f"frontier_{name}"], expected)
        color = cv2.imdecode(np.frombuffer(frame.read_color(), np.uint8), cv2.IMREAD_COLOR_RGB)
        assert color is not None
        resized = cv2.resize(color, SIZE[::-1], interpolation=cv2.INTER_AREA)
        difference = np.abs(example["image"].astype(int) - resized)
        assert difference.mean() < 3  # The JPEG of the smaller image is lossy again.


def test_no_space_is_in_two_splits(data_dir):
    spaces = [{e["space_id"] for e in read(data_dir, split)} for split in splits.SPLITS]
    assert all(spaces)
    assert len(set.union(*spaces)) == sum(map(len, spaces)) == 10


def test_bad_frames_are_left_out_counted_and_reported(tmp_path):
    rng = np.random.default_rng(2)
    lost = np.full((4, 4), -np.inf, np.float32)
    for space in range(9000, 9010):
        size = (24, 32) if space == 9005 else SIZE
        scan, frames = f"scene{space}_00", [make_frame(rng, size) for _ in range(3)]
        if space == 9001:
            frames[1] = dataclasses.replace(frames[1], camera_to_world=lost)
        if space == 9002:
            frames[1] = dataclasses.replace(
                frames[1], depth=sens.encode_depth(np.zeros(SIZE, np.uint16))
            )
        if space == 9003:
            frames[1] = dataclasses.replace(frames[1], color=b"\xff\xd8 no picture")
        if space == 9004:
            frames[1] = dataclasses.replace(frames[1], depth=b"no stream")
        path = write_scan(tmp_path, scan, frames, size)
        if space == 9006:
            path.write_bytes(path.read_bytes()[:-2000])
        if space == 9007:
            path.write_bytes(b"junk")
    builder = dataset.Builder(config=small_config(), data_dir=tmp_path / "data")
    dataset.build(builder, manual_dir=str(tmp_path))
    text = dataset.describe(builder)
    for reason in (
        "invalid pose: scene9001_00 frame 1",
        "no depth at all: scene9002_00 frame 1",
        "undecodable colour: scene9003_00 frame 1",
        "undecodable depth: scene9004_00 frame 1",
        " of 48x64, 3 of 24x32",
        "damaged scan, rest left out: scene9006_00",
        "unreadable scan: scene9007_00",
    ):
        assert text.count(reason) == 1, text
    kept = sum(len(read(tmp_path / "data", split)) for split in splits.SPLITS)
    assert kept == 30 - 4 - 1 - 3


def test_the_thesis_configuration_takes_one_frame_a_second_of_scannets_sizes(tmp_path):
    config = configurations.named("thesis")
    split_of = config.split(splits.scannet_scans())
    scan_of = {split: scan for scan, split in split_of.items()}
    rng = np.random.default_rng(0)
    color = cv2.imencode(".jpg", rng.integers(0, 255, (968, 1296, 3), np.uint8))[1].tobytes()
    depth = np.tile(np.linspace(1000, 3000, 640).astype(np.uint16), (480, 1))
    camera = np.diag([577.59, 578.73, 1, 1])
    for scan in (*scan_of.values(), "scene0707_00"):
        path = tmp_path / "scans" / scan / f"{scan}.sens"
        path.parent.mkdir(parents=True)
        frames = [
            sens.EncodedFrame(np.eye(4), color, sens.encode_depth(depth + np.uint16(index)))
            for index in range(32)
        ]
        sizes = {"color_size": (968, 1296), "depth_size": (480, 640)}
        sens.write(path, frames, **sizes, intrinsic_color=camera, intrinsic_depth=camera)
    builder: Any = dataset.Builder(config=config, data_dir=tmp_path / "data")
    dataset.build(builder, manual_dir=str(tmp_path))
    for split, scan in scan_of.items():
        examples = list(builder.as_data_source(split))
        assert sorted(example["frame_index"] for example in examples) == [0, 30]
        for example in examples:
            assert example["scene_id"].decode() == scan
            assert example["image"].shape == (480, 640, 3)
            np.testing.assert_array_equal(example["depth"], depth + example["frame_index"])
    assert "1 scans are in no split: scene0707_00" in dataset.describe(builder)


@pytest.mark.parametrize(
    ("spaces", "config", "message"),
    [
        ((707, 708, 709), "thesis", "3 of them in no split. .*--config=found .*--split_files="),
        ((0, 1), "found", "0 frames: expected at least 3 to divide it in train, validation"),
    ],
)
def test_too_few_scans_for_three_splits_are_refused_with_advice(tmp_path, spaces, config, message):
    for space in spaces:
        write_scan(tmp_path, f"scene{space:04d}_00", [])
    builder = dataset.Builder(config=configurations.named(config), data_dir=tmp_path / "data")
    with pytest.raises(ValueError, match=message):
        dataset.build(builder, manual_dir=str(tmp_path))


def test_four_scans_of_any_spaces_fill_the_three_splits(tmp_path):
    for space in (3, 14, 15, 92):
        write_scan(tmp_path, f"scene{space:04d}_00", [])
    builder = dataset.Builder(config=configurations.named("found"), data_dir=tmp_path / "data")
    jobs, unlisted = builder.jobs(dataset.layouts.survey(tmp_path))
    assert sorted(len(members) for members in jobs.values()) == [1, 1, 2] and not unlisted


def test_building_and_reading_import_no_tensorflow(tmp_path, scans_dir):
    code = f"""
import sys
from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from tests import scans
builder = dataset.Builder(config=scans.small_config(), data_dir={str(tmp_path)!r})
builder.download_and_prepare(
    download_config=dataset.tfds.download.DownloadConfig(manual_dir={str(scans_dir)!r})
)
builder.as_data_source("train")[0]
assert "tensorflow" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--manual_dir=nowhere"], "--manual_dir=nowhere: there is no such folder"),
        (["--manual_dir=."], "no recordings in ."),
        (
            ["--manual_dir=.", "--config=theses"],
            "expected one of thesis, .*, rooms, got 'theses'",
        ),
        ([], "--manual_dir is missing"),
        (["--manual_dri=."], "unrecognized arguments: --manual_dri=."),
    ],
)
def test_errors_of_the_command_line_are_one_line(tmp_path, arguments, message):
    command = ("data_builders.scannet_frontiers", *arguments, "--data_dir=data")
    done = programs.run(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_scan_with_invalid_intrinsics_is_reported(tmp_path):
    path = write_scan(tmp_path, "scene9000_00", [make_frame(np.random.default_rng(0))])
    data = bytearray(path.read_bytes())
    intrinsic_depth_at = 12 + len("StructureSensor") + 2 * 64
    data[intrinsic_depth_at : intrinsic_depth_at + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    counted = report.Report()
    scan = sens.SensRecording(path)
    assert not list(examples.examples_of(scan, counted, recipe=small_config().recipe))
    assert counted.details == ["invalid intrinsics: scene9000_00"]
