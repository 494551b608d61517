"""Notebooks run as a reader would run them, and hold the outputs of a run."""

import json
import os
import pathlib
import re
import sys

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_BYTES = 300_000
# The kernel and its client warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_those_of_one_run_from_top_to_bottom(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {
        "stream",
        "display_data",
        "execute_result",
    }
    assert any("image/jpeg" in output.get("data", {}) for output in outputs)
    text = "".join("".join(output.get("text", "")) for output in outputs)
    assert not re.search(r"/tmp/|/home/|/root/|Warning", text)
    assert path.stat().st_size < MAX_BYTES


@pytest.fixture
def text_of(tmp_path, monkeypatch):
    """Executes a notebook in a folder that looks like a clone; returns what it prints."""
    for name in ("docs", "notebooks", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setenv("PATH", str(pathlib.Path(sys.executable).parent), prepend=os.pathsep)
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", paths.rstrip(os.pathsep))

    def text_of(name):
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        resources = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(notebook, timeout=900, resources=resources).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        return "".join(output.get("text", "") for output in outputs).replace("\r", "")

    return text_of


def numbers_of(text, row):
    """Returns the numbers in the row of a table that begins with a title."""
    (line,) = re.findall(rf"^{re.escape(row)} +(.+)$", text, re.MULTILINE)
    return [float(number.rstrip("%")) for number in line.split()]


def test_restore_computes_what_the_predictor_does(text_of):
    text = text_of("restore")
    assert "all         6,284,803" in text
    (difference_m,) = re.findall(r"difference of depth to the above: (\S+) m", text)
    assert float(difference_m) < 1e-3


@pytest.mark.slow
def test_labels_show_that_seeds_moves_with_the_border_and_planar_regions_do_not(text_of):
    text = text_of("labels")
    _, moved, _, other_scene, _, given = numbers_of(text, "SEEDS")
    assert moved < other_scene and given > 0.95
    _, moved, _, other_scene, _, given = numbers_of(text, "planar regions")
    assert moved > 0.9 > 0.5 > other_scene and given < 0.9


@pytest.mark.slow
def test_regions_cost_fewer_bits_given_the_image(text_of):
    text = text_of("regions")
    assert numbers_of(text, "multicut, calibrated")[1] > 0.5
    regions, alone, given, ratio = numbers_of(text, "all")
    assert given < 0.9 * alone and abs(ratio - given / alone) < 0.01


@pytest.mark.slow
def test_features_beat_the_majority_and_colour_with_position(text_of):
    text = text_of("features")
    frozen = numbers_of(text, "frozen trunk/stage5")[0]
    assert frozen > 75
    assert frozen > 20 + numbers_of(text, "colour and position")[0]
    assert frozen > 20 + numbers_of(text, "always furniture")[0]


@pytest.mark.slow
def test_own_data_leads_from_pairs_to_the_tables_of_two_networks(text_of):
    text = text_of("own_data")
    assert "to train on it: python -m psp_jax.main" in text
    assert len(re.findall(r"^test split, \d+ images$", text, re.MULTILINE)) == 2
