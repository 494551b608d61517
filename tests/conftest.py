"""Small recordings and a small prepared data set that the tests share."""

import gc
import pathlib

import numpy as np
import pytest

from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from psp_jax import experiment, state, train
from psp_jax.evaluation import run_report, validation_sheets
from psp_jax.runtime import lock
from tests import untrained
from tests.experiments import make_tiny
from tests.scans import make_frame, small_config, write_scan

gc.freeze()  # No collection looks through all modules again.
lock._SETTLE_S = 0.01  # No other process of another host claims a workdir of the tests.


@pytest.fixture(scope="session")
def scans_dir(tmp_path_factory) -> pathlib.Path:
    """Ten spaces of two scans of three good frames each."""
    root = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    for space in range(9000, 9010):
        for visit in range(2):
            frames = [make_frame(rng) for _ in range(3)]
            write_scan(root, f"scene{space}_{visit:02d}", frames)
    return root


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory, scans_dir) -> pathlib.Path:
    """A folder of prepared data sets that holds those scans as `scannet_frontiers/small`."""
    folder = tmp_path_factory.mktemp("data")
    builder = dataset.Builder(config=small_config(), data_dir=folder)
    dataset.build(builder, manual_dir=str(scans_dir))
    return folder


@pytest.fixture
def tiny(data_dir) -> experiment.Experiment:
    """`make_tiny` on the shared data set."""
    return make_tiny(data_dir)


@pytest.fixture
def without_report(monkeypatch) -> None:
    """Leaves out the reports and sheets of runs, which take seconds to trace and to draw."""
    monkeypatch.setattr(run_report, "report", lambda *unused: None)
    monkeypatch.setattr(validation_sheets.ValidationSheets, "draw", lambda *unused: {})


@pytest.fixture
def drawn_quickly(monkeypatch) -> None:
    """Networks start from other random values, which take no seconds to compile."""
    monkeypatch.setattr(state, "initial_variables", lambda model, *_: untrained.variables(model))


@pytest.fixture(scope="session")
def trained(tmp_path_factory, data_dir) -> tuple:
    """The workdir of a finished run, its experiment, and its final state."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    config = make_tiny(data_dir)
    return workdir, config, train.run(config, str(workdir))


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
