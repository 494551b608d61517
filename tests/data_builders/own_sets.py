"""Recordings of pairs of files, and a data set of one's own that is built from them."""

import cv2
import numpy as np

from data_builders.scannet_frontiers import configurations, splits
from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from psp_jax import data, prepared
from psp_jax.recordings import sens
from tests.scans import make_frame

SIZE = (48, 64)


def write_pairs(root, name, frames, size=SIZE, color_size=None):
    """Writes a recording in the folders color/, depth/ and pose/, one file per frame."""
    rng = np.random.default_rng(frames)
    for kind in ("color", "depth", "pose"):
        (root / name / kind).mkdir(parents=True, exist_ok=True)
    for index in range(frames):
        frame = make_frame(rng, size)
        color = cv2.imdecode(np.frombuffer(frame.color, np.uint8), cv2.IMREAD_COLOR)
        assert color is not None
        if color_size is not None:
            color = cv2.resize(color, color_size[::-1])
        depth = sens.decode_depth(frame.depth, size)
        cv2.imwrite(str(root / name / "color" / f"{index}.jpg"), color)
        cv2.imwrite(str(root / name / "depth" / f"{index}.png"), depth)
        np.savetxt(root / name / "pose" / f"{index}.txt", np.eye(4))


def own(**fields):
    """Returns a configuration whose labels take little time."""
    given = {"size": SIZE, "frame_stride": 1, "split": splits.HashSplit()} | fields
    config = configurations.own("office", **given)
    config.segmentations = {"seeds": config.segmentations["seeds"]}
    return config


def build(root, data_dir, config=None, *, overwrite=False):
    builder = dataset.Builder(config=config or own(), data_dir=data_dir)
    dataset.build(builder, manual_dir=str(root), overwrite=overwrite)
    return builder


def opened(data_dir):
    return data.open_splits(prepared.Prepared("office", str(data_dir)).prepare())
