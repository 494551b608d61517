"""Files that the program wrote, wherever they lie, are read as what they are or not at all."""

import pathlib
import shutil

import cv2
import numpy as np
import pytest

from psp_jax.evaluation import plots
from psp_jax.io import image_kinds
from psp_jax.predict import frames, viewer
from psp_jax.predict.results import OUTPUTS, Coarse, Result
from psp_jax.recordings import depth_images, image_faults, images, inputs, layouts, recording

SIZE = (24, 32)
IMAGES = [name for name, output in OUTPUTS.items() if output.suffix in (".png", ".jpg")]
EVERY = [*IMAGES, "page/thumbnails", "curves"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A file of every kind of image that commands write, by kind."""
    folder = tmp_path_factory.mktemp("made")
    regions = np.repeat([[0, 1]], SIZE[0], 0).repeat(SIZE[1] // 2, 1).astype(np.int32)
    depth_m = np.full(SIZE, 2.0, np.float32)
    classes = np.zeros(SIZE, np.uint8)
    edges = np.zeros((*SIZE, 2), np.float32)
    result = Result("a", np.zeros((*SIZE, 3), np.uint8), Coarse(depth_m, edges, classes, regions))
    paths = {}
    for name, data in (result.files(IMAGES) | viewer.frame(result)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        paths[str(pathlib.PurePath(name).parent)] = path
    paths["curves"] = folder / "curves.png"
    curve = plots.Panel("loss", {"train": ([1, 2], [2.0, 1.0])})
    plots.panels(paths["curves"], [curve], across="step")
    return paths


@pytest.mark.parametrize("kind", EVERY)
def test_none_is_read_as_a_photograph(tmp_path, made, kind):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(cv2.imencode(".jpg", np.zeros((*SIZE, 3), np.uint8))[1].tobytes())
    path = made[kind].rename(tmp_path / f"copy{made[kind].suffix}")
    try:
        for read in (images.decode_rgb, lambda data: images.decode_color(data, None)):
            with pytest.raises(recording.Damaged, match="a result of this program"):
                read(path.read_bytes())
        (sequence,) = frames.find([str(tmp_path)], 1)
        used = [frame.name for frame, _ in sequence.frames(lambda frame: True)]
        assert "photo" in used
        assert ("copy" in used) != (str(path) in sequence.unused)
    finally:
        path.rename(made[kind])


@pytest.mark.parametrize("kind", EVERY)
def test_only_depth_is_read_as_depth(tmp_path, made, kind):
    data = made[kind].read_bytes()
    if kind == "depth":
        assert (depth_images.decode(data) == 2000).all()
        return
    with pytest.raises(recording.Damaged):
        depth_images.decode(data)
    folder = tmp_path / "depth"
    folder.mkdir()
    (folder / made[kind].name).write_bytes(data)
    depth_mm = np.full(SIZE, 2000, np.uint16)
    (folder / "true.png").write_bytes(cv2.imencode(".png", depth_mm)[1].tobytes())
    for name, frame in inputs.find_depth(tmp_path).depths.items():
        if name != "depth/true":
            with pytest.raises(recording.Damaged):
                frame.read_depth()


@pytest.mark.parametrize("kind", EVERY)
def test_other_programs_read_all(made, kind):
    data = made[kind].read_bytes()
    assert image_kinds.held_by(data)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    assert not made[kind].suffix == ".jpg" or not image_faults.damage_of(data)


def test_results_in_the_folder_of_a_recording_do_not_change_its_layout(tmp_path):
    depth_mm = np.full(SIZE, 2000, np.uint16)
    for name, pixels in (("1.jpg", np.zeros((*SIZE, 3), np.uint8)), ("1.png", depth_mm)):
        (tmp_path / name).write_bytes(cv2.imencode(pathlib.Path(name).suffix, pixels)[1].tobytes())
    (before,) = layouts.survey(tmp_path).recordings
    result = tmp_path / "depth" / "1.png"
    result.parent.mkdir()
    shutil.copy(tmp_path / "1.png", result)
    results = {tmp_path.resolve(), result.resolve()}
    assert layouts.survey(tmp_path, results=results).recordings == (before,)
    shutil.copy(result, result.with_name("2.png"))  # Of somebody else.
    with pytest.raises(FileNotFoundError, match="depth in depth/ without a folder of colour"):
        layouts.survey(tmp_path, results=results)
