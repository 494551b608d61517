"""Sets of any recordings: sizes, proportions, splits, and what a set is made from."""

import dataclasses
import pathlib
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from data_builders.scannet_frontiers import __main__ as program
from data_builders.scannet_frontiers import configurations, examples, report
from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from psp_jax import data, prepared
from psp_jax.partition import planar, superpixels
from psp_jax.recordings import layouts
from tests import captures, programs
from tests.data_builders.own_sets import SIZE, build, opened, own, write_pairs
from tests.recordings import writers
from tests.scans import make_frame, write_scan

ROOT = pathlib.Path(__file__).parents[2]
# The variant `prepared` with a small network.
CONFIG = """
from configs import depth_mse
from psp_jax.models import unet

def get_config():
    config = depth_mse.get_config("prepared")
    config.model = unet.DepthCNN(width=2, levels=1)
    config.phases[0].train = unet.DepthUNet.PARTS
    return config
"""


def run(*arguments, cwd, module="data_builders.scannet_frontiers", timeout=300):
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=timeout)


def test_two_commands_from_a_folder_of_pairs_of_mixed_sizes_to_a_trained_table(
    tmp_path, monkeypatch, capsys
):
    for space, size in enumerate([(48, 64), (96, 128), (60, 80), (90, 120)]):
        write_pairs(tmp_path / "office", f"scene900{space}_00", 3, size)
    flags = ("--manual_dir=office", "--name=my_office", "--size=48x64")
    built = run(*flags, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    assert "Downloading" not in built.stdout and "WARNING" not in built.stderr
    assert "frames by the size of their depth image: 3 of " in built.stdout
    (tmp_path / "config.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    status = programs.train(
        "--config=config.py",
        "--config.data.source.name=my_office",
        "--config.phases[0].steps=4",
        "--config.phases[0].warmup_steps=1",
        "--config.data.batch_size=64",
    )
    printed = capsys.readouterr()
    assert status == 0, printed.err
    assert "batches of 6 images, since the train split has no more" in printed.out
    assert "mean depth image" in printed.out
    assert (tmp_path / "runs" / "depth_mse-prepared" / "test.json").exists()


@pytest.mark.slow
@captures.needed
def test_two_commands_from_60_captured_pairs_to_a_trained_table(tmp_path, capsys):
    """TUM's frames have 5000 units per metre again, and give the depth of the millimetres."""
    for position in range(60):
        path = captures.PATHS[position % len(captures.PATHS)]
        space = f"{path.parts[-3]}_{position // len(captures.PATHS)}"
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert depth is not None
        if "tum" in space:
            depth = np.where(depth > writers.MAX_MM, 0, depth).astype(np.uint16) * np.uint16(5)
        color = next((path.parents[1] / "color").glob(f"{path.stem}.*"))
        folder = tmp_path / "office" / space
        writers.write(folder / "rgb" / color.name, color.read_bytes())
        writers.write(folder / "depth" / path.name, writers.encoded(".png", depth))
    started = time.perf_counter()
    built = run("--manual_dir=office", "--name=my_office", "--crop=center", cwd=tmp_path)
    built_s = time.perf_counter() - started
    assert built.returncode == 0, built.stderr
    assert "depth read at 5000 units per metre" in built.stdout
    assert "left out" not in built.stdout
    splits = data.open_splits(prepared.Prepared("my_office", str(tmp_path / "data")).prepare())
    assert sum(map(len, splits.values())) == 60
    for split in splits.values():
        for example in (split[index] for index in range(len(split))):
            # A Kinect that is read at another unit has a median of 0.4 or of 10 m.
            median_mm = np.median(example["depth"][~example["filled"]])
            assert 500 < median_mm < 5000, (example["scene_id"], median_mm)
    trained = run(
        f"--config={ROOT / 'configs' / 'depth_mse.py'}:prepared",
        "--config.data.source.name=my_office",
        "--config.phases[0].steps=200",
        module="psp_jax.main",
        cwd=tmp_path,
        timeout=1200,
    )
    assert trained.returncode == 0, trained.stderr
    assert "mean depth image" in trained.stdout
    train_s = time.perf_counter() - started - built_s
    with capsys.disabled():
        print(f" {built_s:.0f} s to build, {train_s:.0f} s for 200 steps and the table ")


def test_a_set_is_never_taken_for_one_of_other_data_or_flags(tmp_path):
    for space in range(3):
        write_pairs(tmp_path / "a", f"scene900{space}_00", 1)
        write_pairs(tmp_path / "b", f"scene901{space}_00", 1)
    folder = pathlib.Path(build(tmp_path / "a", tmp_path).data_path)
    built = (folder / "dataset_info.json").stat().st_mtime_ns
    build(tmp_path / "a", tmp_path)
    assert (folder / "dataset_info.json").stat().st_mtime_ns == built
    with pytest.raises(ValueError, match="3 more scans, such as scene9010_00.*--overwrite"):
        build(tmp_path / "b", tmp_path)
    with pytest.raises(ValueError, match="crop: false -> true"):
        build(tmp_path / "a", tmp_path, own(crop=True))
    with pytest.raises(ValueError, match=r"size: \[48, 64\] -> \[32, 48\]"):
        build(tmp_path / "a", tmp_path, own(size=(32, 48)))
    write_pairs(tmp_path / "a", "scene9005_00", 1)
    with pytest.raises(ValueError, match="1 more scans, such as scene9005_00"):
        build(tmp_path / "a", tmp_path)
    build(tmp_path / "a", tmp_path, overwrite=True)
    assert sum(map(len, opened(tmp_path).values())) == 4


def test_nothing_that_the_builder_did_not_write_is_deleted(tmp_path):
    for space in range(3):
        write_pairs(tmp_path / "a", f"scene900{space}_00", 1)
    folder = tmp_path / "scannet_frontiers" / "office" / str(dataset.Builder.VERSION)
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(OSError, match="is there, but is no data set of this program"):
        build(tmp_path / "a", tmp_path, overwrite=True)
    (folder / "thesis.tex").rename(tmp_path / "thesis.tex")
    folder.rmdir()
    build(tmp_path / "a", tmp_path)
    (tmp_path / "thesis.tex").rename(folder / "thesis.tex")
    with pytest.raises(OSError, match="it holds thesis.tex"):
        build(tmp_path / "a", tmp_path, own(crop=True), overwrite=True)
    assert (folder / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("color", [b"noise", None])
def test_a_split_without_a_usable_frame_is_refused_with_its_reasons(tmp_path, color):
    """One of three scans has no frames, or one whose colour is damaged."""
    whole = make_frame(np.random.default_rng(0), SIZE)
    damaged = [dataclasses.replace(whole, color=color)] if color else []
    for scan in range(3):
        frames = damaged if scan == 1 else [whole]
        write_scan(tmp_path / "a", f"scene900{scan}_00", frames, SIZE)
    reason = "scene9001_00 frame 0" if color else "their recordings have no frames"
    with pytest.raises(ValueError, match=f"no frame of the scans for .*{reason}"):
        build(tmp_path / "a", tmp_path)
    (tmp_path / "a" / "scans" / "scene9001_00" / "scene9001_00.sens").unlink()
    (tmp_path / "a" / "scans" / "scene9001_00").rmdir()
    write_scan(tmp_path / "a", "scene9001_00", [whole], SIZE)
    build(tmp_path / "a", tmp_path)


def test_a_single_recording_is_divided_by_time_and_the_report_says_so(tmp_path):
    write_pairs(tmp_path / "a", "scene9000_00", 20)
    builder = build(tmp_path / "a", tmp_path)
    frames = {
        name: sorted(int(each["frame_index"]) for each in examples)
        for name, examples in opened(tmp_path).items()
    }
    assert frames["train"] == list(range(11))
    assert frames["validation"] == list(range(12, 16))
    assert frames["test"] == list(range(17, 20))
    assert "train and test share a room (scene9000)" in dataset.describe(builder)
    assert data.spaces_shared_with_train(opened(tmp_path)["test"]) == ["scene9000"]


def test_colour_may_be_finer_than_depth(tmp_path):
    for space in range(3):
        write_pairs(tmp_path / "a", f"scene900{space}_00", 2, color_size=(96, 128))
    build(tmp_path / "a", tmp_path, own(color_scale=2))
    assert prepared.Prepared("office", str(tmp_path)).color_scale == 2
    example = opened(tmp_path)["train"][0]
    assert example["image"].shape == (96, 128, 3) and example["depth"].shape == SIZE


@pytest.mark.parametrize("crop", [False, True])
def test_other_proportions_are_left_out_or_cropped(tmp_path, crop):
    for space in range(3):
        write_pairs(tmp_path, f"scene900{space}_00", 1)
    write_pairs(tmp_path, "scene9003_00", 2, size=(48, 96))
    write_pairs(tmp_path, "scene9004_00", 1, color_size=(96, 192))
    kept, recipe = report.Report(), own(crop=crop).recipe
    made = [
        example
        for scan in layouts.survey(tmp_path).recordings
        for _, example in examples.examples_of(scan, kept, recipe=recipe)
    ]
    assert len(made) == (6 if crop else 3)
    assert all(example["depth"].shape == SIZE for example in made)
    if not crop:
        assert kept.dropped == {"other proportions": 3}
        assert len(kept.details) == 2  # One line for both frames of a recording.
        assert "48x96 pixels, --size 48x64; --crop=center" in kept.details[0]
        assert "48x64 pixels, its colour 96x192" in kept.details[1]


def test_a_resized_frame_keeps_its_readings_and_its_camera(tmp_path):
    """A point is seen at the same place of the image, in shares of its width and height."""
    write_pairs(tmp_path, "scene9000_00", 1, size=(96, 192))
    (scan,) = layouts.survey(tmp_path).recordings
    calibration, (frame,) = scan.calibration(), list(scan.frames(1))
    recipe = own(crop=True).recipe
    ((_, example),) = examples.examples_of(scan, report.Report(), recipe=recipe)
    cropped = frame.read_depth()[:, 32:160]
    kept = example["depth"][~example["filled"]]
    assert set(np.unique(kept)) <= set(np.unique(cropped))
    point = np.array([0.1, -0.2, 2.0])
    x, y, z = calibration.intrinsic_depth @ point
    new_x, new_y, _ = example["intrinsics"] @ point
    np.testing.assert_allclose(new_x / z + 0.5, (x / z - 32 + 0.5) / 2, rtol=1e-5)
    np.testing.assert_allclose(new_y / z + 0.5, (y / z + 0.5) / 2, rtol=1e-5)


def test_labels_at_scannets_size_are_the_thesiss_and_at_the_rooms_size_the_rooms():
    rows, columns = np.mgrid[:480, :640]
    depth = (1500 + columns + rows + 400 * (columns > 300) * (rows > 200)).astype(np.uint16)
    scaled = configurations.segmentations_at((480, 640))
    np.testing.assert_array_equal(scaled["seeds"](depth), superpixels.Seeds()(depth))
    assert scaled["planar"] == planar.Planar()
    assert configurations.segmentations_at((120, 160)) == {
        "seeds": superpixels.Seeds(superpixels=48, levels=3),
        "planar": planar.Planar(superpixels.Slic(4, 20.0, 5), trade=0.00025),
    }


def test_a_size_that_is_too_small_for_the_labels_is_refused():
    with pytest.raises(ValueError, match="--size=10x10: expected sides of 16"):
        own(size=(10, 10))


@pytest.mark.parametrize("flag", ["--name=office", "--config=found"])
def test_an_opencv_without_superpixels_is_refused_before_the_build(tmp_path, monkeypatch, flag):
    write_pairs(tmp_path / "a", "scene9000_00", 20)
    monkeypatch.delattr(cv2, "ximgproc")
    arguments = [f"--manual_dir={tmp_path / 'a'}", f"--data_dir={tmp_path / 'data'}", flag]
    with pytest.raises(ValueError, match="pip install .*opencv-contrib-python-headless") as error:
        program.main(program.parser().parse_args(arguments))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


def test_a_long_recording_is_built_in_parts_that_survive_an_interruption(tmp_path, monkeypatch):
    for space in range(3):
        write_pairs(tmp_path / "a", f"scene900{space}_00", 5)
    build(tmp_path / "a", tmp_path / "whole")
    monkeypatch.setattr(dataset, "FRAMES_PER_JOB", 2)
    done = []

    def dies(jobs):
        for job in jobs:
            if len(done) == 4:
                raise KeyboardInterrupt
            job.run()
            done.append(job)
            yield job

    builder = dataset.Builder(config=own(), data_dir=tmp_path / "parts", runner=dies)
    with pytest.raises(KeyboardInterrupt):
        dataset.build(builder, manual_dir=str(tmp_path / "a"))
    redone, original = [], examples.examples_of

    def noted(scan, *args, **kwargs):
        redone.append((scan.id, kwargs["span"]))
        return original(scan, *args, **kwargs)

    monkeypatch.setattr(examples, "examples_of", noted)
    build(tmp_path / "a", tmp_path / "parts")
    assert len(redone) == 9 - 4
    for name, whole in opened(tmp_path / "whole").items():
        parts = opened(tmp_path / "parts")[name]
        assert len(parts) == len(whole)
        for one, other in ((parts[index], whole[index]) for index in range(len(whole))):
            assert one["frame_index"] == other["frame_index"]
            np.testing.assert_array_equal(one["frontier_seeds"], other["frontier_seeds"])
