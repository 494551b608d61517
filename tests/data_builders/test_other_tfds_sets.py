"""Data sets of TFDS as sources, and the order of records as TFDS has it."""

from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from data_builders.scannet_frontiers import reading, shuffling
from psp_jax.recordings import sens
from tests.data_builders.own_sets import SIZE, build, opened, own
from tests.scans import make_frame


class TinyDepth(tfds.core.GeneratorBasedBuilder):
    """Has the features of nyu_depth_v2, in metres."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(*SIZE, 3), encoding_format="png"),
            "depth": tfds.features.Tensor(shape=SIZE, dtype=np.float16),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(8), "validation": self._generate_examples(4)}

    def _generate_examples(self, count):
        rng = np.random.default_rng(count)
        for index in range(count):
            frame = make_frame(rng, SIZE)
            color = cv2.imdecode(np.frombuffer(frame.color, np.uint8), cv2.IMREAD_COLOR)
            assert color is not None
            png = cv2.imencode(".png", cv2.resize(color, SIZE[::-1]))[1].tobytes()
            depth_m = sens.decode_depth(frame.depth, SIZE) / 1000
            yield f"{index}", {"image": png, "depth": depth_m.astype(np.float16)}


def test_another_tfds_data_set_is_a_source(tmp_path):
    """Its larger split is divided in train and validation, the other one is the test split."""
    source: Any = TinyDepth(data_dir=tmp_path, file_format="array_record")
    source.download_and_prepare()
    build(tmp_path, tmp_path, own(reading={"tfds": "tiny_depth"}))
    made = opened(tmp_path)
    assert {name: len(examples) for name, examples in made.items()} == {
        "train": 5,
        "validation": 2,
        "test": 4,
    }
    originals = source.as_data_source("validation")
    for example in (made["test"][index] for index in range(4)):
        depth = np.round(originals[example["frame_index"]]["depth"].astype(float) * 1000)
        has_reading = ~example["filled"]
        np.testing.assert_array_equal(example["depth"][has_reading], depth[has_reading])
        assert np.isnan(example["pose"]).all() and np.isnan(example["intrinsics"]).all()
    _, units = reading.survey(str(tmp_path), {"tfds": "tiny_depth"}).notes
    assert units.startswith("depth read at 1 units per metre: median ")
    with pytest.raises(FileNotFoundError, match="--tfds=nyu: there is no"):
        build(tmp_path, tmp_path, own(reading={"tfds": "nyu"}))


def test_records_are_ordered_on_disk_as_by_tfds(tmp_path):
    ours, theirs = shuffling.DiskShuffler(tmp_path, "train"), shuffle.Shuffler(tmp_path, "train")
    for index in range(100):
        for shuffler in (ours, theirs):
            shuffler.add(f"key{index}", bytes([index] * index))
    assert list(ours) == list(theirs)
    ours.add("key7", b"again")
    with pytest.raises(shuffle.DuplicatedKeysError):
        list(ours)
    ours.close()
