"""Small recordings and a small prepared data set that the tests share."""

import os
import pathlib

import cv2
import jax
import numpy as np
import pytest

from data_builders import sources
from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from data_builders.scannet_frontiers import sens
from psp_jax import experiment, objectives
from psp_jax.models import segmenter
from psp_jax.partition import planar, superpixels
from tests import untrained

SIZE = (48, 64)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Lets runs in other processes reuse what this one has compiled, and the other way round."""
    folder = str(tmp_path_factory.mktemp("jax_cache"))
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"


def make_frame(rng: np.random.Generator, index: int, size: tuple[int, int] = SIZE) -> sens.Frame:
    """A slanted plane with a box before it; brightness falls with depth, so it can be learned."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    slope_x, slope_y = rng.uniform(-10, 10, 2)
    depth = rng.uniform(1500, 3500) + slope_x * columns + slope_y * rows
    top, left = rng.integers(8, height // 2), rng.integers(8, width // 2)
    depth[top : top + 16, left : left + 20] *= 0.6
    depth = np.clip(depth, 400, 6000).astype(np.uint16)
    gray = np.clip(300 - depth / 16, 0, 255).astype(np.uint8)
    color = cv2.resize(gray, (2 * width, 2 * height), interpolation=cv2.INTER_NEAREST)
    color = np.stack([color, 255 - color, color // 2], axis=-1)
    depth[:3] = 0
    depth[:, :4] = 0
    pose = np.eye(4, dtype=np.float32)
    pose[:3, 3] = rng.normal(size=3)
    jpeg = cv2.imencode(".jpg", color)[1].tobytes()
    return sens.Frame(index, pose, 0, 0, jpeg, sens.encode_depth(depth))


def write_scan(
    root: pathlib.Path, scan: str, frames: list[sens.Frame], size: tuple[int, int] = SIZE
) -> pathlib.Path:
    """Writes frames where ScanNet's download script would put them."""
    path = root / "scans" / scan / f"{scan}.sens"
    path.parent.mkdir(parents=True)
    height, width = size
    camera = np.array(
        [[width, 0, width / 2, 0], [0, width, height / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    sens.write(
        path,
        frames,
        color_size=(2 * height, 2 * width),
        depth_size=size,
        intrinsic_color=camera,
        intrinsic_depth=camera,
    )
    return path


def small_config() -> dataset.FrontierConfig:
    """A configuration at the tests' size."""
    return dataset.FrontierConfig(
        name="small",
        frame_stride=1,
        size=SIZE,
        cuts={
            "seeds": superpixels.Seeds(superpixels=20, levels=2),
            "planar": planar.Planar(superpixels.Slic(region_px=8, ruler=20.0)),
        },
    )


@pytest.fixture(scope="session")
def scans_dir(tmp_path_factory) -> pathlib.Path:
    """Ten spaces of two scans of three good frames each."""
    root = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    for space in range(9000, 9010):
        for visit in range(2):
            frames = [make_frame(rng, index) for index in range(3)]
            write_scan(root, f"scene{space}_{visit:02d}", frames)
    return root


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory, scans_dir) -> pathlib.Path:
    """A folder of prepared data sets that holds those scans as `scannet_frontiers/small`."""
    folder = tmp_path_factory.mktemp("data")
    builder = dataset.Builder(config=small_config(), data_dir=folder)
    dataset.build(builder, manual_dir=str(scans_dir))
    return folder


def make_tiny(data_dir: pathlib.Path) -> experiment.Experiment:
    """An experiment of two phases that trains in seconds."""
    return experiment.Experiment(
        name="tiny",
        model=segmenter.Segmenter(depth=10, width=4, dropout=0.1),
        objective=objectives.DepthMSE(),
        data=experiment.Data(
            source=sources.ScanNet(data_dir=str(data_dir), config="small"), batch_size=4
        ),
        phases=(
            experiment.Phase(steps=6, train=("head", "classifier")),
            experiment.Phase(steps=10, learning_rate=1e-3, warmup_steps=2, final_share=0.1),
        ),
        checkpoint_every=3,
        validate_every=4,
        pictures=2,
    )


@pytest.fixture
def tiny(data_dir) -> experiment.Experiment:
    """`make_tiny` on the shared data set."""
    return make_tiny(data_dir)


@pytest.fixture(scope="session")
def depth_run(tmp_path_factory, data_dir) -> pathlib.Path:
    """The workdir of an untrained run that predicts depth."""
    folder = tmp_path_factory.mktemp("runs") / "depth"
    untrained.write_depth(folder, data_dir)
    return folder


@pytest.fixture(scope="session")
def edges_run(tmp_path_factory, data_dir) -> pathlib.Path:
    """The workdir of an untrained run that predicts inter-pixel edges, with a calibration."""
    folder = tmp_path_factory.mktemp("runs") / "edges"
    untrained.write_edges(folder, data_dir)
    return folder
