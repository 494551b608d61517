import json
import pathlib

import nbclient
import nbformat
import pytest

from psp_jax import train
from tests.conftest import make_tiny

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs") and not cell.get("execution_count")


# The kernel and its client warn about themselves.
@pytest.mark.filterwarnings("ignore")
def test_restore_shows_pictures_of_a_run(tmp_path, data_dir):
    train.run(make_tiny(data_dir), str(tmp_path / "runs" / "depth_mse"))
    (path,) = (path for path in NOTEBOOKS if path.stem == "restore")
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
