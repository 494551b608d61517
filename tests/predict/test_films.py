import cv2
import numpy as np
import pytest

from psp_jax.predict import films, outputs
from psp_jax.predict.frames import Film, Frame
from psp_jax.predict.plan import Plan
from psp_jax.predict.results import Coarse, Result
from psp_jax.recordings import recording, video

PLAN = Plan(outputs=(), film_pictures=("overlay", "depth_color"))


def frame_result(shade, size=(48, 65)):
    image = np.full((*size, 3), shade, np.uint8)
    depth_m = np.linspace(1, 3, 12 * 16, dtype=np.float32).reshape(12, 16)
    return Result("film/0", image, Coarse(depth_m, regions=np.zeros((12, 16), np.int32)))


def read(path):
    capture, pictures = cv2.VideoCapture(str(path)), []
    while (each := capture.read())[0]:
        pictures.append(each[1])
    capture.release()
    return pictures


@pytest.fixture
def film(tmp_path):
    return Film(Frame("film", str(tmp_path / "film.avi"), 7), 10.0)


def test_a_film_appears_when_it_ends_and_is_then_finished(tmp_path, film):
    folder = outputs.Folder(tmp_path / "out", {})
    writers = films.Films(folder, PLAN)
    assert writers.begin(film)
    for shade in (0, 100, 200):
        writers.take(film, films.pictures_of(frame_result(shade), PLAN))
    paths = [tmp_path / "out" / kind / "film.mp4" for kind in PLAN.film_pictures]
    assert not any(path.exists() for path in paths)
    writers.end(film)
    overlay, depth = map(read, paths)
    assert [round(picture.mean(), -1) for picture in overlay] == [0, 100, 200]
    assert len(depth) == 3 and depth[0].shape == (48, 64, 3)
    for path in paths:
        with pytest.raises(recording.Damaged, match="result of this program"):
            list(video.frames(path))
    assert not films.Films(outputs.Folder(tmp_path / "out", {}), PLAN).begin(film)


def test_a_film_that_lacks_frames_is_written_and_tried_again(tmp_path, film):
    writers = films.Films(outputs.Folder(tmp_path / "out", {}), PLAN)
    assert writers.begin(film)
    writers.take(film, films.pictures_of(frame_result(50), PLAN))
    writers.take(film, None)
    writers.end(film)
    assert len(read(tmp_path / "out" / "overlay" / "film.mp4")) == 1
    again = films.Films(outputs.Folder(tmp_path / "out", {}), PLAN)
    assert again.begin(film)


def test_a_film_whose_frames_change_their_size_is_discarded(tmp_path, film):
    writers = films.Films(outputs.Folder(tmp_path / "out", {}), PLAN)
    assert writers.begin(film)
    writers.take(film, films.pictures_of(frame_result(50), PLAN))
    with pytest.raises(ValueError, match="changes its size to 24x32"):
        writers.take(film, films.pictures_of(frame_result(50, (24, 32)), PLAN))
    writers.take(film, films.pictures_of(frame_result(50), PLAN))
    writers.end(film)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_film_of_someone_else_is_not_replaced(tmp_path, film):
    path = tmp_path / "out" / "overlay" / "film.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match="did not write it"):
        films.Films(outputs.Folder(tmp_path / "out", {}), PLAN).begin(film)
