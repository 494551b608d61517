import os
import pathlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from psp_jax.recordings import inputs, layouts
from tests.recordings import writers

RNG = np.random.default_rng(0)
RGB = writers.encoded(".png", RNG.integers(0, 255, (12, 16, 3)).astype(np.uint8))
JPEG = writers.encoded(".jpg", np.full((12, 16, 3), 90, np.uint8))
DEPTH = RNG.integers(900, 3000, (12, 16)).astype(np.uint16)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
ZIP = b"PK\x03\x04" + bytes(40)

Make = Callable[[pathlib.Path], object]


def png(pixels: np.ndarray) -> bytes:
    return writers.encoded(".png", pixels)


def holding(**contents: bytes | str) -> Make:
    """Makes files; `__` in a keyword stands for a slash and a final `_x` for the suffix."""

    def make(root: pathlib.Path) -> None:
        for name, data in contents.items():
            stem, _, suffix = name.replace("__", "/").rpartition("_")
            writers.write(root / f"{stem}.{suffix}", data)

    return make


def depth_of(data: bytes, suffix: str = "png") -> Make:
    """Makes one pair whose depth file holds these bytes."""
    return lambda root: (
        writers.write(root / "rgb/1.png", RGB),
        writers.write(root / f"depth/1.{suffix}", data),
    )


def empty_folders(*names: str) -> Make:
    return lambda root: [(root / name).mkdir(parents=True) for name in names]


def loop(root: pathlib.Path) -> None:
    (root / "a").mkdir()
    (root / "a/b").symlink_to(root / "a")


def deep(root: pathlib.Path) -> None:
    holding(rgb__1_png=RGB, depth__1_png=png(DEPTH))(root / "/".join("abcdefghij"))


def not_utf8(root: pathlib.Path) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    writers.write(root / f"{name}/rgb/{name}.png", RGB)


def tum(rgb: str, depth: str) -> Make:
    return holding(rgb_txt=rgb, depth_txt=depth, rgb__1_png=RGB)


FOLDERS: dict[str, tuple[Make, str]] = {
    "empty": (lambda root: None, "no images in it or below"),
    "empty folders": (empty_folders("a/b", "c"), "no images in it or below"),
    "empty rgb and depth": (empty_folders("rgb", "depth"), "no images in rgb/, or none in depth/"),
    "empty depth": (holding(rgb__1_png=RGB, depth__1_txt=""), "none in depth/"),
    "only colour": (holding(rgb__1_png=RGB), "colour in rgb/ without a depth/ folder"),
    "only depth": (holding(depth__1_png=png(DEPTH)), "without a folder of colour"),
    "depth and a video": (holding(depth__1_png=png(DEPTH), rgb_mp4=""), "extract its frames"),
    "photographs": (holding(a_jpg=JPEG, b_jpg=JPEG), "2 images without a depth image each"),
    "other stems": (
        holding(rgb__lena_png=RGB, depth__office_png=png(DEPTH)),
        "by stem, time or number: lena.png and office.png",
    ),
    "numbers far apart": (
        holding(rgb__1_png=RGB, rgb__2_png=RGB, depth__7_png=png(DEPTH), depth__8_png=png(DEPTH)),
        "by stem, time or number",
    ),
    "stamps far apart": (
        lambda root: (
            writers.write(root / "rgb/1305031453.374112.png", RGB),
            writers.write(root / "depth/1305031999.5.png", png(DEPTH)),
        ),
        "by stem, time or number",
    ),
    "8 bits": (depth_of(png(DEPTH.astype(np.uint8))), "1.png: depth: expected 16-bit gray or fl"),
    "coloured depth": (depth_of(RGB), "a coloured picture of depth can't be read back"),
    "JPEG depth": (depth_of(JPEG), "got a JPEG of 8 bits"),
    "metres in 16 bits": (
        depth_of(png((DEPTH // 1000).astype(np.uint16))),
        "m at 1000 per metre and 0.0",
    ),
    "micrometres": (
        depth_of(npy_of := writers.npy(DEPTH.astype(np.float64) * 1000 + 0.5), "npy"),
        "expected 0.3 to 15 m; pass --depth_scale=UNITS_PER_METRE",
    ),
    "no reading": (depth_of(png(np.zeros_like(DEPTH))), "none of 1 depth files has a reading"),
    "Git-LFS": (depth_of(LFS), "1.png: expected a JPEG or PNG file, got a Git LFS pointer"),
    "web page": (depth_of(HTML), "got a web page instead of the file"),
    "zip as PNG": (depth_of(ZIP), "got a zip file: unpack it"),
    "empty file": (depth_of(b""), "got an empty file"),
    "noise": (depth_of(b"noise"), "got a file of another kind"),
    "truncated PNG": (depth_of(png(DEPTH)[:-20]), "a truncated PNG"),
    "EXR": (depth_of(b"v/1\x01" + bytes(99), "exr"), "EXR"),  # Damaged, or not installed.
    "damaged NPY": (depth_of(npy_of[:200], "npy"), "NPY: "),
    "NPY of objects": (depth_of(writers.npy(np.array([[None]])), "npy"), "NPY: expected an array"),
    "NPY of one axis": (depth_of(writers.npy(np.ones(9)), "npy"), "NPY: expected an array [H, W]"),
    "damaged TIFF": (depth_of(b"II*\x00" + bytes(40), "tif"), "1.tif: "),
    "8-bit PGM": (depth_of(b"P5\n2 2\n255\n1234", "pgm"), "PGM: expected 16 bits"),
    "zip files": (holding(scene_zip=ZIP), "a zip file: unpack it"),
    "ROS bag": (holding(office_bag=b"#ROSBAG V2.0"), "a ROS bag: export its images"),
    "Record3D": (holding(office_r3d=ZIP), "a Record3D archive"),
    "meshes": (holding(a_ply=b"ply"), "a.ply is a mesh or point cloud without frames"),
    "TFRecords": (holding(lores_tfrecords__a_x=b""), "TFRecords of another schema"),
    "a web page as .mat": (holding(nyu_depth_v2_labeled_mat=HTML), "got a web page"),
    "old MATLAB": (holding(labels_mat=b"MATLAB 5.0 MAT-file"), "expected an HDF5 file"),
    "a damaged .h5": (holding(bathroom__00001_h5=b"\x89HDF\r\n\x1a\n"), "expected an HDF5 file"),
    "links in a loop": (loop, "the same folder as"),
    "a broken link": (
        lambda root: (root / "a.jpg").symlink_to(root / "gone.jpg"),
        "a.jpg: a broken link",
    ),
    "a link to itself": (lambda root: (root / "c").symlink_to(root / "c"), "c: a broken link"),
    "git-annex": (
        lambda root: (root / "a.png").symlink_to("../.git/annex/objects/xx/SHA256-s9"),
        "run git annex get",
    ),
    "too deep": (deep, "more than 8 levels below"),
    "a name that is no text": (not_utf8, "colour in rgb/ without a depth/ folder"),
    "TUM without stamps": (tum("a rgb/1.png", "1.0 depth/1.png"), "rgb.txt: expected lines of a"),
    "TUM far apart": (tum("1.0 rgb/1.png", "9.0 depth/1.png"), "no stamps within 0.02 s"),
    "TUM without files": (tum("1.0 rgb/1.png", "1.0 depth/1.png"), "1.png: No such file"),
    "a list of names": (
        tum("rgb/1.png", "depth/1.png"),
        "expected lines of a time stamp and a path",
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_wrong_folder_is_refused_in_one_line(tmp_path, name):
    make, message = FOLDERS[name]
    root = tmp_path / "data"
    root.mkdir()
    make(root)
    with pytest.raises(FileNotFoundError) as error:
        layouts.survey(root)
    text = str(error.value)
    assert message in text
    assert text.startswith(f"no recordings in {root}: ") and "\n" not in text
    assert "tum" in text and "--depth_glob" in text  # What is read, and what to pass.


def test_counts_that_differ_are_reported(tmp_path):
    for number in range(5):
        writers.write(tmp_path / f"rgb/{number}.png", RGB)
    for number in range(2, 9):
        writers.write(tmp_path / f"depth/{number}.png", png(DEPTH))
    survey = layouts.survey(tmp_path)
    assert survey.recordings[0].count(1) == 3
    assert "2 colour files without a partner not used" in survey.notes
    assert "4 depth files without a partner not used" in survey.notes


def test_a_folder_that_can_not_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "secret").mkdir()
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(FileNotFoundError, match="secret: it can't be listed: Permission denied"):
        layouts.survey(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "kitti"}, "--layout: expected auto, sens, "),
        ({"color_glob": "*.png"}, "expected both or none"),
        ({"color_glob": "*.png", "depth_glob": "d/*.png"}, "nothing in it matches 'd/*.png'"),
        ({"color_glob": "/*.png", "depth_glob": "*.png"}, "the pattern '/*.png' can't be used"),
        ({"color_glob": "*.png", "depth_glob": "*.png", "layout": "tum"}, "--layout=pairs"),
        ({"layout": "tum"}, "no recordings in"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    writers.pairs_named("{}.jpg", "{}.png")(tmp_path, writers.capture(1))
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        layouts.survey(tmp_path, **options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_is_not_used_is_counted_with_an_example(tmp_path):
    writers.pairs_named("office/rgb/{}.png", "office/depth/{}.png")(tmp_path, writers.capture(2))
    for name in ("a.jpg", "b.jpg"):
        writers.write(tmp_path / f"photos/{name}", JPEG)
    found = inputs.find_depth(tmp_path)
    assert [scan.id for scan in found.recordings] == ["office"] and not found.depths
    (line,) = inputs.lines_of(found.unused)
    assert line.startswith(f"1 not used, {tmp_path / 'photos'}: 2 images without a depth image")
    found = inputs.find_color(tmp_path)
    assert list(found.colors) == ["photos/a", "photos/b"] and len(found.recordings) == 1


def test_a_single_depth_file_is_read_as_in_its_recording(tmp_path):
    frames = writers.capture(3)
    writers.as_seven_scenes(tmp_path, frames)
    writers.as_tum(tmp_path, frames)
    writers.as_sun(tmp_path, frames)
    writers.as_nyu_h5(tmp_path, frames)
    frame_h5 = tmp_path / "nyudepthv2/train/bathroom_0001/00006.h5"
    found = inputs.find_depth(frame_h5)
    assert found.notes[0].startswith("depth read at 1 units per metre: median ")
    with pytest.raises(ValueError, match="00006.h5: its median depth would be .* m at 0.01 per"):
        inputs.find_depth(frame_h5, depth_scale=0.01)
    (scan,) = found.recordings
    assert scan.id == "bathroom_0001_00006"
    assert [frame.index for frame in scan.frames(1)] == [6]
    np.testing.assert_array_equal(next(scan.frames(1)).read_depth(), frames[1].depth_mm)
    for path in (
        tmp_path / "chess/seq-01/frame-000001.depth.png",
        sorted(tmp_path.glob("rgbd*/depth/*"))[1],
        *tmp_path.glob("SUNRGBD/kv2/kinect2data/000001*/depth/*"),
    ):
        found = inputs.find_depth(path)
        assert " units per metre: median " in found.notes[1]
        (frame,) = found.depths.values()
        np.testing.assert_array_equal(frame.read_depth(), frames[1].depth_mm)
        assert cv2.imdecode(np.frombuffer(frame.read_color(), np.uint8), 1) is not None
