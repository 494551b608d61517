import contextlib

import h5py
import numpy as np
import pytest

from psp_jax.recordings import layouts, nyu, recording
from tests.recordings import writers


def read(path):
    for scene in nyu.scenes_of(path, None):
        for frame in scene.frames(1):
            frame.read_color()
            frame.read_depth()


@pytest.mark.parametrize("write", [writers.as_nyu_mat, writers.as_nyu_h5])
def test_truncated_files_and_changed_sizes_are_refused(tmp_path, write):
    write(tmp_path, writers.capture(12))
    (path, *_) = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    read(path)
    for length in rng.integers(len(whole), size=10):
        path.write_bytes(whole[:length])
        with pytest.raises(recording.Damaged):
            read(path)
    start = whole.index(b"\x89HDF")
    for position in range(start, start + 96, 2):
        data = bytearray(whole)
        data[position] ^= 0x41
        path.write_bytes(data)
        with contextlib.suppress(recording.Damaged):
            read(path)


def mat(path, **arrays):
    with h5py.File(path / "labelled.mat", "w") as file:
        file["images"] = np.zeros((2, 3, 16, 12), np.uint8)
        file["depths"] = np.ones((2, 16, 12), np.float32)
        for name, array in arrays.items():
            if name in file:
                del file[name]
            file[name] = array


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"depths": np.ones((3, 16, 12), np.float32)}, "expected 2 depth images"),
        ({"scenes": np.zeros((1, 5), np.uint8)}, "expected 2 scenes, got 5"),
        ({"images": np.array([b"a", b"b"])}, "images: expected numbers"),
        ({"depths": np.ones((0, 16, 12), np.float32)}, "depths: expected numbers"),
        ({"depths": h5py.Empty("f")}, "depths: expected numbers"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, arrays, message):
    mat(tmp_path, **arrays)
    with pytest.raises(FileNotFoundError, match=message):
        layouts.survey(tmp_path)


def test_an_array_that_claims_more_than_the_file_is_refused(tmp_path):
    mat(tmp_path)
    with h5py.File(tmp_path / "labelled.mat", "a") as file:
        del file["depths"]
        file.create_dataset("depths", (2, 1 << 20, 1 << 14), np.float32)  # Nothing is stored.
    with pytest.raises(FileNotFoundError, match="bytes are claimed in a file of"):
        layouts.survey(tmp_path)
