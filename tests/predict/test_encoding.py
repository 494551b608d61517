import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from psp_jax.io import image_kinds
from psp_jax.predict import camera, encoding, frames
from psp_jax.predict.results import Coarse, Result

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_pngs_of_data_say_what_they_hold_and_are_no_photos(tmp_path):
    values = np.arange(600, dtype=np.uint16).reshape(20, 30)
    data = encoding.png(values, image_kinds.DEPTH)
    assert image_kinds.held_by(data) == "depth in mm"
    with Image.open(io.BytesIO(data)) as image:  # An independent reader, which checks the CRC.
        assert image.info == {"psp_jax": "depth in mm"}
        np.testing.assert_array_equal(np.asarray(image), values)
    assert image_kinds.held_by(encoding.png(IMAGE)) == image_kinds.PICTURE
    assert image_kinds.held_by(encoding.jpeg(IMAGE)) == image_kinds.PICTURE
    assert image_kinds.held_by(b"") is None
    path = tmp_path / "classes.png"
    path.write_bytes(encoding.png((values % 16).astype(np.uint8), image_kinds.CLASSES))
    with pytest.raises(ValueError, match="result of this program, classes"):
        frames.read_image(path)
    assert zlib.crc32(data[37 : 37 + 4 + 8 + 11]) == int.from_bytes(data[60:64])


def test_depth_is_stored_as_millimetres_from_1():
    stored = encoding.depth_png(np.array([[-1.0, 0.0, 1.5]], np.float32))
    pixels = np.asarray(cv2.imdecode(np.frombuffer(stored, np.uint8), -1))
    assert pixels.tolist() == [[1, 1, 1500]]  # 0 would mark no reading.


def test_values_that_do_not_fit_a_png_are_refused():
    with pytest.raises(ValueError, match=r"65\.6 m.*arrays"):
        encoding.depth_png(np.full((3, 3), 65.6, np.float32))
    with pytest.raises(ValueError, match="90000 regions.*arrays"):
        encoding.regions_png(np.arange(90000, dtype=np.int32).reshape(300, 300))


def read_ply(data):
    header, _, body = data.partition(b"end_header\n")
    kinds = {b"float": "<f4", b"uchar": "u1"}
    words = [line.split() for line in header.splitlines()]
    fields = [(w[2].decode(), kinds[w[1]]) for w in words if w[0] == b"property"]
    count = next(int(w[2]) for w in words if w[0] == b"element")
    points = np.frombuffer(body, fields)
    assert len(points) == count
    return points, header.decode()


def test_points_project_back_to_their_pixels():
    depth_m = np.random.default_rng(1).uniform(1, 4, (20, 30)).astype(np.float32)
    points, header = read_ply(encoding.ply(depth_m, IMAGE, 25.0, ["made by hand"]))
    assert "comment made by hand" in header
    x = 25.0 * points["x"] / points["z"] + 14.5
    y = 25.0 * points["y"] / points["z"] + 9.5
    rows, columns = np.mgrid[:20, :30]
    np.testing.assert_allclose(x.reshape(20, 30), columns, atol=1e-4)
    np.testing.assert_allclose(y.reshape(20, 30), rows, atol=1e-4)
    np.testing.assert_array_equal(points["z"].reshape(20, 30), depth_m)
    np.testing.assert_array_equal(points["green"].reshape(20, 30), IMAGE[..., 1])


def test_the_focal_length_is_from_exif_or_the_field_of_view(tmp_path):
    path = tmp_path / "photo.jpg"
    picture = Image.fromarray(np.zeros((240, 360, 3), np.uint8))
    exif = picture.getexif()
    exif.get_ifd(0x8769)[0xA405] = 36
    picture.save(path, exif=exif)
    # On 36 mm wide film, a lens of 36 mm sees as many pixels ahead as the film is wide.
    assert camera.focal((240, 360), path, None).pixels == pytest.approx(360)
    assert "36 mm" in camera.focal((240, 360), path, None).origin
    assert camera.focal((240, 360), path, 90.0).pixels == pytest.approx(180)
    picture.save(path)
    assumed = camera.focal((240, 360), path, None)
    assert "60 degrees, assumed" in assumed.origin
    result = Result(
        "photo", np.zeros((4, 6, 3), np.uint8), Coarse(np.ones((4, 6), np.float32)), path
    )
    _, header = read_ply(result.files(["point_cloud"])["point_cloud/photo.ply"])
    assert "assumed" in header and "focal length 5.2 px of 6 px width" in header


def test_results_have_pictures_and_files(tmp_path):
    coarse = Coarse(depth_m=np.ones((10, 15), np.float32), regions=np.eye(10, 15, dtype=np.int32))
    result = Result("a/b", IMAGE, coarse)
    assert result.plot().shape == (20, 60, 3)
    assert Result("c", IMAGE, Coarse(regions=coarse.regions)).plot().shape == IMAGE.shape
    with pytest.raises(ValueError, match="got 'masks'"):
        result.files(["masks"])
    with pytest.raises(ValueError, match="depth: the model does not predict it"):
        Result("c", IMAGE, Coarse(regions=coarse.regions)).files(["depth"])
    paths = result.save(tmp_path, ["overlay", "depth"])
    assert paths == [tmp_path / "overlay/a/b.jpg", tmp_path / "depth/a/b.png"]
    with pytest.raises(FileExistsError, match="b.png exists"):
        result.save(tmp_path, ["depth", "classes"])
    assert not (tmp_path / "classes").exists()
