import pathlib

import cv2
import numpy as np
import pytest

from data_builders.scannet_frontiers import examples
from data_builders.scannet_frontiers.report import Report
from psp_jax.partition import superpixels
from psp_jax.recordings import cameras, file_frames, layouts, sens
from tests.scans import SIZE, make_frame, write_scan

SCAN = "scene9000_00"
CAMERA = np.array([[64, 0, 32, 0], [0, 64, 24, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
RECIPE = examples.Recipe(2, SIZE, {"seeds": superpixels.Seeds(superpixels=20, levels=2)})


def as_sens(root: pathlib.Path, frames: list[sens.EncodedFrame]) -> None:
    write_scan(root, SCAN, frames)


def as_python_export(root, frames, *, folder=f"scans/{SCAN}", digits=1, calibration="intrinsic"):
    for index, frame in enumerate(frames):
        name = f"{index:0{digits}d}"
        write(root / folder / "color" / f"{name}.jpg", frame.color)
        write(root / folder / "depth" / f"{name}.png", png_of(depth_of(frame)))
        write(root / folder / "pose" / f"{name}.txt", text_of(frame.camera_to_world))
    name = {"intrinsic": "intrinsic/intrinsic_depth.txt", "25k": "intrinsics_depth.txt"}
    write(root / folder / name[calibration], text_of(CAMERA))


def as_padded_export(root, frames):
    as_python_export(root, frames, folder=f"exported/{SCAN}/frames", digits=6)


def as_frames_25k(root, frames):
    folder = f"tasks/scannet_frames_25k/{SCAN}"
    as_python_export(root, frames, folder=folder, digits=6, calibration="25k")


def as_cpp_export(root, frames):
    folder = root / SCAN
    for index, frame in enumerate(frames):
        depth = depth_of(frame)
        header = f"P5\n{depth.shape[1]} {depth.shape[0]}\n65535\n".encode()
        stem = folder / f"frame-{index:06d}"
        write(stem.with_suffix(".color.jpg"), frame.color)
        write(stem.with_suffix(".depth.pgm"), header + depth.astype(">u2").tobytes())
        write(stem.with_suffix(".pose.txt"), text_of(frame.camera_to_world))
    numbers = " ".join(f"{value:.9g}" for value in CAMERA.ravel())
    info = f"m_versionNumber = 4\nm_depthShift = 1000\nm_calibrationDepthIntrinsic = {numbers} \n"
    write(folder / "_info.txt", info.encode())


def as_seven_scenes(root, frames, *, folder="chess/seq-01"):
    for index, frame in enumerate(frames):
        depth = depth_of(frame)
        stem = root / folder / f"frame-{index:06d}"
        pixels = cv2.imdecode(np.frombuffer(frame.color, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        write(stem.with_suffix(".color.png"), png_of(pixels))
        marked = np.where(depth == 0, np.uint16(65535), depth)
        write(stem.with_suffix(".depth.png"), png_of(marked))
        write(stem.with_suffix(".pose.txt"), text_of(frame.camera_to_world))


def write(path: pathlib.Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def png_of(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def text_of(matrix: np.ndarray) -> bytes:
    return "\n".join(" ".join(f"{value:.9g}" for value in row) for row in matrix).encode()


def depth_of(frame: sens.EncodedFrame) -> np.ndarray:
    return sens.decode_depth(frame.depth, SIZE)


def read(root: pathlib.Path, recipe=RECIPE) -> tuple[dict[str, dict], Report]:
    (scan,) = layouts.survey(root).recordings
    report = Report()
    return dict(examples.examples_of(scan, report, recipe=recipe)), report


@pytest.fixture
def frames():
    rng = np.random.default_rng(3)
    # Twelve, so that names sorted as text would put 10 before 2.
    return [make_frame(rng) for _ in range(12)]


@pytest.mark.parametrize(
    "lay_out", [as_python_export, as_padded_export, as_frames_25k, as_cpp_export]
)
def test_the_same_frames_in_another_layout_give_identical_examples(tmp_path, frames, lay_out):
    as_sens(tmp_path / "sens", frames)
    lay_out(tmp_path / "other", frames)
    expected, _ = read(tmp_path / "sens")
    actual, report = read(tmp_path / "other")
    assert list(actual) == list(expected) == [f"{SCAN}_{index:06d}" for index in range(0, 12, 2)]
    assert not report.dropped and not report.notes
    for key, example in expected.items():
        for name, value in example.items():
            np.testing.assert_array_equal(actual[key][name], value, err_msg=f"{key} {name}")


@pytest.mark.parametrize(
    ("folder", "scan", "space", "note", "focal_px"),
    [
        ("chess/seq-01", "chess_seq-01", "chess", cameras.SEVEN_SCENES.note, 58.5),
        (f"scans/{SCAN}", SCAN, "scene9000", cameras.SCANNET.note, 57.759),
    ],
)
def test_seven_scenes_has_the_same_images_and_depth(
    tmp_path, frames, folder, scan, space, note, focal_px
):
    """It has no calibration, so a nominal one is used, with a note."""
    as_sens(tmp_path / "sens", frames)
    as_seven_scenes(tmp_path / "other", frames, folder=folder)
    expected, _ = read(tmp_path / "sens")
    actual, report = read(tmp_path / "other")
    assert report.notes == [f"{scan} has no _info.txt; {note}"]
    assert list(actual) == [key.replace(SCAN, scan) for key in expected]
    for example, other in zip(expected.values(), actual.values(), strict=True):
        assert (other["scene_id"], other["space_id"]) == (scan, space)
        for name in set(example) - {"intrinsics", "scene_id", "space_id"}:
            np.testing.assert_array_equal(other[name], example[name])
        np.testing.assert_allclose(other["intrinsics"][0, 0], focal_px, rtol=1e-5)


def test_sequences_of_seven_scenes_are_found_from_every_level_of_the_tree(tmp_path, frames):
    for folder in ("chess/seq-01", "chess/seq-02", "red kitchen/seq-11"):
        as_seven_scenes(tmp_path / folder, frames[:1], folder=".")
    (tmp_path / "chess" / "TrainSplit.txt").write_text("sequence1")
    names = ["chess_seq-01", "chess_seq-02", "red-kitchen_seq-11"]
    assert [scan.id for scan in layouts.survey(tmp_path).recordings] == names
    assert [scan.id for scan in layouts.survey(tmp_path / "chess").recordings] == names[:2]
    assert [scan.id for scan in layouts.survey(tmp_path / "chess/seq-02").recordings] == names[1:2]


def test_a_sparse_export_keeps_all_frames():
    sparse = [(index, "") for index in range(0, 1000, 100)]
    kept = [index for index, _ in file_frames.one_per_window(sparse, 30)]
    assert kept == list(range(0, 1000, 100))
    whole = [(index, "") for index in range(100)]
    assert [index for index, _ in file_frames.one_per_window(whole, 30)] == [0, 30, 60, 90]


def test_a_scan_in_two_places_is_read_once_from_the_sens_file(tmp_path, frames):
    as_sens(tmp_path, frames)
    as_padded_export(tmp_path, frames)
    survey = layouts.survey(tmp_path)
    (scan,) = survey.recordings
    assert scan.path.suffix == ".sens"
    assert list(survey.refused.values()) == [f"{SCAN} is read from {scan.path}"]


def test_a_scan_folder_itself_is_read(tmp_path, frames):
    as_python_export(tmp_path, frames)
    (scan,) = layouts.survey(tmp_path / "scans" / SCAN).recordings
    assert scan.id == SCAN


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([f"posed_images/{SCAN}/00000.jpg", f"posed_images/{SCAN}/00000.txt"], "without a depth"),
        ([f"scans/{SCAN}/color/0.jpg"], "without a depth"),
        ([f"scans/{SCAN}/{SCAN}_vh_clean_2.ply"], "a mesh or point cloud"),
        ([f"train/{SCAN}/coord.npy"], "a mesh or point cloud"),
        ([f"{SCAN}_vh_clean_2.ply"], "a mesh or point cloud"),
        (["tf3d/hires_tfrecords/train-00000-of-00100"], "TFRecords of another schema"),
        ([f"scans/{SCAN}/{SCAN}.txt"], "no frames"),
    ],
)
def test_folders_without_depth_are_refused_with_the_reason(tmp_path, files, message):
    for name in files:
        write(tmp_path / name, b"")
    with pytest.raises(FileNotFoundError, match=message) as error:
        layouts.survey(tmp_path)
    assert "--type .sens" in str(error.value)


def test_a_folder_without_frames_is_reported_if_others_have_them(tmp_path, frames):
    as_sens(tmp_path, frames)
    write(tmp_path / "scans" / "scene9001_00" / "mesh.ply", b"")
    survey = layouts.survey(tmp_path)
    assert [scan.id for scan in survey.recordings] == [SCAN]
    assert list(survey.refused.values()) == ["mesh.ply is a mesh or point cloud without frames"]


def bomb(kind: str) -> bytes:
    """Returns an image file whose header states 65,500x65,500 pixels."""
    done = cv2.imencode(kind, np.zeros((16, 16), np.uint16 if kind == ".png" else np.uint8))[1]
    data = bytearray(done.tobytes())
    if kind == ".png":
        data[16:24] = (65500).to_bytes(4, "big") * 2
    else:
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = (65500).to_bytes(2, "big") * 2
    return bytes(data)


def test_bad_files_are_left_out_one_by_one_and_reported(tmp_path, frames):
    as_python_export(tmp_path, frames)
    folder = tmp_path / "scans" / SCAN
    write(folder / "color/0.jpg", frames[0].color[:-300])
    write(folder / "color/1.jpg", bomb(".jpg"))
    write(folder / "depth/2.png", bomb(".png"))
    write(folder / "depth/3.png", png_of(np.zeros((24, 32), np.uint16)))
    write(folder / "pose/4.txt", b"nan " * 16)
    write(folder / "pose/5.txt", b"1 0 0")
    (folder / "depth/6.png").unlink()
    (folder / "pose/7.txt").unlink()
    write(folder / "depth/8.png", png_of(np.zeros(SIZE, np.uint8)))
    usable, report = read(tmp_path, examples.Recipe(1, SIZE, RECIPE.segmentations))
    assert [example["frame_index"] for example in usable.values()] == [9, 10, 11]
    text = "\n".join(report.details)
    for line in (
        "undecodable colour: scene9000_00 frame 0: a truncated or damaged JPEG",
        "undecodable colour: scene9000_00 frame 1: expected an image of 1 to",
        "undecodable depth: scene9000_00 frame 2: expected an image of 1 to",
        "no depth at all: scene9000_00 frame 3",
        "invalid pose: scene9000_00 frame 4",
        "invalid pose: scene9000_00 frame 5: 5.txt: expected 16 numbers, got '1 0 0'",
        "undecodable depth: scene9000_00 frame 6: there is no depth file",
        "invalid pose: scene9000_00 frame 7: there is no pose file",
        "undecodable depth: scene9000_00 frame 8: depth: expected 16-bit gray or floats, got uint8",
    ):
        assert text.count(line) == 1, text


def test_depth_in_other_units_becomes_millimetres(tmp_path, frames):
    as_cpp_export(tmp_path, frames[:1])
    info = tmp_path / SCAN / "_info.txt"
    info.write_text(info.read_text().replace("m_depthShift = 1000", "m_depthShift = 2000"))
    (scan,) = layouts.survey(tmp_path).recordings
    (frame,) = scan.frames(1)
    half = np.round(depth_of(frames[0]) / 2).astype(np.uint16)
    np.testing.assert_array_equal(frame.read_depth(), half)


def test_a_lost_pose_is_read_as_minus_infinity(tmp_path):
    write(tmp_path / "0.txt", b"-inf -inf -inf -inf\n" * 4)
    assert np.isneginf(file_frames.read_matrix(tmp_path / "0.txt")).all()
