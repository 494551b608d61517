import concurrent.futures
import os
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders import sources
from data_builders.rooms import generate
from psp_jax import data


@pytest.fixture
def small(tmp_path):
    rooms = generate.Rooms(spaces=4, frames_per_scan=2, depth_height=32, depth_width=48)
    return sources.EmbeddedRooms(data_dir=str(tmp_path), rooms=rooms)


def test_rooms_are_prepared_once_and_again_in_another_version(small, monkeypatch):
    directory = pathlib.Path(small.prepare())
    splits = data.open_splits(str(directory))
    # Four spaces of 1, 2, 3 and 2 scans of two frames, of which two frames are bad.
    assert sum(len(examples) for examples in splits.values()) == 2 * 8 - 2
    assert data.image_size(splits["train"]) == (32, 48)
    built = (directory / "dataset_info.json").stat().st_mtime_ns

    assert small.prepare() == str(directory)
    assert (directory / "dataset_info.json").stat().st_mtime_ns == built

    monkeypatch.setattr(generate, "VERSION", "0.0.0")
    small.prepare()
    assert (directory / "dataset_info.json").stat().st_mtime_ns > built


def test_prepared_rooms_are_only_read(small, monkeypatch):
    directory = small.prepare()
    shutil.rmtree(pathlib.Path(small.data_dir) / pathlib.Path(directory).parent.name)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    paths = sorted(pathlib.Path(small.data_dir).rglob("*"))
    small.check()
    assert small.prepare() == directory
    assert sorted(pathlib.Path(small.data_dir).rglob("*")) == paths


def test_the_second_of_two_that_need_the_same_rooms_waits(small, monkeypatch, capsys):
    drawn, draw = [], generate.draw_scan

    def noted(rooms, directory, scan):
        drawn.append(scan)
        draw(rooms, directory, scan)

    monkeypatch.setattr(generate, "draw_scan", noted)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(small.prepare) for _ in range(2))
    assert first.result() == second.result()
    assert sorted(drawn) == small.rooms.scans
    assert "waiting for another process" in capsys.readouterr().out


def test_different_rooms_live_side_by_side(small):
    directory = pathlib.Path(small.prepare())
    first = data.open_splits(str(directory))["train"][0]["image"]
    built = (directory / "dataset_info.json").stat().st_mtime_ns
    small.rooms.seed = 1
    other = data.open_splits(small.prepare())["train"][0]["image"]
    assert not np.array_equal(first, other)
    small.rooms.seed = 0
    assert small.prepare() == str(directory)
    assert (directory / "dataset_info.json").stat().st_mtime_ns == built
    np.testing.assert_array_equal(data.open_splits(str(directory))["train"][0]["image"], first)


def test_the_true_depth_is_next_to_the_scans(small):
    name = pathlib.Path(small.prepare()).parent.name
    assert name == "rooms_spaces_4_frames_per_scan_2_depth_height_32_depth_width_48"
    folder = pathlib.Path(small.data_dir) / name / "scans" / "scene9003_01"
    with np.load(folder / "scene9003_01_truth.npz") as arrays:
        truth = dict(arrays)
    assert truth["depth_mm"].shape == truth["instance"].shape == (2, 32, 48)
    assert (truth["depth_mm"] > 0).all()


def test_colour_at_twice_the_size_and_one_label_set(small):
    small.rooms.ideal_depth = True
    small.color_scale, small.label_sets = 2, ("planar",)
    directory = pathlib.Path(small.prepare())
    assert directory.parent.name.endswith("_ideal_depth_label_sets_planar_color_scale_2")
    features: Any = tfds.builder_from_directory(directory).info.features
    assert features["image"].shape == (64, 96, 3)
    assert features["depth"].shape == features["frontier_planar"].shape == (32, 48)
    assert "frontier_seeds" not in features
    assert list(small.segmentations()) == ["planar"]


@pytest.mark.parametrize(
    ("field", "value"), [("color_scale", 3), ("label_sets", ("lines",)), ("label_sets", ())]
)
def test_fields_of_the_source_out_of_range_are_named(small, field, value):
    setattr(small, field, value)
    with pytest.raises(ValueError, match=f"{field}.*expected"):
        small.check()


def test_many_frames_are_built_by_processes_as_by_one(small, monkeypatch, tmp_path):
    small.label_sets = ("planar",)
    first = data.open_splits(small.prepare())["validation"]
    monkeypatch.setattr(generate, "processes_for", lambda frames: 1)
    small.data_dir = str(tmp_path / "other")
    again = data.open_splits(small.prepare())["validation"]
    assert len(first) == len(again)
    for one, two in ((first[index], again[index]) for index in range(len(first))):
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[name], two[name]) for name in one)


def test_rooms_out_of_range_are_refused_at_once(small):
    small.rooms.depth_height = 7
    with pytest.raises(ValueError, match="depth_height=7: expected"):
        small.check()


def test_a_data_dir_that_is_a_file_is_refused(small, tmp_path):
    (tmp_path / "file").touch()
    small.data_dir = str(tmp_path / "file")
    with pytest.raises(OSError, match="data_dir=.*can't be written"):
        small.check()
