"""Runs TFDS's test case for builders. It needs TensorFlow: `pip install -e ".[tfds]"`."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from data_builders.scannet_frontiers import configurations, splits
from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from tests.scans import make_frame, write_scan

CONFIG = "rooms"
FRAMES = 2  # Of each scan.
SCANS = [f"scene{space}_00" for space in range(9000, 9010)]
MISSING = [n for n in ("tensorflow", "mlcroissant", "dill") if importlib.util.find_spec(n) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed; the extra tfds is")
def test_the_builder_passes_the_test_case_of_tfds(tmp_path):
    rng, size = np.random.default_rng(0), configurations.named(CONFIG).size
    for scan in SCANS:
        write_scan(tmp_path, scan, [make_frame(rng, size) for _ in range(FRAMES)], size)
    command = [sys.executable, "-m", "tests.data_builders.test_tfds"]
    # In a separate process: TensorFlow warns about its dependencies, and warnings are errors here.
    environment = os.environ | {"SCANS": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert not done.returncode, done.stderr
    assert "OK (skipped=1)" in done.stderr  # TensorFlow adds a test of its sessions.


def run_test_case() -> None:
    """Runs the test case on the scans in the folder SCANS."""
    import tensorflow_datasets as tfds

    split_of = configurations.named(CONFIG).split(SCANS)

    class BuilderTest(tfds.testing.DatasetBuilderTestCase):
        DATASET_CLASS = dataset.Builder
        BUILDER_CONFIG_NAMES_TO_TEST = [CONFIG]
        EXAMPLE_DIR = os.environ["SCANS"]
        SPLITS = {s: FRAMES * list(split_of.values()).count(s) for s in splits.SPLITS}

        def _make_builder(self, config=None):
            # The test case reads with tf.data, which has no reader of array_record.
            folder = self.tmp_dir
            return dataset.Builder(data_dir=folder, config=config, file_format="tfrecord")

    globals()["BuilderTest"] = BuilderTest
    tfds.testing.test_main()


if __name__ == "__main__":
    run_test_case()
