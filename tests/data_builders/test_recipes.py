"""Runs the command of docs/data.md on a small folder of every kind that the page describes."""

import pathlib
import re
import shlex

import cv2
import numpy as np
import pytest

from data_builders.scannet_frontiers import __main__ as program
from psp_jax import data, prepared
from tests.recordings import writers

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
FRAMES = 6


def l515(root: pathlib.Path, frames: writers.Frames) -> None:
    for index, frame in enumerate(frames):
        writers.write(root / f"office/color/{index:06d}.jpg", frame.jpeg)
        depth = writers.encoded(".png", frame.depth_mm * np.uint16(4))
        writers.write(root / f"office/depth/{index:06d}.png", depth)


def with_links(root: pathlib.Path, frames: writers.Frames) -> None:
    writers.pairs_named("a/rgb/{:04d}.jpg", "a/depth/{:04d}.png")(root / "elsewhere", frames)
    (root / "data").mkdir()
    (root / "data" / "walk").symlink_to(root / "elsewhere" / "a")


def tum_in_millimetres(root: pathlib.Path, frames: writers.Frames) -> None:
    writers.as_tum(root, frames)
    for path in sorted(root.glob("*/depth/*.png")):
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert depth is not None
        writers.write(path, writers.encoded(".png", depth // np.uint16(5)))


pairs = writers.pairs_named
# By heading of the page: what to write, and the flags that the text names.
RECIPES: dict[str, dict[str, tuple[writers.Write, str]]] = {
    "ScanNet": {".sens": (writers.as_sens, "")},
    "NYU Depth v2": {"labelled": (writers.as_nyu_mat, ""), "TFDS": (writers.as_nyu_h5, "")},
    "TUM RGB-D": {
        "original": (writers.as_tum, ""),
        "millimetres": (tum_in_millimetres, "--depth_scale=1000"),
    },
    "SUN RGB-D": {"all": (writers.as_sun, "")},
    "RealSense": {
        "D400": (pairs("office/color/{:06d}.jpg", "office/depth/{:06d}.png"), ""),
        "L515": (l515, "--depth_scale=4000"),
    },
    "iPhone and iPad with LiDAR": {
        "3D Scanner App": (pairs("walk/frame_{:05d}.jpg", "walk/depth_{:05d}.png"), ""),
        "Polycam": (pairs("keyframes/images/{}.jpg", "keyframes/depth/{}.png"), ""),
        "Stray Scanner": (pairs("a/rgb/{:06d}.jpg", "a/depth/{:06d}.png"), ""),
        "Record3D": (pairs("a/rgb/{}.jpg", "a/depth/{}.tiff"), ""),
        "ARKitScenes": (writers.as_arkit, ""),
    },
    "Your own": {
        "my_office": (pairs("walk_1/rgb/{:04d}.jpg", "walk_1/depth/{:04d}.png"), ""),
        "links": (with_links, ""),
    },
}


def test_every_recipe_of_the_page_is_here():
    layouts = PAGE[PAGE.index("## Layouts of recordings") :]
    assert set(re.findall(r"^### (.*)$", layouts, re.MULTILINE)) | {"ScanNet"} == set(RECIPES)
    for heading, kinds in RECIPES.items():
        text = PAGE[PAGE.index(f"# {heading}\n") :].partition("\n#")[0]
        assert all(flags in text for _, flags in kinds.values())


@pytest.mark.parametrize(
    ("heading", "kind"), [(heading, kind) for heading in RECIPES for kind in RECIPES[heading]]
)
def test_the_command_of_the_page_builds_it(tmp_path, monkeypatch, capsys, heading, kind):
    write, flags = RECIPES[heading][kind]
    frames = writers.capture(12 if write is writers.as_nyu_mat else FRAMES)
    write(tmp_path / "FOLDER", frames)
    monkeypatch.chdir(tmp_path)
    (command,) = set(re.findall(r"^python -m data_builders\S* --layout=auto .*$", PAGE, re.M))
    arguments = [*shlex.split(command)[3:], *flags.split(), "--size=48x64"]
    program.main(program.parser().parse_args(arguments))
    printed = capsys.readouterr().out
    assert "layout " in printed and "to train on it: python -m psp_jax.main" in printed
    splits = data.open_splits(prepared.Prepared("my_office").prepare())
    assert set(splits) == {"train", "validation", "test"}
    for examples in splits.values():
        for example in (examples[index] for index in range(len(examples))):
            has_reading = ~example["filled"]
            depth = example["depth"][has_reading]
            assert any(set(depth) <= set(np.unique(frame.depth_mm)) for frame in frames)
