"""Odd and damaged inputs have the same fate in every command: used, or named with status 1."""

import contextlib
import os
import shutil

import cv2
import numpy as np
import pytest

import psp_jax.codec.__main__ as codec_program
import psp_jax.predict.__main__ as predict_program
import psp_jax.report.__main__ as report_program
from data_builders.scannet_frontiers import examples, work
from psp_jax import explore
from psp_jax.partition import superpixels
from psp_jax.predict import frames
from psp_jax.recordings import image_faults, inputs, layouts, recording

LATIN = os.fsdecode(b"caf\xe9")
NAMES = ["12:30 talk", "-v", "a%03d", "a b", "x.y", "~", "$HOME", "你好", LATIN, "[1]", "*"]


def depth_png(path, values=(2000, 3333)):
    depth_mm = np.full((64, 96), values[0], np.uint16)
    depth_mm[:, 30:] = values[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", depth_mm)[1].tobytes())


def photo(path, rng=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = np.full((64, 96, 3), 90) if rng is None else rng.integers(0, 255, (64, 96, 3))
    path.write_bytes(cv2.imencode(".jpg", bgr.astype(np.uint8))[1].tobytes())


def run(program, *arguments):
    parser = program.parser()
    return program.main(parser.parse_args([str(each) for each in arguments])) or 0


COMMANDS = {
    "codec": lambda folder, out: run(codec_program, "encode", folder, f"--out={out}"),
    "explore": lambda folder, out: run(explore, folder, f"--out={out}", "--frames=9"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_photo_or_depth_image_may_have_any_name(tmp_path, name):
    photo(tmp_path / "photos" / f"{name}.jpg")
    for given in (tmp_path / "photos", tmp_path / "photos" / f"{name}.jpg"):
        (sequence,) = frames.find([str(given)], 1)
        ((frame, read),) = sequence.frames(lambda frame: True)
        assert frame.name == name and read().shape == (64, 96, 3)
    depth_png(tmp_path / "depth" / f"{name}.png")
    assert run(codec_program, "encode", tmp_path / "depth", f"--out={tmp_path / 'out'}") == 0
    assert [path.name for path in (tmp_path / "out").rglob("*.pdr")] == [f"{name}.pdr"]


@pytest.mark.parametrize("name", ["._a", ".a", ".hidden/a", ".Trash/a", "._b/a"])
def test_hidden_files_are_neither_used_nor_listed(tmp_path, name):
    photo(tmp_path / "photos" / "a.jpg")
    photo(tmp_path / "photos" / f"{name}.jpg")
    (sequence,) = frames.find([str(tmp_path / "photos")], 1)
    assert [frame.name for frame, _ in sequence.frames(lambda frame: True)] == ["a"]
    assert not sequence.unused
    depth_png(tmp_path / "images" / "a.png")
    depth_png(tmp_path / "images" / f"{name}.png")
    found = inputs.find_depth(tmp_path / "images")
    assert list(found.depths) == ["a"] and not any(name in path for path in found.unused)


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "web page": lambda data: b"<!DOCTYPE html><html>",
    "Git LFS": lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("way", DAMAGE)
def test_one_bad_frame_is_named_and_the_others_are_done(tmp_path, command, way, capsys):
    for name in "abc":
        depth_png(tmp_path / "in" / "depth" / f"{name}.png")
    bad = tmp_path / "in" / "depth" / "b.png"
    bad.write_bytes(DAMAGE[way](bad.read_bytes()))
    assert COMMANDS[command](tmp_path / "in", tmp_path / "out") == 1
    made = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".pdr", ".png")]
    assert len(made) == 2
    output = capsys.readouterr().out
    assert (
        "1 skipped" in output and "b" in output.split("1 skipped")[1].split()[-1] or way in output
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_that_can_be_done_is_no_success(tmp_path, command):
    for name in "ab":
        depth_png(tmp_path / "in" / "depth" / f"{name}.png")
        (tmp_path / "in" / "depth" / f"{name}.png").write_bytes(b"noise")
    try:
        status = COMMANDS[command](tmp_path / "in", tmp_path / "out")
    except (ValueError, OSError) as error:
        assert "\n" not in str(error)
    else:
        assert status == 1


@pytest.fixture
def half_gray(tmp_path, monkeypatch):
    """Three pairs, the colour of one of which is cut in half."""
    monkeypatch.setattr(image_faults.POLICY, "tolerant", False)  # Restored after the test.
    root = tmp_path / "walk"
    for name in "012":
        photo(root / "color" / f"{name}.jpg", np.random.default_rng(0))
        depth_png(root / "depth" / f"{name}.png")
    path = root / "color" / "1.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return root


@pytest.mark.parametrize("flags", [(), ("--tolerant",)])
def test_damaged_colour_is_reported_unless_it_is_tolerated(half_gray, tmp_path, flags, capsys):
    given = [half_gray, f"--out={tmp_path / 'out'}", "--frames=9", *flags]
    assert run(explore, *given) == (not flags)
    assert ("the colour of walk_000001" in capsys.readouterr().out) == (not flags)
    arguments = predict_program.parser().parse_args([str(half_gray), *flags])
    image_faults.POLICY.tolerant = arguments.tolerant
    (sequence,) = frames.find(arguments.inputs, 1)
    read = 0
    for _, decode in sequence.frames(lambda frame: True):
        with contextlib.suppress(recording.Damaged):
            read += decode().shape == (64, 96, 3)
    assert read == (3 if flags else 2)


@pytest.mark.parametrize("tolerant", [False, True])
def test_a_tolerant_data_set_holds_intact_jpegs(half_gray, tmp_path, tolerant):
    (scan,) = layouts.survey(half_gray).recordings
    segment = {"seeds": superpixels.Seeds(superpixels=10, levels=2)}
    recipe = examples.Recipe(1, (64, 96), segment, tolerant=tolerant)
    job = work.Job(scan, recipe, None, str(tmp_path / "work"), "3.0.0")
    job.run()
    made = [example["image"] for _, example in job.records()]
    assert len(made) == (3 if tolerant else 2)
    assert not any(map(image_faults.damage_of, made))


def test_a_report_with_a_run_that_is_missing_or_damaged_ends_with_1(tmp_path, depth_run):
    folder = tmp_path / "run"
    shutil.copytree(depth_run, folder)
    (folder / "config.json").write_text("{")
    assert run(report_program, depth_run, folder, f"--out={tmp_path / 'a'}") == 1
    assert run(report_program, depth_run, tmp_path / "no", f"--out={tmp_path / 'b'}") == 1


def test_a_page_without_markers_stops_a_report_before_it_writes(tmp_path, depth_run):
    page = tmp_path / "README.md"
    page.write_text("mine")
    with pytest.raises(ValueError, match="README.md: expected"):
        run(report_program, depth_run, f"--out={tmp_path / 'out'}", f"--into={page}")
    assert page.read_text() == "mine" and not (tmp_path / "out").exists()


@pytest.fixture
def mixed(tmp_path):
    """A recording, with a photo, a film and another recording in its folder, and a film outside."""
    root = tmp_path / "mixed"
    for folder in ("walk", "walk/later"):
        photo(root / folder / "color" / "0.jpg")
        depth_png(root / folder / "depth" / "0.png")
    photo(root / "walk" / "holiday.jpg")
    for film in ("walk/film.mp4", "film.avi"):
        (root / film).write_bytes(b"film")
    return root


@pytest.mark.parametrize("find", [inputs.find_depth, inputs.find_color])
def test_what_is_in_the_folder_of_a_recording_is_used_or_named(mixed, find):
    found = find(mixed)
    assert [scan.id for scan in found.recordings] == ["walk"]
    unused = {os.path.relpath(path, mixed) for path in found.unused}
    assert unused >= {"walk/later", "walk/holiday.jpg", "walk/film.mp4"}
    assert ("film.avi" in unused) == (find is inputs.find_depth) == (not found.videos)


def test_a_folder_of_depth_that_is_used_is_not_called_unused(tmp_path):
    for name in ("walk/depth/0", "0", "1"):
        depth_png(tmp_path / f"{name}.png")
    photo(tmp_path / "photo.jpg")
    found = inputs.find_depth(tmp_path)
    assert list(found.depths) == ["0", "1", "walk/depth/0"]
    assert list(found.unused) == [str(tmp_path / "photo.jpg")]


@pytest.mark.parametrize("find", [inputs.find_depth, inputs.find_color])
def test_a_link_to_nothing_is_named(mixed, find):
    (mixed / "annexed.png").symlink_to(".git/annex/objects/SHA256-s9.png")
    (mixed / "notes.txt").symlink_to("gone.txt")
    unused = find(mixed).unused
    assert unused[str(mixed / "annexed.png")] == "a broken link; run git annex get"
    assert str(mixed / "notes.txt") not in unused


def test_the_data_set_builder_names_what_is_no_recording(mixed):
    unused = layouts.survey(mixed).unused()
    assert {os.path.relpath(path, mixed) for path in unused} == {
        *("walk/later", "walk/holiday.jpg", "walk/film.mp4", "film.avi")
    }


def test_decode_ignores_hidden_streams_and_follows_links_once(tmp_path):
    depth_png(tmp_path / "in" / "depth" / "a.png")
    coded = tmp_path / "coded"
    assert run(codec_program, "encode", tmp_path / "in", f"--out={coded}") == 0
    (coded / ".hidden").mkdir()
    for name in (".hidden/b.pdr", "._a.pdr"):
        (coded / name).write_bytes(b"AppleDouble")
    (coded / "again").symlink_to(coded)
    assert run(codec_program, "decode", coded, f"--out={tmp_path / 'out'}") == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


def test_explore_counts_frames_and_keeps_those_of_one_name_apart(tmp_path, capsys):
    for name in ("x/depth/0.png", "y/x/depth/0.png", "z/depth/0.png"):
        depth_png(tmp_path / "in" / name)
    assert run(explore, tmp_path / "in", f"--out={tmp_path / 'all'}", "--frames=9") == 0
    assert len(list((tmp_path / "all").glob("*.png"))) == 3
    assert run(explore, tmp_path / "in", f"--out={tmp_path / 'two'}", "--frames=2") == 0
    output = capsys.readouterr().out
    assert "3 of 3 frames" in output and "2 of 3 frames" in output
