import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

import psp_jax
from psp_jax import checkpoints, experiment, init_from
from psp_jax.io import command_line, manifest
from psp_jax.weights import __main__ as command
from psp_jax.weights import pretrained
from tests import untrained


@pytest.fixture(scope="module")
def exported(tmp_path_factory, edges_run):
    folder = tmp_path_factory.mktemp("models") / "edges"
    pretrained.export(edges_run, folder)
    return folder


def image():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def test_an_exported_model_predicts_as_the_run_does(exported, edges_run, tmp_path):
    moved = tmp_path / "anywhere"
    shutil.copytree(exported, moved)
    (moved / pretrained.CARD_FILE).write_text("The card may be edited.")
    ours, theirs = psp_jax.load(moved)(image()), psp_jax.load(edges_run)(image())
    assert psp_jax.load(moved).calibration == untrained.CALIBRATED
    assert ours.edges is not None and theirs.edges is not None
    # Float16 has 11 bits.
    np.testing.assert_allclose(ours.edges, theirs.edges, atol=0.02)
    assert sum(path.stat().st_size for path in moved.iterdir()) < 200_000


def test_kernels_are_half_as_precise_and_statistics_exact(exported, edges_run):
    there, here = checkpoints.load_variables(edges_run), pretrained.load(exported).variables
    assert jax.tree.structure(there) == jax.tree.structure(here)
    for before, after in zip(jax.tree.leaves(there), jax.tree.leaves(here), strict=True):
        assert after.dtype == before.dtype
        np.testing.assert_allclose(after, before, rtol=2**-10 if before.ndim > 1 else 0, atol=1e-7)


def test_an_exported_model_names_no_machine(exported, edges_run, tmp_path):
    text = (exported / experiment.CONFIG_FILE).read_text()
    assert "edges" in (exported / pretrained.CARD_FILE).read_text()
    assert not manifest.damage(exported)
    before = json.loads((edges_run / experiment.CONFIG_FILE).read_text())["data"]["source"]
    after = json.loads(text)["data"]["source"]
    assert after["data_dir"] == before["data_dir"].rpartition("/")[2] != before["data_dir"]
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        pretrained.export(edges_run, exported)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        pretrained.export(tmp_path, tmp_path / "model")


def test_damage_is_named(exported, tmp_path):
    for name in ("variables.safetensors", "calibration.json", "config.json"):
        broken = tmp_path / name
        shutil.copytree(exported, broken)
        with (broken / name).open("r+b") as file:
            file.seek(20)
            file.write(b"?")
        with pytest.raises(ValueError, match=f"{name} is not the file that was written"):
            pretrained.load(broken)


def test_the_shipped_model_is_the_default(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="ships no trained model; pass"):
        psp_jax.load()
    monkeypatch.setattr(pretrained, "SHIPPED", exported)
    assert psp_jax.load().step == 1
    assert pretrained.locate("pretrained") == pretrained.locate(None) == exported


def test_training_starts_from_the_shipped_model(exported, edges_run, monkeypatch):
    monkeypatch.setattr(pretrained, "SHIPPED", exported)
    config = dataclasses.replace(experiment.load(edges_run), init_from="pretrained")
    model = config.model.make(config.objective.channels)
    init_from.check(config, model)
    variables, report = init_from.start(config, model)
    expected = pretrained.load(exported).variables
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), variables, expected))
    assert len(report) == 1 and str(exported) in report[0]


def test_the_command_exports_a_run(edges_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["weights", "export", str(edges_run), str(tmp_path / "model")])
    with pytest.raises(SystemExit) as ended:
        command_line.run(command.main, command.parser())
    assert ended.value.code == 0 and "edges at step 1" in capsys.readouterr().out
    assert pretrained.load(tmp_path / "model").size is not None
