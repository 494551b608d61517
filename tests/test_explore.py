import csv

import cv2
import numpy as np
import pytest

from data_builders.rooms import generate
from psp_jax import explore
from psp_jax.io import command_line
from psp_jax.recordings import inputs


@pytest.fixture
def depth_png(tmp_path):
    depth_mm = np.full((120, 160), 2500, np.uint16)
    depth_mm[30:90, 40:110] = 1200
    depth_mm[:4] = 0
    path = tmp_path / "kitchen" / "depth" / "7.png"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), depth_mm)
    (path.parents[1] / "color").mkdir()
    cv2.imwrite(str(path.parents[1] / "color" / "7.jpg"), np.full((240, 320, 3), 90, np.uint8))
    return path


def test_a_depth_image_becomes_a_table_and_a_picture(depth_png, tmp_path):
    (view,), _ = explore.views(inputs.find_depth(depth_png), 4)
    assert view.rgb is not None and view.rgb.shape == (120, 160, 3)
    table, skipped = explore.explore([view], tmp_path / "out")
    assert not skipped
    assert (tmp_path / "out" / "kitchen_7.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert [row["algorithm"] for row in rows] == list(explore.ALGORITHMS)
    for row in rows:
        assert row["algorithm"] in table
        assert float(row["recall"]) > 0.9, row  # Its only discontinuities are the sides of the box.
        assert int(float(row["regions"])) >= 2


def test_recordings_come_with_their_true_objects(tmp_path):
    rooms = generate.Rooms(spaces=2, frames_per_scan=3, depth_height=96, depth_width=128)
    generate.generate(rooms, tmp_path / "rooms")
    chosen, _ = explore.views(inputs.find_depth(tmp_path / "rooms"), 2)
    assert 1 <= len(chosen) <= 2
    assert all(view.instance is not None for view in chosen)
    scan = tmp_path / "rooms" / "scans" / "scene9001_01" / "scene9001_01.sens"
    (view,), _ = explore.views(inputs.find_depth(scan), 1)
    assert view.name == "scene9001_01_000000"
    filled = np.maximum(view.depth_mm, 1)
    _, metrics = explore.measure(explore.ALGORITHMS["SLIC"], view, filled)
    assert 0 < metrics["object_recall"] <= 1


def test_invalid_inputs_are_refused_in_one_line(tmp_path, monkeypatch, capsys):
    color = tmp_path / "color.png"
    cv2.imwrite(str(color), np.zeros((9, 9, 3), np.uint8))
    for arguments, message in (
        ([str(color)], "color.png: expected a depth image"),
        (["nowhere"], "got nowhere"),
        ([], "required: PATH"),
        ([str(color), "--frames=0"], "--frames: expected an integer from 1"),
    ):
        monkeypatch.setattr("sys.argv", ["explore", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.run(explore.main, explore.parser())
        (line,) = capsys.readouterr().err.splitlines()
        assert ended.value.code == 2 and message in line
