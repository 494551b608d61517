import numpy as np
import pytest

from psp_jax.predict import frames
from tests.recordings import writers


@pytest.mark.parametrize("name", writers.LAYOUTS)
def test_the_colour_of_every_layout_is_an_input(tmp_path, name):
    captured = writers.capture(12)
    writers.LAYOUTS[name][0](tmp_path / "data", captured)
    sequences = frames.find([str(tmp_path / "data")], 1)
    found = [pair for sequence in sequences for pair in sequence.frames(lambda frame: True)]
    assert len(found) == len({frame.name for frame, _ in found}) == len(captured)
    for (_, read), each in zip(found, captured, strict=True):
        np.testing.assert_array_equal(read(), each.bgr[..., ::-1])


def test_depth_images_beside_photographs_are_counted(tmp_path):
    (frame,) = writers.capture(1)
    writers.write(tmp_path / "photo.webp", writers.encoded(".webp", frame.bgr))
    writers.write(tmp_path / "scan.png", frame.depth_png)
    (sequence,) = frames.find([str(tmp_path)], 1)
    assert sequence.count == 1
    assert sequence.unused == {str(tmp_path / "scan.png"): "a depth image"}
