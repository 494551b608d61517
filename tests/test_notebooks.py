import json
import pathlib
import re

import nbclient
import nbformat
import pytest

from psp_jax import train
from tests.experiments import make_tiny

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs") and not cell.get("execution_count")


@pytest.fixture(scope="module")
def edges_folder(tmp_path_factory, edges_run) -> pathlib.Path:
    """A folder that holds a run that predicts frontiers."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "runs").mkdir()
    (folder / "runs" / "frontier_edges").symlink_to(edges_run)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data_dir) -> pathlib.Path:
    """A folder that holds the run that the notebooks read."""
    folder = tmp_path_factory.mktemp("notebooks")
    train.run(make_tiny(data_dir), str(folder / "runs" / "depth_mse"))
    return folder


def outputs_of(name, folder):
    (path,) = (path for path in NOTEBOOKS if path.stem == name)
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


# The kernel and its client warn about themselves.
@pytest.mark.filterwarnings("ignore")
def test_restore_shows_pictures_of_a_run(folder):
    outputs = outputs_of("restore", folder)
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.filterwarnings("ignore")
def test_features_fit_a_linear_svm(folder):
    text = "".join(output.get("text", "") for output in outputs_of("features", folder))
    assert re.search(r"pyramid: [\d.]+% of \d+ unseen cells are right", text)


@pytest.mark.filterwarnings("ignore")
def test_regions_come_from_an_image_and_cost_bits(edges_folder):
    outputs = outputs_of("regions", edges_folder)
    text = "".join(output.get("text", "") for output in outputs)
    assert re.search(r"\d+ regions were found, \d+ are there", text)
    assert re.search(r"multicut, calibrated +\d+ regions, ARI -?[\d.]+", text)
    assert re.search(r"true frontiers: \d+ bits, \d+ given the prediction", text)
    assert re.search(r"\d+ bytes, [\d.]+ bits a pixel", text)
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert str(pathlib.Path.home()) not in text and str(edges_folder) not in text
