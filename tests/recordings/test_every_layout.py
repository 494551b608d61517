import contextlib
import dataclasses
import pathlib
import re

import cv2
import numpy as np
import pytest

from psp_jax import explore
from psp_jax.codec import transcode
from psp_jax.predict import frames as predict_frames
from psp_jax.recordings import depth_images, images, inputs, layouts, recording
from tests.recordings import writers


@pytest.fixture(scope="module")
def frames() -> list[writers.Captured]:
    return writers.capture()


def assert_equal(survey: layouts.Survey, frames: list[writers.Captured]) -> None:
    read = [frame for scan in survey.recordings for frame in scan.frames(1)]
    assert len(read) == len(frames) == sum(scan.count(1) for scan in survey.recordings)
    for got, expected in zip(read, frames, strict=True):
        np.testing.assert_array_equal(got.read_depth(), expected.depth_mm)
        bgr = images.decode_color(got.read_color(), None)
        np.testing.assert_array_equal(bgr, expected.bgr)
        pose = got.read_pose()
        assert pose is None or pose.shape == (4, 4)


@pytest.mark.parametrize("name", writers.LAYOUTS)
def test_the_same_frames_in_every_layout_are_identical(tmp_path, frames, name):
    """TUM's 5000 units per metre hold millimetres exactly."""
    write, layout = writers.LAYOUTS[name]
    write(tmp_path / "data", frames)
    survey = layouts.survey(tmp_path / "data")
    assert not survey.refused
    assert survey.notes[0].startswith(f"layout {layout}: ")
    assert_equal(survey, frames)
    for scan in survey.recordings:
        assert scan.calibration().depth_size == writers.SIZE
        assert scan.stamp()


@pytest.mark.parametrize("name", writers.LAYOUTS)
def test_every_level_of_the_tree_gives_the_same_recordings(tmp_path, frames, name):
    writers.LAYOUTS[name][0](tmp_path / "data", frames)
    expected = layouts.survey(tmp_path).recordings
    for scan in expected:
        for folder in (scan.path, *scan.path.parents):
            if folder.is_dir() and "depth" not in folder.parts:
                found = {each.id: each for each in layouts.survey(folder).recordings}
                assert found[scan.id] == scan
            if folder.name == "data":
                break


@pytest.mark.parametrize("name", writers.LAYOUTS)
def test_codec_explore_and_predict_take_every_layout(tmp_path, frames, name):
    writers.LAYOUTS[name][0](tmp_path / "data", frames)
    found = inputs.find_depth(tmp_path / "data")
    count, coded = transcode.frames(found, 1)
    assert count == len(frames) and not found.unused
    for (_, read, _), frame in zip(coded, frames, strict=True):
        np.testing.assert_array_equal(read(), frame.depth_mm)
    for view in explore.views(found, 2)[0]:
        assert view.rgb is not None and view.depth_mm.any()
    sequences = predict_frames.find([str(tmp_path / "data")], 1)
    assert sum(sequence.count for sequence in sequences) == len(frames)
    (first, *_) = (read() for sequence in sequences for _, read in sequence.frames(lambda _: True))
    assert first.shape == frames[0].bgr.shape and first.dtype == np.uint8


def test_patterns_name_any_files(tmp_path, frames):
    for name, part in (("a", frames[:10]), ("b", frames[10:])):
        write = writers.pairs_named(f"{name}/left/{{}}.png", f"{name}/sensor/{{:03d}}.png")
        write(tmp_path, part)
    survey = layouts.survey(tmp_path, color_glob="*/left/*.png", depth_glob="*/sensor/*.png")
    assert [scan.id for scan in survey.recordings] == ["a", "b"]
    assert_equal(survey, frames)


def test_tum_in_millimetres_is_recognised_by_its_readings(tmp_path, frames):
    """Rounding: 5000 units per metre become whole millimetres, half to even."""
    writers.pairs_named("rgb/{}.png", "depth/{}.png")(tmp_path / "mm", frames)
    (scan,) = layouts.survey(tmp_path / "mm").recordings
    rough = [
        np.round(depth / 5).astype(np.uint16)
        for depth in (frame.read_depth() for frame in scan.frames(1))
    ]
    survey = layouts.survey(tmp_path / "mm", depth_scale=5000)
    for frame, depth in zip(survey.recordings[0].frames(1), rough, strict=True):
        np.testing.assert_array_equal(frame.read_depth(), depth)
    assert "depth at 5000 units per metre" in survey.notes[0]


def test_the_units_that_a_test_chose_are_noted_with_both_medians(tmp_path, frames):
    writers.as_tum_without_lists(tmp_path / "tum", frames)
    writers.pairs_named("rgb/{}.png", "depth/{}.png")(tmp_path / "mm", frames)
    notes = "\n".join(layouts.survey(tmp_path).notes)
    for units, other in ((5000, 1000), (1000, 5000)):
        assert f"depth read at {units} units per metre: median " in notes
        assert f" m at {other}), 1 of the recordings; --depth_scale=" in notes


@pytest.mark.parametrize("name", writers.LAYOUTS)
def test_an_implausible_median_stops_every_layout_unless_the_units_are_given(
    tmp_path, frames, name
):
    """A twentieth of the depth is 0.02 to 0.2 m."""
    write, layout = writers.LAYOUTS[name]
    near = [dataclasses.replace(each, depth_mm=each.depth_mm // np.uint16(20)) for each in frames]
    write(tmp_path, near)
    with pytest.raises(FileNotFoundError) as error:
        layouts.survey(tmp_path, layout=layout)
    message = r"would be 0\.\d+ m at \d+ per metre and .* m at \d+; expected 0.3 to 15 m"
    assert re.search(message, str(error.value))
    survey = layouts.survey(tmp_path, layout=layout, depth_scale=50)
    assert re.search(r"depth read at 50 units per metre: median .* m \(.* m at", survey.notes[1])


def test_units_that_are_given_must_fit_into_16_bits_of_millimetres(tmp_path, frames):
    writers.pairs_named("rgb/{}.png", "depth/{}.png")(tmp_path, frames[:2])
    for path in (tmp_path, tmp_path / "depth"):
        with pytest.raises(FileNotFoundError, match="m at 1 per metre and .* m at 1000; expected"):
            inputs.find_depth(path, depth_scale=1.0)


def test_metres_in_a_layout_of_millimetres_are_metres(tmp_path, frames):
    for number, frame in enumerate(frames[:3]):
        writers.write(tmp_path / f"color/{number}.png", frame.png)
        writers.write(tmp_path / f"depth/{number}.npy", writers.npy(frame.depth_m))
    writers.write(tmp_path / "intrinsic/intrinsic_depth.txt", writers.text_of(writers.CAMERA))
    survey = layouts.survey(tmp_path)
    assert_equal(survey, frames[:3])
    assert "depth read at 1 units per metre" in survey.notes[1]


def test_colour_without_depth_is_counted(tmp_path, frames):
    writers.as_tum_without_lists(tmp_path, frames)
    assert "1 colour file without a partner not used" in layouts.survey(tmp_path).notes


@pytest.mark.parametrize(
    ("name", "content", "focal_px"),
    [
        ("camera_matrix.csv", "800,0,400\n0,800,300\n0,0,1", 160),  # Of 800x600 colour.
        ("intrinsics.txt", writers.text_of(writers.CAMERA), 160),
        (
            "camera_intrinsic.json",
            '{"width": 160, "intrinsic_matrix": [150, 0, 0, 0, 150, 0, 80, 60, 1]}',
            150,
        ),
    ],
)
def test_intrinsics_are_those_of_the_depth_image(tmp_path, frames, name, content, focal_px):
    large = cv2.resize(frames[0].bgr, (800, 600))
    writers.write(tmp_path / "rgb/0.png", writers.encoded(".png", large))
    writers.write(tmp_path / "depth/0.png", frames[0].depth_png)
    writers.write(tmp_path / name, content)
    intrinsics = layouts.survey(tmp_path).recordings[0].calibration().intrinsic_depth
    assert intrinsics is not None
    np.testing.assert_allclose(intrinsics[0], [focal_px, 0, 80], atol=0.5)


def test_poses_of_tum_are_the_nearest_in_time(tmp_path, frames):
    writers.as_tum(tmp_path, frames[:2])
    folder = tmp_path / "rgbd_dataset_freiburg1_desk"
    lines = ["# timestamp tx ty tz qx qy qz qw", "1305031453.37 1 2 3 0 0 0.6 0.8"]
    writers.write(folder / "groundtruth.txt", "\n".join(lines))
    (scan,) = layouts.survey(tmp_path).recordings
    first, second = scan.frames(1)
    pose = first.read_pose()
    assert pose is not None
    np.testing.assert_allclose(pose[:3, 3], [1, 2, 3])
    np.testing.assert_allclose(pose[:3, :3] @ [1, 0, 0], [0.28, 0.96, 0], atol=1e-6)
    assert second.read_pose() is None


def test_poses_and_intrinsics_that_can_not_be_read_do_no_harm(tmp_path, frames):
    writers.pairs_named("rgb/{}.png", "depth/{:03d}.png")(tmp_path, frames[:2])
    writers.write(tmp_path / "intrinsics.txt", "fx 500")
    writers.write(tmp_path / "poses/000.txt", writers.text_of(2 * np.eye(4)))
    (scan,) = layouts.survey(tmp_path).recordings
    assert scan.calibration().intrinsic_depth is None
    assert "expected 9 or 16 numbers, got 'fx 500'" in scan.calibration().note
    pose = next(scan.frames(1)).read_pose()
    assert pose is not None and pose[0, 0] == 2
    writers.write(tmp_path / "poses/000.txt", "0 0 0 0 0 0 1")
    assert next(scan.frames(1)).read_pose() is None


def test_hidden_files_links_and_names_of_other_encodings_do_no_harm(tmp_path, frames):
    folder = tmp_path / "office"
    writers.pairs_named("office/rgb/{}.png", "office/depth/{}.png")(tmp_path, frames[:3])
    writers.write(folder / "rgb/._0.png", b"AppleDouble")
    writers.write(folder / ".Trash/rgb/0.png", frames[0].png)
    (folder / "again").symlink_to(tmp_path)
    (tmp_path / "copy").symlink_to(folder)
    (folder / "rgb/3.png").symlink_to(tmp_path / "gone.png")
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    write = writers.pairs_named(f"{name}/rgb/{name}_{{}}.png", f"{name}/depth/{name}_{{}}.png")
    write(tmp_path, frames[3:5])
    survey = layouts.survey(tmp_path)
    assert [scan.id for scan in survey.recordings] == ["caf", "office"]
    assert_equal(survey, [*frames[3:5], *frames[:3]])
    assert list(survey.refused) == [str(tmp_path / "copy")]


def test_recordings_of_one_name_get_those_of_the_folders_above(tmp_path, frames):
    for space in ("office", "kitchen"):
        writers.pairs_named(f"{space}/walk/rgb/{{}}.png", f"{space}/walk/depth/{{}}.png")(
            tmp_path, frames[:1]
        )
    ids = [scan.id for scan in layouts.survey(tmp_path).recordings]
    assert ids == ["kitchen_walk", "office_walk"]


def test_the_names_of_folders_that_differ_make_ids_unique(tmp_path, frames):
    for space in ("office", "kitchen"):
        for folder in (f"nested/{space}/{{}}/seq1", f"deep/{space}/a/b/walk/{{}}"):
            color, depth = (f"{folder.format(kind)}/{{}}.png" for kind in ("rgb", "depth"))
            writers.pairs_named(color, depth)(tmp_path, frames[:1])
    ids = [scan.id for scan in layouts.survey(tmp_path).recordings]
    assert ids == ["kitchen_seq1", "kitchen_walk", "office_seq1", "office_walk"]


@pytest.mark.parametrize("globs", [None, ("walks/rgb/*/*.png", "walks/depth/*/*.png")])
def test_a_recording_of_unknown_units_leaves_the_others_readable(tmp_path, frames, globs):
    writers.pairs_named("walks/rgb/a/{}.png", "walks/depth/a/{}.png")(tmp_path, frames[:2])
    metres = [
        dataclasses.replace(frame, depth_mm=frame.depth_mm // np.uint16(1000))
        for frame in frames[:2]
    ]
    writers.pairs_named("walks/rgb/b/{}.png", "walks/depth/b/{}.png")(tmp_path, metres)
    options = dict(zip(("color_glob", "depth_glob"), globs, strict=True)) if globs else {}
    survey = layouts.survey(tmp_path, **options)
    assert_equal(survey, frames[:2])
    reason = survey.refused[str(tmp_path / "walks/depth/b")]
    assert "at 1000 per metre" in reason and "--depth_scale" in reason


DAMAGED = [".jpg", ".png", ".webp", ".bmp", ".tiff", ".gif", ".avif", ".pfm", ".pgm", ".npy"]


@pytest.mark.parametrize("suffix", DAMAGED)
def test_damaged_images_are_refused_and_never_anything_else(frames, suffix):
    """The decoders run on mutations of a file; only Damaged may come out of them."""
    rng = np.random.default_rng(0)
    depth, gray = frames[0].depth_mm[:40, :40], frames[0].bgr[:40, :40]
    made = {".pgm": writers.pgm, ".npy": writers.npy}.get(suffix)
    pixels = (depth / 1000).astype(np.float32) if suffix == ".pfm" else gray
    whole = made(depth) if made else writers.encoded(suffix, pixels)
    decode = images.decode_rgb if pixels is gray and not made else depth_images.decode
    decode(whole)
    for _ in range(30):
        data = bytearray(whole[: int(rng.integers(2 * len(whole)))])
        for position in rng.integers(0, min(len(data), 200) or 1, 3) if data else ():
            data[position] = rng.integers(256)
        with contextlib.suppress(recording.Damaged):
            decode(bytes(data))


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".tif", ".gif", ".avif"])
def test_colour_in_any_format_is_decoded(tmp_path, frames, suffix):
    path = pathlib.Path(tmp_path / f"a{suffix}")
    params = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    done, data = cv2.imencode(suffix, frames[0].bgr, params)
    assert done
    path.write_bytes(data.tobytes())
    rgb = images.decode_rgb(path.read_bytes())
    difference = np.abs(rgb.astype(int) - frames[0].bgr[..., ::-1])
    assert difference.mean() < (0.01 if suffix in (".webp", ".bmp", ".tif") else 20)


def test_heic_is_decoded_or_names_the_package(frames):
    pillow_heif = pytest.importorskip("pillow_heif")
    import io

    import PIL.Image

    pillow_heif.register_heif_opener()
    stream = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(frames[0].bgr[..., ::-1])).save(stream, "HEIF")
    rgb = images.decode_rgb(stream.getvalue())
    assert np.abs(rgb.astype(int) - frames[0].bgr[..., ::-1]).mean() < 8


def exr(path: pathlib.Path, channels: dict[str, np.ndarray]) -> bytes:
    """Encodes channels as EXR."""
    openexr = pytest.importorskip("OpenEXR")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, channels).write(str(path))
    return path.read_bytes()


def test_depth_in_exr_is_that_of_its_only_channel_or_of_z(tmp_path, frames):
    depth_m, gray = frames[0].depth_m.astype(np.float32), np.zeros_like(frames[0].depth_m, "f")
    for channels in (
        {"Y": depth_m},
        {"R": gray, "Z": depth_m},
        {"R": depth_m, "G": depth_m, "B": depth_m},
    ):
        data = exr(tmp_path / "a.exr", channels)
        assert depth_images.size(data) == depth_m.shape
        np.testing.assert_array_equal(depth_images.decode(data), depth_m)
    with pytest.raises(recording.Damaged, match="expected one channel or Z, got G, R"):
        depth_images.decode(exr(tmp_path / "a.exr", {"R": gray, "G": depth_m}))


def test_damaged_exr_is_refused(tmp_path, frames):
    data = exr(tmp_path / "a.exr", {"Z": frames[0].depth_m.astype(np.float32)})
    for length in (4, 30, 200, len(data) // 2, len(data) - 8):
        with pytest.raises(recording.Damaged, match="EXR"):
            depth_images.decode(data[:length])
