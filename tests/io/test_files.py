import os
import pathlib

import pytest

import psp_jax
from data_builders import sources
from data_builders.scannet_frontiers import __main__ as program
from psp_jax import checkpoints, experiment, prepared
from psp_jax.io import files
from tests import programs


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "folder" / "a.txt"
    files.write(target, "old\n")
    files.write(target, b"new\n", durable=True)
    assert target.read_text() == "new\n"

    def replace(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(pathlib.Path, "replace", replace)
    with pytest.raises(OSError, match="disk full"):
        files.write(target, "newer\n")
    assert target.read_text() == "new\n" and os.listdir(target.parent) == ["a.txt"]


def test_a_path_is_expanded_and_a_url_is_refused(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("RUNS", "/data/runs")
    assert files.local_path("~/x") == pathlib.Path("/home/ada/x")
    assert files.local_path(pathlib.Path("$RUNS/lr=0.1")) == pathlib.Path("/data/runs/lr=0.1")
    assert files.local_path("12:30 talk.mp4") == pathlib.Path("12:30 talk.mp4")
    with pytest.raises(ValueError, match="gs://bucket/run"):
        files.local_path("gs://bucket/run")


@pytest.mark.parametrize("source", [prepared.Prepared, sources.ScanNet, sources.EmbeddedRooms])
def test_a_data_dir_that_is_not_utf8_is_refused_before_any_work(tmp_path, source):
    data_dir = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(OSError, match="the name of the data_dir .* is not UTF-8"):
        source(data_dir=str(data_dir)).check()
    arguments = program.parser().parse_args([f"--manual_dir={tmp_path}", f"--data_dir={data_dir}"])
    with pytest.raises(OSError, match="the name of the --data_dir .* is not UTF-8"):
        program.main(arguments)
    assert not data_dir.exists()


@pytest.mark.parametrize("load", [checkpoints.load_variables, experiment.load, psp_jax.load])
def test_python_functions_expand_a_path_and_refuse_a_url(monkeypatch, load):
    monkeypatch.setenv("RUNS", "/data/runs")
    with pytest.raises(FileNotFoundError, match="/data/runs/a holds no"):
        load("$RUNS/a")
    with pytest.raises(ValueError, match="expected a local path, got the URL gs://bucket/run"):
        load("gs://bucket/run")


@pytest.mark.parametrize(
    "command",
    [
        ("psp_jax.main", "--config=configs/depth_mse.py", "--workdir=gs://b/r"),
        ("psp_jax.main", "--config=configs/depth_mse.py", "--config.data.source.data_dir=gs://b/r"),
        ("psp_jax.main", "--config=configs/depth_mse.py", "--config.init_from=gs://b/r"),
        ("psp_jax.predict", "--workdir=gs://b/r", "--out=out", "a.png"),
        ("psp_jax.predict", "--workdir=run", "--out=gs://b/r", "a.png"),
        ("psp_jax.predict", "--workdir=run", "--out=out", "gs://b/r"),
        ("psp_jax.report", "gs://b/r"),
        ("psp_jax.codec", "encode", "gs://b/r"),
        ("psp_jax.codec", "decode", "x", "--out=gs://b/r"),
        ("psp_jax.explore", "gs://b/r"),
        ("psp_jax.calibrate", "--workdir=gs://b/r"),
        ("psp_jax.weights", "inspect", "gs://b/r"),
        ("data_builders.rooms", "--directory=gs://b/r"),
        ("data_builders.scannet_frontiers", "--manual_dir=.", "--data_dir=gs://b/r"),
    ],
    ids=lambda command: " ".join(command),
)
def test_every_program_refuses_a_url_in_one_line_and_makes_no_folder(tmp_path, command):
    (tmp_path / "configs").symlink_to(pathlib.Path(__file__).parents[2] / "configs")
    done = programs.run(*command, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "gs://b/r" in done.stderr
    assert not (tmp_path / "gs:").exists()
